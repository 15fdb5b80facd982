"""merge: join the detector's boxes with what reviewers decided. In doubt, blur.

The rules, for each box:

- a vote for a face (accept, add, adjust) by anyone keeps the blur;
- a rejection needs `review.reject_votes` reviewers and no vote for the face; a box that a reviewer added is gone when
  nobody stands by it any more;
- boxes for one face unite; the detector's own box stays part of the union until as many reviewers have redrawn it as a
  rejection needs;
- a face that somebody marked outside of the image withholds the image;
- the later decision of a reviewer replaces the earlier one about the same box, at equal times the more protective one;
- without a vote, the score decides: from `detect.confidence` on, the box is blurred.

A decision belongs to the image's bytes (SHA-256) and a place in it. One made on other bytes may only add protection.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from blurline import tables
from blurline.boxes import ALL_FRAMES, Box, box_id
from blurline.decisions import Decision
from blurline.job import Job

ALGORITHM_VERSION = 1
FOLDER = "merged"
PARAMS = ("detect.confidence", "review.match_iou", "review.reject_votes", "review.window")
READS = ("detect",)

FOR_FACE = ("accept", "add", "adjust")
OUTSIDE = "a reviewer's box is outside the image"
PROTECTIVE = ("accept", "add", "adjust", "exclude", "erase")


@dataclass(frozen=True)
class Rules:
    """The params of the merge; scores and IoU from 0 to 1."""

    confidence: float
    match_iou: float
    reject_votes: int
    window: float


@dataclass
class _Face:
    """A box and what reviewers said about it: each reviewer's last word."""

    row: dict[str, Any]
    votes: dict[str, str] = field(default_factory=dict)  # reviewer → action
    boxes: dict[str, Box] = field(default_factory=dict)  # reviewer → the box as that reviewer drew it

    @property
    def box(self) -> Box:
        return Box(self.row["x1"], self.row["y1"], self.row["x2"], self.row["y2"])


def run(job: Job) -> None:
    """Merge a shard's detections with the decisions that concern it."""
    table = job.input("detections").table(f"{job.shard}.parquet", tables.DETECTIONS)
    review = job.params.review
    rules = Rules(job.params.detect.confidence, review.match_iou, review.reject_votes, review.window)
    detections = list(table.iter_rows(named=True))
    told = by_image(detections, job.decisions)
    rows = [
        {"image_id": row["image_id"], "sha256": row["sha256"]} | merge(row, told[row["image_id"]], rules)
        for row in detections
    ]
    with job.output() as output:
        tables.write(output.path(f"{job.shard}.parquet"), rows, tables.MERGED)
        for state in ("auto", "reviewed", "pending", "excluded"):
            output.counts[state] = sum(row["state"] == state for row in rows)
        output.counts["blur"] = sum(face["blur"] for row in rows for face in row["faces"])


def by_image(rows: Iterable[dict[str, Any]], decisions: Iterable[Decision]) -> dict[str, list[Decision]]:
    """image_id → the decisions for it: by its SHA-256, or by its image_id or that of a copy of it in this shard."""
    rows = list(rows)
    copies: dict[str, list[str]] = {}
    for row in rows:
        copies.setdefault(row["sha256"] or "", []).append(row["image_id"])
    sha256_of = {row["image_id"]: row["sha256"] or "" for row in rows}
    found: dict[str, list[Decision]] = {image_id: [] for image_id in sha256_of}
    for decision in decisions:
        same = {decision.image_id} & found.keys()
        if decision.sha256:
            same.update(copies.get(decision.sha256, []))
        elif sha256_of.get(decision.image_id):
            same.update(copies[sha256_of[decision.image_id]])
        for image_id in same:
            found[image_id].append(decision)
    return found


def merge(image: dict[str, Any], decisions: Iterable[Decision], rules: Rules) -> dict[str, Any]:
    """State, reason and faces of one image.

    Parameters
    ----------
    image
        Its row of the detections table: sha256, status, reason, width, height and `faces`, the detector's boxes.
    decisions
        Those that concern the image, in any order; repeats change nothing.
    rules
        The params of the merge.

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
    faces = [_Face(row) for row in image["faces"]]
    misplaced = False
    for decision in decisions:
        if decision.action in (*FOR_FACE, "reject"):
            placed = _vote(image, faces, decision, rules)
            misplaced = misplaced or (decision.action in FOR_FACE and not placed)
    verdicts = [_verdict(face, rules) for face in faces]
    # A reviewer's box that nobody stands by any more is gone; a detector's stays on record as rejected.
    verdicts = [row for row in verdicts if not (row["origin"] == "reviewer" and row["verdict"] == "rejected")]
    cleared = any(d.action == "clear" and d.sha256 in ("", image["sha256"]) for d in decisions)
    undecided = [round(row["score"], 3) for row in verdicts if row["verdict"] == "pending"]
    # Both sides have three decimals; what is left of 0.3 - 0.2 beyond them is rounding.
    in_window = any(round(abs(score - rules.confidence), 6) <= rules.window for score in undecided)
    if in_window and not cleared:
        state = "pending"
    elif cleared or (verdicts and not undecided):
        state = "reviewed"
    else:
        state = "auto"
    # Somebody saw a face, and where it is nobody knows: as good as not looked at.
    status, reason = ("error", OUTSIDE) if misplaced and image["status"] == "ok" else (image["status"], image["reason"])
    return {"status": status, "state": state, "reason": reason, "faces": sorted(verdicts, key=_place)}


def _standing(sha256: str | None, decisions: Iterable[Decision]) -> Iterable[Decision]:
    """Those made on these bytes, and of the others the protective ones: in doubt, blur."""
    unique = {repr(d.canonical()): d for d in decisions}
    return [d for d in unique.values() if d.sha256 in ("", sha256) or d.action in PROTECTIVE]


def _order(decision: Decision) -> tuple[Any, ...]:
    """In time; at equal times the protective decision comes last, and so has the last word."""
    return (decision.decided_at, decision.action in PROTECTIVE, repr(decision.canonical()))


def _vote(image: dict[str, Any], faces: list[_Face], decision: Decision, rules: Rules) -> bool:
    """Give a reviewer's vote to the face it is about; whether there is one, and the box drawn lies in the image."""
    face = _find(faces, decision, rules.match_iou)
    if face is None and decision.action in FOR_FACE and decision.box is not None:
        face = _added(image, decision)
        if face is not None:
            faces.append(face)
    if face is None:
        return False
    who = decision.reviewer.casefold()
    face.votes[who] = decision.action
    face.boxes.pop(who, None)
    if decision.action not in ("add", "adjust") or decision.box is None:
        return True
    drawn = decision.box.clip(image["width"] or 0, image["height"] or 0)
    if drawn.area:
        face.boxes[who] = drawn
    return bool(drawn.area)


def _find(faces: list[_Face], decision: Decision, match_iou: float) -> _Face | None:
    """The box that a decision is about: by id, else the one that overlaps most, if enough."""
    if decision.box_id:
        for face in faces:
            if face.row["box_id"] == decision.box_id:
                return face
    if decision.box is None:
        return None
    box = decision.box
    same_frame = [
        face
        for face in faces
        if ALL_FRAMES in (decision.frame, face.row["frame"]) or decision.frame == face.row["frame"]
    ]
    best = max(same_frame, key=lambda face: (face.box.iou(box), face.row["box_id"]), default=None)
    return best if best is not None and best.box.iou(box) >= match_iou else None


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
    }
    return _Face(row)


def _verdict(face: _Face, rules: Rules) -> dict[str, Any]:
    origin = face.row.get("origin", "detector")
    # A reviewer's own box needs only its author's word to go; a detector's box needs several to be left clear.
    needed = rules.reject_votes if origin == "detector" else 1
    actions = list(face.votes.values())
    if any(action in FOR_FACE for action in actions):
        verdict = "accepted"
    elif actions.count("reject") >= needed:
        verdict = "rejected"
    else:
        verdict = "pending"
    # Scores are stored as float32 with three decimals: compare the decimals, or 0.7 would be under 0.7.
    over = round(face.row["score"], 3) >= rules.confidence
    blur = verdict == "accepted" or (verdict == "pending" and over)
    return {
        **face.row,
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
