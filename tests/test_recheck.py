"""The second gate, with the real detector on the demo's photographs: what is left of faces in released images."""

import hashlib
import importlib.util
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from PIL import Image

from blurline import plan, tables, tars
from blurline.boxes import Box
from blurline.detectors import ensemble
from blurline.detectors.yolo import Detection, Failure
from blurline.errors import BlurlineError
from blurline.images.decode import Limits
from blurline.images.obfuscate import Target
from blurline.images.redact import redact
from blurline.params import Blur, Detect
from blurline.receipts import CLOSING, load
from blurline.steps import blur, checksum, detect, download, recheck, weights
from tests.workflow.project import BUILT_IN

SHARD = "one-00000"
PHOTOGRAPHS = {
    "bus": ("ultralytics", "assets/bus.jpg"),
    "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
}
FACES = {  # drawn by eye, in pixels of the image as displayed
    "bus": [Box(260, 415, 312, 480), Box(105, 410, 160, 475)],
    "hopper": [Box(165, 115, 365, 345)],
    "astronaut": [Box(175, 50, 278, 182)],
}


def photograph(name: str) -> bytes:
    package, path = PHOTOGRAPHS[name]
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return (Path(spec.submodule_search_locations[0]) / path).read_bytes()


def blurred(name: str, strength: float = 0.15) -> bytes:
    """A photograph as it is released."""
    targets = [Target(*box) for box in FACES[name]]
    return redact(photograph(name), targets, blur.style_of(Blur(strength=strength)), Limits(10**8, 10**8)).data


def regions(*boxes: Box) -> list[dict[str, Any]]:
    return [{"frame": -1, **box._asdict(), "method": "gaussian", "sigma": 9.0} for box in boxes]


def released(image_id: str, data: bytes, *boxes: Box) -> tuple[dict[str, Any], bytes]:
    """A row of the blurred table, with blurred regions where the boxes are, and the bytes to release."""
    row = {
        "image_id": image_id,
        "member": f"{image_id}.img",
        "action": "blurred" if boxes else "unchanged",
        "reason": "",
        "sha256_release": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "regions": regions(*boxes),
    }
    return row, data


def left_out(image_id: str, action: str) -> tuple[dict[str, Any], None]:
    return dict.fromkeys(tables.BLURRED) | {"image_id": image_id, "action": action, "regions": []}, None


Image_ = tuple[dict[str, Any], bytes | None]
Gate = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data/sources").mkdir(parents=True)
    (tmp_path / "data/review").mkdir()
    (tmp_path / "data/sources/one.csv").write_text("image_id,url\na.jpg,x/a.jpg\n")
    configure(tmp_path)
    weights.run(plan.load(tmp_path).jobs["weights", CLOSING])
    return tmp_path


def configure(project: Path, enabled: bool = True, **settings: Any) -> None:
    own = {name.removeprefix("detect."): value for name, value in BUILT_IN.items()}
    params = {
        "dataset": {"name": "t"},
        "sources": ["one"],
        "detect": {**own, "preset": "fast", "image_sizes": [640], "confidence": 0.3, **settings},
        "recheck": {"enabled": enabled},
    }
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def prepare(project: Path, images: Sequence[Image_]) -> None:
    """A blurred shard with these rows."""
    with (
        plan.load(project).jobs["blur", SHARD].output() as output,
        tars.Writer(output.path(f"{SHARD}.tar")) as tar,
    ):
        for row, data in images:
            if data is not None:
                tar.add(row["member"], data)
        tables.write(output.path(f"{SHARD}.parquet"), [row for row, _ in images], tables.BLURRED)


@pytest.fixture
def gate(project: Path) -> Gate:
    """Run the step over these images; the rows of its table by image_id, whose receipt has counted them."""

    def run(*images: Image_) -> dict[str, dict[str, Any]]:
        prepare(project, images)
        job = plan.load(project).jobs["recheck", SHARD]
        recheck.run(job)
        rows = tables.read(project / f"data/recheck/{SHARD}.parquet", tables.RECHECK).to_dicts()
        assert [(row["image_id"], row["sha256_release"]) for row in rows] == [
            (row["image_id"], row["sha256_release"]) for row, _ in images
        ]
        counts = load(project / plan.load(project).receipt("recheck", SHARD))[0].counts
        assert counts == {
            **{status: sum(row["status"] == status for row in rows) for status in ("ok", "skipped", "error")},
            "found": sum(len(row["found"]) for row in rows),
            "elsewhere": sum(row["elsewhere"] or 0 for row in rows),
        }
        return {row["image_id"]: row for row in rows}

    return run


def test_faces_left_in_a_region_are_found_and_blurred_ones_are_not(gate: Gate) -> None:
    (face,) = FACES["astronaut"]
    far = Box(0, 400, 60, 460)
    rows = gate(
        released("left", photograph("astronaut"), far, face),
        released("gone", blurred("hopper"), *FACES["hopper"]),
        released("things", photograph("chelsea")),
    )
    assert {name: row["status"] for name, row in rows.items()} == {"left": "ok", "gone": "ok", "things": "skipped"}
    ((found,), elsewhere) = rows["left"]["found"], rows["left"]["elsewhere"]
    assert (found["region"], found["label"], found["detector"], elsewhere) == (1, "face", "centerface", 0)
    assert found["score"] > 0.8
    assert Box(*(found[side] for side in ("x1", "y1", "x2", "y2"))).iou(face) > 0.6
    assert (rows["gone"]["found"], rows["gone"]["elsewhere"]) == ([], 0)
    assert (rows["things"]["reason"], rows["things"]["elsewhere"]) == ("nothing is blurred", None)


def test_a_weaker_blur_leaves_more_of_the_same_faces(gate: Gate) -> None:
    """That is what the figures are for: each blurred head that still looks like one has its region and its score."""
    one, other = FACES["bus"]
    rows = gate(
        released("clear", photograph("bus"), one, other),
        released("weak", blurred("bus", 0.05), one, other),
        released("strong", blurred("bus", 0.3), one, other),
    )
    best = {
        name: [max((f["score"] for f in row["found"] if f["region"] == at), default=0) for at in (0, 1)]
        for name, row in rows.items()
    }
    assert min(best["clear"]) > 0.7
    for at in (0, 1):
        assert best["clear"][at] > best["weak"][at] > best["strong"][at]


def test_a_face_that_nobody_blurred_is_counted_elsewhere(gate: Gate) -> None:
    row = gate(released("bus", photograph("bus"), FACES["bus"][0]))["bus"]
    assert ([found["region"] for found in row["found"]], row["elsewhere"]) == ([0], 1)


def test_regions_are_where_the_image_is_displayed(gate: Gate) -> None:
    """A file that is turned by its EXIF orientation: boxes and regions are those of the upright picture."""
    with Image.open(io.BytesIO(photograph("astronaut"))) as opened:
        turned = opened.convert("RGB").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    turned.save(file, "JPEG", quality=95, exif=exif)
    row = gate(released("turned", file.getvalue(), *FACES["astronaut"]))["turned"]
    assert (len(row["found"]), row["elsewhere"]) == (1, 0)


def test_it_looks_as_detect_does(project: Path, gate: Gate) -> None:
    """On the same bytes it finds the very boxes that are blurred from `detect.confidence` on."""
    names = list(PHOTOGRAPHS)
    rows = [f"{name},package://{package}/{path}\n" for name, (package, path) in PHOTOGRAPHS.items()]
    (project / "data/sources/one.csv").write_text("image_id,url\n" + "".join(rows))
    configure(project, image_sizes=[320, 640], flips=[320], confidence=0.5)
    weights.run(plan.load(project).jobs["weights", CLOSING])
    jobs = plan.load(project).jobs
    download.run(jobs["download", SHARD])
    detect.run(jobs["detect", SHARD])
    detected = tables.read(project / f"data/detections/{SHARD}.parquet", tables.DETECTIONS)
    whole = Box(0, 0, 10_000, 10_000)
    again = gate(*(released(name, photograph(name), whole) for name in names))

    def boxes(faces: list[dict[str, Any]]) -> list[Any]:
        kept = ("frame", "x1", "y1", "x2", "y2", "score", "label", "detector")
        return [[face[name] for name in kept] for face in faces if round(face["score"], 3) >= 0.5]

    for row in detected.to_dicts():
        assert boxes(again[row["image_id"]]["found"]) == boxes(row["faces"])
    assert sum(len(row["found"]) for row in again.values()) == 4
    assert sum(len(faces) for faces in detected["faces"]) > 4


def test_an_image_that_does_not_decode_is_an_error_and_the_run_goes_on(gate: Gate) -> None:
    face, moving = FACES["astronaut"][0], io.BytesIO()
    with Image.open(io.BytesIO(photograph("chelsea"))) as one:
        one.save(moving, "GIF", save_all=True, append_images=[one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    cut = photograph("hopper")
    rows = gate(
        released("text", b"no image", face),
        left_out("out", "withheld"),
        released("cut", cut[: len(cut) // 2], face),
        released("moving", moving.getvalue(), face),
        released("left", photograph("astronaut"), face),
        left_out("gone", "failed"),
    )
    assert {name: (row["status"], row["reason"], len(row["found"])) for name, row in rows.items()} == {
        "text": ("error", "not an image", 0),
        "out": ("skipped", "withheld", 0),
        "cut": ("error", "truncated or corrupt", 0),
        "moving": ("ok", "", 0),
        "left": ("ok", "", 1),
        "gone": ("skipped", "failed", 0),
    }


def test_every_frame_is_looked_at(gate: Gate) -> None:
    """The face is left in both frames, mirrored in the second, where no region is."""
    face, moving = FACES["astronaut"][0], io.BytesIO()
    with Image.open(io.BytesIO(photograph("astronaut"))) as opened:
        one = opened.convert("RGB")
    one.save(moving, "PNG", save_all=True, append_images=[one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    row = gate(released("moving", moving.getvalue(), face))["moving"]
    assert (row["status"], [found["frame"] for found in row["found"]], row["elsewhere"]) == ("ok", [0], 1)


def test_an_image_with_a_frame_that_fails_is_an_error() -> None:
    row: dict[str, Any] = {"status": "skipped", "reason": "not looked at", "found": [], "elsewhere": None}
    good = {"status": "ok", "reason": "", "found": [{"region": 0}], "elsewhere": 1}
    recheck.add(row, good)
    recheck.add(row, good)
    assert (row["status"], len(row["found"]), row["elsewhere"]) == ("ok", 2, 2)
    recheck.add(row, {"status": "error", "reason": "why"})
    recheck.add(row, good)
    assert row == {"status": "error", "reason": "why", "found": [], "elsewhere": None}


def test_what_nobody_looked_at_is_never_called_checked(
    project: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing blurred, or switched off: no detector is loaded."""

    def refuse(*_: object) -> None:
        raise AssertionError("a detector is loaded")

    monkeypatch.setattr(ensemble, "load", refuse)
    left = released("left", photograph("astronaut"), *FACES["astronaut"])
    things = released("things", photograph("chelsea"))
    assert gate(things, left_out("out", "excluded"))["things"]["status"] == "skipped"
    with pytest.raises(AssertionError, match="a detector is loaded"):
        gate(left)
    configure(project, enabled=False)
    row = gate(left, things)["left"]
    assert (row["status"], row["reason"], row["elsewhere"]) == ("skipped", "recheck.enabled is false", None)


def test_other_bytes_than_those_released_stop_the_run(project: Path, gate: Gate) -> None:
    row, data = released("left", photograph("astronaut"), *FACES["astronaut"])
    for wrong, complaint in (
        ([(row, data + b"x")], r"one-00000.tar: left.img: not the bytes of its table: run `blurline repair`"),
        ([(row, None)], r"one-00000.tar: left.img is missing: run `blurline repair`"),
    ):
        with pytest.raises(BlurlineError, match=complaint):
            gate(*wrong)
    assert not (project / "data/recheck").exists()


def test_a_detector_that_stops_early_stops_the_run(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "look", lambda detectors, pictures: iter(list(pictures)[:0]))
    with pytest.raises(BlurlineError, match="one-00000: the detector answered 1 images too few: run again"):
        gate(released("left", photograph("astronaut"), *FACES["astronaut"]))


def face(x1: int, y1: int, x2: int, y2: int, score: float = 0.9) -> Detection:
    return Detection("face", x1, y1, x2, y2, score)


SETTINGS = Detect(
    weights="centerface",
    sha256="a" * 64,
    also=[{"weights": "plates.pt", "sha256": "b" * 64}],  # type: ignore[list-item]
    confidence=0.5,
    confidence_of={"plates": 0.8},
)


def test_boxes_count_from_the_confidence_of_their_detector_on() -> None:
    here = regions(Box(0, 0, 100, 100))
    scores = (0.9, 0.8, 0.799, 0.5, 0.499)
    found = {name: [face(10, 10, 50, 50, score) for score in scores] for name in ("centerface", "plates")}
    outcome = recheck.outcome(here, found, SETTINGS)
    assert [(one["detector"], one["score"]) for one in outcome["found"]] == [
        *(("centerface", score) for score in scores[:4]),
        *(("plates", score) for score in scores[:2]),
    ]
    assert recheck.outcome([], found, SETTINGS)["elsewhere"] == 6


def test_what_one_detector_cannot_judge_is_an_error() -> None:
    here = regions(Box(0, 0, 100, 100))
    outcome = recheck.outcome(here, {"centerface": [face(1, 1, 9, 9)], "plates": Failure("it broke")}, SETTINGS)
    assert outcome == {"status": "error", "reason": "it broke", "found": [], "elsewhere": None}


@pytest.mark.parametrize(
    ("box", "region"),
    [
        (Box(10, 10, 20, 20), 0),
        (Box(450, 400, 550, 560), None),  # centre on the right edge, which is exclusive; a third of it inside
        (Box(449, 400, 550, 560), 2),  # centre half a pixel inside
        (Box(50, 0, 150, 50), 0),  # half of it
        (Box(51, 0, 151, 50), None),
        (Box(60, 60, 220, 130), 1),  # centre in the other
        (Box(90, 90, 130, 130), 1),  # touches both, shares more with the second
        (Box(300, 300, 310, 310), None),
        (Box(420, 420, 430, 430), 2),  # twice blurred: the first of equals
    ],
)
def test_in_which_region_a_box_lies(box: Box, region: int | None) -> None:
    some = (Box(0, 0, 100, 100), Box(100, 60, 200, 200), Box(400, 400, 500, 500), Box(400, 400, 500, 500))
    assert recheck.region_of(box, regions(*some)) == region


def test_a_region_is_of_its_frame_or_of_all() -> None:
    one = regions(Box(0, 0, 100, 100))
    one[0]["frame"] = 2
    assert [recheck.region_of(Box(10, 10, 90, 90), one, frame) for frame in (2, 1, -1)] == [0, None, None]


def test_the_release_counts_what_was_found() -> None:
    def one(region: int) -> dict[str, Any]:
        return dict.fromkeys(tables.FOUND) | {"region": region}

    images: list[tuple[str, int, str, list[int], int | None]] = [  # image, regions, status, regions of boxes, elsewhere
        ("a", 3, "ok", [0, 2, 2], 1),
        ("b", 2, "ok", [], 2),
        ("c", 4, "error", [], None),
        ("d", 1, "skipped", [], None),
        ("e", 0, "skipped", [], None),
    ]
    manifest = pl.DataFrame(
        [
            dict.fromkeys(tables.BLURRED)
            | {"image_id": name, "sha256_release": name, "regions": regions(*[Box(0, 0, 1, 1)] * number)}
            for name, number, *_ in images
        ],
        dict(tables.BLURRED),
    )
    rows = [
        {"image_id": name, "sha256_release": name, "status": status, "found": [one(at) for at in found], "elsewhere": n}
        for name, _, status, found, n in images
    ]
    table = pl.DataFrame([dict.fromkeys(tables.RECHECK) | row for row in rows], dict(tables.RECHECK))
    assert checksum.count_recheck(manifest, table) == {
        "images_checked": 2,
        "images_not_checked": 2,
        "regions_checked": 5,
        "regions_with_faces": 2,
        "faces_in_regions": 3,
        "faces_elsewhere": 3,
    }
    assert set(checksum.count_recheck(manifest[:0], table[:0]).values()) == {0}
    for other in (table[1:], table.reverse(), table.with_columns(sha256_release=pl.lit("x"))):
        with pytest.raises(ValueError, match="not of the released images"):
            checksum.count_recheck(manifest, other)
