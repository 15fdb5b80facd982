"""What has arrived of the planned rows: the shards with failed ones, and all images that were retrieved."""

from pathlib import Path

import polars as pl

from blurline import receipts, tables
from blurline.plan import Plan, folder


def failed(root: Path, plan: Plan) -> tuple[dict[str, int], list[str]]:
    """Shards of which rows failed to download, and how many; and the shards of which nobody knows yet."""
    found, unknown = {}, []
    for shard in plan.shards:
        path = root / plan.receipt("download", shard)
        if not path.is_file():
            unknown.append(shard)
        elif number := receipts.load(path)[0].counts.get("failed"):
            found[shard] = number
    return found, unknown


def retrieved(root: Path, plan: Plan) -> pl.DataFrame:
    """image_id, sha256 and phash of every row that arrived, in the shards that are downloaded."""
    empty = pl.DataFrame(schema={name: tables.RAW[name] for name in ("image_id", "sha256", "phash")})
    parts = [
        tables.read(root / "data" / folder("download") / f"{shard}.parquet", tables.RAW)
        .filter(pl.col("status") == "ok")
        .select(empty.columns)
        for shard in plan.shards
        if (root / plan.receipt("download", shard)).is_file()
    ]
    return pl.concat([empty, *parts])
