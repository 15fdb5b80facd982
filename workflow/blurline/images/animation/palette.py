"""Colours of a frame that may have no more than 256 of them."""

import numpy as np
from PIL import Image

from blurline.images.errors import CannotRelease

MOST = 256
TOO_MANY = "a frame has more than 256 colours"
_AT_ONCE = 1 << 12  # colours compared with the palette at a time


def indexed(
    pixels: np.ndarray, drawn: np.ndarray, free: np.ndarray, size: int = MOST
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """A frame's pixels as indices into a palette of its own.

    Parameters
    ----------
    pixels
        uint8, shape (H, W, 3).
    drawn
        bool, shape (H, W): pixels that must be in the frame; beneath the others, the same colours are shown already.
    free
        bool, shape (H, W): pixels that may change their colours a little where there are too many; no other may.
    size
        Entries of the palette.

    Returns
    -------
    indices, palette, clear
        uint8 (H, W); uint8 (n, 3); and the index that leaves a pixel as it is beneath, or None.

    Raises
    ------
    CannotRelease
        When the pixels that must not change have more colours than a palette.
    """
    packed = (pixels.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=2, dtype=np.uint32)
    tries = []
    for mask in [drawn] if drawn.all() else [drawn, np.ones_like(drawn)]:
        most = size if mask.all() else size - 1
        every, fixed = np.unique(packed[mask]), np.unique(packed[mask & ~free])
        if len(every) <= most:
            return _mapped(packed, mask, every)
        tries.append((most - len(fixed), mask, fixed))
    room, mask, fixed = max(tries, key=lambda one: one[0])
    if room < 0:
        raise CannotRelease(TOO_MANY)
    colours = np.union1d(fixed, _few(pixels[mask & free], room)) if room else fixed
    inside = mask & free
    packed[inside] = _nearest(packed[inside], colours)
    return _mapped(packed, mask, colours)


def _mapped(packed: np.ndarray, mask: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray, int | None]:
    indices = np.searchsorted(colours, packed)
    clear = None if mask.all() else len(colours)
    if clear is not None:
        indices[~mask] = clear
    return indices.astype(np.uint8), unpacked(colours), clear


def unpacked(colours: np.ndarray) -> np.ndarray:
    """Colours 0xRRGGBB as uint8, shape (n, 3)."""
    return ((colours[:, None] >> np.array([16, 8, 0], np.uint32)) & 255).astype(np.uint8)


def _few(pixels: np.ndarray, most: int) -> np.ndarray:
    """At most so many colours, 0xRRGGBB, that stand for these pixels, uint8 (n, 3). The same on every machine."""
    row = Image.fromarray(np.ascontiguousarray(pixels[None]))
    reduced = row.quantize(most, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    few = np.unique(np.asarray(reduced)[0], axis=0).astype(np.uint32)
    return np.unique((few << np.array([16, 8, 0], np.uint32)).sum(axis=1, dtype=np.uint32))


def _nearest(packed: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """For each colour the nearest of the palette, by distance in RGB; of two equally near, the smaller number."""
    distinct, back = np.unique(packed, return_inverse=True)
    palette = unpacked(colours).astype(np.float32)
    lengths = (palette * palette).sum(axis=1)
    nearest = np.empty_like(distinct)
    for at in range(0, len(distinct), _AT_ONCE):
        some = unpacked(distinct[at : at + _AT_ONCE]).astype(np.float32)
        # The squared distance but for the colour's own length: whole numbers under 2²⁴, so no sum is ever rounded.
        nearest[at : at + _AT_ONCE] = colours[(lengths - 2 * (some @ palette.T)).argmin(axis=1)]
    return nearest[back]
