import numpy as np
import pytest
from PIL import Image

from blurline.images import CannotRelease, proof
from blurline.images.obfuscate import BlurStyle, Region, Target
from blurline.images.redact import redact
from tests.images.samples import FACE, LIMITS, STYLE, astronaut, blur, noise, saved

EVERYWHERE = np.ones((40, 50), np.bool_)


def test_the_ratio_is_the_peak_signal_to_noise_ratio() -> None:
    flat = np.full((40, 50, 3), 100, np.uint8)
    assert proof.bounded(flat, flat, EVERYWHERE) is None
    assert proof.bounded(flat, flat + 1, EVERYWHERE) == pytest.approx(48.13, abs=0.01)  # 20 log10(255)
    assert proof.bounded(flat, flat + 10, EVERYWHERE) == pytest.approx(28.13, abs=0.01)
    with pytest.raises(CannotRelease, match=f"^{proof.CHANGED}$"):
        proof.bounded(flat, flat + 11, EVERYWHERE)


def test_only_what_is_outside_counts() -> None:
    one, other = noise(40, 50, 3), noise(40, 50, 3, seed=1)
    same = one.copy()
    same[:20] = other[:20]
    below = EVERYWHERE.copy()
    below[:20] = False
    assert proof.bounded(one, same, below) is None
    assert proof.bounded(one, other, ~EVERYWHERE) is None
    with pytest.raises(CannotRelease):
        proof.bounded(one, same, ~below)


@pytest.mark.parametrize("contrast", [1.0, 0.5, 0.25, 0.12])
@pytest.mark.parametrize("tolerance", [3.0, 6.0, 15.0])
@pytest.mark.parametrize("side", [8, 16, 110])
def test_an_untouched_face_is_never_proven(contrast: float, tolerance: float, side: int) -> None:
    """However dim, small, or coarsely coded: even where what was meant is no farther off than coding may move it."""
    x1, y1, x2, y2 = FACE
    face = Image.fromarray(astronaut()[y1:y2, x1:x2]).resize((side, side + side // 4))
    before = np.zeros((side + 40, side + 40, 3), np.uint8)
    before[10 : 10 + face.height, 10 : 10 + side] = np.asarray(face) * contrast
    intended, regions = blur(before, [(10, 10, 10 + side, 10 + face.height)], STYLE)
    proof.prove(before, intended, intended, regions, tolerance, lossless=False)
    with pytest.raises(CannotRelease):
        proof.prove(before, intended, before, regions, tolerance, lossless=False)
    with pytest.raises(CannotRelease):
        proof.prove(before, before, before, regions, tolerance, lossless=True)


def test_a_corner_that_is_left_is_no_proof() -> None:
    """Three per cent of the core, in which nothing is to be seen of the face's structure."""
    before = np.full((100, 100, 3), 40, np.uint8)
    intended, (region,) = blur(before, [(20, 20, 80, 80)], BlurStyle("solid", 0.3, 0.0, 0.0, colour="#f0f0f0"))
    left = intended.copy()
    left[20:22, 20:80] = before[20:22, 20:80]
    for tolerance, lossless in ((15.0, False), (300.0, True)):
        with pytest.raises(CannotRelease, match=f"^{proof.DIFFERS}$"):
            proof.prove(before, intended, left, [region], tolerance, lossless=lossless)
        left[20:21] = intended[20:21]  # half as much is taken for rounding of a few pixels
        proof.prove(before, intended, left, [region], tolerance, lossless=lossless)
        left[20:22, 20:80] = before[20:22, 20:80]


def test_nothing_to_measure_is_no_proof() -> None:
    picture = noise(60, 60, 3)
    ellipse = Region(0, 0, 3, 3, "solid", None, 0, "ellipse", (-60, -60, 3, 3))
    assert not ellipse.core_mask().any()
    with pytest.raises(CannotRelease, match=f"^{proof.DIFFERS}$"):
        proof.prove(picture, picture, picture, [ellipse], lossless=True)


@pytest.mark.parametrize("colour", ["#ff0000", "#808080", "#000000", "mean"])
@pytest.mark.parametrize("feather", [0.0, 0.1])
@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("side", [6, 12, 24, 60])
def test_small_faces_of_any_colour_pass_in_subsampled_jpegs(
    colour: str, feather: float, quality: int, side: int
) -> None:
    data = saved(astronaut(), "JPEG", quality=quality, subsampling=2)
    style = BlurStyle("solid", 0.3, 0.1, feather, colour=colour)
    random = np.random.default_rng(side)
    for _ in range(4):
        x, y = (int(random.integers(0, 512 - side)) for _ in "xy")
        (shown,) = redact(data, [Target(x, y, x + side, y + side)], style, LIMITS).proofs
        assert shown.full >= proof.MIN_FULL
