"""Faces, or whatever the weights know, in a stream of images."""

from __future__ import annotations

import collections
import itertools
import logging
import queue
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurline.detectors.engine import Engine, Settings
from blurline.detectors.hashing import weights_digest
from blurline.detectors.results import Detection, Failure
from blurline.errors import BlurlineError

__all__ = ["Detection", "Detector", "Failure"]

Image = NDArray[np.uint8]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Again:
    """An image whose prediction raised an exception: it is tried once more when nothing else runs."""

    image: Image


class Detector:
    """Any weights that ``ultralytics.YOLO`` runs.

    The name of the file or folder tells which engine runs it: ``.onnx``, ``.pt``, an ``*_openvino_model`` folder,
    TensorRT's ``.engine``, …

    What it finds depends on the weights, `image_size`, `candidate`, `nms_iou`, `classes`, `device` and `half`; neither
    on `threads` nor on `batch`, nor on the other images.

    Parameters
    ----------
    weights
        File or folder. It must have the digest `sha256`; nothing of it is parsed before that is known, as a ``.pt``
        file is a pickle. It is hashed and loaded as a private copy, so that it cannot change in between.
    sha256
        As `blurline.detectors.hashing.weights_digest` tells.
    image_size
        Pixels: the longer side that the model sees. Smaller images are enlarged, at most 4 times.
    candidate
        Least score, 0 to 1, of a detection.
    nms_iou
        Of two boxes of one class whose intersection over union is above this, 0 to 1, the one of lower score goes.
    classes
        Names of the classes to look for; None or empty: all.
    device
        As ultralytics names devices: ``cpu``, ``cuda``, ``cuda:0``, ``0``, ``intel:gpu``.
    half
        Half precision.
    threads
        Images worked on at once, each by its own copy of the model, on one CPU thread.
    batch
        Images handed to a thread at once. No more than `threads` + 1 times this many are in memory.

    Raises
    ------
    BlurlineError
        When the weights are missing, have another digest, cannot be loaded or do not run, are for another task than
        detect, segment or pose, take another image size, lack a class, or would run on another device or in another
        precision than asked.
    """

    def __init__(
        self,
        weights: Path,
        sha256: str,
        *,
        image_size: int,
        candidate: float,
        nms_iou: float,
        classes: Sequence[str] | None,
        device: str,
        half: bool,
        threads: int,
        batch: int,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="blurline-weights-")  # removed with this object
        self._settings = Settings(
            weights=_verified_copy(weights, sha256, Path(self._folder.name)),
            name=str(weights),
            image_size=image_size,
            candidate=candidate,
            nms_iou=nms_iou,
            classes=tuple(classes or ()),
            device=device,
            half=half,
        )
        self._threads, self._batch = max(1, threads), max(1, batch)
        self._idle: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        self._idle.put(Engine(self._settings))  # now, so that bad weights are known before any image is read

    def detect(self, images: Iterable[Image]) -> Iterator[list[Detection] | Failure]:
        """Detect in each image, in the order given, reading only as far ahead as `threads` and `batch` need.

        Parameters
        ----------
        images
            RGB, upright, uint8 of shape (height, width, 3).

        Yields
        ------
        list of Detection or Failure
            Best score first. A `Failure` where the image could not be worked on, also not alone, or where boxes may
            have been lost; an empty list only where the model saw the image and found nothing.

        Raises
        ------
        BlurlineError
            When the model no longer works at all.
        ValueError
            When an image has another shape or type.
        """
        if self._threads == 1:
            for image in images:
                (answer,) = self._work([image])
                yield self._retry(answer.image) if isinstance(answer, _Again) else answer
            return
        running: collections.deque[Future[list[list[Detection] | Failure | _Again]]] = collections.deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="blurline-detect", initializer=_one_torch_thread)
        try:
            stream = iter(images)
            while chunk := list(itertools.islice(stream, self._batch)):
                running.append(pool.submit(self._work, chunk))
                del chunk
                if len(running) > self._threads:
                    yield from self._finished(running)
            while running:
                yield from self._finished(running)
        finally:  # also when the consumer stops early
            pool.shutdown(cancel_futures=True)

    def _finished(self, running: collections.deque[Future[Any]]) -> Iterator[list[Detection] | Failure]:
        for answer in running.popleft().result():
            if isinstance(answer, _Again):
                wait(running)
                yield self._retry(answer.image)
            else:
                yield answer

    def _work(self, images: list[Image]) -> list[list[Detection] | Failure | _Again]:
        engine = self._engine()
        try:
            return [self._try(engine, image) for image in images]
        finally:
            self._idle.put(engine)

    def _engine(self) -> Engine:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return Engine(self._settings)

    def _try(self, engine: Engine, image: Image) -> list[Detection] | Failure | _Again:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"an image must be uint8 of shape (height, width, 3), not {image.dtype} {image.shape}")
        try:
            return engine.run(image)
        except BlurlineError:
            raise
        except Exception:
            _log.warning("prediction failed, will be tried again alone", exc_info=True)
            return _Again(image)

    def _retry(self, image: Image) -> list[Detection] | Failure:
        """Try once more. Nothing else of this detector runs meanwhile, so memory that was short may suffice now."""
        _free_memory()
        engine = self._engine()
        try:
            return engine.run(image)
        except BlurlineError:
            raise
        except Exception as error:
            _log.warning("prediction failed again", exc_info=True)
            engine.probe()  # is it the image, or does the model fail on everything?
            return Failure(f"the detector failed on it twice ({type(error).__name__})")
        finally:
            self._idle.put(engine)


def _verified_copy(weights: Path, sha256: str, folder: Path) -> Path:
    # ultralytics chooses its engine by the name, so the copy keeps it.
    copy = folder / weights.name
    if weights.is_dir():
        shutil.copytree(weights, copy)
    elif weights.is_file():
        shutil.copyfile(weights, copy)
    else:
        raise BlurlineError(f"{weights}: no such weights: give the path of a weights file or of an OpenVINO folder")
    if (found := weights_digest(copy)) != sha256:
        raise BlurlineError(f"{weights}: SHA-256 is {found}, not {sha256}: use the weights you meant")
    return copy


def _one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
