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

from blurline.boxes import Box
from blurline.detectors import fusion, openvino, views
from blurline.detectors.engine import Engine, Settings
from blurline.detectors.hashing import weights_digest
from blurline.detectors.results import Detection, Failure
from blurline.detectors.views import Looks
from blurline.errors import BlurlineError

__all__ = ["Detection", "Detector", "Failure", "Looks", "Picture"]

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """An image, and whether its file says which side is up: RGB, upright as far as is known, (height, width, 3)."""

    pixels: Image
    oriented: bool = True


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Again:
    """An image whose prediction raised an exception: it is tried once more when nothing else runs."""

    picture: Picture


class Detector:
    """Any weights that ``ultralytics.YOLO`` runs.

    The name of the file or folder tells which engine runs it: ``.onnx``, ``.pt``, an ``*_openvino_model`` folder,
    TensorRT's ``.engine``, …

    What it finds depends on the weights, `looks`, `candidate`, `nms_iou`, `classes`, `engine`, `device` and
    `precision`; neither on `threads` nor on `batch`, nor on the other images.

    Parameters
    ----------
    weights
        File or folder. It must have the digest `sha256`; nothing of it is parsed before that is known, as a ``.pt``
        file is a pickle. It is hashed and loaded as a private copy, so that it cannot change in between.
    sha256
        As `blurline.detectors.hashing.weights_digest` tells.
    looks
        At which sizes, and how else, an image is looked at; see `Looks`. What several looks find is fused, see
        `fusion`.
    candidate
        Least score, 0 to 1, of a detection.
    nms_iou
        Of two boxes of one class whose intersection over union is above this, 0 to 1, the one of lower score goes.
    classes
        Names of the classes to look for; None or empty: all.
    engine
        ``auto``: as the weights' name says. ``openvino``: OpenVINO, also for ``.onnx`` weights.
    device
        As ultralytics names devices: ``cpu``, ``cuda``, ``cuda:0``, ``0``, ``intel:gpu``.
    precision
        What is computed in: ``f32``; ``f16`` on a GPU; ``bf16`` with OpenVINO on a CPU that has it.
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
        looks: Looks,
        candidate: float,
        nms_iou: float,
        classes: Sequence[str] | None,
        engine: str,
        device: str,
        precision: str,
        threads: int,
        batch: int,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="blurline-weights-")  # removed with this object
        copy = _verified_copy(weights, sha256, Path(self._folder.name))
        if engine == "openvino" and not copy.is_dir():
            copy = openvino.convert(copy, Path(self._folder.name))
        self._looks, self._candidate = looks, candidate
        self._settings = Settings(
            weights=copy,
            name=str(weights),
            image_sizes=looks.image_sizes,
            full_size=looks.full_size,
            candidate=fusion.floor(candidate, len(looks.image_sizes) + len(looks.flips) + looks.full_size),
            nms_iou=nms_iou,
            classes=tuple(classes or ()),
            device=device,
            precision=precision,
        )
        self._threads, self._batch = max(1, threads), max(1, batch)
        self._idle: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        self._idle.put(Engine(self._settings))  # now, so that bad weights are known before any image is read

    def detect(self, images: Iterable[Image | Picture]) -> Iterator[list[Detection] | Failure]:
        """Detect in each image, in the order given, reading only as far ahead as `threads` and `batch` need.

        Parameters
        ----------
        images
            RGB, upright, uint8 of shape (height, width, 3); or each as a `Picture`.

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
        pictures = (one if isinstance(one, Picture) else Picture(one) for one in images)
        if self._threads == 1:
            for picture in pictures:
                (answer,) = self._work([picture])
                yield self._retry(answer.picture) if isinstance(answer, _Again) else answer
            return
        running: collections.deque[Future[list[list[Detection] | Failure | _Again]]] = collections.deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="blurline-detect", initializer=_one_torch_thread)
        try:
            while chunk := list(itertools.islice(pictures, self._batch)):
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
                yield self._retry(answer.picture)
            else:
                yield answer

    def _work(self, pictures: list[Picture]) -> list[list[Detection] | Failure | _Again]:
        engine = self._engine()
        try:
            return [self._try(engine, picture) for picture in pictures]
        finally:
            self._idle.put(engine)

    def _engine(self) -> Engine:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return Engine(self._settings)

    def _try(self, engine: Engine, picture: Picture) -> list[Detection] | Failure | _Again:
        image = picture.pixels
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"an image must be uint8 of shape (height, width, 3), not {image.dtype} {image.shape}")
        try:
            return self._look(engine, picture)
        except BlurlineError:
            raise
        except Exception:
            _log.warning("prediction failed, will be tried again alone", exc_info=True)
            return _Again(picture)

    def _look(self, engine: Engine, picture: Picture) -> list[Detection] | Failure:
        """Take every look at an image, and fuse what they find. One failure, and nothing is known about the image."""
        height, width = picture.pixels.shape[:2]
        found: list[list[fusion.Seen]] = []
        for look in views.take(self._looks, width, height, oriented=picture.oriented):
            seen: list[fusion.Seen] = []
            for view in look:
                answer = engine.run(view.of(picture.pixels), view.size)
                if isinstance(answer, Failure):
                    return answer
                seen += [fusion.Seen(view, view.back(Box(one.x1, one.y1, one.x2, one.y2)), one) for one in answer]
            found.append(seen)
        return fusion.fuse(found, self._candidate, self._settings.nms_iou)

    def _retry(self, picture: Picture) -> list[Detection] | Failure:
        """Try once more. Nothing else of this detector runs meanwhile, so memory that was short may suffice now."""
        _free_memory()
        engine = self._engine()
        try:
            return self._look(engine, picture)
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
