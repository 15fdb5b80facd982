import io
import struct
import subprocess
import sys
import threading
import tracemalloc
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from blurline.images import decode
from blurline.images.decode import (
    SMALLEST_FRAME,
    Decoded,
    Limits,
    Undecodable,
    decode_rgb,
    frames,
    inspect,
    upright_rgb,
)
from tests.images.moving import KINDS, PLACES, shown
from tests.images.samples import (
    LIMITS,
    leaky_jpeg,
    leaky_png,
    noise,
    opened,
    packaged,
    photo,
    png_chunk,
    saved,
    segment,
    with_chunks,
    with_orientation,
)

ALL_TAGS = range(1, 9)


def reason(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(Undecodable) as caught:
        inspect(data, limits)
    return caught.value.reason


@pytest.mark.parametrize(
    ("file_format", "mode"),
    [("JPEG", "RGB"), ("PNG", "RGB"), ("WEBP", "RGB"), ("BMP", "RGB"), ("GIF", "P"), ("TIFF", "RGB")],
)
def test_formats(file_format: str, mode: str) -> None:
    info = inspect(saved(photo(), file_format), LIMITS)
    assert info == decode.ImageInfo(file_format, mode, 160, 120, 1, 1)


def test_packaged_photographs() -> None:
    assert inspect(packaged("ultralytics", "assets/bus.jpg"), LIMITS).width == 810
    assert inspect(packaged("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"), LIMITS).height == 600


@pytest.mark.parametrize("tag", ALL_TAGS)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_that_of_pillow(file_format: str, tag: int) -> None:
    data = with_orientation(photo(), file_format, tag)
    info = inspect(data, LIMITS)
    want = ImageOps.exif_transpose(opened(data)).convert("RGB")
    assert info.orientation == tag
    assert (info.width, info.height) == want.size == ((120, 160) if tag > 4 else (160, 120))
    assert np.array_equal(decode_rgb(data, LIMITS), np.asarray(want))


@pytest.mark.parametrize("tag", ALL_TAGS)
def test_stored_raster_of_tiff(tag: int) -> None:
    data = with_orientation(photo(), "TIFF", tag)
    assert np.array_equal(np.asarray(decode.load(data, LIMITS).image), photo())


def test_orientation_never_comes_from_xmp_or_text() -> None:
    """Pillow would turn all of these."""
    plain = saved(photo(), "JPEG")
    xmp = b'<x:xmpmeta tiff:Orientation="6"/>'
    jpeg = plain[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) + plain[2:]
    png = saved(photo(), "PNG")
    itxt = with_chunks(png, png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    block = Image.Exif()
    block[274] = 6
    raw = b"exif\0" + block.tobytes()
    text = with_chunks(png, png_chunk(b"tEXt", raw))
    webp = saved(photo(), "WEBP", xmp=xmp)
    tiff = saved(photo(), "TIFF", tiffinfo={700: xmp})
    for data in (jpeg, itxt, webp, tiff):
        assert ImageOps.exif_transpose(opened(data)).size == (120, 160)
    for data in (jpeg, itxt, text, webp, tiff):
        info = inspect(data, LIMITS)
        assert (info.width, info.height, info.orientation) == (160, 120, 1)
        assert decode_rgb(data, LIMITS).shape == (120, 160, 3)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_invalid_orientation_counts_as_none(value: int) -> None:
    for file_format in ("JPEG", "PNG", "TIFF"):
        assert inspect(with_orientation(photo(), file_format, value), LIMITS).orientation == 1


def test_secrets_do_not_disturb() -> None:
    assert inspect(leaky_jpeg(tag=6), LIMITS).orientation == 6
    assert inspect(leaky_png(tag=6), LIMITS).orientation == 6


def test_modes() -> None:
    image = Image.fromarray(photo())
    for mode in ("1", "L", "P"):
        want = np.asarray(image.convert(mode).convert("RGB"))
        assert np.array_equal(decode_rgb(saved(image.convert(mode), "PNG"), LIMITS), want)
    cmyk = decode_rgb(saved(image.convert("CMYK"), "JPEG", quality=95), LIMITS)
    assert np.abs(cmyk.astype(int) - photo()).mean() < 4


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_deep_grey_is_scaled(bits: int, file_format: str) -> None:
    deep = (photo()[:, :, 0].astype(np.uint16) << (bits - 8)) | (1 << (bits - 1))
    got = decode_rgb(saved(Image.fromarray(deep), file_format), LIMITS)
    assert got.dtype == np.uint8
    assert np.array_equal(got[:, :, 0], (deep >> (bits - 8)).astype(np.uint8))


def test_floats_are_scaled() -> None:
    ramp = np.linspace(-3, 5, 256, dtype=np.float32).reshape(16, 16)
    got = decode_rgb(saved(Image.fromarray(ramp), "TIFF"), LIMITS)
    assert got.min() == 0
    assert got.max() == 255


def test_frames() -> None:
    first, second = Image.fromarray(photo()), Image.fromarray(photo()[::-1])
    for file_format in ("GIF", "WEBP", "TIFF", "MPO", "PNG"):
        data = saved(first, file_format, save_all=True, append_images=[second])
        info = inspect(data, LIMITS)
        # An MPO is a JPEG with further pictures behind it that no viewer shows.
        assert info.frames == (1 if file_format == "MPO" else 2)
        assert info.format == ("JPEG" if file_format == "MPO" else file_format)
        tolerance = 20 if file_format in ("GIF", "WEBP", "MPO") else 0
        assert np.abs(decode_rgb(data, LIMITS).astype(int) - photo()).mean() <= tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_as_a_viewer_shows_them_and_held_one_at_a_time(kind: str) -> None:
    seen, held = [], list[weakref.ref[Decoded]]()
    for decoded in frames(KINDS[kind], LIMITS):
        assert decoded.opaque
        held.append(weakref.ref(decoded))
        seen.append(upright_rgb(decoded))
        assert sum(one() is not None for one in held) <= 2
    assert all(np.array_equal(*pair) for pair in zip(seen, shown(KINDS[kind]).frames, strict=True))


def test_frames_of_a_still_image() -> None:
    (one,) = frames(saved(photo(), "JPEG"), LIMITS)
    assert one.info == inspect(saved(photo(), "JPEG"), LIMITS)


def test_another_thread_decodes_between_two_frames() -> None:
    with ThreadPoolExecutor(1) as pool:
        for _ in frames(KINDS["gif"], LIMITS):
            assert pool.submit(inspect, KINDS["tiff"], LIMITS).result(timeout=20).frames == len(PLACES)


def bomb_of_frames(count: int, side: int) -> bytes:
    """A GIF of a few bytes a frame, each as large as the canvas."""
    one = saved(Image.new("P", (side, side)), "GIF")
    at = one.index(b",", 13 + (3 << ((one[10] & 7) + 1)))
    return one[:at] + one[at:-1] * count + b";"


def test_a_bomb_of_frames_is_refused_before_any_is_decoded() -> None:
    large = bomb_of_frames(3_000, 1_000)
    assert len(large) < 20_000_000
    small = bomb_of_frames(10_000, 1)
    tracemalloc.start()
    try:
        for data in (large, small):
            stream = frames(data, Limits(20_000_000, 10_000_000))
            with pytest.raises(Undecodable, match="over max_pixels"):
                next(stream)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(large)
    finally:
        tracemalloc.stop()
    assert sum(1 for _ in frames(bomb_of_frames(100, 1), Limits(20_000_000, 100 * SMALLEST_FRAME))) == 100


def test_a_frame_that_grows_the_canvas_is_refused() -> None:
    data = bytearray(bomb_of_frames(2, 40))
    at = data.rindex(b",\0\0\0\0")
    data[at + 1] = 30  # to the right
    with pytest.raises(Undecodable, match="frames of different sizes are not supported"):
        list(frames(bytes(data), LIMITS))


def test_frames_before_a_damaged_one_are_not_the_image() -> None:
    for kind in KINDS:
        data = KINDS[kind]
        with pytest.raises(Undecodable):
            for _ in frames(data[: len(data) * 7 // 8], LIMITS):
                pass


def test_reasons() -> None:
    jpeg = saved(photo(), "JPEG")
    assert reason(b"") == "not an image"
    assert reason(b"<html>404</html>") == "not an image"
    assert reason(saved(photo(), "JPEG2000")) == "format not supported"
    assert reason(saved(photo(), "PPM")) == "format not supported"
    assert reason(saved(photo(), "AVIF")) == "format not supported"
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n") == "format not supported"
    assert reason(jpeg[:-500]) == "truncated or corrupt"
    assert reason(jpeg[:100]) == "damaged or unsupported header"
    assert reason(jpeg, Limits(len(jpeg) - 1, 10**6)) == "over max_bytes"
    assert reason(jpeg, Limits(10**6, 160 * 120 - 1)) == "over max_pixels"
    assert inspect(jpeg, Limits(len(jpeg), 160 * 120)).width == 160


def bomb(file_format: str, width: int = 16_000, height: int = 16_000) -> bytes:
    data = saved(photo(16, 16), file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    if file_format == "PNG":
        header = struct.pack(">II", width, height) + data[24:29]
        return data[:8] + png_chunk(b"IHDR", header) + data[33:]
    if file_format == "BMP":
        return data[:18] + struct.pack("<ii", width, height) + data[26:]
    if file_format == "GIF":
        return data[:6] + struct.pack("<HH", width, height) + data[10:]
    if file_format == "JPEG":
        at = data.index(b"\xff\xc0")
        return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]
    bits = (width - 1) | (height - 1) << 14 | struct.unpack_from("<I", data, 21)[0] & 0xF0000000
    return data[:21] + struct.pack("<I", bits) + data[25:]


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "GIF", "JPEG", "WEBP"])
@pytest.mark.parametrize("max_pixels", [10**6, 200_000_000])
def test_bombs_are_stopped_before_they_are_decoded(file_format: str, max_pixels: int) -> None:
    assert reason(bomb(file_format), Limits(10**7, max_pixels)) == "over max_pixels"


def test_global_state_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Truncated files are refused even where a library has allowed them, and its switches are left alone."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 123)
    assert reason(saved(photo(), "JPEG")[:-500]) == "truncated or corrupt"
    for file_format in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):  # only max_pixels counts, not Pillow's own limit
        assert inspect(saved(photo(), file_format), LIMITS).width == 160
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert Image.MAX_IMAGE_PIXELS == 123


def test_silent_and_safe_in_threads() -> None:
    data = leaky_jpeg()
    palette = saved(Image.fromarray(photo()).convert("P"), "PNG", transparency=bytes(256))
    found: list[int] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=lambda: found.append(inspect(data, LIMITS).width)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        decode_rgb(palette, LIMITS)
    assert found == [160] * 8
    assert not caught
    assert Image.MAX_IMAGE_PIXELS is not None


def test_a_replaced_image_open_is_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ultralytics replaces it: by one that installs a package when a file is no image."""

    def replaced(*_: object, **__: object) -> None:
        raise AssertionError("Image.open was called")

    monkeypatch.setattr(Image, "open", replaced)
    assert reason(b"\xff\xd8\xff" + bytes(50)) == "damaged or unsupported header"
    assert inspect(saved(photo(), "PNG"), LIMITS).format == "PNG"


def test_importing_does_not_change_pillow() -> None:
    code = (
        "import warnings, numpy; from PIL import Image, ImageFile\n"
        "state = lambda: (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))\n"
        "before = state(); import blurline.images.redact; assert state() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_transparency_of_palettes() -> None:
    image = Image.fromarray(photo()).convert("P")
    used = np.unique(np.asarray(image))
    clear = bytes(0 if index == used[0] else 255 for index in range(256))
    hole = np.asarray(image) == used[0]

    def holes(data: bytes) -> np.ndarray:
        alpha = decode.load(data, LIMITS).alpha
        return np.zeros(hole.shape, np.bool_) if alpha is None else alpha == 0

    for data in (saved(image, "PNG", transparency=clear), saved(image, "GIF", transparency=int(used[0]))):
        assert np.array_equal(holes(data), hole)
    assert not holes(saved(image, "PNG", transparency=bytes([255] * 256))).any()
    # A text chunk of that name is no transparency, and hides none.
    real = saved(image, "PNG", transparency=clear)
    at = real.index(b"tRNS") - 4
    end = at + 12 + struct.unpack_from(">I", real, at)[0]
    text = png_chunk(b"tEXt", b"transparency\0x")
    assert np.array_equal(holes(real[:end] + text + real[end:]), hole)
    assert decode.load(with_chunks(saved(photo(), "PNG"), text), LIMITS).alpha is None


def test_lying_names_do_not_matter() -> None:
    """There is no name to lie with: a PNG is a PNG, whatever it was called where it came from."""
    buffer = io.BytesIO(saved(noise(9, 9, 3), "PNG"))
    buffer.name = "photo.JPEG"
    assert inspect(buffer.getvalue(), LIMITS).format == "PNG"
