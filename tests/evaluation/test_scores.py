"""The figures of an evaluation, on cases that can be counted by hand, and against COCO's own evaluation."""

from typing import Any

import numpy as np
import pytest

from blurline.evaluation.scores import Judged, cover_scores, evaluate, false_scores, outside_area

Box = tuple[int, int, int, int]


def judged(
    faces: list[Box],
    found: list[tuple[Box, float]],
    ignored: list[Box] | None = None,
    margin: int = 0,
    size: tuple[int, int] = (200, 100),
) -> Judged:
    boxes = np.array([box for box, _ in found], np.int64).reshape(-1, 4)
    return Judged(
        *size,
        np.array(faces, np.int64).reshape(-1, 4),
        np.array(ignored or [], np.int64).reshape(-1, 4),
        boxes,
        np.array([score for _, score in found], np.float64),
        boxes + margin * np.array([-1, -1, 1, 1]),
    )


def test_a_perfect_detector() -> None:
    found = evaluate([judged([(0, 0, 20, 20), (50, 50, 60, 60)], [((0, 0, 20, 20), 0.9), ((50, 50, 60, 60), 0.8)])])
    at = found.curve.at(0.8)
    assert found.faces == {
        "all": 2,
        "from_12": 1,
        "under_8": 0,
        "8_to_12": 1,
        "12_to_20": 0,
        "20_to_40": 1,
        "from_40": 0,
    }
    assert found.curve.recall["all"][at] == found.curve.precision[at] == found.curve.coverage["all"][at] == 1
    assert found.curve.false_boxes[at] == found.curve.outside[at] == 0
    assert found.average_precision["all"] == found.average_precision["8_to_12"] == 1
    assert np.isnan(found.average_precision["from_40"]) and np.isnan(found.curve.coverage["from_40"][at])
    above = found.curve.at(0.85)
    assert found.curve.recall["all"][above] == 0.5 and found.curve.recall["8_to_12"][above] == 0


def test_coverage_is_by_the_region_that_is_blurred() -> None:
    """A box that is too small covers with its margin; two regions that cover a half each do not."""
    face: list[Box] = [(10, 10, 30, 30)]
    small = [((12, 12, 28, 28), 0.7)]  # 64 % of the face
    assert cover_scores(judged(face, small)).tolist() == [0]
    assert cover_scores(judged(face, small, margin=2)).tolist() == [0.7]
    halves = [((10, 10, 20, 30), 0.9), ((20, 10, 30, 30), 0.9)]
    assert cover_scores(judged(face, halves)).tolist() == [0]
    exactly = [((10, 10, 26, 30), 0.5), ((0, 0, 90, 90), 0.4)]
    assert cover_scores(judged(face, exactly)).tolist() == [0.5]


def test_false_boxes_are_those_near_no_annotation() -> None:
    found = [((0, 0, 10, 10), 0.9), ((100, 0, 110, 10), 0.8), ((0, 4, 10, 14), 0.7), ((150, 50, 160, 60), 0.6)]
    image = judged([(0, 0, 10, 10)], found, ignored=[(98, 0, 112, 12)])
    assert false_scores(image).tolist() == [0.6]  # 0.7: IoU 6/14 with the face; 0.8: in an ignored region
    assert false_scores(judged([], found)).tolist() == [0.9, 0.8, 0.7, 0.6]
    result = evaluate([image, judged([], [])])
    assert result.curve.false_boxes[result.curve.at(0.6)] == 0.5
    assert result.curve.false_boxes[result.curve.at(0.7)] == 0


def test_area_outside_counts_every_pixel_once_and_not_that_around_faces() -> None:
    # The face may be 2 pixels wider on every side; 24 x 24 of the region's 40 x 40 are forgiven.
    image = judged([(20, 20, 40, 40)], [((10, 10, 50, 50), 0.9), ((10, 10, 50, 50), 0.5), ((100, 0, 110, 10), 0.2)])
    curve = evaluate([image]).curve
    outside = outside_area(image)
    assert outside[curve.at(0.9)] == outside[curve.at(0.3)] == 1600 - 576
    assert outside[curve.at(0.2)] == 1600 - 576 + 100
    assert curve.outside[curve.at(0.2)] == pytest.approx(1124 / 400)
    assert curve.outside[curve.at(0.95)] == 0


def test_duplicates_are_false_for_precision_and_not_for_false_boxes() -> None:
    found = evaluate([judged([(0, 0, 20, 20)], [((0, 0, 20, 20), 0.9), ((0, 0, 20, 19), 0.8)])])
    at = found.curve.at(0.8)
    assert found.curve.precision[at] == 0.5 and found.curve.false_boxes[at] == 0


def test_boxes_in_ignored_regions_do_not_count() -> None:
    found = evaluate([judged([(0, 0, 20, 20)], [((0, 0, 20, 20), 0.5), ((52, 52, 60, 60), 0.9)], [(50, 50, 90, 90)])])
    assert found.average_precision["all"] == 1 and found.curve.precision[found.curve.at(0.5)] == 1


def test_no_images_and_no_faces() -> None:
    assert evaluate([]).images == 0
    found = evaluate([judged([], [((0, 0, 9, 9), 0.5)])])
    assert found.curve.false_boxes[found.curve.at(0.5)] == 1 and np.isnan(found.curve.outside[-1])


def test_average_precision_is_cocos() -> None:
    """COCO's evaluation takes the precision at 101 recalls instead of all: with many faces the two come together."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    random = np.random.default_rng(3)
    images = [_random_image(random) for _ in range(60)]
    truth: dict[str, Any] = {
        "info": {},
        "images": [{"id": at, "width": 400, "height": 400} for at in range(len(images))],
        "categories": [{"id": 1, "name": "face"}],
        "annotations": [],
    }
    guesses = []
    for at, image in enumerate(images):
        for x1, y1, x2, y2 in image.faces.tolist():
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": at,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                }
            )
        for (x1, y1, x2, y2), score in zip(image.boxes.tolist(), image.scores.tolist(), strict=True):
            guesses.append({"image_id": at, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score})
    known = coco.COCO()
    known.dataset = truth
    known.createIndex()
    peer = cocoeval.COCOeval(known, known.loadRes(guesses), "bbox")
    peer.params.iouThrs, peer.params.maxDets = np.array([0.5]), [10, 100, 1000]
    peer.params.areaRng, peer.params.areaRngLbl = [[0, 1e10]], ["all"]
    peer.evaluate()
    peer.accumulate()
    precision = peer.eval["precision"][0, :, 0, 0, 2]
    mine = evaluate(images).average_precision["all"]
    assert 0.3 < mine < 0.9
    assert mine == pytest.approx(precision.mean(), abs=0.01)


def _random_image(random: np.random.Generator) -> Judged:
    corners = random.integers(0, 350, (12, 2))
    faces = np.concatenate([corners, corners + random.integers(10, 45, (12, 2))], axis=1)
    moved = faces + random.integers(-6, 7, faces.shape)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    false = random.integers(0, 350, (6, 2))
    boxes = np.concatenate([moved, np.concatenate([false, false + 20], axis=1)])
    scores = np.round(np.concatenate([random.uniform(0.3, 1, 12), random.uniform(0, 0.8, 6)]), 3)
    return Judged(400, 400, faces, np.zeros((0, 4), np.int64), boxes, scores, boxes)
