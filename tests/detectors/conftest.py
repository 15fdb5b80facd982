"""Real models, built once: CenterFace as ONNX and OpenVINO, a tiny YOLO as .pt, and graphs with a made-up output."""

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image

from blurline.detectors import centerface, quiet
from blurline.detectors.hashing import weights_digest
from blurline.detectors.views import Looks
from blurline.detectors.yolo import Detector


@functools.cache
def photo(name: str) -> NDArray[np.uint8]:
    """A photograph that comes with a package, as RGB uint8."""
    package, path = {
        "bus": ("ultralytics", "assets/bus.jpg"),
        "zidane": ("ultralytics", "assets/zidane.jpg"),
        "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
        "astronaut": ("skimage", "data/astronaut.png"),
        "chelsea": ("skimage", "data/chelsea.png"),
        "coffee": ("skimage", "data/coffee.png"),
        "rocket": ("skimage", "data/rocket.jpg"),
    }[name]
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return np.asarray(Image.open(Path(spec.submodule_search_locations[0]) / path).convert("RGB"))


def detector(weights: Path, **changes: Any) -> Detector:
    changes["looks"] = changes.get("looks") or Looks((changes.pop("image_size", 320),))
    settings: dict[str, Any] = {
        "sha256": weights_digest(weights),
        "candidate": 0.1,
        "nms_iou": 0.4,
        "classes": None,
        "engine": "auto",
        "device": "cpu",
        "precision": "f32",
        "threads": 1,
        "batch": 4,
    }
    return Detector(weights, **(settings | changes))


@pytest.fixture(scope="session")
def face_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("centerface") / "centerface.onnx"
    path.write_bytes(centerface.build(centerface.source()))
    return path


@pytest.fixture(scope="session")
def openvino_model(face_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    openvino = pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("openvino") / "centerface_openvino_model"
    folder.mkdir()
    openvino.save_model(openvino.convert_model(face_model), folder / "model.xml", compress_to_fp16=False)
    metadata = {entry.key: entry.value for entry in onnx.load(face_model).metadata_props}
    lines = [f"{key}: {value}" for key, value in metadata.items() if key in ("task", "stride", "names", "batch")]
    (folder / "metadata.yaml").write_text("\n".join([*lines, "imgsz: [640, 640]", "args: {dynamic: true}"]))
    return folder


@pytest.fixture(scope="session")
def torch_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv8-like model of three scales, two classes and random weights that sees something everywhere."""
    ultralytics = quiet.ultralytics()
    import torch

    folder = tmp_path_factory.mktemp("torch")
    (folder / "tiny.yaml").write_text(
        "nc: 2\n"
        "backbone:\n"
        "  - [-1, 1, Conv, [16, 3, 2]]\n"
        "  - [-1, 1, Conv, [16, 3, 2]]\n"
        "  - [-1, 1, C2f, [32, True]]\n"
        "  - [-1, 1, Conv, [32, 3, 2]]\n"
        "  - [-1, 1, Conv, [48, 3, 2]]\n"
        "  - [-1, 1, Conv, [64, 3, 2]]\n"
        "head:\n"
        "  - [[3, 4, 5], 1, Detect, [nc]]\n"
    )
    torch.manual_seed(0)
    made = ultralytics.YOLO(str(folder / "tiny.yaml"), task="detect")
    made.model.names = {0: "face", 1: "plate"}
    for branch in made.model.model[-1].cv3:
        torch.nn.init.normal_(branch[-1].weight, std=2.0)
        branch[-1].bias.data[:] = -1.0
    path = folder / "tiny.pt"
    made.save(path)
    return path


Maker = Callable[..., Path]


@pytest.fixture
def made_up(tmp_path: Path) -> Maker:
    """Write ONNX weights whose output is a given array, except NaN for an image with a white pixel."""

    def make(output: NDArray[np.float32], name: str = "made_up.onnx", **metadata: Any) -> Path:
        node, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
        graph = onnx.helper.make_graph(
            [
                node("ReduceMax", ["images"], ["brightest"], keepdims=0),
                node("Sub", ["one", "brightest"], ["darkness"]),
                node("Div", ["zero", "darkness"], ["zero_or_nan"]),
                node("Shape", ["images"], ["batch"], start=0, end=1),
                node("Concat", ["batch", "cells"], ["shape"], axis=0),  # ultralytics asks if the batch is dynamic
                node("Expand", ["constant", "shape"], ["expanded"]),
                node("Add", ["expanded", "zero_or_nan"], ["output0"]),
            ],
            "made_up",
            [onnx.helper.make_tensor_value_info("images", 1, ["batch", 3, "height", "width"])],
            [onnx.helper.make_tensor_value_info("output0", 1, ["batch", *output.shape[1:]])],
            [
                tensor(np.asarray(output, np.float32), "constant"),
                tensor(np.array(output.shape[1:]), "cells"),
                tensor(np.asarray(np.float32(1)), "one"),
                tensor(np.asarray(np.float32(0)), "zero"),
            ],
        )
        model = onnx.helper.make_model(graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 20)])
        known = {"task": "detect", "stride": 32, "names": {0: "face"}, "batch": 1, "args": {"dynamic": True}}
        onnx.helper.set_model_props(model, {key: str(value) for key, value in (known | metadata).items()})
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return make
