"""Looks and tiles: every pixel is seen, and a box comes back to where it was."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurline.boxes import Box
from blurline.detectors.fit import MAX_ENLARGEMENT
from blurline.detectors.views import FURTHER_ENLARGEMENT, OVERLAP, Looks, View, take, uncut


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_box_comes_back_to_the_pixels_that_were_marked(turns: int, mirrored: bool) -> None:
    image = np.zeros((40, 70, 3), np.uint8)
    image[12:19, 25:30] = 255
    view = View(Box(10, 5, 60, 38), 50, mirrored, turns)
    rows, columns = np.nonzero(view.of(image)[..., 0])
    seen = Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    assert view.back(seen) == Box(25, 12, 30, 19)


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    sizes=st.lists(st.sampled_from([320, 640, 1024, 1600, 2400]), min_size=1, max_size=4),
    tile=st.integers(320, 3000),
    full_size=st.booleans(),
)
def test_every_look_sees_every_pixel(width: int, height: int, sizes: list[int], tile: int, full_size: bool) -> None:
    for look in take(Looks(tuple(sizes), full_size=full_size, tile=tile), width, height):
        across, down = np.zeros(width, bool), np.zeros(height, bool)
        for view in look:
            assert view.window.contains(view.window.clip(width, height)) and view.size <= tile
            across[view.window.x1 : view.window.x2] = down[view.window.y1 : view.window.y2] = True
        columns = {(view.window.x1, view.window.x2) for view in look}
        rows = {(view.window.y1, view.window.y2) for view in look}
        assert across.all() and down.all() and len(columns) * len(rows) == len(look)


@pytest.mark.parametrize(
    ("looks", "size", "wanted"),
    [
        (Looks((1024,)), (500, 375), [(1024, False, 0)]),
        (Looks((1024,)), (125, 94), [(500, False, 0)]),  # the first enlarges four times
        (Looks((1024, 640, 2048)), (1024, 683), [(1024, False, 0), (640, False, 0), (2048, False, 0)]),
        (Looks((1024, 640, 1600, 2048)), (500, 375), [(1024, False, 0), (640, False, 0)]),  # 1000 is as good as 1024
        (Looks((640, 1024), flips=(1024,)), (900, 600), [(640, False, 0), (1024, False, 0), (1024, True, 0)]),
        (Looks((640,), full_size=True), (4000, 3000), [(640, False, 0), (4000, False, 0)]),
        (Looks((640,), full_size=True), (600, 400), [(640, False, 0)]),
    ],
)  # fmt: skip
def test_which_looks_are_taken(looks: Looks, size: tuple[int, int], wanted: list[tuple[int, bool, int]]) -> None:
    taken = take(Looks(looks.image_sizes, looks.flips, looks.full_size, tile=10_000), *size)
    assert [(look[0].size, look[0].mirrored, look[0].turns) for look in taken] == wanted


def test_only_images_of_unknown_orientation_are_turned() -> None:
    looks = Looks((640, 1024), turned=True)
    assert [look[0].turns for look in take(looks, 900, 600, oriented=True)] == [0, 0]
    assert [(look[0].size, look[0].turns) for look in take(looks, 900, 600, oriented=False)][2:] == [(640, 1), (640, 3)]


def test_the_limits_are_those_that_the_docs_tell() -> None:
    assert (MAX_ENLARGEMENT, FURTHER_ENLARGEMENT, OVERLAP) == (4.0, 2.0, 0.125)


def test_tiles_overlap_and_have_one_size() -> None:
    (look,) = take(Looks((4000,), tile=1600), 4000, 3000)
    assert len(look) == 6
    assert {(view.window.x2 - view.window.x1, view.window.y2 - view.window.y1) for view in look} == {(1600, 1600)}
    columns = sorted({view.window.x1 for view in look})
    assert all(b - a <= 1600 * (1 - OVERLAP) for a, b in pairwise(columns))


def test_half_a_face_at_a_tiles_border_goes_only_where_another_tile_has_it_whole() -> None:
    left = View(Box(0, 0, 100, 100), 100, inner=(False, False, True, False))
    right = View(Box(80, 0, 180, 100), 100, inner=(True, False, False, False))
    half, whole = (left, Box(90, 10, 100, 30), 0.8), (right, Box(89, 10, 110, 31), 0.8)
    assert uncut([half, whole]) == [1]
    assert uncut([half]) == [0]  # nobody saw it whole
    assert uncut([half, (right, Box(89, 60, 110, 81), 0.9)]) == [0, 1]  # that is another face
    assert uncut([half, (left, Box(60, 5, 99, 50), 0.9)]) == [0, 1]  # the same tile saw both
    assert uncut([half, (*whole[:2], 0.1)]) == [0, 1]  # the other tile is less sure: it might be dropped later
    assert uncut([(right, Box(81, 10, 95, 30), 0.8), whole]) == [0, 1]
