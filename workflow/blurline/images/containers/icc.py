"""ICC profiles: the one kind of metadata that display needs, built anew from the parts that transform colours.

A profile also names its maker and device, says when it was made, and may carry texts, calibration records and private
tags. None of that is kept. Layout: ICC.1:2022, 7 to 10.
"""

import struct

_HEADER = 128
_TAGS = frozenset(
    b"rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC wtpt bkpt chad lumi cicp gamt "
    b"A2B0 A2B1 A2B2 B2A0 B2A1 B2A2 D2B0 D2B1 D2B2 D2B3 B2D0 B2D1 B2D2 B2D3".split()
)
_CLASSES = frozenset({b"scnr", b"mntr", b"prtr", b"spac"})
_PARAMETERS = (1, 3, 4, 5, 7)  # numbers of each type of parametric curve (10.18)
_WHOLE = frozenset({b"mAB ", b"mBA ", b"mpet"})
_TEXT = "colour profile"  # what is said for the two texts that every profile must have


def clean(profile: object) -> bytes | None:
    """The profile with nothing but its colour transform, or None when it is no ICC profile that can be read.

    A viewer ignores a malformed profile, so dropping one changes no picture; keeping it would carry unknown
    bytes into the release. What is clean comes back as it is.
    """
    if not isinstance(profile, bytes) or len(profile) < _HEADER + 4 or profile[36:40] != b"acsp":
        return None
    size, count = struct.unpack_from(">I", profile)[0], struct.unpack_from(">I", profile, _HEADER)[0]
    if not _HEADER + 4 + 12 * count <= size <= len(profile) or profile[12:16] not in _CLASSES:
        return None
    tags: dict[bytes, bytes] = {}
    for index in range(count):
        name, start, length = struct.unpack_from(">4sII", profile, _HEADER + 4 + 12 * index)
        if start + length > size:
            return None
        content = _content(profile[start : start + length]) if name in _TAGS else None
        if content is not None:
            tags.setdefault(name, content)
    return _built(_header(profile), tags) if tags else None


def _content(tag: bytes) -> bytes | None:
    """A tag cut to what its type says that it holds; None for types that transform no colours."""
    kind, body = tag[:4], tag[8:]
    if kind == b"curv" and len(body) >= 4:
        length = 4 + 2 * int(struct.unpack_from(">I", body)[0])
    elif kind == b"para" and len(body) >= 4 and struct.unpack_from(">H", body)[0] < len(_PARAMETERS):
        length = 4 + 4 * _PARAMETERS[struct.unpack_from(">H", body)[0]]
        body = body[:2] + bytes(2) + body[4:]
    elif kind == b"XYZ ":
        length = 12
    elif kind == b"sf32":
        length = 36
    elif kind == b"cicp":
        length = 4
    elif kind in (b"mft1", b"mft2") and len(body) >= 44:
        length = _table_length(kind, body)
    elif kind in _WHOLE:
        length = len(body)
    else:
        return None
    return kind + bytes(4) + body[:length] if length <= len(body) else None


def _table_length(kind: bytes, body: bytes) -> int:
    """Bytes of a look-up table's content (10.10, 10.11): its header, and entries of 8 or 16 bits."""
    inputs, outputs, points = body[:3]
    first, last = struct.unpack_from(">HH", body, 40) if kind == b"mft2" else (256, 256)
    entries = first * inputs + int(points) ** int(inputs) * outputs + last * outputs
    return int(44 + 2 * entries if kind == b"mft2" else 40 + entries)


def _header(profile: bytes) -> bytes:
    """Version, class, colour spaces, intent and illuminant; the maker of this profile counts as unknown."""
    kept = bytearray(_HEADER)
    for start, end in ((8, 24), (36, 40), (64, 80)):
        kept[start:end] = profile[start:end]
    kept[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # a date must be there
    return bytes(kept)


def _built(header: bytes, tags: dict[bytes, bytes]) -> bytes:
    texts = _texts(header[8])
    parts: dict[bytes, int] = {}  # equal contents, such as the three curves of most profiles, are stored once
    table, body = [], b""
    start = _HEADER + 4 + 12 * (len(tags) + len(texts))
    for name, content in sorted((tags | texts).items()):
        if content not in parts:
            body += bytes(-len(body) % 4)
            parts[content] = start + len(body)
            body += content
        table.append(struct.pack(">4sII", name, parts[content], len(content)))
    body += bytes(-len(body) % 4)
    size = struct.pack(">I", start + len(body))
    return size + header[4:] + struct.pack(">I", len(table)) + b"".join(table) + body


def _texts(version: int) -> dict[bytes, bytes]:
    if version >= 4:
        text = _TEXT.encode("utf-16-be")
        both = b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(text), 28) + text
        return {b"desc": both, b"cprt": both}
    ascii_ = _TEXT.encode() + b"\0"
    described = b"desc" + struct.pack(">II", 0, len(ascii_)) + ascii_ + bytes(4 + 4 + 2 + 1 + 67)
    return {b"desc": described, b"cprt": b"text" + bytes(4) + ascii_}
