"""Snakemake and DVC agree on what is stale, whichever of them is asked, and whatever happened before."""

import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.workflow.conftest import Tool
from tests.workflow.project import NOTHING, Project

SHARDS = ["small-00000", "small-00001"]


def jobs(*steps: str, shards: list[str] = SHARDS) -> list[str]:
    """The jobs of these steps on these shards, the closing jobs, and checksum."""
    return sorted(
        f"{step} {shard}" for step in steps for shard in (*shards * (step not in ("weights", "checksum")), "_step")
    )


def test_a_second_run_does_nothing_under_either_tool(project: Project) -> None:
    assert NOTHING in project.snakemake()
    project.dvc("repro")
    assert project.jobs() == []
    project.is_idle()


def test_repro_after_snakemake_runs_no_job(project: Project) -> None:
    project.set("blur.margin", 0.2)
    project.snakemake()
    assert project.jobs() == jobs("blur", "recheck", "checksum")
    project.dvc("repro")
    assert project.jobs() == []
    project.is_idle()


def test_a_param_reruns_what_depends_on_it(project: Project, tool: Tool) -> None:
    # tests/test_plan.py goes through every param; these go through the tools.
    edits: list[tuple[dict[str, object], tuple[str, ...]]] = [
        ({"detect.threads": 2, "detect.batch": 3}, ()),
        ({"blur.strength": 0.5}, ("blur", "recheck", "checksum")),
        ({"recheck.enabled": False}, ("recheck", "checksum")),
        ({"detect.confidence": 0.35}, ("merge", "blur", "recheck", "checksum")),
        ({"detect.nms_iou": 0.45}, ("detect", "merge", "blur", "recheck", "checksum")),
    ]
    for edit, steps in edits:
        for key, value in edit.items():
            project.set(key, value)
        tool.build(project)
        assert project.jobs() == jobs(*steps), edit
    tool.is_idle(project)


def test_a_raised_algorithm_version_reruns_the_step_and_what_follows(project: Project, tool: Tool) -> None:
    project.raise_version("detect")
    tool.build(project)
    assert project.jobs() == jobs("detect", "merge", "blur", "recheck", "checksum")
    tool.is_idle(project)


def test_a_decision_reruns_its_shard_alone(project: Project, tool: Tool) -> None:
    before = project.release()
    project.decide("cat.jpg", "add", x1=10, y1=10, x2=80, y2=90)
    tool.build(project)
    assert project.jobs() == jobs("merge", "blur", "recheck", "checksum", shards=SHARDS[:1])
    assert project.release() == before | {"cat.jpg": "blurred"}

    project.decide("eye.png", "exclude")
    tool.build(project)
    assert project.jobs() == jobs("merge", "blur", "recheck", "checksum", shards=SHARDS[1:])
    assert project.release() == before | {"cat.jpg": "blurred", "eye.png": "excluded"}
    with tarfile.open(project.path / "data/blurred/small-00001.tar") as tar:
        assert tar.getnames() == ["whole.jpg", "small.png"]
    tool.is_idle(project)


def test_a_decision_reaches_copies_of_the_image_in_other_shards(project: Project) -> None:
    manifest = project.path / "data/sources/small.csv"
    images = manifest.parent / "images"
    shutil.copy(images / "cat.jpg", images / "twin.jpg")
    sha256 = hashlib.sha256((images / "cat.jpg").read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text() + f"twin.jpg,images/twin.jpg,{sha256}\n")
    project.decide("twin.jpg", "add", x1=10, y1=10, x2=80, y2=90)
    project.snakemake()
    ran = project.jobs()
    assert {"merge small-00000", "merge small-00002"} <= set(ran)
    assert "merge small-00001" not in ran
    assert project.release()["cat.jpg"] == project.release()["twin.jpg"] == "blurred"


def test_new_rows_and_sources_run_new_shards_only_and_a_removed_source_is_pruned(project: Project, tool: Tool) -> None:
    sources = project.path / "data/sources"
    shutil.copy(sources / "images/small.png", sources / "images/late.png")
    with (sources / "small.csv").open("a") as stream:
        stream.write("late.png,images/late.png,\n")
    (sources / "more.csv").write_text("image_id,url\nmore/cat.jpg,images/cat.jpg\n")
    project.set("sources", ["small", "more"])
    tool.build(project)
    steps = ("download", "detect", "merge", "blur", "recheck", "checksum")
    assert project.jobs() == jobs(*steps, shards=["small-00002", "more-00000"])
    assert len(project.release()) == 8

    project.set("sources", ["small"])
    assert "of no planned shard: data/raw/more-00000." in project.run("blurline", "plan")
    tool.build(project)
    assert project.jobs() == jobs(*steps, shards=[])
    assert not [name for name in project.data() if "more-" in name]
    assert len(project.release()) == 7
    tool.is_idle(project)


def test_checkout_of_another_release_leaves_nothing_to_do(project: Project) -> None:
    project.set("blur.margin", 0.2)
    project.decide("cat.jpg", "add", x1=10, y1=10, x2=80, y2=90)
    project.dvc("repro")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "v2")
    project.git("tag", "v2")
    project.jobs()
    for version in ("v1", "v2"):
        project.git("checkout", "--quiet", version)
        project.dvc("checkout", "--quiet")
        project.is_idle()
        project.dvc("repro")
        assert project.jobs() == []
        project.run("blurline", "verify")


def test_a_fresh_clone_pulls_and_has_nothing_to_do(finished: Project, tool: Tool, tmp_path: Path) -> None:
    clone = finished.clone(tmp_path / "clone")
    clone.dvc("pull")
    clone.is_idle()
    clone.dvc("repro")
    assert clone.jobs() == []
    clone.run("blurline", "verify")
    clone.decide("whole.jpg", "add", x1=5, y1=5, x2=40, y2=40)
    tool.build(clone)
    assert clone.jobs() == jobs("merge", "blur", "recheck", "checksum", shards=SHARDS[1:])
    clone.checksums_hold()


def test_experiments_run(project: Project) -> None:
    project.dvc("exp", "run", "-S", "blur.margin=0.2")
    assert "margin: 0.2" in (project.path / "params.yaml").read_text()
    assert project.jobs() == jobs("blur", "recheck", "checksum")
    project.is_idle()


@pytest.mark.parametrize("pulled", [("blurred", "recheck", "release"), ("blurred", "release")])
def test_a_clone_with_only_the_public_remote_verifies(
    finished: Project, tmp_path: Path, pulled: tuple[str, ...]
) -> None:
    public = finished.clone(tmp_path / "public")
    public.dvc("remote", "modify", "--local", "private", "url", str(tmp_path / "no-such-remote"))
    public.dvc("pull", *(f"data/{folder}" for folder in pulled))
    absent = "weights, download, detect, merge" + ", recheck" * ("recheck" not in pulled)
    assert public.planned() == []
    assert f"not here: {absent} (a public clone" in public.run("blurline", "plan")
    assert public.run("blurline", "verify").endswith(f"not here, so not checked: {absent}\n")
    public.checksums_hold()
    assert {name.split("/")[1] for name in public.data()} == set(pulled)


def test_private_files_never_reach_the_public_remote(finished: Project) -> None:
    remotes = finished.path.parent / "remotes"
    kept = {
        name: {hashlib.md5(path.read_bytes()).hexdigest() for path in (remotes / name).rglob("*") if path.is_file()}
        for name in ("private", "public")
    }
    for name in finished.data():
        digest = hashlib.md5((finished.path / name).read_bytes()).hexdigest()
        public = name.split("/")[1] in ("blurred", "recheck", "release")
        assert (digest in kept["public"], digest in kept["private"]) == (public, not public), name
