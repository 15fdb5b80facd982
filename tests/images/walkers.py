"""Walks over released files, written apart from the package's own: whatever is no picture and not allowed is named."""

import struct
import zlib
from collections.abc import Callable

ICC_TAGS = set(
    b"desc cprt wtpt bkpt chad lumi cicp gamt rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC A2B0 A2B1 A2B2 B2A0 B2A1 B2A2".split()
)
EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0%c\0\0\0\0\0\0"


def extras(data: bytes, file_format: str, metadata: str) -> list[str]:
    """Everything in the file that should not be there, in words; an empty list is what is hoped for."""
    found: list[str] = []
    WALKERS[file_format](data, metadata == "keep-safe", found.append)
    return found


Say = Callable[[str], None]


def _profile(profile: bytes, safe: bool, say: Say) -> None:
    if not safe:
        say("ICC profile")
    if struct.unpack_from(">I", profile)[0] != len(profile):
        say("bytes behind an ICC profile")
    if any(profile[4:8] + profile[40:64] + profile[80:128]):
        say("device in an ICC profile")
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        name = profile[132 + 12 * index :][:4]
        if name not in ICC_TAGS:
            say(f"ICC tag {name!r}")


def _exif(block: bytes, say: Say) -> None:
    if block not in {EXIF % tag for tag in range(2, 9)}:
        say("EXIF with more than an orientation")


def _jpeg(data: bytes, safe: bool, say: Say) -> None:
    assert data[:2] == b"\xff\xd8"
    at, profile = 2, b""
    while True:
        assert data[at] == 0xFF
        marker = data[at + 1]
        if marker == 0xD9:
            if data[at + 2 :]:
                say("bytes after the end")
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        payload = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xE0 and payload.startswith(b"JFIF\0"):
            if len(payload) != 14 or payload[12:] != b"\0\0":
                say("JFIF thumbnail")
            if not safe and payload[7:12] != b"\0\0\1\0\1":
                say("JFIF density")
        elif marker == 0xE1 and payload.startswith(b"Exif\0\0"):
            _exif(payload[6:], say)
        elif marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0"):
            profile += payload[14:]
        elif marker == 0xEE and payload[:5] == b"Adobe":
            if len(payload) != 12 or any(payload[7:11]):
                say("Adobe's marker with flags")
        elif marker == 0xDA:
            while data[at] != 0xFF or data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7:
                at += 1
        elif marker not in {0xDB, 0xC4, 0xDD, 0xCC, 0xC0, 0xC1, 0xC2, 0xC9, 0xCA}:
            say(f"JPEG segment {marker:02x}")
    if profile:
        _profile(profile, safe, say)


def _png(data: bytes, safe: bool, say: Say) -> None:
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
        if name == b"eXIf":
            _exif(content, say)
        elif name == b"iCCP":
            name, _, rest = content.partition(b"\0")
            if name != b"icc":
                say("the name of an ICC profile")
            _profile(zlib.decompress(rest[1:]), safe, say)
        elif name == b"IEND":
            if at != len(data):
                say("bytes after the end")
            return
        elif name not in {b"IHDR", b"PLTE", b"tRNS", b"IDAT"} and not (
            safe and name in {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"pHYs"}
        ):
            say(f"PNG chunk {name!r}")
    say("no end")


def _webp(data: bytes, safe: bool, say: Say) -> None:
    if struct.unpack_from("<I", data, 4)[0] + 8 != len(data):
        say("bytes after the end")
    at = 12
    while at + 8 <= len(data):
        name, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        content = data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
        if name == b"EXIF":
            _exif(content, say)
        elif name == b"ICCP":
            _profile(content, safe, say)
        elif name == b"VP8X":
            if len(content) != 10 or content[0] & ~0x38 or any(content[1:4]):
                say("flags of what is not there")
        elif name not in {b"VP8 ", b"VP8L", b"ALPH"}:
            say(f"WebP chunk {name!r}")


SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 13: 4}
PIXEL_TAGS = {256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 317, 320, 338, 339}
SAFE_TAGS = {282, 283, 296, 34675}


def _tiff(data: bytes, safe: bool, say: Say) -> None:
    order = {b"II*\0": "<", b"MM\0*": ">"}[data[:4]]
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    seen = bytearray(len(data))

    def see(at: int, length: int) -> bytes:
        seen[at : at + length] = b"\1" * length
        return data[at : at + length]

    see(0, 8)
    see(start, 2 + 12 * count + 4)
    if data[start + 2 + 12 * count :][:4] != bytes(4):
        say("a second directory")
    places: dict[int, list[int]] = {}
    for index in range(count):
        entry = start + 2 + 12 * index
        tag, kind, number = struct.unpack_from(order + "HHI", data, entry)
        size = SIZES[kind] * number
        at = entry + 8 if size <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
        value = see(at, size)
        if tag in (273, 279):
            places[tag] = list(struct.unpack(f"{order}{number}{'H' if kind == 3 else 'I'}", value))
        if tag == 34675:
            _profile(value, safe, say)
        elif tag not in PIXEL_TAGS and not (safe and tag in SAFE_TAGS):
            say(f"TIFF tag {tag}")
    for at, length in zip(places[273], places[279], strict=True):
        see(at, length)
    if any(byte for byte, known in zip(data, seen, strict=True) if not known):
        say("bytes that no tag refers to")


def _bmp(data: bytes, safe: bool, say: Say) -> None:
    size, reserved, offset, header, width, height, planes, bits = struct.unpack_from("<IIIIiiHH", data, 2)
    compression, length, across, down, colours = struct.unpack_from("<IIIII", data, 30)
    if reserved or header != 40 or compression or planes != 1:
        say("BMP header")
    if not safe and (across or down):
        say("BMP density")
    palette = 4 * (colours or (1 << bits if bits <= 8 else 0))
    pixels = (width * bits + 31) // 32 * 4 * abs(height)
    if offset != 54 + palette or len(data) != offset + pixels or size != len(data) or length not in (0, pixels):
        say("bytes beside the pixels")


def _gif(data: bytes, safe: bool, say: Say) -> None:
    flags = data[10]
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    if data[12]:
        say("aspect ratio")
    images = 0
    while data[at] != 0x3B:
        if data[at] == 0x21:
            if data[at + 1] != 0xF9:
                say(f"GIF extension {data[at + 1]:02x}")
            at += 2
        else:
            assert data[at] == 0x2C
            images += 1
            local = data[at + 9]
            at += 11 + (3 << (local & 7) + 1 if local & 0x80 else 0)
        while data[at]:
            at += 1 + data[at]
        at += 1
    if images != 1:
        say("further pictures")
    if data[at + 1 :]:
        say("bytes after the end")


WALKERS: dict[str, Callable[[bytes, bool, Say], None]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "TIFF": _tiff,
    "BMP": _bmp,
    "GIF": _gif,
}
