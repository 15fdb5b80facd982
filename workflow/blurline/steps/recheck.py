"""recheck: run the detectors over the released images, and record the faces that they still find in blurred regions.

It records and withholds nothing: a blurred face below a hat still looks like a face to a detector.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from blurline import tables, tars
from blurline.boxes import ALL_FRAMES, Box
from blurline.detectors import ensemble
from blurline.detectors.yolo import Detection, Failure, Picture
from blurline.errors import BlurlineError
from blurline.images import decode, looks
from blurline.job import Input, Job
from blurline.params import Detect
from blurline.receipts import CLOSING

ALGORITHM_VERSION = 1
FOLDER = "recheck"
# Those of detect, and the scores from which a box counts. Not detect.also, which the key of the weights holds: receipts
# of this step are public, and where weights come from may be a private path or a link with a token.
PARAMS = ("recheck.enabled", "detect.confidence", "detect.confidence_of", *ensemble.PARAMS)
READS = ("weights", "blur")


def run(job: Job) -> None:
    """Look at the shard's released images that have blurred regions; no detector is loaded where there are none."""
    blurred = job.input("blurred")
    weights = job.input("weights", CLOSING).receipt.payload
    images = blurred.table(f"{job.shard}.parquet", tables.BLURRED)
    enabled = job.params.recheck.enabled
    rows = {image["image_id"]: _row(image, enabled) for image in images.iter_rows(named=True)}
    wanted = {image["member"]: image for image in images.iter_rows(named=True) if enabled and image["regions"]}
    # As in detect: answers come in the order of the pictures, which are read ahead.
    asked: deque[tuple[dict[str, Any], int]] = deque()
    with job.output() as output:
        if wanted:
            ensemble.check(job.params.detect, weights)
            detectors = ensemble.load(job.params.detect, job.root / "data" / "weights", job.threads)
            pictures = _decoded(job, blurred, wanted, rows, asked)
            for found in output.track(ensemble.look(detectors, pictures), len(wanted)):
                image, frame = asked.popleft()
                add(rows[image["image_id"]], outcome(image["regions"], found, job.params.detect, frame))
        if asked:
            raise BlurlineError(f"{job.shard}: the detector answered {len(asked)} images too few: run again")
        tables.write(output.path(f"{job.shard}.parquet"), rows.values(), tables.RECHECK)
        for status in ("ok", "skipped", "error"):
            output.counts[status] = sum(row["status"] == status for row in rows.values())
        output.counts["found"] = sum(len(row["found"]) for row in rows.values())
        output.counts["elsewhere"] = sum(row["elsewhere"] or 0 for row in rows.values())


def add(row: dict[str, Any], said: Mapping[str, Any]) -> None:
    """Enter what was found in an image, or in one more frame of it; a frame without an answer leaves the image none."""
    if row["status"] == "error" or said["status"] == "error":
        row |= {"status": "error", "reason": row["reason"] if row["status"] == "error" else said["reason"]}
        row |= {"found": [], "elsewhere": None}
    else:
        row |= {"status": "ok", "reason": "", "found": row["found"] + said["found"]}
        row["elsewhere"] = (row["elsewhere"] or 0) + said["elsewhere"]


def outcome(
    regions: Sequence[Mapping[str, Any]],
    found: Mapping[str, list[Detection] | Failure],
    settings: Detect,
    frame: int = ALL_FRAMES,
) -> dict[str, Any]:
    """Status, reason, found and elsewhere of an image or a frame, as in the recheck table, from what detectors say.

    Boxes count from their detector's confidence on, the score from which an unseen face is blurred. Those of several
    detectors are not united. One detector's failure is the image's.
    """
    inside: list[dict[str, Any]] = []
    elsewhere = 0
    for detector, answer in found.items():
        if isinstance(answer, Failure):
            return {"status": "error", "reason": answer.reason, "found": [], "elsewhere": None}
        for one in answer:
            if one.score < settings.confidence_for(detector):
                continue
            box = Box(one.x1, one.y1, one.x2, one.y2)
            at = region_of(box, regions, frame)
            if at is None:
                elsewhere += 1
            else:
                about = {"score": one.score, "label": one.label, "detector": detector}
                inside.append({"region": at, "frame": frame, **box._asdict(), **about})
    return {"status": "ok", "reason": "", "found": inside, "elsewhere": elsewhere}


def region_of(box: Box, regions: Sequence[Mapping[str, Any]], frame: int = ALL_FRAMES) -> int | None:
    """The index of the blurred region that a box lies in, or None: its centre does, or at least half of its area.

    Of a frame, its own regions count and those of all frames. Of several such regions, the one that it shares most
    pixels with; the first of equals.
    """
    shared: dict[int, int] = {}
    for at, region in enumerate(regions):
        if region["frame"] not in (ALL_FRAMES, frame):
            continue
        here = Box(region["x1"], region["y1"], region["x2"], region["y2"])
        centred = 2 * here.x1 <= box.x1 + box.x2 < 2 * here.x2 and 2 * here.y1 <= box.y1 + box.y2 < 2 * here.y2
        common = here.intersection(box)
        if centred or 2 * common >= box.area:
            shared[at] = common
    return max(shared, key=lambda at: (shared[at], -at), default=None)


def _decoded(
    job: Job,
    blurred: Input,
    wanted: Mapping[str, dict[str, Any]],
    rows: Mapping[str, dict[str, Any]],
    asked: deque[tuple[dict[str, Any], int]],
) -> Iterator[Picture]:
    """The released images to look at, upright, one at a time; `wanted` has their rows of the blurred table by member.

    One that does not decode gets its status here.
    """
    limits = decode.Limits(job.params.download.max_bytes, job.params.download.max_pixels)
    left = dict(wanted)
    for member, data in tars.read(blurred.file(f"{job.shard}.tar")):
        image = left.pop(member, None)
        if image is None:
            continue
        if hashlib.sha256(data).hexdigest() != image["sha256_release"]:
            raise BlurlineError(
                f"data/blurred/{job.shard}.tar: {member}: not the bytes of its table: run `blurline repair`, then "
                "snakemake"
            )
        try:
            frames = decode.inspect(data, limits).frames
            for frame, decoded in decode.numbered(data, limits, frames):
                picture = Picture(looks.for_detection(decoded), decoded.oriented)
                asked.append((image, frame))
                yield picture
        except decode.Undecodable as error:
            add(rows[image["image_id"]], {"status": "error", "reason": error.reason})
    if left:
        raise BlurlineError(
            f"data/blurred/{job.shard}.tar: {min(left)} is missing: run `blurline repair`, then snakemake"
        )


def _row(image: Mapping[str, Any], enabled: bool) -> dict[str, Any]:
    """A row of the recheck table before any detector has spoken: nothing is ok by default."""
    if image["action"] not in tables.RELEASED:
        reason = image["action"]
    elif not image["regions"]:
        reason = "nothing is blurred"
    else:
        reason = "not looked at" if enabled else "recheck.enabled is false"
    return {
        "image_id": image["image_id"],
        "sha256_release": image["sha256_release"],
        "status": "skipped",
        "reason": reason,
        "found": [],
        "elsewhere": None,
    }
