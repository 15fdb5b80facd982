"""How fast images are blurred, proof included, beside img2dataset, deface, and what the work must cost at least.

    uv run python -m benchmarks.blurring                        # makes an environment for img2dataset
    uv run python -m benchmarks.blurring --img2dataset PYTHON   # the Python of an environment that has it

JPEGs of ImageNet's usual size, the same boxes for all, one process each, and all in turns, because other work on the
machine comes and goes: what counts is the ratio within a round. Everything is in memory. Of the images without
faces, what reading, hashing and writing the bytes takes is the limit.
"""

import argparse
import hashlib
import io
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from deface import deface
from PIL import Image

from benchmarks.overhead import SIZE, make_images
from blurline import params as params_file
from blurline.images import decode, isolated
from blurline.images.obfuscate import BlurStyle, Target
from blurline.images.redact import redact
from blurline.steps.blur import style_of
from tests.workflow.project import TOP

FACES = (1, 2, 3)  # boxes in an image, in turns
SIDES = (24, 120)  # pixels, smallest and largest

# What img2dataset does to an image when it is given boxes to blur and told not to resize.
IMG2DATASET = """
import io, json, sys, time
from img2dataset.blurrer import BoundingBoxBlurrer
from img2dataset.resizer import Resizer
resizer = Resizer(image_size=256, resize_mode="no", resize_only_if_bigger=False, blurrer=BoundingBoxBlurrer())
images = [(open(path, "rb").read(), boxes) for path, boxes in json.load(open(sys.argv[1]))]
for line in sys.stdin:
    start = time.perf_counter()
    for data, boxes in images:
        result = resizer(io.BytesIO(data), boxes)
        assert result[-1] is None, result[-1]
    print(time.perf_counter() - start, flush=True)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=200)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--img2dataset", metavar="PYTHON")
    chosen = options.parse_args()
    params = params_file.load(TOP)
    style = style_of(params.blur)
    limits = decode.Limits(params.download.max_bytes, params.download.max_pixels)
    with tempfile.TemporaryDirectory() as temporary, isolated.Worker() as worker:
        folder = Path(temporary)
        names = make_images(folder / "images", chosen.images)
        images = [(folder / "images" / name).read_bytes() for name in names]
        targets = list(_boxes(len(images)))
        with _img2dataset(folder, names, targets, chosen.img2dataset) as peer:
            ways: dict[str, Callable[[], float]] = {
                "decode and encode": lambda: _timed(_decode_encode, images),
                "blurline": lambda: _redacted(worker, images, targets, style, limits),
                "img2dataset": peer,
                "deface": lambda: _timed(_deface, zip(images, targets, strict=True)),
                "read, hash, write": lambda: _timed(_copied, [(folder, data) for data in images]),
                "blurline, no faces": lambda: _redacted(worker, images, [()] * len(images), style, limits, folder),
            }
            for way in ways.values():
                way()  # libraries load, buffers grow
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(chosen.rounds):
                for name, way in ways.items():
                    seconds[name].append(way())
    _report(seconds, len(images))


def _report(seconds: dict[str, list[float]], images: int) -> None:
    print(f"{images} JPEGs of {SIZE[0]}×{SIZE[1]} pixels, {FACES[0]} to {FACES[-1]} faces each, one process")
    print("\n| | ms an image | times the limit | blurline is faster by |\n| --- | ---: | ---: | ---: |")
    for name, took in seconds.items():
        faceless = name in ("read, hash, write", "blurline, no faces")
        limit, own = ("read, hash, write", "blurline, no faces") if faceless else ("decode and encode", "blurline")
        to_limit = statistics.median(a / b for a, b in zip(took, seconds[limit], strict=True))
        to_own = statistics.median(a / b for a, b in zip(took, seconds[own], strict=True))
        print(f"| {name} | {1000 * statistics.median(took) / images:.2f} | {to_limit:.2f} | {to_own:.2f} |")


def _boxes(number: int) -> Iterator[list[Target]]:
    random = np.random.default_rng(0)
    for n in range(number):
        found = []
        for _ in range(FACES[n % len(FACES)]):
            width = int(np.exp(random.uniform(*np.log(SIDES))))
            height = int(1.25 * width)
            left, top = (
                int(random.uniform(0, whole - part)) for whole, part in zip(SIZE, (width, height), strict=True)
            )
            found.append(Target(left, top, left + width, top + height))
        yield found


def _timed(work: Callable[..., object], items: Sequence[object] | Iterator[object]) -> float:
    start = time.perf_counter()
    for item in items:
        work(item)
    return time.perf_counter() - start


def _decode_encode(data: bytes) -> None:
    image = Image.open(io.BytesIO(data))
    image.save(io.BytesIO(), "JPEG", quality="keep")


def _copied(item: tuple[Path, bytes]) -> None:
    folder, data = item
    hashlib.sha256(data).hexdigest()
    (folder / "copy").write_bytes(data)


def _redacted(
    worker: isolated.Worker,
    images: Sequence[bytes],
    targets: Sequence[Sequence[Target]],
    style: BlurStyle,
    limits: decode.Limits,
    folder: Path | None = None,
) -> float:
    start = time.perf_counter()
    for data, faces in zip(images, targets, strict=True):
        released = worker.call(redact, data, faces, style, limits).data
        hashlib.sha256(released).hexdigest()
        if folder is not None:
            (folder / "copy").write_bytes(released)
    return time.perf_counter() - start


def _deface(item: tuple[bytes, list[Target]]) -> None:
    data, faces = item
    frame = np.array(Image.open(io.BytesIO(data)))
    boxes = np.array([[*face[:4], 1.0] for face in faces])
    deface.anonymize_frame(boxes, frame, 1.3, "blur", True, False, None, 20)
    Image.fromarray(frame).save(io.BytesIO(), "JPEG", quality=95)


@contextmanager
def _img2dataset(
    folder: Path, names: list[str], targets: list[list[Target]], python: str | None
) -> Iterator[Callable[[], float]]:
    """A function that has img2dataset do all images once, and says how many seconds it took."""
    if python is None:
        subprocess.run(["uv", "venv", "--quiet", "env"], cwd=folder, check=True)
        python = str(folder / "env/bin/python")
        subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, "img2dataset"], cwd=folder, check=True)
    # It wants boxes as shares of the image's width and height.
    width, height = SIZE
    work = [
        (str(folder / "images" / name), [[f.x1 / width, f.y1 / height, f.x2 / width, f.y2 / height] for f in faces])
        for name, faces in zip(names, targets, strict=True)
    ]
    (folder / "work.json").write_text(json.dumps(work))
    command = [python, "-c", IMG2DATASET, str(folder / "work.json")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        source, sink = process.stdout, process.stdin

        def run() -> float:
            sink.write("\n")
            sink.flush()
            return float(source.readline())

        try:
            yield run
        finally:
            sink.close()


if __name__ == "__main__":
    main()
