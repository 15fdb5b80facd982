"""The figures of an evaluation, from boxes alone.

*Recall*, *precision* and *average precision* ask whether boxes are where annotators drew them, at an intersection over
union (IoU) of 0.5. *Coverage* asks what privacy needs: how many annotated faces lie, at least 80 % of their area, in
one single region that is blurred. Wide boxes would raise it, so two costs always stand beside it: false boxes per
image, and the area that is blurred outside annotated faces.

Boxes are arrays of shape (n, 4), x1, y1, x2, y2 in pixels of the displayed image, x2 and y2 exclusive.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.int64]
Scores = NDArray[np.float64]

MATCH_IOU = 0.5
"""A detection and an annotation at least this close are the same face."""
COVERED = 0.8
"""The share of an annotated face's area that one blurred region must hold."""
FALSE_IOU = 0.3
"""A blurred box that is less close than this to every annotation, ignored ones included, is false."""
GROWN = 0.1
"""Annotated faces are grown by this share of their longer side, on every side: blur further out counts as outside."""

SIZES: dict[str, tuple[float, float]] = {
    "all": (0, np.inf),
    "from_12": (12, np.inf),
    "under_8": (0, 8),
    "8_to_12": (8, 12),
    "12_to_20": (12, 20),
    "20_to_40": (20, 40),
    "from_40": (40, np.inf),
}
"""Name → least and upper limit of an annotated face's shorter side, in pixels."""


@dataclass(frozen=True)
class Judged:
    """One image: what annotators drew, and what a detector found.

    Attributes
    ----------
    width, height
        Of the displayed image, pixels.
    faces, ignored
        Annotated faces; and regions that are neither asked for nor held against the detector.
    boxes, scores
        What was found, and how sure the detector is, 0 to 1 with three decimals.
    regions
        For each box what is made unrecognisable when it is blurred: the box with the blur's margin.
    """

    width: int
    height: int
    faces: Boxes
    ignored: Boxes
    boxes: Boxes
    scores: Scores
    regions: Boxes


@dataclass(frozen=True)
class Curve:
    """What each threshold on the score gives, for thresholds from 1 down to 0.001.

    Attributes
    ----------
    thresholds
        Shape (1000,).
    coverage, recall
        Name of a size (see `SIZES`) → share of the annotated faces, shape (1000,); NaN where there are none.
    precision
        Share of the boxes, without those in ignored regions, that are annotated faces; NaN where there are none.
    false_boxes
        False boxes per image.
    outside
        Area blurred outside annotated faces (grown) and ignored regions, relative to the area of annotated faces.
    """

    thresholds: Scores
    coverage: dict[str, Scores]
    recall: dict[str, Scores]
    precision: Scores
    false_boxes: Scores
    outside: Scores

    def at(self, threshold: float) -> int:
        """The index of a threshold."""
        return 1000 - max(1, min(1000, round(threshold * 1000)))


@dataclass(frozen=True)
class Evaluation:
    """Curves, average precision and numbers of faces by size (see `SIZES`), for a number of images."""

    images: int
    faces: dict[str, int]
    average_precision: dict[str, float]
    curve: Curve


def evaluate(images: Iterable[Judged]) -> Evaluation:
    """Judge a detector over images."""
    judged = list(images)
    sides = _joined([short_side(one.faces) for one in judged])
    covered = _joined([cover_scores(one) for one in judged])
    in_size = {name: (sides >= low) & (sides < high) for name, (low, high) in SIZES.items()}
    matches = {name: [_match(one, *limits) for one in judged] for name, limits in SIZES.items()}
    counts = {name: int(mask.sum()) for name, mask in in_size.items()}
    every = matches["all"]
    right = _joined([scores[found == 1] for found, scores in every])
    wrong = _joined([scores[found == 0] for found, scores in every])
    true_above, wrong_above = _at_least(right), _at_least(wrong)
    annotated = sum(int(area(one.faces).sum()) for one in judged)
    curve = Curve(
        thresholds=np.arange(1000, 0, -1) / 1000,
        coverage={name: _share(_at_least(covered[mask]), counts[name]) for name, mask in in_size.items()},
        recall={
            name: _share(_at_least(_joined([s[found == 1] for found, s in matches[name]])), counts[name])
            for name in SIZES
        },
        precision=_divided(true_above, true_above + wrong_above),
        false_boxes=_at_least(_joined([false_scores(one) for one in judged])) / max(1, len(judged)),
        outside=_divided(sum((outside_area(one) for one in judged), np.zeros(1000)), np.full(1000, float(annotated))),
    )
    average = {
        name: _average_precision([found for found, _ in one], [s for _, s in one], counts[name])
        for name, one in matches.items()
    }
    return Evaluation(len(judged), counts, average, curve)


def short_side(boxes: Boxes) -> Scores:
    """The shorter side of each box, shape (n,)."""
    sides: Scores = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=2**31).astype(np.float64)
    return sides


def area(boxes: Boxes) -> Scores:
    """Pixels in each box, shape (n,)."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).astype(np.float64)
    return np.asarray(sides[:, 0] * sides[:, 1])


def shared(one: Boxes, other: Boxes) -> Scores:
    """Pixels that boxes have in common, shape (len(one), len(other))."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    sides = np.maximum(high - low, 0).astype(np.float64)
    return np.asarray(sides[..., 0] * sides[..., 1])


def iou(one: Boxes, other: Boxes) -> Scores:
    """Intersection over union, shape (len(one), len(other))."""
    both = shared(one, other)
    whole = area(one)[:, None] + area(other)[None, :] - both
    overlap: Scores = np.divide(both, whole, out=np.zeros_like(both), where=whole > 0)
    return overlap


def cover_scores(image: Judged) -> Scores:
    """For each annotated face the best score of a region that covers it, 0 where none does: shape (faces,)."""
    if not len(image.faces) or not len(image.boxes):
        return np.zeros(len(image.faces))
    held = shared(image.faces, image.regions) / area(image.faces)[:, None]
    best: Scores = np.where(held >= COVERED, image.scores[None, :], 0.0).max(1)
    return best


def false_scores(image: Judged) -> Scores:
    """The scores of boxes that are no annotated face's, nor in an ignored region."""
    drawn = np.concatenate([image.faces, image.ignored])
    if not len(image.boxes) or not len(drawn):
        return image.scores
    near = iou(image.boxes, drawn).max(1) >= FALSE_IOU
    return np.asarray(image.scores[~near])


def outside_area(image: Judged) -> Scores:
    """Pixels blurred outside annotated faces (grown) and ignored regions, at each threshold: shape (1000,)."""
    best = np.zeros((image.height, image.width), np.int64)  # the highest score of a region over a pixel, in thousandths
    levels = np.rint(image.scores * 1000).astype(np.int64)
    for at in np.argsort(levels, kind="stable"):
        x1, y1, x2, y2 = image.regions[at]
        best[max(y1, 0) : y2, max(x1, 0) : x2] = levels[at]
    margin = np.ceil(GROWN * (image.faces[:, 2:] - image.faces[:, :2]).max(1, initial=0)).astype(np.int64)
    grown = image.faces + margin[:, None] * np.array([-1, -1, 1, 1])
    for x1, y1, x2, y2 in np.concatenate([grown, image.ignored]):
        best[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = 0
    pixels = np.bincount(best.ravel(), minlength=1001)[1:1001]
    return np.cumsum(pixels[::-1]).astype(np.float64)


def _match(image: Judged, low: float, high: float) -> tuple[Scores, Scores]:
    """Give each box to an annotation, best score first, as COCO's evaluation does for one range of sizes.

    Returns
    -------
    array, array
        For each box 1 (found a face), 0 (false) or -1 (does not count: it lies in an ignored region, or on a face or
        is itself of another size); and its score. Best score first.
    """
    order = np.argsort(-image.scores, kind="stable")
    boxes, scores = image.boxes[order], image.scores[order]
    sides = short_side(image.faces)
    counts = (sides >= low) & (sides < high)
    near = iou(boxes, image.faces)
    inside = (shared(boxes, image.ignored) / np.maximum(area(boxes), 1)[:, None]).max(1, initial=0) >= MATCH_IOU
    own = short_side(boxes)
    found = np.zeros(len(boxes))
    free = np.ones(len(image.faces), bool)
    for at in range(len(boxes)):
        match = _closest(near[at], free & counts)
        if match < 0:
            match = _closest(near[at], free & ~counts)
        if match >= 0:
            free[match] = False
            found[at] = 1 if counts[match] else -1
        elif inside[at] or not low <= own[at] < high:
            found[at] = -1
    return found, scores


def _closest(near: Scores, wanted: NDArray[np.bool_]) -> int:
    """The wanted annotation that overlaps most, if enough; else -1."""
    if not wanted.any():
        return -1
    best = int(np.argmax(np.where(wanted, near, -1.0)))
    return best if near[best] >= MATCH_IOU else -1


def _average_precision(found: Sequence[Scores], scores: Sequence[Scores], faces: int) -> float:
    """The area under the curve of precision over recall, precision made to fall; NaN without faces.

    As the PASCAL VOC challenge has computed it since 2010 (Everingham et al., IJCV 2015, section 4.2.1).
    """
    if not faces:
        return float("nan")
    every = _joined(found)[np.argsort(-_joined(scores), kind="stable")]
    every = every[every >= 0]
    right = np.cumsum(every == 1)
    recall = np.concatenate([[0.0], right / faces])
    precision = np.concatenate([[0.0], right / np.arange(1, len(every) + 1)]) if len(every) else np.zeros(1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * falling[1:]))


def _at_least(scores: Scores) -> Scores:
    """How many scores are at least 1.000, 0.999, … 0.001: shape (1000,)."""
    levels = np.clip(np.rint(scores * 1000).astype(np.int64), 0, 1000)
    return np.cumsum(np.bincount(levels, minlength=1001)[1:][::-1]).astype(np.float64)


def _share(number: Scores, whole: int) -> Scores:
    return number / whole if whole else np.full(1000, np.nan)


def _divided(number: Scores, by: Scores) -> Scores:
    share: Scores = np.divide(number, by, out=np.full(number.shape, np.nan), where=by > 0)
    return share


def _joined(parts: Sequence[Scores]) -> Scores:
    return np.concatenate(parts) if parts else np.zeros(0)
