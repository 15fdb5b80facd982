"""One copy of a model inside ultralytics, for one thread.

**Why one image at a time, on one thread.** A result must not depend on the batch, the number of threads or an image's
neighbours. Engines choose their kernels, and so the order of their sums, by batch and by thread count: torch 2.15 gives
other bits on two threads than on one, and what ONNX Runtime or OpenVINO keep equal on one CPU, they do not promise on
another. So every forward pass holds one image and runs on one thread; more threads mean more engines side by side. On
a CPU this costs nothing: ONNX Runtime 1.32 takes three times as long for an image in a batch of eight on one thread,
as its activations no longer fit the caches.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurline.detectors import output, quiet
from blurline.detectors.fit import fit
from blurline.detectors.openvino import SUFFIX as _OPENVINO
from blurline.detectors.results import Detection, Failure, order
from blurline.errors import BlurlineError

_TASKS = ("detect", "segment", "pose")  # those whose output begins with upright boxes
_KINDS = ("YOLO", "YOLOWorld")  # others (RT-DETR, YOLOE) lay their output out in another way
_NO_LIMIT = 1_000_000  # boxes that an end-to-end head may keep, where it asks

_loading = threading.Lock()


@dataclass(frozen=True)
class Settings:
    """What `Detector` was asked for; see there."""

    weights: Path  # the private copy, already verified
    name: str  # of the weights, for messages
    image_sizes: tuple[int, ...]
    full_size: bool
    candidate: float
    nms_iou: float
    classes: tuple[str, ...]
    device: str
    precision: str


class Engine:
    """A loaded model. Use it from one thread at a time.

    Raises
    ------
    BlurlineError
        When the weights cannot be loaded or do not run, are of another kind or size, lack a class that was asked for,
        or do not run on the device or in the precision that was asked for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        ultralytics = quiet.ultralytics()
        self._predictor = _predictor_class(settings)
        self._arguments = {
            "conf": settings.candidate,
            "iou": settings.nms_iou,
            "device": _asked_device(settings),
            "max_det": _NO_LIMIT,
            "quantize": 16 if settings.precision == "f16" else None,
            "verbose": False,
        }
        with _loading, self._broken_if_it_fails("be loaded"):
            # Without a task, ultralytics would guess that of an export. Its true one is checked in `_reading`.
            self._model = ultralytics.YOLO(str(settings.weights), task="detect")
            kind = type(self._model).__name__
            if kind not in _KINDS:
                raise BlurlineError(f"{settings.name}: a model of kind {kind}: use weights of a YOLO detector")
            self.probe()

    def run(self, image: NDArray[np.uint8], image_size: int) -> list[Detection] | Failure:
        """Detect in one RGB image, uint8 of shape (height, width, 3), whose longer side the model sees as image_size.

        Raises whatever the engine raises.
        """
        self._predictor.image_size = image_size
        (answer,) = self._model.predict([image], predictor=self._predictor, **self._arguments)
        found: list[Detection] | Failure = answer.found
        return found

    def probe(self) -> None:
        """Run a grey image of the first size, which any working model can.

        Raises
        ------
        BlurlineError
            When it fails: then the model, not some image, is at fault.
        """
        size = self._settings.image_sizes[0]
        with self._broken_if_it_fails("run"):
            self.run(np.full((size, size, 3), 127, np.uint8), size)

    @contextlib.contextmanager
    def _broken_if_it_fails(self, doing: str) -> Iterator[None]:
        try:
            yield
        except BlurlineError:
            raise
        except Exception as error:
            why = " ".join(str(error).split())[:300]
            raise BlurlineError(
                f"{self._settings.name}: cannot {doing} on device {self._settings.device} at "
                f"{self._settings.image_sizes[0]} pixels ({type(error).__name__}: {why}): "
                "check the weights, device and size"
            ) from error


@dataclass
class _Answer:
    """Stands in for ultralytics' Results, which it also gives a `speed`."""

    found: list[Detection] | Failure
    speed: dict[str, float] | None = None


def _predictor_class(settings: Settings) -> type[Any]:
    """Make ultralytics' predictor with our own resizing before the model and our own reading after it."""
    import torch
    from ultralytics.engine.predictor import BasePredictor

    class Predictor(BasePredictor):  # type: ignore[misc]
        image_size = settings.image_sizes[0]

        def setup_model(self, model: Any, verbose: bool = True) -> None:
            with _one_thread(settings):
                super().setup_model(model, verbose=False)
            torch.set_num_threads(1)
            # No choice by timing, and no algorithm whose sums are in random order, on a GPU.
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.deterministic = True
            self.reading = _reading(self.model, model, settings)
            self.canvas = _canvas(self.model, settings)

        def pre_transform(self, im: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
            (image,) = im
            self.fit = fit(
                *image.shape[:2],
                image_size=self.image_size,
                stride=int(self.model.stride),
                canvas=self.canvas,
            )
            # BGR, as ultralytics expects: turned here, where the image has the size of the input.
            return [np.ascontiguousarray(self.fit.place(image)[..., ::-1])]

        def postprocess(self, preds: Any, img: Any, orig_imgs: Any) -> list[_Answer]:
            while isinstance(preds, list | tuple):  # masks, key points and training outputs follow the boxes
                preds = preds[0]
            boxes = output.read(preds, self.reading)
            if isinstance(boxes, Failure):
                return [_Answer(boxes)]
            found = []
            for *corners, score, index in boxes.tolist():
                if (place := self.fit.back(*corners)) is not None:
                    found.append(Detection(self.model.names[int(index)], *place, score=round(score, 3)))
            return [_Answer(sorted(found, key=order))]

    return Predictor


def _reading(backend: Any, model: Any, settings: Settings) -> output.Reading:
    """Check what was loaded against what was asked for."""
    name = settings.name
    task = getattr(model, "task", None) or getattr(backend, "task", None)  # of a .pt, of an export
    if task not in _TASKS:
        known = f"for the task {task}" if task else "without ultralytics' metadata"
        raise BlurlineError(f"{name}: weights {known}: use weights for one of {', '.join(_TASKS)}")
    if getattr(backend, "channels", 3) != 3:
        raise BlurlineError(f"{name}: weights for {backend.channels} channels: use weights for RGB images")
    if (backend.metadata.get("args") or {}).get("nms"):
        raise BlurlineError(f"{name}: weights with their own thresholds inside: export them again with nms=False")
    if (device := _actual_device(backend)) != (wanted := _wanted_device(settings.device)):
        raise BlurlineError(
            f"{name}: device {settings.device} was asked for ({wanted}) but the model would run on {device}: "
            "install an engine for that device or change the device"
        )
    if settings.precision == "f16" and (not backend.fp16 or settings.weights.name.endswith(_OPENVINO)):
        raise BlurlineError(f"{name}: precision f16 was asked for, but on {device} these weights run in f32: use that")
    if settings.precision == "bf16" and not settings.weights.name.endswith(_OPENVINO):
        raise BlurlineError(f"{name}: precision bf16 was asked for, which only OpenVINO has: set detect.engine to it")
    if hasattr(backend, "ov_compiled_model"):
        # OpenVINO takes another precision without a word where the CPU lacks the one asked for.
        actual = backend.ov_compiled_model.get_property("INFERENCE_PRECISION_HINT").to_string()
        if actual != settings.precision and device == "cpu":
            raise BlurlineError(
                f"{name}: precision {settings.precision} was asked for, but this CPU computes in {actual}: use that"
            )
    names: dict[int, str] = backend.names
    unknown = sorted(set(settings.classes) - set(names.values()))
    if unknown:
        some = ", ".join(list(names.values())[:20]) + (", …" if len(names) > 20 else "")
        raise BlurlineError(f"{name}: no class {', '.join(unknown)}: choose among {some}")
    return output.Reading(
        classes=len(names),
        wanted=[index for index, label in names.items() if label in settings.classes or not settings.classes],
        candidate=settings.candidate,
        nms_iou=settings.nms_iou,
        end2end=bool(getattr(backend, "end2end", False)),
        exact=task == "detect",
    )


def _canvas(backend: Any, settings: Settings) -> tuple[int, int] | None:
    """Height and width of the only input that the model takes, or None if it takes any."""
    if backend.format == "pt" or backend.dynamic:
        return None
    if not hasattr(backend, "imgsz"):
        raise BlurlineError(
            f"{settings.name}: weights for one image size, without ultralytics' metadata (imgsz) that tells it: "
            "export them with ultralytics and dynamic=True"
        )
    height, width = (int(side) for side in backend.imgsz)
    # Looks of other sizes would be the same one again, which would then agree with itself.
    if set(settings.image_sizes) != {max(height, width)} or settings.full_size:
        raise BlurlineError(
            f"{settings.name}: exported for {width}x{height} pixels only: set image_sizes to [{max(height, width)}] "
            "and full_size to false, or export again with dynamic=True"
        )
    return height, width


def _asked_device(settings: Settings) -> str:
    if settings.device == "cpu" and settings.weights.name.endswith(_OPENVINO):
        return "intel:cpu"  # "cpu" would let OpenVINO choose among all the devices that it knows
    return settings.device


def _wanted_device(device: str) -> str:
    if device.replace(",", "").isdigit():
        return "cuda"
    kind, _, number = device.lower().partition(":")
    return number.partition(".")[0] if kind == "intel" else kind


def _actual_device(backend: Any) -> str:
    """Tell where the model will run, whatever was asked: ultralytics falls back to the CPU with only a warning."""
    if hasattr(backend, "ov_compiled_model"):
        devices = backend.ov_compiled_model.get_property("EXECUTION_DEVICES")
        return "+".join(sorted(device.partition(".")[0].lower() for device in devices))
    if hasattr(backend, "session"):
        provider: str = backend.session.get_providers()[0]
        return provider.removesuffix("ExecutionProvider").lower()
    return str(getattr(backend.device, "type", backend.device))


@contextlib.contextmanager
def _one_thread(settings: Settings) -> Iterator[None]:
    """Make the engines that ultralytics builds inside use one thread and no lower precision than asked.

    predict() passes no engine options on. ONNX: ultralytics' backend takes session options, so a subclass that gives
    them stands in for it. OpenVINO: a core that has the properties stands in for a new one; without them it computes
    in bfloat16 on CPUs that can. torch: `quiet` and `setup_model` see to it. The caller holds `_loading`.
    """
    from ultralytics.nn.autobackend import AutoBackend
    from ultralytics.nn.backends import ONNXBackend

    class OneThread(ONNXBackend):  # type: ignore[misc]
        def __init__(self, weight: Any, device: Any, fp16: bool = False, format: str = "onnx") -> None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            options.use_deterministic_compute = True
            options.log_severity_level = 3  # errors
            super().__init__(weight, device, fp16, format, session_options=options)

    with contextlib.ExitStack() as stack:
        backends = AutoBackend._BACKEND_MAP
        stack.callback(backends.update, onnx=backends["onnx"])
        backends["onnx"] = OneThread
        if settings.weights.name.endswith(_OPENVINO):
            import openvino

            core = openvino.Core
            stack.callback(setattr, openvino, "Core", core)

            def one_thread_core() -> Any:
                made = core()
                hint = "bf16" if settings.precision == "bf16" else "f32"
                made.set_property("CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": hint})
                return made

            openvino.Core = one_thread_core
        yield
