"""https: the name in the URL is what SNI and the certificate are checked against, and no redirect leaves https."""

import datetime
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blurline.errors import BlurlineError
from blurline.fetch import Fetched, FetchFailed
from tests.fetch.conftest import Get
from tests.fetch.server import Proxy, Running, running


def lookup(host: str) -> list[str]:
    return ["127.0.0.1"]


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server with a certificate for images.test, which clients here trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "images.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("images.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "ca.pem").write_bytes(pem)
    (tmp_path / "server.pem").write_bytes(private + pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    with running(tls=tls) as server:
        yield server


def test_sni_host_and_certificate_keep_the_name(secure: Running, get: Get) -> None:
    assert isinstance(get(secure.url("/good", "images.test"), lookup), Fetched)
    assert secure.seen.names == ["images.test"]
    assert secure.seen.headers[0]["host"] == f"images.test:{secure.port}"


@pytest.mark.parametrize("host", ["other.test", "127.0.0.1"])
def test_a_certificate_of_another_name_is_refused(secure: Running, get: Get, host: str) -> None:
    found = get(secure.url("/good", host), lookup)
    assert isinstance(found, FetchFailed)
    assert (found.reason, found.attempts) == ("tls", 1)
    assert secure.seen.count == 0


def test_no_tls_on_the_other_side(server: Running, get: Get) -> None:
    found = get(server.url("/good").replace("http:", "https:"), retries=0)
    assert isinstance(found, FetchFailed)
    assert found.reason == "tls"


def test_redirects_do_not_leave_https(secure: Running, server: Running, get: Get) -> None:
    found = get(secure.url(f"/moved?to={server.url('/good')}", "images.test"), lookup)
    assert isinstance(found, FetchFailed)
    assert (found.reason, server.seen.count) == ("insecure redirect", 0)
    assert isinstance(get(secure.url("/moved?to=/good", "images.test"), lookup), Fetched)
    up = get(server.url(f"/moved?to={secure.url('/good', 'images.test')}"), lookup)
    assert isinstance(up, Fetched)
    assert up.final_url == secure.url("/good", "images.test")


def test_through_a_proxy_too(secure: Running, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(handler=Proxy) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url(""))
        assert isinstance(get(secure.url("/good", "images.test"), lookup), Fetched)
        assert proxy.seen.paths == [f"images.test:{secure.port}"]
        assert secure.seen.names == ["images.test"]
        other = get(secure.url("/good", "other.test"), lookup)
        assert isinstance(other, FetchFailed)
        assert other.reason == "tls"
        down = get(secure.url("/good", "down.test"), lookup, retries=1)
        assert isinstance(down, FetchFailed)
        assert (down.reason, down.attempts) == ("http 502", 2)


def test_a_kind_of_proxy_that_is_not_supported_stops_the_run(
    secure: Running, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "socks5://me:secret@127.0.0.1:1")
    with pytest.raises(BlurlineError, match="the environment names a socks5 proxy: only http:// and https:// prox"):
        get(secure.url("/good", "images.test"), lookup)
