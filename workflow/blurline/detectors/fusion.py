"""One list of boxes out of several looks at an image.

A face that several looks see should score more than something that one look alone takes for a face. So boxes of
different looks that lie at one place become one, their union, whose score is the noisy-or of theirs (Pearl,
"Probabilistic Reasoning in Intelligent Systems", 1988, section 4.3.2): 1 - ∏(1 - sᵢ), as if each look were wrong
independently.
docs/detection.md shows what that gives, and what was tried besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blurline.boxes import Box
from blurline.detectors.results import Detection, order
from blurline.detectors.views import View, uncut

MATCH_IOU = 0.5
"""Boxes of two looks at least this close are one face. A looser match lets a weak neighbour inherit a strong score."""
HELD = 0.8
"""The share of a box that a better one must hold to replace it."""
_BLOCK = 500  # boxes compared with all others at once: a picture of a crowd has tens of thousands of candidates


@dataclass(frozen=True)
class Seen:
    """A detection in a view: where it lies in the image, and what the detector said."""

    view: View
    box: Box
    said: Detection


def floor(candidate: float, looks: int) -> float:
    """The least score that a look must report, so that the fused score can reach `candidate`.

    Half of it where there are several looks: boxes that all of them score lower are left out, to save time.
    """
    return candidate if looks == 1 else candidate / 2


def fuse(looks: Sequence[Sequence[Seen]], candidate: float, nms_iou: float) -> list[Detection]:
    """Make one list of what several looks at an image have found.

    Parameters
    ----------
    looks
        What each look has found, in all its views. Turned looks add faces that lie on their side; they do not
        strengthen what upright ones see.
    candidate
        Least score, 0 to 1, of a detection.
    nms_iou
        Of two boxes of one class that overlap more than this, the lower score goes if the other holds `HELD` of it.

    Returns
    -------
    list of Detection
        Best score first.
    """
    merged = [_tiles_merged(seen, nms_iou) for seen in looks]
    upright = [found for found, seen in zip(merged, looks, strict=True) if not any(one.view.turns for one in seen)]
    turned = [found for found, seen in zip(merged, looks, strict=True) if any(one.view.turns for one in seen)]
    fused = []
    for label in sorted({one.label for found in merged for one in found}):
        of_class = [[one for one in found if one.label == label] for found in upright]
        boxes = [*_noisy_or(of_class), *(one for found in turned for one in found if one.label == label)]
        fused += _suppressed(boxes, nms_iou) if len(looks) > 1 else boxes
    return sorted((one for one in fused if one.score >= round(candidate, 3)), key=order)


def _tiles_merged(seen: Sequence[Seen], nms_iou: float) -> list[Detection]:
    """The detections of one look in pixels of the image."""
    placed = [replace(one.said, x1=one.box.x1, y1=one.box.y1, x2=one.box.x2, y2=one.box.y2) for one in seen]
    if len({one.view.window for one in seen}) < 2:
        return placed
    kept = []
    for label in sorted({one.label for one in placed}):
        at = [n for n, one in enumerate(placed) if one.label == label]
        whole = uncut([(seen[n].view, seen[n].box, placed[n].score) for n in at])
        kept += _suppressed([placed[at[n]] for n in whole], nms_iou)
    return kept


def _noisy_or(looks: Sequence[Sequence[Detection]]) -> list[Detection]:
    """Unite boxes of different looks, the best first, each with the closest box of every other look.

    The box is the union: each look may have seen another part of the face.
    """
    ranked = sorted(((one, at) for at, found in enumerate(looks) for one in found), key=lambda pair: order(pair[0]))
    if len(looks) < 2:
        return [one for one, _ in ranked]
    near = _near(_corners([one for one, _ in ranked]), MATCH_IOU)
    free = [True] * len(ranked)
    fused = []
    for first, (one, look) in enumerate(ranked):
        if not free[first]:
            continue
        free[first] = False
        closest: dict[int, tuple[float, int]] = {}
        for overlap, at in near[first]:
            its_look = ranked[at][1]
            if free[at] and its_look != look and overlap > closest.get(its_look, (0.0, 0))[0]:
                closest[its_look] = overlap, at
        doubt, box = 1.0 - one.score, Box(one.x1, one.y1, one.x2, one.y2)
        for _, (_, at) in sorted(closest.items()):  # in one order: products of floats depend on it
            free[at] = False
            other = ranked[at][0]
            doubt *= 1.0 - other.score
            box = box.union(Box(other.x1, other.y1, other.x2, other.y2))
        fused.append(replace(one, **box._asdict(), score=round(1.0 - doubt, 3)))
    return fused


def _suppressed(found: Sequence[Detection], nms_iou: float) -> list[Detection]:
    """Non-maximum suppression among boxes of one class; but a box goes only if the better one holds nearly all of it.

    Unions are larger than what they are made of, and a box at a tile's border is smaller than its face: by their
    overlap alone, one of two neighbours would go and keep its pixels.
    """
    ranked = sorted(found, key=order)
    boxes = [Box(one.x1, one.y1, one.x2, one.y2) for one in ranked]
    near = _near(_corners(ranked), nms_iou)
    kept = [True] * len(ranked)
    for at, others in enumerate(near):
        if kept[at]:
            for overlap, other in others:
                held = boxes[at].intersection(boxes[other]) >= HELD * boxes[other].area
                if other > at and overlap > nms_iou and held:
                    kept[other] = False
    return [one for one, keep in zip(ranked, kept, strict=True) if keep]


def _corners(found: Sequence[Detection]) -> NDArray[np.float64]:
    return np.array([(one.x1, one.y1, one.x2, one.y2) for one in found], np.float64).reshape(-1, 4)


def _near(boxes: NDArray[np.float64], least: float) -> list[list[tuple[float, int]]]:
    """For each box the others that overlap it at least this much (IoU), with how much: in order."""
    found: list[list[tuple[float, int]]] = []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for start in range(0, len(boxes), _BLOCK):
        some = boxes[start : start + _BLOCK, None]
        width = np.minimum(some[..., 2], boxes[:, 2]) - np.maximum(some[..., 0], boxes[:, 0])
        height = np.minimum(some[..., 3], boxes[:, 3]) - np.maximum(some[..., 1], boxes[:, 1])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        iou = shared / (area[start : start + _BLOCK, None] + area - shared)
        for row, overlaps in enumerate(iou):
            others = np.nonzero(overlaps >= least)[0]
            found.append([(float(overlaps[other]), int(other)) for other in others if other != start + row])
    return found
