"""Object stores, against a real S3 API on loopback; and other file systems that fsspec knows."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.registry import _registry
from moto.server import ThreadedMotoServer

from blurline.errors import BlurlineError
from blurline.fetch import Fetched, Fetcher, FetchFailed, stores, urls
from tests.fetch.conftest import Get, settings
from tests.fetch.server import LARGE, running


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket, and fsspec configured as a user would: by its own configuration."""
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": endpoint, "key": "me", "secret": "secret"})
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="me",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    s3.create_bucket(Bucket="images")
    fsspec.filesystem("s3").clear_instance_cache()
    return s3


def arrived(found: Fetched | FetchFailed) -> bytes:
    assert isinstance(found, Fetched), found.reason
    assert (found.http_status, found.final_url) == (None, None)
    return found.body.take()


@pytest.mark.parametrize("size", [0, 1, 1000, stores.PART - 1, stores.PART, stores.PART + 1, 3 * stores.PART + 7])
def test_objects_of_any_size(bucket: Any, get: Get, size: int) -> None:
    data = (LARGE * 8)[:size]
    bucket.put_object(Bucket="images", Key="a/b c.jpg", Body=data)
    assert arrived(get("s3://images/a/b c.jpg")) == data


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://images/gone.jpg", "file not found"),
        ("s3://no-such-bucket/x.jpg", "file not found"),
        ("s3://images/large.jpg", "over max_bytes"),
        ("s3://images/larger.jpg", "over max_bytes"),
    ],
)
def test_failures(bucket: Any, get: Get, url: str, reason: str) -> None:
    bucket.put_object(Bucket="images", Key="large.jpg", Body=b"x" * 1001)
    bucket.put_object(Bucket="images", Key="larger.jpg", Body=b"x" * (2 * stores.PART))
    found = get(url, max_bytes=1000)
    assert isinstance(found, FetchFailed)
    assert (found.reason, found.attempts) == (reason, 1)


def test_many_objects_at_once(bucket: Any, tmp_path: Path) -> None:
    for n in range(40):
        bucket.put_object(Bucket="images", Key=f"{n}.jpg", Body=b"%d" % n)
    with Fetcher(tmp_path, settings(), tmp_path) as fetcher:
        found = [arrived(one) for one in fetcher.fetch_all(f"s3://images/{n}.jpg" for n in range(40))]
    assert found == [b"%d" % n for n in range(40)]


def test_two_versions_are_never_joined(bucket: Any, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object is replaced by another of the same size while its parts are read."""
    one, two = b"1" * (3 * stores.PART), b"2" * (3 * stores.PART)
    bucket.put_object(Bucket="images", Key="x.jpg", Body=one)
    part, asked = stores._part, []

    def slow(store: Any, path: str, start: int) -> bytes:
        asked.append(start)
        if len(asked) == 3:
            bucket.put_object(Bucket="images", Key="x.jpg", Body=two)
        return part(store, path, start)

    monkeypatch.setattr(stores, "_part", slow)
    found = get("s3://images/x.jpg")
    assert arrived(found) == two
    assert isinstance(found, Fetched)
    assert found.setbacks == ("changed during transfer",)


def test_a_store_out_of_reach(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = {"endpoint_url": "http://127.0.0.1:1", "anon": True, "config_kwargs": {"retries": {"max_attempts": 0}}}
    monkeypatch.setitem(fsspec.config.conf, "s3", conf)
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    found = get("s3://images/x.jpg", retries=1)
    assert isinstance(found, FetchFailed)
    assert found.reason.startswith("store failed (")
    assert "127.0.0.1" not in found.reason


def test_a_missing_driver_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with (
        pytest.raises(BlurlineError, match=r"^gs:// needs a driver .*gcsfs.*: pip install 'blurline\[gcs\]', and run"),
        Fetcher(tmp_path, settings(), tmp_path) as fetcher,
    ):
        list(fetcher.fetch_all(["gs://bucket/x.jpg", "gs://bucket/y.jpg"]))


def test_hosts_that_a_manifest_names_are_checked(get: Get) -> None:
    with running() as server:
        for scheme in ("ftp", "webhdfs", "sftp", "smb"):
            found = get(f"{scheme}://127.0.0.1:{server.port}/x.jpg", allow_private_hosts=False)
            assert isinstance(found, FetchFailed)
            assert found.reason == "blocked address"
        assert server.seen.count == 0
        assert isinstance(get(f"webhdfs://127.0.0.1:{server.port}/x.jpg", retries=0), FetchFailed)
        assert server.seen.count > 0


class OfAPlugin(AbstractFileSystem):  # type: ignore[misc]
    """A driver that nobody here has heard of; it gives the URL's bytes back."""

    protocol = "plugin"

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        return path.encode()[start:end]


def test_a_driver_that_is_not_known_here_gets_public_hosts_alone(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_registry, "plugin", OfAPlugin)
    monkeypatch.setattr(urls, "_stores", lambda: frozenset({"plugin"}))

    def lookup(host: str) -> list[str]:
        return {"example.org": ["93.184.215.14"]}.get(host, ["10.0.0.1"])

    for url, allowed in {
        "plugin://example.org/x.jpg": True,
        "plugin://intern/x.jpg": False,
        "plugin:///etc/passwd": False,
    }.items():
        found = get(url, lookup, allow_private_hosts=False)
        assert isinstance(found, Fetched) is allowed, url
        assert allowed or (isinstance(found, FetchFailed) and found.reason == "blocked address")
        assert isinstance(get(url, lookup, allow_private_hosts=True), Fetched)


def test_a_bucket_is_no_host(bucket: Any, get: Get) -> None:
    """The endpoint is on loopback, and that is the user's own choice."""
    bucket.put_object(Bucket="images", Key="x.jpg", Body=b"x")
    assert arrived(get("s3://images/x.jpg", allow_private_hosts=False)) == b"x"
