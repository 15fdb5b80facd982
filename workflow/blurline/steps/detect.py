"""detect: find faces in a shard's images, and record every box over the candidate threshold."""

import hashlib
from collections import deque
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import polars as pl

from blurline import tables, tars
from blurline.boxes import ALL_FRAMES, Box, box_id
from blurline.detectors.yolo import Detection, Detector, Failure
from blurline.errors import BlurlineError
from blurline.images import decode
from blurline.job import Input, Job
from blurline.receipts import CLOSING

ALGORITHM_VERSION = 1
FOLDER = "detections"
PARAMS = (
    "detect.candidate",
    "detect.image_size",
    "detect.nms_iou",
    "detect.classes",
    "detect.device",
    "detect.half",
)
READS = ("weights", "download")


def run(job: Job) -> None:
    """Run the detector over the shard's images; one that it cannot judge gets status error, never "no faces"."""
    raw = job.input("raw")
    images = raw.table(f"{job.shard}.parquet", tables.RAW)
    detector, name = _load(job)
    rows = {row["image_id"]: _row(row) for row in images.iter_rows(named=True)}
    # The detector answers in the order of the images given, but reads ahead of its answers: remember whose turn it is.
    asked: deque[str] = deque()
    with job.output() as output:
        pixels = _decoded(job, raw, images, rows, asked)
        for found in output.track(detector.detect(pixels), images.height):
            row = rows[asked.popleft()]
            row |= (
                {"status": "error", "reason": found.reason} if isinstance(found, Failure) else _found(row, name, found)
            )
        if asked:
            raise BlurlineError(f"{job.shard}: the detector answered {len(asked)} images too few: run again")
        tables.write(output.path(f"{job.shard}.parquet"), rows.values(), tables.DETECTIONS)
        for status in ("ok", "skipped", "error"):
            output.counts[status] = sum(row["status"] == status for row in rows.values())
        output.counts["boxes"] = sum(len(row["faces"]) for row in rows.values())


def _load(job: Job) -> tuple[Detector, str]:
    """The detector, and its name: the weights' file name without suffix."""
    settings = job.params.detect
    weights = job.input("weights", CLOSING)
    # A folder of weights (OpenVINO) is a payload of several files with one first part.
    first = {name.split("/", 1)[0] for name in weights.receipt.payload}
    if len(first) != 1:
        raise BlurlineError("data/weights: want one file or folder of weights: run `blurline repair`, then snakemake")
    (file_name,) = first
    detector = Detector(
        weights.folder / file_name,
        settings.sha256,
        image_size=settings.image_size,
        candidate=settings.candidate,
        nms_iou=settings.nms_iou,
        classes=settings.classes or None,
        device=settings.device,
        half=settings.half,
        threads=job.threads,
        batch=settings.batch,
    )
    return detector, PurePosixPath(file_name).stem


def _decoded(
    job: Job, raw: Input, images: pl.DataFrame, rows: dict[str, dict[str, Any]], asked: deque[str]
) -> Iterator[np.ndarray]:
    """Upright RGB pixels of the images to look at, one at a time; the others get their status here."""
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
            pixels = decode.decode_rgb(data, limits)
        except decode.Undecodable as error:
            row |= {"status": "error", "reason": error.reason}
            continue
        asked.append(row["image_id"])
        yield pixels
    if ids:
        raise BlurlineError(f"data/raw/{job.shard}.tar: {min(ids)} is missing: download it again")


def _row(raw: dict[str, Any]) -> dict[str, Any]:
    """A row of the detections table before the detector has spoken: nothing is ok by default."""
    row = {name: raw.get(name) for name in tables.DETECTIONS} | {"frames": raw["frames"]}
    reason = "not looked at" if raw["status"] == "ok" else raw["status"]
    return row | {"status": "skipped", "reason": reason, "faces": []}


def _found(row: dict[str, Any], detector: str, found: list[Detection]) -> dict[str, Any]:
    faces = [
        {
            "box_id": box_id(row["sha256"], ALL_FRAMES, detector, one.label, Box(one.x1, one.y1, one.x2, one.y2)),
            "frame": ALL_FRAMES,
            "label": one.label,
            "detector": detector,
            "x1": one.x1,
            "y1": one.y1,
            "x2": one.x2,
            "y2": one.y2,
            "score": one.score,
        }
        for one in found
    ]
    return {"status": "ok", "reason": "", "faces": faces}
