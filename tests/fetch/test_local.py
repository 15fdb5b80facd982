"""Files of this machine and of packages; the way of one URL that the maintainers chose; how URLs are shown."""

import os
from pathlib import Path

import pytest

from blurline import sources
from blurline.errors import BlurlineError
from blurline.fetch import Fetched, Fetcher, FetchFailed, fetch, urls
from blurline.fetch.bodies import LARGE, Shelf
from tests.fetch.conftest import settings
from tests.fetch.server import Running


def test_every_scheme_works(server: Running, tmp_path: Path) -> None:
    (tmp_path / "x y.bin").write_bytes(b"data")
    for url in (f"file://{tmp_path}/x%20y.bin", "x y.bin", f"FILE://{tmp_path}/x%20y.bin", "./x y.bin"):
        assert fetch(url, tmp_path, max_bytes=4, timeout=5) == b"data"
    assert fetch("package://skimage/data/README.txt", tmp_path, max_bytes=10**6, timeout=5)
    for url in (server.url("/good"), "HTTP" + server.url("/good")[4:], server.url("/robots?say=noindex")):
        assert len(fetch(url, tmp_path, max_bytes=1024, timeout=5)) == 1024


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("gone.jpg", "file not found"),
        (".", "file not readable (IsADirectoryError)"),
        ("a\0b", "file not readable (ValueError)"),
        ("file:///nowhere/x.jpg", "file not found"),
        ("file://other/etc/hostname", "file url names another host"),
        ("file://me@localhost/etc/hostname", "file url names another host"),
        ("file:///dev/zero", "no regular file"),
        ("/dev/null", "no regular file"),
        ("package://no_such_package/x.jpg", "package no_such_package is not installed"),
        ("package://../x.jpg", "package .. is not installed"),
        ("package://skimage/../numpy/__init__.py", "path leaves the package"),
        ("package://skimage/data/astronaut.png", "over max_bytes"),
        ("gopher://x/y", "scheme gopher is not supported"),
    ],
)
def test_failures_have_a_reason_that_holds_no_url(tmp_path: Path, url: str, reason: str) -> None:
    with pytest.raises(FetchFailed) as caught:
        fetch(url, tmp_path, max_bytes=1000, timeout=2)
    assert caught.value.reason == reason
    assert caught.value.attempts == 1


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FetchFailed, match=r"^no regular file$"):
        fetch("pipe", tmp_path, max_bytes=1000, timeout=2)


def test_this_machine_has_a_name(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    assert fetch(f"file://LOCALHOST{tmp_path}/x", tmp_path, max_bytes=1000, timeout=2) == b"x"


def test_many_files_in_their_order(tmp_path: Path) -> None:
    names = [str(n) for n in range(5000)]  # more than are fetched ahead
    for name in names:
        (tmp_path / name).write_text(name)
    with Fetcher(tmp_path, settings(), tmp_path) as fetcher:
        found = [one.body.take().decode() for one in fetcher.fetch_all(names) if isinstance(one, Fetched)]
    assert found == names


def test_bodies_go_to_files_when_memory_is_short(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, max_bytes=10 * LARGE, memory=1000)
    small, second, large = shelf.body(), shelf.body(), shelf.body()
    for body, size in ((small, 100), (second, 100), (large, 3 * LARGE)):
        for n in range(10):
            body.write(bytes([n]) * (size // 10))
        body.seal()
    assert len(list(tmp_path.iterdir())) == 1
    third = shelf.body()
    third.write(b"x" * 700)
    third.write(b"y" * 200)  # no room for this
    assert len(list(tmp_path.iterdir())) == 2
    assert third.take() == b"x" * 700 + b"y" * 200
    assert large.take() == b"".join(bytes([n]) * (3 * LARGE // 10) for n in range(10))
    assert list(tmp_path.iterdir()) == []
    assert small.take() == second.take() == b"".join(bytes([n]) * 10 for n in range(10))
    assert shelf.reserve(1000)
    with pytest.raises(FetchFailed, match="over max_bytes"):
        large.write(b"x" * (10 * LARGE + 1))


def test_a_full_disk_stops_the_run_and_is_no_failed_row(tmp_path: Path) -> None:
    """A folder that is not there stands for one that takes no more."""
    (tmp_path / "x").write_bytes(b"x" * (LARGE + 1))
    with (
        pytest.raises(BlurlineError, match=r"data/.tmp: cannot hold what arrives .*: make room on the disk"),
        Fetcher(tmp_path, settings(), tmp_path / "full") as fetcher,
    ):
        list(fetcher.fetch_all(["x", "x"]))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@example.org:80/a/b.jpg?token=x#y", "https://example.org:80/a/b.jpg"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Signature=abc", "https://b.s3.amazonaws.com/k"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("http://[::1/x?token=secret", "http://…"),
        ("images/a b.jpg", "images/a b.jpg"),
        ("tar://a.jpg::https://me:secret@host/x.tar?token=secret", "tar://a.jpg::https://host/x.tar"),
        ("TAR://a?b@c.jpg::zip://d e.zip::s3://b/x.tar?v=secret#x", "TAR://a?b@c.jpg::zip://d e.zip::s3://b/x.tar"),
        ("tar://a.jpg::x.tar", "tar://a.jpg::x.tar"),
        ("tar://https://me:secret@host/x.tar", "tar://…"),
        ("tar://a.jpg::zip://me:secret@host/x.zip?token", "tar://a.jpg::zip://…"),
        ("tar://https://me:secret@host/a::x.tar", "tar://…"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert urls.shown(url) == shown


def test_planning_shows_no_secrets(tmp_path: Path) -> None:
    (tmp_path / "data/sources").mkdir(parents=True)
    path = tmp_path / "data/sources/one.csv"
    for url in ("gopher://me:secret@x/y?token=secret", "https://me:secret@x/y?token=secret "):
        path.write_text(f"image_id,url\na.jpg,{url}\n")
        with pytest.raises(BlurlineError) as caught:
            sources.read(tmp_path, "one")
        assert "secret" not in str(caught.value)
        assert "x/y" in str(caught.value)


def test_schemes_that_planning_knows() -> None:
    for scheme in ("http", "https", "file", "package", "s3", "gs", "gcs", "abfs", "sftp", "hf"):
        assert urls.is_known(scheme)
    for scheme in ("gopher", "local", "memory", "data", "simplecache", "reference", "generic", "git", "dvc", ""):
        assert not urls.is_known(scheme)
