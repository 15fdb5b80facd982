"""blur: make the faces of a shard unrecognisable, and write the images that may be released."""

import hashlib
from collections.abc import Callable
from typing import Any

from blurline import tables, tars
from blurline.errors import BlurlineError
from blurline.images import CannotRelease
from blurline.images.containers import Metadata
from blurline.images.decode import Limits, Undecodable
from blurline.images.isolated import Worker, room
from blurline.images.obfuscate import BlurStyle, Target
from blurline.images.redact import redact
from blurline.images.results import Redacted
from blurline.job import Job
from blurline.params import Blur

ALGORITHM_VERSION = 3
FOLDER = "blurred"
PARAMS = (
    "blur.method",
    "blur.strength",
    "blur.cells",
    "blur.colour",
    "blur.shape",
    "blur.margin",
    "blur.feather",
    "blur.classes",
    "blur.metadata",
)
READS = ("download", "merge")

_PROOF = ("full", "residual")


def run(job: Job) -> None:
    """Write the shard's released images; every row ends in exactly one action."""
    raw = job.input("raw")
    merged = job.input("merged").table(f"{job.shard}.parquet", tables.MERGED)
    images = raw.table(f"{job.shard}.parquet", tables.RAW)
    if images["image_id"].to_list() != merged["image_id"].to_list():
        raise BlurlineError(f"{job.shard}: data/raw and data/merged list other images: run snakemake again")
    members = tars.read(raw.file(f"{job.shard}.tar"))
    limits = Limits(job.params.download.max_bytes, job.params.download.max_pixels)
    style = style_of(job.params.blur)
    rows = []
    with (
        job.output() as output,
        tars.Writer(output.path(f"{job.shard}.tar")) as tar,
        Worker(room(limits.max_pixels)) as worker,
    ):
        pairs = zip(images.iter_rows(named=True), merged.iter_rows(named=True), strict=True)
        for image, faces in output.track(pairs, images.height):
            # The tar holds the rows with status ok, in their order.
            data = _next(members, image, job.shard) if image["status"] == "ok" else None
            row, released = release(image, faces, data, style, limits, worker.call, job.params.blur.metadata)
            rows.append(row)
            if released is not None:
                tar.add(row["member"], released)
        tables.write(output.path(f"{job.shard}.parquet"), rows, tables.BLURRED)
        for action in tables.OUTCOMES:
            output.counts[action] = sum(row["action"] == action for row in rows)
        output.counts["regions"] = sum(len(row["regions"]) for row in rows)


def style_of(params: Blur) -> BlurStyle:
    """The style that the params ask for."""
    own = params.model_dump(exclude={"classes", "metadata"})
    classes = {label: BlurStyle(**own | override.set_keys()) for label, override in params.classes.items()}
    return BlurStyle(**own, classes=classes)


def _here(function: Callable[..., Redacted], *args: Any) -> Redacted:
    return function(*args)


def release(
    image: dict[str, Any],
    merged: dict[str, Any],
    data: bytes | None,
    style: BlurStyle,
    limits: Limits,
    call: Callable[..., Redacted] = _here,
    metadata: Metadata = "keep-safe",
) -> tuple[dict[str, Any], bytes | None]:
    """Decide on one image: its row of the blurred table, and the bytes to release or None.

    An image leaves only if the detector looked at exactly these bytes and every box to blur was blurred. ``call`` runs
    what decodes and encodes: a worker's, so that a crash costs one image.

    Raises
    ------
    BlurlineError
        When the bytes are not those that were detected and merged: a broken invariant, not a bad image.
    """
    row: dict[str, Any] = {
        "image_id": image["image_id"],
        "member": None,
        "sha256_release": None,
        "bytes": None,
        "outside": None,
        "outside_db": None,
        "regions": [],
    }

    def stop(action: str, reason: str) -> tuple[dict[str, Any], None]:
        return row | {"action": action, "reason": reason}, None

    if merged["state"] == "excluded":
        return stop("erased" if merged["reason"] == "erased" else "excluded", merged["reason"])
    if image["status"] in ("failed", "quarantined", "erased"):
        return stop(image["status"], image["reason"])
    sha256 = hashlib.sha256(data or b"").hexdigest()
    if data is None or sha256 != image["sha256"] or sha256 != merged["sha256"]:
        raise BlurlineError(
            f"{image['image_id']}: its bytes are not those that were detected and merged: run "
            "`blurline repair`, then snakemake"
        )
    if merged["status"] != "ok":
        return stop("withheld", merged["reason"] or "no detector looked at it")
    targets = [Target(f["x1"], f["y1"], f["x2"], f["y2"], f["label"], f["frame"]) for f in merged["faces"] if f["blur"]]
    try:
        redacted = call(redact, data, targets, style, limits, metadata)
    except (CannotRelease, Undecodable) as error:
        return stop("withheld", error.reason)
    row |= {
        "action": "blurred" if targets else "unchanged",
        "reason": "",
        "member": image["member"],
        "sha256_release": hashlib.sha256(redacted.data).hexdigest(),
        "bytes": len(redacted.data),
        "outside": str(redacted.outside),
        "outside_db": redacted.outside_db,
        "regions": [
            {name: getattr(proof if name in _PROOF else region, name) for name in tables.REGION}
            for region, proof in zip(redacted.regions, redacted.proofs, strict=True)
        ],
    }
    return row, redacted.data


def _next(members: Any, image: dict[str, Any], shard: str) -> bytes:
    member, data = next(members, (None, b""))
    if member != image["member"]:
        raise BlurlineError(
            f"data/raw/{shard}.tar: want {image['member']}, found {member}: run `blurline repair`, then snakemake"
        )
    return bytes(data)
