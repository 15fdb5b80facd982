"""Compare two runs of the same release made on different machines: equal but for the last digits of arithmetic."""

from pathlib import Path
from typing import Any

import polars as pl

from blurline import receipts, tables
from blurline.errors import BlurlineError

PIXELS = 1  # how far a corner may move
SCORE = 0.01  # how far a score may move
_ROUNDING = 5e-4  # scores are stored with three decimals


def compare(one: Path, other: Path) -> list[str]:
    """Every exception from: equal sets of images and outcomes, boxes within 1 px, scores within 0.01.

    Of data/recheck only the status counts: what a detector still makes of a blurred face hangs on the last digits of
    the blur.

    Parameters
    ----------
    one, other
        Two `data` folders with detections/, blurred/ and recheck/ in them.

    Returns
    -------
    list of str
        One line for each exception; empty when the two agree. A box that only one of them stored is no exception if
        its score is within 0.01 of the candidate threshold: the other run may rightly have it just below.

    Raises
    ------
    BlurlineError
        When a folder holds no such tables.
    """
    exceptions = []
    schemas = {"detections": tables.DETECTIONS, "blurred": tables.BLURRED, "recheck": tables.RECHECK}
    for folder, schema in schemas.items():
        ours, theirs = _rows(one / folder, schema), _rows(other / folder, schema)
        for image_id in sorted(ours.keys() ^ theirs.keys()):
            where = one if image_id in ours else other
            exceptions.append(f"{image_id}: only in {where / folder}")
        candidate = _candidate(one / folder) if folder == "detections" else 0.0
        for image_id in sorted(ours.keys() & theirs.keys()):
            a, b = ours[image_id], theirs[image_id]
            if folder == "detections":
                problems = _detections(a, b, candidate)
            else:
                column, what = ("action", "action") if folder == "blurred" else ("status", "recheck")
                same = a[column] == b[column]
                problems = [] if same else [f"{what} {a[column]} and {b[column]}"]
            exceptions += [f"{image_id}: {problem}" for problem in problems]
    return exceptions


def _rows(folder: Path, schema: tables.Schema) -> dict[str, dict[str, Any]]:
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise BlurlineError(
            f"{folder}: no tables to compare: name a data folder with detections/, blurred/ and recheck/"
        )
    frame = pl.concat([tables.read(path, schema) for path in paths])
    return {row["image_id"]: row for row in frame.iter_rows(named=True)}


def _candidate(folder: Path) -> float:
    """The candidate threshold, from any of the folder's receipts."""
    for path in sorted(folder.glob("*.json")):
        receipt, _ = receipts.load(path)
        if "params" in receipt.parts:
            return float(receipt.parts["params"]["detect.candidate"])
    raise BlurlineError(f"{folder}: no receipt that names the candidate threshold: name a complete data folder")


def _detections(a: dict[str, Any], b: dict[str, Any], candidate: float) -> list[str]:
    if (a["sha256"], a["status"]) != (b["sha256"], b["status"]):
        return [f"{a['status']} of bytes {a['sha256']} and {b['status']} of {b['sha256']}"]
    problems, left = [], list(b["faces"])
    for face in a["faces"]:
        twin = min((f for f in left if _close(face, f)), key=lambda f: abs(face["score"] - f["score"]), default=None)
        if twin is not None:
            left.remove(twin)
        elif face["score"] > candidate + SCORE:
            problems.append(f"{_box(face)} only in the first, or moved by more than {PIXELS} px or {SCORE}")
    problems += [
        f"{_box(face)} only in the second, or moved by more than {PIXELS} px or {SCORE}"
        for face in left
        if face["score"] > candidate + SCORE
    ]
    return problems


def _close(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return (
        a["label"] == b["label"]
        and a["frame"] == b["frame"]
        and all(abs(a[side] - b[side]) <= PIXELS for side in ("x1", "y1", "x2", "y2"))
        and abs(a["score"] - b["score"]) <= SCORE + _ROUNDING
    )


def _box(face: dict[str, Any]) -> str:
    return f"{face['label']} ({face['x1']}, {face['y1']}, {face['x2']}, {face['y2']}) {face['score']:.3f}"
