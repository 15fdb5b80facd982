"""How much of a run is not decoding, inference, blurring, encoding and hashing; and whether memory grows with shards.

The same images go through the workflow, and through plain loops that call the same functions on as many processes,
with the model loaded beforehand and nothing written. What the workflow takes longer is its own: starting jobs,
importing libraries, planning, tables, tars, receipts, copies on disk.

    uv run python -m benchmarks.overhead                   # 2,000 images in 2 shards, 2 cores
    uv run python -m benchmarks.overhead --images 200
"""

import argparse
import hashlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from benchmarks.measure import Cost, measure
from blurline import params as params_file
from blurline import performance
from blurline.detectors import centerface, ensemble
from blurline.images import CannotRelease, decode
from blurline.images.obfuscate import Target
from blurline.images.redact import redact
from blurline.steps.blur import style_of
from tests.workflow.project import CODE, TOP, Project, copy_of, environment

SIZE = (500, 375)  # pixels, as most of ImageNet's images
PHOTOGRAPHS = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=2000)
    options.add_argument("--cores", type=int, default=2)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        images = Path(temporary) / "images"
        names = make_images(images, chosen.images)
        size = -(-chosen.images // chosen.cores)
        plain = [loops(images, names, chosen.cores)]
        whole = _workflow(Path(temporary) / "large", images, names, size, chosen.cores)
        plain.append(loops(images, names, chosen.cores))
        seconds, cpu = (sum(values) / len(plain) for values in zip(*plain, strict=True))
        share, cpu_share = 1 - seconds / whole.cost.seconds, 1 - cpu / whole.cost.cpu_seconds
        print(f"{len(names)} images of {SIZE[0]}×{SIZE[1]} pixels, {chosen.cores} shards, {chosen.cores} cores\n")
        print("| | seconds | CPU seconds | images per second |\n| --- | ---: | ---: | ---: |")
        for name, (took, worked) in zip(("before", "after"), plain, strict=True):
            print(f"| plain loops, {name} | {took:.1f} | {worked:.1f} | {len(names) / took:.1f} |")
        took, worked = whole.cost.seconds, whole.cost.cpu_seconds
        print(f"| `snakemake --cores {chosen.cores}` | {took:.1f} | {worked:.1f} | {len(names) / took:.1f} |")
        print(f"\nOrchestration: {share:.1%} of the run by the clock, {cpu_share:.1%} of its CPU seconds.\n")
        small = _workflow(Path(temporary) / "small", images, names[: size // 5], size // 10, chosen.cores)
        print(f"| peak memory of a job, MB | shard of {size // 10} | shard of {size} |\n| --- | ---: | ---: |")
        for step in performance.STEPS:
            print(f"| {step} | {small.peak_mb[step]:.0f} | {whole.peak_mb[step]:.0f} |")


def make_images(folder: Path, number: int) -> list[str]:
    """Write JPEGs cut from photographs that come with scikit-image, each another one; their names."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    photographs = []
    for name in PHOTOGRAPHS:
        with Image.open(Path(skimage.__file__).parent / "data" / name) as opened:
            photographs.append(opened.convert("RGB"))
    names = []
    for n in range(number):
        picture = photographs[n % len(photographs)]
        width = int(random.uniform(0.6, 1.0) * picture.width)
        height = min(picture.height, width * SIZE[1] // SIZE[0])
        left, top = (int(random.uniform(0, 1) * (a - b)) for a, b in zip(picture.size, (width, height), strict=True))
        names.append(f"{n:06d}.jpg")
        picture.crop((left, top, left + width, top + height)).resize(SIZE).save(folder / names[-1], quality=90)
    return names


def loops(folder: Path, names: list[str], processes: int) -> tuple[float, float]:
    """Seconds and CPU seconds of the work itself, from when every process has its model to when the last is done."""
    context = multiprocessing.get_context("spawn")
    ready, worked = context.Barrier(processes + 1), context.SimpleQueue()
    workers = [
        context.Process(target=_work, args=(folder, names[n::processes], ready, worked)) for n in range(processes)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.monotonic()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return time.monotonic() - start, sum(worked.get() for _ in workers)


def _work(
    folder: Path,
    names: list[str],
    ready: "multiprocessing.synchronize.Barrier",
    worked: "multiprocessing.queues.SimpleQueue[float]",
) -> None:
    from blurline.detectors.yolo import Failure

    params = params_file.load(TOP)
    limits = decode.Limits(params.download.max_bytes, params.download.max_pixels)
    settings, style = params.detect, style_of(params.blur)
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / "centerface.onnx"
        weights.write_bytes(centerface.build(centerface.source()))
        (detector,) = ensemble.load(settings, Path(temporary), threads=1).values()
        list(detector.detect(iter([np.zeros((*SIZE[::-1], 3), np.uint8)])))
        ready.wait()
        start = time.process_time()

        def pixels() -> Iterator[np.ndarray]:
            for name in names:
                data = (folder / name).read_bytes()
                hashlib.sha256(data).hexdigest()
                decode.inspect(data, limits)
                yield decode.decode_rgb(data, limits)

        for name, found in zip(names, detector.detect(pixels()), strict=True):
            assert not isinstance(found, Failure)
            boxes = [Target(one.x1, one.y1, one.x2, one.y2) for one in found if one.score >= settings.confidence]
            try:
                released = redact((folder / name).read_bytes(), boxes, style, limits)
            except CannotRelease:
                continue
            hashlib.sha256(released.data).hexdigest()
    worked.put(time.process_time() - start)


@dataclass(frozen=True)
class Run:
    """What a run of the workflow took, and the peak memory in MB of a job by step."""

    cost: Cost
    peak_mb: dict[str, float]


def _workflow(path: Path, images: Path, names: list[str], shard_size: int, cores: int) -> Run:
    copy_of(CODE, path)
    (path / "data/sources").mkdir()
    (path / "data/review").mkdir()
    (path / "data/annotations").mkdir()
    rows = "".join(f"{name},file://{images / name}\n" for name in names)
    (path / "data/sources/many.csv").write_text(f"image_id,url\n{rows}")
    project = Project(path, environment(path))
    project.set("sources", ["many"])
    project.set("shard_size", shard_size)
    cost = measure(["snakemake", "--cores", str(cores)], path, project.env)
    figures = json.loads((path / performance.FILE).read_text())
    return Run(cost, {step: figures[step]["peak_memory_mb"] for step in performance.STEPS})


if __name__ == "__main__":
    main()
