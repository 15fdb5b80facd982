"""Images per second and memory of the download step, beside img2dataset: same server, same list, hashes checked.

    uv run python -m benchmarks.download                  # 20,000 images, five rounds
    uv run python -m benchmarks.download --clients        # the HTTP clients alone: aiohttp and httpx

Both tools run as users run them, with two processes, and keep the bytes as they came (img2dataset's resizing and
re-encoding are off; it decodes each image all the same). img2dataset gets an environment of its own in a temporary
folder. The two take turns in every round, since other work on the machine comes and goes; what counts is the ratio.
"""

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from benchmarks.image_server import numbered, picture
from tests.workflow.project import CODE, TOP, Project, copy_of, environment

PROCESSES = 2
SHARD = 10_000  # img2dataset's default
HEADER = """\
| round | blurline, images/s | img2dataset, images/s | ratio | ratio of the work alone | blurline, CPU ms/image \
| img2dataset, CPU ms/image | blurline, MB | img2dataset, MB |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


@dataclass(frozen=True)
class Cost:
    """What a run took: seconds by the clock, those of its jobs alone, CPU seconds, MB of its largest process."""

    seconds: float
    work: float
    cpu: float
    peak_mb: float


def measure(command: list[str], cwd: Path, env: dict[str, str]) -> Cost:
    """Run a command to its end.

    Raises
    ------
    SystemExit
        When it fails, with what it said.
    """
    with (cwd / ".log").open("w+") as log:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
        log.seek(0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed:\n{log.read()}")
    return Cost(seconds, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


@contextmanager
def serving() -> Iterator[int]:
    """The image server, in a process of its own: its port."""
    command = [sys.executable, "-m", "benchmarks.image_server"]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def listed(port: int, images: int) -> pl.DataFrame:
    """The list that both tools get: image_id, url, sha256."""
    jpeg = picture()
    return pl.DataFrame(
        {
            "image_id": [f"{n:08}.jpg" for n in range(images)],
            "url": [f"http://127.0.0.1:{port}/{n}.jpg" for n in range(images)],
            "sha256": [hashlib.sha256(numbered(jpeg, n)).hexdigest() for n in range(images)],
        }
    )


class Blurline:
    """The download step, as `snakemake` runs it."""

    def __init__(self, folder: Path) -> None:
        path = folder / "project"
        copy_of(CODE, path)
        (path / "data/sources").mkdir(parents=True)
        (path / "data/review").mkdir()
        self.project = Project(path, environment(path))
        for key, value in {
            "sources": ["many"],
            "download.allow_private_hosts": True,
            "download.threads": 1,
        }.items():
            self.project.set(key, value)

    def run(self, rows: pl.DataFrame, shard_size: int = SHARD) -> Cost:
        path = self.project.path
        shutil.rmtree(path / "data/raw", ignore_errors=True)
        shutil.rmtree(path / "logs", ignore_errors=True)
        self.project.set("shard_size", shard_size)
        rows.write_csv(path / "data/sources/many.csv")
        rules = ("download", "download_step", "download_all")
        command = ["snakemake", "--cores", str(PROCESSES), "--allowed-rules", *rules, "--", "download_all"]
        cost = measure(command, path, self.project.env)
        tables = pl.concat([pl.read_parquet(table) for table in (path / "data/raw").glob("*.parquet")])
        assert tables.height == rows.height
        assert set(tables["status"]) == {"ok"}, "not all images arrived"
        # Snakemake's own figures: seconds of each job, the start of its Python included. All start together.
        jobs = pl.concat([pl.read_csv(table, separator="\t") for table in (path / "logs/download").glob("*.tsv")])
        return replace(cost, work=float(jobs["s"].max()))  # type: ignore[arg-type]


class Img2dataset:
    """The peer: the same images into tars, bytes as they came, hashes checked."""

    def __init__(self, folder: Path, python: str | None) -> None:
        self.folder = folder / "peer"
        self.folder.mkdir()
        if python is None:
            subprocess.run(["uv", "venv", "--quiet", "env"], cwd=self.folder, check=True)
            python = str(self.folder / "env/bin/python")
            subprocess.run(
                ["uv", "pip", "install", "--quiet", "--python", python, "img2dataset"], cwd=self.folder, check=True
            )
        self.command = [
            *(str(Path(python).parent / "img2dataset"), "--url_list", "list.parquet", "--input_format", "parquet"),
            *("--url_col", "url", "--output_format", "webdataset", "--output_folder", "out"),
            *("--processes_count", str(PROCESSES), "--number_sample_per_shard", str(SHARD)),
            *("--resize_mode", "no", "--skip_reencode", "True", "--enable_wandb", "False"),
            *("--compute_hash", "sha256", "--verify_hash", '["sha256","sha256"]'),
        ]
        self.version = subprocess.run(
            [python, "-c", "from importlib.metadata import version; print(version('img2dataset'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def run(self, rows: pl.DataFrame, threads: int) -> Cost:
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        rows.select("url", "sha256").write_parquet(self.folder / "list.parquet")
        command = [*self.command, "--thread_count", str(threads)]
        cost = measure(command, self.folder, {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"})
        stats = [json.loads(path.read_text()) for path in (self.folder / "out").glob("*_stats.json")]
        assert sum(one["successes"] for one in stats) == rows.height, "not all images arrived"
        work = max(one["end_time"] for one in stats) - min(one["start_time"] for one in stats)
        return replace(cost, work=work)


def compare(images: int, rounds: int, python: str | None, threads: list[int]) -> None:
    """Print, for each round and then in the middle, what both took; and blurline's memory at several sizes."""
    with tempfile.TemporaryDirectory() as name, serving() as port:
        ours, peer = Blurline(Path(name)), Img2dataset(Path(name), python)
        many = listed(port, images)
        best = min(threads, key=lambda count: peer.run(many, count).seconds) if len(threads) > 1 else threads[0]
        print(f"{images} images of {len(picture())} bytes; img2dataset {peer.version}, thread_count {best}")
        print(HEADER)
        results = []
        for number in range(rounds):
            if number % 2:
                their, our = peer.run(many, best), ours.run(many)
            else:
                our, their = ours.run(many), peer.run(many, best)
            row = (
                images / our.seconds,
                images / their.seconds,
                their.seconds / our.seconds,
                their.work / our.work,
                1000 * our.cpu / images,
                1000 * their.cpu / images,
                our.peak_mb,
                their.peak_mb,
            )
            results.append(row)
            print(_line(str(number + 1), row), flush=True)
        print(_line("median", tuple(statistics.median(column) for column in zip(*results, strict=True))))
        print(f"\n| images in one shard, of {2 * images:,} | blurline, MB |\n| --- | --- |")
        rows = listed(port, 2 * images)
        for size in (images // 20, images // 4, images, 2 * images):
            print(f"| {size:,} | {ours.run(rows, shard_size=size).peak_mb:.0f} |", flush=True)


def _line(name: str, row: tuple[float, ...]) -> str:
    ours, theirs, ratio, work, cpu, their_cpu, mb, their_mb = row
    return (
        f"| {name} | {ours:.0f} | {theirs:.0f} | {ratio:.2f} | {work:.2f} | {cpu:.2f} | {their_cpu:.2f} "
        f"| {mb:.0f} | {their_mb:.0f} |"
    )


def clients(images: int, rounds: int) -> None:
    """Print how many small files a second the two asynchronous HTTP clients in the environment fetch in one process."""
    import aiohttp
    import httpx

    async def with_aiohttp(urls: list[str]) -> None:
        turns = asyncio.Semaphore(16)
        async with aiohttp.ClientSession() as session:

            async def one(url: str) -> None:
                async with turns, session.get(url) as answer:
                    await answer.read()

            await asyncio.gather(*(one(url) for url in urls))

    async def with_httpx(urls: list[str]) -> None:
        turns = asyncio.Semaphore(16)
        async with httpx.AsyncClient(trust_env=False) as session:

            async def one(url: str) -> None:
                async with turns:
                    await session.get(url)

            await asyncio.gather(*(one(url) for url in urls))

    with serving() as port:
        urls = [f"http://127.0.0.1:{port}/{n}.jpg" for n in range(images)]
        print("| round | aiohttp, files/s | httpx, files/s | ratio |\n| --- | --- | --- | --- |")
        for number in range(rounds):
            rates = []
            for run in (with_aiohttp, with_httpx):
                start = time.monotonic()
                asyncio.run(run(urls))
                rates.append(images / (time.monotonic() - start))
            print(f"| {number + 1} | {rates[0]:.0f} | {rates[1]:.0f} | {rates[0] / rates[1]:.1f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--img2dataset", metavar="PYTHON", help="the Python of an environment that has it already")
    parser.add_argument("--threads", type=int, nargs="+", default=[32, 128], help="thread counts to give img2dataset")
    parser.add_argument("--clients", action="store_true", help="compare the HTTP clients alone")
    arguments = parser.parse_args()
    if arguments.clients:
        clients(arguments.images // 4, arguments.rounds)
    else:
        compare(arguments.images, arguments.rounds, arguments.img2dataset, arguments.threads)
