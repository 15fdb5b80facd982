"""Pin: write the SHA-256s that were retrieved into the source manifests, so that other bytes are noticed."""

from pathlib import Path

import polars as pl

from blurline import sources, tables
from blurline.plan import Plan, folder


def pin(root: Path, plan: Plan) -> dict[str, int]:
    """Fill in the empty sha256 fields of the rows that were retrieved.

    Reads data/raw, whose tables must be those of the plan. Returns how many rows of each source were pinned. This
    changes the manifests, and with them the download keys of the shards concerned.

    Raises
    ------
    BlurlineError
        When a shard is not downloaded, or its table is damaged.
    """
    pinned = {}
    for name in plan.params.sources:
        manifest = sources.read(root, name)
        found = pl.concat([_downloaded(plan, shard) for shard in plan.shards if shard.rpartition("-")[0] == name])
        rows = manifest.rows.with_columns(
            sha256=pl.when(pl.col("sha256") == "").then(found["sha256"].fill_null("")).otherwise(pl.col("sha256"))
        )
        pinned[name] = int((rows["sha256"] != manifest.rows["sha256"]).sum())
        if pinned[name]:
            unfinished = manifest.path.with_name(f".{manifest.path.name}.tmp")
            if manifest.path.suffix == ".parquet":
                # Only this column: the others keep their types.
                pl.read_parquet(manifest.path).with_columns(rows["sha256"]).write_parquet(unfinished)
            else:
                rows.write_csv(unfinished)
            unfinished.replace(manifest.path)
    return pinned


def _downloaded(plan: Plan, shard: str) -> pl.DataFrame:
    """image_id and sha256 of a shard's rows, in order; null where nothing was retrieved."""
    job = plan.jobs["detect", shard]
    raw = job.input(folder("download")).table(f"{shard}.parquet", tables.RAW)
    ok = pl.when(pl.col("status") == "ok").then("sha256")  # never pin an error page, or wrong bytes
    return raw.select("image_id", sha256=ok)
