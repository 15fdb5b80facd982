"""The merge rules, case by case, and what must hold of every merge."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurline.annotations import Annotation
from blurline.boxes import Box, box_id
from blurline.decisions import Decision
from blurline.steps.merge import Rules, merge

SHA = "a" * 64
OTHER = "b" * 64
RULES = Rules(confidence=0.5, match_iou=0.5, reject_votes=2, window=0.1)
FACE = Box(10, 10, 50, 60)


def detected(box: Box = FACE, score: float = 0.9, frame: int = -1) -> dict[str, Any]:
    name = box_id(SHA, frame, "centerface", "face", box)
    return {
        "box_id": name,
        "frame": frame,
        "label": "face",
        "detector": "centerface",
        **box._asdict(),
        "score": score,
    }


def image(*faces: dict[str, Any]) -> dict[str, Any]:
    return {
        "image_id": "a.jpg",
        "sha256": SHA,
        "status": "ok",
        "reason": "",
        "width": 100,
        "height": 100,
        "faces": list(faces),
    }


def decide(action: str, box: Box | None = None, who: str = "ann", when: str = "2026-01-01", **more: Any) -> Decision:
    corners = box._asdict() if box else {}
    return Decision.model_validate(
        {"image_id": "a.jpg", "action": action, "reviewer": who, "decided_at": when, **corners, **more}
    )


def imported(box: Box, name: str = "princeton", frame: int = -1, label: str = "face", of: str = "a.jpg") -> Annotation:
    return Annotation(of, "", name, frame, label, *box)


def blurred(result: dict[str, Any]) -> list[Box]:
    return [Box(f["x1"], f["y1"], f["x2"], f["y2"]) for f in result["faces"] if f["blur"]]


NEAR = Box(12, 11, 52, 61)  # IoU with FACE is well over 0.5
FAR = Box(60, 60, 90, 95)
BOTH = FACE.union(NEAR)

CASES: list[tuple[str, list[dict[str, Any]], list[Decision], str, list[Box]]] = [
    ("no vote, over the threshold", [detected()], [], "auto", [FACE]),
    ("no vote, under it", [detected(score=0.2)], [], "auto", []),
    ("no vote, in the window over it", [detected(score=0.55)], [], "pending", [FACE]),
    ("no vote, in the window under it", [detected(score=0.45)], [], "pending", []),
    ("cleared in the window", [detected(score=0.45)], [decide("clear")], "reviewed", []),
    ("clear takes no blur away", [detected(score=0.55)], [decide("clear")], "reviewed", [FACE]),
    ("accepted under the threshold", [detected(score=0.2)], [decide("accept", NEAR)], "reviewed", [FACE]),
    ("one rejection is not enough", [detected()], [decide("reject", FACE)], "auto", [FACE]),
    (
        "one person rejecting twice is one vote",
        [detected()],
        [decide("reject", FACE), decide("reject", NEAR)],
        "auto",
        [FACE],
    ),
    ("two rejections", [detected()], [decide("reject", FACE), decide("reject", NEAR, "bob")], "reviewed", []),
    (
        "any vote for the face keeps it",
        [detected()],
        [decide("reject", FACE), decide("reject", FACE, "bob"), decide("accept", FACE, "cy")],
        "reviewed",
        [FACE],
    ),
    (
        "the later word counts",
        [detected()],
        [
            decide("accept", FACE, when="2026-01-01"),
            decide("reject", FACE, when="2026-01-02"),
            decide("reject", FACE, "bob"),
        ],
        "reviewed",
        [],
    ),
    (
        "at equal times the protective word counts",
        [detected()],
        [decide("accept", FACE), decide("reject", FACE), decide("reject", FACE, "bob")],
        "reviewed",
        [FACE],
    ),
    ("a missed face", [], [decide("add", FAR)], "reviewed", [FAR]),
    (
        "a missed face over the border",
        [],
        [decide("add", Box(90, 90, 120, 130))],
        "reviewed",
        [Box(90, 90, 100, 100)],
    ),
    (
        "two drawings of a missed face unite",
        [],
        [decide("add", FACE), decide("add", NEAR, "bob")],
        "reviewed",
        [Box(10, 10, 52, 61)],
    ),
    (
        "its author takes it back",
        [],
        [decide("add", FAR, when="2026-01-01"), decide("reject", FAR, when="2026-01-02")],
        "auto",
        [],
    ),
    (
        "another cannot take it back",
        [],
        [decide("add", FAR, when="2026-01-01"), decide("reject", FAR, "bob", when="2026-01-02")],
        "reviewed",
        [FAR],
    ),
    (
        "one adjustment only grows the box",
        [detected()],
        [decide("adjust", Box(15, 15, 55, 55))],
        "reviewed",
        [Box(10, 10, 55, 60)],
    ),
    (
        "as many adjustments as rejections replace it",
        [detected()],
        [decide("adjust", Box(15, 15, 45, 55)), decide("adjust", Box(14, 16, 45, 56), "bob")],
        "reviewed",
        [Box(14, 15, 45, 56)],
    ),
    (
        "accepting after adjusting takes the drawing back",
        [detected()],
        [
            decide("adjust", Box(15, 15, 45, 55), when="2026-01-01"),
            decide("adjust", Box(15, 15, 45, 55), "bob", when="2026-01-01"),
            decide("accept", FACE, when="2026-01-02"),
        ],
        "reviewed",
        [FACE],
    ),
    (
        "one person by two spellings is one vote",
        [detected()],
        [decide("reject", FACE, "ann"), decide("reject", FACE, "Ann ")],
        "auto",
        [FACE],
    ),
    ("an adjustment of nothing is a new face", [], [decide("adjust", FAR)], "reviewed", [FAR]),
    (
        "a box id finds its box from afar",
        [detected(score=0.2)],
        [decide("accept", FAR, box_id=detected()["box_id"])],
        "reviewed",
        [FACE],
    ),
    (
        "an unknown box id falls back to the place",
        [detected(score=0.2)],
        [decide("accept", NEAR, box_id="0" * 16)],
        "reviewed",
        [FACE],
    ),
    (
        "accepting what the detector lost keeps the face",
        [],
        [decide("accept", FACE, box_id="0" * 16)],
        "reviewed",
        [FACE],
    ),
    (
        "rejecting what is not there does nothing",
        [detected()],
        [decide("reject", FAR), decide("reject", FAR, "bob")],
        "auto",
        [FACE],
    ),
    (
        "rejections of other bytes do nothing",
        [detected()],
        [decide("reject", FACE, sha256=OTHER), decide("reject", FACE, "bob", sha256=OTHER)],
        "auto",
        [FACE],
    ),
    (
        "a face added on other bytes is blurred here too",
        [],
        [decide("add", FAR, sha256=OTHER)],
        "reviewed",
        [FAR],
    ),
    (
        "clearing other bytes says nothing",
        [detected(score=0.45)],
        [decide("clear", sha256=OTHER)],
        "pending",
        [],
    ),
    ("excluded", [detected()], [decide("exclude")], "excluded", []),
    ("erased", [detected()], [decide("erase", sha256=OTHER)], "excluded", []),
]


@pytest.mark.parametrize(("faces", "decisions", "state", "boxes"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_rules(faces: list[dict[str, Any]], decisions: list[Decision], state: str, boxes: list[Box]) -> None:
    for order in itertools.permutations(decisions):
        result = merge(image(*faces), order, RULES)
        assert (result["state"], blurred(result)) == (state, boxes)


@pytest.mark.parametrize("action", ["add", "adjust", "accept"])
def test_a_face_outside_of_the_image_withholds_it(action: str) -> None:
    """Drawn at another scale, say: somebody saw a face, and where it is nobody knows."""
    result = merge(image(detected()), [decide(action, Box(150, 150, 180, 190))], RULES)
    assert (result["status"], result["reason"]) == ("error", "a reviewer's box is outside the image")
    assert merge(image(detected()), [decide("reject", Box(150, 150, 180, 190))], RULES)["status"] == "ok"


def everyone(action: str, box: Box, **more: Any) -> list[Decision]:
    return [decide(action, box, who, **more) for who in ("ann", "bob")]


MOVING = [detected(frame=1), detected(frame=2), detected(FAR, frame=2)]
WEAK = [detected(score=0.2, frame=1), detected(score=0.2, frame=2)]
FRAMES: list[tuple[str, list[dict[str, Any]], list[Decision], list[tuple[int, Box]]]] = [
    ("each its own", MOVING, [], [(1, FACE), (2, FACE), (2, FAR)]),
    ("rejected in one frame", MOVING, everyone("reject", FACE, frame=1), [(2, FACE), (2, FAR)]),
    ("rejected in a frame without it", MOVING, everyone("reject", FACE, frame=3), [(1, FACE), (2, FACE), (2, FAR)]),
    ("rejected in all frames", MOVING, everyone("reject", FACE), [(2, FAR)]),
    ("rejected by id", MOVING, everyone("reject", FACE, box_id=MOVING[1]["box_id"]), [(1, FACE), (2, FAR)]),
    (
        "rejected by the id of another frame",
        MOVING,
        everyone("reject", FACE, frame=1, box_id=MOVING[1]["box_id"]),
        [(2, FACE), (2, FAR)],
    ),
    ("in all frames, rejected in one", [detected()], everyone("reject", FACE, frame=0), [(-1, FACE)]),
    ("the same by id", [detected()], everyone("reject", FACE, frame=0, box_id=detected()["box_id"]), [(-1, FACE)]),
    ("in all frames, redrawn in one", [detected()], everyone("adjust", NEAR, frame=0), [(-1, FACE), (0, NEAR)]),
    ("in all frames, accepted in one", [detected(score=0.2)], [decide("accept", FACE, frame=4)], [(-1, FACE)]),
    ("accepted in one frame", WEAK, [decide("accept", FACE, frame=2)], [(2, FACE)]),
    ("accepted in all frames, found in some", WEAK, [decide("accept", NEAR)], [(-1, NEAR), (1, FACE), (2, FACE)]),
    ("accepted by id", WEAK, [decide("accept", FACE, box_id=detected(frame=2)["box_id"])], [(2, FACE)]),
    ("added in all frames, found in one", [detected(frame=1)], [decide("add", NEAR)], [(-1, NEAR), (1, BOTH)]),
    (
        "added in all frames and taken back",
        [detected(frame=1)],
        [decide("add", NEAR), decide("reject", NEAR, when="2026-01-02")],
        [(1, FACE)],
    ),
    ("added in one frame", [], [decide("add", FACE, frame=3)], [(3, FACE)]),
    ("added in two frames", [], [decide("add", FACE, frame=3), decide("add", FACE, frame=4)], [(3, FACE), (4, FACE)]),
]


@pytest.mark.parametrize(("faces", "decisions", "want"), [c[1:] for c in FRAMES], ids=[c[0] for c in FRAMES])
def test_frames(faces: list[dict[str, Any]], decisions: list[Decision], want: list[tuple[int, Box]]) -> None:
    for order in itertools.permutations(decisions):
        result = merge(image(*faces), order, RULES)
        assert [(face["frame"], box) for face, box in zip(_to_blur(result), blurred(result), strict=True)] == want


def _to_blur(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [face for face in result["faces"] if face["blur"]]


def test_a_look_at_one_frame_clears_no_image() -> None:
    faces = [detected(score=0.45, frame=1), detected(score=0.45, frame=2)]
    assert merge(image(*faces), [decide("clear", frame=1)], RULES)["state"] == "pending"
    assert merge(image(*faces), [decide("clear")], RULES)["state"] == "reviewed"


TALL = Box(10, 10, 50, 85)  # IoU with FACE is 0.67
IMPORTED: list[tuple[str, list[dict[str, Any]], list[Annotation], list[Decision], str, list[Box]]] = [
    ("the detector missed it", [], [imported(FAR)], [], "auto", [FAR]),
    ("beside a detector's", [detected()], [imported(FAR)], [], "auto", [FACE, FAR]),
    ("one face, one union", [detected()], [imported(NEAR)], [], "auto", [BOTH]),
    ("under the threshold of the detector", [detected(score=0.2)], [imported(NEAR)], [], "auto", [BOTH]),
    ("in the window of the detector", [detected(score=0.45)], [imported(NEAR)], [], "auto", [BOTH]),
    ("twice the same", [], [imported(FAR), imported(FAR), imported(FAR, of="b.jpg")], [], "auto", [FAR]),
    ("two of one file are two faces", [], [imported(FACE), imported(NEAR)], [], "auto", [FACE, NEAR]),
    ("two files mean one face", [], [imported(FACE), imported(NEAR, "coco")], [], "auto", [BOTH]),
    (
        "two of one file near one of the detector: the closer one unites",
        [detected()],
        [imported(FACE), imported(NEAR)],
        [],
        "auto",
        [FACE, NEAR],
    ),
    (
        "one near two of the detector: the closer one unites",
        [detected(NEAR), detected(TALL)],
        [imported(FACE)],
        [],
        "auto",
        [BOTH, TALL],
    ),
    ("over the border", [], [imported(Box(-5, 90, 20, 130))], [], "auto", [Box(0, 90, 20, 100)]),
    ("a frame is a frame", [detected()], [imported(NEAR, frame=3)], [], "auto", [BOTH]),
    ("two frames are two faces", [], [imported(FACE, frame=1), imported(NEAR, "b", 2)], [], "auto", [FACE, NEAR]),
    ("one rejection is not enough", [], [imported(FAR)], [decide("reject", FAR)], "auto", [FAR]),
    ("two are", [], [imported(FAR)], [decide("reject", FAR), decide("reject", FAR, "bob")], "reviewed", []),
    (
        "unless somebody stands by it",
        [],
        [imported(FAR)],
        [decide("reject", FAR), decide("reject", FAR, "bob"), decide("accept", FAR, "cy")],
        "reviewed",
        [FAR],
    ),
    (
        "two rejections reject a union",
        [detected()],
        [imported(NEAR)],
        [decide("reject", BOTH), decide("reject", NEAR, "bob")],
        "reviewed",
        [],
    ),
    (
        "rejections of the detector's box alone are not about a much larger union",
        [detected()],
        [imported(Box(10, 10, 88, 61))],
        [
            decide("reject", Box(10, 10, 45, 58), box_id=detected()["box_id"]),
            decide("reject", Box(10, 10, 45, 58), "bob"),
        ],
        "auto",
        [Box(10, 10, 88, 61)],
    ),
    (
        "one adjustment only grows it",
        [],
        [imported(FACE)],
        [decide("adjust", Box(15, 15, 55, 55))],
        "reviewed",
        [Box(10, 10, 55, 60)],
    ),
    (
        "as many as rejections replace it",
        [],
        [imported(FACE)],
        [decide("adjust", Box(15, 15, 45, 55)), decide("adjust", Box(14, 16, 45, 56), "bob")],
        "reviewed",
        [Box(14, 15, 45, 56)],
    ),
    ("excluded all the same", [], [imported(FAR)], [decide("exclude")], "excluded", []),
]


@pytest.mark.parametrize(
    ("faces", "annotations", "decisions", "state", "boxes"), [c[1:] for c in IMPORTED], ids=[c[0] for c in IMPORTED]
)
def test_imported_boxes(
    faces: list[dict[str, Any]],
    annotations: list[Annotation],
    decisions: list[Decision],
    state: str,
    boxes: list[Box],
) -> None:
    for order in itertools.permutations(decisions):
        for others in itertools.permutations(annotations):
            result = merge(image(*faces), order, RULES, others)
            assert (result["status"], result["state"], blurred(result)) == ("ok", state, boxes)


def test_what_an_imported_face_says_of_itself() -> None:
    (face,) = merge(image(), [], RULES, [imported(FAR, label="person")])["faces"]
    wanted = {"origin": "imported", "verdict": "pending", "score": 1.0, "detector": "princeton", "label": "person"}
    assert {name: face[name] for name in wanted} == wanted
    assert face["box_id"] == box_id(SHA, -1, "princeton", "person", FAR)
    (face,) = merge(image(detected()), [], RULES, [imported(NEAR), imported(NEAR, "coco")])["faces"]
    assert face["detector"] == "centerface+coco+princeton"
    assert face["box_id"] == box_id(SHA, -1, "centerface+coco+princeton", "face", BOTH)
    (face,) = merge(image(), [decide("reject", FAR), decide("reject", FAR, "b")], RULES, [imported(FAR)])["faces"]
    assert (face["verdict"], face["blur"]) == ("rejected", False)


def test_an_imported_box_is_blurred_whatever_the_threshold() -> None:
    result = merge(image(), [], Rules(1.0, 0.5, 2, 0.1), [imported(FAR)])
    assert (blurred(result), result["state"]) == ([FAR], "auto")  # and nobody need look at it for being near


@pytest.mark.parametrize("box", [Box(150, 10, 180, 40), Box(10, 100, 20, 120), Box(-30, 10, 0, 40)])
def test_an_imported_box_outside_of_the_image_withholds_it(box: Box) -> None:
    result = merge(image(detected()), [], RULES, [imported(FAR), imported(box)])
    assert (result["status"], result["reason"]) == ("error", "an imported box is outside the image")
    assert blurred(result) == [FACE, FAR]
    failed = {**image(), "status": "skipped", "reason": "failed", "width": None, "height": None, "sha256": None}
    result = merge(failed, [], RULES, [imported(FAR)])
    assert (result["status"], result["reason"], result["faces"]) == ("skipped", "failed", [])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_in_a_turned_image_a_box_is_blurred_where_it_may_be(orientation: int) -> None:
    """The file may mean the image as stored or as displayed; a stored image has one white pixel, where the box is."""
    from blurline.images import orientation as exif

    stored = np.zeros((40, 100), np.uint8)
    stored[5, 70] = 255
    displayed = exif.to_displayed(stored, orientation)
    height, width = displayed.shape
    ((y, x),) = np.argwhere(displayed)
    turned = image() | {"width": width, "height": height}
    found = blurred(merge(turned, [], RULES, [imported(Box(70, 5, 71, 6))], orientation))
    as_it_stands = {Box(70, 5, 71, 6)} if width == 100 else set()  # else it would be outside
    assert set(found) == {Box(x, y, x + 1, y + 1)} | as_it_stands
    assert merge(turned, [], RULES, [imported(Box(100, 100, 110, 110))], orientation)["status"] == "error"


def test_verdicts_and_names_are_on_record() -> None:
    votes = [decide("reject", FACE, "bob"), decide("reject", FACE, "ann")]
    (face,) = merge(image(detected()), votes, RULES)["faces"]
    assert (face["verdict"], face["origin"], face["decided_by"]) == ("rejected", "detector", ["ann", "bob"])
    (face,) = merge(image(), [decide("add", FAR, "cy")], RULES)["faces"]
    assert (face["verdict"], face["origin"], face["decided_by"]) == ("accepted", "reviewer", ["cy"])
    (face,) = merge(image(detected()), [], RULES)["faces"]
    assert (face["verdict"], face["decided_by"]) == ("pending", [])


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
def test_a_score_that_was_rounded_to_the_threshold_reaches_it(threshold: float) -> None:
    """Tables hold float32: 0.7 is stored as a little less than 0.7."""
    face = detected(score=float(np.float32(threshold)))
    assert blurred(merge(image(face), [], Rules(threshold, 0.5, 2, 0.1))) == [FACE]


coordinates = st.integers(0, 90)
boxes = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h),
    coordinates,
    coordinates,
    st.integers(1, 40),
    st.integers(1, 40),
)
scores = st.sampled_from([0.2, 0.45, 0.5, 0.55, 0.9])
faces_of = st.lists(
    st.builds(detected, boxes.map(lambda b: b.clip(100, 100)), scores),
    max_size=4,
    unique_by=lambda f: f["box_id"],
)
votes_of = st.lists(
    st.builds(
        decide,
        st.sampled_from(["accept", "reject", "add", "adjust"]),
        st.one_of(boxes, st.just(FACE), st.just(NEAR)),
        st.sampled_from(["ann", "bob", "cy"]),
        st.sampled_from(["2026-01-01", "2026-01-02", "2026-01-03"]),
        sha256=st.sampled_from(["", SHA, OTHER]),
    ),
    max_size=6,
)


@given(faces_of, votes_of, st.randoms(use_true_random=False))
def test_no_order_and_no_repeat_changes_a_merge(faces: Any, votes: list[Decision], random: Any) -> None:
    shuffled = [*votes, *votes]
    random.shuffle(shuffled)
    assert merge(image(*faces), shuffled, RULES) == merge(image(*faces), votes, RULES)


@given(faces_of, votes_of)
def test_without_enough_rejections_nothing_detected_is_left_clear(faces: Any, votes: list[Decision]) -> None:
    """Every box over the threshold stays covered while fewer than two people said "no face"."""
    opponents = {v.reviewer for v in votes if v.action in ("reject", "adjust")}
    if len(opponents) >= RULES.reject_votes:
        return
    covered = blurred(merge(image(*faces), votes, RULES))
    for face in faces:
        box = Box(face["x1"], face["y1"], face["x2"], face["y2"])
        assert face["score"] < RULES.confidence or any(c.contains(box) for c in covered)


@given(faces_of, votes_of, st.lists(st.builds(imported, boxes, st.sampled_from("pq")), max_size=4), st.integers(1, 8))
def test_without_enough_rejections_nothing_imported_is_left_clear(
    faces: Any, votes: list[Decision], annotations: list[Annotation], orientation: int
) -> None:
    """Neither an imported box, nor one that the detector was sure of."""
    opponents = {v.reviewer for v in votes if v.action in ("reject", "adjust")}
    if len(opponents) >= RULES.reject_votes:
        return
    covered = blurred(merge(image(*faces), votes, RULES, annotations, orientation))
    sure = [Box(f["x1"], f["y1"], f["x2"], f["y2"]) for f in faces if f["score"] >= RULES.confidence]
    for box in [*sure, *(a.box.clip(100, 100) for a in annotations)]:
        assert any(c.contains(box) for c in covered)


@given(faces_of, votes_of, boxes)
def test_a_face_that_somebody_adds_last_is_covered(faces: Any, votes: list[Decision], box: Box) -> None:
    votes = [*votes, decide("add", box, "dee", "2026-02-01")]
    inside = box.clip(100, 100)
    assert any(c.contains(inside) for c in blurred(merge(image(*faces), votes, RULES)))
