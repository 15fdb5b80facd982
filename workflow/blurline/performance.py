"""data/performance.json: how fast the steps were, for `dvc metrics show`. Git tracks it, DVC does not.

Receipts and what they list hold no times, or a rerun would not give the same bytes. Snakemake measures every job
(`benchmark:` in the rules); this adds up what it measured of the jobs that made the present release, on this machine.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FILE = "data/performance.json"
STEPS = ("download", "detect", "merge", "blur", "recheck")
_MEGABYTES = "max_rss"  # as Snakemake names and measures it


def benchmark_file(step: str, shard: str, key: str) -> str:
    """Where the rules let Snakemake put the measurement of a job."""
    return f"logs/{step}/{shard}.{key}.benchmark.tsv"


def examine(root: Path, jobs: Iterable[tuple[str, str, str, int]]) -> dict[str, Any]:
    """Figures by step, of those of `jobs` (step, shard, key, images) that were measured here.

    Seconds are of whole jobs, starting included, added up: with several cores they are more than the clock says.
    """
    found: dict[str, Any] = {}
    for step, shard, key, images in jobs:
        measured = _read(root / benchmark_file(step, shard, key))
        if measured is None:
            continue
        seconds, megabytes = measured
        of_step = found.setdefault(step, {"shards": 0, "images": 0, "seconds": 0.0, "peak_memory_mb": 0.0})
        of_step["shards"] += 1
        of_step["images"] += images
        of_step["seconds"] = round(of_step["seconds"] + seconds, 2)
        of_step["peak_memory_mb"] = max(of_step["peak_memory_mb"], megabytes)
    for of_step in found.values():
        if of_step["seconds"]:
            of_step["images_per_second"] = round(of_step["images"] / of_step["seconds"], 2)
    return found


def record(root: Path, found: Mapping[str, Any]) -> None:
    """Write data/performance.json, unless nothing was measured: then what it says of other runs stays."""
    if found:
        path = root / FILE
        unfinished = path.with_name(f".{path.name}.tmp")
        unfinished.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        unfinished.replace(path)


def _read(path: Path) -> tuple[float, float] | None:
    """Seconds and peak MB of a job; None where it was not measured. A job of an instant has no memory to report."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            (row,) = csv.DictReader(stream, delimiter="\t")
        return float(row["s"]), _number(row[_MEGABYTES])
    except (OSError, ValueError, KeyError):
        return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
