"""What a maintainer runs between releases: plan, status, verify, the report; and what is told while people wait."""

import json
import os
import pty
import re
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from blurline import performance
from tests.workflow.project import NOTHING, Project


def test_the_plan_says_why(project: Project) -> None:
    project.set("blur.strength", 0.5)
    project.decide("cat.jpg", "add", x1=10, y1=10, x2=80, y2=90)
    assert len(project.planned()) == 9
    lines = [line.rstrip() for line in project.run("blurline", "plan").splitlines()]
    assert lines == [
        "merge     1 of 2 shards: small-00000",
        "            decisions: 0 rows → 1 rows",
        "blur      1 of 2 shards: small-00000",
        "            blur.strength: 0.3 → 0.5",
        "            follows merge",
        "blur      1 of 2 shards: small-00001",
        "            blur.strength: 0.3 → 0.5",
        "recheck   all 2 shards",
        "            follows blur",
        "checksum",
        "            follows merge, blur, recheck",
        "9 jobs to run: `snakemake --cores all`",
    ]
    state = json.loads(project.run("blurline", "plan", "--json"))
    assert {(one["step"], one["shard"]) for one in state["due"]} == {
        *(("merge", shard) for shard in ("small-00000", "_step")),
        *((step, shard) for step in ("blur", "recheck") for shard in ("small-00000", "small-00001", "_step")),
        ("checksum", "_step"),
    }
    (merge,) = (one for one in state["due"] if (one["step"], one["shard"]) == ("merge", "small-00000"))
    ((decisions),) = merge["changes"]
    assert (decisions["part"], decisions["old"]["rows"], decisions["new"]["rows"]) == ("decisions", 0, 1)
    project.snakemake()
    assert project.planned() == []
    assert "nothing to do" in project.run("blurline", "plan")


def test_a_gap_is_reported_as_broken(project: Project) -> None:
    """Snakemake has nothing to do for a receipt that is missing below one that is there: somebody has to say so."""
    receipt = next((project.path / "data/merged").glob("small-00000.*.json"))
    receipt.unlink()
    assert NOTHING in project.snakemake("-n")
    output = project.run("blurline", "plan", ok=False)
    assert f"broken: data/merged/{receipt.name} is missing, though data/blurred/small-00000." in output
    assert "error: 1 receipts are missing below ones that were made from them: `dvc checkout` brings" in output
    project.run("blurline", "repair")
    assert {receipt.split("/")[1] for receipt in project.planned()} == {"merged", "blurred", "recheck", "release"}
    project.snakemake()
    project.is_idle()


def test_a_killed_run_is_planned_on(project: Project) -> None:
    project.set("detect.confidence", 0.35)
    project.kill_when("snakemake", "--cores", "1", after=60, pattern="data/merged/small-0000?.*.json")
    project.run("snakemake", "--unlock")
    assert project.planned()


def test_the_status_counts_what_is_there(project: Project) -> None:
    images = project.path / "data/sources/images"
    (images / "text.jpg").write_text("not an image")
    (project.path / "data/sources/odd.csv").write_text(
        "image_id,url\nbad/text.jpg,images/text.jpg\nbad/gone.jpg,images/gone.jpg\nbad/gone2.jpg,images/gone2.jpg\n"
    )
    project.set("sources", ["small", "odd"])
    before = json.loads(project.run("blurline", "status", "--json"))
    assert before["release"] == "stale"
    assert before["sources"]["odd"]["steps"]["download"] == {"done": 0, "stale": 0, "missing": 1, "counts": {}}
    project.snakemake()
    found = json.loads(project.run("blurline", "status", "--json"))
    assert found["release"] == "done"
    small, odd = found["sources"]["small"], found["sources"]["odd"]
    assert (small["rows"], small["shards"], small["unpinned"]) == (6, 2, 0)
    assert small["steps"]["blur"]["done"] == 2
    assert small["faces_blurred"] == small["steps"]["merge"]["counts"]["blur"] > 0
    assert (odd["rows"], odd["unpinned"]) == (3, 3)
    assert odd["failures"] == [
        {"status": "failed", "reason": "file not found", "rows": 2},
        {"status": "quarantined", "reason": odd["failures"][1]["reason"], "rows": 1},
    ]
    for name, size in found["disk"].items():
        path = project.path / "data" / name
        if path.is_dir():
            assert size == sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    text = project.run("blurline", "status")
    assert "odd: 3 rows in 1 shard, 3 unpinned" in text
    assert "  2 failed: file not found" in text


def test_people_are_told_how_far_it_is_and_logs_are_not(project: Project) -> None:
    """A slow server, a real terminal: a line every few seconds; into a file: none."""
    data = (project.path / "data/sources/images/cat.jpg").read_bytes()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(9)  # longer than between two of the lines
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    rows = "".join(f"slow/{n}.jpg,{url}/{n}\n" for n in range(4))
    (project.path / "data/sources/slow.csv").write_text(f"image_id,url\n{rows}")
    project.set("sources", ["small", "slow"])
    project.set("shard_size", 4)
    project.set("download.threads", 1)
    project.set("download.allow_private_hosts", True)
    try:
        output = in_terminal(project, "snakemake", "--cores", "1", "--until", "download")
        said = [line for line in output.splitlines() if line.startswith("  … download ")]
        assert any(re.match(r"  … download \d of 10 images \(\d\.\d/s(, \d+ s left)?\)", line) for line in said), output
        assert "rule download:" in output
        for receipt in (project.path / "data/raw").glob("slow-*.json"):
            receipt.unlink()
        assert "…" not in project.snakemake("--until", "download")
    finally:
        server.shutdown()


def in_terminal(project: Project, *command: str) -> str:
    """What a command writes to a terminal."""
    mine, its = pty.openpty()
    process = subprocess.Popen(command, cwd=project.path, env=project.env, stdin=its, stdout=its, stderr=its)
    os.close(its)
    output = b""
    while True:
        try:
            output += os.read(mine, 65536)
        except OSError:  # the other end is closed
            break
    os.close(mine)
    assert process.wait() == 0, output.decode()
    return output.decode().replace("\r\n", "\n")


def test_a_stopped_run_says_what_stopped_it_at_its_end(project: Project) -> None:
    (project.path / "data/raw/small-00001.tar").unlink()
    project.set("blur.margin", 0.2)
    lines = project.snakemake("--keep-going", ok=False).splitlines()
    start = lines.index("the run stopped:")
    assert lines[start + 1].startswith("  error: data/raw/small-00001.tar: not what small-00001.")
    assert "(logs/blur/small-00001." in lines[start + 1]
    assert lines[start + 2] == "  what is done is kept: mend the cause, and run the same command again"


def test_speed_and_memory_are_metrics(project: Project) -> None:
    found = json.loads((project.path / performance.FILE).read_text())
    assert list(found) == sorted(performance.STEPS)
    for of_step in found.values():
        assert of_step["images"] == 6
        assert of_step["images_per_second"] == pytest.approx(6 / of_step["seconds"], abs=0.01)
    shown = json.loads(project.dvc("metrics", "show", "--json"))
    assert set(shown[""]["data"]) == {"data/release/metrics.json", performance.FILE}
    # It is never the same twice, and belongs to no stage: it makes nothing stale.
    (project.path / performance.FILE).write_text("{}")
    project.is_idle()


def test_the_report_of_snakemake_works(project: Project) -> None:
    project.run("snakemake", "--report", "report.html")
    page = (project.path / "report.html").read_text()
    assert "A privacy-aware release of an image data set" in page
    assert project.planned() == []
