"""detect: find faces in a shard's images, and record every box over the candidate threshold."""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from blurline import tables, tars
from blurline.boxes import ALL_FRAMES, Box, box_id
from blurline.detectors import ensemble
from blurline.detectors.yolo import Detection, Failure, Picture
from blurline.errors import BlurlineError
from blurline.images import decode
from blurline.job import Input, Job
from blurline.receipts import CLOSING

ALGORITHM_VERSION = 2
FOLDER = "detections"
PARAMS = (
    "detect.also",
    "detect.candidate",
    "detect.classes",
    "detect.device",
    "detect.engine",
    "detect.flips",
    "detect.full_size",
    "detect.image_sizes",
    "detect.nms_iou",
    "detect.precision",
    "detect.tile",
    "detect.turned",
)
READS = ("weights", "download")


def run(job: Job) -> None:
    """Run the detectors over the shard's images; one that they cannot judge gets status error, never "no faces"."""
    raw = job.input("raw")
    images = raw.table(f"{job.shard}.parquet", tables.RAW)
    ensemble.check(job.params.detect, job.input("weights", CLOSING).receipt.payload)
    detectors = ensemble.load(job.params.detect, job.root / "data" / "weights", job.threads)
    rows = {row["image_id"]: _row(row) for row in images.iter_rows(named=True)}
    # The detectors answer in the order of the images given, but read ahead of their answers: remember whose turn it is.
    asked: deque[str] = deque()
    with job.output() as output:
        pictures = _decoded(job, raw, images, rows, asked)
        for found in output.track(ensemble.look(detectors, pictures), images.height):
            row = rows[asked.popleft()]
            row |= outcome(row["sha256"], found)
        if asked:
            raise BlurlineError(f"{job.shard}: the detector answered {len(asked)} images too few: run again")
        tables.write(output.path(f"{job.shard}.parquet"), rows.values(), tables.DETECTIONS)
        for status in ("ok", "skipped", "error"):
            output.counts[status] = sum(row["status"] == status for row in rows.values())
        output.counts["boxes"] = sum(len(row["faces"]) for row in rows.values())


def outcome(sha256: str, found: Mapping[str, list[Detection] | Failure]) -> dict[str, Any]:
    """Status, reason and faces of an image, as in the detections table. One detector's failure is the image's."""
    faces = []
    for name, answer in found.items():
        if isinstance(answer, Failure):
            return {"status": "error", "reason": answer.reason, "faces": []}
        faces += [_face(sha256, name, one) for one in answer]
    return {"status": "ok", "reason": "", "faces": faces}


def _face(sha256: str, detector: str, found: Detection) -> dict[str, Any]:
    box = Box(found.x1, found.y1, found.x2, found.y2)
    return {
        "box_id": box_id(sha256, ALL_FRAMES, detector, found.label, box),
        "frame": ALL_FRAMES,
        "label": found.label,
        "detector": detector,
        **box._asdict(),
        "score": found.score,
    }


def _decoded(
    job: Job, raw: Input, images: pl.DataFrame, rows: dict[str, dict[str, Any]], asked: deque[str]
) -> Iterator[Picture]:
    """The images to look at, upright, one at a time; the others get their status here."""
    limits = decode.Limits(job.params.download.max_bytes, job.params.download.max_pixels)
    ids = dict(images.filter(pl.col("status") == "ok").select("member", "image_id").rows())
    for member, data in tars.read(raw.file(f"{job.shard}.tar")):
        row = rows[ids.pop(member)]
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise BlurlineError(f"data/raw/{job.shard}.tar: {member}: not the bytes of its table: download it again")
        if row["frames"] > 1:
            row |= {"status": "skipped", "reason": "several frames are not supported yet"}
            continue
        try:
            decoded = decode.load(data, limits)
            pixels = decode.upright_rgb(decoded)
        except decode.Undecodable as error:
            row |= {"status": "error", "reason": error.reason}
            continue
        asked.append(row["image_id"])
        yield Picture(pixels, decoded.oriented)
    if ids:
        raise BlurlineError(f"data/raw/{job.shard}.tar: {min(ids)} is missing: download it again")


def _row(raw: dict[str, Any]) -> dict[str, Any]:
    """A row of the detections table before the detector has spoken: nothing is ok by default."""
    row = {name: raw.get(name) for name in tables.DETECTIONS} | {"frames": raw["frames"]}
    reason = "not looked at" if raw["status"] == "ok" else raw["status"]
    return row | {"status": "skipped", "reason": reason, "faces": []}
