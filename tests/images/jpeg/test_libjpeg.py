import numpy as np
import pytest
from PIL import Image
from scipy.fft import idctn

from blurline.images import CannotRelease, decode, isolated
from blurline.images.codecs import jpeg_coding
from blurline.images.jpeg import libjpeg
from blurline.images.jpeg.libjpeg import Geometry
from tests.images.samples import LIMITS, noise, opened, photo, saved

GREY = saved(Image.fromarray(photo()[:, :, 0]), "JPEG", quality=90)
DOWN, ACROSS = -(-photo().shape[0] // 8), -(-photo().shape[1] // 8)
WHOLE = [Geometry(ACROSS, DOWN)]


def test_coefficients_are_those_that_make_the_picture() -> None:
    """Dequantised and transformed back in floats they give what Pillow shows, within its rounding."""
    (found,) = libjpeg.coefficients(GREY, WHOLE)
    (table,) = jpeg_coding(decode.load(GREY, LIMITS).image).tables
    shown = np.asarray(opened(GREY))
    picture = np.zeros((8 * DOWN, 8 * ACROSS))
    for row, column in np.ndindex(DOWN, ACROSS):
        block = idctn((found[row, column] * table).reshape(8, 8), norm="ortho") + 128
        picture[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = block
    assert np.abs(np.clip(picture, 0, 255)[: shown.shape[0], : shown.shape[1]] - shown).max() < 1.5


@pytest.mark.parametrize("progressive", [False, True])
def test_only_the_blocks_named_are_replaced(progressive: bool) -> None:
    new = np.zeros((2, libjpeg.BLOCK), np.int16)
    new[:, 0] = 100, -1000
    where = np.zeros((DOWN, ACROSS), np.bool_)
    where[3, [0, 5]] = True
    result = libjpeg.replace(GREY, WHOLE, [(where, new)], progressive)
    (before,), (after,) = libjpeg.coefficients(GREY, WHOLE), libjpeg.coefficients(result, WHOLE)
    changed = np.argwhere((before != after).any(axis=2)).tolist()
    assert changed == [[3, 0], [3, 5]]
    assert after[3, 5, 0] == -1000
    assert not after[3, 5, 1:].any()
    assert bool(opened(result).info.get("progressive")) == progressive
    before[3, [0, 5]] = new
    assert np.array_equal(before, after)


def test_what_libjpeg_warns_about_is_damaged() -> None:
    """A restart marker out of turn: Pillow shows something, and says nothing."""
    good = saved(Image.fromarray(photo()[:, :, 0]), "JPEG", quality=90, restart_marker_rows=1)
    bad = good.replace(b"\xff\xd1", b"\xff\xd4", 1)
    assert bad != good
    decode.load(bad, LIMITS)
    for read in (lambda data: libjpeg.unchanged(data, good, WHOLE), lambda data: libjpeg.coefficients(data, WHOLE)):
        with pytest.raises(CannotRelease, match=f"^{libjpeg.DAMAGED}$"):
            read(bad)
    assert libjpeg.coefficients(good, WHOLE)  # the warning is not held against the next one


def test_bytes_that_are_skipped_are_noticed() -> None:
    assert libjpeg.unchanged(GREY, GREY, WHOLE)
    longer = GREY[:-2] + bytes(50) + GREY[-2:]
    assert not libjpeg.unchanged(longer, GREY, WHOLE)
    with pytest.raises(CannotRelease, match=f"^{libjpeg.KEPT}$"):
        libjpeg.unchanged(GREY, longer, WHOLE)
    with pytest.raises(CannotRelease, match=f"^{libjpeg.KEPT}$"):
        libjpeg.unchanged(GREY, saved(Image.fromarray(photo()[:, :, 0] // 2), "JPEG", quality=90), WHOLE)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xd9", b"no image", GREY[:300], GREY[:2] + noise(500).tobytes()])
def test_what_libjpeg_refuses_costs_one_image(data: bytes) -> None:
    with pytest.raises(CannotRelease, match=f"^({isolated.CRASHED}|{libjpeg.DAMAGED})$"):
        libjpeg.coefficients(data, WHOLE)
    assert libjpeg.coefficients(GREY, WHOLE)
