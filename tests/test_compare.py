"""`blurline compare`: tolerant of the last digits, and of nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from blurline import environment, tables
from blurline.errors import BlurlineError
from blurline.receipts import Receipt
from blurline.release.compare import compare

FACE = {
    "box_id": "",
    "frame": -1,
    "label": "face",
    "detector": "d",
    "x1": 10,
    "y1": 10,
    "x2": 50,
    "y2": 60,
    "score": 0.8,
}


def write(
    folder: Path,
    faces: list[dict[str, Any]],
    action: str = "blurred",
    image_id: str = "a.jpg",
    recheck: str = "ok",
    found: tuple[dict[str, Any], ...] = (),
) -> Path:
    row = dict.fromkeys(tables.DETECTIONS) | {"image_id": image_id, "sha256": "s", "status": "ok", "faces": faces}
    (folder / "detections").mkdir(parents=True)
    (folder / "blurred").mkdir()
    tables.write(folder / "detections/one-00000.parquet", [row], tables.DETECTIONS)
    row = dict.fromkeys(tables.BLURRED) | {"image_id": image_id, "action": action, "regions": []}
    tables.write(folder / "blurred/one-00000.parquet", [row], tables.BLURRED)
    (folder / "recheck").mkdir()
    row = dict.fromkeys(tables.RECHECK) | {"image_id": image_id, "status": recheck, "found": list(found)}
    tables.write(folder / "recheck/one-00000.parquet", [row], tables.RECHECK)
    receipt = Receipt({"shard": "one-00000", "params": {"detect.candidate": 0.1}}, {}, {})
    (folder / "detections" / receipt.name).write_text(receipt.text())
    return folder


CASES: list[tuple[str, dict[str, Any], int]] = [
    ("equal", {}, 0),
    ("a pixel", {"faces": [FACE | {"x1": 11, "y2": 59}]}, 0),
    ("a hundredth", {"faces": [FACE | {"score": 0.81}]}, 0),
    ("two pixels", {"faces": [FACE | {"x1": 12}]}, 2),
    ("two hundredths", {"faces": [FACE | {"score": 0.82}]}, 2),
    ("another label", {"faces": [FACE | {"label": "plate"}]}, 2),
    ("a box more", {"faces": [FACE, FACE | {"x1": 60, "x2": 90}]}, 1),
    ("a box at the candidate threshold more", {"faces": [FACE, FACE | {"x1": 60, "x2": 90, "score": 0.105}]}, 0),
    ("a box less", {"faces": []}, 1),
    ("another outcome", {"action": "withheld"}, 1),
    ("not looked at again", {"recheck": "error"}, 1),
    ("a face found after the blur", {"found": ({"region": 0, "score": 0.7},)}, 0),
    ("another image", {"image_id": "b.jpg"}, 6),
]


@pytest.mark.parametrize(("changes", "exceptions"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_tolerances(tmp_path: Path, changes: dict[str, Any], exceptions: int) -> None:
    one = write(tmp_path / "one", [FACE])
    other = write(tmp_path / "other", **({"faces": [FACE]} | changes))
    assert len(compare(one, other)) == len(compare(other, one)) == exceptions


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BlurlineError, match="no tables to compare: name a data folder"):
        compare(tmp_path, tmp_path)


def test_the_environment_is_written_once_and_only_when_it_changed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    environment.record(tmp_path, "mine")
    path = tmp_path / environment.FILE
    first = path.stat().st_mtime_ns
    environment.record(tmp_path, "mine")
    assert path.stat().st_mtime_ns == first
    found = json.loads(path.read_text())
    assert found["dataset"] == "mine"  # else it could be equal to upstream's, and an upgrade would replace it
    assert found["packages"]["pillow"]
    assert found["cpu"]["name"]
    shutil.rmtree(tmp_path / "data")
