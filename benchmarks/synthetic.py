"""A project of any size whose jobs are all done, made without a download: every row is one that could not be had.

Manifest, tables, tars and receipts are real, so plan, verify, both tools and every single job work on it as on others.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from blurline import closing, plan, tables, tars
from blurline.job import Job
from blurline.plan import SHARDED, folder
from blurline.receipts import CLOSING
from blurline.steps import checksum, weights
from tests.workflow.project import CODE, Project, copy_of, environment

REASON = "file not found"


def make(path: Path, shards: int, shard_size: int) -> Project:
    """Write the project's files and its inputs: `shards` × `shard_size` pinned rows, and no decision."""
    copy_of(CODE, path)
    (path / "data/sources").mkdir(parents=True)
    for inputs in ("data/review", "data/annotations"):
        (path / inputs).mkdir()
        (path / inputs / ".gitkeep").touch()
    with (path / "data/sources/synthetic.csv").open("w") as stream:
        stream.write("image_id,url,sha256,class\n")
        stream.writelines(_lines(shards * shard_size))
    project = Project(path, environment(path))
    project.set("sources", ["synthetic"])
    project.set("shard_size", shard_size)
    project.set("download.max_failure_rate", 1.0)
    return project


def finish(path: Path) -> None:
    """Do every job: payload as the step would write it for rows that failed, receipts as always."""
    planned = plan.load(path)
    weights.run(planned.jobs["weights", CLOSING])
    for shard in planned.shards:
        for step in SHARDED:
            _shard_job(planned.jobs[step, shard], _ids(planned.jobs["download", shard]))
    for step in SHARDED:
        closing.run(planned.jobs[step, CLOSING])
    checksum.run(planned.jobs["checksum", CLOSING])


def record(project: Project) -> None:
    """Let git and DVC record the project as it is."""
    project.git("init", "--quiet", "--initial-branch=main")
    project.dvc("init", "--quiet")
    project.dvc("config", "core.analytics", "false")
    for remote in ("private", "public"):
        project.dvc("remote", "add", "--quiet", remote, str(project.path.parent / "remotes" / remote))
    project.dvc("repro", "--quiet")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "v1")


def _lines(rows: int) -> Iterator[str]:
    for number in range(rows):
        name = f"n{number // 1300:08d}"
        sha256 = hashlib.sha256(str(number).encode()).hexdigest()
        yield f"train/{name}/{name}_{number}.JPEG,https://images.example.org/{name}/{number}.JPEG,{sha256},{name}\n"


def _ids(job: Job) -> pl.DataFrame:
    assert job.rows is not None
    return job.rows.rows.select("image_id", "url")


def _shard_job(job: Job, rows: pl.DataFrame) -> None:
    made = {
        "download": (tables.RAW, {"status": "failed", "reason": REASON}, {"ok": 0, "failed": 1, "quarantined": 0}),
        "detect": (
            tables.DETECTIONS,
            {"status": "skipped", "reason": "failed"},
            {"ok": 0, "skipped": 1, "error": 0, "boxes": 0},
        ),
        "merge": (
            tables.MERGED,
            {"status": "skipped", "state": "auto", "reason": "failed"},
            {"auto": 1, "reviewed": 0, "pending": 0, "excluded": 0, "blur": 0},
        ),
        "blur": (
            tables.BLURRED,
            {"action": "failed", "reason": REASON},
            {**{outcome: int(outcome == "failed") for outcome in tables.OUTCOMES}, "regions": 0},
        ),
        "recheck": (
            tables.RECHECK,
            {"status": "skipped", "reason": "failed"},
            {"ok": 0, "skipped": 1, "error": 0, "found": 0, "elsewhere": 0},
        ),
    }
    schema, fields, counts = made[job.step]
    for shard_input in job.inputs:
        job.input(*shard_input)
    lists = {name for name, kind in schema.items() if isinstance(kind, pl.List)}
    filled = rows.with_columns(
        **{name: pl.lit(value) for name, value in fields.items()},
        **{name: pl.lit(None, kind) for name, kind in schema.items() if name not in {*rows.columns, *fields, *lists}},
        **{name: pl.lit([], dtype=schema[name]) for name in lists},
    )
    with job.output() as output:
        filled.select(list(schema)).write_parquet(output.path(f"{job.shard}.parquet"), compression="zstd")
        if job.step in ("download", "blur"):
            with tars.Writer(output.path(f"{job.shard}.tar")):
                pass
        output.counts |= {name: number * rows.height for name, number in counts.items()}
    assert folder(job.step) == job.folder
