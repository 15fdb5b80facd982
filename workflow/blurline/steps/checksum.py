"""checksum: account for every row, check what must hold of a release, and write its manifest and checksums."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from blurline import duplicates, environment, performance, tables
from blurline.boxes import ALL_FRAMES, Box
from blurline.decisions import Decision
from blurline.errors import BlurlineError
from blurline.images.obfuscate import WEAK
from blurline.images.proof import MIN_FULL
from blurline.images.results import Outside
from blurline.job import Job
from blurline.receipts import CLOSING, file_digest
from blurline.sources import Shard

ALGORITHM_VERSION = 3
FOLDER = "release"
PARAMS = ("dataset", "release", "review.required", "download.max_failure_rate")
READS = ("weights", "download", "detect", "merge", "blur", "recheck")

# Lineage: the key of each step that made a row, by its column in the manifest and the folder of its receipts.
KEY_COLUMNS = {
    "key_download": "raw",
    "key_detect": "detections",
    "key_merge": "merged",
    "key_blur": "blurred",
    "key_recheck": "recheck",
}


# Of a box: stored, not blurred, and no reviewer has looked at it.
_UNSEEN = (
    ~pl.element().struct.field("blur")
    & (pl.element().struct.field("verdict") == "pending")
    & (pl.element().struct.field("decided_by").list.len() == 0)
)


def run(job: Job) -> None:
    """Write data/release; nothing is written when an invariant is broken."""
    closings = {folder: job.input(folder, CLOSING) for folder, shard in job.inputs if shard == CLOSING}
    tables_of = {shard.name: _shard(job, shard) for shard in job.shards}
    manifest = pl.concat(tables_of.values())
    check_duplicates(manifest)
    counts = account(manifest, sum(shard.rows.height for shard in job.shards))
    check_decisions(manifest, job.decisions)
    check_failures(manifest, job.params.download.max_failure_rate)
    waiting = int((manifest["state"] == "pending").sum())
    if job.params.review.required and waiting:
        raise BlurlineError(
            f"params.yaml: review.required: {waiting} images wait for a reviewer: decide on them in data/review, "
            "or set review.required to false"
        )
    unpinned = sum(shard.unpinned for shard in job.shards)
    metrics = _metrics(manifest, counts, waiting, unpinned)
    metrics["recheck"] = _rechecked(job, tables_of)
    metrics["duplicates"] = duplicates.count(manifest)
    blurred = {
        f"blurred/{name}": payload["sha256"]
        for shard in job.shards
        for name, payload in job.input("blurred", shard.name).receipt.payload.items()
    }
    public = manifest.drop("phash", "unseen", *({"url", "sha256"} - set(job.params.release.public_columns)))
    with job.output() as output:
        public.write_parquet(output.path("manifest.parquet"), compression="zstd")
        _write_json(output.path("metrics.json"), metrics)
        _write_json(
            output.path("release.json"),
            {
                "dataset": job.params.dataset.model_dump(mode="json"),
                "counts": counts,
                "shards": len(job.shards),
                "unpinned": unpinned,
                "weights": {
                    "files": sorted(closings["weights"].receipt.payload),
                    "sha256": {model.name: model.sha256 for model in job.params.detect.models()},
                },
                "warnings": _warnings(metrics),
                "keys": {folder: closing.receipt.key for folder, closing in closings.items()},
                "params": _params(job),
            },
        )
        sums = blurred | {
            f"release/{name}": file_digest(output.path(name))
            for name in ("manifest.parquet", "metrics.json", "release.json")
        }
        lines = [f"{sha256}  {name}\n" for name, sha256 in sorted(sums.items())]
        output.path("SHA256SUMS").write_text("".join(lines), encoding="utf-8")
        output.counts |= counts
    environment.record(job.root, job.params.dataset.name)
    performance.record(job.root, performance.examine(job.root, _measured(job)))


def _measured(job: Job) -> Iterator[tuple[str, str, str, int]]:
    """The shards' jobs that this release was made by: step, shard, key, images."""
    images = {shard.name: shard.rows.height for shard in job.shards}
    steps = {folder: column.removeprefix("key_") for column, folder in KEY_COLUMNS.items()}
    for (folder, shard), key in job.inputs.items():
        if shard in images:
            yield steps[folder], shard, key, images[shard]


def _shard(job: Job, shard: Shard) -> pl.DataFrame:
    """The rows of the release's manifest for one shard, with the private columns url and sha256."""
    raw = job.input("raw", shard.name).table(f"{shard.name}.parquet", tables.RAW)
    merged = job.input("merged", shard.name).table(f"{shard.name}.parquet", tables.MERGED)
    blurred = job.input("blurred", shard.name).table(f"{shard.name}.parquet", tables.BLURRED)
    for folder, table in (("raw", raw), ("merged", merged), ("blurred", blurred)):
        if table["image_id"].to_list() != shard.image_ids:
            raise BlurlineError(f"data/{folder}/{shard.name}.parquet: not one row per manifest row, in order")
    check_released(merged, blurred)
    check_proofs(blurred)
    extra = [c for c in job.params.release.public_columns if c not in ("url", "sha256")]
    return pl.concat(
        [
            blurred,
            raw.select("url", "sha256", "phash"),
            merged.select(
                "state",
                faces=pl.col("faces").list.eval(pl.element().struct.field("blur")).list.sum(),
                unseen=pl.when(pl.col("state") == "reviewed")
                .then(0)
                .otherwise(pl.col("faces").list.eval(_UNSEEN).list.sum()),
            ),
            shard.rows.select(c if c in shard.rows.columns else pl.lit(None, pl.String).alias(c) for c in extra),
        ],
        how="horizontal",
    ).with_columns(
        source=pl.lit(shard.source),
        shard=pl.lit(shard.name),
        faces=pl.col("faces").fill_null(0).cast(pl.Int32),
        unseen=pl.col("unseen").fill_null(0).cast(pl.Int32),
        **{name: pl.lit(job.inputs[folder, shard.name]) for name, folder in KEY_COLUMNS.items()},
    )


def check_released(merged: pl.DataFrame, blurred: pl.DataFrame) -> None:
    """Every released image was looked at by the detector, and every box to blur lies inside a blurred region.

    A box in one frame may lie in a region of that frame or of all frames; a box in all frames only in the latter.

    Raises
    ------
    BlurlineError
        Naming the first image of which that does not hold.
    """
    for faces, row in zip(merged.iter_rows(named=True), blurred.iter_rows(named=True), strict=True):
        if row["action"] not in tables.RELEASED:
            continue
        if faces["status"] != "ok" or faces["state"] == "excluded":
            raise BlurlineError(f"{row['image_id']}: released, though {faces['status']} and {faces['state']}")
        regions = [(r["frame"], Box(r["x1"], r["y1"], r["x2"], r["y2"])) for r in row["regions"]]
        for face in faces["faces"]:
            box = Box(face["x1"], face["y1"], face["x2"], face["y2"])
            near = [region for frame, region in regions if frame in (ALL_FRAMES, face["frame"])]
            if face["blur"] and not any(region.contains(box) for region in near):
                raise BlurlineError(f"{row['image_id']}: box {face['box_id']} was to be blurred and is not")


def check_proofs(blurred: pl.DataFrame) -> None:
    """Every region of a released image was measured in the bytes released, and shows the blur at full strength.

    Raises
    ------
    BlurlineError
        Naming the first image of which that does not hold.
    """
    for row in blurred.filter(pl.col("action").is_in(tables.RELEASED)).iter_rows(named=True):
        if row["outside"] not in list(Outside):
            raise BlurlineError(f"{row['image_id']}: released, and nothing says what became of it outside its regions")
        for region in row["regions"]:
            proven = region["full"] is not None and region["residual"] is not None
            if not proven or not (region["full"] >= MIN_FULL or region["method"] in WEAK):
                at = f"{region['x1']}, {region['y1']}"
                raise BlurlineError(f"{row['image_id']}: region at {at}: released, and not proven to be blurred")


def _rechecked(job: Job, manifests: Mapping[str, pl.DataFrame]) -> dict[str, int]:
    """What `count_recheck` counts, of all shards."""
    counts: Counter[str] = Counter()
    for shard, manifest in manifests.items():
        recheck = job.input("recheck", shard).table(f"{shard}.parquet", tables.RECHECK)
        try:
            counts.update(count_recheck(manifest, recheck))
        except ValueError as error:
            raise BlurlineError(
                f"data/recheck/{shard}.parquet: {error}: run `blurline repair`, then snakemake"
            ) from None
    return dict(counts)


def count_recheck(manifest: pl.DataFrame, recheck: pl.DataFrame) -> dict[str, int]:
    """What the detectors found in a shard's released images: figures over those in which something is blurred.

    Raises
    ------
    ValueError
        When these are other images than those that were looked at.
    """
    if not manifest.select("image_id", "sha256_release").equals(recheck.select("image_id", "sha256_release")):
        raise ValueError("not of the released images")
    looked = manifest.select(blurred=pl.col("regions").list.len()).hstack(recheck).filter(pl.col("blurred") > 0)
    seen = looked.filter(pl.col("status") == "ok")
    return {
        "images_checked": seen.height,
        "images_not_checked": looked.height - seen.height,
        "regions_checked": int(seen["blurred"].sum()),
        "regions_with_faces": int(seen["found"].list.eval(pl.element().struct.field("region")).list.n_unique().sum()),
        "faces_in_regions": int(seen["found"].list.len().sum()),
        "faces_elsewhere": int(seen["elsewhere"].sum()),
    }


def check_duplicates(manifest: pl.DataFrame) -> None:
    """Copies of one image end alike: a decision on one of them, to blur or to leave it out, holds for all.

    Raises
    ------
    BlurlineError
        Naming two copies that differ; pinning their hashes lets the plan see that they are copies.
    """
    retrieved = manifest.filter(pl.col("sha256").is_not_null() & pl.col("sha256").is_duplicated())
    for _, copies in retrieved.group_by("sha256", maintain_order=True):
        one, *others = copies.select("image_id", "action", "regions").rows()
        for other in others:
            # A wrong pin makes a row fail, whatever its copies do.
            if "failed" not in (one[1], other[1]) and one[1:] != other[1:]:
                raise BlurlineError(
                    f"{one[0]} and {other[0]} have the same bytes, but one is {one[1]} and the other {other[1]}, or "
                    "their blurred regions differ: run `blurline pin`, so that decisions on one of them reach the "
                    "other, and run again"
                )


def check_decisions(manifest: pl.DataFrame, decisions: Iterable[Decision]) -> None:
    """Every decision known by its hash alone met an image: a misspelt takedown must not pass in silence.

    Raises
    ------
    BlurlineError
        Naming the first that met none.
    """
    hashes = set(manifest["sha256"].drop_nulls())
    for decision in decisions:
        if decision.sha256 not in hashes:
            raise BlurlineError(
                f"data/review: {decision.action} by {decision.reviewer}: no manifest has image_id "
                f"{decision.image_id!r}, and no image that was retrieved has SHA-256 {decision.sha256}: mend the "
                "decision, or take it away"
            )


def check_failures(manifest: pl.DataFrame, allowed: float) -> None:
    """Not more rows failed to download than may: a release of what is left after an outage is nobody's wish.

    Raises
    ------
    BlurlineError
        Saying how many rows failed, and of what.
    """
    failed = manifest.filter(pl.col("action") == "failed")
    if failed.height > allowed * manifest.height:
        reasons = failed.group_by("reason").len().sort("len", "reason", descending=[True, False])
        raise BlurlineError(
            f"params.yaml: download.max_failure_rate: {failed.height} of {manifest.height} rows failed, "
            f"{failed.height / manifest.height:.1%} where {allowed:.1%} may ("
            + ", ".join(f"{number} {reason}" for reason, number in reasons.rows())
            + "): ask for them again with `blurline retry`, or raise the limit"
        )


def account(manifest: pl.DataFrame, rows: int) -> dict[str, int]:
    """How many rows had each outcome; the sum is the number of manifest rows.

    Raises
    ------
    BlurlineError
        When a row is missing or has no outcome.
    """
    counts = {outcome: int((manifest["action"] == outcome).sum()) for outcome in tables.OUTCOMES}
    if sum(counts.values()) != rows or manifest.height != rows:
        raise BlurlineError(
            f"data/blurred: {sum(counts.values())} rows have an outcome, the manifests list {rows}: every row must be "
            "accounted for; run `blurline verify`"
        )
    return {"rows": rows, **counts}


def _params(job: Job) -> dict[str, Any]:
    """The params that the release depends on, from the receipts of the steps: not threads, batch and the like."""
    above = [job.input("weights", CLOSING), *(job.input(f, job.shards[0].name) for f in KEY_COLUMNS.values())]
    parts = [*(one.receipt.parts for one in above), job.parts]
    # Where the weights came from may be a private path or a link with a token; `weights` names the files.
    private = ("dataset", "detect.weights", "detect.also")
    params = {path: value for one in parts for path, value in one["params"].items() if path not in private}
    also = job.params.model_dump(mode="json")["detect"]["also"]
    return params | {"detect.also": [{name: one[name] for name in one if name != "weights"} for one in also]}


def _metrics(manifest: pl.DataFrame, counts: dict[str, int], waiting: int, unpinned: int) -> dict[str, Any]:
    released = manifest.filter(pl.col("action").is_in(tables.RELEASED))
    methods = released["regions"].explode().drop_nulls().struct.field("method")
    return {
        "images": counts,
        "faces_blurred": int(released["faces"].sum()),
        "regions_blurred_weakly": int(methods.is_in(WEAK).sum()),
        # By what was found equal outside of the regions; see `blurline.images.results.Outside`.
        "unchanged_outside": {str(kind): int((released["outside"] == kind).sum()) for kind in Outside},
        "least_db_outside": released["outside_db"].min(),
        "images_waiting_for_review": waiting,
        "candidates_nobody_looked_at": int(released["unseen"].sum()),
        "unpinned_rows": unpinned,
        "released_bytes": int(released["bytes"].sum()),
    }


def _warnings(metrics: Mapping[str, Any]) -> list[str]:
    """What a user of the release must know of its privacy."""
    weak = metrics["regions_blurred_weakly"]
    return [f"{weak} regions are blurred by a method that leaves small faces clear: docs/blurring.md"] if weak else []


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
