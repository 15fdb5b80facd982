"""Tables and tars: equal content gives equal bytes. Fetching: every scheme, and every failure has a reason."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blurline import tables, tars
from blurline.errors import BlurlineError
from blurline.fetch import FetchFailed, fetch


def test_tars_hold_no_time_and_no_user(tmp_path: Path) -> None:
    members = [("a/b.jpg", b"one"), ("ü" * 80 + "/c.png", b"two" * 1000), ("d.jpg", b"")]
    for name in ("one.tar", "two.tar"):
        with tars.Writer(tmp_path / name) as tar:
            for member, data in members:
                tar.add(member, data)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert list(tars.read(tmp_path / "one.tar")) == members
    import tarfile

    with tarfile.open(tmp_path / "one.tar") as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 0o644)


def test_tables_are_equal_bytes_and_checked(tmp_path: Path) -> None:
    row = dict.fromkeys(tables.BLURRED) | {"image_id": "a.jpg", "action": "failed", "regions": []}
    for name in ("one.parquet", "two.parquet"):
        tables.write(tmp_path / name, [row, row], tables.BLURRED)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert tables.read(tmp_path / "one.parquet", tables.BLURRED).height == 2
    with pytest.raises(BlurlineError, match="other columns than this version writes"):
        tables.read(tmp_path / "one.parquet", tables.RAW)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(BlurlineError, match="not a Parquet table"):
        tables.read(tmp_path / "bad.parquet", tables.RAW)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
        elif self.path in ("/good", "/cut"):
            self.send_response(200)
            self.send_header("Content-Length", "4" if self.path == "/good" else "10")
            self.end_headers()
            self.wfile.write(b"data")
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b"x" * 1000)
        elif self.path == "/slow":
            threading.Event().wait(3)
        else:
            self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/gone", "http 404"),
        ("/endless", "over max_bytes"),
        ("/slow", "timeout"),
        ("/cut", "connection failed (RemoteProtocolError)"),
    ],
)
def test_http_failures_have_a_reason(server: str, tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(FetchFailed) as caught:
        fetch(server + path, tmp_path, max_bytes=1000, timeout=0.5)
    assert caught.value.reason == reason


def test_every_scheme_works(server: str, tmp_path: Path) -> None:
    (tmp_path / "x y.bin").write_bytes(b"data")
    for url in (
        f"{server}/good",
        f"{server}/moved",
        f"file://{tmp_path}/x%20y.bin",
        "x y.bin",
        "HTTP" + server[4:] + "/good",
    ):
        assert fetch(url, tmp_path, max_bytes=4, timeout=5) == b"data"
    assert fetch("package://skimage/data/README.txt", tmp_path, max_bytes=10**6, timeout=5)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("gone.jpg", "file not found"),
        (".", "file not readable (IsADirectoryError)"),
        ("file:///nowhere/x.jpg", "file not found"),
        ("package://no_such_package/x.jpg", "package no_such_package is not installed"),
        ("package://../x.jpg", "package .. is not installed"),
        ("package://skimage/../numpy/__init__.py", "path leaves the package"),
        ("package://skimage/data/astronaut.png", "over max_bytes"),
        ("ftp://x/y", "scheme ftp is not supported"),
        ("http://127.0.0.1:1/", "connection failed (ConnectError)"),
    ],
)
def test_failures_have_a_reason_that_holds_no_url(tmp_path: Path, url: str, reason: str) -> None:
    with pytest.raises(FetchFailed) as caught:
        fetch(url, tmp_path, max_bytes=1000, timeout=2)
    assert caught.value.reason == reason
