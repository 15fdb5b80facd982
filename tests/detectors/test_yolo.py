"""The detector as a whole, on real engines."""

import hashlib
import itertools
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from blurline.boxes import Box
from blurline.detectors import openvino, output
from blurline.detectors.engine import Engine
from blurline.detectors.hashing import weights_digest
from blurline.detectors.views import Looks
from blurline.detectors.yolo import Detection, Failure, Picture
from blurline.errors import BlurlineError

from .conftest import Maker, detector, photo

Image = NDArray[np.uint8]
ENGINES = ["face_model", "torch_model", "openvino_model"]


def pictures() -> list[Image]:
    """Ten pictures of six shapes: most of them share their padded shape with another."""
    crops = [photo("zidane")[:, 400:1100], photo("bus")[300:900], photo("hopper"), photo("astronaut")]
    crops += [photo("astronaut")[:300], photo("coffee")[:200, :300], photo("zidane")[:, 500:1200]]
    return [*crops, crops[0][:, ::-1], crops[2][:50, :40], np.zeros((1, 700, 3), np.uint8)]


@pytest.mark.parametrize("model", ENGINES)
def test_nothing_depends_on_batch_threads_or_neighbours(
    model: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: Path = request.getfixturevalue(model)
    outputs: list[str] = []  # every raw output, to the bit
    read = output.read

    def watched(raw: Any, reading: output.Reading) -> Any:
        outputs.append(hashlib.sha256(raw.cpu().numpy().tobytes()).hexdigest())
        return read(raw, reading)

    monkeypatch.setattr(output, "read", watched)
    images = pictures()
    alone = [next(detector(weights).detect([image])) for image in images[:2]]
    outputs.clear()
    wanted = list(detector(weights).detect(images))
    probe, bits = {outputs[0]}, outputs[1:]
    assert wanted[:2] == alone
    assert len(set(bits)) == len(images)
    assert all(isinstance(answer, list) for answer in wanted)
    assert sum(map(len, filter(None, wanted))) >= 5  # type: ignore[arg-type]
    for threads, batch in [(1, 1), (1, 8), (2, 1), (2, 2), (4, 5)]:
        one = detector(weights, threads=threads, batch=batch)
        outputs.clear()
        assert list(one.detect(images)) == wanted, (threads, batch)
        assert set(bits) <= set(outputs), (threads, batch)
        assert list(one.detect(images[::-1])) == wanted[::-1], (threads, batch)
        assert set(outputs) - set(bits) <= probe, (threads, batch)


def test_every_engine_uses_one_thread(face_model: Path, openvino_model: Path) -> None:
    import torch

    backend = detector(face_model)._idle.get()._model.predictor.model
    assert backend.session.get_session_options().intra_op_num_threads == 1
    compiled = detector(openvino_model)._idle.get()._model.predictor.model.ov_compiled_model
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string()) == "f32"
    assert torch.get_num_threads() == 1


def test_openvino_and_onnx_agree(face_model: Path, openvino_model: Path) -> None:
    images = [photo("zidane"), photo("astronaut")]
    for one, other in zip(
        detector(face_model, candidate=0.4).detect(images),
        detector(openvino_model, candidate=0.4).detect(images),
        strict=True,
    ):
        assert isinstance(one, list) and isinstance(other, list) and len(one) == len(other) > 0
        for a, b in zip(one, other, strict=True):
            assert abs(a.score - b.score) <= 0.01 and abs(a.x1 - b.x1) <= 1 and abs(a.y2 - b.y2) <= 1


def test_the_engine_openvino_runs_onnx_weights(face_model: Path, openvino_model: Path) -> None:
    """The same as an exported folder, with the hash of the file that was given."""
    images = [photo("zidane"), photo("astronaut")]
    assert list(detector(face_model, engine="openvino").detect(images)) == list(detector(openvino_model).detect(images))
    with pytest.raises(BlurlineError, match=r"faces\.pt: engine openvino takes \.onnx weights"):
        openvino.convert(Path("faces.pt"), face_model.parent)


def test_bf16_is_used_or_refused(face_model: Path) -> None:
    """Not every CPU has it, and OpenVINO would silently compute in another precision than the key says."""
    import openvino as runtime

    has = "BF16" in runtime.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if not has:
        with pytest.raises(BlurlineError, match="bf16 was asked for, but this CPU computes in f32"):
            detector(face_model, engine="openvino", precision="bf16")
        return
    rough = detector(face_model, engine="openvino", precision="bf16")
    compiled = rough._idle.get()._model.predictor.model.ov_compiled_model
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "bf16"


def test_several_looks_find_what_each_finds(face_model: Path) -> None:
    """In a picture of a quarter of the size: the faces that a look sees, the fused answer has, with no lower score."""
    image = np.ascontiguousarray(photo("zidane")[::4, ::4])
    (one,) = detector(face_model, image_size=320, candidate=0.3).detect([image])
    (other,) = detector(face_model, image_size=640, candidate=0.3).detect([image])
    (fused,) = detector(face_model, looks=Looks((320, 640), flips=(320,)), candidate=0.3).detect([image])
    assert isinstance(one, list) and isinstance(other, list) and isinstance(fused, list)
    for found in (*one, *other):
        assert any(_iou(found, both) >= 0.4 and both.score >= found.score for both in fused), found


def test_a_large_image_in_tiles_is_the_same_as_in_one_piece(face_model: Path) -> None:
    image = np.asarray(PillowImage.fromarray(photo("zidane")).resize((2000, 1125)))
    (whole,) = detector(face_model, looks=Looks((2000,)), candidate=0.5).detect([image])
    (tiles,) = detector(face_model, looks=Looks((2000,), tile=1312), candidate=0.5).detect([image])
    assert isinstance(whole, list) and isinstance(tiles, list) and len(whole) == 2
    assert all(any(_iou(one, other) > 0.7 for other in tiles) for one in whole)
    assert all(any(_iou(one, other) > 0.3 for other in whole) for one in tiles)


def test_a_face_on_its_side_is_found_where_images_may_be_turned(face_model: Path) -> None:
    """Only where the file does not say which side is up, and at the place where it lies."""
    image = photo("hopper")
    lying = np.ascontiguousarray(np.rot90(image))
    (found,) = detector(face_model, looks=Looks((640,)), candidate=0.5).detect([image])
    assert isinstance(found, list)
    wanted = found[0]
    height = lying.shape[0]
    there = Detection("face", wanted.y1, height - wanted.x2, wanted.y2, height - wanted.x1, wanted.score)
    one = detector(face_model, looks=Looks((640,), turned=True), candidate=0.5)
    plain, turned = one.detect([Picture(lying, oriented=True), Picture(lying, oriented=False)])
    assert isinstance(plain, list) and isinstance(turned, list)
    assert all(found.score < there.score for found in plain)
    assert any(_iou(found, there) > 0.8 and found.score == there.score for found in turned)


def _iou(one: Detection, other: Detection) -> float:
    return Box(one.x1, one.y1, one.x2, one.y2).iou(Box(other.x1, other.y1, other.x2, other.y2))


def test_reads_no_further_ahead_than_it_says(face_model: Path) -> None:
    read = 0

    def images() -> Iterator[Image]:
        nonlocal read
        for _ in range(60):
            read += 1
            yield photo("coffee")[:64, :64]

    answers = detector(face_model, image_size=64, threads=2, batch=3).detect(images())
    for done in range(1, 30):
        next(answers)
        assert read <= done + (2 + 1) * 3
    answers.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("blurline-detect")]


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_of_another_hash_is_not_opened(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    weights = tmp_path / "faces.pt"
    weights.write_bytes(pickle.dumps(Trap(sprung)))
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    with pytest.raises(BlurlineError) as caught:
        detector(weights, sha256="0" * 64)
    assert found in str(caught.value) and "0" * 64 in str(caught.value) and str(weights) in str(caught.value)
    assert not sprung.exists()
    with pytest.raises(BlurlineError, match="cannot be loaded"):
        detector(weights)
    assert sprung.exists()  # so the trap works: ultralytics does run what a trusted pickle says


def test_what_is_hashed_is_what_is_loaded(made_up: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file changes after the check and before ultralytics opens it."""
    from blurline.detectors import yolo

    weights = made_up(np.zeros((1, 5, 10), np.float32))

    def then_changed(path: Path) -> str:
        found = weights_digest(path)
        weights.write_bytes(b"something else")
        return found

    monkeypatch.setattr(yolo, "weights_digest", then_changed)
    assert list(detector(weights).detect([np.zeros((64, 64, 3), np.uint8)])) == [[]]


@pytest.mark.parametrize("name", ["absent.pt", "absent_openvino_model"])
def test_absent_weights(tmp_path: Path, name: str) -> None:
    with pytest.raises(BlurlineError, match="no such weights"):
        detector(tmp_path / name, sha256="0" * 64)


@pytest.mark.parametrize(
    ("metadata", "changes", "message"),
    [
        ({"task": "classify"}, {}, "classify"),
        ({"task": "obb"}, {}, "obb"),
        ({"task": ""}, {}, "metadata"),
        ({}, {"classes": ["face", "cat"]}, "no class cat: choose among face"),
        ({"names": {0: "face", 1: "plate"}}, {}, "2 classes"),
        ({"args": {"nms": True}}, {}, "nms=False"),
        ({"channels": 1}, {}, "channels"),
        ({"end2end": True}, {}, "end-to-end"),
        ({}, {"device": "cuda"}, "cuda"),
        ({}, {"device": "0"}, "device 0"),
        ({}, {"device": "mps"}, "mps"),
        ({}, {"precision": "f16"}, "precision f16"),
        ({}, {"precision": "bf16"}, "only OpenVINO has"),
    ],
)
def test_weights_that_do_not_fit_the_question(
    made_up: Maker, metadata: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    weights = made_up(np.zeros((1, 5, 10), np.float32), **metadata)
    with pytest.raises(BlurlineError, match=message):
        detector(weights, **changes)


@pytest.mark.parametrize("model", ["torch_model", "openvino_model"])
def test_half_is_refused_where_it_would_be_ignored(model: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(BlurlineError, match="precision f16"):
        detector(request.getfixturevalue(model), precision="f16")


def test_an_onnx_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "faces.onnx").write_bytes(b"not protobuf")
    with pytest.raises(BlurlineError, match=r"faces\.onnx: cannot"):
        detector(tmp_path / "faces.onnx")


def test_a_model_of_one_size(made_up: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = np.array([[[160], [80], [32], [16], [0.9]]], np.float32)
    weights = made_up(cells, imgsz=[192, 320], args={"dynamic": False})
    import onnx

    model = onnx.load(weights)
    for value, sizes in ((model.graph.input[0], (1, 3, 192, 320)), (model.graph.output[0], (1, 5, 1))):
        for dimension, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
            dimension.dim_value = size
    onnx.save(model, weights)
    with pytest.raises(BlurlineError, match=r"set image_sizes to \[320\]"):
        detector(weights, image_size=640)
    with pytest.raises(BlurlineError, match="full_size to false"):
        detector(weights, looks=Looks((320,), full_size=True))
    answers = list(detector(weights).detect([np.zeros((384, 640, 3), np.uint8), np.zeros((384, 100, 3), np.uint8)]))
    assert answers == [[Detection("face", 288, 144, 352, 176, 0.9)], []]  # the second's box is in the padding


def test_classes_are_chosen_by_name(torch_model: Path) -> None:
    (both,) = detector(torch_model).detect([photo("astronaut")])
    (plates,) = detector(torch_model, classes=["plate"]).detect([photo("astronaut")])
    assert isinstance(both, list) and isinstance(plates, list)
    assert {found.label for found in both} == {"face", "plate"}
    assert {found.label for found in plates} == {"plate"}
    assert {found for found in both if found.label == "plate"} & set(plates)


def test_a_crowd(made_up: Maker) -> None:
    """More boxes than ultralytics' max_det, from more candidates than its max_nms."""
    columns = np.arange(31_000) % 400
    rows = np.arange(31_000) // 400
    count = np.full(31_000, 6)
    cells = np.array([columns * 8 + 4, rows * 8 + 4, count, count, count / 10], np.float32)[None]
    (found,) = detector(made_up(cells), image_size=3200).detect([np.zeros((640, 3200, 3), np.uint8)])
    assert isinstance(found, list) and len(found) == 31_000


def test_an_end_to_end_model_that_is_full(made_up: Maker) -> None:
    rows = np.array([[[8 * i, 0, 8 * i + 4, 4, 0.9 - 0.01 * i, 0] for i in range(30)]], np.float32)
    image = np.zeros((320, 320, 3), np.uint8)
    (full,) = detector(made_up(rows, end2end=True)).detect([image])
    assert isinstance(full, Failure) and "30 boxes" in full.reason
    (room,) = detector(made_up(rows, end2end=True), candidate=0.7).detect([image])
    assert isinstance(room, list) and len(room) == 21


@pytest.mark.parametrize("threads", [1, 2])
def test_an_output_that_is_not_a_number(made_up: Maker, threads: int) -> None:
    weights = made_up(np.array([[[160], [80], [32], [16], [0.9]]], np.float32))
    black, white = np.zeros((320, 320, 3), np.uint8), np.full((320, 320, 3), 255, np.uint8)
    answers = list(detector(weights, threads=threads).detect([black, white, black]))
    assert [type(answer) for answer in answers] == [list, Failure, list]


def run_failing(monkeypatch: pytest.MonkeyPatch, fails: Any) -> list[int]:
    """Let prediction raise where `fails(image, attempt)`; also tells the attempts at each image."""
    run, attempts = Engine.run, itertools.count()
    calls: list[int] = []

    def sometimes(self: Engine, image: Image, image_size: int) -> Any:
        if fails(image, next(attempts)):
            calls.append(int(image[0, 0, 0]))
            raise RuntimeError(f"out of memory at {id(image)}")
        return run(self, image, image_size)

    monkeypatch.setattr(Engine, "run", sometimes)
    return calls


@pytest.mark.parametrize("threads", [1, 2])
def test_an_image_that_always_fails_is_tried_twice(
    face_model: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    images = [np.full((64, 64, 3), shade, np.uint8) for shade in range(10)]
    calls = run_failing(monkeypatch, lambda image, _: image[0, 0, 0] in (3, 4, 7))
    one = detector(face_model, image_size=64, threads=threads, batch=2)
    answers = list(one.detect(images))
    assert [isinstance(answer, Failure) for answer in answers] == [shade in (3, 4, 7) for shade in range(10)]
    assert sorted(calls) == [3, 3, 4, 4, 7, 7]
    assert {answer.reason for answer in answers if isinstance(answer, Failure)} == {
        "the detector failed on it twice (RuntimeError)"
    }


def test_an_image_that_fails_once_is_no_failure(face_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (wanted,) = detector(face_model).detect([photo("hopper")])
    run_failing(monkeypatch, lambda _, attempt: attempt == 1)  # 0 is the probe
    assert list(detector(face_model).detect([photo("hopper")])) == [wanted]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_that_breaks_is_an_error(face_model: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    one = detector(face_model, image_size=64, threads=threads)
    run_failing(monkeypatch, lambda _, __: True)
    with pytest.raises(BlurlineError, match=r"centerface\.onnx: cannot run on device cpu"):
        list(one.detect([np.zeros((64, 64, 3), np.uint8)] * 3))


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_image(made_up: Maker, image: Any) -> None:
    with pytest.raises(ValueError, match="uint8"):
        list(detector(made_up(np.zeros((1, 5, 10), np.float32))).detect([image]))


def test_the_sources_own_error_comes_through(made_up: Maker) -> None:
    def images() -> Iterator[Image]:
        yield np.zeros((4, 4, 3), np.uint8)
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        list(detector(made_up(np.zeros((1, 5, 10), np.float32)), threads=2).detect(images()))
