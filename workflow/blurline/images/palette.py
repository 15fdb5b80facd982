"""At most 256 colours: blurred pixels fitted into what a palette has room for, all others as they were."""

import numpy as np
from PIL import Image

from blurline.images.raster import Raster

SIZE = 256
_BATCH = 1 << 14  # pixels compared with the palette at once


def fitted(raster: Raster, where: np.ndarray) -> Raster:
    """The picture with colours that fit into a palette, changed only where it may be.

    Parameters
    ----------
    raster
        uint8; what is visible outside of `where` comes from a palette.
    where
        bool (H, W): pixels that may take another colour, the nearest of those outside and of the new ones for which
        the palette has places left.
    """
    if raster.mode == "L":  # no more than 256 greys in any case
        return raster
    samples, alpha = as_rgb(raster.colours), raster.alpha
    visible = np.ones(where.shape, np.bool_) if alpha is None else alpha > 0
    room = SIZE - (not visible.all())
    inside = samples[where]
    if len(colours_of(samples[visible])) <= room or not len(inside):
        return raster
    kept = colours_of(samples[visible & ~where])
    result = samples.copy()
    result[where] = _nearest(inside, np.concatenate([kept, _reduced(inside, room - len(kept))]))
    return Raster("RGB", result) if alpha is None else Raster("RGBA", np.dstack([result, alpha]))


def as_rgb(colours: np.ndarray) -> np.ndarray:
    """uint8 (H, W), (H, W, 1) or (H, W, 3) as (H, W, 3)."""
    planes = colours[:, :, None] if colours.ndim == 2 else colours
    return planes if planes.shape[2] == 3 else np.repeat(planes, 3, axis=2)


def colours_of(pixels: np.ndarray) -> np.ndarray:
    """The colours that occur, sorted: uint8 (N, 3). Pixels are uint8 (…, 3)."""
    return np.unique(pixels.reshape(-1, 3), axis=0)


def indexed(samples: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The place of each pixel's colour among sorted colours that hold them all: uint8 (H, W)."""
    numbers = (samples.astype(np.int64) @ np.array([65536, 256, 1])).ravel()
    places = np.searchsorted(colours.astype(np.int64) @ np.array([65536, 256, 1]), numbers)
    indices: np.ndarray = places.astype(np.uint8).reshape(samples.shape[:2])
    return indices


def _reduced(pixels: np.ndarray, count: int) -> np.ndarray:
    if count < 1:
        return np.empty((0, 3), np.uint8)
    strip = Image.fromarray(pixels.reshape(1, -1, 3))
    few = strip.quantize(count, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return colours_of(np.asarray(few.convert("RGB")))


def _nearest(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    unique, back = np.unique(pixels, axis=0, return_inverse=True)
    wanted, have = unique.astype(np.int32), colours.astype(np.int32)
    best = np.concatenate(
        [
            ((wanted[at : at + _BATCH, None, :] - have[None]) ** 2).sum(axis=2).argmin(axis=1)
            for at in range(0, len(wanted), _BATCH)
        ]
    )
    result: np.ndarray = colours[best][back.ravel()]
    return result
