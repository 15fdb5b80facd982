"""ICC profiles: the one kind of metadata that display needs, so it must be what it claims to be."""

import struct

_HEADER = 128


def clean(profile: object) -> bytes | None:
    """The profile, cut to the length that it declares, or None when it is no ICC profile.

    A viewer ignores a malformed profile, so dropping one changes no picture; keeping it would carry unknown
    bytes into the release. Layout: ICC.1:2022, 7.2 (bytes 0-3 size, 36-39 signature).
    """
    if not isinstance(profile, bytes) or len(profile) < _HEADER + 4 or profile[36:40] != b"acsp":
        return None
    (size,) = struct.unpack_from(">I", profile)
    return profile[:size] if _HEADER + 4 <= size <= len(profile) else None
