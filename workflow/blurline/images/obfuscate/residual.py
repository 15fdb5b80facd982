"""A measure of what a blur leaves of a face."""

from typing import NamedTuple

import numpy as np
from PIL import Image

_GRID = 32


class Residual(NamedTuple):
    """What is left of a face's structure: as a share of what there was, and in grey levels (root mean square)."""

    share: float
    levels: float


def residual_detail(before: np.ndarray, after: np.ndarray, mask: np.ndarray | None = None) -> float:
    """The share of a face's structure that is left; see `residual`."""
    return residual(before, after, mask).share


def residual(before: np.ndarray, after: np.ndarray, mask: np.ndarray | None = None) -> Residual:
    """How much of a face's structure is left: a share of 1 for an untouched crop, near 0 for a strong blur.

    Both crops are brought to 32 × 32 grey pixels, the scale at which faces are recognised, and the Laplacian of one
    is regressed on that of the other; the slope is the share. Unlike the variance of the Laplacian at full size it
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
    Residual
        A share of 0 when the original is flat, so that there was nothing to hide. Where it is nearly flat, what
        little there was may well stay (a blur does not change a slow gradient): the levels tell that from a face.
    """
    old, new = _laplacian(before), _laplacian(after)
    if mask is not None and (inside := _inside(mask)).any():
        old, new = old[inside], new[inside]
    old -= old.mean()
    power = float((old * old).sum())
    share = float((old * new).sum()) / power if power > 1e-6 else 0.0
    return Residual(share, share * float(np.sqrt(power / old.size)))


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
