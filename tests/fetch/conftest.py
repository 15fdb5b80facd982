"""What the tests of fetching share: a server, and a way to fetch from it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blurline.fetch import Fetched, Fetcher, FetchFailed
from blurline.params import Download
from tests.fetch import server as servers

Get = Callable[..., Fetched | FetchFailed]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[servers.Running]:
    with servers.running() as running:
        yield running


def settings(**changes: Any) -> Download:
    """Params for tests: loopback is allowed, and pauses are short."""
    return Download(
        **{
            "allow_private_hosts": True,
            "backoff": 0.01,
            "timeout": 20.0,  # a busy machine must not look like a slow server
            "connect_timeout": 20.0,
            "max_bytes": 10_000_000,
            **changes,
        }
    )


@pytest.fixture
def get(tmp_path: Path) -> Get:
    """Fetch one URL with these params."""

    def fetch(url: str, lookup: Any = None, **changes: Any) -> Fetched | FetchFailed:
        more = {"lookup": lookup} if lookup else {}
        with Fetcher(tmp_path, settings(**changes), tmp_path, **more) as fetcher:
            (found,) = fetcher.fetch_all([url])
        return found

    return fetch
