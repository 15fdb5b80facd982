"""What a data set of ImageNet's size costs to plan and to keep, with every job done.

uv run python -m benchmarks.scale                     # 1,430 shards of 1,000 rows
uv run python -m benchmarks.scale --shards 100        # smaller
"""

import argparse
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks import synthetic
from benchmarks.measure import Cost, measure
from tests.workflow.project import Project, environment


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shards", type=int, default=1430)
    options.add_argument("--shard-size", type=int, default=1000)
    options.add_argument("--decisions", type=int, default=0, help="lines in data/review beforehand")
    options.add_argument("--folder", type=Path, help="keep the project here, or use the one that is here")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = (chosen.folder or Path(temporary)) / "project"
        if path.exists():
            project = Project(path, environment(path))
        else:
            project = synthetic.make(path, chosen.shards, chosen.shard_size)
            _decide(path, range(chosen.decisions))
            synthetic.finish(path)
            synthetic.record(project)
        print(f"{chosen.shards} shards of {chosen.shard_size} rows, {chosen.decisions} decisions\n")
        print("| command | seconds | CPU seconds | peak MB |\n| --- | ---: | ---: | ---: |")
        for name, command in {
            "`blurline plan`, nothing due": ["blurline", "plan"],
            "`snakemake -n`, nothing due": ["snakemake", "-n"],
            "`snakemake --cores 2`, nothing due": ["snakemake", "--cores", "2"],
            "`blurline status`": ["blurline", "status"],
            "`dvc status`": ["dvc", "status"],
            "`dvc repro`, nothing due": ["dvc", "repro"],
            "`blurline verify`": ["blurline", "verify"],
        }.items():
            _row(name, measure(command, path, project.env))
        _one_decision(project, chosen.shards * chosen.shard_size // 2)
        _everything(project)


def _one_decision(project: Project, row: int) -> None:
    _decide(project.path, [row])
    _row("`blurline plan`, one new decision", measure(["blurline", "plan"], project.path, project.env))
    planned = measure(["snakemake", "-n"], project.path, project.env)
    _row("`snakemake -n`, one new decision", planned)
    jobs = [line for line in planned.output.splitlines() if line.startswith("rule ")]
    counted = {
        name: jobs.count(f"rule {name}:") for name in ("download", "detect", "merge", "blur", "recheck", "checksum")
    }
    assert counted == {"download": 0, "detect": 0, "merge": 1, "blur": 1, "recheck": 1, "checksum": 1}, counted
    _row("`dvc repro`, one new decision", measure(["dvc", "repro"], project.path, project.env))
    print(f"\nOne new decision: {counted['merge']} merge and {counted['blur']} blur job, by `snakemake -n`.\n")


def _everything(project: Project) -> None:
    print("| command | seconds | CPU seconds | peak MB |\n| --- | ---: | ---: | ---: |")
    for name in ("weights", "raw", "detections", "merged", "blurred", "recheck", "release"):
        subprocess.run(["rm", "-rf", str(project.path / "data" / name)], check=True)
    _row("`blurline plan`, everything due", measure(["blurline", "plan"], project.path, project.env))
    _row("`snakemake -n`, everything due", measure(["snakemake", "-n", "--quiet"], project.path, project.env))


def _decide(path: Path, rows: Iterable[int]) -> None:
    review = path / "data/review/ann.csv"
    if not review.exists():
        review.write_text("image_id,action,x1,y1,x2,y2,reviewer,decided_at\n")
    with review.open("a") as stream:
        for row in rows:
            name = f"n{row // 1300:08d}"
            stream.write(f"train/{name}/{name}_{row}.JPEG,accept,1,2,30,40,ann,2026-01-01T00:00:00+00:00\n")


def _row(name: str, cost: Cost) -> None:
    print(f"| {name} | {cost.seconds:.1f} | {cost.cpu_seconds:.1f} | {cost.peak_mb:.0f} |", flush=True)


if __name__ == "__main__":
    main()
