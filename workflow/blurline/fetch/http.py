"""http(s): connections that are reused, every address and redirect checked, broken transfers taken up again.

Behind a proxy (http_proxy, https_proxy, all_proxy and no_proxy in the environment) it is the proxy that connects. Its
own address may be private. The names that it is asked for are looked up here and refused unless they are public; one
that does not resolve here is refused too. The proxy looks them up again, so it must itself keep away from private
addresses if names are hostile; with `allow_private_hosts` nothing is checked here.
"""

import asyncio
import errno
import re
import socket
import ssl
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from blurline.errors import BlurlineError
from blurline.fetch import addresses, failures, headers, urls
from blurline.fetch.addresses import Blocked, Lookup
from blurline.fetch.bodies import Body
from blurline.fetch.failures import FetchFailed
from blurline.fetch.slots import Slots
from blurline.fetch.transfer import CHUNK, Transfer
from blurline.params import Download

RESUME_FROM = 256 * 1024
"""Bytes that must have arrived for a resumed transfer to be worth it: a small file is fetched again in full."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READY = re.compile(r"^[!-~]+$")  # a URL that needs no quoting is sent exactly as written: it may be signed


class Http:
    """Reads http and https URLs; made and used inside one event loop."""

    def __init__(self, settings: Download, slots: Slots, lookup: Lookup = addresses.look_up) -> None:
        self._settings = settings
        self._slots = slots
        self._lookup = lookup
        self._proxies = {**urllib.request.getproxies()}
        self._direct = self._session(checked=not settings.allow_private_hosts)
        self._proxied = self._session(checked=False) if self._proxies else None

    def _session(self, *, checked: bool) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,  # Slots bound it, and waiting for a turn is no time-out
            ttl_dns_cache=300,
            ssl=ssl.create_default_context(),
            resolver=_Resolver(self._lookup, checked),
            socket_factory=_checked_socket if checked else None,
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._settings.connect_timeout, sock_read=self._settings.timeout
            ),
            headers={"User-Agent": self._settings.user_agent},
            skip_auto_headers=["Accept-Encoding"],
            auto_decompress=False,  # aiohttp would unpack a bomb before we see its size
            cookie_jar=aiohttp.DummyCookieJar(),  # no row knows of another
            read_bufsize=CHUNK,
        )

    async def close(self) -> None:
        """See `transfer.Reader`."""
        await self._direct.close()
        if self._proxied:
            await self._proxied.close()

    async def read(self, transfer: Transfer) -> None:
        """See `transfer.Reader`."""
        resume = transfer.validator is not None and transfer.body.size >= RESUME_FROM
        if resume and await self._follow(transfer, resume=True):
            return
        transfer.restart()
        await self._follow(transfer, resume=False)

    async def _follow(self, transfer: Transfer, *, resume: bool) -> bool:
        """Follow redirects to the file and read it; False if the server does not go on from where we are."""
        with _failing():
            first = url = _parse(transfer.url)
            login = _login(url)
        transfer.http_status = transfer.final_url = None
        for _ in range(self._settings.max_redirects + 1):
            # A password is for the server that it was given for.
            asked = dict(login) if url.origin() == first.origin() else {}
            async with self._slots.take(f"{url.host}:{url.port}") as busy:
                if not busy:
                    # A list may name thousands of hosts: idle connections to all of them would use up the sockets.
                    asked["Connection"] = "close"
                found = await self._ask(url, asked, transfer, resume)
            if isinstance(found, bool):
                return found
            url = found
            transfer.final_url = urls.shown(str(url))
        raise FetchFailed(failures.TOO_MANY_REDIRECTS)

    async def _ask(self, url: URL, asked: dict[str, str], transfer: Transfer, resume: bool) -> URL | bool:
        """One request with these headers: the URL it redirects to, or whether the file was read."""
        asked["Accept-Encoding"] = "identity"
        if resume and transfer.validator:
            asked |= {"Range": f"bytes={transfer.body.size}-", "If-Range": transfer.validator}
        with _failing():
            async with asyncio.timeout(self._settings.total_timeout):
                session, proxy = await self._way(url)
                async with session.get(
                    url.with_user(None), headers=asked, proxy=proxy, allow_redirects=False
                ) as answer:
                    transfer.http_status = answer.status
                    if answer.status in {200, 206, *_REDIRECTS}:  # error pages often say noindex of themselves
                        self._honour(answer)
                    if answer.status in _REDIRECTS:
                        return await _redirect(url, answer)
                    return await self._receive(answer, transfer, resume)

    async def _way(self, url: URL) -> tuple[aiohttp.ClientSession, str | None]:
        """The session to ask, and the proxy to ask through."""
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        if self._proxied is None or not proxy or urllib.request.proxy_bypass(url.host or ""):
            return self._direct, None
        if not self._settings.allow_private_hosts:
            addresses.public(await asyncio.to_thread(self._lookup, url.host or ""))
        return self._proxied, _proxy(proxy)

    async def _receive(self, answer: aiohttp.ClientResponse, transfer: Transfer, resume: bool) -> bool:
        status, body = answer.status, transfer.body
        if resume and status in (206, 416):
            # Never join two versions: it must be the same one, and go on exactly where we are.
            start, total = headers.content_range(answer.headers.get("Content-Range")) or (-1, None)
            same = headers.strong_etag(answer.headers.get("ETag")) == transfer.validator and total == transfer.total
            if status == 416 or start != body.size or not same or "Content-Encoding" in answer.headers:
                return False
            transfer.http_status = 200  # of the whole, as if it had come in one go
        elif status == 200:
            transfer.restart()
            self._check(answer)
        else:
            raise await self._refusal(answer)
        decoder = _decoder(answer)
        if status == 200 and decoder is None:
            transfer.validator = headers.strong_etag(answer.headers.get("ETag"))
            transfer.total = answer.content_length
        async for chunk in answer.content.iter_any():
            if decoder is None:
                body.write(chunk)
            else:
                _inflate(decoder, chunk, body)
        if (decoder is not None and not decoder.eof) or (transfer.total is not None and body.size != transfer.total):
            raise FetchFailed(failures.TRUNCATED, transient=True)
        return True

    def _honour(self, answer: aiohttp.ClientResponse) -> None:
        if self._settings.honour_opt_out and headers.opts_out(answer.headers.getall("X-Robots-Tag", ())):
            raise FetchFailed(failures.OPT_OUT)

    def _check(self, answer: aiohttp.ClientResponse) -> None:
        """Refuse what the headers say is too large, or no image."""
        if headers.is_no_image(answer.headers.get("Content-Type", "")):
            raise FetchFailed(failures.NOT_AN_IMAGE)
        if (answer.content_length or 0) > self._settings.max_bytes:
            raise FetchFailed(failures.TOO_LARGE)

    async def _refusal(self, answer: aiohttp.ClientResponse) -> FetchFailed:
        """What a status other than success means."""
        reason = f"http {answer.status}"
        if answer.status not in failures.RETRIED_STATUSES:
            await _drain(answer)
            return FetchFailed(reason)
        wait = headers.retry_after(answer.headers.get("Retry-After"))
        if wait is not None and wait > self._settings.max_retry_after:
            return FetchFailed(failures.RETRY_AFTER)
        if wait is not None:
            self._slots.pause(f"{answer.url.host}:{answer.url.port}", wait)
        await _drain(answer)
        return FetchFailed(reason, transient=True)


class _Resolver(AbstractResolver):
    """Gives aiohttp only addresses that it may connect to; what it connects to is what was checked here."""

    def __init__(self, lookup: Lookup, checked: bool) -> None:
        self._lookup = lookup
        self._checked = checked

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.to_thread(self._lookup, host)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in (addresses.public(found) if self._checked else found)
        ]

    async def close(self) -> None:
        """Nothing is held open."""


def _checked_socket(info: AddrInfoType) -> socket.socket:
    """The last look before a connection, which addresses written in the URL itself pass too."""
    family, kind, proto, _, address = info
    if not addresses.is_public(str(address[0])):
        raise Blocked
    return socket.socket(family, kind, proto)


def _parse(text: str) -> URL:
    url = URL(text, encoded=bool(_READY.match(text)))
    if not url.host:
        raise FetchFailed(failures.BAD_URL)
    return url.with_fragment(None)


def _login(url: URL) -> dict[str, str]:
    if url.user is None:
        return {}
    return {"Authorization": aiohttp.encode_basic_auth(url.user, url.password or "")}


async def _redirect(url: URL, answer: aiohttp.ClientResponse) -> URL:
    location = answer.headers.get("Location", "")
    try:
        target = url.join(URL(location, encoded=bool(_READY.match(location)))).with_fragment(None)
        sound = bool(location) and target.scheme in ("http", "https") and bool(target.host)
    except ValueError:
        sound = False
    if not sound:
        raise FetchFailed(failures.BAD_REDIRECT)
    if url.scheme == "https" and target.scheme == "http":
        # Whoever sits on the way could then choose the bytes, which the first URL did not allow.
        raise FetchFailed(failures.INSECURE_REDIRECT)
    await _drain(answer)
    return target


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Read a short body to its end, so that the connection can be used again."""
    if (answer.content_length or 0) <= CHUNK and answer.content_length is not None:
        await answer.content.read()


def _decoder(answer: aiohttp.ClientResponse) -> "zlib._Decompress | None":
    """We ask for none, but some servers store files compressed and send them so."""
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise FetchFailed(failures.BAD_ENCODING)
    return zlib.decompressobj(wbits=47)  # zlib or gzip, by its header


def _inflate(decoder: "zlib._Decompress", chunk: bytes, body: Body) -> None:
    """Unpack in small pieces, so that `body` stops a bomb early."""
    while True:
        piece = decoder.decompress(chunk, CHUNK)
        body.write(piece)
        chunk = decoder.unconsumed_tail
        if not chunk and len(piece) < CHUNK:
            return


def _proxy(text: str) -> str:
    url = text if "://" in text else f"http://{text}"
    if urls.scheme(url) not in ("http", "https"):
        raise BlurlineError(
            f"the environment names a {urls.scheme(url)} proxy: only http:// and https:// proxies are supported"
        )
    return url


@contextmanager
def _failing() -> Iterator[None]:
    """Turn what goes wrong on the way into a reason."""
    try:
        yield
    except FetchFailed:
        raise
    except TimeoutError:
        raise FetchFailed(failures.TIMEOUT, transient=True) from None
    except aiohttp.ClientHttpProxyError as error:
        raise FetchFailed(f"http {error.status}", transient=error.status in failures.RETRIED_STATUSES) from None
    except aiohttp.ClientPayloadError:
        raise FetchFailed(failures.TRUNCATED, transient=True) from None
    except (aiohttp.ClientSSLError, ssl.SSLError):
        raise FetchFailed(failures.TLS) from None
    except aiohttp.ClientConnectorDNSError as error:
        raise _unresolved(error.os_error) from None
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, Blocked):
            raise FetchFailed(failures.BLOCKED) from None
        if error.os_error.errno in (errno.EMFILE, errno.ENFILE):
            raise BlurlineError(
                "params.yaml: download.concurrency: more connections than this machine lets a process open: lower it, "
                "or raise the limit (`ulimit -n`), and run again"
            ) from None
        raise FetchFailed(failures.CONNECT, transient=True) from None
    except (Blocked, socket.gaierror) as error:
        raise _unresolved(error) from None
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError):
        raise FetchFailed(failures.LOST, transient=True) from None
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
        raise FetchFailed(failures.BAD_URL) from None
    except (aiohttp.ClientError, zlib.error):
        raise FetchFailed(failures.BAD_ANSWER) from None
    except ValueError:
        raise FetchFailed(failures.BAD_URL) from None


def _unresolved(error: OSError) -> FetchFailed:
    if isinstance(error, Blocked):
        return FetchFailed(failures.BLOCKED)
    return FetchFailed(failures.DNS, transient=error.errno == socket.EAI_AGAIN)
