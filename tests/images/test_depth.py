"""16-bit samples: every bit outside of the faces stays, and none of a face's bits does."""

import io
import struct
import zlib
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from blurline.images import CannotRelease, depth
from blurline.images.containers import png, tiff
from blurline.images.decode import Undecodable, decode_rgb, inspect, load
from blurline.images.obfuscate import Target, obfuscate, residual_detail, touched
from blurline.images.orientation import to_displayed
from blurline.images.redact import redact
from tests.images import walkers
from tests.images.samples import FACE, LIMITS, STYLE, astronaut, noise, opened, photo, png_chunk, saved, with_chunks

TARGETS = [Target(20, 25, 50, 60)]


def deep(channels: int, bits: int = 16, picture: np.ndarray | None = None) -> np.ndarray:
    """A photograph whose low bits are noise, uint16 of so many bits: grey, grey and alpha, RGB, RGBA (opaque)."""
    colours = photo() if picture is None else picture
    height, width = colours.shape[:2]
    wide = (colours.astype(np.uint16) << (bits - 8)) | (noise(height, width, 3, seed=9) & ((1 << (bits - 8)) - 1))
    planes = wide[:, :, :1] if channels < 3 else wide
    if channels in (2, 4):
        planes = np.dstack([planes, np.full((height, width), 65535, np.uint16)])
    return planes


def plain_png(samples: np.ndarray) -> bytes:
    """A 16-bit PNG without filters."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return png.SIGNATURE + b"".join(parts)


def plain_tiff(samples: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    channels = samples.shape[2]
    options |= {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    photometric = "rgb" if channels > 2 else "minisblack"
    pixels = samples if channels > 1 else samples[:, :, 0]
    tifffile.imwrite(buffer, pixels, photometric=photometric, metadata=None, **options)
    return buffer.getvalue()


def read_png(data: bytes) -> np.ndarray:
    """By libpng through OpenCV, uint16 (H, W, C)."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    planes = np.atleast_3d(np.asarray(found))
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[planes.shape[2]]
    colours: np.ndarray = planes[:, :, order]
    return colours


def read_tiff(data: bytes) -> np.ndarray:
    found = np.asarray(tifffile.imread(io.BytesIO(data)))
    return found if found.ndim == 3 else found[:, :, None]


TIFFS: dict[str, dict[str, Any]] = {
    "plain": {},
    "big-endian": {"byteorder": ">"},
    "deflate": {"compression": "zlib"},
    "predictor": {"compression": "zlib", "predictor": 2},
    "big-endian deflate": {"byteorder": ">", "compression": "zlib"},
    "tiles": {"tile": (32, 32)},
    "tiles deflate": {"tile": (32, 32), "compression": "zlib"},
    "strips": {"rowsperstrip": 7},
    "turned": {"extratags": [(274, 3, 1, 6, True)]},
}


def case(kind: str, samples: np.ndarray) -> bytes:
    return plain_png(samples) if kind == "png" else plain_tiff(samples, **TIFFS[kind])


def check(data: bytes, samples: np.ndarray, targets: list[Target], bits: int = 16) -> np.ndarray:
    """Release the file; compare what another library reads in it with the source; return the 16-bit result."""
    result = redact(data, targets, STYLE, LIMITS)
    info = inspect(result.data, LIMITS)
    read = read_png if info.format == "PNG" else read_tiff
    after, old = read(result.data), read(data)
    assert after.dtype == np.uint16
    if after.shape == samples.shape:
        assert np.array_equal(old, samples)
    after, old = to_displayed(after, info.orientation), to_displayed(old, info.orientation)
    where = touched(result.regions, info.width, info.height)
    assert np.array_equal(after[~where], old[~where])
    before = decode_rgb(data, LIMITS)
    want, regions = obfuscate(before, targets, STYLE)
    assert result.regions == regions
    colours = (after[:, :, :3] if after.shape[2] > 2 else np.repeat(after[:, :, :1], 3, axis=2))[where]
    assert np.array_equal(colours >> (bits - 8), want[where])
    # Nothing of the low bits: they follow from the high ones.
    assert np.array_equal(colours, depth.widen(want[where], bits - 8))
    assert walkers.extras(result.data, info.format, "keep-safe") == []
    assert info == replace(inspect(data, LIMITS), mode=info.mode)
    assert load(result.data, LIMITS).bits == 16
    return after


@pytest.mark.parametrize("targets", [[], TARGETS], ids=["no faces", "faces"])
@pytest.mark.parametrize("bits", [16, 12, 10])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", *TIFFS])
def test_all_bits(kind: str, channels: int, bits: int, targets: list[Target]) -> None:
    samples = deep(channels, bits)
    check(case(kind, samples), samples, targets, bits)


@pytest.mark.parametrize("targets", [[], TARGETS], ids=["no faces", "faces"])
@pytest.mark.parametrize("kind", ["png", "plain", "big-endian", "deflate"])
def test_opaque_alpha_is_no_obstacle(kind: str, targets: list[Target]) -> None:
    after = check(case(kind, deep(4)), deep(4), targets)
    assert after.shape[2] == 4
    assert (after[:, :, 3] == 65535).all()


@pytest.mark.parametrize("targets", [[], TARGETS], ids=["no faces", "faces"])
def test_grey_and_alpha(targets: list[Target]) -> None:
    """OpenCV reads these as colour, so all bits are looked at here, without filters as they are."""
    samples = deep(2)
    result = redact(plain_png(samples), targets, STYLE, LIMITS)
    found = load(result.data, LIMITS).deep
    assert found is not None
    where = touched(result.regions, 160, 120)
    assert np.array_equal(found[~where], samples[~where])
    assert np.array_equal(read_png(result.data)[:, :, 0], found[:, :, 0])
    assert inspect(result.data, LIMITS) == inspect(plain_png(samples), LIMITS)


def test_a_face_of_16_bits_is_gone() -> None:
    samples = deep(3, picture=astronaut())
    result = redact(plain_png(samples), [Target(*FACE)], STYLE, LIMITS)
    x1, y1, x2, y2 = FACE
    before, after = read_png(plain_png(samples))[y1:y2, x1:x2], read_png(result.data)[y1:y2, x1:x2]
    for shift in (8, 4, 0):  # at no depth is it there
        old, new = (before >> shift & 255).astype(np.uint8), (after >> shift & 255).astype(np.uint8)
        assert abs(residual_detail(old, new)) < 0.05


def test_the_detector_sees_dim_colours() -> None:
    """12 bits in 16 are a picture, in colour as in grey, not blackness."""
    assert np.array_equal(decode_rgb(plain_png(deep(3, 12)), LIMITS), photo())
    assert np.array_equal(decode_rgb(plain_tiff(deep(3, 12), compression="zlib"), LIMITS), photo())
    grey = np.repeat(photo()[:, :, :1], 3, axis=2)
    assert np.array_equal(decode_rgb(plain_png(deep(2, 12)), LIMITS), grey)


def test_planes_apart_are_refused() -> None:
    """Pillow takes every byte of such planes for a sample: what it shows is not what is in the file."""
    for compression in (None, "zlib"):
        buffer = io.BytesIO()
        planes = deep(3).transpose(2, 0, 1)
        tifffile.imwrite(buffer, planes, photometric="rgb", planarconfig="separate", compression=compression)
        with pytest.raises(Undecodable, match="16-bit planes apart not supported"):
            redact(buffer.getvalue(), [], STYLE, LIMITS)


def test_a_clear_colour_of_16_bits_is_refused() -> None:
    data = with_chunks(plain_png(deep(3)), png_chunk(b"tRNS", b"\0\1\0\2\0\3"))
    with pytest.raises(Undecodable, match="16-bit clear colour not supported"):
        redact(data, [], STYLE, LIMITS)


@pytest.mark.parametrize("targets", [[], TARGETS], ids=["no faces", "faces"])
def test_samples_that_nobody_knows_the_range_of_are_refused(targets: list[Target]) -> None:
    whole, real = photo()[:, :, 0].astype(np.int32) * 99_999, photo()[:, :, 0].astype(np.float32) / 7
    cmyk = io.BytesIO()
    tifffile.imwrite(cmyk, deep(4), photometric="separated")
    for data in (saved(Image.fromarray(whole), "TIFF"), saved(Image.fromarray(real), "TIFF"), cmyk.getvalue()):
        with pytest.raises(CannotRelease, match=r"samples of (16|32) bits in this layout are not supported yet"):
            redact(data, targets, STYLE, LIMITS)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (5, 7), (300, 400)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_writers(size: tuple[int, int], channels: int) -> None:
    samples = noise(*size, 2 * channels, seed=3).view(np.uint16).reshape(*size, channels)
    written = png.write(samples)
    if channels != 2:
        assert np.array_equal(read_png(written), samples)
    assert opened(written).size == size[::-1]
    for compressed in (True, False):
        data = tiff.write(samples, compressed, 3, (300, 72.5), None)
        assert np.array_equal(read_tiff(data), samples)
        assert walkers.extras(data, "TIFF", "keep-safe") == []
        if channels != 2:
            assert opened(data).info["dpi"] == (300, 72.5)


def test_widening() -> None:
    eight = np.arange(256, dtype=np.uint8)
    for bits in range(9):
        wide = depth.widen(eight, bits)
        assert wide[0] == 0
        assert wide[255] == (1 << (8 + bits)) - 1
        assert np.array_equal(wide >> bits, eight)


def interlaced(samples: np.ndarray) -> bytes:
    """An RGB PNG in Adam7's seven passes, without filters."""
    height, width, _ = samples.shape
    passes = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
    bits = 8 * samples.itemsize
    rows = b"".join(
        b"\0" + row.astype(samples.dtype.newbyteorder(">")).tobytes()
        for x, dx, y, dy in passes
        for row in samples[y::dy, x::dx]
    )
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 1)
    parts = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return png.SIGNATURE + b"".join(parts)


@pytest.mark.parametrize("targets", [[], TARGETS], ids=["no faces", "faces"])
@pytest.mark.parametrize("bits", [8, 16])
def test_interlaced(bits: int, targets: list[Target]) -> None:
    samples = photo() if bits == 8 else deep(3)
    data = interlaced(samples)
    assert np.array_equal(read_png(data), samples)
    result = redact(data, targets, STYLE, LIMITS)
    where = touched(result.regions, 160, 120)
    assert np.array_equal(read_png(result.data)[~where], samples[~where])
    assert where.any() == bool(targets)
    assert (result.data == data) is not bool(targets)
