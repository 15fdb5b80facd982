"""Files of several frames for the tests of this folder: a portrait that moves, and is not in the first frame."""

import io
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from blurline.images.decode import Limits
from blurline.images.obfuscate import Target
from tests.images.samples import astronaut, png_chunk, saved

LIMITS = Limits(max_bytes=20_000_000, max_pixels=4_000_000)
WIDTH, HEIGHT, SIDE = 360, 200, 128
PLACES = (None, 10, 110, 220)
"""Where the portrait begins in each frame."""
DURATIONS = [120, 40, 0, 250]
LOOP = 3


@cache
def frames() -> list[np.ndarray]:
    return [scene(left) for left in PLACES]


def scene(left: int | None) -> np.ndarray:
    """Few colours around a portrait, so that a GIF can have them all: its face is at `face`."""
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    canvas[:, :, 0] = np.arange(WIDTH) // 24 * 16
    canvas[:, :, 2] = 90
    if left is not None:
        portrait = Image.fromarray(astronaut()[0:256, 100:356]).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        canvas[40 : 40 + SIDE, left : left + SIDE] = np.asarray(portrait)
    return canvas


def face(left: int) -> tuple[int, int, int, int]:
    return left + 37, 40 + 35, left + 93, 40 + 103


TARGETS = [Target(*face(left), "face", n) for n, left in enumerate(PLACES) if left is not None]


def few_colours(picture: np.ndarray, colours: int = 200) -> Image.Image:
    return Image.fromarray(picture).quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def animation(file_format: str, pictures: list[np.ndarray] | None = None, **options: Any) -> bytes:
    pictures = frames() if pictures is None else pictures
    images = [few_colours(one) if file_format == "GIF" else Image.fromarray(one) for one in pictures]
    if file_format != "TIFF":
        options = {"duration": DURATIONS[: len(images)], "loop": LOOP} | options
    return saved(images[0], file_format, save_all=True, append_images=images[1:], **options)


KINDS: dict[str, bytes] = {
    "gif": animation("GIF"),
    "apng": animation("PNG"),
    "apng grey": animation("PNG", [one[:, :, 1] for one in frames()]),
    "apng apart": animation("PNG", default_image=True, duration=DURATIONS[1:]),
    "webp lossless": animation("WEBP", lossless=True),
    "webp": animation("WEBP"),
    "tiff": animation("TIFF", compression="tiff_lzw"),
}
LOSSY = ("webp",)


@dataclass(frozen=True)
class Shown:
    """What Pillow shows of a file."""

    frames: list[np.ndarray]
    durations: list[float]
    loop: int | None


def shown(data: bytes) -> Shown:
    with Image.open(io.BytesIO(data)) as image:
        pictures, durations = [], []
        for frame in ImageSequence.Iterator(image):
            pictures.append(np.asarray(frame.convert("RGB")))
            durations.append(frame.info.get("duration") or 0)
        return Shown(pictures, durations, image.info.get("loop"))


@dataclass(frozen=True)
class Piece:
    """A picture in a file as it is coded: where it lies, and its pixels; `clear` where it has none."""

    x: int
    y: int
    pixels: np.ndarray
    clear: np.ndarray


def _piece(x: int, y: int, data: bytes) -> Piece:
    with Image.open(io.BytesIO(data)) as image:
        rgba = np.asarray(image.convert("RGBA"))
    return Piece(x, y, rgba[:, :, :3], rgba[:, :, 3] == 0)


def pieces(data: bytes) -> tuple[list[Piece], set[bytes]]:
    """Every picture that is coded in a file, whether or not anybody shows it, and the kinds of the other parts."""
    if data[:3] == b"GIF":
        return _gif_pieces(data)
    return _png_pieces(data) if data[:4] == b"\x89PNG" else _webp_pieces(data)


def _gif_pieces(data: bytes) -> tuple[list[Piece], set[bytes]]:
    table = 3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0
    colours, at, control = data[13 : 13 + table], 13 + table, b""
    found, others = [], set()
    while data[at : at + 1] != b";":
        start = at
        if data[at : at + 1] == b"!":
            at += 2
            while data[at]:
                at += data[at] + 1
            at += 1
            if data[start + 1] == 0xF9:
                control = data[start:at]
            else:
                others.add(data[start + 3 : start + 14])
            continue
        assert data[at : at + 1] == b","
        x, y, width, height, flags = struct.unpack_from("<HHHHB", data, at + 1)
        own = 3 << ((flags & 7) + 1) if flags & 0x80 else 0
        table_at = at + 10
        at = table_at + own + 1
        while data[at]:
            at += data[at] + 1
        at += 1
        palette = data[table_at : table_at + own] or colours
        size = (len(palette) // 3 - 1).bit_length() - 1
        head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF0 | size, 0, 0) + palette
        image = b"," + struct.pack("<HHHHB", 0, 0, width, height, flags & 0x40) + data[table_at + own : at]
        found.append(_piece(x, y, head + control + image + b";"))
    assert at == len(data) - 1
    return found, others


def _png_pieces(data: bytes) -> tuple[list[Piece], set[bytes]]:
    found, others, at = [], set(), 8
    header = data[16:29]
    place = header[:8] + bytes(8)
    pixels: list[bytes] = []

    def end() -> None:
        if pixels:
            one = data[:8] + png_chunk(b"IHDR", place[:8] + header[8:]) + png_chunk(b"IDAT", b"".join(pixels))
            x, y = struct.unpack(">II", place[8:])
            found.append(_piece(x, y, one + png_chunk(b"IEND", b"")))
            pixels.clear()

    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length
        if name == b"fcTL":
            end()
            place = content[4:20]
        elif name in (b"IDAT", b"fdAT"):
            pixels.append(content if name == b"IDAT" else content[4:])
        else:
            others.add(name)
    end()
    return found, others


def _webp_pieces(data: bytes) -> tuple[list[Piece], set[bytes]]:
    found, others, at = [], set(), 12
    assert len(data) == 8 + struct.unpack_from("<I", data, 4)[0]
    while at < len(data):
        name, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        content = data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
        if name == b"ANMF":
            x, y = (2 * int.from_bytes(content[n : n + 3], "little") for n in (0, 3))
            assert content[16:20] in (b"VP8 ", b"VP8L")
            body = content[16:]
            found.append(_piece(x, y, b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body))
        else:
            others.add(name)
    return found, others
