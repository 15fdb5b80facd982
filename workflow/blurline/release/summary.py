"""The few lines that people read after a run."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from blurline.errors import BlurlineError
from blurline.plan import Plan

SHOWN = 10  # errors of a stopped run


def summarise(root: Path, plan: Plan) -> str:
    """What the release holds, where it is, and what to do next.

    Raises
    ------
    BlurlineError
        When there is no release for the plan as it is now.
    """
    if not (root / plan.receipt("checksum")).is_file():
        raise BlurlineError("data/release: no release of the present params, sources and decisions: run snakemake")
    folder = root / "data" / "release"
    release = json.loads((folder / "release.json").read_text(encoding="utf-8"))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    counts = release["counts"]
    title = f"{release['dataset']['name']} {release['dataset']['version']}"
    left_out = {k: counts[k] for k in ("withheld", "excluded", "failed", "quarantined", "erased") if counts[k]}
    lines = [
        f"{title}: {counts['rows']} images in {release['shards']} shard{'s' * (release['shards'] != 1)}",
        f"  {metrics['faces_blurred']} faces blurred in {counts['blurred']} images, {counts['unchanged']} unchanged"
        + "".join(f", {number} {outcome}" for outcome, number in left_out.items() if outcome != "withheld")
        + f", {counts['withheld']} withheld",
        *_reasons(folder / "manifest.parquet", set(left_out)),
        "  the release: data/blurred (shards) and data/release (manifest, SHA256SUMS, metrics)",
    ]
    lines += _recheck(metrics["recheck"])
    if metrics["images_waiting_for_review"]:
        lines.append(
            f"  {metrics['images_waiting_for_review']} images have boxes near detect.confidence that nobody has looked "
            "at; those under it are not blurred"
        )
    if weak := metrics["regions_blurred_weakly"]:
        lines.append(f"  {weak} regions are blurred by a method that leaves small faces clear: see docs/blurring.md")
    if unseen := metrics["candidates_nobody_looked_at"]:
        lines.append(f"  {unseen} candidates under detect.confidence in released images: not blurred, seen by nobody")
    if counts["failed"]:
        lines.append("  to fetch failed rows again: `blurline retry`, then snakemake")
    lines.append(
        "  next: `dvc repro` records it in dvc.lock; `blurline verify` checks it; decisions: data/review/*.csv"
    )
    return "\n".join(lines)


def failures(logs: Iterable[Path]) -> str:
    """What stopped a run, for those of these logs of failed jobs that name an error."""
    errors = {}
    for path in logs:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        named = [line for line in lines if line.startswith("error: ")]
        if named:
            errors[named[-1]] = path
    many = f" and {len(errors) - SHOWN} more, in their logs" if len(errors) > SHOWN else ""
    return "\n".join(
        [
            f"the run stopped{':' if errors else '; the messages above say why'}",
            *(f"  {error} ({path})" for error, path in list(errors.items())[:SHOWN]),
            *([many] if many else []),
            "  what is done is kept: mend the cause, and run the same command again",
        ]
    )


def _recheck(found: Mapping[str, int]) -> list[str]:
    """What the detectors still find after the blur; nothing where nothing is blurred."""
    lines = []
    if found["regions_checked"]:
        lines.append(
            f"  after the blur, the detectors find a face in {found['regions_with_faces']} of "
            f"{found['regions_checked']} blurred regions, and {found['faces_elsewhere']} elsewhere in these images"
        )
    if found["images_not_checked"]:
        lines.append(f"  {found['images_not_checked']} blurred images not looked at again: data/recheck says why")
    return lines


def _reasons(manifest: Path, outcomes: set[str]) -> list[str]:
    if not outcomes:
        return []
    rows = pl.read_parquet(manifest, columns=["action", "reason"]).filter(pl.col("action").is_in(sorted(outcomes)))
    counted = rows.group_by("action", "reason").len().sort("len", "action", "reason", descending=[True, False, False])
    return [f"    {number} {action}: {reason}" for action, reason, number in counted.head(8).rows()]
