"""detect: find faces in a shard's images, and record every box over the candidate threshold."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from blurline import tables, tars
from blurline.boxes import ALL_FRAMES, Box, box_id
from blurline.detectors import ensemble
from blurline.detectors.yolo import Detection, Failure, Picture
from blurline.errors import BlurlineError
from blurline.images import decode, looks
from blurline.images.animation import redact as animation
from blurline.job import Input, Job
from blurline.receipts import CLOSING

ALGORITHM_VERSION = 4
FOLDER = "detections"
PARAMS = ("detect.also", *ensemble.PARAMS)
READS = ("weights", "download")


def run(job: Job) -> None:
    """Run the detectors over the shard's images; one that they cannot judge gets status error, never "no faces"."""
    raw = job.input("raw")
    images = raw.table(f"{job.shard}.parquet", tables.RAW)
    ensemble.check(job.params.detect, job.input("weights", CLOSING).receipt.payload)
    detectors = ensemble.load(job.params.detect, job.root / "data" / "weights", job.threads)
    rows = {row["image_id"]: _row(row) for row in images.iter_rows(named=True)}
    # The detectors answer in the order of the images given, but read ahead of their answers: remember whose turn it is.
    asked: deque[tuple[str, int]] = deque()
    with job.output() as output:
        pictures = _decoded(job, raw, images, rows, asked)
        for _ in output.track(_judged(ensemble.look(detectors, pictures), rows, asked), images.height):
            pass
        if asked:
            raise BlurlineError(f"{job.shard}: the detector answered {len(asked)} images too few: run again")
        tables.write(output.path(f"{job.shard}.parquet"), rows.values(), tables.DETECTIONS)
        for status in ("ok", "skipped", "error"):
            output.counts[status] = sum(row["status"] == status for row in rows.values())
        output.counts["boxes"] = sum(len(row["faces"]) for row in rows.values())


def _judged(
    found: Iterable[Mapping[str, list[Detection] | Failure]],
    rows: Mapping[str, dict[str, Any]],
    asked: deque[tuple[str, int]],
) -> Iterator[str]:
    """Enter each answer into the row of its image; yields the image_ids of those of which the last frame is judged."""
    for answer in found:
        image_id, frame = asked.popleft()
        row = rows[image_id]
        if row["status"] != "error":  # of which nothing is known, whatever was found in its other frames
            said = outcome(row["sha256"], answer, frame)
            before = row["faces"] if said["status"] == "ok" else []
            row |= said | {"faces": before + said["faces"]}
        if frame in (ALL_FRAMES, row["frames"] - 1):
            yield image_id


def outcome(sha256: str, found: Mapping[str, list[Detection] | Failure], frame: int = ALL_FRAMES) -> dict[str, Any]:
    """Status, reason and faces of an image or a frame of it, as in the detections table.

    One detector's failure is the image's, and so is that of one frame.
    """
    faces = []
    for name, answer in found.items():
        if isinstance(answer, Failure):
            return {"status": "error", "reason": answer.reason, "faces": []}
        faces += [_face(sha256, name, one, frame) for one in answer]
    return {"status": "ok", "reason": "", "faces": faces}


def _face(sha256: str, detector: str, found: Detection, frame: int) -> dict[str, Any]:
    box = Box(found.x1, found.y1, found.x2, found.y2)
    return {
        "box_id": box_id(sha256, frame, detector, found.label, box),
        "frame": frame,
        "label": found.label,
        "detector": detector,
        **box._asdict(),
        "score": found.score,
    }


def _decoded(
    job: Job, raw: Input, images: pl.DataFrame, rows: dict[str, dict[str, Any]], asked: deque[tuple[str, int]]
) -> Iterator[Picture]:
    """The images to look at, upright, one at a time and frame by frame; the others get their status here."""
    limits = decode.Limits(job.params.download.max_bytes, job.params.download.max_pixels)
    ids = dict(images.filter(pl.col("status") == "ok").select("member", "image_id").rows())
    for member, data in tars.read(raw.file(f"{job.shard}.tar")):
        row = rows[ids.pop(member)]
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise BlurlineError(f"data/raw/{job.shard}.tar: {member}: not the bytes of its table: download it again")
        if row["frames"] > 1 and row["format"] not in animation.FORMATS:
            row |= {"status": "skipped", "reason": "several frames are not supported yet"}
            continue
        try:
            for frame, decoded in decode.numbered(data, limits, row["frames"]):
                picture = Picture(looks.for_detection(decoded), decoded.oriented)
                asked.append((row["image_id"], frame))
                yield picture
        except decode.Undecodable as error:
            row |= {"status": "error", "reason": error.reason, "faces": []}
    if ids:
        raise BlurlineError(f"data/raw/{job.shard}.tar: {min(ids)} is missing: download it again")


def _row(raw: dict[str, Any]) -> dict[str, Any]:
    """A row of the detections table before the detector has spoken: nothing is ok by default."""
    row = {name: raw.get(name) for name in tables.DETECTIONS} | {name: raw[name] for name in ("frames", "format")}
    reason = "not looked at" if raw["status"] == "ok" else raw["status"]
    return row | {"status": "skipped", "reason": reason, "faces": []}
