"""No list of URLs reaches a private address: not by literal, name, redirect, rebinding or proxy.

There is no public address to talk to here, so 127.0.0.2 plays one, and 127.0.0.1 stays what it is.
"""

import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from blurline.fetch import Fetched, Fetcher, FetchFailed, addresses, http
from tests.fetch.conftest import Get, settings
from tests.fetch.server import DATA, Proxy, Running, running

PUBLIC = "127.0.0.2"


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254"),
        *("0.0.0.0", "0.1.2.3", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:8.8.8.8", "::ffff:127.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1"),
        *("64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "100::1", "4000::1", "3fff::1", "5f00::1"),
    ],
)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not addresses.is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::200e"])
def test_others_are(address: str) -> None:
    assert addresses.is_public(address)


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(addresses, "is_public", lambda address: address == PUBLIC)
    with running("127.0.0.1") as server:
        yield server


@pytest.fixture
def public(private: Running) -> Iterator[Running]:
    """On the same port as the private one, so that only the address tells them apart."""
    with running(PUBLIC, private.port) as server:
        yield server


def is_blocked(found: Fetched | FetchFailed, private: Running) -> bool:
    return isinstance(found, FetchFailed) and found.reason == "blocked address" and private.seen.count == 0


def test_the_public_server_is_reached(public: Running, get: Get) -> None:
    assert isinstance(get(public.url("/good"), allow_private_hosts=False), Fetched)
    assert isinstance(get(public.url("/good", "images.test"), lambda _: [PUBLIC], allow_private_hosts=False), Fetched)
    assert public.seen.headers[1]["host"] == f"images.test:{public.port}"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "127.0.0.1.",
        "[::1]",
    ],
)
def test_private_addresses_in_any_spelling(private: Running, get: Get, host: str) -> None:
    found = get(private.url("/good", host), allow_private_hosts=False)
    assert isinstance(found, FetchFailed)
    assert found.reason in ("blocked address", "bad url", "dns")
    assert private.seen.count == 0
    if host in ("127.0.0.1", "localhost", "[::1]"):
        assert (found.reason, found.attempts) == ("blocked address", 1)


def test_names_of_private_addresses(private: Running, get: Get) -> None:
    lookup = {"inside.test": ["127.0.0.1"], "two.test": ["10.0.0.1", "127.0.0.1"]}.__getitem__
    for host in ("inside.test", "two.test"):
        assert is_blocked(get(private.url("/good", host), lookup, allow_private_hosts=False), private)
    assert isinstance(get(private.url("/good", "inside.test"), lookup, allow_private_hosts=True), Fetched)


def test_of_mixed_addresses_only_the_public_are_used(private: Running, public: Running, get: Get) -> None:
    for found in ([PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], ["::1", "127.0.0.1", PUBLIC]):
        assert isinstance(
            get(public.url("/good", "mixed.test"), lambda _, found=found: found, allow_private_hosts=False), Fetched
        )
    assert (public.seen.count, private.seen.count) == (3, 0)


def test_every_redirect_is_checked(private: Running, public: Running, get: Get) -> None:
    lookup = {"images.test": [PUBLIC], "inside.test": ["127.0.0.1"]}.__getitem__
    for target in ("127.0.0.1", "inside.test", "[::1]"):
        url = public.url(f"/moved?to={private.url('/good', target)}", "images.test")
        assert is_blocked(get(url, lookup, allow_private_hosts=False), private)
        again = public.url(f"/moved?to=/moved?to={private.url('/good', target)}", "images.test")
        assert is_blocked(get(again, lookup, allow_private_hosts=False), private)


def test_a_name_that_changes_its_address_gains_nothing(private: Running, public: Running, get: Get) -> None:
    """DNS rebinding: what was checked is what is connected to, however often the name would be asked again."""
    answers = itertools.chain([[PUBLIC]], itertools.repeat(["127.0.0.1"]))
    found = get(
        public.url("/flaky?code=500&times=1", "rebind.test"), lambda _: next(answers), allow_private_hosts=False
    )
    assert isinstance(found, Fetched)
    assert (public.seen.count, private.seen.count) == (2, 0)
    answers = itertools.chain([[PUBLIC]], itertools.repeat(["127.0.0.1"]))
    url = public.url("/moved?to=/reset", "rebind.test")
    assert isinstance(get(url, lambda _: next(answers), allow_private_hosts=False), FetchFailed)
    assert private.seen.count == 0


def test_each_of_two_gates_holds_alone(private: Running, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver gives no private address; and were one to get past it, no socket would be opened for it."""

    def found() -> Fetched | FetchFailed:
        return get(private.url("/good", "inside.test"), lambda _: ["127.0.0.1"], allow_private_hosts=False)

    with monkeypatch.context() as patch:
        patch.setattr(http, "_checked_socket", None)
        assert is_blocked(found(), private)
    monkeypatch.setattr(addresses, "public", lambda found: found)
    assert is_blocked(found(), private)


@pytest.fixture
def proxy() -> Iterator[Running]:
    with running("127.0.0.1", handler=Proxy) as server:
        yield server


def test_behind_a_proxy(private: Running, proxy: Running, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy itself may be private; what it is asked for may not, and must resolve here to be known as public."""
    monkeypatch.setenv("http_proxy", proxy.url(""))

    def lookup(host: str) -> list[str]:
        if host == "unknown.test":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return {"images.test": [PUBLIC], "inside.test": ["127.0.0.1"], "127.0.0.1": ["127.0.0.1"]}[host]

    assert isinstance(get("http://images.test/good", lookup, allow_private_hosts=False), Fetched)
    assert proxy.seen.headers[0]["host"] == "images.test"
    for url in ("http://inside.test/good", private.url("/good"), "http://images.test/moved?to=http://inside.test/good"):
        assert is_blocked(get(url, lookup, allow_private_hosts=False), private)
    found = get("http://unknown.test/good", lookup, allow_private_hosts=False)
    assert isinstance(found, FetchFailed)
    assert found.reason == "dns"
    assert proxy.seen.count == 2
    assert isinstance(get("http://unknown.test/good", lookup, allow_private_hosts=True), Fetched)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert is_blocked(get(private.url("/good"), lookup, allow_private_hosts=False), private)
    assert isinstance(get(private.url("/good"), lookup, allow_private_hosts=True), Fetched)
    assert private.seen.count == 1


def test_many_rows_of_one_blocked_host(private: Running, tmp_path: Path) -> None:
    with Fetcher(tmp_path, settings(allow_private_hosts=False), tmp_path) as fetcher:
        found = list(fetcher.fetch_all(private.url(f"/good?{n}") for n in range(100)))
    assert all(is_blocked(one, private) for one in found)


def test_the_data_is_that_of_the_server(public: Running, get: Get) -> None:
    found = get(public.url("/good"), allow_private_hosts=False)
    assert isinstance(found, Fetched)
    assert found.body.take() == DATA
