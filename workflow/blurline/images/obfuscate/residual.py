"""A measure of what a blur leaves of a face."""

import numpy as np
from PIL import Image

_GRID = 32


def residual_detail(before: np.ndarray, after: np.ndarray, mask: np.ndarray | None = None) -> float:
    """How much of a face's structure is left: 1 for an untouched crop, near 0 for a strong blur.

    Both crops are brought to 32 × 32 grey pixels, the scale at which faces are recognised, and the Laplacian of one
    is regressed on that of the other; the slope is returned. Unlike the variance of the Laplacian at full size it
    is fooled neither by a blur of a few pixels on a large face nor by noise added afterwards.

    Parameters
    ----------
    before, after
        The same crop: uint8, shape (H, W) or (H, W, 3).
    mask
        Which pixels to look at: bool, shape (H, W); for a core that is no rectangle. Where it is so thin that none of
        the 32 × 32 lies in it with its neighbours, all are looked at.

    Returns
    -------
    float
        The slope; 0 when the original is flat, so that there was nothing to hide.
    """
    old, new = _laplacian(before), _laplacian(after)
    if mask is not None and (inside := _inside(mask)).any():
        old, new = old[inside], new[inside]
    old -= old.mean()
    power = float((old * old).sum())
    return float((old * new).sum()) / power if power > 1e-6 else 0.0


def _laplacian(crop: np.ndarray) -> np.ndarray:
    grey = Image.fromarray(np.ascontiguousarray(crop)).convert("L").convert("F")
    small = np.asarray(grey.resize((_GRID, _GRID), Image.Resampling.BILINEAR), dtype=np.float64)
    laplacian: np.ndarray = (
        small[:-2, 1:-1] + small[2:, 1:-1] + small[1:-1, :-2] + small[1:-1, 2:] - 4.0 * small[1:-1, 1:-1]
    )
    return laplacian


def _inside(mask: np.ndarray) -> np.ndarray:
    """Where the Laplacian is made of pixels in the mask alone."""
    shown = Image.fromarray(np.ascontiguousarray(mask).astype(np.uint8) * 255)
    small = np.asarray(shown.resize((_GRID, _GRID), Image.Resampling.BILINEAR)) == 255
    inside: np.ndarray = small[1:-1, 1:-1] & small[:-2, 1:-1] & small[2:, 1:-1] & small[1:-1, :-2] & small[1:-1, 2:]
    return inside
