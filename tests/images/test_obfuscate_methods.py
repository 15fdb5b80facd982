"""Mosaics, one colour, ellipses, overrides for classes, and what holds for every method."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blurline.images.obfuscate import (
    MIN_CELL,
    BlurStyle,
    Region,
    Target,
    full_strength,
    obfuscate,
    plan,
    residual_detail,
    stronger,
    touched,
)
from blurline.params import Blur
from blurline.steps.blur import style_of
from tests.images.samples import FACE, STYLE, astronaut, blur, noise

MOSAIC = replace(STYLE, method="mosaic", cells=5)
SOLID = replace(STYLE, method="solid")
GREEN = replace(SOLID, colour="#208040")
PUBLISHED = replace(STYLE, method="imagenet2021")
STYLES = [
    STYLE,
    MOSAIC,
    SOLID,
    GREEN,
    PUBLISHED,
    *(replace(style, shape="ellipse") for style in (STYLE, MOSAIC, SOLID)),
]
NAMES = [f"{style.method}-{style.shape}-{style.colour}" for style in STYLES]
OURS = [style for style in STYLES if style.method != "imagenet2021"]
every_method = pytest.mark.parametrize("style", STYLES, ids=NAMES)
our_methods = pytest.mark.parametrize("style", OURS, ids=[n for n in NAMES if "imagenet" not in n])

Box = tuple[int, int, int, int]


def core(region: Region) -> tuple[slice, slice]:
    return np.s_[region.y1 : region.y2, region.x1 : region.x2]


# Mosaic


def test_a_mosaic_is_made_of_averages() -> None:
    pixels = noise(200, 200, 3)
    after, (region,) = blur(pixels, [(50, 40, 150, 120)], replace(MOSAIC, margin=0.0, feather=0.0))
    assert (region.core, region.cell, region.cells) == ((50, 40, 150, 120), 20, 20)
    for x in range(50, 150, 20):
        for y in range(40, 120, 20):
            cell = np.s_[y : y + 20, x : x + 20]
            mean = pixels[cell].mean(axis=(0, 1))
            assert np.all(after[cell] == after[y, x])
            assert np.abs(after[y, x] - mean).max() <= 0.5
    assert len(np.unique(after[core(region)].reshape(-1, 3), axis=0)) == 20
    outside = ~touched([region], 200, 200)
    assert np.array_equal(after[outside], pixels[outside])


@pytest.mark.parametrize("side", [8, 13, 50, 101, 333])
@pytest.mark.parametrize("cells", [1, 3, 5, 8])
def test_a_face_of_any_size_has_few_cells(side: int, cells: int) -> None:
    pixels = noise(600, 600)
    box = (100, 120, 100 + side, 120 + side)
    after, (region,) = blur(pixels, [box], replace(MOSAIC, cells=cells, margin=0.0, feather=0.0))
    row, column = after[120 + side // 2, 100 : 100 + side], after[120 : 120 + side, 100 + side // 2]
    for line in (row, column):
        ends = np.flatnonzero(np.diff(line.astype(int)))
        widths = np.diff([-1, *ends, side - 1])
        assert len(widths) <= cells
        assert widths.min() >= min(MIN_CELL, side)
        assert widths.min() >= side / cells - 1
    assert region.cells is not None
    assert region.cells <= cells * cells


def test_a_mosaic_at_the_border_has_no_smaller_cells() -> None:
    pixels = (np.arange(100, dtype=np.uint8)[:, None] * 2).repeat(100, axis=1)
    after, (region,) = blur(pixels, [(-60, 20, 25, 80)], replace(MOSAIC, margin=0.0, feather=0.0))
    assert (region.core, region.cell) == ((0, 20, 25, 80), 17)
    assert region.cells == 3
    assert len(np.unique(after[core(region)])) == 3
    tiny, _ = blur(pixels, [(98, 98, 120, 120)], replace(MOSAIC, margin=0.0, feather=0.0))
    assert len(np.unique(tiny[98:, 98:])) == 1


# One colour


@pytest.mark.parametrize("shape", [(120, 160, 3), (120, 160), (120, 160, 1), (120, 160, 4)])
def test_solid_is_the_mean_of_what_it_covers(shape: tuple[int, ...]) -> None:
    pixels = noise(*shape) // 2
    pixels[:, :80] += 100
    after, (region,) = blur(pixels, [(60, 40, 100, 80)], SOLID)
    flat = after[core(region)].reshape(-1, *shape[2:])
    assert np.all(flat == flat[0])
    assert np.abs(flat[0] - pixels[core(region)].mean(axis=(0, 1))).max() <= 0.5
    assert (region.sigma, region.cells, region.colour) == (None, None, None)


def test_the_mean_of_an_ellipse_is_that_of_its_own_pixels() -> None:
    pixels = np.full((100, 100), 10, np.uint8)
    (region,) = plan([Target(30, 30, 70, 70)], replace(SOLID, shape="ellipse"), 100, 100)
    pixels[core(region)][region.core_mask()] = 200
    after, _ = blur(pixels, [(30, 30, 70, 70)], replace(SOLID, shape="ellipse", feather=0.0))
    assert np.array_equal(after, pixels)


def test_a_given_colour_is_that_colour() -> None:
    after, (region,) = blur(noise(60, 60, 3), [(20, 20, 40, 40)], GREEN)
    assert np.all(after[core(region)] == (0x20, 0x80, 0x40))
    assert region.colour == "#208040"
    grey, (region,) = blur(noise(60, 60), [(20, 20, 40, 40)], GREEN)
    assert np.all(grey[core(region)] == round(0.299 * 0x20 + 0.587 * 0x80 + 0.114 * 0x40))
    inks, (region,) = blur(noise(60, 60, 4), [(20, 20, 40, 40)], GREEN)
    shown = Image.frombytes("CMYK", (60, 60), inks.tobytes()).convert("RGB")
    assert np.all(np.asarray(shown)[core(region)] == (0x20, 0x80, 0x40))
    with pytest.raises(ValueError, match="grey, RGB or CMYK"):
        blur(noise(60, 60, 2), [(20, 20, 40, 40)], GREEN)


# Ellipse


def covered(box: Box, region: Region, width: int = 900, height: int = 900) -> float:
    full = full_strength([region], width, height)
    return float(full[box[1] : box[3], box[0] : box[2]].mean())


@pytest.mark.parametrize("size", [(200, 200), (150, 200), (100, 200), (200, 120), (40, 50), (12, 14), (8, 8)])
def test_an_ellipse_holds_nearly_all_of_the_box(size: tuple[int, int]) -> None:
    box = (300, 310, 300 + size[0], 310 + size[1])
    (region,) = plan([Target(*box)], replace(STYLE, shape="ellipse"), 900, 900)
    assert covered(box, region) > 0.94
    (wide,) = plan([Target(*box)], replace(STYLE, shape="ellipse", margin=0.21), 900, 900)
    assert covered(box, wide) == 1
    (rectangle,) = plan([Target(*box)], STYLE, 900, 900)
    assert covered(box, rectangle) == 1
    assert region.core == rectangle.core  # so what asks whether a region holds the box has the same answer
    assert region.core_mask().mean() == pytest.approx(np.pi / 4, abs=0.03)


def test_an_ellipse_with_too_little_margin_is_an_error() -> None:
    with pytest.raises(ValueError, match="ellipse needs a margin"):
        replace(STYLE, shape="ellipse", margin=0.09)


def test_an_ellipse_is_an_ellipse() -> None:
    (region,) = plan([Target(100, 100, 200, 260)], replace(STYLE, shape="ellipse"), 400, 400)
    x1, y1, x2, y2 = region.core
    assert region.core == (84, 84, 216, 276)
    ys, xs = np.mgrid[y1:y2, x1:x2] + 0.5
    want = ((xs - 150) / 66) ** 2 + ((ys - 180) / 96) ** 2 <= 1
    assert np.array_equal(region.core_mask(), want)


def test_an_ellipse_at_the_border_is_cut_not_squeezed() -> None:
    style = replace(SOLID, shape="ellipse")
    (whole,) = plan([Target(60, 60, 120, 140)], style, 300, 300)
    (cut,) = plan([Target(-40, -20, 20, 60)], style, 300, 300)
    assert np.array_equal(cut.core_mask(), whole.core_mask()[-cut.y2 :, -cut.x2 :])
    for half in ((0, 100, 60, 180), (240, 100, 300, 180), (100, 0, 160, 80), (100, 240, 160, 300)):
        (region,) = plan([Target(*half)], style, 300, 300)
        assert region.core_mask().all()


def test_an_ellipses_edge_is_soft_and_ends_at_the_feather() -> None:
    board = ((np.indices((300, 300)).sum(axis=0) % 2) * 200 + 20).astype(np.uint8)
    after, (region,) = blur(board, [(100, 100, 200, 200)], replace(STYLE, shape="ellipse", feather=0.2))
    share = 1 - np.abs(after.astype(float) - 120) / 100
    falling = share[150, 210:230]
    assert np.all(np.diff(falling) <= 0.011)
    assert falling[0] > 0.9
    assert 0.4 < falling[10] < 0.6
    ys, xs = np.mgrid[:300, :300] + 0.5
    assert np.all(share[np.hypot(xs - 150, ys - 150) > 60 + region.feather] == 0)
    hard, (region,) = blur(board, [(100, 100, 200, 200)], replace(STYLE, shape="ellipse", feather=0.0))
    assert np.array_equal((hard != board)[core(region)], region.core_mask())


# Overrides for classes


def test_a_class_has_its_own_way() -> None:
    style = style_of(Blur.model_validate({"classes": {"licence_plate": {"method": "solid", "margin": 0.05}}}))
    face, plate = Target(20, 20, 80, 80), Target(120, 40, 180, 60, "licence_plate")
    after, regions = obfuscate(noise(100, 200, 3), [face, plate, face], style)
    assert [(r.method, r.core, r.feather) for r in regions] == [
        ("gaussian", (14, 14, 86, 86), 6),
        ("solid", (117, 37, 183, 63), 6),
    ]
    assert after[core(regions[1])].std(axis=(0, 1)).max() == 0
    assert after[core(regions[0])].std(axis=(0, 1)).max() > 0
    # Twice in one place, with two classes: both ways, the stronger last.
    both, regions = obfuscate(noise(100, 200, 3), [face, face._replace(label="licence_plate")], style)
    assert [r.method for r in regions] == ["gaussian", "solid"]
    assert both[25:75, 25:75].std(axis=(0, 1)).max() == 0


def test_overrides_leave_the_other_keys_as_they_are() -> None:
    params = Blur.model_validate(
        {"strength": 0.4, "shape": "ellipse", "classes": {"plate": {"cells": 2, "shape": "box"}}}
    )
    style = style_of(params)
    assert style.of("plate") == BlurStyle("gaussian", 0.4, 0.1, 0.1, "box", 2)
    assert style.of("face").shape == "ellipse"
    assert style_of(Blur()) == BlurStyle("gaussian", 0.3, 0.1, 0.1)


@pytest.mark.parametrize(
    "bad",
    [
        {"method": "imagenet2021", "classes": {"plate": SOLID}},
        {"classes": {"plate": PUBLISHED}},
        {"classes": {"plate": replace(STYLE, classes={"x": SOLID})}},
        {"shape": "circle"},
        {"colour": "red"},
        {"cells": 0},
    ],
)
def test_nonsensical_styles_are_errors(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"imagenet2021|class|shape|colour|cells"):
        replace(STYLE, **bad)


# The next stronger way


def left(style: BlurStyle) -> float:
    """Detail of a face, the mean over two sizes."""
    total = 0.0
    for scale in (1, 2):
        picture = np.asarray(Image.fromarray(astronaut()).resize((512 * scale, 512 * scale)))
        x1, y1, x2, y2 = (v * scale for v in FACE)
        after, _ = blur(picture, [(x1, y1, x2, y2)], style)
        total += abs(residual_detail(picture[y1:y2, x1:x2], after[y1:y2, x1:x2])) / 2
    return total


@pytest.mark.parametrize("first", [replace(STYLE, strength=0.05), STYLE, replace(MOSAIC, cells=8), MOSAIC, SOLID])
def test_stronger_is_stronger_and_ends_in_one_colour(first: BlurStyle) -> None:
    chain: list[BlurStyle] = [first]
    while (following := stronger(chain[-1])) is not None:
        chain.append(following)
        assert len(chain) < 10
    assert chain[-1] == replace(chain[-1], method="solid")
    assert all(one.margin == first.margin for one in chain)
    detail = [left(one) for one in chain]
    for weak, strong in pairwise(detail):
        assert strong < weak
    assert detail[-1] < 1e-6


def test_what_stronger_does_to_classes() -> None:
    style = replace(SOLID, classes={"plate": SOLID, "face": STYLE})
    steps = []
    while (following := stronger(style)) is not None:
        style = following
        steps.append((style.method, style.of("plate").method, style.of("face").method, style.of("face").strength))
    assert steps == [("solid", "solid", "gaussian", 0.3), ("solid", "solid", "solid", 0.3)]


def test_the_published_formula_has_no_stronger() -> None:
    assert stronger(PUBLISHED) is None


# What holds for every method

BOXES: list[Box] = [(10, 10, 90, 90), (50, 50, 130, 130), (60, 20, 100, 60), (40, 90, 80, 130), (150, 150, 160, 170)]


@every_method
def test_order_and_repetition_do_not_matter(style: BlurStyle) -> None:
    pixels = noise(200, 200, 3)
    want, regions = blur(pixels, BOXES, style)
    for seed in range(5):
        shuffled = [BOXES[i] for i in np.random.default_rng(seed).permutation(len(BOXES))]
        got, same = blur(pixels, [*shuffled, shuffled[0]], style)
        assert np.array_equal(got, want)
        assert same == regions == plan([Target(*box) for box in shuffled], style, 200, 200)


def test_the_order_of_mixed_classes_does_not_matter() -> None:
    style = replace(STYLE, classes={"a": MOSAIC, "b": SOLID, "c": replace(MOSAIC, shape="ellipse"), "d": GREEN})
    targets = [Target(*box, label) for box in BOXES for label in ("face", "a", "b", "c", "d")]
    pixels = noise(200, 200, 3)
    want, regions = obfuscate(pixels, targets, style)
    assert len(regions) == 5 * len(BOXES)
    for seed in range(5):
        shuffled = [targets[i] for i in np.random.default_rng(seed).permutation(len(targets))]
        got, same = obfuscate(pixels, shuffled, style)
        assert np.array_equal(got, want)
        assert same == regions


@every_method
def test_pixels_beyond_what_is_touched_stay(style: BlurStyle) -> None:
    pixels = noise(300, 400, 3)
    after, regions = blur(pixels, [(10, 10, 60, 60), (200, 100, 280, 220)], style)
    outside = ~touched(regions, 400, 300)
    assert outside.mean() > 0.4
    assert np.array_equal(after[outside], pixels[outside])
    changed = (after != pixels).any(axis=2)
    assert changed[~outside].mean() > 0.9
    for region in regions:
        x1, y1, x2, y2 = region.grown(region.feather, 400, 300)
        changed[y1:y2, x1:x2] = False
    assert not changed.any()
    assert np.array_equal(pixels, noise(300, 400, 3))  # the input is not written to


@our_methods
def test_cores_are_at_full_strength_wherever_they_are(style: BlurStyle) -> None:
    """No pixel of a core depends on what it was: two pictures that differ there alone by its pattern become one."""
    _, regions = blur(noise(200, 300), [(-20, 20, 60, 90), (100, 100, 108, 108), (250, 150, 300, 200)], style)
    full = full_strength(regions, 300, 200)
    for region in regions:
        assert full[core(region)][region.core_mask()].all()
        board = ((np.indices((200, 300)).sum(axis=0) % 2) * 200 + 20).astype(np.uint8)
        after, _ = blur(board, [(-20, 20, 60, 90), (100, 100, 108, 108), (250, 150, 300, 200)], style)
        # The contrast of the checkerboard is 200: an eighth of it is left where one in eight pixels is odd.
        detail = np.abs(np.diff(after[core(region)].astype(int), axis=1))
        inner = region.core_mask()[:, 1:] & region.core_mask()[:, :-1]
        assert detail[inner].max() <= 12
    assert full.sum() == sum(region.core_mask().sum() for region in regions)


@our_methods
def test_overlapping_faces_never_bring_back_clear_pixels(style: BlurStyle) -> None:
    """Each face alone hides a random pattern; beside and in each other they hide it as well.

    What is left of the pattern is its correlation with the result, pixel for pixel.
    """
    pattern = noise(300, 400).astype(np.uint8)
    boxes: list[Box] = [(60, 60, 220, 240), (190, 120, 230, 160), (205, 130, 221, 146), (200, 40, 300, 120)]
    together, regions = blur(pattern, boxes, style)
    for region in regions:
        mask = region.core_mask()
        was, now = (picture[core(region)][mask].astype(float) for picture in (pattern, together))
        assert now.std() < was.std() / 3
        slope = ((was - was.mean()) * (now - now.mean())).sum() / ((was - was.mean()) ** 2).sum()
        assert slope < 0.08


@pytest.mark.parametrize("strong", [replace(STYLE, margin=0.0, feather=0.0), replace(MOSAIC, margin=0.0), SOLID])
@pytest.mark.parametrize("weak", [STYLE, MOSAIC, replace(STYLE, shape="ellipse"), replace(MOSAIC, shape="ellipse")])
def test_a_small_face_does_not_pull_an_edge_into_a_large_one(strong: BlurStyle, weak: BlurStyle) -> None:
    pixels = np.zeros((400, 400), np.uint8)
    pixels[:, 300:] = 255
    style = replace(weak, classes={"large": strong})
    targets = [Target(280, 180, 320, 220), Target(100, 100, 300, 300, "large")]
    both, regions = obfuscate(pixels, targets, style)
    assert (regions[-1].x2 - regions[-1].x1) >= 200
    alone, _ = obfuscate(pixels, targets[1:], style)
    inside = np.s_[180:220, 100:300]
    assert np.abs(both[inside].astype(int) - alone[inside]).max() <= 40


@every_method
@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (3, 5), (5, 3, 3), (1, 40, 3), (40, 1)])
def test_tiny_images(style: BlurStyle, shape: tuple[int, ...]) -> None:
    height, width = shape[:2]
    after, (region,) = blur(noise(*shape), [(0, 0, width, height)], style)
    assert after.shape == shape
    assert region.core == (0, 0, width, height)


@every_method
def test_boxes_of_absurd_size_are_no_problem(style: BlurStyle) -> None:
    after, (region,) = blur(noise(60, 80, 3), [(-(10**12), -(10**12), 10**12, 10**12)], style)
    assert after.std(axis=(0, 1)).max() < 2
    assert full_strength([region], 80, 60).all()


@every_method
def test_a_face_in_the_default_margin_is_gone(style: BlurStyle) -> None:
    before = astronaut()
    after, (region,) = blur(before, [FACE], style)
    allowed = {"gaussian": 0.02, "mosaic": 0.15, "solid": 1e-6, "imagenet2021": 0.1}[style.method]
    assert abs(residual_detail(before[core(region)], after[core(region)], region.core_mask())) < allowed


def test_clear_corners_beside_an_ellipse_are_no_detail_of_the_face() -> None:
    before = astronaut()
    after, (region,) = blur(before, [FACE], replace(SOLID, shape="ellipse"))
    crops = before[core(region)], after[core(region)]
    assert residual_detail(*crops) > residual_detail(*crops, region.core_mask()) + 0.01
    clear = ~region.core_mask()
    assert residual_detail(*crops, np.zeros_like(clear)) == residual_detail(*crops)


# Pixels that no version may change silently: integer arithmetic, so they hold on every CPU.


@pytest.mark.parametrize(
    ("style", "want"),
    [
        (MOSAIC, [129, 129, 133, 121, 110, 110]),
        (SOLID, [128, 128, 128, 128, 128, 128]),
        (replace(STYLE, shape="ellipse"), [135, 131, 128, 129, 124, 118]),
        (PUBLISHED, [166, 134, 116, 135, 134, 134]),
    ],
)
def test_known_pixels(style: BlurStyle, want: list[int]) -> None:
    pattern = (np.multiply.outer(np.arange(24) ** 2, np.arange(24) * 13 + 7) % 251).astype(np.uint8)
    after, _ = blur(pattern, [(6, 6, 18, 18)], style)
    assert [int(v) for v in after[12, 4:20:3]] == want
