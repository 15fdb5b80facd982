"""A still picture of at most 256 colours: blurred pixels fitted into what its palette has room for."""

from dataclasses import replace

import numpy as np

from blurline.images.animation import palette
from blurline.images.raster import Raster, as_rgb


def fitted(raster: Raster, where: np.ndarray) -> Raster:
    """The picture with colours that fit into a palette, changed only where it may be.

    Parameters
    ----------
    raster
        uint8.
    where
        bool (H, W): pixels that may take another colour where there are too many.

    Raises
    ------
    CannotRelease
        When the other pixels have more colours than a palette.
    """
    if raster.mode == "L":  # no more than 256 greys in any case
        return raster
    indices, colours, _ = indexed(raster, where)
    if raster.alpha is None:
        return Raster("RGB", colours[indices])
    shown = colours[indices][:, :, : raster.colours.shape[2]]  # greys stay greys
    return replace(raster, samples=np.dstack([shown, raster.alpha]))


def indexed(raster: Raster, where: np.ndarray) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Indices into a palette, uint8 (H, W), the palette, uint8 (N, 3), and the index of clear pixels if there are any.

    Parameters and errors as of `fitted`.
    """
    samples, alpha = as_rgb(raster.colours), raster.alpha
    visible = np.ones(where.shape, np.bool_) if alpha is None else alpha > 0
    if visible.all():
        indices, colours, _ = palette.indexed(samples, visible, where)
        return indices, colours, None
    # Clear pixels have an entry of their own, whatever colour is in it.
    shown = samples[visible][None]
    every = np.ones(shown.shape[:2], np.bool_)
    found, colours, _ = palette.indexed(shown, every, where[visible][None], palette.MOST - 1)
    clear = len(colours)
    indices = np.full(where.shape, clear, np.uint8)
    indices[visible] = found[0]
    return indices, np.concatenate([colours, samples[~visible][:1]]), clear
