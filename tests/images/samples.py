"""Images and containers that the tests of this folder make up, or take from installed packages."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile

from blurline.images import orientation
from blurline.images.decode import Limits
from blurline.images.obfuscate import BlurStyle, Region, Target, obfuscate

LIMITS = Limits(max_bytes=20_000_000, max_pixels=4_000_000)
STYLE = BlurStyle(method="gaussian", strength=0.15, margin=0.1, feather=0.1)

# Words that must never be found in a released file.
SECRETS = (b"SECRET", b"Exif\0\0II", b"http://ns.adobe.com", b"JFXX", b"GPS")


@cache
def packaged(package: str, path: str) -> bytes:
    spec = find_spec(package)  # without importing it
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / path).read_bytes()


@cache
def astronaut() -> np.ndarray:
    """A portrait of 512 x 512 pixels; the face is at `FACE`."""
    return np.asarray(Image.open(io.BytesIO(packaged("skimage", "data/astronaut.png"))).convert("RGB"))


FACE = (175, 70, 285, 205)


@cache
def photo(width: int = 160, height: int = 120) -> np.ndarray:
    picture = Image.fromarray(astronaut()).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(picture: np.ndarray | Image.Image, file_format: str, **options: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    before, ImageFile.MAXBLOCK = ImageFile.MAXBLOCK, 1 << 22
    try:
        image.save(buffer, file_format, **options)
    finally:
        ImageFile.MAXBLOCK = before
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data))
        image.load()
    return image


def exif_with_secrets(tag: int = 1) -> bytes:
    """EXIF with an orientation, a camera, a place, and a thumbnail that shows the clear picture."""
    exif = Image.Exif()
    exif[274] = tag
    exif[271] = "SECRET camera"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[29] = "SECRET day"
    thumbnail = saved(photo(32, 24), "JPEG", comment=b"SECRET thumbnail")
    return exif.tobytes() + b"SECRET" + thumbnail


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def leaky_jpeg(picture: np.ndarray | None = None, tag: int = 1, **options: Any) -> bytes:
    """A JPEG with a secret in every place where cameras and editors put one."""
    plain = saved(photo() if picture is None else picture, "JPEG", **options)
    assert plain[2:4] == b"\xff\xe0"
    rest = plain[20:]
    jfif = b"JFIF\0\1\2\1\0\x48\0\x48" + bytes((2, 2)) + b"SECRET pixel"
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xE0, jfif),
            segment(0xE0, b"JFXX\0\x10" + b"SECRET"),
            segment(0xE1, exif_with_secrets(tag)),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='8'>SECRET</x>"),
            segment(0xE2, b"MPF\0SECRET"),
            segment(0xED, b"Photoshop 3.0\0SECRET"),
            segment(0xEB, b"SECRET"),
            segment(0xFE, b"SECRET comment"),
            rest,
            b"SECRET after the end",
            saved(photo(32, 24), "JPEG"),
        ]
    )


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with these chunks right after its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def leaky_png(picture: np.ndarray | Image.Image | None = None, tag: int = 1, **options: Any) -> bytes:
    plain = saved(photo() if picture is None else picture, "PNG", **options)
    return (
        with_chunks(
            plain,
            png_chunk(b"gAMA", struct.pack(">I", 45455)),
            png_chunk(b"eXIf", exif_with_secrets(tag).removeprefix(orientation.PREFIX)),
            png_chunk(b"tEXt", b"Comment\0SECRET"),
            png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"SECRET")),
            png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='8'>SECRET</x>"),
            png_chunk(b"tIME", bytes(7)),
            png_chunk(b"prVt", b"SECRET"),
        )
        + b"SECRET after the end"
    )


def leaky_webp(picture: np.ndarray | None = None, tag: int = 1, **options: Any) -> bytes:
    exif = exif_with_secrets(tag).removeprefix(orientation.PREFIX)
    data = saved(photo() if picture is None else picture, "WEBP", exif=exif, xmp=b"<x>SECRET</x>", **options)
    unknown = b"abcd" + struct.pack("<I", 6) + b"SECRET"
    grown = data[:4] + struct.pack("<I", len(data) - 8 + len(unknown)) + data[8:] + unknown
    return grown + b"SECRET after the end"


def profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@cache
def table_profile(secret: bytes = b"SECRET") -> bytes:
    """A profile of 150 kB whose colours are looked up in a table, with a secret wherever a profile has room for one."""
    points = 29
    grid = np.stack(np.meshgrid(*[np.linspace(0, 65535, points)] * 3, indexing="ij"), axis=-1)
    table = bytes((3, 3, points, 0)) + struct.pack(">9i", *np.eye(3, dtype=int).ravel() * 65536)
    table += struct.pack(">HH", 2, 2) + struct.pack(">6H", *[0, 65535] * 3)
    table += (grid[..., ::-1] * 0.7).astype(">u2").tobytes() + struct.pack(">6H", *[0, 65535] * 3)
    tags = {
        b"A2B0": b"mft2" + bytes(4) + table + secret,
        b"wtpt": b"XYZ " + secret[:4] + struct.pack(">3i", 63190, 65536, 54061) + secret,
        b"desc": b"desc" + struct.pack(">II", 0, len(secret) + 1) + secret + bytes(79),
        b"cprt": b"text" + bytes(4) + secret,
        b"dmdd": b"text" + bytes(4) + secret,
        b"vcgt": b"vcgt" + bytes(4) + secret,
        b"rXYZ": b"text" + bytes(4) + secret,
        b"PRIV": secret * 3,
        b"SERI": b"curv" + bytes(4) + struct.pack(">I", len(secret)) + secret * 2,
    }
    header = bytearray(128)
    header[4:8], header[8:12], header[12:24] = secret[:4], b"\2\x40\0\0", b"scnrRGB Lab "
    header[24:36], header[36:40], header[48:56] = struct.pack(">6H", 2021, 5, 4, 3, 2, 1), b"acsp", (secret * 2)[:8]
    header[68:80], header[80:84] = struct.pack(">3i", 63190, 65536, 54061), secret[:4]
    header[84:128] = (secret * 9)[:44]
    start, entries, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        entries += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    whole = header[4:] + struct.pack(">I", len(tags)) + entries + body
    return struct.pack(">I", len(whole) + 4) + whole


def with_orientation(picture: np.ndarray, file_format: str, tag: int, **options: Any) -> bytes:
    """A file that stores this raster and asks viewers to turn it."""
    exif = Image.Exif()
    exif[274] = tag
    return saved(picture, file_format, exif=exif, **options)


def blur(
    pixels: np.ndarray, boxes: Iterable[tuple[int, int, int, int]], style: BlurStyle
) -> tuple[np.ndarray, list[Region]]:
    """`obfuscate`, with plain boxes."""
    return obfuscate(pixels, [Target(*box) for box in boxes], style)
