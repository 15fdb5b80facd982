"""JPEG: a walk over the markers (ITU-T T.81, annex B; JFIF 1.02; Exif 3.0; ICC.1 annex B.4)."""

import re
import struct

from blurline.images import orientation as exif
from blurline.images.containers import icc
from blurline.images.errors import CannotRelease

START = b"\xff\xd8\xff"
"""What every JPEG begins with."""
SOI, EOI, SOS, DQT, DHT, DAC, DRI, COM = 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD, 0xFE
APP0, APP1, APP2, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
# Baseline, extended and progressive, with Huffman or arithmetic coding: what libjpeg-turbo decodes to 8 bits.
FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})

# Inside a scan FF 00 is a data byte and FF D0 to FF D7 are restart markers; runs of FF are fill bytes.
_SCAN_END = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
_SCAN_STOP = re.compile(rb"\xff+[\x01-\xfe]")
_ICC = b"ICC_PROFILE\0"
_LONGEST = 65533  # bytes of payload in one segment


def head(data: bytes, orientation: int, keep_safe: bool) -> bytes:
    """The start of the JPEG that `strip` makes, up to where tables and frame begin."""
    at, found = 2, list[tuple[int, bytes]]()
    while True:
        marker, at = _marker(data, at)
        if marker in (SOS, EOI):
            return _head(found, orientation, keep_safe)
        payload, at = _payload(data, at)
        found.append((marker, payload))


def picture(data: bytes) -> bytes:
    """What follows the application segments that a JPEG begins with."""
    at = 2
    while True:
        marker, begin = _marker(data, at)
        if not APP0 <= marker <= APP15:
            return data[at:]
        _, at = _payload(data, begin)


def strip(data: bytes, orientation: int, keep_safe: bool) -> bytes:
    """The JPEG with tables, frame, scans, colour transform and orientation; if safe ones are kept, density and profile.

    Nothing else stays: what follows the end, such as the further pictures of an MPO, goes too.
    """
    found, picture = _parts(data)
    return _head(found, orientation, keep_safe) + picture


def _parts(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The application segments and comments that a JPEG holds, and everything else.

    Raises
    ------
    CannotRelease
        When the segments are damaged, or of a kind that is not decoded here.
    """
    if data[:2] != b"\xff\xd8":
        raise _damaged()
    found: list[tuple[int, bytes]] = []
    body: list[bytes] = []
    frames = scans = restart = 0
    at = 2
    while True:
        marker, at = _marker(data, at)
        if marker == EOI:
            break
        payload, at = _payload(data, at)
        if APP0 <= marker <= APP15 or marker == COM:
            if marker != APP2 or not scans:
                found.append((marker, payload))
            continue
        if marker not in FRAMES and marker not in _CHECKS:
            raise CannotRelease("JPEG variant not supported")
        if marker in FRAMES:
            frames += 1
            _check_frame(payload)
        else:
            _CHECKS[marker](payload)
        if marker == DRI:
            (restart,) = struct.unpack(">H", payload)
        body.append(_segment(marker, payload))
        if marker == SOS:
            end = _scan_end(data, at, restart)
            body.append(data[at:end])
            at = end
            scans += 1
        if frames > 1 or (scans and not frames):
            raise _damaged()
    if frames != 1 or not scans:
        raise _damaged()
    return found, b"".join([*body, b"\xff\xd9"])


def _head(found: list[tuple[int, bytes]], orientation: int, keep_safe: bool) -> bytes:
    """What a JPEG may begin with, of the application segments found in it."""
    jfif = next(
        (_jfif(payload, keep_safe) for marker, payload in found if marker == APP0 and payload[:5] == b"JFIF\0"), None
    )
    adobe = next((_adobe(payload) for marker, payload in found if marker == APP14 and payload[:5] == b"Adobe"), None)
    head = [b"\xff\xd8"]
    if jfif is not None:
        head.append(_segment(APP0, jfif))
    if orientation != exif.UPRIGHT:
        head.append(_segment(APP1, exif.PREFIX + exif.minimal(orientation)))
    if keep_safe:
        head += _profile_segments([payload for marker, payload in found if marker == APP2 and payload.startswith(_ICC)])
    if adobe is not None:
        head.append(_segment(APP14, adobe))
    return b"".join(head)


def _damaged() -> CannotRelease:
    return CannotRelease("damaged JPEG container")


def _marker(data: bytes, at: int) -> tuple[int, int]:
    """The marker at this place and where its segment begins; fill bytes before it are skipped."""
    start = at
    while data[at : at + 1] == b"\xff":
        at += 1
    if at == start or at >= len(data) or data[at] == 0:
        raise _damaged()
    return data[at], at + 1


def _payload(data: bytes, at: int) -> tuple[bytes, int]:
    if at + 2 > len(data):
        raise _damaged()
    (length,) = struct.unpack_from(">H", data, at)
    if length < 2 or at + length > len(data):
        raise _damaged()
    return data[at + 2 : at + length], at + length


def _segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _scan_end(data: bytes, at: int, restart: int) -> int:
    end = (_SCAN_END if restart else _SCAN_STOP).search(data, at)
    if end is None or 0xD0 <= end.group()[-1] <= 0xD7:  # a restart marker that nothing has announced
        raise _damaged()
    return end.start()


# Each of these makes sure that a segment holds what it must and not one byte more.


def _check_frame(payload: bytes) -> None:
    if len(payload) < 6 or len(payload) != 6 + 3 * payload[5]:
        raise _damaged()
    if payload[0] != 8:
        raise CannotRelease("JPEG variant not supported")


def _check_scan(payload: bytes) -> None:
    if len(payload) < 6 or len(payload) != 4 + 2 * payload[0]:
        raise _damaged()


def _check_quantisation(payload: bytes) -> None:
    at = 0
    while at < len(payload):
        at += 1 + (128 if payload[at] >> 4 else 64)
    if at != len(payload):
        raise _damaged()


def _check_huffman(payload: bytes) -> None:
    at = 0
    while at < len(payload):
        at += 17 + sum(payload[at + 1 : at + 17])
    if at != len(payload):
        raise _damaged()


def _check_arithmetic(payload: bytes) -> None:
    if len(payload) % 2:
        raise _damaged()


def _check_restart(payload: bytes) -> None:
    if len(payload) != 2:
        raise _damaged()


_CHECKS = {
    SOS: _check_scan,
    DQT: _check_quantisation,
    DHT: _check_huffman,
    DAC: _check_arithmetic,
    DRI: _check_restart,
}


def _jfif(payload: bytes, density: bool) -> bytes:
    """JFIF header with version, unit and density (or square pixels of no size), and a thumbnail of 0 × 0 pixels."""
    if len(payload) < 14:
        raise _damaged()
    return (payload[:12] if density else payload[:7] + b"\0\0\1\0\1") + b"\0\0"


def _adobe(payload: bytes) -> bytes:
    """Adobe's marker with nothing but the colour transform, which decides how the components are read."""
    if len(payload) < 12:
        raise _damaged()
    return b"Adobe" + struct.pack(">HHHB", 100, 0, 0, payload[11])


def _profile_segments(found: list[bytes]) -> list[bytes]:
    """The ICC profile in new segments, or none if its parts do not make up a profile."""
    if any(len(part) < 14 for part in found):
        return []
    parts = {part[12]: part[14:] for part in found}
    if sorted(parts) != list(range(1, len(found) + 1)) or {part[13] for part in found} != {len(found)}:
        return []
    profile = icc.clean(b"".join(parts[number] for number in sorted(parts)))
    if profile is None:
        return []
    step = _LONGEST - len(_ICC) - 2
    chunks = [profile[at : at + step] for at in range(0, len(profile), step)]
    return [_segment(APP2, _ICC + bytes((number, len(chunks))) + chunk) for number, chunk in enumerate(chunks, 1)]
