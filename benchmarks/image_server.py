"""A server of many small images for benchmarks: /<n>.jpg, each different, answered from memory."""

import asyncio
import io
import socket
import sys
from pathlib import Path

from PIL import Image


def picture() -> bytes:
    """A JPEG of 256×256 pixels: part of a photograph, about 20 kB."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data/astronaut.png") as opened:
        buffer = io.BytesIO()
        opened.convert("RGB").crop((120, 0, 376, 256)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def numbered(jpeg: bytes, number: int) -> bytes:
    """The same picture with a number in a comment, so that no two files are equal."""
    text = b"%08d" % number
    return jpeg[:2] + b"\xff\xfe\x00\x0a" + text + jpeg[2:]


class _Connection(asyncio.Protocol):
    jpeg = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while b"\r\n\r\n" in self._rest:
            request, _, self._rest = self._rest.partition(b"\r\n\r\n")
            number = int(request.split(b" ", 2)[1].strip(b"/").removesuffix(b".jpg"))
            body = numbered(self.jpeg, number)
            head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body)
            self._transport.write(head + body)
            if b"connection: close" in request.lower():
                self._transport.close()


async def _serve() -> None:
    _Connection.jpeg = picture()
    server = await asyncio.get_running_loop().create_server(
        _Connection, "127.0.0.1", 0, family=socket.AF_INET, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(_serve()))
