"""Snakemake and DVC agree on what is stale, whichever of them is asked, and whatever happened before."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.workflow.project import NOTHING, Project

SHARDS = [f"small-{i:05d}" for i in range(2)]
Build = Callable[[Project], str]


def jobs(*steps: str, shards: list[str] = SHARDS) -> list[str]:
    """The jobs of these steps on these shards, the closing jobs, and checksum."""
    return sorted(
        f"{step} {shard}" for step in steps for shard in (*shards * (step not in ("weights", "checksum")), "_step")
    )


def test_a_second_run_does_nothing_under_either_tool(project: Project) -> None:
    project.is_idle()
    assert NOTHING in project.snakemake()
    project.dvc("repro")
    assert project.jobs() == []
    project.is_idle()


def test_repro_after_snakemake_runs_no_job(project: Project) -> None:
    project.set("blur.margin", 0.2)
    project.snakemake()
    assert project.jobs() == jobs("blur", "checksum")
    project.dvc("repro")
    assert project.jobs() == []
    project.is_idle()


def test_a_param_reruns_what_depends_on_it(project: Project, build: Build) -> None:
    # tests/test_plan.py goes through every param; these go through the tools.
    edits: list[tuple[str, object, tuple[str, ...]]] = [
        ("detect.threads", 2, ()),
        ("detect.batch", 3, ()),
        ("blur.strength", 0.3, ("blur", "checksum")),
        ("detect.confidence", 0.35, ("merge", "blur", "checksum")),
        ("detect.nms_iou", 0.45, ("detect", "merge", "blur", "checksum")),
    ]
    for key, value, steps in edits:
        project.set(key, value)
        build(project)
        assert project.jobs() == jobs(*steps), key
    project.dvc("repro")
    assert project.jobs() == []
    project.is_idle()


def test_a_raised_algorithm_version_reruns_the_step_and_what_follows(project: Project, build: Build) -> None:
    after = {
        "blur": ("blur", "checksum"),
        "detect": ("detect", "merge", "blur", "checksum"),
    }
    for step, steps in after.items():
        project.raise_version(step)
        build(project)
        assert project.jobs() == jobs(*steps), step
    project.dvc("repro")
    assert project.jobs() == []
    project.is_idle()


def test_one_decision_reruns_its_shard_alone(project: Project, build: Build) -> None:
    project.decide("cat.jpg", "add", x1=10, y1=10, x2=80, y2=90)
    build(project)
    assert project.jobs() == jobs("merge", "blur", "checksum", shards=SHARDS[:1])
    assert project.release()["cat.jpg"] == "blurred"
    project.dvc("repro")
    assert project.jobs() == []
    project.is_idle()


def test_a_decision_reaches_copies_of_the_image_in_other_shards(project: Project) -> None:
    images = project.path / "data/sources/images"
    shutil.copy(images / "cat.jpg", images / "twin.jpg")
    sha = project.path.joinpath("data/sources/small.csv").read_text().splitlines()[2].split(",")[2]
    with (project.path / "data/sources/small.csv").open("a") as stream:
        stream.write(f"twin.jpg,images/twin.jpg,{sha}\n")
    project.decide("twin.jpg", "add", x1=10, y1=10, x2=80, y2=90)
    project.snakemake()
    ran = project.jobs()
    assert {"merge small-00000", "merge small-00002"} <= set(ran)
    assert "merge small-00001" not in ran
    assert project.release()["cat.jpg"] == project.release()["twin.jpg"] == "blurred"


def test_an_excluded_image_leaves_and_no_other(project: Project, build: Build) -> None:
    before = project.release()
    project.decide("eye.png", "exclude")
    build(project)
    assert project.jobs() == jobs("merge", "blur", "checksum", shards=SHARDS[1:])
    assert project.release() == before | {"eye.png": "excluded"}
    import tarfile

    with tarfile.open(project.path / "data/blurred/small-00001.tar") as tar:
        assert tar.getnames() == ["whole.jpg", "small.png"]


def test_new_rows_and_new_sources_run_new_shards_only(project: Project, build: Build) -> None:
    images = project.path / "data/sources/images"
    shutil.copy(images / "small.png", images / "late.png")
    with (project.path / "data/sources/small.csv").open("a") as stream:
        stream.write("late.png,images/late.png,\n")
    build(project)
    steps = ("download", "detect", "merge", "blur", "checksum")
    assert project.jobs() == jobs(*steps, shards=["small-00002"])
    (project.path / "data/sources/more.csv").write_text("image_id,url\nmore/cat.jpg,images/cat.jpg\n")
    project.set("sources", ["small", "more"])
    build(project)
    assert project.jobs() == jobs(*steps, shards=["more-00000"])
    assert len(project.release()) == 8
    project.dvc("repro")
    project.is_idle()


def test_a_removed_source_is_pruned_from_every_folder(project: Project, build: Build) -> None:
    (project.path / "data/sources/more.csv").write_text("image_id,url\nmore/cat.jpg,images/cat.jpg\n")
    project.set("sources", ["small", "more"])
    build(project)
    project.set("sources", ["small"])
    project.jobs()
    build(project)
    assert project.jobs() == ["blur _step", "checksum _step", "detect _step", "download _step", "merge _step"]
    assert not [name for name in project.data() if "more-" in name]
    project.dvc("repro")
    project.is_idle()


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


def test_a_fresh_clone_pulls_and_has_nothing_to_do(project: Project, build: Build, tmp_path: Path) -> None:
    clone = project.clone(tmp_path / "clone")
    clone.dvc("pull")
    clone.is_idle()
    clone.dvc("repro")
    assert clone.jobs() == []
    clone.run("blurline", "verify")
    clone.decide("whole.jpg", "add", x1=5, y1=5, x2=40, y2=40)
    build(clone)
    assert clone.jobs() == jobs("merge", "blur", "checksum", shards=SHARDS[1:])
    clone.checksums_hold()


def test_experiments_work_and_remotes_get_their_own(project: Project, tmp_path: Path) -> None:
    project.dvc("exp", "run", "-S", "blur.margin=0.2")
    assert "margin: 0.2" in (project.path / "params.yaml").read_text()
    assert project.jobs() == jobs("blur", "checksum")
    project.is_idle()
    project.git("commit", "--quiet", "--all", "--message", "v2")
    project.dvc("push", "--remote", "public", "data/blurred", "data/release")
    project.dvc("push")

    public = project.clone(tmp_path / "public")
    public.dvc("remote", "modify", "--local", "private", "url", str(tmp_path / "no-such-remote"))
    public.dvc("pull", "data/blurred", "data/release")
    assert NOTHING in public.snakemake("-n")
    assert "not here, so not checked: weights, download, detect, merge" in public.run("blurline", "verify")
    public.checksums_hold()
    assert not [name for name in public.data() if name.split("/")[1] not in ("blurred", "release")]


def test_private_files_never_reach_the_public_remote(finished: Project) -> None:
    import hashlib

    remotes = finished.path.parent / "remotes"
    kept = {
        name: {hashlib.md5(path.read_bytes()).hexdigest() for path in (remotes / name).rglob("*") if path.is_file()}
        for name in ("private", "public")
    }
    for name in finished.data():
        digest = hashlib.md5((finished.path / name).read_bytes()).hexdigest()
        public = name.split("/")[1] in ("blurred", "release")
        assert (digest in kept["public"], digest in kept["private"]) == (public, not public), name
