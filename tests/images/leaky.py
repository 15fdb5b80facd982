"""Files with a secret in every place where their format has room for one; samples has those of JPEG, PNG and WebP."""

import io
import struct

import numpy as np
import tifffile
from PIL import Image

from tests.images.samples import photo, saved, segment, table_profile


def leaky_tiff(picture: np.ndarray | None = None, tag: int = 1) -> bytes:
    """Texts, dates, XMP, IPTC, Photoshop's resources with a preview, a smaller picture in a directory below, GPS."""
    pixels = photo() if picture is None else picture
    buffer = io.BytesIO()
    texts = [(number, 2, 0, "SECRET words", True) for number in (269, 270, 271, 272, 285, 306, 315, 316, 33432)]
    blobs = [(number, 7, 6, b"SECRET", True) for number in (700, 33723, 34377, 37724, 50740, 65000)]
    others = [(274, 3, 1, tag, True), (34666, 4, 1, 8, True), (34854, 4, 1, 8, True)]
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(
            pixels,
            photometric="rgb",
            subifds=1,
            resolution=(300, 200),
            resolutionunit=2,
            iccprofile=table_profile(),
            extratags=[*texts, *blobs, *others],
            metadata=None,
            software="SECRET software",
        )
        writer.write(pixels[::4, ::4], photometric="rgb", subfiletype=1, description="SECRET", metadata=None)
    data = buffer.getvalue()
    for number in (34665, 34853):  # tifffile writes neither EXIF nor GPS, so a neighbour becomes it
        neighbour = struct.pack("<HHI", number + 1, 4, 1)
        assert neighbour in data
        data = data.replace(neighbour, struct.pack("<HHI", number, 4, 1))
    return data + b"SECRET after the end" + saved(photo(32, 24), "JPEG")


def leaky_bmp(picture: np.ndarray | None = None, tag: int = 1) -> bytes:
    """A header of version 5 with a profile, a gap before the pixels and bytes behind them."""
    plain = saved(photo() if picture is None else picture, "BMP", dpi=(300, 200))
    gap, profile = b"SECRET gap ", table_profile()
    pixels = plain[54:]
    offset = 14 + 124 + len(gap)
    header = struct.pack("<I", 124) + plain[18:54] + bytes(16) + b"DEBM" + bytes(48)
    header += struct.pack("<IIII", 4, 124 + len(gap) + len(pixels), len(profile), 0)
    body = header + gap + pixels + profile + b"SECRET after the end"
    return b"BM" + struct.pack("<IHHI", 14 + len(body), 0x4553, 0x4352, offset) + body


def leaky_gif(picture: np.ndarray | None = None, tag: int = 1) -> bytes:
    """A comment, a plain text, XMP, a profile, an extension nobody knows, and bytes behind the end."""
    plain = saved(Image.fromarray(photo() if picture is None else picture).convert("P"), "GIF")
    at = 13 + (3 << (plain[10] & 7) + 1)

    def block(label: int, *parts: bytes) -> bytes:
        return bytes((0x21, label)) + b"".join(bytes((len(part),)) + part for part in parts) + b"\0"

    blocks = [
        block(0xFE, b"SECRET comment"),
        block(0x01, bytes(12), b"SECRET text"),
        block(0xFF, b"XMP DataXMP", b"SECRET"),
        block(0xFF, b"ICCRGBG1012", b"SECRET"),
        block(0x77, b"SECRET"),
    ]
    return plain[:12] + b"\x40" + plain[13:at] + b"".join(blocks) + plain[at:] + b"SECRET after the end"


def leaky_mpo(picture: np.ndarray | None = None, tag: int = 1) -> bytes:
    """A stereo camera's pair: the second picture is the clear one, turned over, and has secrets of its own."""
    first = photo() if picture is None else picture
    second = Image.fromarray(np.ascontiguousarray(first[::-1]))
    pair = saved(first, "MPO", save_all=True, append_images=[second])
    return pair[:2] + segment(0xFE, b"SECRET") + pair[2:]
