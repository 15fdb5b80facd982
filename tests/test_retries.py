"""Asking again: rounds in a file that git tracks, and only for what failed."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from blurline import arrivals, plan, receipts, retries
from blurline.errors import BlurlineError
from blurline.steps import download
from tests.workflow.project import small_images

SHARDS = ["one-00000", "one-00001"]


class Server:
    """Serves a folder, but for the names that are `down`; remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.down: set[str] = set()
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                outer.asked.append(name)
                gone = name in outer.down
                data = b"" if gone else (folder / name.partition("?")[0]).read_bytes()
                self.send_response(404 if gone else 200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "images"
    small_images(folder)
    server = Server(folder)
    yield server
    server.close()


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Path:
    """Six images in two shards, all from the server."""
    (tmp_path / "data/sources").mkdir(parents=True)
    (tmp_path / "data/review").mkdir()
    params = {
        "dataset": {"name": "t"},
        "sources": ["one"],
        "shard_size": 3,
        "detect": {"weights": "centerface", "sha256": "a" * 64},
        "download": {"allow_private_hosts": True, "retries": 0},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    rows = "".join(f"{name},{server.url}/{name}\n" for name in names)
    (tmp_path / "data/sources/one.csv").write_text(f"image_id,url\n{rows}")
    return tmp_path


def fetch(project: Path) -> None:
    """What snakemake would do: run the download jobs whose receipts are missing."""
    planned = plan.load(project)
    for shard in SHARDS:
        if not (project / planned.receipt("download", shard)).exists():
            download.run(plan.job(project, "download", shard, planned.jobs["download", shard].key, 2))


def payload(project: Path) -> dict[str, str]:
    raw = project / "data/raw"
    return {name: receipts.file_digest(raw / name) for name in receipts.files(raw) if not name.endswith(".json")}


def test_only_what_failed_is_asked_for_again(project: Path, server: Server) -> None:
    fetch(project)
    whole = payload(project)
    for path in (project / "data/raw").iterdir():
        path.unlink()
    server.down = {"cat.jpg", "whole.jpg"}
    fetch(project)
    assert arrivals.failed(project, plan.load(project))[0] == {"one-00000": 1, "one-00001": 1}
    assert payload(project) != whole
    server.down = {"whole.jpg"}
    server.asked.clear()
    fetch(project)
    assert server.asked == [], "a failed row makes nothing stale by itself"

    assert retries.append(project, ["one-00000", "one-00001"]) == {"one-00000": 1, "one-00001": 1}
    fetch(project)
    assert sorted(server.asked) == ["cat.jpg", "whole.jpg"]
    assert arrivals.failed(project, plan.load(project))[0] == {"one-00001": 1}

    server.down = set()
    server.asked.clear()
    assert retries.append(project, ["one-00001"]) == {"one-00001": 2}
    fetch(project)
    assert server.asked == ["whole.jpg"]
    assert arrivals.failed(project, plan.load(project))[0] == {}
    assert payload(project) == whole, "the same bytes arrived: the shards are byte-identical"
    assert (project / retries.FILE).read_text() == "shard,round\none-00000,1\none-00001,1\none-00001,2\n"


def test_the_round_is_part_of_the_download_key_of_its_shard(project: Path) -> None:
    before = plan.load(project)
    retries.append(project, ["one-00001"])
    after = plan.load(project)
    moved = {at for at in before.jobs if before.jobs[at].parts != after.jobs[at].parts and at[1] in SHARDS}
    assert {shard for _, shard in moved} == {"one-00001"}
    assert after.jobs["download", "one-00001"].parts["rows"]["retry"] == 1
    assert all("retry" not in after.jobs[at].parts["rows"] for at in moved if at[0] != "download")
    assert "retry" not in after.jobs["download", "one-00000"].parts["rows"]


def test_nothing_is_kept_of_other_rows_or_damaged_files(project: Path, server: Server) -> None:
    server.down = {"cat.jpg"}
    fetch(project)
    manifest = project / "data/sources/one.csv"
    manifest.write_text(manifest.read_text().replace("/eye.png", "/eye.png?again"))
    retries.append(project, ["one-00000"])
    server.asked.clear()
    fetch(project)
    assert {"cat.jpg", "eye.png?again", "face.jpg"} == set(server.asked), "the manifest is another: fetched as a whole"

    tar = project / "data/raw/one-00000.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    retries.append(project, ["one-00000"])
    with pytest.raises(BlurlineError, match=r"data/raw/one-00000.tar: not what one-00000\."):
        fetch(project)


def test_a_retry_without_the_earlier_files_fetches_all(project: Path, server: Server) -> None:
    assert arrivals.failed(project, plan.load(project)) == ({}, SHARDS)
    retries.append(project, ["one-00000"])
    fetch(project)
    assert len(server.asked) == 6
    assert arrivals.failed(project, plan.load(project))[0] == {}


def test_a_round_of_no_source_is_named(project: Path) -> None:
    (project / retries.FILE).write_text("shard,round\nonce-00000,1\n")
    with pytest.raises(BlurlineError, match=r"retries.csv: shard once-00000: there is no source once"):
        plan.load(project)


CASES = [
    ("shard;round\n", "1: want the columns shard,round: restore the file from git"),
    ("shard,round\none,1\n", "2: want <source>-<00000>,<round>: mend the line"),
    ("shard,round\n\none-00000\n", "3: want <source>-<00000>,<round>: mend the line"),
    ("shard,round\none-00000,0\n", "2: round: want a whole number from 1 on (it is '0')"),
    ("shard,round\none-00000,two\n", "2: round: want a whole number from 1 on (it is 'two')"),
]


@pytest.mark.parametrize(("text", "line"), CASES)
def test_bad_files(project: Path, text: str, line: str) -> None:
    (project / retries.FILE).write_text(text)
    with pytest.raises(BlurlineError) as caught:
        plan.load(project)
    assert str(caught.value) == f"{retries.FILE}:{line}"


def test_no_source_is_called_retries(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("- one", "- retries"))
    with pytest.raises(BlurlineError, match="retries is the name of another file in data/sources"):
        plan.load(project)


def test_a_file_without_its_last_line_end_is_added_to(project: Path) -> None:
    (project / retries.FILE).write_text("shard,round\none-00000,3")
    retries.append(project, ["one-00000"])
    assert retries.read(project) == {"one-00000": 4}
