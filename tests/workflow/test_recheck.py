"""The second gate through the real tools: what it finds is in the release's metrics, and it runs when it should."""

import json
import shutil

import polars as pl

from blurline import receipts, tables
from blurline.plan import folder
from tests.workflow.conftest import Tool
from tests.workflow.project import NOTHING, Project
from tests.workflow.test_agreement import SHARDS, jobs


def metrics(project: Project) -> dict[str, int]:
    found: dict[str, int] = json.loads((project.path / "data/release/metrics.json").read_text())["recheck"]
    return found


def table(project: Project, step: str, schema: tables.Schema) -> pl.DataFrame:
    paths = [project.path / f"data/{folder(step)}/{shard}.parquet" for shard in SHARDS]
    return pl.concat([tables.read(path, schema) for path in paths])


def test_the_release_says_what_was_found_after_the_blur(project: Project) -> None:
    blurred, looked = table(project, "blur", tables.BLURRED), table(project, "recheck", tables.RECHECK)
    regions = blurred["regions"].list.len()
    assert looked["status"].to_list() == ["ok" if number else "skipped" for number in regions]
    found = looked["found"].to_list()
    assert metrics(project) == {
        "images_checked": (regions > 0).sum(),
        "images_not_checked": 0,
        "regions_checked": regions.sum(),
        "regions_with_faces": sum(len({box["region"] for box in boxes}) for boxes in found),
        "faces_in_regions": sum(len(boxes) for boxes in found),
        "faces_elsewhere": looked["elsewhere"].sum(),
    }
    assert metrics(project)["images_checked"] == 3
    manifest = pl.read_parquet(project.path / "data/release/manifest.parquet")
    for shard, key in manifest.select("shard", "key_recheck").rows():
        assert (project.path / "data/recheck" / receipts.file_name(shard, key)).is_file()


def test_a_face_that_reviewers_left_clear_is_counted_elsewhere(project: Project, tool: Tool) -> None:
    """Blur something else in that image: a region without a face in it, and a face without a region."""
    merged = table(project, "merge", tables.MERGED).filter(pl.col("image_id") == "face.jpg")
    (face,) = [face for face in merged["faces"][0] if face["blur"]]
    box = {side: face[side] for side in ("x1", "y1", "x2", "y2")}
    before = metrics(project)
    for reviewer in ("ann", "bob"):
        project.decide("face.jpg", "reject", reviewer=reviewer, **box)
    project.decide("face.jpg", "add", x1=0, y1=225, x2=30, y2=255)
    tool.build(project)
    assert project.jobs() == jobs("merge", "blur", "recheck", "checksum", shards=SHARDS[:1])
    looked = table(project, "recheck", tables.RECHECK).filter(pl.col("image_id") == "face.jpg")
    assert (looked["found"].to_list(), looked["elsewhere"].to_list()) == ([[]], [1])
    after = metrics(project)
    assert after["faces_elsewhere"] == before["faces_elsewhere"] + 1
    assert after["regions_checked"] == before["regions_checked"]
    tool.is_idle(project)


def test_it_can_be_switched_off_and_the_release_says_so(project: Project) -> None:
    project.set("recheck.enabled", False)
    assert len(project.planned()) == 4
    output = project.snakemake()
    assert project.jobs() == jobs("recheck", "checksum")
    assert "  3 blurred images not looked at again: data/recheck says why" in output.splitlines()
    assert "after the blur" not in output
    assert metrics(project)["images_not_checked"] == 3
    project.set("recheck.enabled", True)
    output = project.snakemake()
    assert "  after the blur, the detectors find a face in " in output
    assert NOTHING in project.snakemake()


def test_where_weights_come_from_stays_private(project: Project) -> None:
    """Receipts and tables of the public steps name no path of them."""
    mine = project.path / "data/weights-of-mine/mine.onnx"
    mine.parent.mkdir()
    shutil.copy(project.path / "data/weights/centerface.onnx", mine)
    digest = project.run("blurline", "digest", "data/weights-of-mine/mine.onnx").strip()
    project.set("detect.also", [{"weights": "data/weights-of-mine/mine.onnx", "sha256": digest}])
    project.snakemake()
    found = table(project, "recheck", tables.RECHECK)["found"].explode().struct.unnest()
    assert set(found["detector"].drop_nulls()) <= {"centerface", "mine"}
    told = [
        path.relative_to(project.path).as_posix()
        for step in ("blur", "recheck", "checksum")
        for path in (project.path / f"data/{folder(step)}").iterdir()
        if b"weights-of-mine" in path.read_bytes()
    ]
    assert told == []
