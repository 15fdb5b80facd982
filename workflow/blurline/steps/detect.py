"""detect: find faces in a shard's images, and record every box over the candidate threshold."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from blurline import tables, tars
from blurline.boxes import ALL_FRAMES, Box, box_id
from blurline.detectors.yolo import Detection, Detector, Failure, Looks, Picture
from blurline.errors import BlurlineError
from blurline.images import decode
from blurline.images.animation import redact as animation
from blurline.job import Input, Job
from blurline.params import Detect
from blurline.receipts import CLOSING

T = TypeVar("T")

ALGORITHM_VERSION = 4
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
    weights = job.input("weights", CLOSING).receipt.payload
    models = job.params.detect.models()
    # A folder of weights (OpenVINO) is a payload of several files with one first part.
    if {name.split("/", 1)[0] for name in weights} != {model.file_name for model in models}:
        raise BlurlineError("data/weights: not the weights of params.yaml: run `blurline repair`, then snakemake")
    detectors = load(job.params.detect, job.root / "data" / "weights", job.threads)
    rows = {row["image_id"]: _row(row) for row in images.iter_rows(named=True)}
    # The detectors answer in the order of the images given, but read ahead of their answers: remember whose turn it is.
    asked: deque[tuple[str, int]] = deque()
    with job.output() as output:
        pictures = _decoded(job, raw, images, rows, asked)
        for _ in output.track(_judged(look(detectors, pictures), rows, asked), images.height):
            pass
        if asked:
            raise BlurlineError(f"{job.shard}: the detector answered {len(asked)} images too few: run again")
        tables.write(output.path(f"{job.shard}.parquet"), rows.values(), tables.DETECTIONS)
        for status in ("ok", "skipped", "error"):
            output.counts[status] = sum(row["status"] == status for row in rows.values())
        output.counts["boxes"] = sum(len(row["faces"]) for row in rows.values())


def load(settings: Detect, folder: Path, threads: int) -> dict[str, Detector]:
    """The detectors of params.yaml, by name, from a folder with their weights.

    Raises
    ------
    BlurlineError
        As `Detector`.
    """
    return {
        model.name: Detector(
            folder / model.file_name,
            model.sha256,
            looks=Looks(
                image_sizes=tuple(model.image_sizes),
                flips=tuple(model.flips),
                full_size=settings.full_size,
                tile=settings.tile,
                turned=settings.turned,
            ),
            candidate=settings.candidate,
            nms_iou=settings.nms_iou,
            classes=model.classes or None,
            engine=settings.engine,
            device=settings.device,
            precision=settings.precision,
            threads=threads,
            batch=settings.batch,
        )
        for model in settings.models()
    }


def look(
    detectors: Mapping[str, Detector], pictures: Iterable[Picture]
) -> Iterator[dict[str, list[Detection] | Failure]]:
    """What every detector finds in each picture, by the detector's name, in the order of the pictures."""
    # Each picture is decoded once; what one detector has read ahead of the others waits in between.
    streams = tee(pictures, len(detectors))
    answers = (one.detect(stream) for one, stream in zip(detectors.values(), streams, strict=True))
    for found in zip(*answers, strict=True):
        yield dict(zip(detectors, found, strict=True))


def tee(items: Iterable[T], readers: int) -> list[Iterator[T]]:
    """The same items for several readers, each held only until the last of them has taken it.

    `itertools.tee` holds the last 57 that were taken, which are gigabytes of large images.
    """
    source = iter(items)
    ahead: list[deque[T]] = [deque() for _ in range(readers)]

    def stream(mine: deque[T]) -> Iterator[T]:
        while True:
            if not mine:
                try:
                    item = next(source)
                except StopIteration:
                    return
                for one in ahead:
                    one.append(item)
                del item
            yield mine.popleft()

    return [stream(mine) for mine in ahead]


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
            for frame, decoded in _frames(data, limits, row["frames"]):
                picture = Picture(decode.upright_rgb(decoded), decoded.oriented)
                asked.append((row["image_id"], frame))
                yield picture
        except decode.Undecodable as error:
            row |= {"status": "error", "reason": error.reason, "faces": []}
    if ids:
        raise BlurlineError(f"data/raw/{job.shard}.tar: {min(ids)} is missing: download it again")


def _frames(data: bytes, limits: decode.Limits, frames: int) -> Iterator[tuple[int, decode.Decoded]]:
    """The frames of an image with their numbers; -1 stands for the only one."""
    if frames == 1:
        yield ALL_FRAMES, decode.load(data, limits)
    else:
        yield from enumerate(decode.frames(data, limits))


def _row(raw: dict[str, Any]) -> dict[str, Any]:
    """A row of the detections table before the detector has spoken: nothing is ok by default."""
    row = {name: raw.get(name) for name in tables.DETECTIONS} | {name: raw[name] for name in ("frames", "format")}
    reason = "not looked at" if raw["status"] == "ok" else raw["status"]
    return row | {"status": "skipped", "reason": reason, "faces": []}
