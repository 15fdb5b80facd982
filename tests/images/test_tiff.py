"""TIFF's many kinds: each is released as what it shows, or refused with a reason."""

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from blurline.images import CannotRelease, decode, raster
from blurline.images.decode import Undecodable, decode_rgb, inspect
from blurline.images.obfuscate import Target, obfuscate, touched
from blurline.images.redact import redact
from tests.images import walkers
from tests.images.samples import LIMITS, STYLE, noise, photo, saved

TARGETS = [Target(20, 25, 50, 60)]
GREY = photo()[:, :, 1]
CMYK = np.asarray(Image.fromarray(photo()).convert("CMYK")) // 2 + noise(120, 160, 4) // 8


def written(samples: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, metadata=None, **options)
    return buffer.getvalue()


def small(mode: str, **options: Any) -> bytes:
    return saved(Image.fromarray(photo()).convert(mode), "TIFF", **options)


RELEASED = {
    "raw": written(photo(), photometric="rgb"),
    "big-endian": written(photo(), photometric="rgb", byteorder=">"),
    "lzw": small("RGB", compression="tiff_lzw"),
    "deflate": written(photo(), photometric="rgb", compression="zlib"),
    "deflate predictor": written(photo(), photometric="rgb", compression="zlib", predictor=2),
    "packbits": small("RGB", compression="packbits"),
    "jpeg": small("RGB", compression="jpeg"),
    "strips": written(photo(), photometric="rgb", rowsperstrip=7),
    "tiles": written(photo(), photometric="rgb", tile=(64, 48)),
    "tiles deflate": written(photo(), photometric="rgb", tile=(64, 48), compression="zlib"),
    "planes": written(photo().transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
    "planes deflate": written(
        photo().transpose(2, 0, 1), photometric="rgb", planarconfig="separate", compression="zlib"
    ),
    "grey": written(GREY, photometric="minisblack"),
    "grey inverted": written(255 - GREY, photometric="miniswhite"),
    "palette": small("P"),
    "palette lzw": small("P", compression="tiff_lzw"),
    "bits": small("1"),
    "bits fax": small("1", compression="group4"),
    "cmyk": written(CMYK, photometric="separated"),
    "cmyk deflate": written(CMYK, photometric="separated", compression="zlib"),
    "cmyk lzw": saved(Image.fromarray(CMYK, "CMYK"), "TIFF", compression="tiff_lzw"),
    "spare plane": written(np.dstack([photo(), GREY]), photometric="rgb", extrasamples=["unspecified"]),
    "spare planes": written(np.dstack([photo(), photo()]), photometric="rgb"),
    "opaque alpha": written(np.dstack([photo(), GREY | 255]), photometric="rgb", extrasamples=["unassalpha"]),
    "premultiplied": written(np.dstack([photo(), GREY | 255]), photometric="rgb", extrasamples=["assocalpha"]),
}


def test_the_samples_are_what_they_say() -> None:
    for kind in ("raw", "big-endian", "lzw", "deflate", "deflate predictor", "tiles deflate", "planes", "spare plane"):
        assert np.array_equal(decode_rgb(RELEASED[kind], LIMITS), photo()), kind
    assert np.array_equal(decode_rgb(RELEASED["grey inverted"], LIMITS)[:, :, 0], GREY)
    assert np.array_equal(np.asarray(decode.load(RELEASED["cmyk"], LIMITS).image), CMYK)


@pytest.mark.parametrize("targets", [[], TARGETS], ids=["no faces", "faces"])
@pytest.mark.parametrize("kind", RELEASED)
def test_released(kind: str, targets: list[Target]) -> None:
    data = RELEASED[kind]
    before = decode_rgb(data, LIMITS)
    result = redact(data, targets, STYLE, LIMITS)
    after = decode_rgb(result.data, LIMITS)
    outside = ~touched(result.regions, 160, 120)
    one, other = (raster.of(decode.load(bytes_, LIMITS)) for bytes_ in (data, result.data))
    assert one.mode == other.mode
    assert np.array_equal(one.samples[outside], other.samples[outside])
    assert walkers.extras(result.data, "TIFF", "keep-safe") == []
    if one.mode != "L" and "lzw" not in kind and "palette" not in kind:
        assert np.array_equal(np.asarray(tifffile.imread(io.BytesIO(result.data))), other.samples)
    want, regions = obfuscate(before if one.mode != "L" else before[:, :, 0], targets, STYLE)
    assert result.regions == regions
    assert np.array_equal(after, want if want.ndim == 3 else np.repeat(want[:, :, None], 3, axis=2))
    if not targets:
        assert inspect(result.data, LIMITS) == inspect(data, LIMITS)
    if one.mode == "CMYK" and targets:
        assert not other.samples[~outside][:, 3].any()  # nothing in the black plane either


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"])
def test_compression_stays(compression: str) -> None:
    for targets in ([], TARGETS):
        result = redact(small("RGB", compression=compression), targets, STYLE, LIMITS)
        assert decode.load(result.data, LIMITS).image.info["compression"] == compression


@pytest.mark.parametrize("targets", [[], TARGETS], ids=["no faces", "faces"])
def test_refused(targets: list[Target]) -> None:
    premultiplied = np.dstack([photo(), GREY])
    for data, reason in (
        (written(photo()[:, :, 0].astype(np.float32)), "samples of 32 bits in this layout are not supported yet"),
        (written(GREY.astype(np.int16)), "samples of 16 bits in this layout are not supported yet"),
        (small("LAB"), "colour mode not supported"),
        (
            written(premultiplied, photometric="rgb", extrasamples=["assocalpha"]),
            "graded transparency is not supported yet",
        ),
    ):
        with pytest.raises((CannotRelease, Undecodable), match=f"^{reason}$"):
            redact(data, targets, STYLE, LIMITS)
    for data in (
        written(photo().astype(np.float32), photometric="rgb"),
        written(photo().astype(np.uint32), photometric="rgb"),
        written(GREY, photometric="minisblack", bigtiff=True),
    ):
        with pytest.raises((CannotRelease, Undecodable)):
            redact(data, targets, STYLE, LIMITS)
