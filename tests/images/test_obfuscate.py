import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from blurline.images.obfuscate import MIN_SIGMA, BlurStyle, Target, plan, residual_detail, touched
from blurline.params import Blur
from blurline.steps.blur import style_of
from tests.images.samples import FACE, STYLE, astronaut, blur, noise

HARD = BlurStyle("gaussian", strength=0.15, margin=0.0, feather=0.0)


def style(**changes: Any) -> BlurStyle:
    return replace(STYLE, **changes)


def crop(pixels: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    return pixels[box[1] : box[3], box[0] : box[2]]


def weights(shape: tuple[int, int], boxes: list[tuple[int, int, int, int]], how: BlurStyle) -> np.ndarray:
    """Share of the original that the blur has replaced, measured from the outside.

    On a checkerboard every blur is flat grey, so what is left of the contrast is what is left of the original.
    """
    board = ((np.indices(shape).sum(axis=0) % 2) * 200 + 20).astype(np.uint8)
    after, _ = blur(board, boxes, how)
    share: np.ndarray = 1 - np.abs(after.astype(float) - 120) / 100
    return share


# Weight


def imagenet_weights(shape: tuple[int, int], boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Blur weight by the formula of ImageNet's release: one sigma for all, and the mask is blurred as well."""
    mask = np.zeros(shape, np.uint8)
    longest = 0
    for x1, y1, x2, y2 in boxes:
        side = max(x2 - x1, y2 - y1)
        longest, m = max(longest, side), round(0.1 * side)
        mask[max(y1 - m, 0) : y2 + m, max(x1 - m, 0) : x2 + m] = 255
    return np.asarray(Image.fromarray(mask).filter(ImageFilter.GaussianBlur(0.1 * longest))) / 255


@pytest.mark.parametrize("side", [100, 60, 40, 20])
def test_a_small_face_beside_a_large_one_is_gone_completely(side: int) -> None:
    large, small = (150, 150, 450, 450), (620, 290, 620 + side, 290 + side)
    got = weights((600, 800), [large, small], style())
    for box in (large, small):
        assert crop(got, box).min() > 0.97
    assert crop(imagenet_weights((600, 800), [large, small]), small).mean() < 0.75
    assert crop(imagenet_weights((600, 800), [large]), large).min() < 0.75


@pytest.mark.parametrize("box", [(100, 80, 130, 140), (0, 0, 40, 50), (360, 250, 400, 300), (0, 100, 30, 140)])
def test_the_core_is_exactly_the_blurred_image(box: tuple[int, int, int, int]) -> None:
    """The context is wide enough, and the image's border is treated as Pillow does."""
    pixels = noise(300, 400, 3)
    after, (region,) = blur(pixels, [box], style(strength=0.12))
    whole = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(region.sigma or 0)))
    core = (region.x1, region.y1, region.x2, region.y2)
    assert core[0] <= box[0]
    assert core[2] >= box[2]
    assert np.array_equal(crop(after, core), crop(whole, core))


@pytest.mark.parametrize("strength", [0.1, 0.15, 0.3, 0.6])
@pytest.mark.parametrize("box", [FACE, (150, 200, 300, 290)])
def test_a_wide_blur_on_means_is_the_same_but_for_rounding(box: tuple[int, int, int, int], strength: float) -> None:
    """Of a photograph, and of a picture with nothing but an edge."""
    edge = np.zeros((512, 512, 3), np.uint8)
    edge[:, 230:] = 255
    for pixels in (astronaut(), edge):
        after, (region,) = blur(pixels, [box], replace(HARD, strength=strength))
        assert region.sigma is not None
        assert region.sigma >= 8
        whole = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(region.sigma)))
        differences = np.abs(crop(after, box).astype(int) - crop(whole, box))
        assert differences.mean() < 0.5
        assert differences.max() <= 3


def test_a_wide_blur_at_the_border_repeats_what_is_there() -> None:
    """The outermost squares go on, not the outermost pixels: a frame one pixel wide leaves next to nothing."""
    framed = np.full((200, 200), 100, np.uint8)
    framed[[0, -1]] = framed[:, [0, -1]] = 255
    after, _ = blur(framed, [(0, 0, 120, 120)], replace(HARD, strength=0.3))
    assert np.abs(crop(after, (0, 0, 120, 120)).astype(int) - 100).max() < 40
    flat, _ = blur(np.full((200, 200), 77, np.uint8), [(0, 0, 200, 200)], HARD)
    assert np.all(flat == 77)


def test_feather_falls_off_outside_the_core_only() -> None:
    box = (100, 100, 200, 200)
    got = weights((300, 300), [box], style(feather=0.2))
    row = got[150]
    assert row[90:210].min() > 0.97
    falling = row[210:231]
    assert np.all(np.diff(falling) <= 0.011)
    assert falling[0] > 0.9
    assert 0.4 < falling[10] < 0.6
    assert 0 < falling[19] < 0.1
    assert np.all(np.abs(got[:, 230:]) < 1e-9)
    hard = weights((300, 300), [box], style(feather=0.0))
    assert set(np.unique(hard[150] > 0.5)) == {False, True}
    assert hard[150, 210] < 1e-9
    assert hard[150, 209] > 0.97


def test_pixels_beyond_the_feather_stay() -> None:
    pixels = noise(300, 400, 3)
    boxes = [(10, 10, 60, 60), (200, 100, 320, 260)]
    after, regions = blur(pixels, boxes, STYLE)
    outside = ~touched(regions, 400, 300)
    assert 0.4 < outside.mean() < 0.95
    assert np.array_equal(after[outside], pixels[outside])
    assert (after != pixels).any(axis=2)[~outside].mean() > 0.9
    assert np.array_equal(pixels, noise(300, 400, 3))  # the input is not written to


# Strength


def measured_sigma(after: np.ndarray) -> float:
    """Standard deviation of the edge's derivative: the blur's own, whatever it was asked for."""
    step = np.diff(after[after.shape[0] // 2].astype(float))
    at = np.arange(len(step))
    mean = (step * at).sum() / step.sum()
    return math.sqrt((step * (at - mean) ** 2).sum() / step.sum())


@pytest.mark.parametrize("side", [40, 100, 300])
@pytest.mark.parametrize("strength", [0.05, 0.1, 0.15, 0.3])
def test_the_blur_is_as_strong_as_it_says(side: int, strength: float) -> None:
    edge = np.zeros((1200, 1200), np.uint8)
    edge[:, 600:] = 255
    box = (600 - side // 2, 600 - side // 2, 600 + side // 2, 600 + side // 2)
    # The margin takes the whole edge into the core.
    after, (region,) = blur(edge, [box], style(strength=strength, margin=1.5, feather=0.0))
    assert region.sigma == pytest.approx(max(MIN_SIGMA, strength * side))
    assert measured_sigma(after) == pytest.approx(region.sigma, rel=0.03)


def test_an_impulse_spreads_like_a_gaussian() -> None:
    point = np.zeros((201, 201), np.uint8)
    point[90:111, 90:111] = 255  # wide enough for 8 bits; its variance is known
    after, (region,) = blur(point, [(51, 51, 151, 151)], style(strength=0.1, margin=0.5))
    mass = after.astype(float)
    ys, xs = np.indices(mass.shape)
    for axis in (xs, ys):
        variance = (mass * (axis - 100) ** 2).sum() / mass.sum()
        assert math.sqrt(variance - (21**2 - 1) / 12) == pytest.approx(region.sigma, rel=0.05)


def test_strong_blurs_are_told_from_weak_ones() -> None:
    """The figures of a face's structure left, at shares of its width."""
    before = crop(astronaut(), FACE)

    def left(strength: float) -> float:
        after, _ = blur(astronaut(), [FACE], style(strength=strength, margin=0.0))
        return residual_detail(before, crop(after, FACE))

    assert residual_detail(before, before) == pytest.approx(1)
    assert left(0.02) > 0.2
    assert 0.01 < left(0.05) < 0.1
    assert left(0.1) < 0.02
    assert left(0.15) < 0.01


@pytest.mark.parametrize("scale", [0.1, 0.25, 1.0])
def test_the_default_style_leaves_nothing_of_faces_of_any_size(scale: float) -> None:
    size = round(512 * scale)
    small = np.asarray(Image.fromarray(astronaut()).resize((size, size), Image.Resampling.LANCZOS))
    x1, y1, x2, y2 = (round(v * scale) for v in FACE)
    box = (x1, y1, x2, y2)
    after, _ = blur(small, [box], style_of(Blur()))
    assert residual_detail(crop(small, box), crop(after, box)) < 0.03


def test_residual_detail_is_not_fooled() -> None:
    before = crop(astronaut(), FACE)
    blurred = crop(blur(astronaut(), [FACE], STYLE)[0], FACE)
    noisy = np.clip(blurred + np.random.default_rng(1).normal(0, 25, blurred.shape), 0, 255).astype(np.uint8)
    assert abs(residual_detail(before, noisy)) < 0.1
    assert residual_detail(before[:, :, 0], before[:, :, 0]) == pytest.approx(1)
    flat = np.full((40, 30, 3), 77, np.uint8)
    assert residual_detail(flat, noise(40, 30, 3)) == 0
    assert residual_detail(noise(1, 1, 3), noise(1, 1, 3)) == 0


def test_small_faces_are_not_skipped() -> None:
    pixels = noise(50, 50, 3)
    after, (region,) = blur(pixels, [(20, 20, 28, 28)], STYLE)
    assert region.sigma == MIN_SIGMA
    assert after[20:28, 20:28].std() < pixels[20:28, 20:28].std() / 3


# Geometry


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (3, 5), (5, 3, 3), (1, 40, 3), (40, 1)])
def test_tiny_images(shape: tuple[int, ...]) -> None:
    height, width = shape[:2]
    after, (region,) = blur(noise(*shape), [(0, 0, width, height)], STYLE)
    assert after.shape == shape
    assert (region.x1, region.y1, region.x2, region.y2) == (0, 0, width, height)


def test_boxes_over_the_border_are_clipped() -> None:
    pixels = noise(60, 80, 3)
    after, (region,) = blur(pixels, [(-30, -30, 20, 20)], STYLE)
    assert (region.x1, region.y1, region.x2, region.y2) == (0, 0, 25, 25)
    assert region.sigma == pytest.approx(7.5)
    assert after[:20, :20].std() < 20


def test_a_box_of_absurd_size_is_no_problem() -> None:
    after, _ = blur(noise(60, 80, 3), [(-(10**12), -(10**12), 10**12, 10**12)], STYLE)
    assert after.std(axis=(0, 1)).max() < 2


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 9), (5, 9, 9, 5), (80, 0, 90, 9), (-9, 0, 0, 9), (0, 60, 9, 69), (0, -9, 9, 0)]
)
def test_empty_and_outside_boxes_are_errors(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="empty or outside"):
        blur(noise(60, 80, 3), [box], STYLE)


@pytest.mark.parametrize(
    "bad",
    [
        {"method": "pixelate"},
        {"strength": 0.0},
        {"strength": math.nan},
        {"strength": math.inf},
        {"margin": -0.1},
        {"margin": math.nan},
        {"feather": -1.0},
    ],
)
def test_nonsensical_styles_are_errors(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"method|strength"):
        style(**bad)


# Several faces


def test_order_and_repetition_do_not_matter() -> None:
    pixels = noise(200, 200, 3)
    boxes = [(10, 10, 90, 90), (50, 50, 130, 130), (60, 20, 100, 60), (40, 90, 80, 130), (150, 150, 160, 170)]
    want, regions = blur(pixels, boxes, STYLE)
    for seed in range(5):
        shuffled = [boxes[i] for i in np.random.default_rng(seed).permutation(len(boxes))]
        got, same = blur(pixels, [*shuffled, shuffled[0]], STYLE)
        assert np.array_equal(got, want)
        assert same == regions
    sigmas = [r.sigma or 0 for r in regions]
    assert sigmas == sorted(sigmas)


def test_a_nested_face_gets_at_least_the_larger_blur() -> None:
    pixels = noise(300, 300)
    outer, inner = (50, 50, 250, 250), (130, 130, 160, 160)
    alone, _ = blur(pixels, [outer], STYLE)
    both, _ = blur(pixels, [inner, outer], STYLE)
    assert crop(both, inner).std() <= crop(alone, inner).std() + 0.5


def test_no_clear_pixels_flow_back_into_a_strong_core() -> None:
    """Beside the strong core a white field; a weak face reaches over both. Weak-last would pull a sharp edge in."""
    pixels = np.zeros((400, 400), np.uint8)
    pixels[:, 300:] = 255
    strong, weak = (100, 100, 300, 300), (280, 180, 320, 220)
    alone, _ = blur(pixels, [strong], HARD)
    both, regions = blur(pixels, [weak, strong], HARD)
    assert regions[-1].sigma == 30
    inside = np.s_[180:220, 100:300]
    assert np.abs(both[inside].astype(int) - alone[inside]).max() <= 40
    slope = np.abs(np.diff(both[200, 281:300].astype(int))).max()
    assert slope <= 6  # of sigma 30; sigma 6 has 17 a pixel


def test_a_face_in_another_ones_feather_stays_blurred() -> None:
    large, small = (100, 100, 300, 300), (325, 190, 345, 210)
    got = weights((400, 450), [large, small], style(feather=0.3))
    assert crop(got, small).min() > 0.97


# Arrays


def test_channels_are_blurred_alike() -> None:
    rgb = noise(90, 90, 3)
    want, _ = blur(rgb, [(20, 20, 60, 60)], STYLE)
    for channel in range(3):
        grey, _ = blur(rgb[:, :, channel], [(20, 20, 60, 60)], STYLE)
        assert np.array_equal(grey, want[:, :, channel])
    four, _ = blur(np.dstack([rgb, rgb[:, :, 0]]), [(20, 20, 60, 60)], STYLE)
    assert np.array_equal(four[:, :, :3], want)
    assert np.array_equal(four[:, :, 3], want[:, :, 0])
    two, _ = blur(rgb[:, :, :2], [(20, 20, 60, 60)], STYLE)
    assert np.array_equal(two, want[:, :, :2])
    turned, _ = blur(rgb[::-1, ::-1], [(20, 20, 60, 60)], STYLE)  # a view with negative strides
    assert turned.shape == rgb.shape


def test_known_pixels() -> None:
    """Integer arithmetic: these values hold on every CPU."""
    pattern = (np.multiply.outer(np.arange(24) ** 2, np.arange(24) * 13 + 7) % 251).astype(np.uint8)
    after, _ = blur(pattern, [(6, 6, 18, 18)], STYLE)
    assert [int(v) for v in after[12, 4:20:3]] == [135, 131, 128, 129, 124, 118]


def test_plan_is_what_obfuscate_does() -> None:
    boxes = [(10, 10, 50, 70), (100, 20, 130, 60)]
    assert plan([Target(*box) for box in boxes], STYLE, 200, 100) == blur(noise(100, 200), boxes, STYLE)[1]
