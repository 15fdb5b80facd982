"""Samples of more than 8 bits: reading all of their bits, reducing them, and widening blurred ones again."""

from collections.abc import Callable

import numpy as np
from PIL import ImageFile

# What Pillow calls the two byte orders of 16-bit samples; its N is libtiff's, the machine's own.
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B"}
_CHANNELS = {"RGB": 3, "RGBX": 3, "RGBA": 4}
FULL = 65535


def read(again: Callable[[], ImageFile.ImageFile], high: np.ndarray) -> np.ndarray | None:
    """All 16 bits of an image of which Pillow keeps the high bytes: uint16, (H, W, 2), (H, W, 3) or (H, W, 4).

    The file is decoded a second time with the byte order swapped, which makes Pillow keep the low bytes.

    Parameters
    ----------
    again
        Opens the file once more, without loading its pixels.
    high
        What Pillow decoded: uint8, (H, W, C).

    Returns
    -------
    np.ndarray | None
        None for a layout of which only the high bytes can be had.
    """
    image = again()
    names = {_raw_mode(tile) for tile in image.tile}
    if len(names) != 1:
        return None
    (name,) = names
    if name == "LA;16B":  # four bytes a pixel, which is what RGBA of 8 bits has
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        image.load()
        parts = np.asarray(image).astype(np.uint16)
        grey: np.ndarray = parts[:, :, 0::2] << 8 | parts[:, :, 1::2]
        return grey
    layout, _, order = name.partition(";16")
    if layout not in _CHANNELS or order not in _OTHER_BYTE:
        return None
    other = f"{layout};16{_OTHER_BYTE[order]}"
    image.tile = [
        tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other) for tile in image.tile
    ]
    image.load()
    low = np.asarray(image)
    if low.shape != high.shape or low.shape[2] != _CHANNELS[layout]:
        return None
    whole: np.ndarray = high.astype(np.uint16) << 8 | low
    return whole


def _raw_mode(tile: ImageFile._Tile) -> str:
    return tile.args if isinstance(tile.args, str) else str((tile.args or ("",))[0])


def shift(samples: np.ndarray) -> int:
    """By how many bits unsigned samples are divided to fit into 8.

    The power of two that brings the largest one under 256: the high byte for samples that use all 16 bits, and still
    a picture, not blackness, for 10- or 12-bit samples stored in 16.
    """
    return max(0, int(samples.max(initial=0)).bit_length() - 8)


def reduce(samples: np.ndarray) -> np.ndarray:
    """Integer samples scaled to uint8 by `shift`; negative ones count as 0."""
    whole = np.maximum(samples.astype(np.int64), 0)
    return (whole >> shift(whole)).astype(np.uint8)


def widen(pixels: np.ndarray, bits: int) -> np.ndarray:
    """uint8 as uint16 of ``8 + bits`` bits, from 0 to the largest value: each number's high bits are repeated below."""
    wide = pixels.astype(np.uint16)
    return (wide << bits) | (wide >> (8 - bits))
