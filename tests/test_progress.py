"""What people are told while they wait, and what the steps' speed is afterwards."""

import io
import json
import time
from pathlib import Path

import pytest

from blurline import performance, progress, receipts
from blurline.progress import Watch, track, under_way
from blurline.release.summary import failures


def test_items_pass_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    note = tmp_path / "progress"
    seen = []
    for item in track("abc", note, 3):
        seen.append((item, note.read_text()))
    assert seen == [("a", "0 3"), ("b", "1 3"), ("c", "2 3")]
    assert note.read_text() == "3 3"


def test_only_jobs_of_this_run_are_under_way(tmp_path: Path) -> None:
    for label, text in (("detect.one-00000", "30 50"), ("detect.one-00001", "12 50"), ("blur.one-00002", "rubbish")):
        with_note = tmp_path / receipts.SCRATCH / f"host+1+{label}+x"
        with_note.mkdir(parents=True)
        (with_note / progress.FILE).write_text(text)
    assert under_way(tmp_path, time.time() - 60) == {"detect": 42}
    assert under_way(tmp_path, time.time() + 60) == {}


def test_a_line_says_how_far_and_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, planned = "data/detections/one-00000.x.json", "data/detections/one-00001.x.json"
    (tmp_path / "data/detections").mkdir(parents=True)
    (tmp_path / done).touch()
    shards = {"detect": {done: 1000, planned: 5000}, "blur": {done: 7}, "merge": {}}
    now = iter([100.0, 110.0, 130.0])
    monkeypatch.setattr("blurline.progress.time.monotonic", lambda: next(now))
    stream = io.StringIO()
    watch = Watch(tmp_path, shards, stream)
    assert watch.line() == "", "nothing has moved"
    job = tmp_path / receipts.SCRATCH / "host+1+detect.one-00001+x"
    job.mkdir(parents=True)
    (job / progress.FILE).write_text("600 5000")
    assert watch.line() == "detect 1,600 of 6,000 images (20.0/s, 4 min left)"


def test_the_watch_speaks_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SPOKEN", 0.01)
    job = tmp_path / receipts.SCRATCH / "host+1+blur.one-00000+x"
    job.mkdir(parents=True)
    stream = io.StringIO()
    watch = Watch(tmp_path, {"blur": {"data/blurred/one-00000.x.json": 5}}, stream)
    (job / progress.FILE).write_text("2 5")
    watch.start()
    end = time.monotonic() + 10
    while not stream.getvalue() and time.monotonic() < end:
        time.sleep(0.01)
    watch.stop()
    assert stream.getvalue().startswith("  … blur 2 of 5 images (")


HEADER = "s\th:m:s\tmax_rss\tmax_vms\n"


def test_speed_is_added_up_from_what_snakemake_measured(tmp_path: Path) -> None:
    for shard, row in {"a-00000": "10.5\t0:00:10\t812.5\t1", "a-00001": "9.5\t0:00:09\t-\t-"}.items():
        path = tmp_path / performance.benchmark_file("blur", shard, "k")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{HEADER}{row}\n")
    (tmp_path / performance.benchmark_file("blur", "a-00002", "k")).write_text("cut off")
    jobs = [(step, f"a-0000{n}", key, 100) for step in ("detect", "blur") for n in range(4) for key in ("k", "other")]
    found = performance.examine(tmp_path, jobs)
    assert found == {
        "blur": {"shards": 2, "images": 200, "seconds": 20.0, "peak_memory_mb": 812.5, "images_per_second": 10.0}
    }
    (tmp_path / "data").mkdir()
    performance.record(tmp_path, found)
    performance.record(tmp_path, {})
    assert json.loads((tmp_path / performance.FILE).read_text()) == found


def test_what_stopped_a_run_is_said_once(tmp_path: Path) -> None:
    texts = ["progress\nerror: a: broken: mend it\n", "error: a: broken: mend it\n", "Traceback\nValueError\n", ""]
    logs = [tmp_path / f"{n}.log" for n in range(5)]
    for log, text in zip(logs, texts, strict=False):
        log.write_text(text)
    lines = failures(logs).splitlines()
    assert lines[0] == "the run stopped:"
    assert lines[1] == f"  error: a: broken: mend it ({logs[1]})"
    assert len(lines) == 3
    assert failures(logs[2:]).splitlines()[0] == "the run stopped; the messages above say why"
