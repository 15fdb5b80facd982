"""Fusion: looks that agree strengthen each other, and nothing that reaches the candidate score is lost."""

import random
from itertools import pairwise

import pytest

from blurline.boxes import Box
from blurline.detectors.fusion import Seen, floor, fuse
from blurline.detectors.results import Detection
from blurline.detectors.views import View

WHOLE = View(Box(0, 0, 1000, 1000), 1000)
TURNED = View(Box(0, 0, 1000, 1000), 1000, turns=1)


def seen(x: int, y: int, side: int, score: float, label: str = "face", view: View = WHOLE) -> Seen:
    return Seen(view, Box(x, y, x + side, y + side), Detection(label, 0, 0, 1, 1, score))


def test_one_look_is_left_as_it_is() -> None:
    found = fuse([[seen(10, 10, 20, 0.3), seen(12, 10, 20, 0.9)]], 0.1, 0.4)
    assert found == [Detection("face", 12, 10, 32, 30, 0.9), Detection("face", 10, 10, 30, 30, 0.3)]


def test_two_looks_at_one_face_become_their_union_by_noisy_or() -> None:
    (found,) = fuse([[seen(10, 10, 20, 0.6)], [seen(12, 11, 20, 0.5)]], 0.1, 0.4)
    assert found == Detection("face", 10, 10, 32, 31, 0.8)


def test_what_one_look_alone_sees_keeps_its_score() -> None:
    assert fuse([[seen(10, 10, 20, 0.6)], []], 0.1, 0.4) == [Detection("face", 10, 10, 30, 30, 0.6)]


def test_a_weak_neighbour_inherits_nothing() -> None:
    found = fuse([[seen(0, 0, 30, 0.9)], [seen(14, 0, 30, 0.2)]], 0.1, 0.4)  # IoU 0.36
    assert [one.score for one in found] == [0.9, 0.2]


def test_each_look_gives_a_face_one_box() -> None:
    """The second box of the same look, a little off, is not counted for the same face."""
    (found,) = fuse([[seen(0, 0, 30, 0.5)], [seen(1, 0, 30, 0.5), seen(5, 0, 30, 0.5)]], 0.1, 0.4)
    assert found.score == 0.75


def test_classes_do_not_mix() -> None:
    found = fuse([[seen(0, 0, 30, 0.5)], [seen(0, 0, 30, 0.5, "person")]], 0.1, 0.4)
    assert [(one.label, one.score) for one in found] == [("face", 0.5), ("person", 0.5)]


def test_a_turned_look_adds_and_strengthens_nothing() -> None:
    found = fuse(
        [[seen(0, 0, 30, 0.5)], [seen(0, 0, 30, 0.4, view=TURNED), seen(500, 0, 30, 0.4, view=TURNED)]], 0.1, 0.4
    )
    assert [(one.x1, one.score) for one in found] == [(0, 0.5), (500, 0.4)]


def test_neighbours_whose_unions_overlap_are_both_kept() -> None:
    looks = [
        [seen(0, 0, 100, 0.8), seen(43, 0, 100, 0.7)],
        [seen(7, 0, 100, 0.8), seen(50, 0, 100, 0.7)],
    ]
    assert [(one.x1, one.x2) for one in fuse(looks, 0.1, 0.4)] == [(0, 107), (43, 150)]


def test_a_better_box_replaces_only_what_it_holds() -> None:
    small = Seen(WHOLE, Box(0, 0, 100, 45), Detection("face", 0, 0, 1, 1, 0.9))
    assert len(fuse([[small], [seen(0, 0, 100, 0.85)]], 0.1, 0.4)) == 2  # less than half of the face
    assert len(fuse([[seen(0, 0, 100, 0.95)], [small]], 0.1, 0.4)) == 1


def test_halves_of_a_face_that_no_tile_sees_whole_are_both_kept() -> None:
    left = View(Box(0, 0, 2560, 2560), 2560, inner=(False, False, True, False))
    right = View(Box(2240, 0, 4800, 2560), 2560, inner=(True, False, False, False))
    halves = [
        Seen(left, Box(2040, 0, 2560, 700), Detection("face", 0, 0, 1, 1, 0.9)),
        Seen(right, Box(2240, 0, 2760, 700), Detection("face", 0, 0, 1, 1, 0.8)),
    ]
    assert sorted((one.x1, one.x2) for one in fuse([halves], 0.1, 0.4)) == [(2040, 2560), (2240, 2760)]
    person = Seen(right, Box(2250, 0, 3000, 1900), Detection("person", 0, 0, 1, 1, 0.95))
    cut = Seen(left, Box(2400, 500, 2560, 700), Detection("face", 0, 0, 1, 1, 0.9))
    assert {one.label for one in fuse([[cut, person]], 0.1, 0.4)} == {"face", "person"}


def test_the_order_of_boxes_changes_nothing() -> None:
    shuffled = random.Random(1)
    looks = [
        [
            seen(shuffled.randrange(200), shuffled.randrange(200), 30, shuffled.randrange(50, 900) / 1000)
            for _ in range(40)
        ]
        for _ in range(3)
    ]
    wanted = fuse(looks, 0.1, 0.4)
    for _ in range(5):
        for look in looks:
            shuffled.shuffle(look)
        assert fuse(looks, 0.1, 0.4) == wanted
    assert all(a.score >= b.score for a, b in pairwise(wanted))


def test_tens_of_thousands_of_boxes_are_compared_in_little_memory() -> None:
    looks = [[seen(20 * (n % 100), 20 * (n // 100), 15, 0.5) for n in range(6000)] for _ in range(2)]
    assert {one.score for one in fuse(looks, 0.1, 0.4)} == {0.75}


@pytest.mark.parametrize("candidate", [0.05, 0.1, 0.5])
def test_the_floor_leaves_room_for_the_fused_score(candidate: float) -> None:
    assert floor(candidate, 1) == candidate
    below = floor(candidate, 2)
    assert 1 - (1 - below) ** 2 < candidate < 1 - (1 - below) ** 3  # two looks at the floor are not quite enough
