"""A real HTTP server on loopback that behaves as badly as its paths say, and remembers what it was asked."""

import gzip
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

DATA = bytes(range(256)) * 4
LARGE = b"".join(i.to_bytes(4, "big") for i in range(256 * 1024))  # 1 MiB, every 4 bytes different


@cache
def bomb(size: int) -> bytes:
    """So many zeros, compressed."""
    return gzip.compress(bytes(size), compresslevel=9)


@dataclass
class Seen:
    """What the server was asked."""

    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    ports: set[int] = field(default_factory=set)  # of clients: as many as there were connections
    names: list[str | None] = field(default_factory=list)  # that TLS clients asked for
    at_once: int = 0
    most_at_once: int = 0

    @property
    def count(self) -> int:
        return len(self.paths)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, port: int) -> None:
        super().__init__((address, port), Handler)
        self.seen = Seen()
        self.times_asked: Counter[str] = Counter()
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are part of the tests


class Handler(BaseHTTPRequestHandler):
    """One method per behaviour: the first part of the path names it."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every second answer on a connection is 40 ms late

    def do_GET(self) -> None:
        seen, parts = self.server.seen, urlsplit(self.path)
        with self.server.lock:
            seen.paths.append(self.path)
            seen.headers.append({name.lower(): value for name, value in self.headers.items()})
            seen.times.append(time.monotonic())
            seen.ports.add(self.client_address[1])
            seen.at_once += 1
            seen.most_at_once = max(seen.most_at_once, seen.at_once)
            self.server.times_asked[self.path] += 1
            self.turn = self.server.times_asked[self.path]
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        try:
            getattr(self, parts.path.strip("/").split("/")[0].replace("-", "_"), self.gone)()
        finally:
            with self.server.lock:
                seen.at_once -= 1

    def send(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self, *, reset: bool = False) -> None:
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()
        self.close_connection = True

    def good(self) -> None:
        self.send(200, DATA, Content_Type=self.query.get("type", "image/jpeg"))

    def gone(self) -> None:
        self.send(404, b"<html>nothing here</html>", Content_Type="text/html")

    def status(self) -> None:
        code = int(self.query["code"])
        self.send(code, b"" if code in (204, 304) else b"no")

    def flaky(self) -> None:
        """Fails with a status so many times, then answers."""
        if self.turn <= int(self.query["times"]):
            code = int(self.query["code"])
            if "after" in self.query:
                self.send(code, b"busy", Retry_After=self.query["after"])
            else:
                self.send(code, b"busy")
        else:
            self.good()

    def busy_until(self) -> None:
        """429 with a Retry-After that is a date."""
        if self.turn == 1:
            self.send(429, Retry_After=formatdate(time.time() + float(self.query["seconds"]), usegmt=True))
        else:
            self.good()

    def moved(self) -> None:
        self.send(int(self.query.get("code", 302)), b"moved", Location=self.query["to"])

    def moved_nowhere(self) -> None:
        self.send(302, b"moved")

    def loop(self) -> None:
        self.send(302, b"round and round", Location="/loop")

    def silent(self) -> None:
        time.sleep(3)
        self.close_connection = True

    def drip(self) -> None:
        """A byte every now and then: never silent for long, never done."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def truncated(self) -> None:
        """Hangs up half way, the first times or always."""
        if self.turn <= int(self.query.get("times", 99)):
            self.send(200, DATA[:500], length=len(DATA))
            self.hang_up()
        else:
            self.good()

    def longer(self) -> None:
        """Says fewer bytes than it sends, and keeps the connection open: the rest could be taken for an answer.

        All at once: what comes after the connection has been asked for something else is an answer to that.
        """
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
        self.wfile.write(head % 100 + DATA[:100] + head % 4 + b"evil")

    def chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(DATA), 100):
            part = DATA[start : start + 100]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            if self.query.get("cut") and start >= 300:
                self.hang_up()
                return
        self.wfile.write(b"0\r\n\r\n")

    def endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Connection", "close")
        self.end_headers()
        for _ in range(100_000):
            self.wfile.write(b"x" * 1000)

    def endless_head(self) -> None:
        self.send_response(200)
        for number in range(1_000_000):
            self.send_header(f"X-{number}", "x" * 1000)
            self.flush_headers()

    def huge(self) -> None:
        self.send(200, b"x", length=10**12)
        self.hang_up()

    def reset(self) -> None:
        """Resets the connection instead of an answer, the first times or always."""
        if self.turn <= int(self.query.get("times", 99)):
            self.hang_up(reset=True)
        else:
            self.good()

    def nonsense(self) -> None:
        self.wfile.write(b"this is not HTTP\r\n\r\n")
        self.hang_up()

    def encoded(self) -> None:
        body = bomb(int(self.query["zeros"])) if "zeros" in self.query else gzip.compress(DATA)
        body = body[: int(self.query.get("cut", len(body)))]
        self.send(200, body, Content_Encoding=self.query.get("as", "gzip"))

    def robots(self) -> None:
        code = int(self.query.get("code", 200)) if self.turn == 1 else 200
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/good")
        for value in self.query["say"].split("|"):
            self.send_header("X-Robots-Tag", value)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA)

    def ranges(self) -> None:
        """1 MiB, cut off half way at first. `change`: it is another file afterwards; `then`: what a range gets."""
        other = "change" in self.query and self.turn > 1
        data, etag = (LARGE[::-1], '"two"') if other else (LARGE, '"one"')
        etag = self.query.get("etag", "") + etag
        half = len(data) // 2
        wants = self.headers.get("Range")
        if self.turn == 1:
            self.send(200, data[:half], length=len(data), ETag=etag)
            self.hang_up()
        elif wants is None or self.query.get("then") == "200":
            self.send(200, data, ETag=etag)
        elif self.query.get("then") == "416":
            self.send(416, b"", Content_Range=f"bytes */{len(data)}")
        elif self.query.get("then") == "lie":
            # Ignores If-Range: a part of the other version, with its own tag.
            self.part(LARGE[::-1], half, '"two"')
        elif self.query.get("then") == "gzip":
            # Ranges are of what is sent, and that is compressed.
            sizes = f"bytes {half}-{len(data) - 1}/{len(data)}"
            self.send(206, gzip.compress(data)[1000:], Content_Range=sizes, Content_Encoding="gzip", ETag=etag)
        elif self.query.get("then") == "shift":
            self.part(data, half + 4, etag)
        elif self.headers.get("If-Range") != etag:
            self.send(200, data, ETag=etag)
        else:
            self.part(data, int(wants.removeprefix("bytes=").split("-")[0]), etag)

    def part(self, data: bytes, start: int, etag: str) -> None:
        self.send(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}", ETag=etag)

    def wait(self) -> None:
        time.sleep(float(self.query.get("seconds", "0.05")))
        self.good()

    def log_message(self, *arguments: object) -> None:
        pass


class Proxy(Handler):
    """A forwarding proxy: answers for any host itself."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.path = f"{parts.path}?{parts.query}"
        super().do_GET()

    def do_CONNECT(self) -> None:
        """A tunnel to a port of this machine, whatever name is asked for."""
        self.server.seen.paths.append(self.path)
        host, port = self.path.rsplit(":", 1)
        if host == "down.test":
            self.send_error(502)
            return
        with socket.create_connection(("127.0.0.1", int(port))) as there:
            self.send_response(200)
            self.end_headers()
            threading.Thread(target=_copy, args=(there, self.connection), daemon=True).start()
            _copy(self.connection, there)
        self.close_connection = True


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@dataclass
class Running:
    """A server that runs: where it is, and what it has seen."""

    port: int
    address: str
    seen: Seen
    scheme: str = "http"

    def url(self, path: str, host: str | None = None) -> str:
        return f"{self.scheme}://{host or self.address}:{self.port}{path}"


@contextmanager
def running(
    address: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None, handler: type[Handler] = Handler
) -> Iterator[Running]:
    """Run a server for the length of a block."""
    with _Server(address, port) as http:
        http.RequestHandlerClass = handler
        if tls is not None:
            tls.sni_callback = lambda _socket, name, _context: http.seen.names.append(name)
            http.socket = tls.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield Running(http.server_port, address, http.seen, "https" if tls else "http")
        http.shutdown()
