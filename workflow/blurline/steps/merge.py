"""merge: join the detector's boxes with those that the data set came with, and with what reviewers decided.

In doubt, blur. An imported box (data/annotations) counts as one that a detector is sure of. Where it and another box
mean one face (IoU of at least `review.match_iou`; one box of a file pairs with one other at most), their union is the
face, with a `box_id` of its own, and `detector` names both. An annotation file does not say whether it means the image
as stored or as displayed, and tools differ: in an image with an EXIF orientation, both readings are blurred.

The rules, for each box:

- a vote for a face (accept, add, adjust) by anyone keeps the blur;
- a rejection needs `review.reject_votes` reviewers and no vote for the face, whether a detector found it or it was
  imported; a box that a reviewer added is gone when
  nobody stands by it any more;
- boxes for one face unite; the detector's own box stays part of the union until as many reviewers have redrawn it as a
  rejection needs;
- a face that somebody marked outside of the image withholds the image, and so does an imported box;
- the later decision of a reviewer replaces the earlier one about the same box, at equal times the more protective one;
- without a vote, the score decides: from `detect.confidence` on, the box is blurred.

A decision without a frame is about every frame: it is a vote on the box that it means in each of them, and a vote for a
face blurs that place in all frames. One with a frame takes no blur from a box that is in all frames, and only one
without clears an image.

A decision belongs to the image's bytes (SHA-256) and a place in it. One made on other bytes may only add protection.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Protocol, TypeVar

import polars as pl

from blurline import tables
from blurline.annotations import Annotation
from blurline.boxes import ALL_FRAMES, Box, box_id
from blurline.decisions import Decision
from blurline.errors import BlurlineError
from blurline.images.orientation import UPRIGHT, box_to_displayed
from blurline.job import Job
from blurline.params import Params

ALGORITHM_VERSION = 2
FOLDER = "merged"
PARAMS = ("detect.confidence", "detect.confidence_of", "review.match_iou", "review.reject_votes", "review.window")
READS = ("detect",)
READS_IF_ANNOTATED = ("download",)  # the orientation of the images, where boxes were imported

ABOVE = "above"
"""Of a box while it is merged: how far its score is above that from which its detector's boxes are blurred."""
FOR_FACE = ("accept", "add", "adjust")
OUTSIDE = "a reviewer's box is outside the image"
IMPORTED_OUTSIDE = "an imported box is outside the image"
PROTECTIVE = ("accept", "add", "adjust", "exclude", "erase")


class _OfImage(Protocol):
    @property
    def image_id(self) -> str: ...
    @property
    def sha256(self) -> str: ...


About = TypeVar("About", bound=_OfImage)
"""A decision or an annotation: it is about an image."""


@dataclass(frozen=True)
class Rules:
    """The params of the merge; scores and IoU from 0 to 1. `confidence_of` is for detectors that have their own."""

    confidence: float
    match_iou: float
    reject_votes: int
    window: float
    confidence_of: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, params: Params) -> "Rules":
        """Those of params.yaml."""
        detect, review = params.detect, params.review
        return cls(detect.confidence, review.match_iou, review.reject_votes, review.window, detect.confidence_of)

    def above(self, face: Mapping[str, Any]) -> float:
        """How far a detector's box is above (or, negative, below) the score from which it is blurred."""
        # Scores are stored as float32 with three decimals: compare the decimals, or 0.7 would be under 0.7.
        score: float = round(face["score"], 3)
        return round(score - self.confidence_of.get(face["detector"], self.confidence), 6)


@dataclass
class _Face:
    """A box and what reviewers said about it: each reviewer's last word."""

    row: dict[str, Any]
    votes: dict[str, str] = field(default_factory=dict)  # reviewer → action
    boxes: dict[str, Box] = field(default_factory=dict)  # reviewer → the box as that reviewer drew it

    @property
    def box(self) -> Box:
        return Box(*_corners(self.row))


def run(job: Job) -> None:
    """Merge a shard's detections with the decisions and annotations that concern it."""
    table = job.input("detections").table(f"{job.shard}.parquet", tables.DETECTIONS)
    rules = Rules.of(job.params)
    detections = list(table.iter_rows(named=True))
    told = by_image(detections, job.decisions)
    imported = by_image(detections, job.annotations)
    turned = _orientations(job, list(told))
    rows = [
        {"image_id": image, "sha256": row["sha256"]} | merge(row, told[image], rules, imported[image], turned[image])
        for row in detections
        for image in (row["image_id"],)
    ]
    with job.output() as output:
        tables.write(output.path(f"{job.shard}.parquet"), rows, tables.MERGED)
        for state in ("auto", "reviewed", "pending", "excluded"):
            output.counts[state] = sum(row["state"] == state for row in rows)
        output.counts["blur"] = sum(face["blur"] for row in rows for face in row["faces"])


def _orientations(job: Job, images: list[str]) -> Mapping[str, int]:
    """image_id → EXIF orientation, which matters only where boxes were imported."""
    if not job.annotations:
        return dict.fromkeys(images, UPRIGHT)
    table = job.input("raw").table(f"{job.shard}.parquet", tables.RAW)
    if table["image_id"].to_list() != images:
        raise BlurlineError(f"{job.shard}: data/raw and data/detections list other images: run snakemake again")
    return dict(table.select("image_id", pl.col("orientation").fill_null(UPRIGHT)).rows())


def by_image(rows: Iterable[dict[str, Any]], decisions: Iterable[About]) -> dict[str, list[About]]:
    """image_id → the decisions for it: by its SHA-256, or by its image_id or that of a copy of it in this shard."""
    rows = list(rows)
    copies: dict[str, list[str]] = {}
    for row in rows:
        copies.setdefault(row["sha256"] or "", []).append(row["image_id"])
    sha256_of = {row["image_id"]: row["sha256"] or "" for row in rows}
    found: dict[str, list[About]] = {image_id: [] for image_id in sha256_of}
    for decision in decisions:
        same = {decision.image_id} & found.keys()
        if decision.sha256:
            same.update(copies.get(decision.sha256, []))
        elif sha256_of.get(decision.image_id):
            same.update(copies[sha256_of[decision.image_id]])
        for image_id in same:
            found[image_id].append(decision)
    return found


def merge(
    image: dict[str, Any],
    decisions: Iterable[Decision],
    rules: Rules,
    annotations: Iterable[Annotation] = (),
    orientation: int = UPRIGHT,
) -> dict[str, Any]:
    """State, reason and faces of one image.

    Parameters
    ----------
    image
        Its row of the detections table: sha256, status, reason, width, height and `faces`, the detector's boxes.
    decisions
        Those that concern the image, in any order; repeats change nothing.
    rules
        The params of the merge.
    annotations
        Imported boxes of the image, in any order; repeats change nothing.
    orientation
        The image's EXIF orientation, 1 to 8.

    Returns
    -------
    dict
        `status` (ok, or why the image must be withheld), `state` (excluded, pending, reviewed or auto), `reason` and
        `faces`, as in the merged table.
    """
    decisions = sorted(_standing(image["sha256"], decisions), key=_order)
    for action, reason in (("erase", "erased"), ("exclude", "excluded by a reviewer")):
        if any(d.action == action for d in decisions):
            return {"status": image["status"], "state": "excluded", "reason": reason, "faces": []}
    joined, lost = _joined(image, annotations, orientation, rules)
    faces = [_Face(row) for row in joined]
    misplaced = False
    for decision in decisions:
        if decision.action in (*FOR_FACE, "reject"):
            placed = _vote(image, faces, decision, rules)
            misplaced = misplaced or (decision.action in FOR_FACE and not placed)
    verdicts = [_verdict(face, rules) for face in faces]
    # An imported box has no score that could be near the threshold. What is left of 0.3 - 0.2 beyond it is rounding.
    in_window = any(
        row["verdict"] == "pending" and row["origin"] != "imported" and abs(face.row[ABOVE]) <= rules.window
        for face, row in zip(faces, verdicts, strict=True)
    )
    # A reviewer's box that nobody stands by any more is gone; a detector's stays on record as rejected.
    verdicts = [row for row in verdicts if not (row["origin"] == "reviewer" and row["verdict"] == "rejected")]
    cleared = any(
        d.action == "clear" and d.frame == ALL_FRAMES and d.sha256 in ("", image["sha256"]) for d in decisions
    )
    undecided = [row for row in verdicts if row["verdict"] == "pending"]
    if in_window and not cleared:
        state = "pending"
    elif cleared or (verdicts and not undecided):
        state = "reviewed"
    else:
        state = "auto"
    status, reason = image["status"], image["reason"]
    if status == "ok" and (misplaced or lost):
        # Somebody saw a face, and where it is nobody knows: as good as not looked at.
        status, reason = "error", OUTSIDE if misplaced else IMPORTED_OUTSIDE
    return {"status": status, "state": state, "reason": reason, "faces": sorted(verdicts, key=_place)}


def _joined(
    image: dict[str, Any], annotations: Iterable[Annotation], orientation: int, rules: Rules
) -> tuple[list[dict[str, Any]], bool]:
    """The detectors' boxes and the imported ones, one for each face; and whether an imported one lies outside.

    Each has one key more than the table: `ABOVE`.
    """
    faces, lost = _detected(image, rules), False
    # One file after the other: boxes of one file are different faces, those of two may be one.
    ordered = sorted({(a.detector, a.frame, a.label, a.box) for a in annotations})
    for _, of_file in groupby(ordered, key=lambda one: one[0]):
        boxes: dict[str, dict[str, Any]] = {}
        for detector, frame, label, box in of_file:
            places = _places(image, box, orientation)
            lost = lost or not places
            for place in places:
                row = _imported(image["sha256"], frame, label, detector, place)
                boxes[row["box_id"]] = row
        faces = _paired(faces, list(boxes.values()), rules.match_iou, partial(_with_imported, image["sha256"]))
    return faces, lost


def _detected(image: dict[str, Any], rules: Rules) -> list[dict[str, Any]]:
    """The boxes of all detectors, those of two that mean one face united: in doubt, blur both places."""
    scored = [row | {ABOVE: rules.above(row)} for row in image["faces"]]
    faces: list[dict[str, Any]] = []
    for name in dict.fromkeys(row["detector"] for row in scored):  # the first detector first
        found, united = [row for row in scored if row["detector"] == name], []
        # What two detectors call by other names, such as a face and a person, are two things.
        for label in sorted({row["label"] for row in found}):
            same = [row for row in faces if row["label"].casefold() == label.casefold()]
            faces = [row for row in faces if row["label"].casefold() != label.casefold()]
            new = [row for row in found if row["label"] == label]
            united += _paired(same, new, rules.match_iou, partial(_with_other_detector, image["sha256"]))
        faces += united
    return faces


def _places(image: dict[str, Any], box: Box, orientation: int) -> list[Box]:
    """Where in the displayed image a box of an annotation file may be: as it stands there, or turned with the image."""
    width, height = image["width"] or 0, image["height"] or 0
    readings = (box, box_to_displayed(box, orientation, width, height))
    return [clipped for reading in dict.fromkeys(readings) if (clipped := reading.clip(width, height)).area]


def _paired(
    faces: list[dict[str, Any]],
    boxes: list[dict[str, Any]],
    match_iou: float,
    unite: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]],
) -> list[dict[str, Any]]:
    """Unite each further box with the face that it means, if there is one: the closest pairs first."""
    near = [
        (-overlap, face["box_id"], box["box_id"])
        for face in faces
        for box in boxes
        if _one_frame(face["frame"], box["frame"])
        and (overlap := Box(*_corners(face)).iou(Box(*_corners(box)))) >= match_iou
    ]
    partner: dict[str, str] = {}
    for _, face_id, id_ in sorted(near):
        if face_id not in partner and id_ not in partner.values():
            partner[face_id] = id_
    by_id = {box["box_id"]: box for box in boxes}
    united = [unite(face, by_id[partner[face["box_id"]]]) if face["box_id"] in partner else face for face in faces]
    return united + [box for box in boxes if box["box_id"] not in partner.values()]


def _with_imported(sha256: str, face: dict[str, Any], imported: dict[str, Any]) -> dict[str, Any]:
    frame = face["frame"] if face["frame"] == imported["frame"] else ALL_FRAMES
    box = Box(*_corners(face)).union(Box(*_corners(imported)))
    return _imported(sha256, frame, imported["label"], f"{face['detector']}+{imported['detector']}", box)


def _with_other_detector(sha256: str, face: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    box = Box(*_corners(face)).union(Box(*_corners(other)))
    detector = f"{face['detector']}+{other['detector']}"
    return face | {
        "box_id": box_id(sha256, face["frame"], detector, face["label"], box),
        "detector": detector,
        **box._asdict(),
        "score": max(face["score"], other["score"]),
        ABOVE: max(face[ABOVE], other[ABOVE]),
    }


def _imported(sha256: str, frame: int, label: str, detector: str, box: Box) -> dict[str, Any]:
    return {
        "box_id": box_id(sha256, frame, detector, label, box),
        "frame": frame,
        "label": label,
        "detector": detector,
        **box._asdict(),
        "score": 1.0,
        "origin": "imported",
        ABOVE: 1.0,
    }


def _corners(row: dict[str, Any]) -> tuple[int, int, int, int]:
    return row["x1"], row["y1"], row["x2"], row["y2"]


def _one_frame(one: int, other: int) -> bool:
    return ALL_FRAMES in (one, other) or one == other


def _standing(sha256: str | None, decisions: Iterable[Decision]) -> Iterable[Decision]:
    """Those made on these bytes, and of the others the protective ones: in doubt, blur."""
    unique = {repr(d.canonical()): d for d in decisions}
    return [d for d in unique.values() if d.sha256 in ("", sha256) or d.action in PROTECTIVE]


def _order(decision: Decision) -> tuple[Any, ...]:
    """In time; at equal times the protective decision comes last, and so has the last word."""
    return (decision.decided_at, decision.action in PROTECTIVE, repr(decision.canonical()))


def _vote(image: dict[str, Any], faces: list[_Face], decision: Decision, rules: Rules) -> bool:
    """Give a reviewer's vote to the faces it is about; whether there are any, and the box drawn lies in the image."""
    about = _find(faces, decision, rules.match_iou)
    if decision.action in FOR_FACE and not _everywhere(about, decision):
        added = _added(image, decision)
        if added is not None:
            faces.append(added)
            about.append(added)
    drawn = None
    if decision.action in ("add", "adjust") and decision.box is not None:
        drawn = decision.box.clip(image["width"] or 0, image["height"] or 0)
    who = decision.reviewer.casefold()
    for face in about:
        face.votes[who] = decision.action
        face.boxes.pop(who, None)
        if drawn is not None and drawn.area:
            face.boxes[who] = drawn
    return bool(about) and (drawn is None or bool(drawn.area))


def _everywhere(about: list[_Face], decision: Decision) -> bool:
    """Whether these faces are all that a vote for a face means: in every frame, if it names neither frame nor box."""
    named = any(face.row["box_id"] == decision.box_id for face in about)
    return named or any(face.row["frame"] in (ALL_FRAMES, decision.frame) for face in about)


def _find(faces: list[_Face], decision: Decision, match_iou: float) -> list[_Face]:
    """The boxes that a decision is about: by id, else in each of its frames the one that overlaps most, if enough."""
    near = [face for face in faces if _may_mean(decision, face.row["frame"])]
    if decision.box_id:
        for face in near:
            if face.row["box_id"] == decision.box_id:
                return [face]
    if decision.box is None:
        return []
    box = decision.box
    best: dict[int, _Face] = {}
    for face in sorted(near, key=lambda face: (face.box.iou(box), face.row["box_id"])):
        if face.box.iou(box) >= match_iou:
            best[face.row["frame"]] = face
    return list(best.values())


def _may_mean(decision: Decision, frame: int) -> bool:
    """Whether a decision can be about a face of that frame.

    In one frame, a reviewer can confirm a face that is in all of them, and can neither reject nor redraw it.
    """
    if decision.frame == ALL_FRAMES or decision.frame == frame:
        return True
    return frame == ALL_FRAMES and decision.action == "accept"


def _added(image: dict[str, Any], decision: Decision) -> _Face | None:
    """A face that a reviewer saw and the detector did not; None if no part of it is in the image."""
    if decision.box is None or not image["width"]:
        return None
    box = decision.box.clip(image["width"], image["height"])
    if not box.area:
        return None
    label = decision.label or "face"
    row = {
        "box_id": box_id(image["sha256"], decision.frame, "reviewer", label, box),
        "frame": decision.frame,
        "label": label,
        "detector": "reviewer",
        **box._asdict(),
        "score": 1.0,
        "origin": "reviewer",
        ABOVE: 1.0,
    }
    return _Face(row)


def _verdict(face: _Face, rules: Rules) -> dict[str, Any]:
    origin = face.row.get("origin", "detector")
    # A reviewer's own box needs only its author's word to go; any other needs several to be left clear.
    needed = 1 if origin == "reviewer" else rules.reject_votes
    actions = list(face.votes.values())
    if any(action in FOR_FACE for action in actions):
        verdict = "accepted"
    elif actions.count("reject") >= needed:
        verdict = "rejected"
    else:
        verdict = "pending"
    blur = verdict == "accepted" or (verdict == "pending" and face.row[ABOVE] >= 0)
    return {
        **{name: value for name, value in face.row.items() if name != ABOVE},
        **_united(face, needed)._asdict(),
        "origin": origin,
        "verdict": verdict,
        "blur": blur,
        "decided_by": sorted(face.votes),
    }


def _united(face: _Face, needed: int) -> Box:
    """The union of the drawn boxes, and of the box itself unless as many reviewers redrew it as may reject it."""
    boxes = list(face.boxes.values())
    if len(boxes) < needed or not boxes:
        boxes.append(face.box)
    whole = boxes[0]
    for box in boxes[1:]:
        whole = whole.union(box)
    return whole


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["frame"], row["y1"], row["x1"], row["y2"], row["x2"], row["box_id"])
