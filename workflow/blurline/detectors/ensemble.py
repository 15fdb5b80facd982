"""The detectors of params.yaml, side by side: each picture is decoded once, and every one of them looks at it."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from blurline.detectors.yolo import Detection, Detector, Failure, Looks, Picture
from blurline.errors import BlurlineError
from blurline.params import Detect

T = TypeVar("T")

PARAMS = (
    "detect.candidate",
    "detect.classes",
    "detect.device",
    "detect.engine",
    "detect.flips",
    "detect.full_size",
    "detect.image_sizes",
    "detect.nms_iou",
    "detect.precision",
    "detect.tile",
    "detect.turned",
)
"""The params that decide what the detectors find in a picture, but for which detectors there are."""


def check(settings: Detect, files: Iterable[str]) -> None:
    """Make sure that the files below data/weights are those of the detectors of params.yaml.

    Raises
    ------
    BlurlineError
        When there are others.
    """
    # A folder of weights (OpenVINO) is a payload of several files with one first part.
    if {name.split("/", 1)[0] for name in files} != {model.file_name for model in settings.models()}:
        raise BlurlineError("data/weights: not the weights of params.yaml: run `blurline repair`, then snakemake")


def load(settings: Detect, folder: Path, threads: int) -> dict[str, Detector]:
    """The detectors of params.yaml, by name, from a folder with their weights.

    Raises
    ------
    BlurlineError
        As `Detector`.
    """
    return {
        model.name: Detector(
            folder / model.file_name,
            model.sha256,
            looks=Looks(
                image_sizes=tuple(model.image_sizes),
                flips=tuple(model.flips),
                full_size=settings.full_size,
                tile=settings.tile,
                turned=settings.turned,
            ),
            candidate=settings.candidate,
            nms_iou=settings.nms_iou,
            classes=model.classes or None,
            engine=settings.engine,
            device=settings.device,
            precision=settings.precision,
            threads=threads,
            batch=settings.batch,
        )
        for model in settings.models()
    }


def look(
    detectors: Mapping[str, Detector], pictures: Iterable[Picture]
) -> Iterator[dict[str, list[Detection] | Failure]]:
    """What every detector finds in each picture, by the detector's name, in the order of the pictures."""
    # Each picture is decoded once; what one detector has read ahead of the others waits in between.
    streams = tee(pictures, len(detectors))
    answers = (one.detect(stream) for one, stream in zip(detectors.values(), streams, strict=True))
    for found in zip(*answers, strict=True):
        yield dict(zip(detectors, found, strict=True))


def tee(items: Iterable[T], readers: int) -> list[Iterator[T]]:
    """The same items for several readers, each held only until the last of them has taken it.

    `itertools.tee` holds the last 57 that were taken, which are gigabytes of large images.
    """
    source = iter(items)
    ahead: list[deque[T]] = [deque() for _ in range(readers)]

    def stream(mine: deque[T]) -> Iterator[T]:
        while True:
            if not mine:
                try:
                    item = next(source)
                except StopIteration:
                    return
                for one in ahead:
                    one.append(item)
                del item
            yield mine.popleft()

    return [stream(mine) for mine in ahead]
