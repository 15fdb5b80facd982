"""blurline import-annotations: Princeton's and COCO's boxes find their images, and no box is lost in silence."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from blurline import plan
from blurline.errors import BlurlineError
from blurline.importing.annotations import run
from blurline.importing.matching import match

PARAMS = f"""\
dataset: {{name: test}}
sources: [one, two]
shard_size: 2
detect: {{weights: centerface, sha256: {"a" * 64}}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "data/sources").mkdir(parents=True)
    (root / "data/review").mkdir()
    (root / "params.yaml").write_text(PARAMS)
    (root / "data/sources/one.csv").write_text("image_id,url\nn01/a.JPEG,x\nn01/b.JPEG,x\nn02/a.JPEG,x\nn02/c.JPEG,x\n")
    (root / "data/sources/two.csv").write_text("image_id,url\nval/d.jpg,x\nother/n02/c.JPEG,x\n")
    return root


def written(folder: Path, data: Any, name: str = "Face Boxes.json") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def princeton(boxes: dict[str, list[tuple[float, float, float, float]]]) -> list[dict[str, Any]]:
    corners = ("x0", "y0", "x1", "y1")
    return [
        {"url": path, "bboxes": [dict(zip(corners, box, strict=True)) for box in of_image]}
        for path, of_image in boxes.items()
    ]


def coco(categories: dict[int, str], boxes: list[tuple[str, int, list[float]]]) -> dict[str, Any]:
    """Boxes as (file name, category, [x, y, w, h]); each image once."""
    names = sorted({name for name, _, _ in boxes})
    return {
        "info": {},
        "images": [{"id": n, "file_name": name, "width": 10, "height": 10} for n, name in enumerate(names)],
        "annotations": [
            {"id": n, "image_id": names.index(name), "category_id": kind, "bbox": box, "iscrowd": 0}
            for n, (name, kind, box) in enumerate(boxes)
        ],
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
    }


def imported(project: Path, *files: Path, **options: Any) -> str:
    options = {"name": None, "source": None, "categories": [], "skip_unknown": False} | options
    return run(project, files, progress=lambda done, of: None, **options)


def refused(project: Path, *files: Path, **options: Any) -> str:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(BlurlineError) as caught:
        imported(project, *files, **options)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def table(project: Path, name: str) -> list[tuple[Any, ...]]:
    return pl.read_csv(project / f"data/annotations/{name}.csv").rows()


def test_princetons_file(project: Path, tmp_path: Path) -> None:
    data = princeton(
        {
            "train/n01/a.JPEG": [(0.5, 1, 10.01, 20), (3, 3, 3, 3)],
            "train/n02/a.JPEG": [(-2.5, 0, 4, 9)],
            "train/n02/e.JPEG": [],
        }
    )
    message = imported(project, written(tmp_path, data))
    assert message.splitlines() == [
        "face-boxes: 3 boxes in 2 images added to data/annotations/face-boxes.csv",
        "  1 image without a box to import",
        "  next: `uv run snakemake --cores all` blurs them, unless reviewers reject them",
    ]
    assert (project / "data/annotations/face-boxes.csv").read_text() == (
        "image_id,label,x1,y1,x2,y2\nn01/a.JPEG,face,0,1,11,20\nn01/a.JPEG,face,3,3,4,4\nn02/a.JPEG,face,-3,0,4,9\n"
    )
    jobs = plan.load(project).jobs
    rows = {
        shard: job.parts["rows"].get("annotations", {}).get("rows")
        for (s, shard), job in jobs.items()
        if s == "merge" and "rows" in job.parts
    }
    assert rows == {"one-00000": 2, "one-00001": 1, "two-00000": None}


def test_cocos_file(project: Path, tmp_path: Path) -> None:
    data = coco(
        {1: "person", 7: "head, seen from behind", 9: "dog"},
        [("d.jpg", 7, [0.2, 1.9, 3.5, 4.2]), ("d.jpg", 9, [0, 0, 5, 5]), ("a/n01/b.JPEG", 1, [1, 2, 3, 0])],
    )
    path = written(tmp_path, data, "instances.json")
    assert refused(project, path) == (
        f"{path}: which categories are to be blurred? Name them with --category: there are dog, head, seen from behind, "
        "person"
    )
    assert refused(project, path, categories=["persons"]) == (
        f"{path}: --category persons: there is no such category: there are dog, head, seen from behind, person"
    )
    imported(project, path, categories=["person", "head, seen from behind"], name="coco")
    assert table(project, "coco") == [
        ("val/d.jpg", "head, seen from behind", 0, 1, 4, 7),
        ("n01/b.JPEG", "person", 1, 2, 4, 3),
    ]
    one = written(tmp_path, coco({3: "face"}, [("d.jpg", 3, [1, 1, 2, 2])]))
    imported(project, one)
    assert table(project, "face-boxes") == [("val/d.jpg", "face", 1, 1, 3, 3)]
    del (bare := coco({}, [("d.jpg", 3, [1, 1, 2, 2])]))["categories"]
    imported(project, written(tmp_path, bare, "bare.json"))
    assert table(project, "bare") == [("val/d.jpg", "face", 1, 1, 3, 3)]
    plan.load(project)


def test_again_adds_what_is_new_and_takes_nothing_away(project: Path, tmp_path: Path) -> None:
    imported(project, written(tmp_path, coco({1: "face"}, [("d.jpg", 1, [1, 1, 2, 2])])), name="x")
    more = written(tmp_path, coco({1: "face"}, [("n01/a.JPEG", 1, [5, 5, 2, 2]), ("n01/a.JPEG", 1, [5, 5, 2, 2])]))
    assert "1 box in 1 image added to data/annotations/x.csv\n" in imported(project, more, name="x")
    path = project / "data/annotations/x.csv"
    assert table(project, "x") == [("val/d.jpg", "face", 1, 1, 3, 3), ("n01/a.JPEG", "face", 5, 5, 7, 7)]
    before = path.read_bytes()
    assert "0 boxes in 0 images added to data/annotations/x.csv; 1 was there already" in imported(
        project, more, name="x"
    )
    assert path.read_bytes() == before
    path.write_text("frame,image_id,x1,y1,x2,y2\n3,val/d.jpg,1,1,3,3\n")
    imported(project, more, name="x")
    assert table(project, "x") == [("val/d.jpg", 3, "face", 1, 1, 3, 3), ("n01/a.JPEG", -1, "face", 5, 5, 7, 7)]


def test_images_that_are_nowhere_are_named(project: Path, tmp_path: Path) -> None:
    names = ["d.jpg", *(f"no/{n}.jpg" for n in "1123456")]
    data = coco({1: "face"}, [(name, 1, [1, 1, 2, 2]) for name in names])
    path = written(tmp_path, data, "x.json")
    assert refused(project, path) == (
        "6 images with boxes in no manifest of one, two (no/1.jpg, no/2.jpg, no/3.jpg …): import the images first, or "
        "leave these out with --skip-unknown; nothing was imported"
    )
    assert "  left out, as in no manifest: 7 boxes in 6 images: no/1.jpg, no/2.jpg, no/3.jpg …" in imported(
        project, path, skip_unknown=True
    )
    assert table(project, "x") == [("val/d.jpg", "face", 1, 1, 3, 3)]
    gone = written(tmp_path, coco({1: "face"}, [("no.jpg", 1, [1, 1, 2, 2])]), "y.json")
    assert "none of its images is in a manifest: look at the paths" in refused(project, gone, skip_unknown=True)


def test_doubtful_images_are_refused_and_a_source_may_settle_it(project: Path, tmp_path: Path) -> None:
    def boxes(*names: str) -> Path:
        return written(tmp_path, coco({1: "face"}, [(name, 1, [1, 1, 2, 2]) for name in names]))

    doubt = ", or shares it with another path: write image_ids into the annotation file, or narrow it with --source; nothing was imported"
    assert refused(project, boxes("c.JPEG")) == "'c.JPEG' may mean 'n02/c.JPEG' or 'other/n02/c.JPEG'" + doubt
    line = refused(project, boxes("a.JPEG"), skip_unknown=True)
    assert line == "'a.JPEG' may mean 'n01/a.JPEG' or 'n02/a.JPEG'" + doubt
    assert refused(project, boxes("a/val/d.jpg", "b/val/d.jpg")) == (
        "'a/val/d.jpg' (and 1 more path) may mean 'val/d.jpg'" + doubt
    )
    imported(project, boxes("c.JPEG"), source="two", name="x")
    assert table(project, "x") == [("other/n02/c.JPEG", "face", 1, 1, 3, 3)]
    imported(project, boxes("n02/c.JPEG"), name="exact")
    assert table(project, "exact") == [("n02/c.JPEG", "face", 1, 1, 3, 3)]


@pytest.mark.parametrize(
    ("path", "image_ids", "found"),
    [
        ("a/b.jpg", ["a/b.jpg", "x/a/b.jpg"], "a/b.jpg"),
        ("a/b.jpg", ["x/a/b.jpg"], "x/a/b.jpg"),
        ("a/b.jpg", ["y/x/a/b.jpg", "x/ba/b.jpg"], "y/x/a/b.jpg"),
        ("x/a/b.jpg", ["a/b.jpg"], "a/b.jpg"),
        ("x/a/b.jpg", ["b.jpg", "y.jpg"], "b.jpg"),
        ("x/a/b.jpg", ["a/b.jpg", "b.jpg"], ["a/b.jpg", "b.jpg"]),
        ("b.jpg", ["a/b.jpg", "c/d/b.jpg", "e/ab.jpg"], ["a/b.jpg", "c/d/b.jpg"]),
        ("b.jpg", ["ab.jpg", "b.jpg/a", "b.jpeg"], None),
        ("x/b.jpg", ["y/b.jpg"], None),
        (r".\a\\b.jpg", ["a/b.jpg"], "a/b.jpg"),
        ("/a/./b.jpg", ["a/b.jpg"], "a/b.jpg"),
        ("", ["a.jpg"], None),
        ("a.jpg", [], None),
    ],
)
def test_what_a_path_means(path: str, image_ids: list[str], found: object) -> None:
    matches = match(pl.Series([path, path]), pl.Series(image_ids, dtype=pl.String))
    assert matches.found.rows() == ([(path, found)] if isinstance(found, str) else [])
    assert matches.unknown.to_list() == ([path] if found is None else [])
    assert [sorted(ids) for _, ids in matches.ambiguous.rows()] == ([found] if isinstance(found, list) else [])


PRINCETON = 'want Princeton\'s list [{"url": …, "bboxes": [{"x0", "y0", "x1", "y1"}]}]'
COCO = "want COCO's object with images, annotations and categories"
FORMATS = f"{PRINCETON} or COCO's object with images, annotations and categories"
GOOD = coco({1: "face"}, [("d.jpg", 1, [1, 1, 2, 2])])


def spoiled(**more: Any) -> dict[str, Any]:
    return {**GOOD, "annotations": [GOOD["annotations"][0] | more]}


BAD: list[tuple[Any, str]] = [
    ("{", f"x.json: no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)): {FORMATS}"),
    ({}, f"x.json: not known as an annotation file: {FORMATS}"),
    ([], "x.json: no box in 0 images: nothing to import"),
    (princeton({"a": []}), "x.json: no box in 1 image: nothing to import"),
    ([{"bboxes": []}], f"x.json: [0]: url is missing: mend it; {PRINCETON}"),
    ([{"url": "a", "bboxes": [{"x0": 1}]}], f"x.json: [0].bboxes[0]: y0 is missing: mend it; {PRINCETON}"),
    ([7], f"x.json: [0]: url is missing: mend it; {PRINCETON}"),
    (princeton({"a": [(5, 5, 4, 6)]}), "x.json: [0].bboxes[0]: ends before it begins: mend it"),
    (princeton({"a": [(5, 5, float("nan"), 6)]}), "x.json: [0].bboxes[0]: NaN is no number of pixels: mend it"),
    (princeton({"a": [(5, 5, 1e12, 6)]}), "x.json: [0].bboxes[0]: 1000000000000.0 is no number of pixels: mend it"),
    (princeton({"a": [(True, 5, 6, 6)]}), f"x.json: [0].bboxes[0]: x0 cannot be true: mend it; {PRINCETON}"),
    (spoiled(bbox=[1, 2, 3]), "x.json: annotations[0].bbox: want [x, y, width, height], not [1, 2, 3]: mend it"),
    (spoiled(bbox=[1, 2, -3, 4]), "x.json: annotations[0].bbox: ends before it begins: mend it"),
    (spoiled(bbox=None), f"x.json: annotations[0]: bbox is missing: mend it; {COCO}"),
    (spoiled(bbox=[1, 2, 3, "4"]), 'x.json: annotations[0].bbox: "4" is no number of pixels: mend it'),
    (spoiled(image_id=9), "x.json: annotations[0]: image_id 9 is not the id of any: mend it"),
    (spoiled(category_id=9), "x.json: annotations[0]: category_id 9 is not the id of any: mend it"),
    ({**GOOD, "images": GOOD["images"] * 2}, "x.json: images[1]: id 0 stands twice: mend it"),
    (r'[{"url": "\ud800", "bboxes": [{"x0": 1, "y0": 1, "x1": 2, "y1": 2}]}]', "x.json: a name in it is no Unicode text: mend it"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "line"), BAD, ids=[line[:50] for _, line in BAD])
def test_bad_files(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Any, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, data, "x.json")
    assert refused(project, Path("x.json")) == line


def test_bad_calls(project: Path, tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    assert refused(project, file, name="A") == "--name A: want a-z, 0-9, - and _, beginning with a letter or digit"
    assert refused(project, file, file) == "several files make one set of annotations: name it with --name"
    odd = written(tmp_path, GOOD, "_.json")
    assert refused(project, odd) == f"{odd}: its name makes no name for the annotations: name them with --name"
    assert refused(project, file, source="three") == (
        "--source three: not listed under sources in params.yaml: import its images first"
    )
    gone = tmp_path / "gone.json"
    assert refused(project, gone) == f"{gone}: cannot be read (No such file or directory): name an annotation file"
    boxes = written(tmp_path, princeton({"a": []}), "p.json")
    assert refused(project, boxes, categories=["x"]) == (
        f"{boxes}: --category x: Princeton's files have no categories: leave it out"
    )


def test_the_command(project: Path, tmp_path: Path) -> None:
    files = [
        str(written(tmp_path, GOOD)),
        str(written(tmp_path, princeton({"n01/a.JPEG": [(1, 2, 3, 4)]}), "b.json")),
    ]
    blurline = [str(Path(sys.executable).parent / "blurline"), "import-annotations"]
    done = subprocess.run([*blurline, *files, "--name", "x"], cwd=project, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("x: 2 boxes in 2 images added to data/annotations/x.csv\n")
