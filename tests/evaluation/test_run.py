"""`blurline evaluate`: real photographs with annotations in every form, the real detector, the files that it leaves."""

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from blurline import cli
from blurline.errors import BlurlineError
from blurline.evaluation import annotated
from blurline.evaluation.annotated import Choice
from blurline.evaluation.run import check, judge
from blurline.evaluation.scores import evaluate
from blurline.images.decode import Limits
from blurline.images.obfuscate import BlurStyle
from blurline.steps.merge import Rules
from tests.detectors.conftest import photo

LIMITS = Limits(10**8, 10**8)
# Faces as a person sees them, from the hair line to the chin.
FACES: dict[str, list[tuple[int, ...]]] = {
    "hopper": [(180, 115, 345, 325)],
    "astronaut": [(178, 62, 272, 190)],
    "coffee": [],
}
CSV = "image_id,x1,y1,x2,y2\n" + "".join(
    f"{name}.png,{','.join(map(str, box)) or ',,,'}\n" for name, boxes in FACES.items() for box in boxes or [()]
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs in a folder, without annotations."""
    made = tmp_path / "photographs"
    made.mkdir()
    for name in FACES:
        Image.fromarray(photo(name)).save(made / f"{name}.png")
    return made


@pytest.fixture
def project(tmp_path: Path, top: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copyfile(top / "params.yaml", tmp_path / "params.yaml")
    text = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(
        text.replace("  confidence: null", "  confidence: 0.5").replace("preset: balanced", "preset: fast")
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_command_on_an_annotated_folder(project: Path, folder: Path) -> None:
    (folder / "faces.csv").write_text(CSV)
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "faces.csv").write_text(CSV + "broken.png,1,2,30,40\nabsent.png,1,2,30,40\n")
    result = CliRunner().invoke(cli.app, ["evaluate", str(folder)])
    assert result.exit_code == 0, result.output
    assert "3 images, 2 faces. 1 annotated images are not in the folder." in result.output
    assert "1 could not be looked at, such as broken.png (not an image)" in result.output
    figures = json.loads((project / "data/evaluation/metrics.json").read_text())
    assert figures["images"] == 3 and figures["faces"]["from_40"] == 2
    assert figures["coverage"]["all"] == figures["recall"]["all"] == figures["candidate_coverage"]["from_12"] == 1
    assert figures["coverage"]["under_8"] is None
    assert figures["false_boxes_per_image"] == 0 and figures["area_outside"] < 0.6
    curve = list(csv.DictReader((project / "data/evaluation/curve.csv").open()))
    assert len(curve) == 100 and curve[0]["threshold"] == "1.0000" and curve[-1]["coverage_all"] == "1.0000"
    assert [float(row["coverage_all"]) for row in curve] == sorted(float(row["coverage_all"]) for row in curve)
    page = (project / "data/evaluation/README.md").read_text()
    assert "| 40 and more | 2 | 100.0% | 100.0% | 100.0% |" in page and "![curves](curves.png)" in page
    assert Image.open(project / "data/evaluation/curves.png").size[0] > 1000
    first = (project / "data/evaluation/curves.png").read_bytes()
    assert CliRunner().invoke(cli.app, ["evaluate", str(folder)]).exit_code == 0
    assert (project / "data/evaluation/curves.png").read_bytes() == first
    for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=project, check=True)
    shown = subprocess.run(
        ["dvc", "metrics", "show", "--json"], cwd=project, check=True, capture_output=True, text=True
    )
    assert json.loads(shown.stdout)[""]["data"]["data/evaluation/metrics.json"]["data"]["faces"]["from_40"] == 2
    plots = subprocess.run(["dvc", "plots", "show", "--json"], cwd=project, check=True, capture_output=True, text=True)
    assert "data/evaluation/curve.csv" in plots.stdout and "errors" not in json.loads(plots.stdout)


def test_faces_that_nobody_blurs_are_not_covered(project: Path, folder: Path) -> None:
    """Annotations in the wrong places: nothing is covered, and what is found is false."""
    (folder / "faces.csv").write_text("image_id,x1,y1,x2,y2\nhopper.png,0,0,50,50\nastronaut.png,0,0,30,30\n")
    assert CliRunner().invoke(cli.app, ["evaluate", str(folder)]).exit_code == 0
    figures = json.loads((project / "data/evaluation/metrics.json").read_text())
    assert figures["coverage"]["all"] == figures["recall"]["all"] == figures["precision"] == 0
    assert figures["false_boxes_per_image"] >= 1 and figures["area_outside"] > 1


def coco(folder: Path) -> Path:
    names = list(FACES)
    boxes = [(names.index(name), box) for name in names for box in FACES[name]]
    data: dict[str, Any] = {
        "images": [{"id": at, "file_name": f"{name}.png"} for at, name in enumerate(names)],
        "categories": [{"id": 1, "name": "face"}],
        "annotations": [
            {"image_id": at, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]} for at, (x1, y1, x2, y2) in boxes
        ],
    }
    (folder / "x.json").write_text(json.dumps(data))
    return folder / "x.json"


def wider(folder: Path) -> Path:
    lines = []
    for name, boxes in FACES.items():
        lines += [f"{name}.png", str(len(boxes))]
        lines += [f"{x1} {y1} {x2 - x1} {y2 - y1} 0 0 0 0 0 0" for x1, y1, x2, y2 in boxes] or ["0 0 0 0 0 0 0 0 0 0"]
    (folder / "faces_gt.txt").write_text("\n".join(lines) + "\n")
    return folder / "faces_gt.txt"


def yolo(folder: Path) -> Path:
    for name, boxes in FACES.items():
        height, width = photo(name).shape[:2]
        shares = [
            (0, (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            for x1, y1, x2, y2 in boxes
        ]
        (folder / f"{name}.txt").write_text("".join(" ".join(map(str, share)) + "\n" for share in shares))
    return folder


def as_csv(folder: Path) -> Path:
    (folder / "faces.csv").write_text(CSV)
    return folder / "faces.csv"


@pytest.mark.parametrize("write", [coco, wider, yolo, as_csv])
def test_every_format_says_the_same(folder: Path, write: Any) -> None:
    where = write(folder)
    assert annotated.find(folder) == where
    found, absent = annotated.read(folder, None, Choice(), LIMITS)
    assert absent == 0 and sorted(found) == sorted(f"{name}.png" for name in FACES)
    for name, boxes in FACES.items():
        assert np.abs(found[f"{name}.png"].faces - np.array(boxes).reshape(-1, 4)).max(initial=0) <= 1


def test_a_part_is_chosen_within_each_folder(tmp_path: Path) -> None:
    lines = []
    for event in ("a", "b"):
        (tmp_path / event).mkdir()
        for at in range(7):
            Image.new("RGB", (8, 8)).save(tmp_path / event / f"{at}.png")
            lines.append(f"data/{event}/{at}.png,0,0,5,5")
    (tmp_path / "x.csv").write_text("image_id,x1,y1,x2,y2\n" + "\n".join(reversed(lines)))
    found, _ = annotated.read(tmp_path, None, Choice(every=3, first=1), LIMITS)
    assert list(found) == ["a/1.png", "a/4.png", "b/1.png", "b/4.png"]
    found, _ = annotated.read(tmp_path, None, Choice(only=["b/*"], every=3), LIMITS)
    assert list(found) == ["b/0.png", "b/3.png", "b/6.png"]


def test_labels_of_yolo_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    for at in range(6):
        for folder, write in (("images", None), ("labels", "0 0.5 0.5 0.5 0.5\n")):
            (tmp_path / folder).mkdir(exist_ok=True)
            if write:
                (tmp_path / folder / f"{at}.txt").write_text(write)
            else:
                Image.new("RGB", (8, 8)).save(tmp_path / folder / f"{at}.png")
    choice = Choice(every=2, first=1)
    found, _ = annotated.read(tmp_path / "images", tmp_path / "labels", choice, LIMITS)
    assert list(found) == ["1.png", "3.png", "5.png"] and found["1.png"].faces.tolist() == [[2, 2, 6, 6]]
    found, _ = annotated.read(tmp_path, None, choice, LIMITS)
    assert list(found) == ["images/1.png", "images/3.png", "images/5.png"]
    with pytest.raises(BlurlineError, match="--category plate: no label file"):
        annotated.read(tmp_path, None, Choice(categories=["plate"]), LIMITS)


def test_figures_follow_what_merge_blurs() -> None:
    """A detector with a confidence of its own is judged by that; annotations end where the image does."""
    rules = Rules(0.7, 0.5, 2, 0.1, {"plates": 0.2})
    faces = [
        {
            "box_id": name,
            "frame": -1,
            "label": "face",
            "detector": name,
            "score": 0.3,
            "x1": x,
            "y1": 0,
            "x2": x + 30,
            "y2": 30,
        }
        for name, x in (("plates", 0), ("centerface", 60))
    ]
    row = {"sha256": "", "status": "ok", "reason": "", "width": 100, "height": 40, "faces": faces}
    drawn = annotated.Drawn(np.array([(-10, -10, 30, 30)]), np.zeros((0, 4), np.int64))
    found = judge(row, drawn, rules, BlurStyle("gaussian", 0.2, 0.1, 0.1))
    assert found.faces.tolist() == [[0, 0, 30, 30]]
    assert dict(zip(found.boxes[:, 0].tolist(), (found.scores >= 0.7).tolist(), strict=True)) == {0: True, 60: False}
    assert evaluate([found]).curve.coverage["all"][evaluate([found]).curve.at(0.7)] == 1


def test_what_cannot_be_evaluated_is_said(tmp_path: Path, folder: Path) -> None:
    def refused(images: Path, annotations: Path | None, choice: Choice) -> str:
        with pytest.raises(BlurlineError) as error:
            annotated.read(images, annotations, choice, LIMITS)
        return str(error.value)

    assert (
        refused(tmp_path / "none", None, Choice()) == f"{tmp_path}/none: no such folder: name one with annotated images"
    )
    assert refused(folder, None, Choice()) == (
        f"{folder}: no YOLO label file such as astronaut.txt, and no other annotations (.json, .csv, *_gt.txt) are "
        "there or named"
    )
    (folder / "a.csv").write_text("image_id,x1,y1,x2,y2\nelsewhere/b.jpg,1,2,3,4\n")
    assert refused(folder, None, Choice()) == (
        f"{folder}/a.csv: none of its 1 images is in {folder}, such as elsewhere/b.jpg: "
        "name the folder that its paths start from"
    )
    (folder / "b.csv").write_text(CSV)
    assert refused(folder, None, Choice()) == f"{folder}: a.csv and b.csv: which one? Name it"
    assert refused(folder, folder / "b.csv", Choice(only=["x/*"])) == (
        f"{folder}: no annotated image is chosen: look at --only, --every and --first"
    )
    assert refused(folder, folder / "b.csv", Choice(every=2, first=2)).startswith("--first 2: want 0 to 1")
    assert refused(folder, folder / "b.csv", Choice(categories=["face"])).startswith(f"{folder}/b.csv: --category face")


def test_annotations_of_a_copy_of_another_size_are_refused() -> None:
    inside, beyond = np.array([[10, 10, 20, 20], [-5, -5, 3, 3]]), np.array([[10, 10, 20, 20], [640, 10, 700, 90]])
    check("a.jpg", inside, 500, 375)
    with pytest.raises(BlurlineError, match=r"^a\.jpg: the annotated box 640, 10, 700, 90 lies outside"):
        check("a.jpg", beyond, 500, 375)
