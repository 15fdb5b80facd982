"""Several detectors: what they find of one face is united, and each has its own confidence."""

from typing import Any

from blurline.boxes import Box, box_id
from blurline.steps.merge import Rules, merge
from tests.test_merge import FACE, FAR, NEAR, RULES, SHA, blurred, decide, detected, image


def by(name: str, box: Box = FACE, score: float = 0.9, label: str = "face") -> dict[str, Any]:
    """A box of another detector."""
    return detected(box, score) | {"detector": name, "label": label, "box_id": box_id(SHA, -1, name, label, box)}


def test_boxes_of_two_detectors_that_mean_one_face_are_united() -> None:
    (face,) = merge(image(detected(), by("yolo", NEAR, 0.6)), [], RULES)["faces"]
    assert (face["detector"], face["score"], face["blur"]) == ("centerface+yolo", 0.9, True)
    assert Box(face["x1"], face["y1"], face["x2"], face["y2"]) == FACE.union(NEAR)
    assert face["box_id"] == box_id(SHA, -1, "centerface+yolo", "face", FACE.union(NEAR))
    assert face.keys() == merge(image(detected()), [], RULES)["faces"][0].keys()


def test_what_one_detector_alone_finds_stays_its_own() -> None:
    found = merge(image(detected(), by("yolo", FAR)), [], RULES)["faces"]
    assert [(face["detector"], face["blur"]) for face in found] == [("centerface", True), ("yolo", True)]


def test_a_face_in_a_person_is_two_things() -> None:
    found = merge(image(detected(), by("yolo", NEAR, label="person")), [], RULES)["faces"]
    assert sorted(face["label"] for face in found) == ["face", "person"]


def test_one_detectors_classes_are_not_united_with_each_other() -> None:
    found = merge(image(by("yolo", FACE, label="Face"), by("yolo", NEAR, label="face")), [], RULES)["faces"]
    assert [face["detector"] for face in found] == ["yolo", "yolo"]


def test_each_detector_has_its_own_confidence() -> None:
    rules = Rules(0.5, 0.5, 2, 0.05, {"yolo": 0.8})
    assert [f["blur"] for f in merge(image(detected(score=0.6), by("yolo", FAR, 0.6)), [], rules)["faces"]] == [
        True,
        False,
    ]
    # One that is sure is enough, whichever it is; scores are not comparable.
    assert blurred(merge(image(detected(score=0.2), by("yolo", NEAR, 0.85)), [], rules)) == [FACE.union(NEAR)]
    assert blurred(merge(image(detected(score=0.55), by("yolo", NEAR, 0.7)), [], rules)) == [FACE.union(NEAR)]
    assert blurred(merge(image(detected(score=0.45), by("yolo", NEAR, 0.75)), [], rules)) == []
    assert merge(image(by("yolo", FAR, 0.78)), [], rules)["state"] == "pending"
    assert merge(image(by("yolo", FAR, 0.7)), [], rules)["state"] == "auto"


def test_decisions_on_one_detectors_box_hold_for_the_united_one() -> None:
    votes = [decide("reject", FACE, who) for who in ("ann", "bob")]
    assert blurred(merge(image(detected(), by("yolo", NEAR)), votes, RULES)) == []
    assert len(merge(image(detected(), by("yolo", NEAR)), [decide("accept", NEAR)], RULES)["faces"]) == 1
