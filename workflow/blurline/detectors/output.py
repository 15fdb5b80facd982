"""Reading a model's raw output without losing a box.

ultralytics' own reading fails open (8.4.190, utils/nms.py): NMS gives up after a wall-clock limit and leaves images
empty, `max_det` and `max_nms` drop boxes, and a class filter hides a face that scores higher as a "person". None of
them raises. Here the limits are out of reach, what comes out is checked against what went in, and doubt is a
`Failure`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurline.detectors.results import Failure
from blurline.errors import BlurlineError


@dataclass(frozen=True)
class Reading:
    """How to read an output.

    Attributes
    ----------
    classes
        How many classes the model has.
    wanted
        Their indices to look for.
    candidate
        Boxes with this score or more count.
    nms_iou
        Of two boxes of one class that overlap more than this, the lower score goes.
    end2end
        The model's graph has chosen its boxes itself.
    exact
        The output holds nothing but boxes and scores: neither masks nor key points follow.
    """

    classes: int
    wanted: Sequence[int]
    candidate: float
    nms_iou: float
    end2end: bool
    exact: bool


def read(output: Any, reading: Reading) -> NDArray[np.float64] | Failure:
    """Turn the output for one image into boxes.

    Parameters
    ----------
    output
        Tensor of shape (1, 4 + classes + …, cells) holding centre x, centre y, width, height and one score per class;
        or, end to end, of shape (1, boxes, 6 + …) holding x1, y1, x2, y2, score and class.

    Returns
    -------
    array of shape (found, 6) or Failure
        x1, y1, x2, y2 in input pixels, score, class index.

    Raises
    ------
    BlurlineError
        When the shape is that of another kind of model.
    """
    import torch

    with torch.inference_mode():
        if output.dim() != 3 or output.shape[0] != 1:
            raise _wrong_shape(output, reading)
        return _read_chosen(output, reading) if reading.end2end else _read_cells(output, reading)


def _read_cells(output: Any, reading: Reading) -> NDArray[np.float64] | Failure:
    import torch

    needed = 4 + reading.classes
    if output.shape[1] != needed if reading.exact else output.shape[1] < needed:
        raise _wrong_shape(output, reading)
    # Only the wanted classes' scores count: a cell's best class may be one that nobody asked for.
    scores, best = output[0, [4 + index for index in reading.wanted]].float().max(0)
    if (failure := _check_scores(scores)) is not None:
        return failure
    above = scores > _just_below(reading.candidate)
    boxes, scores, best = output[0, :4, above].float(), scores[above], best[above]
    if not bool(torch.isfinite(boxes).all()):
        return Failure("the model put a box at a place that is not a number")
    found = []
    # One class at a time: ultralytics would move each class's boxes apart by 7680 pixels, which costs digits.
    for which in best.unique().tolist():
        chosen = torch.cat([boxes, scores[None]])[:, best == which]
        kept = _suppress(chosen, reading)
        if isinstance(kept, Failure):
            return kept
        kept[:, 5] = reading.wanted[which]
        found.append(kept)
    return np.concatenate(found) if found else np.empty((0, 6))


def _suppress(boxes: Any, reading: Reading) -> NDArray[np.float64] | Failure:
    """Non-maximum suppression among boxes of one class, (5, count): centre x, centre y, width, height, score."""
    import torch
    from ultralytics.utils.nms import non_max_suppression

    count = boxes.shape[1]
    # A cell of no score changes nothing, but six cells would be taken for the output of an end-to-end model.
    padded = torch.cat([boxes, torch.zeros_like(boxes[:, :1])], 1) if count == 6 else boxes
    (kept,) = non_max_suppression(
        padded[None],
        conf_thres=_just_below(reading.candidate),
        iou_thres=reading.nms_iou,
        nc=1,
        max_time_img=math.inf,  # besides, it can only empty the images that follow in a batch
        max_det=count + 1,
        max_nms=count + 1,
    )
    # NMS keeps at least the best box, and never more than it was given: otherwise something stopped it.
    if not 0 < len(kept) <= count or float(kept[:, 4].max()) != float(boxes[4].max()):
        return Failure(f"non-maximum suppression lost boxes: {len(kept)} left of {count}")
    return np.asarray(kept.double().cpu().numpy())


def _read_chosen(output: Any, reading: Reading) -> NDArray[np.float64] | Failure:
    import torch

    if output.shape[2] != 6 if reading.exact else output.shape[2] < 6:
        raise _wrong_shape(output, reading)
    rows = output[0, :, :6].float()
    if (failure := _check_scores(rows[:, 4])) is not None:
        return failure
    kept = rows[rows[:, 4] > _just_below(reading.candidate)]
    if len(rows) and len(kept) == len(rows):
        return Failure(
            f"all {len(rows)} boxes that the model can give score {reading.candidate} or more: some may lack"
        )
    if not bool(torch.isfinite(kept).all()):
        return Failure("the model put a box at a place that is not a number")
    boxes = kept.double().cpu().numpy()
    return np.asarray(boxes[np.isin(boxes[:, 5], reading.wanted)])


def _check_scores(scores: Any) -> Failure | None:
    """Check every cell: after one NaN, nothing that the model says can be trusted."""
    # The least and the largest of scores with a NaN are NaN, and no comparison with NaN holds.
    if scores.numel() and not -0.001 <= float(scores.min()) <= float(scores.max()) <= 1.001:
        return Failure("the model gave a score that is no number from 0 to 1")
    return None


def _just_below(candidate: float) -> float:
    """Give the limit for ultralytics, which keeps what is over it: we keep what reaches the candidate score."""
    return max(0.0, float(np.nextafter(np.float32(candidate), np.float32(0))))


def _wrong_shape(output: Any, reading: Reading) -> BlurlineError:
    kind = "end-to-end detection" if reading.end2end else "detection"
    return BlurlineError(
        f"the weights' output has shape {tuple(output.shape)}, not that of {kind} with {reading.classes} classes: "
        "use weights that ultralytics trained or exported for detection, with nms=False"
    )
