"""Annotation files of others: what is read, and the line that tells what cannot be."""

import json
from pathlib import Path

import pytest

from blurline.errors import BlurlineError
from blurline.formats import files, rows, wider, yolo

WIDER = """0--Parade/a.jpg
2
10 20 30 40 0 0 0 0 0 0
5 6 7 8 2 0 0 1 0 0
1--None/b.jpg
0
0 0 0 0 0 0 0 0 0 0
2--Flat/c.jpg
1
3 4 0 5 0 0 0 0 0 0
"""


def test_wider_face() -> None:
    found = wider.parse(WIDER, "gt.txt")
    assert found.images == ["0--Parade/a.jpg", "1--None/b.jpg", "2--Flat/c.jpg"]
    assert found.boxes.rows() == [
        ("0--Parade/a.jpg", "face", 10, 20, 40, 60, False),
        ("0--Parade/a.jpg", "face", 5, 6, 12, 14, True),  # marked invalid
        ("2--Flat/c.jpg", "face", 3, 4, 4, 9, True),  # without width
    ]


def test_wider_face_without_a_line_of_zeros() -> None:
    assert wider.parse("a.jpg\n0\nb.jpg\n1\n1 2 3 4\n", "gt.txt").images == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a.jpg\nmany\n", "gt.txt:2: want the number of faces in a.jpg, not 'many': mend it"),
        ("a.jpg\n", "gt.txt:2: want the number of faces in a.jpg, not '': mend it"),
        ("a.jpg\n2\n1 2 3 4\n", "gt.txt:2: 2 faces in a.jpg, but the file ends before: mend it"),
        ("a.jpg\n1\n1 2 3\n", "gt.txt:3: want x y w h and flags, not '1 2 3': mend it"),
        ("a.jpg\n1\n1 2 x 4\n", "gt.txt:3: want x y w h and flags, not '1 2 x 4': mend it"),
    ],
)
def test_bad_wider_face(text: str, line: str) -> None:
    with pytest.raises(BlurlineError) as error:
        wider.parse(text, "gt.txt")
    assert str(error.value) == line


def test_csv() -> None:
    found = rows.parse(
        "image_id,x1,y1,x2,y2,label,ignore\na.jpg,1.5,2,3,4.2,,\nb.jpg,,,,,,\na.jpg,0,0,9,9,hat,1\n", "f.csv"
    )
    assert found.images == ["a.jpg", "b.jpg"]
    assert found.boxes.rows() == [("a.jpg", "face", 1, 2, 3, 5, False), ("a.jpg", "hat", 0, 0, 9, 9, True)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("image_id,x1,y1,x2\n", "f.csv:1: column y2 is missing: the first line names the columns"),
        ("image_id,x1,y1,x2,y2\n,1,2,3,4\n", "f.csv:2: image_id is empty: say which image the box is in"),
        ("image_id,x1,y1,x2,y2\na,1,2,3,\n", "f.csv:2: want x1, y1, x2, y2 in pixels, not 1,2,3,: mend it"),
        ("image_id,x1,y1,x2,y2\na,5,2,3,4\n", "f.csv:2: ends before it begins: mend it"),
    ],
)
def test_bad_csv(text: str, line: str) -> None:
    with pytest.raises(BlurlineError) as error:
        rows.parse(text, "f.csv")
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("images/a/b.jpg", "labels/a/b.txt"),
        ("a/images/b.jpg", "a/labels/b.txt"),
        ("images/images/b.jpg", "images/labels/b.txt"),
        ("a/b.jpg", "a/b.txt"),
    ],
)
def test_where_yolos_labels_lie(path: str, wanted: str) -> None:
    assert yolo.label_file(path) == wanted


def test_yolo(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("1 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("names: [face, plate]\n")
    found = yolo.read(tmp_path, ["images/a.jpg", "images/b.jpg"], lambda _: (100, 50))
    assert found.images == ["images/a.jpg", "images/b.jpg"]
    assert found.boxes.rows() == [
        ("images/a.jpg", "plate", 40, 15, 60, 35, False),
        ("images/a.jpg", "face", 0, 0, 20, 10, False),
    ]
    (tmp_path / "labels/a.txt").write_text("face 1 2 3 4\n")
    with pytest.raises(BlurlineError, match=r"labels/a\.txt:1: want class, centre x"):
        yolo.read(tmp_path, ["images/a.jpg"], lambda _: (100, 50))
    (tmp_path / "labels/a.txt").write_text("0 50 20 10 10\n")
    with pytest.raises(BlurlineError, match=r"labels/a\.txt:1: want shares of the image's size"):
        yolo.read(tmp_path, ["images/a.jpg"], lambda _: (100, 50))
    with pytest.raises(BlurlineError, match=r"no YOLO label file such as labels/z\.txt"):
        yolo.read(tmp_path, ["images/z.jpg"], lambda _: (100, 50))


def test_crowds_of_coco_are_to_be_ignored(tmp_path: Path) -> None:
    data = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "none.jpg"}],
        "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1}, {"image_id": 1, "bbox": [1, 2, 3, 4]}],
    }
    (tmp_path / "x.json").write_text(json.dumps(data))
    found = files.read(tmp_path / "x.json")
    assert found.images == ["a.jpg", "none.jpg"] and found.boxes["ignore"].to_list() == [True, False]
