"""Where a data set stands: for each source and step what is done, found, failed; and the disk it takes."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from blurline import performance, receipts, tables
from blurline.errors import BlurlineError
from blurline.plan import SHARDED, STEPS, Plan, folder
from blurline.receipts import CLOSING, Receipt
from blurline.sources import Shard

Present = Mapping[str, Mapping[str, list[str]]]
"""Step → shard → the names of its receipts."""

REASONS = 8  # failures by reason that the text shows for a source; --json has all


def examine(root: Path, plan: Plan) -> dict[str, Any]:
    """The state of every source, as JSON data.

    Figures are those of the receipts of the present plan; what is stale or not made yet counts for nothing.
    """
    present = {step: receipts.by_shard(receipts.names(root / "data" / folder(step))) for step in STEPS}
    sources = {
        name: _source(root, plan, present, [s for s in plan.shards if s.rpartition("-")[0] == name])
        for name in plan.params.sources
    }
    return {
        "dataset": {"name": plan.params.dataset.name, "version": plan.params.dataset.version},
        "release": _state(plan, present, "checksum", CLOSING),
        "sources": sources,
        "performance": performance.examine(root, _measured(plan)),
        "disk": _disk(root),
    }


def describe(found: dict[str, Any]) -> str:
    """What `blurline status` prints."""
    dataset = found["dataset"]
    lines = [f"{dataset['name']} {dataset['version']}: release {found['release']}"]
    for name, source in found["sources"].items():
        unpinned = f", {source['unpinned']} unpinned" if source["unpinned"] else ""
        lines.append(f"\n{name}: {_many(source['rows'], 'row')} in {_many(source['shards'], 'shard')}{unpinned}")
        for step, of_step in source["steps"].items():
            counts = ", ".join(f"{number} {what}" for what, number in of_step["counts"].items() if number)
            progress = "".join(f", {of_step[state]} {state}" for state in ("stale", "missing") if of_step[state])
            lines.append(
                f"  {step:<9} {of_step['done']}/{source['shards']} shards{progress}" + f"; {counts}" * bool(counts)
            )
        if source["pending_reviews"]:
            lines.append(
                f"  {_many(source['pending_reviews'], 'image')} with boxes near the threshold that nobody has looked at"
            )
        lines += [f"  {one['rows']} {one['status']}: {one['reason']}" for one in source["failures"][:REASONS]]
        if len(source["failures"]) > REASONS:
            lines.append(f"  and {len(source['failures']) - REASONS} more reasons: --json lists all")
    speeds = [
        f"{step} {speed['images_per_second']:g}"
        for step, speed in found["performance"].items()
        if "images_per_second" in speed
    ]
    if speeds:
        lines.append("\nimages a second of a job's time: " + ", ".join(speeds))
    lines.append(
        ("" if speeds else "\n")
        + "disk: "
        + ", ".join(f"{name} {_size(size)}" for name, size in found["disk"].items() if size)
    )
    return "\n".join(lines)


def _source(root: Path, plan: Plan, present: Present, shards: list[str]) -> dict[str, Any]:
    steps: dict[str, Any] = {}
    failures: Counter[tuple[str, str]] = Counter()
    for step in SHARDED:
        states = Counter(_state(plan, present, step, shard) for shard in shards)
        counts: Counter[str] = Counter()
        for shard in shards:
            receipt = _receipt(root, plan, present, step, shard)
            if receipt is not None:
                counts.update(receipt.counts)
                failures.update(_failures(root, step, shard, receipt))
        steps[step] = {**{s: states[s] for s in ("done", "stale", "missing")}, "counts": dict(counts)}
    return {
        "rows": sum(_rows(plan, shard).rows.height for shard in shards),
        "shards": len(shards),
        "unpinned": sum(_rows(plan, shard).unpinned for shard in shards),
        "steps": steps,
        "faces_found": steps["detect"]["counts"].get("boxes", 0),
        "faces_blurred": steps["merge"]["counts"].get("blur", 0),
        "pending_reviews": steps["merge"]["counts"].get("pending", 0),
        "failures": [
            {"status": status, "reason": reason, "rows": rows}
            for (status, reason), rows in sorted(failures.items(), key=lambda one: (-one[1], one[0]))
        ],
    }


def _measured(plan: Plan) -> Iterator[tuple[str, str, str, int]]:
    for step in SHARDED:
        for shard in plan.shards:
            yield step, shard, plan.jobs[step, shard].key, _rows(plan, shard).rows.height


def _rows(plan: Plan, shard: str) -> Shard:
    rows = plan.jobs["download", shard].rows
    assert rows is not None
    return rows


def _state(plan: Plan, present: Present, step: str, shard: str) -> str:
    names = present[step].get(shard, [])
    return "done" if Path(plan.receipt(step, shard)).name in names else "stale" if names else "missing"


def _receipt(root: Path, plan: Plan, present: Present, step: str, shard: str) -> Receipt | None:
    if _state(plan, present, step, shard) != "done":
        return None
    try:
        return receipts.load(root / plan.receipt(step, shard))[0]
    except BlurlineError:
        return None  # `verify` says what is wrong with it


def _failures(root: Path, step: str, shard: str, receipt: Receipt) -> dict[tuple[str, str], int]:
    """(status, reason) of rows that fell out in this step, read only where the receipt counts some."""
    read: dict[str, tuple[tables.Schema, str, tuple[str, ...]]] = {
        "download": (tables.RAW, "status", ("failed", "quarantined")),
        "blur": (tables.BLURRED, "action", ("withheld", "excluded", "erased")),
        "recheck": (tables.RECHECK, "status", ("error",)),
    }
    schema, column, fallen = read.get(step, ({}, "", ()))
    if not any(receipt.counts.get(status) for status in fallen):
        return {}
    table = tables.read(root / "data" / folder(step) / f"{shard}.parquet", schema)
    rows = table.filter(pl.col(column).is_in(fallen)).group_by(column, "reason").len()
    return {(status, reason): number for status, reason, number in rows.rows()}


def _disk(root: Path) -> dict[str, int]:
    """Bytes below each folder of data/, and in DVC's cache if it lies in the project (where links are, they share)."""
    folders = {folder(step): root / "data" / folder(step) for step in STEPS} | {"dvc cache": root / ".dvc" / "cache"}
    return {name: sum(_sizes(path)) for name, path in folders.items()}


def _sizes(here: Path) -> Iterable[int]:
    for folder_, _, names in os.walk(here):
        for name in names:
            path = Path(folder_, name)
            if path.exists():
                yield path.stat().st_size


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
