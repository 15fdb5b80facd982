"""GIFs with faces: other pixels keep their colours, and no more than 256 are there."""

import numpy as np
import pytest
from PIL import Image

from blurline.images import CannotRelease, palette
from blurline.images.decode import decode_rgb, inspect
from blurline.images.obfuscate import Target, obfuscate, residual_detail, touched
from blurline.images.raster import Raster
from blurline.images.redact import redact
from tests.images import walkers
from tests.images.samples import FACE, LIMITS, STYLE, astronaut, noise, opened, photo, saved

TARGETS = [Target(20, 25, 50, 60)]


@pytest.mark.parametrize("colours", [2, 16, 100, 255, 256])
def test_gifs_with_faces(colours: int) -> None:
    data = saved(Image.fromarray(photo()).quantize(colours), "GIF")
    before = decode_rgb(data, LIMITS)
    result = redact(data, TARGETS, STYLE, LIMITS)
    after = decode_rgb(result.data, LIMITS)
    where = touched(result.regions, 160, 120)
    assert np.array_equal(after[~where], before[~where])
    want, regions = obfuscate(before, TARGETS, STYLE)
    assert result.regions == regions
    assert len(np.unique(after.reshape(-1, 3), axis=0)) <= 256
    # A picture of 256 colours has no room; one of fewer gets what is needed.
    error = np.abs(after[where].astype(int) - want[where]).mean()
    assert error < (14 if colours == 256 else 8 if colours == 255 else 4)
    assert walkers.extras(result.data, "GIF", "keep-safe") == []
    assert inspect(result.data, LIMITS).format == "GIF"
    assert redact(data, TARGETS, STYLE, LIMITS).data == result.data


def test_grey_gifs_stay_grey() -> None:
    data = saved(photo()[:, :, 0], "GIF")
    after = opened(redact(data, TARGETS, STYLE, LIMITS).data)
    assert after.mode == opened(data).mode == "L"


def test_a_face_in_a_gif_is_gone() -> None:
    data = saved(astronaut(), "GIF")
    result = redact(data, [Target(*FACE)], STYLE, LIMITS)
    x1, y1, x2, y2 = FACE
    before, after = decode_rgb(data, LIMITS)[y1:y2, x1:x2], decode_rgb(result.data, LIMITS)[y1:y2, x1:x2]
    assert abs(residual_detail(before, after)) < 0.05


def test_the_whole_picture_may_be_a_face() -> None:
    data = saved(Image.fromarray(photo()).quantize(256), "GIF")
    result = redact(data, [Target(0, 0, 160, 120)], STYLE, LIMITS)
    assert (
        np.abs(
            decode_rgb(result.data, LIMITS).astype(int)
            - obfuscate(decode_rgb(data, LIMITS), [Target(0, 0, 160, 120)], STYLE)[0]
        ).mean()
        < 2
    )


def test_fitting_and_indexing() -> None:
    samples = noise(20, 30, 3)
    where = np.ones((20, 30), np.bool_)
    samples[0, :5] = 7
    where[0, :5] = False
    fitted = palette.fitted(Raster("RGB", samples), where)
    assert np.array_equal(fitted.samples[~where], samples[~where])
    indices, colours, clear = palette.indexed(fitted, np.zeros_like(where))
    assert clear is None
    assert 128 < len(colours) <= 256
    assert np.array_equal(colours[indices], fitted.samples)
    few = Raster("RGB", samples // 64 * 64)
    assert np.array_equal(palette.fitted(few, where).samples, few.samples)
    with pytest.raises(CannotRelease, match="more than 256 colours"):
        palette.fitted(Raster("RGB", samples), ~where)


def test_clear_pixels_have_a_colour_of_their_own() -> None:
    """However many colours there are, and whatever colour lies under them."""
    samples = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    alpha = np.full((16, 16, 1), 255, np.uint8)
    alpha[3, 4] = 0
    samples[3, 4] = samples[0, 0]
    raster = Raster("RGBA", np.dstack([samples, alpha]))
    indices, colours, clear = palette.indexed(raster, np.zeros((16, 16), np.bool_))
    assert clear == 255
    assert np.array_equal(indices == clear, alpha[:, :, 0] == 0)
    assert np.array_equal(colours[indices], samples)
    alpha[:] = 255
    alpha[0, 0] = 0
    full = Raster("RGBA", np.dstack([noise(16, 16, 3), alpha]))
    fitted = palette.fitted(full, np.ones((16, 16), np.bool_))
    assert len(palette.indexed(fitted, np.zeros((16, 16), np.bool_))[1]) <= 256
