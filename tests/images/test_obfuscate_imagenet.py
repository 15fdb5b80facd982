"""The formula of ImageNet's release of 2021: exactly that, and its known defect, so that the warning stays true."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from blurline.images.obfuscate import BlurStyle, Target, full_strength, plan, touched
from tests.images.samples import STYLE, astronaut, blur, noise

PUBLISHED = replace(STYLE, method="imagenet2021")
LARGE = (150, 150, 450, 450)

Box = tuple[int, int, int, int]


def published(pixels: np.ndarray, boxes: list[Box]) -> np.ndarray:
    """The formula anew: a white mask with a black rectangle for each box, one sigma, and the mask mixes."""
    picture = Image.fromarray(pixels)
    mask = Image.new("L", picture.size, "white")
    for x0, y0, x1, y1 in boxes:
        grown = 0.1 * max(x1 - x0, y1 - y0)
        ImageDraw.Draw(mask).rectangle([x0 - grown, y0 - grown, x1 + grown, y1 + grown], fill="black")
    sigma = 0.1 * max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes)
    blurring = ImageFilter.GaussianBlur(sigma)
    return np.asarray(Image.composite(picture, picture.filter(blurring), mask.filter(blurring)))


@pytest.mark.parametrize(
    "boxes",
    [
        [(175, 70, 285, 205)],
        [(175, 70, 285, 205), (300, 300, 341, 333), (7, 400, 20, 411)],
        [(-33, -7, 44, 61), (470, 480, 530, 540), (0, 200, 9, 209)],
        [(1, 1, 6, 8), (509, 0, 512, 5)],
    ],
)
def test_the_result_is_that_of_the_formula(boxes: list[Box]) -> None:
    for pixels in (astronaut(), np.ascontiguousarray(astronaut()[:, :, 1]), noise(512, 512, 3)):
        after, _ = blur(pixels, boxes, PUBLISHED)
        assert np.array_equal(after, published(pixels, boxes))


def test_random_boxes_give_the_result_of_the_formula() -> None:
    random = np.random.default_rng(5)
    pixels = noise(150, 200, 3)
    for _ in range(40):
        corners = [(int(random.integers(-20, 190)), int(random.integers(-20, 140))) for _ in range(4)]
        boxes = [(x, y, x + int(random.integers(1, 90)) + 20, y + int(random.integers(1, 90)) + 20) for x, y in corners]
        after, regions = blur(pixels, boxes, PUBLISHED)
        want = published(pixels, boxes)
        assert np.array_equal(after, want)
        assert len({region.sigma for region in regions}) == 1
        outside = ~touched(regions, 200, 150)
        assert np.array_equal(want[outside], pixels[outside])


def test_its_full_strength_is_where_its_mask_is_black() -> None:
    pixels = noise(600, 800, 3)
    boxes = [LARGE, (620, 290, 680, 350)]
    after, regions = blur(pixels, boxes, PUBLISHED)
    full = full_strength(regions, 800, 600)
    whole = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(30)))
    assert np.array_equal(after[full], whole[full])
    assert 0.05 < full[150:450, 150:450].mean() < 0.7
    assert not full[290:350, 620:680].any()


# The published defect: mean weight of the blur in a face's box beside one of 300 pixels.
WEIGHTS = {300: 0.97, 100: 0.72, 60: 0.48, 40: 0.29, 20: 0.09}


def weight(side: int, style: BlurStyle) -> np.ndarray:
    """Weight of the blur in the small one of two boxes, from the outside: a checkerboard's blur is flat grey."""
    board = ((np.indices((700, 1200)).sum(axis=0) % 2) * 200 + 20).astype(np.uint8)
    box = (700, 250, 700 + side, 250 + side)
    after, _ = blur(board, [LARGE, box], style)
    share: np.ndarray = 1 - np.abs(after[box[1] : box[3], box[0] : box[2]].astype(float) - 120) / 100
    return share


@pytest.mark.parametrize("side", WEIGHTS)
def test_a_small_face_beside_a_large_one_stays_clear_under_the_formula(side: int) -> None:
    assert weight(side, PUBLISHED).mean() == pytest.approx(WEIGHTS[side], abs=0.02)


@pytest.mark.parametrize("side", WEIGHTS)
def test_and_is_gone_completely_under_ours(side: int) -> None:
    box = (700, 250, 700 + side, 250 + side)
    regions = plan([Target(*LARGE), Target(*box)], STYLE, 1200, 700)
    assert full_strength(regions, 1200, 700)[box[1] : box[3], box[0] : box[2]].all()
    assert weight(side, STYLE).min() > 0.97


def test_the_docs_have_the_same_figures(top: Path) -> None:
    page = (top / "docs/blurring.md").read_text()
    assert f"| {' | '.join(f'{side} px' for side in WEIGHTS)} |\n" in page
    assert f"| {' | '.join(f'{mean:.2f}' for mean in WEIGHTS.values())} |\n" in page


def test_even_a_lone_faces_corners_are_not_gone_under_the_formula() -> None:
    (region,) = plan([Target(*LARGE)], PUBLISHED, 600, 600)
    assert region.core == (120, 120, 481, 481)
    full = full_strength([region], 600, 600)
    assert not full[150, 150]
    assert full[300, 300]
