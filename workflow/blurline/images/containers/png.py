"""PNG: a walk over the chunks (W3C PNG, third edition, 5 and 11)."""

import functools
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from blurline.images import orientation as exif
from blurline.images.containers import icc
from blurline.images.errors import CannotRelease

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that say how the samples look on a screen, each with its length.
SAFE = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"pHYs": 9}
_ONCE = frozenset({b"IHDR", b"PLTE", b"tRNS", b"iCCP", *SAFE})
_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
# Adam7 (8.1): offset and step of each pass, horizontally and vertically.
_PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
_PIECE = 1 << 20
_MAX_PROFILE = 1 << 24


def strip(data: bytes, orientation: int, keep_safe: bool) -> bytes:
    """The PNG with header, palette, transparency, pixels, orientation; if safe ones are kept, colours and density."""
    chunks = list(walk(data))
    names = [name for name, _ in chunks]
    if names[0] != b"IHDR" or b"IDAT" not in names:
        raise _damaged()
    if not _ANIMATION.isdisjoint(names):
        raise CannotRelease("several frames are not supported yet")
    if any(names.count(name) > 1 for name in _ONCE):
        raise _damaged()
    first, last = names.index(b"IDAT"), len(names) - 1 - names[::-1].index(b"IDAT")
    if set(names[first : last + 1]) != {b"IDAT"}:
        raise _damaged()
    _check_pixels(chunks[0][1], [content for name, content in chunks if name == b"IDAT"])
    kept: list[bytes] = []
    for index, (name, content) in enumerate(chunks):
        if index == first and orientation != exif.UPRIGHT:
            kept.append(chunk(b"eXIf", exif.minimal(orientation)))
        if name in (b"IHDR", b"IDAT"):
            kept.append(chunk(name, content))
        elif index > first:
            # Colour chunks after the pixels are void, and Pillow would still heed a late tRNS.
            if name in (b"PLTE", b"tRNS"):
                raise _damaged()
        elif name == b"iCCP":
            profile = read_profile(content)
            if profile is not None and keep_safe:
                kept.append(chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile, 9)))
        elif name in SAFE:
            if len(content) != SAFE[name]:
                raise _damaged()
            if keep_safe:
                kept.append(chunk(name, content))
        elif name == b"PLTE" or name == b"tRNS":
            if len(content) > (768 if name == b"PLTE" else 256):
                raise _damaged()
            kept.append(chunk(name, content))
        elif not name[0] & 0x20:
            raise CannotRelease("PNG variant not supported")  # an unknown critical chunk
    return b"".join([SIGNATURE, *kept, chunk(b"IEND", b"")])


def chunk(name: bytes, content: bytes) -> bytes:
    """One chunk with its length and CRC."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def write(samples: np.ndarray) -> bytes:
    """A PNG of 16-bit samples, which Pillow cannot write in colour.

    Parameters
    ----------
    samples
        uint16, (H, W) or (H, W, C) with 1 (grey), 2 (and alpha), 3 (RGB) or 4 (RGBA) channels.
    """
    planes = samples[:, :, None] if samples.ndim == 2 else samples
    height, width, channels = planes.shape
    rows = planes.astype(">u2").tobytes()
    raw = np.frombuffer(rows, np.uint8).reshape(height, width, 2 * channels).astype(np.int16)
    left = np.pad(raw, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    up = np.pad(raw, ((1, 0), (0, 0), (0, 0)))[:-1]
    corner = np.pad(raw, ((1, 0), (1, 0), (0, 0)))[:-1, :-1]
    # Paeth's predictor (9.4), for all rows: of the three neighbours the one nearest to left + up - corner.
    near_left, near_up, near_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    predicted = np.where(
        (near_left <= near_up) & (near_left <= near_corner), left, np.where(near_up <= near_corner, up, corner)
    )
    filtered = (raw - predicted).astype(np.uint8).reshape(height, -1)
    stream = zlib.compress(np.pad(filtered, ((0, 0), (1, 0)), constant_values=4).tobytes())
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return SIGNATURE + b"".join([chunk(b"IHDR", header), chunk(b"IDAT", stream), chunk(b"IEND", b"")])


def find(data: bytes, name: bytes) -> bytes | None:
    """Content of the first chunk of that name, or None; stops quietly where the file is damaged.

    Pillow mixes text chunks into the same ``info`` as real ones: a text called "exif" or "transparency" looks
    like the thing itself. Here a chunk is what its type says.
    """
    place = _places(data).get(name)
    return None if place is None else data[slice(*place)]


@functools.lru_cache(maxsize=1)  # asked several times for each frame of one file
def _places(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Where the content of the first chunk of each name begins and ends."""
    places: dict[bytes, tuple[int, int]] = {}
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        places.setdefault(data[at + 4 : at + 8], (at + 8, at + 8 + length))
        at += 12 + length
    return places


def read_profile(content: bytes) -> bytes | None:
    """The ICC profile in an ``iCCP`` chunk, or None if there is none that can be read."""
    _, nul, rest = content.partition(b"\0")
    if not nul or rest[:1] != b"\0":
        return None
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], _MAX_PROFILE)
    except zlib.error:
        return None
    return icc.clean(profile) if inflate.eof else None


def _damaged() -> CannotRelease:
    return CannotRelease("damaged PNG container")


def walk(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every chunk before IEND, with its CRC checked; what follows IEND is not looked at."""
    if not data.startswith(SIGNATURE):
        raise _damaged()
    at = len(SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise _damaged()
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        name, content = data[at + 4 : at + 8], data[at + 8 : end - 4]
        if end > len(data) or not name.isalpha():
            raise _damaged()
        if zlib.crc32(name + content) != struct.unpack_from(">I", data, end - 4)[0]:
            raise _damaged()
        if name == b"IEND":
            if content:
                raise _damaged()
            return
        yield name, content
        at = end


def _check_pixels(header: bytes, parts: list[bytes]) -> None:
    """The compressed stream inflates to exactly the image: nothing hides behind the last row or after the end."""
    if len(header) != 13:
        raise _damaged()
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if not width or not height or depth not in _DEPTHS.get(colour, ()) or interlace > 1:
        raise _damaged()
    bits = depth * _CHANNELS[colour]
    want = sum(
        rows * (1 + (columns * bits + 7) // 8)
        for columns, rows in _sizes(width, height, bool(interlace))
        if columns and rows
    )
    inflate = zlib.decompressobj()
    got = 0
    try:
        for part in parts:
            left = part
            while left and got <= want:
                got += len(inflate.decompress(left, _PIECE))
                left = inflate.unconsumed_tail
                if inflate.eof:
                    break
        while not inflate.eof and got <= want:
            more = len(inflate.decompress(b"", _PIECE))
            if not more:
                break
            got += more
    except zlib.error as error:
        raise _damaged() from error
    if got != want or not inflate.eof or inflate.unused_data:
        raise _damaged()


def _sizes(width: int, height: int, interlaced: bool) -> list[tuple[int, int]]:
    """Columns and rows of every pass."""
    if not interlaced:
        return [(width, height)]
    return [((width - x + dx - 1) // dx, (height - y + dy - 1) // dy) for x, dx, y, dy in _PASSES]
