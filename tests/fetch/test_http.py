"""The HTTP engine against a real server that misbehaves: what arrives, what is tried again, and why rows fail."""

import resource
import socket
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from blurline.errors import BlurlineError
from blurline.fetch import Fetched, Fetcher, FetchFailed
from tests.fetch.conftest import Get, settings
from tests.fetch.server import DATA, LARGE, Running, bomb


def arrived(found: Fetched | FetchFailed) -> bytes:
    assert isinstance(found, Fetched), found.reason
    return found.body.take()


def failed(found: Fetched | FetchFailed) -> FetchFailed:
    assert isinstance(found, FetchFailed)
    return found


def test_a_plain_answer(server: Running, get: Get) -> None:
    found = get(server.url("/good"))
    assert arrived(found) == DATA
    assert isinstance(found, Fetched)
    assert (found.http_status, found.final_url, found.setbacks) == (200, None, ())
    (headers,) = server.seen.headers
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"].startswith("blurline ")
    assert "cookie" not in headers


@pytest.mark.parametrize(
    ("path", "reason", "status", "attempts"),
    [
        ("/gone", "http 404", 404, 1),
        ("/status?code=410", "http 410", 410, 1),
        ("/status?code=403", "http 403", 403, 1),
        ("/status?code=204", "http 204", 204, 1),
        ("/status?code=304", "http 304", 304, 1),
        ("/status?code=500", "http 500", 500, 3),
        ("/status?code=429", "http 429", 429, 3),
        ("/silent", "timeout", None, 3),
        ("/drip", "timeout", 200, 3),
        ("/truncated", "truncated", 200, 3),
        ("/chunked?cut=1", "truncated", 200, 3),
        ("/reset", "connection lost", None, 3),
        ("/nonsense", "bad answer", None, 1),
        ("/endless", "over max_bytes", 200, 1),
        ("/endless-head", "bad answer", None, 1),
        ("/huge", "over max_bytes", 200, 1),
        ("/encoded?zeros=5000000", "over max_bytes", 200, 1),
        ("/encoded?cut=100", "truncated", 200, 3),
        ("/encoded?as=br", "content encoding not supported", 200, 1),
        ("/good?type=text/html", "not an image", 200, 1),
        ("/good?type=text/html;charset=utf-8", "not an image", 200, 1),
        ("/good?type=application/json", "not an image", 200, 1),
        ("/good?type=video/mp4", "not an image", 200, 1),
        ("/loop", "too many redirects", 302, 1),
        ("/moved-nowhere", "bad redirect", 302, 1),
        ("/moved?to=file:///etc/passwd", "bad redirect", 302, 1),
        ("/moved?to=ftp://x/y", "bad redirect", 302, 1),
        ("/moved?to=http://[/", "bad redirect", 302, 1),
        ("/moved?to=/gone", "http 404", 404, 1),
    ],
)
def test_failures(server: Running, get: Get, path: str, reason: str, status: int | None, attempts: int) -> None:
    waits = {"timeout": 0.5, "total_timeout": 1.0} if reason == "timeout" else {}
    found = failed(get(server.url(path), retries=2, max_bytes=1_000_000, max_redirects=3, **waits))
    assert (found.reason, found.http_status, found.attempts) == (reason, status, attempts)
    assert "127.0.0.1" not in found.reason
    redirects = 4 if path == "/loop" else 2 if path == "/moved?to=/gone" else 1
    # aiohttp by itself repeats a request once when the connection is lost before any answer.
    assert server.seen.count == attempts * redirects * (2 if path == "/reset" else 1)


@pytest.mark.parametrize(
    ("url", "reason", "attempts"),
    [
        ("http://127.0.0.1:1/", "connect", 2),
        ("http://nowhere.invalid/", "dns", 1),
        ("http://", "bad url", 1),
        ("http:///x.jpg", "bad url", 1),
        ("http://[::1/x.jpg", "bad url", 1),
        ("http://127.0.0.1:99999/", "bad url", 1),
        ("http://" + "a" * 70 + ".invalid/x.jpg", "bad url", 1),
        ("http://\ud800.invalid/x.jpg", "bad url", 1),
    ],
)
def test_no_answer_at_all(get: Get, url: str, reason: str, attempts: int) -> None:
    found = failed(get(url, retries=1))
    assert (found.reason, found.http_status, found.attempts) == (reason, None, attempts)


@pytest.mark.parametrize(
    "path",
    [
        "/good?type=application/octet-stream",
        "/good?type=image/png",
        "/good?type=text/plain",
        "/good?type=",
        "/chunked",
        "/encoded",
        "/encoded?as=identity",
        "/moved?to=/good",
        "/moved?to=good&code=308",
        "/moved?to=/moved?to=/good",
    ],
)
def test_what_arrives(server: Running, get: Get, path: str) -> None:
    if path == "/encoded?as=identity":
        assert arrived(get(server.url(path)))[:2] == b"\x1f\x8b"
    else:
        assert arrived(get(server.url(path))) == DATA


@pytest.mark.parametrize(
    ("path", "setbacks"),
    [
        ("/flaky?code=500&times=1", ["http 500"]),
        ("/flaky?code=503&times=2", ["http 503", "http 503"]),
        ("/reset?times=2", ["connection lost"]),
        ("/truncated?times=2", ["truncated", "truncated"]),
    ],
)
def test_what_may_pass_is_tried_again(server: Running, get: Get, path: str, setbacks: list[str]) -> None:
    found = get(server.url(path))
    assert arrived(found) == DATA
    assert isinstance(found, Fetched)
    assert found.http_status == 200
    assert list(found.setbacks) == setbacks


def test_back_off_grows_and_is_not_in_step(server: Running, tmp_path: Path) -> None:
    paths = [server.url(f"/flaky?code=500&times=3&n={n}") for n in range(4)]
    with Fetcher(tmp_path, settings(backoff=0.1), tmp_path) as fetcher:
        assert all(isinstance(found, Fetched) for found in fetcher.fetch_all(paths))
    gaps = []
    for n in range(4):
        times = [t for t, path in zip(server.seen.times, server.seen.paths, strict=True) if path.endswith(f"n={n}")]
        gaps.append([later - earlier for earlier, later in pairwise(times)])
    for one, two, three in gaps:
        assert one >= 0.1
        assert two >= 0.2
        assert three >= 0.4
    firsts = sorted(gap[0] for gap in gaps)
    assert firsts[-1] - firsts[0] > 0.005


def test_retry_after_is_obeyed(server: Running, get: Get) -> None:
    assert arrived(get(server.url("/flaky?code=429&times=1&after=1"))) == DATA
    one, two = server.seen.times
    assert 1.0 <= two - one < 2.0


def test_retry_after_may_be_a_date(server: Running, get: Get) -> None:
    assert arrived(get(server.url("/busy-until?seconds=3"))) == DATA
    one, two = server.seen.times
    assert 1.9 <= two - one < 4.0  # dates have whole seconds


def test_retry_after_has_a_limit(server: Running, get: Get) -> None:
    found = failed(get(server.url("/flaky?code=503&times=1&after=5"), max_retry_after=4.0))
    assert (found.reason, found.http_status, found.attempts) == ("retry-after too long", 503, 1)


def test_a_pause_holds_for_all_files_of_the_host(server: Running, tmp_path: Path) -> None:
    paths = [server.url("/flaky?code=429&times=1&after=1"), *(server.url(f"/good?{n}") for n in range(5))]
    with Fetcher(tmp_path, settings(per_host=1), tmp_path) as fetcher:
        assert all(isinstance(found, Fetched) for found in fetcher.fetch_all(paths))
    assert server.seen.times[1] - server.seen.times[0] >= 1.0


@pytest.mark.parametrize(
    ("query", "asked_for_range", "other"),
    [
        ("", True, False),
        ("?change=1", True, True),  # If-Range: the server sends the whole of the new version
        ("?then=200", True, False),
        ("?then=416", True, False),
        ("?then=lie", True, False),
        ("?then=shift", True, False),
        ("?then=gzip", True, False),
        ("?etag=W/", False, False),  # a weak tag promises no equal bytes
    ],
)
def test_a_broken_transfer_goes_on_where_it_was_or_starts_again(
    server: Running, get: Get, query: str, asked_for_range: bool, other: bool
) -> None:
    found = get(server.url("/ranges" + query), max_bytes=2_000_000)
    assert arrived(found) == (LARGE[::-1] if other else LARGE)
    assert isinstance(found, Fetched)
    assert (found.http_status, found.setbacks) == (200, ("truncated",))
    second = server.seen.headers[1]
    assert ("range" in second) is asked_for_range
    if asked_for_range:
        assert (second["range"], second["if-range"]) == (f"bytes={len(LARGE) // 2}-", '"one"')


def test_a_bomb_is_stopped_before_it_fills_the_memory(server: Running, get: Get) -> None:
    assert len(bomb(100_000_000)) < 100_000  # one chunk
    tracemalloc.start()
    found = failed(get(server.url("/encoded?zeros=100000000"), max_bytes=1_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.reason == "over max_bytes"
    assert peak < 20_000_000


def test_small_files_are_not_resumed(server: Running, get: Get) -> None:
    assert arrived(get(server.url("/truncated?times=1"))) == DATA
    assert all("range" not in headers for headers in server.seen.headers)


@pytest.mark.parametrize(
    ("say", "out"),
    [
        ("noai", True),
        ("noimageai", True),
        ("NoIndex", True),
        ("noimageindex", True),
        ("nofollow, noai", True),
        ("nofollow|noai", True),
        ("blurline: noai", True),
        ("BlurLine : nofollow, noai", True),
        ("otherbot: noai", False),
        ("otherbot: nofollow, noindex", True),
        ("nofollow, nosnippet", False),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST", False),
        ("all", False),
    ],
)
def test_opt_outs_are_honoured_unless_params_say_otherwise(server: Running, get: Get, say: str, out: bool) -> None:
    path = server.url(f"/robots?say={say.replace(' ', '%20')}")
    if out:
        assert failed(get(path)).reason == "opt-out"
    else:
        assert arrived(get(path)) == DATA
    assert arrived(get(path, honour_opt_out=False)) == DATA


def test_opt_outs_on_the_way(server: Running, get: Get) -> None:
    assert failed(get(server.url("/robots?say=noai&code=302"))).reason == "opt-out"
    assert failed(get(server.url("/robots?say=noindex&code=404"))).reason == "http 404"
    assert arrived(get(server.url("/robots?say=nofollow&code=503"))) == DATA
    assert failed(get(server.url("/robots?say=noindex&code=503"))).reason == "opt-out"  # of the image, at last
    assert server.seen.count == 6


def test_redirects_are_recorded_without_their_secrets(server: Running, get: Get) -> None:
    found = get(server.url(f"/moved?to=http://me:secret@127.0.0.1:{server.port}/good?X-Amz-Signature=abc"))
    assert isinstance(found, Fetched)
    assert found.final_url == server.url("/good")
    lost = failed(get(server.url("/moved?to=/gone?token=abc")))
    assert lost.final_url == server.url("/gone")


def test_a_password_goes_to_its_own_server_only(server: Running, get: Get) -> None:
    url = server.url(f"/moved?to=http://localhost:{server.port}/good").replace("://", "://me:secret@")
    assert arrived(get(url, lookup=lambda _: ["127.0.0.1"])) == DATA
    first, second = server.seen.headers
    assert first["authorization"].startswith("Basic ")
    assert "authorization" not in second
    assert arrived(get(server.url("/moved?to=/good").replace("://", "://me:secret@"))) == DATA
    assert server.seen.headers[-1]["authorization"].startswith("Basic ")


def test_a_signed_url_is_sent_as_written(server: Running, get: Get) -> None:
    path = "/good/%7Ea%2Fb/~c?sig=a%2Bb%3D&x=%41'"
    assert arrived(get(server.url(path) + "#part")) == DATA
    assert arrived(get(server.url("/good/ü b?q=ü"))) == DATA
    assert server.seen.paths == [path, "/good/%C3%BC%20b?q=%C3%BC"]


def test_connections_are_reused_and_bounded(server: Running, tmp_path: Path) -> None:
    paths = [server.url(f"/wait?seconds=0.01&n={n}") for n in range(60)]

    def most(**changes: Any) -> tuple[int, int]:
        server.seen.most_at_once = 0
        server.seen.ports.clear()
        with Fetcher(tmp_path, settings(**changes), tmp_path) as fetcher:
            assert all(isinstance(found, Fetched) for found in fetcher.fetch_all(paths))
        return server.seen.most_at_once, len(server.seen.ports)

    for changes, limit in (
        ({"concurrency": 3, "per_host": 50}, 3),
        ({"concurrency": 50, "per_host": 5}, 5),
    ):
        at_once, connections = most(**changes)
        assert 2 <= at_once <= limit
        assert connections <= limit


def test_connections_to_hosts_that_nobody_waits_for_are_closed(server: Running, tmp_path: Path) -> None:
    lists = [
        [f"http://h{n}.test:{server.port}/good?{n}" for n in range(20)],
        [server.url(f"/good?{n}") for n in range(20)],
    ]
    for paths, kept in zip(lists, (0, 19), strict=True):
        server.seen.headers.clear()
        with Fetcher(tmp_path, settings(per_host=1), tmp_path, lookup=lambda _: ["127.0.0.1"]) as fetcher:
            assert all(isinstance(found, Fetched) for found in fetcher.fetch_all(paths))
        assert [headers.get("connection") for headers in server.seen.headers].count("close") == 20 - kept


def test_too_few_sockets_stop_the_run_and_are_no_failed_rows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with Fetcher(tmp_path, settings(concurrency=64, per_host=64), tmp_path) as fetcher:
            list(fetcher.fetch_all(["x"]))  # all threads and files that it needs anyway
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 10, hard))
            try:
                with pytest.raises(BlurlineError, match=r"download.concurrency: more connections than .*`ulimit -n`"):
                    list(fetcher.fetch_all(f"{url}{n}" for n in range(100)))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_host_that_hangs_holds_up_nobody(server: Running, tmp_path: Path) -> None:
    """Its rows come first, wait longest, and are more than there are turns."""
    slow = [f"http://slow.test:{server.port}/silent?{n}" for n in range(8)]
    good = [server.url(f"/good?{n}") for n in range(50)]
    params = settings(concurrency=6, per_host=3, retries=0, timeout=3.0)
    with Fetcher(tmp_path, params, tmp_path, lookup=lambda _: ["127.0.0.1"]) as fetcher:
        start = time.monotonic()
        found = list(fetcher.fetch_all([*slow, *good]))
    assert [type(one) for one in found] == [FetchFailed] * 8 + [Fetched] * 50
    last_good = max(t for t, path in zip(server.seen.times, server.seen.paths, strict=True) if "good" in path)
    assert last_good - start < 3.0, "before the first of the slow ones was given up"


def test_more_bytes_than_promised_are_no_other_answer(server: Running, tmp_path: Path) -> None:
    with Fetcher(tmp_path, settings(per_host=1), tmp_path) as fetcher:
        first, *others = fetcher.fetch_all([server.url("/longer"), *(server.url(f"/good?{n}") for n in range(3))])
        assert arrived(first) == DATA[:100]
        assert [arrived(one) for one in others] == [DATA] * 3


def test_whatever_else_goes_wrong_is_one_row(server: Running, get: Get) -> None:
    def lookup(host: str) -> list[str]:
        raise RuntimeError("this is a defect")

    found = failed(get(server.url("/good", "images.test"), lookup=lookup))
    assert found.reason == "unexpected (RuntimeError)"


def test_results_come_in_the_order_asked_for(server: Running, tmp_path: Path) -> None:
    seconds = [0.2, 0, 0.1, 0.05, 0, 0.15]
    paths = [server.url(f"/wait?seconds={s}&n={n}") for n, s in enumerate(seconds)] + [server.url("/gone")]
    with Fetcher(tmp_path, settings(), tmp_path) as fetcher:
        found = list(fetcher.fetch_all(paths))
    assert [type(one) for one in found] == [Fetched] * 6 + [FetchFailed]


def test_a_fetcher_that_is_left_early_lets_go(server: Running, tmp_path: Path) -> None:
    start = time.monotonic()
    with Fetcher(tmp_path, settings(timeout=30.0), tmp_path) as fetcher:
        for found in fetcher.fetch_all([server.url("/good"), *(server.url(f"/silent?{n}") for n in range(9))]):
            assert isinstance(found, Fetched)
            break
    assert time.monotonic() - start < 2
