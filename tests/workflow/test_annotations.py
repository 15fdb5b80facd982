"""Boxes that a data set came with, through the real tools: blurred though no detector finds them, and kept in step."""

import json
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from blurline.images import orientation
from tests.workflow.conftest import Tool
from tests.workflow.project import Project
from tests.workflow.test_agreement import SHARDS, jobs


def test_an_imported_box_is_blurred_and_reruns_its_shard_alone(project: Project, tool: Tool) -> None:
    before = project.release()
    assert (before["cat.jpg"], before["eye.png"]) == ("unchanged", "unchanged")  # the detector finds no face there
    annotate(project, {"images/cat.jpg": [(10.5, 20, 60, 90.2)]})
    tool.build(project)
    assert project.jobs() == jobs("merge", "blur", "recheck", "checksum", shards=SHARDS[:1])
    assert project.release() == before | {"cat.jpg": "blurred"}
    (face,) = faces(project, "cat.jpg")
    assert [face[c] for c in ("x1", "y1", "x2", "y2", "origin", "detector", "blur")] == [
        *(10, 20, 60, 91),
        *("imported", "princeton", True),
    ]
    project.run("blurline", "verify")

    # Another shard's box leaves this one as it is; two reviewers reject it.
    annotate(project, {"eye.png": [(5, 5, 50, 50)]})
    tool.build(project)
    assert project.jobs() == jobs("merge", "blur", "recheck", "checksum", shards=SHARDS[1:])
    for reviewer in ("ann", "bob"):
        project.decide("eye.png", "reject", x1=5, y1=5, x2=50, y2=50, reviewer=reviewer)
    tool.build(project)
    assert project.release() == before | {"cat.jpg": "blurred"}

    # Without the file all is as it was, to the byte.
    kept = project.path / "data/annotations/princeton.csv"
    kept.unlink()
    for path in (project.path / "data/review").glob("*.csv"):
        path.unlink()
    tool.build(project)
    assert project.release() == before
    tool.is_idle(project)


def test_in_a_turned_image_an_imported_box_covers_what_it_may_mean(project: Project) -> None:
    """The file says nothing of the frame: stored and displayed, both are blurred."""
    images = project.path / "data/sources/images"
    with Image.open(images / "cat.jpg") as opened:
        stored = np.asarray(opened.crop((0, 0, 240, 160)))
    exif = Image.Exif()
    exif[orientation.TAG] = 6
    Image.fromarray(stored).save(images / "turned.jpg", quality=90, exif=exif)
    with (project.path / "data/sources/small.csv").open("a") as stream:
        stream.write("turned.jpg,images/turned.jpg,\n")
    annotate(project, {"turned.jpg": [(20, 100, 60, 150)]})
    project.snakemake()
    assert project.release()["turned.jpg"] == "blurred"
    found = sorted((f["x1"], f["y1"], f["x2"], f["y2"]) for f in faces(project, "turned.jpg"))
    # Turned clockwise, the stored box (20, 100)-(60, 150) of 240 by 160 is displayed at (10, 20)-(60, 60).
    assert found == [(10, 20, 60, 60), (20, 100, 60, 150)]


def annotate(project: Project, boxes: dict[str, list[tuple[float, float, float, float]]]) -> None:
    corners = ("x0", "y0", "x1", "y1")
    data = [
        {"url": url, "bboxes": [dict(zip(corners, box, strict=True)) for box in of_image]}
        for url, of_image in boxes.items()
    ]
    path = project.path.parent / "faces.json"
    path.write_text(json.dumps(data))
    project.run("blurline", "import-annotations", str(path), "--name", "princeton")


def faces(project: Project, image_id: str) -> list[dict[str, object]]:
    tables = [pl.read_parquet(path) for path in sorted(Path(project.path, "data/merged").glob("*.parquet"))]
    (row,) = pl.concat(tables).filter(pl.col("image_id") == image_id).iter_rows(named=True)
    found: list[dict[str, object]] = row["faces"]
    return found
