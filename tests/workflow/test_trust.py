"""What must never happen: a receipt that lies, a damaged file that passes, an image that is lost."""

import random
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from blurline import cli
from blurline.errors import BlurlineError
from blurline.release import verify as verifying
from tests.workflow.project import Project


def damage(path: Path) -> None:
    """Change one byte in the middle of a file, which may be a read-only link into the cache."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_one_changed_byte_is_found_and_named(project: Project) -> None:
    for name in (
        "data/weights/centerface.onnx",
        "data/raw/small-00001.tar",
        "data/detections/small-00001.parquet",
        "data/merged/small-00000.parquet",
        "data/blurred/small-00001.tar",
        "data/recheck/small-00001.parquet",
        "data/release/manifest.parquet",
    ):
        path = project.path / name
        original = path.read_bytes()
        damage(path)
        for command in (["blurline", "verify"], ["dvc", "repro"]):
            assert f"error: {name}: not what " in project.run(*command, ok=False)
        path.write_bytes(original)
    assert project.jobs() == []
    project.is_idle()


def test_missing_added_and_forged_files_are_found(project: Project) -> None:
    (project.path / "data/raw/small-00000.tar").unlink()
    (project.path / "data/blurred/extra.tar").write_text("x")
    receipt = next((project.path / "data/merged").glob("small-00000.*.json"))
    text = receipt.read_text()
    receipt.unlink()
    receipt.write_text(text.replace('"blur": ', '"blur":  '))
    output = project.run("blurline", "verify", ok=False)
    assert "error: data/raw/small-00000.tar: missing, though small-00000." in output
    assert "error: data/blurred/extra.tar: belongs to no receipt" in output
    assert f"{receipt.name}: not a receipt as it was written" in output
    assert "`blurline repair` and then snakemake make anew what is missing or damaged" in output


def test_what_the_errors_advise_works(project: Project, finished: Project) -> None:
    """A receipt gone, a payload gone, one damaged, a folder gone: repair, then snakemake, and all is as before."""
    next((project.path / "data/merged").glob("small-00000.*.json")).unlink()
    (project.path / "data/detections/small-00001.parquet").unlink()
    damage(project.path / "data/release/manifest.parquet")
    assert "small-00000." in project.run("blurline", "verify", ok=False)
    project.run("blurline", "repair")
    project.snakemake()
    assert project.data() == finished.data()
    subprocess.run(["rm", "-rf", str(project.path / "data/blurred")], check=True)
    project.snakemake()
    assert project.data() == finished.data()
    project.run("blurline", "verify")
    assert "nothing to repair" in project.run("blurline", "repair")


def test_an_edit_during_the_verification_is_noticed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC locks what it finds after a stage's `blurline verify`: that must be what was verified."""
    real = verifying.verify

    def edited(*arguments: Any, **more: Any) -> verifying.Report:
        report = real(*arguments, **more)
        project.set("dataset.version", "9")
        return report

    monkeypatch.setattr(cli, "ROOT", project.path)
    cli.verify()
    monkeypatch.setattr(verifying, "verify", edited)
    with pytest.raises(BlurlineError, match="changed during the verification: run again"):
        cli.verify()


def test_stale_data_is_called_stale_and_nothing_else(project: Project) -> None:
    project.set("dataset.version", "9")
    output = project.run("blurline", "verify", ok=False)
    assert output.splitlines()[0].startswith("error: data/release: 1 receipts are of other params, rows, decisions")
    assert output.count("error: ") == 2


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("close checksum {key}", "error: checksum: has no shards to close: name one of download, detect, merge, blur"),
        ("run detect _step {key}", "error: detect _step: a step with shards runs on a shard"),
        ("run blurr small-00000 {key}", "error: blurr: no such step: name one of weights, download, detect"),
    ],
)
def test_jobs_that_make_no_sense_touch_nothing(finished: Project, command: str, line: str) -> None:
    before = finished.data()
    output = finished.run("blurline", *command.format(key="0" * 16).split(), ok=False)
    assert line in output
    assert finished.data() == before


def test_damaged_input_stops_a_job(project: Project) -> None:
    damage(project.path / "data/raw/small-00001.tar")
    project.set("blur.margin", 0.2)
    output = project.snakemake(ok=False)
    assert "data/raw/small-00001.tar: not what small-00001." in output


def test_cores_change_no_byte(project: Project, finished: Project, tmp_path: Path) -> None:
    for folder in ("weights", "raw", "detections", "merged", "blurred", "recheck", "release"):
        subprocess.run(["rm", "-rf", str(project.path / "data" / folder)], check=True)
    project.snakemake(cores=1)
    assert project.data() == finished.data()


# What is run and killed: under snakemake a change that detects anew, under dvc one that merges and blurs anew.
KILLED: list[tuple[list[str], str, float]] = [
    (["snakemake", "--cores", "2"], "detect.nms_iou", 0.45),
    (["dvc", "repro"], "detect.confidence", 0.35),
]


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(s, marks=pytest.mark.slow) for s in range(2, 12))])
def test_a_kill_at_any_moment_loses_nothing(project: Project, seed: int) -> None:
    """SIGKILL to the whole process group, then the same command: the bytes of an uninterrupted run."""
    command, key, value = KILLED[seed % 2]
    project.set(key, value)
    whole = project.copy(project.path.parent / "whole")
    start = time.monotonic()
    whole.run(*command)
    moment = random.Random(seed).uniform(2.0, time.monotonic() - start)
    project.kill_when(*command, after=moment)
    project.run("snakemake", "--unlock")
    project.run(*command)
    assert project.data() == whole.data()
    project.run("blurline", "verify")
    assert not list((project.path / "data/.tmp").glob("*+*")), "scratch folders are left"
    if command[0] == "dvc":
        project.is_idle()


def test_a_kill_right_after_a_receipt_loses_nothing(project: Project) -> None:
    """The job is done, and Snakemake does not know it yet: it must neither stop short nor trust what it left marked."""
    project.set("detect.confidence", 0.35)
    whole = project.copy(project.path.parent / "whole")
    whole.snakemake()
    # The old receipt of the shard goes before the new one comes, so one more name means that a job has finished.
    assert project.kill_when("snakemake", "--cores", "1", after=60, pattern="data/merged/small-0000?.*.json")
    project.run("snakemake", "--unlock")
    project.snakemake()
    assert project.data() == whole.data()


def test_an_edit_during_the_run_never_leaves_a_receipt_that_lies(project: Project) -> None:
    """Params and decisions change while jobs run, and change back: no receipt says what is not so."""
    params, review = project.path / "params.yaml", project.path / "data/review/ann.csv"
    project.decide("cat.jpg", "add", x1=10, y1=10, x2=80, y2=90)
    before = params.read_text(), review.read_text()
    project.set("blur.margin", 0.2)
    project.decide("small.png", "add", x1=10, y1=10, x2=80, y2=90)
    after = params.read_text(), review.read_text()
    wanted = project.copy(project.path.parent / "wanted")
    wanted.snakemake()
    stop = threading.Event()

    def save(texts: tuple[str, str]) -> None:
        for path, text in zip((params, review), texts, strict=True):
            unfinished = path.with_name(f"{path.name}.new")
            unfinished.write_text(text)
            unfinished.replace(path)

    def wait_for_a_job() -> None:
        """Until a job has read its inputs and begins, or for a while: edits come at bad moments, not by luck."""
        begun = set((project.path / "data/.tmp").glob("*+*"))
        end = time.monotonic() + 0.7
        while time.monotonic() < end and not set((project.path / "data/.tmp").glob("*+*")) - begun:
            time.sleep(0.002)

    def edit() -> None:
        while not stop.is_set():
            for texts in (before, after):
                save(texts)
                wait_for_a_job()

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        noticed = False
        for _ in range(12):  # each run meets a bad moment or not: until one has
            run = subprocess.run(
                ["snakemake", "--cores", "2"],
                cwd=project.path,
                env=project.env,
                capture_output=True,
                text=True,
                check=False,
            )
            noticed = noticed or "inputs changed " in run.stderr
            if noticed:
                break
    finally:
        stop.set()
        editor.join()
    assert noticed, "the edits came at no bad moment"
    save(after)
    project.snakemake()
    assert project.data() == wanted.data()
    project.run("blurline", "verify")


def test_a_job_asked_for_another_key_touches_nothing(project: Project) -> None:
    before = project.data()
    output = project.run("blurline", "run", "merge", "small-00000", "deadbeefdeadbeef", ok=False)
    assert "merge small-00000: inputs changed during the run" in output
    assert output.count("\n") == 1
    assert project.data() == before


def test_bad_images_are_accounted_for_and_never_stop_the_run(project: Project) -> None:
    images = project.path / "data/sources/images"
    good = (images / "face.jpg").read_bytes()
    (images / "cut.jpg").write_bytes(good[: len(good) // 2])
    (images / "text.jpg").write_text("not an image")
    with Image.open(images / "cat.jpg") as cat, Image.open(images / "whole.jpg") as whole:
        cat.save(images / "moving.gif", save_all=True, append_images=[whole])
        cat.save(images / "pages.tiff", save_all=True, append_images=[whole.resize((50, 50))])
    rows = [
        "bad/cut.jpg,images/cut.jpg,",
        "bad/text.jpg,images/text.jpg,",
        "bad/gone.jpg,images/gone.jpg,",
        f"bad/hash.jpg,images/cat.jpg,{'0' * 64}",
        "bad/moving.gif,images/moving.gif,",
        "bad/pages.tiff,images/pages.tiff,",
        "good.jpg,images/whole.jpg,",
        "taken.jpg,images/mirror.png,",
    ]
    (project.path / "data/sources/odd.csv").write_text("image_id,url,sha256\n" + "\n".join(rows) + "\n")
    project.set("sources", ["small", "odd"])
    for twin, action in (("whole.jpg", "exclude"), ("mirror.png", "erase")):
        project.decide(twin, action)  # pinned; its unpinned copies below must be told too, or the release stops
    project.decide("good.jpg", "exclude")
    project.decide("taken.jpg", "erase")
    output = project.snakemake()
    outcomes = project.release()
    assert outcomes["bad/cut.jpg"] == outcomes["bad/text.jpg"] == "quarantined"
    assert outcomes["bad/gone.jpg"] == outcomes["bad/hash.jpg"] == "failed"
    assert outcomes["bad/moving.gif"] == "blurred"
    assert outcomes["bad/pages.tiff"] == "withheld"
    assert outcomes["good.jpg"] == outcomes["whole.jpg"] == "excluded"
    assert outcomes["taken.jpg"] == outcomes["mirror.png"] == "erased"
    assert len(outcomes) == 14
    for line in (
        "14 images in 5 shards",
        "1 failed: file not found",
        "1 failed: wrong sha256",
        "1 withheld: frames of different sizes are not supported",
        "2 excluded",
        "2 erased",
    ):
        assert line in output

    # What failed is asked for again, and only its shard runs.
    (images / "gone.jpg").write_bytes((images / "cat.jpg").read_bytes())
    assert "odd-00000: 1 failed rows: round 1" in project.run("blurline", "retry")
    project.jobs()
    project.snakemake()
    assert project.release()["bad/gone.jpg"] == "unchanged"
    assert {job for job in project.jobs() if job.startswith("download")} == {
        "download odd-00000",
        "download odd-00001",  # of which one row has the wrong bytes
        "download _step",
    }
    project.run("blurline", "verify")


def test_bad_input_stops_before_any_work(project: Project) -> None:
    """tests/test_inputs.py has every kind of bad input; here the tools show the line, once and with no traceback."""
    manifest = project.path / "data/sources/small.csv"
    manifest.write_text(manifest.read_text().replace("eye.png,", "../eye.png,", 1))
    line = "error: data/sources/small.csv:5: image_id '../eye.png' is no plain relative path"
    for command in (["snakemake", "--cores", "1"], ["dvc", "repro"], ["blurline", "verify"]):
        output = project.run(*command, ok=False)
        assert sum(shown.startswith(line) for shown in output.splitlines()) == 1, output
        assert "Traceback" not in output
    assert project.jobs() == []


def test_wrong_and_unknown_weights_stop_the_run(project: Project) -> None:
    project.set("detect.sha256", "0" * 64)
    assert "params.yaml: detect.sha256: centerface has SHA-256" in project.snakemake(ok=False)
    project.set("detect.weights", "no-such-weights.pt")
    assert "params.yaml: detect.weights: no-such-weights.pt: not found" in project.snakemake(ok=False)
    assert [job for job in project.jobs() if not job.startswith("weights")] == []


def test_config_on_the_command_line_is_refused(project: Project) -> None:
    output = project.snakemake("--config", "shard_size=1", ok=False)
    assert "error: --config: shard_size: differs from params.yaml" in output
    assert "dvc exp run -S shard_size=1" in output


def test_unpinned_copies_that_would_differ_stop_the_release(project: Project) -> None:
    (project.path / "data/sources/more.csv").write_text("image_id,url\ntwin.jpg,images/cat.jpg\n")
    project.set("sources", ["small", "more"])
    project.decide("cat.jpg", "add", x1=10, y1=10, x2=80, y2=90)
    output = project.snakemake(ok=False)
    assert "cat.jpg and twin.jpg have the same bytes, but one is blurred and the other unchanged" in output
    project.run("blurline", "pin")
    project.snakemake()
    assert project.release()["cat.jpg"] == project.release()["twin.jpg"] == "blurred"


def test_required_review_holds_the_release_back(project: Project) -> None:
    project.set("review.window", 1.0)
    project.set("review.required", True)
    output = project.snakemake(ok=False)
    assert "review.required: " in output
    assert "images wait for a reviewer" in output
    assert (project.path / "data/blurred/small-00000.tar").exists()
