"""Single steps, run in this process on small projects: weights, download's records, checksum's invariants."""

import ctypes
import hashlib
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from PIL import Image

from blurline import plan, tables
from blurline.decisions import Decision
from blurline.detectors import ensemble
from blurline.detectors.hashing import weights_digest
from blurline.detectors.yolo import Detection, Failure, Picture
from blurline.errors import BlurlineError
from blurline.fetch import FetchFailed
from blurline.images.decode import Limits
from blurline.images.facts import Facts, facts
from blurline.images.isolated import CRASHED, Worker, Workers
from blurline.images.results import Redacted
from blurline.params import Download, Model
from blurline.receipts import CLOSING, files
from blurline.steps import blur, checksum, detect, download, weights
from tests.images.moving import KINDS
from tests.images.samples import LIMITS, STYLE, noise, saved
from tests.workflow.project import small_images

SHA = "a" * 64


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data/sources").mkdir(parents=True)
    (tmp_path / "data/review").mkdir()
    (tmp_path / "data/sources/one.csv").write_text("image_id,url\na.jpg,x/a.jpg\n")
    return tmp_path


def place(project: Path, name: str, sha256: str) -> list[str]:
    """Run the weights step for detect.weights = name; the files it leaves."""
    (project / "params.yaml").write_text(
        f"dataset: {{name: t}}\nsources: [one]\ndetect: {{weights: '{name}', sha256: '{sha256}'}}\n"
    )
    weights.run(plan.load(project).jobs["weights", CLOSING])
    return [file for file in files(project / "data/weights") if not file.startswith("_step.")]


def test_weights_from_a_file_a_folder_and_a_url(project: Path) -> None:
    (project / "face.pt").write_bytes(b"not really a pickle")
    folder = project / "models/face_openvino_model"
    folder.mkdir(parents=True)
    (folder / "face.xml").write_text("<net/>")
    (folder / "face.bin").write_bytes(b"\0" * 10)
    sha256 = weights_digest(project / "face.pt")
    assert sha256 == hashlib.sha256(b"not really a pickle").hexdigest()
    assert place(project, "face.pt", sha256) == ["face.pt"]
    # Other weights take the place of the first, whose file goes.
    assert place(project, "models/face_openvino_model", weights_digest(folder)) == [
        "face_openvino_model/face.bin",
        "face_openvino_model/face.xml",
    ]
    handler = partial(SimpleHTTPRequestHandler, directory=str(project))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        assert place(project, f"http://127.0.0.1:{http.server_port}/face.pt", sha256) == ["face.pt"]
        with pytest.raises(BlurlineError, match=r"params.yaml: detect.weights: http://.*/gone.pt: http 404"):
            place(project, f"http://127.0.0.1:{http.server_port}/gone.pt", sha256)
        http.shutdown()


def test_the_name_of_weights_behind_a_url_has_no_query() -> None:
    model = Model("detect", "https://example.org/models/face.pt?download=true", "", [], [1024], [])
    assert (model.file_name, model.name) == ("face.pt", "face")


def test_a_job_that_outlived_its_plan_replaces_nothing(project: Path) -> None:
    """A killed run, or a requeued cluster job, may leave a job behind that finishes after newer ones."""
    for name in ("old.pt", "new.pt"):
        (project / name).write_bytes(name.encode())
    old, new = (weights_digest(project / name) for name in ("old.pt", "new.pt"))
    place(project, "old.pt", old)
    planned = plan.load(project).jobs["weights", CLOSING]
    late = plan.job(project, "weights", CLOSING, planned.key)
    place(project, "new.pt", new)
    before = files(project / "data/weights")
    with pytest.raises(BlurlineError, match="weights _step: inputs changed while the job ran: run again"):
        weights.run(late)
    assert files(project / "data/weights") == before


def test_weights_with_another_hash_are_never_put_in_place(project: Path) -> None:
    (project / "face.pt").write_bytes(b"evil")
    with pytest.raises(BlurlineError, match=f"params.yaml: detect.sha256: face.pt has SHA-256 .*, not {SHA}: use the"):
        place(project, "face.pt", SHA)
    assert files(project / "data/weights") == [] if (project / "data/weights").is_dir() else True


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("images") / "images"
    small_images(folder)
    return (folder / "cat.jpg").read_bytes()


def test_what_download_records(photograph: bytes) -> None:
    settings = Download()
    sha256 = hashlib.sha256(photograph).hexdigest()

    def record(data: bytes | FetchFailed, pinned: str = "", settings: Download = settings) -> tuple[str, str]:
        row = download.record("a/b.c", "x", pinned, data, settings)
        assert set(row) == set(tables.RAW)
        return row["status"], row["reason"]

    assert record(photograph) == ("ok", "")
    assert record(photograph, sha256) == ("ok", "")
    assert record(photograph, SHA) == ("failed", "wrong sha256")
    assert record(FetchFailed("http 404")) == ("failed", "http 404")
    assert record(b"hello")[0] == "quarantined"
    assert record(photograph[:2000])[0] == "quarantined"
    assert record(photograph, settings=Download(max_pixels=1000))[0] == "quarantined"
    assert download.record("a/b.c", "x", "", photograph, settings)["member"] == "a/b%2Ec.jpg"


def raw_row(data: bytes, **more: Any) -> dict[str, Any]:
    return {"image_id": "a.jpg", "member": "a.jpg", "status": "ok", "reason": "", "sha256": sha(data)} | more


def merged_row(data: bytes, **more: Any) -> dict[str, Any]:
    return {"image_id": "a.jpg", "sha256": sha(data), "status": "ok", "state": "auto", "reason": "", "faces": []} | more


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def decide(raw: dict[str, Any], merged: dict[str, Any], data: bytes | None) -> tuple[str, str, bytes | None]:
    from blurline.params import Blur

    row, released = blur.release(raw, merged, data, blur.style_of(Blur()), Limits(10**7, 10**7))
    assert (released is None) is (row["action"] not in tables.RELEASED)
    assert (row["sha256_release"] is None) is (released is None)
    return row["action"], row["reason"], released


def test_every_image_has_one_outcome_and_fails_closed(photograph: bytes) -> None:
    face = {"x1": 50, "y1": 60, "x2": 120, "y2": 140, "label": "face", "frame": -1, "blur": True}
    raw, merged = partial(raw_row, photograph), partial(merged_row, photograph)
    assert decide(raw(), merged(), photograph)[0] == "unchanged"
    assert decide(raw(), merged(faces=[face]), photograph)[0] == "blurred"
    assert decide(raw(), merged(faces=[face | {"blur": False}]), photograph)[0] == "unchanged"
    assert decide(raw(), merged(status="error", reason="broke"), photograph) == ("withheld", "broke", None)
    assert decide(raw(), merged(status="skipped"), photograph) == ("withheld", "no detector looked at it", None)
    assert decide(raw(), merged(state="excluded", reason="why"), photograph) == ("excluded", "why", None)
    assert decide(raw(), merged(state="excluded", reason="erased"), photograph) == ("erased", "erased", None)
    for status in ("failed", "quarantined"):
        assert decide(raw(status=status, reason="why"), merged(), None) == (status, "why", None)
    text = b"no image at all"
    assert decide(raw_row(text), merged_row(text), text)[0] == "withheld"


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({}, {"method": "gaussian", "shape": "box", "sigma": 24.0, "cells": None, "colour": None}),
        ({"method": "mosaic"}, {"method": "mosaic", "shape": "box", "sigma": None, "cells": 9, "colour": None}),
        ({"method": "solid", "shape": "ellipse"}, {"method": "solid", "shape": "ellipse", "colour": None}),
        ({"method": "solid", "colour": "#102030"}, {"method": "solid", "sigma": None, "colour": "#102030"}),
        ({"classes": {"face": {"method": "solid", "colour": "#102030"}}}, {"method": "solid", "colour": "#102030"}),
        ({"classes": {"plate": {"method": "solid"}}}, {"method": "gaussian", "sigma": 24.0}),
    ],
)
def test_a_region_says_how_it_was_blurred(
    photograph: bytes, changes: dict[str, Any], want: dict[str, Any], tmp_path: Path
) -> None:
    from blurline.params import Blur

    face = {"x1": 50, "y1": 60, "x2": 120, "y2": 140, "label": "face", "frame": -1, "blur": True}
    style, limits = blur.style_of(Blur.model_validate(changes)), Limits(10**7, 10**7)
    row, _ = blur.release(raw_row(photograph), merged_row(photograph, faces=[face]), photograph, style, limits)
    tables.write(tmp_path / "x.parquet", [row], tables.BLURRED)
    ((region,),) = tables.read(tmp_path / "x.parquet", tables.BLURRED)["regions"].to_list()
    assert set(region) == set(tables.REGION)
    assert {key: region[key] for key in want} == want


def test_a_release_says_what_was_blurred_weakly() -> None:
    regions = [[{"method": "gaussian"}, {"method": "imagenet2021"}], [{"method": "imagenet2021"}], []]
    rows = {"action": ["blurred", "blurred", "unchanged"], "regions": regions, "faces": [2, 1, 0], "unseen": [0] * 3}
    outside = ["coefficients", "bounded", "coefficients"]
    manifest = pl.DataFrame(rows | {"bytes": [1] * 3, "outside": outside, "outside_db": [None, 41.5, None]})
    metrics = checksum._metrics(manifest, {}, 0, 0)
    assert metrics["regions_blurred_weakly"] == 2
    assert metrics["unchanged_outside"] == {"coefficients": 2, "pixels": 0, "bounded": 1}
    assert metrics["least_db_outside"] == 41.5
    assert checksum._warnings(metrics) == [
        "2 regions are blurred by a method that leaves small faces clear: docs/blurring.md"
    ]
    strong = checksum._metrics(manifest[2:], {}, 0, 0)
    assert strong["regions_blurred_weakly"] == 0
    assert checksum._warnings(strong) == []


@pytest.mark.parametrize(
    ("changes", "proven"),
    [
        ({}, True),
        ({"full": 0.9}, False),
        ({"full": None}, False),
        ({"residual": None}, False),
        ({"full": 0.3, "method": "imagenet2021"}, True),
    ],
)
def test_checksum_releases_no_region_without_a_proof(changes: dict[str, Any], proven: bool) -> None:
    region = dict.fromkeys(tables.REGION) | {"x1": 1, "y1": 2, "method": "solid", "full": 1.0, "residual": 0.0}
    row = dict.fromkeys(tables.BLURRED) | {"image_id": "a", "action": "blurred", "outside": "pixels"}
    table = pl.DataFrame([row | {"regions": [region | changes]}], dict(tables.BLURRED))
    with nullcontext() if proven else pytest.raises(BlurlineError, match="a: region at 1, 2: released, and not proven"):
        checksum.check_proofs(table)
    with pytest.raises(BlurlineError, match="a: released, and nothing says"):
        checksum.check_proofs(table.with_columns(outside=pl.lit(None, pl.String)))


def test_checksum_looks_at_the_proofs_of_every_shard() -> None:
    region = dict.fromkeys(tables.REGION) | {"x1": 1, "y1": 2, "x2": 3, "y2": 4, "method": "solid", "full": 0.5}
    row = dict.fromkeys(tables.BLURRED) | {"image_id": "a", "action": "blurred", "outside": "pixels"}
    merged = dict.fromkeys(tables.MERGED) | {"image_id": "a", "status": "ok", "state": "auto", "faces": []}
    of = {
        "raw": pl.DataFrame([dict.fromkeys(tables.RAW) | {"image_id": "a"}], dict(tables.RAW)),
        "merged": pl.DataFrame([merged], dict(tables.MERGED)),
        "blurred": pl.DataFrame([row | {"regions": [region]}], dict(tables.BLURRED)),
    }
    job: Any = SimpleNamespace(input=lambda folder, _: SimpleNamespace(table=lambda *_: of[folder]))
    shard: Any = SimpleNamespace(name="one-00000", image_ids=["a"])
    with pytest.raises(BlurlineError, match="a: region at 1, 2: released, and not proven"):
        checksum._shard(job, shard)


def test_a_crash_over_one_image_costs_that_image(photograph: bytes) -> None:
    """Here the native code is told to crash; what a real crash leaves is the same."""
    with Worker() as worker:
        raw, merged = raw_row(photograph), merged_row(photograph)

        def crash(*_: object) -> Redacted:
            return worker.call(ctypes.string_at, 0)  # type: ignore[return-value]

        row, released = blur.release(raw, merged, photograph, STYLE, LIMITS, crash)
        assert (row["action"], row["reason"], released) == ("withheld", CRASHED, None)
        row, released = blur.release(raw, merged, photograph, STYLE, LIMITS, worker.call)
        assert (row["action"], released is None) == ("unchanged", False)


def test_regions_know_their_frame() -> None:
    from blurline.params import Blur

    face = {"x1": 50, "y1": 60, "x2": 120, "y2": 140, "label": "face", "blur": True}
    faces = [face | {"frame": 2}, face | {"frame": 0, "x2": 100}, face | {"frame": 0, "blur": False}]
    for data, frames in ((KINDS["gif"], [0, 2]), (KINDS["tiff"], [0, 2])):
        image, merged = raw_row(data), merged_row(data, faces=faces)
        row, released = blur.release(image, merged, data, blur.style_of(Blur()), Limits(10**7, 10**7))
        assert released is not None
        assert [region["frame"] for region in row["regions"]] == frames


def test_an_image_with_a_damaged_frame_is_not_judged_by_the_others(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = KINDS["gif"]
    (project / "data/sources/images").mkdir(parents=True, exist_ok=True)
    (project / "data/sources/images/cut.gif").write_bytes(data[: len(data) - 100])
    (project / "data/sources/one.csv").write_text("image_id,url\ncut.gif,images/cut.gif\n")
    (project / "face.pt").write_bytes(b"weights")
    place(project, "face.pt", weights_digest(project / "face.pt"))
    found = [Detection("face", 10, 20, 30, 40, score=0.9)]

    class Fake:
        def __init__(self, *_: object, **settings: object) -> None: ...

        def detect(self, pictures: Iterable[Picture]) -> Iterator[list[Detection]]:
            yield from (found for _ in pictures)

    monkeypatch.setattr(ensemble, "Detector", Fake)
    jobs = plan.load(project).jobs
    download.run(jobs["download", "one-00000"])
    detect.run(jobs["detect", "one-00000"])
    (row,) = pl.read_parquet(project / "data/detections/one-00000.parquet").iter_rows(named=True)
    assert (row["status"], row["reason"], row["faces"]) == ("error", "truncated or corrupt", [])


def test_names_may_lie_and_stay() -> None:
    """ImageNet has a PNG called .JPEG: it is released as what it is, by the name that it has."""
    data = saved(noise(40, 40, 3), "PNG", dpi=(9, 9))
    raw = raw_row(data, image_id="n/x.JPEG", member="n/x.JPEG")
    for faces, action in (([], "unchanged"), ([FACE], "blurred")):
        row, released = blur.release(raw, merged_row(data, image_id="n/x.JPEG", faces=faces), data, STYLE, LIMITS)
        assert (row["action"], row["member"]) == (action, "n/x.JPEG")
        assert released is not None
        assert released.startswith(b"\x89PNG")
        assert b"pHYs" in released
        merged = merged_row(data, image_id="n/x.JPEG", faces=faces)
        _, bare = blur.release(raw, merged, data, STYLE, LIMITS, metadata="strip")
        assert b"pHYs" not in (bare or b"pHYs")


def test_a_crash_over_an_image_that_arrived_quarantines_it(photograph: bytes) -> None:
    with Workers() as workers:

        def crash(data: bytes, limits: Limits) -> Facts:
            return workers.call(ctypes.string_at, 0)  # type: ignore[return-value]

        row = download.record("a.jpg", "x", "", photograph, Download(), crash)
        assert (row["status"], row["reason"], row["member"]) == ("quarantined", CRASHED, "a.jpg")
        row = download.record("a.jpg", "x", "", photograph, Download(), lambda *given: workers.call(facts, *given))
        assert (row["status"], row["format"]) == ("ok", "JPEG")


def test_other_bytes_than_those_detected_stop_the_run(photograph: bytes) -> None:
    for raw, merged, data in (
        (raw_row(photograph), merged_row(photograph), photograph + b"x"),
        (raw_row(photograph), merged_row(b"other"), photograph),
        (raw_row(b"other"), merged_row(photograph), photograph),
        (raw_row(photograph), merged_row(photograph), None),
    ):
        with pytest.raises(BlurlineError, match=r"a.jpg: its bytes are not those that were detected and merged"):
            decide(raw, merged, data)


FACE = dict.fromkeys(tables.FACE) | {
    "box_id": "b" * 16,
    "frame": -1,
    "x1": 5,
    "y1": 5,
    "x2": 20,
    "y2": 20,
    "blur": True,
}
REGION = {"frame": -1, "x1": 4, "y1": 4, "x2": 21, "y2": 21, "method": "gaussian", "sigma": 2.0}


def frames(**changes: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    row = {"status": "ok", "state": "auto", "action": "blurred", "faces": [FACE], "regions": [REGION]} | changes
    merged = dict.fromkeys(tables.MERGED) | {k: row[k] for k in ("status", "state", "faces")} | {"image_id": "a"}
    blurred = dict.fromkeys(tables.BLURRED) | {k: row[k] for k in ("action", "regions")} | {"image_id": "a"}
    return pl.DataFrame([merged], dict(tables.MERGED)), pl.DataFrame([blurred], dict(tables.BLURRED))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"regions": []}, "a: box bbbbbbbbbbbbbbbb was to be blurred and is not"),
        ({"action": "unchanged", "regions": []}, "was to be blurred and is not"),
        ({"regions": [{"frame": -1, "x1": 6, "y1": 4, "x2": 21, "y2": 21, "method": "", "sigma": 2.0}]}, "is not"),
        ({"regions": [REGION | {"frame": 1}]}, "is not"),
        ({"faces": [FACE | {"frame": 2}], "regions": [REGION | {"frame": 1}]}, "is not"),
        ({"status": "error"}, "a: released, though error and auto"),
        ({"state": "excluded"}, "a: released, though ok and excluded"),
    ],
)
def test_checksum_releases_nothing_that_is_not_proven(changes: dict[str, Any], complaint: str) -> None:
    checksum.check_released(*frames())
    checksum.check_released(*frames(faces=[FACE | {"frame": 2}]))
    checksum.check_released(*frames(faces=[FACE | {"frame": 2}], regions=[REGION | {"frame": 2}]))
    with pytest.raises(BlurlineError, match=complaint):
        checksum.check_released(*frames(**changes))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (("blurred", [1]), ("blurred", [1]), True),
        (("blurred", [1]), ("blurred", [2]), False),
        (("blurred", [1]), ("unchanged", []), False),
        (("erased", []), ("unchanged", []), False),
        (("excluded", []), ("blurred", [1]), False),
        (("failed", []), ("unchanged", []), True),
    ],
)
def test_copies_of_an_image_end_alike(one: tuple[str, list[int]], other: tuple[str, list[int]], alike: bool) -> None:
    rows = [("a", SHA, *one), ("b", SHA, *other), ("c", "c" * 64, "excluded", []), ("d", None, "failed", [])]
    manifest = pl.DataFrame(rows, ["image_id", "sha256", "action", "regions"], orient="row")
    if alike:
        checksum.check_duplicates(manifest)
    else:
        with pytest.raises(BlurlineError, match=r"a and b have the same bytes, but one is .* run `blurline pin`"):
            checksum.check_duplicates(manifest)


def test_every_row_is_accounted_for() -> None:
    outcomes = pl.DataFrame({"action": ["blurred", "failed", "unchanged"]})
    assert checksum.account(outcomes, 3)["rows"] == 3
    for table, rows in (
        (outcomes, 4),
        (outcomes.with_columns(action=pl.lit("lost")), 3),
        (outcomes.with_columns(action=pl.lit(None, pl.String)), 3),
    ):
        with pytest.raises(BlurlineError, match="every row must be accounted for"):
            checksum.account(table, rows)


@pytest.mark.parametrize(
    ("failed", "allowed", "stops"), [(0, 0.0, False), (5, 0.5, False), (6, 0.5, True), (1, 0.0, True)]
)
def test_too_many_failed_downloads_stop_the_release(failed: int, allowed: float, stops: bool) -> None:
    reasons = ["dns", "http 404", "dns", "dns", "timeout", "http 404"][:failed]
    rows = [("failed", reason) for reason in reasons] + [("unchanged", ""), ("quarantined", "not an image")] * 5
    manifest = pl.DataFrame(rows[:10], ["action", "reason"], orient="row")
    if not stops:
        checksum.check_failures(manifest, allowed)
        return
    with pytest.raises(BlurlineError) as caught:
        checksum.check_failures(manifest, allowed)
    if failed == 6:
        assert str(caught.value) == (
            "params.yaml: download.max_failure_rate: 6 of 10 rows failed, 60.0% where 50.0% may (3 dns, 2 http 404, "
            "1 timeout): ask for them again with `blurline retry`, or raise the limit"
        )


def detected(
    project: Path, monkeypatch: pytest.MonkeyPatch, answers: list[list[Detection] | Failure]
) -> dict[str, tuple[str, str, int]]:
    """Run download and detect with a detector that gives these answers: image_id → status, reason, boxes."""
    images = project / "data/sources/images"
    names = small_images(images)[:3]
    with Image.open(images / names[0]) as one, Image.open(images / names[1]) as two:
        one.save(images / "moving.gif", save_all=True, append_images=[two])
    (images / "text.jpg").write_text("no image")
    rows = [f"{name},images/{name}\n" for name in (names[0], "moving.gif", "gone.jpg", names[1], "text.jpg", names[2])]
    (project / "data/sources/one.csv").write_text("image_id,url\n" + "".join(rows))
    (project / "face.pt").write_bytes(b"weights")
    place(project, "face.pt", weights_digest(project / "face.pt"))

    class Fake:
        def __init__(self, path: Path, sha256: str, **settings: object) -> None:
            assert path.read_bytes() == b"weights"

        def detect(self, pictures: Iterable[Picture]) -> Iterator[list[Detection] | Failure]:
            # Like the real one, it reads ahead of its answers.
            assert [one.pixels.shape for one in pictures] == [(256, 256, 3)] * 5
            yield from answers

    monkeypatch.setattr(ensemble, "Detector", Fake)
    jobs = plan.load(project).jobs
    download.run(jobs["download", "one-00000"])
    detect.run(jobs["detect", "one-00000"])
    table = pl.read_parquet(project / "data/detections/one-00000.parquet")
    return {r["image_id"]: (r["status"], r["reason"], len(r["faces"])) for r in table.iter_rows(named=True)}


def test_what_the_detector_cannot_judge_is_never_an_image_without_faces(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = Detection("face", 10, 20, 30, 40, score=0.9)
    assert detected(project, monkeypatch, [[face, face], [face], [face], Failure("it broke"), []]) == {
        "face.jpg": ("ok", "", 2),
        "moving.gif": ("ok", "", 2),
        "gone.jpg": ("skipped", "failed", 0),
        "cat.jpg": ("error", "it broke", 0),
        "text.jpg": ("skipped", "quarantined", 0),
        "mirror.png": ("ok", "", 0),
    }


@pytest.mark.parametrize("failing", [0, 1])
def test_an_image_of_which_one_frame_failed_is_one_of_which_nothing_is_known(
    project: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    face = Detection("face", 10, 20, 30, 40, score=0.9)
    frames: list[list[Detection] | Failure] = [[face], [face]]
    frames[failing] = Failure("it broke")
    assert detected(project, monkeypatch, [[], *frames, [], []])["moving.gif"] == ("error", "it broke", 0)


def test_faces_know_their_frame(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    face = Detection("face", 10, 20, 30, 40, score=0.9)
    detected(project, monkeypatch, [[face], [], [face, face], [], []])
    table = pl.read_parquet(project / "data/detections/one-00000.parquet")
    found = {row["image_id"]: [face["frame"] for face in row["faces"]] for row in table.iter_rows(named=True)}
    assert found == {
        "face.jpg": [-1],
        "moving.gif": [1, 1],
        "gone.jpg": [],
        "cat.jpg": [],
        "text.jpg": [],
        "mirror.png": [],
    }


def test_a_detector_that_stops_early_stops_the_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BlurlineError, match="one-00000: the detector answered 1 images too few: run again"):
        detected(project, monkeypatch, [[], [], [], []])
    assert not (project / "data/detections").exists()


def test_a_decision_that_met_no_image_stops_the_release() -> None:
    manifest = pl.DataFrame({"sha256": [SHA, None]}, schema={"sha256": pl.String})
    fields = {"image_id": "a.jpgg", "action": "erase", "reviewer": "ann", "decided_at": "2026-01-01"}
    checksum.check_decisions(manifest, [Decision.model_validate(fields | {"sha256": SHA})])
    with pytest.raises(BlurlineError, match=r"erase by ann: no manifest has image_id 'a.jpgg', and no image"):
        checksum.check_decisions(manifest, [Decision.model_validate(fields | {"sha256": "b" * 64})])


@pytest.mark.parametrize("readers", [1, 3])
def test_pictures_for_several_detectors_are_held_only_until_all_have_had_them(readers: int) -> None:
    class Pixels:
        def __init__(self, number: int) -> None:
            self.number = number

    alive: weakref.WeakSet[Pixels] = weakref.WeakSet()

    def pictures() -> Iterator[Pixels]:
        for n in range(200):
            picture = Pixels(n)
            alive.add(picture)
            yield picture
            del picture

    most = 0
    for n, held in enumerate(zip(*ensemble.tee(pictures(), readers), strict=True)):
        assert [one.number for one in held] == [n] * readers
        del held
        most = max(most, len(alive))
    assert n == 199
    assert most <= 3
