"""Transparency: what a viewer sees of an image that has it, and what it must not hide.

A detector that ignores alpha misses a face that alpha itself draws (a stencil); one that applies it misses the face
in a background that was only made transparent. So one picture counts, that over a plain ground, and what it does not
show does not leave: colour under full transparency is replaced by the ground, and alpha that is more than a cut-out
with soft edges is refused.
"""

import numpy as np
from PIL import Image, ImageFilter

_SOFT_EDGE = 5  # pixels: a square of that side that is partly transparent throughout is no edge
_NEAR = 48  # levels: what differs less from the ground hardly shows on it
_GROUNDS = (255, 0, 128)  # white, black and grey; the first of equals is taken


def alpha_of(image: Image.Image, bits: int) -> np.ndarray | None:
    """Alpha as stored: uint8 (H, W); None when every pixel is opaque.

    ``info["transparency"]`` is an index, a level or a colour as Pillow has them, or the content of a PNG's tRNS.
    """
    if image.mode in ("RGBA", "LA"):
        alpha = np.asarray(image.getchannel("A"))
    else:
        key = image.info.get("transparency")
        if key is None:
            return None
        alpha = _from_palette(image, key) if image.mode == "P" else _from_colour(image, key, bits)
    return None if alpha.min(initial=255) == 255 else alpha


def _from_palette(image: Image.Image, key: int | bytes) -> np.ndarray:
    table = np.full(256, 255, np.uint8)
    if isinstance(key, bytes):
        table[: len(key)] = np.frombuffer(key[:256], np.uint8)
    else:
        table[key] = 0
    alpha: np.ndarray = table[np.asarray(image)]
    return alpha


def _from_colour(image: Image.Image, key: int | bytes | tuple[int, ...], bits: int) -> np.ndarray:
    samples = np.asarray(image).astype(np.int64)
    if isinstance(key, bytes):
        numbers = np.frombuffer(key[: len(key) // 2 * 2], ">u2").astype(np.int64)
        # Pillow stretches grey of 2 and 4 bits to 8.
        wanted = numbers * 255 // ((1 << bits) - 1) if image.mode == "L" else numbers
    else:
        wanted = np.atleast_1d(np.array(key))
    clear = samples == wanted[0] if samples.ndim == 2 else (samples == wanted).all(axis=2)
    return np.where(clear, 0, 255).astype(np.uint8)


def is_cut_out(alpha: np.ndarray) -> bool:
    """Whether pixels are opaque or clear, and in between at soft edges only: alpha that could be no second picture."""
    partial = Image.fromarray(((alpha > 0) & (alpha < 255)).astype(np.uint8) * 255)
    return partial.filter(ImageFilter.MinFilter(_SOFT_EDGE)).getextrema()[1] == 0


def ground(colours: np.ndarray, alpha: np.ndarray) -> int:
    """The grey to show the picture on: the one that the fewest visible pixels resemble.

    A white stencil would vanish on white. ``colours`` is uint8 (H, W, 3).
    """
    levels = colours[alpha > 0].astype(np.int32).mean(axis=1)
    return min(_GROUNDS, key=lambda level: int((np.abs(levels - level) < _NEAR).sum()))


def over(colours: np.ndarray, alpha: np.ndarray, level: int) -> np.ndarray:
    """Colours, uint8 (H, W, 3), on a ground of that level."""
    weight = alpha.astype(np.int32)[:, :, None]
    return ((colours * weight + level * (255 - weight) + 127) // 255).astype(np.uint8)


def hides(colours: np.ndarray, alpha: np.ndarray) -> bool:
    """Whether more than one colour, (H, W) or (H, W, C), lies under full transparency: there may be a picture."""
    hidden = colours[alpha == 0]
    return len(hidden) > 0 and bool((hidden != hidden[0]).any())
