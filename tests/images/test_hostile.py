"""Damaged and malicious bytes: only the two exceptions, and no pixels where something is missing."""

from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from blurline.images import CannotRelease
from blurline.images.containers import png, tiff
from blurline.images.decode import Limits, Undecodable, decode_rgb, frames, inspect
from blurline.images.obfuscate import Target
from blurline.images.redact import redact
from tests.images.leaky import leaky_bmp, leaky_gif, leaky_tiff
from tests.images.samples import (
    STYLE,
    leaky_jpeg,
    leaky_png,
    leaky_webp,
    noise,
    photo,
    saved,
    with_orientation,
)

SMALL = Limits(max_bytes=1_000_000, max_pixels=200_000)
PICTURE = photo(40, 30)

HOLE = np.where(np.arange(40) < 25, 255, 0)[None].repeat(30, axis=0).astype(np.uint8)
DEEP = PICTURE.astype(np.uint16) * 257

SEEDS: dict[str, bytes] = {
    "jpeg": leaky_jpeg(PICTURE, tag=6),
    "jpeg progressive": saved(PICTURE, "JPEG", progressive=True),
    "jpeg cmyk": saved(Image.fromarray(PICTURE).convert("CMYK"), "JPEG"),
    "mpo": saved(PICTURE, "MPO", save_all=True, append_images=[Image.fromarray(PICTURE)]),
    "png": leaky_png(PICTURE, tag=6),
    "png palette": saved(Image.fromarray(PICTURE).convert("P"), "PNG", transparency=0),
    "png 16": saved(Image.fromarray(PICTURE[:, :, 0].astype(np.uint16) * 257), "PNG"),
    "apng": saved(PICTURE, "PNG", save_all=True, append_images=[Image.fromarray(PICTURE[::-1])]),
    "webp": leaky_webp(PICTURE, tag=6),
    "webp lossless": saved(PICTURE, "WEBP", lossless=True),
    "webp animated": saved(PICTURE, "WEBP", save_all=True, append_images=[Image.fromarray(PICTURE[::-1])]),
    "gif": saved(PICTURE, "GIF"),
    "gif animated": saved(PICTURE, "GIF", save_all=True, append_images=[Image.fromarray(PICTURE[::-1])]),
    "bmp": saved(PICTURE, "BMP"),
    "tiff": with_orientation(PICTURE, "TIFF", 6),
    "tiff lzw": saved(PICTURE, "TIFF", compression="tiff_lzw"),
    "tiff jpeg": saved(PICTURE, "TIFF", compression="jpeg"),
    "png 48": png.write(DEEP),
    "png cut out": saved(np.dstack([PICTURE, HOLE]), "PNG"),
    "png clear colour": saved(PICTURE, "PNG", transparency=tuple(int(level) for level in PICTURE[3, 3])),
    "webp cut out": saved(np.dstack([PICTURE, HOLE]), "WEBP", lossless=True, exact=True),
    "gif clear": saved(Image.fromarray(PICTURE).convert("P"), "GIF", transparency=3),
    "bmp leaky": leaky_bmp(PICTURE),
    "gif leaky": leaky_gif(PICTURE),
    "tiff leaky": leaky_tiff(PICTURE, tag=6),
    "tiff 48": tiff.write(DEEP, True, 6, (72, 72), None),
    "tiff cmyk": saved(Image.fromarray(PICTURE).convert("CMYK"), "TIFF", compression="tiff_lzw"),
    "tiff cut out": saved(np.dstack([PICTURE, HOLE]), "TIFF"),
    "psd": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\4\0\0\0\5\0\x08\0\3" + bytes(14) + noise(60).tobytes(),
}


def attempt(data: bytes) -> bool:
    """Whether anything at all could be done with these bytes."""
    good = False
    try:
        info = inspect(data, SMALL)
        good = True
        pixels = decode_rgb(data, SMALL)
        assert pixels.shape == (info.height, info.width, 3)
        assert pixels.dtype == np.uint8
        assert sum(1 for _ in frames(data, SMALL)) == info.frames
    except Undecodable as error:
        assert 0 < len(error.reason) < 40
    for boxes in ([], [(1, 2, 9, 12)]):
        try:
            redact(data, [Target(*box) for box in boxes], STYLE, SMALL)
        except (Undecodable, CannotRelease) as error:
            assert 0 < len(error.reason) < 60
            assert "/" not in error.reason
    return good


@pytest.mark.parametrize("name", SEEDS)
def test_the_seeds_are_good(name: str) -> None:
    assert attempt(SEEDS[name])


@pytest.mark.parametrize("name", SEEDS)
def test_truncated_files(name: str) -> None:
    data = SEEDS[name]
    whole = decode_rgb(data, SMALL)
    for cut in np.linspace(0, len(data) - 1, 40).astype(int).tolist():
        attempt(data[:cut])
        with suppress(Undecodable):
            # What still decodes has lost nothing but what comes after the picture.
            assert np.array_equal(decode_rgb(data[:cut], SMALL), whole)


@pytest.mark.parametrize("name", SEEDS)
def test_flipped_bytes(name: str) -> None:
    data = SEEDS[name]
    random = np.random.default_rng(sum(name.encode()))
    for _ in range(40):
        bad = bytearray(data)
        # Half of the damage goes to the head, where the structure is.
        span = len(bad) if random.random() < 0.5 else min(len(bad), 200)
        for at in random.integers(0, span, random.integers(1, 6)):
            bad[at] = random.integers(256)
        attempt(bytes(bad))


@pytest.mark.parametrize("name", SEEDS)
def test_shuffled_and_doubled_parts(name: str) -> None:
    data = SEEDS[name]
    random = np.random.default_rng(len(name))
    for _ in range(15):
        one, two = sorted(random.integers(0, len(data), 2).tolist())
        attempt(data[:two] + data[one:])
        attempt(data[:one] + data[two:])


def test_signatures_followed_by_nothing_or_noise() -> None:
    for name, data in SEEDS.items():
        for length in (2, 4, 8, 12, 16, 30):
            attempt(data[:length])
            attempt(data[:length] + noise(300, seed=length + len(name)).tobytes())


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    """Each costs a few bytes, and a pass over the whole picture."""
    data = saved(noise(64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    assert inspect(data[:-2] + 100 * scan + data[-2:], Limits(10**7, 10**6)).format == "JPEG"
    for targets in ([], [Target(0, 0, 9, 9)]):
        with pytest.raises(Undecodable, match="too many scans"):
            redact(data[:-2] + 500 * scan + data[-2:], targets, STYLE, Limits(10**7, 10**6))
