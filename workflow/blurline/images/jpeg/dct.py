"""Samples to the quantised DCT coefficients of a JPEG's components, exactly, so that every CPU gives the same.

ITU-T T.81 (JPEG), A.3.3 (forward DCT) and A.3.4 (quantisation).
"""

import numpy as np

SIDE = 8  # samples
_SCALE = 1 << 18  # of each of the transform's two passes
_CENTRE = 128

# Rows are the basis functions C(u)/2 · cos((2x + 1)uπ/16), times _SCALE, in whole numbers.
_BASIS = np.rint(
    _SCALE
    * np.cos(np.outer(np.arange(SIDE), 2 * np.arange(SIDE) + 1) * np.pi / (2 * SIDE))
    * np.where(np.arange(SIDE) == 0, np.sqrt(1 / SIDE), 0.5)[:, None]
)
_BOTH = np.kron(_BASIS, _BASIS).T  # of a block as 64 samples, down and across at once


def reduced(plane: np.ndarray, across: int, down: int) -> np.ndarray:
    """Means of `down` × `across` samples: uint8 (H, W), multiples of both, to int64 (H / down, W / across)."""
    if across == down == 1:
        return plane.astype(np.int64)
    wide = plane.astype(np.int64)
    rows = sum((wide[at::down] for at in range(1, down)), wide[::down])
    sums = sum((rows[:, at::across] for at in range(1, across)), rows[:, ::across])
    count = across * down
    return np.asarray((sums + count // 2) // count)


def transformed(blocks: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Quantised coefficients of blocks.

    Parameters
    ----------
    blocks
        Samples 0 to 255: integers, shape (N, 64), row by row.
    table
        Quantisation table: 64 steps in natural order.

    Returns
    -------
    int16, shape (N, 64), natural order.
    """
    # Whole numbers below 2⁵³ stay exact in whatever order they are added up, and floats are quicker than integers.
    scaled = (blocks - _CENTRE).astype(np.float64) @ _BOTH
    # A quotient is rounded as IEEE 754 says, hence everywhere alike.
    return np.rint(scaled / (table.astype(np.float64) * float(_SCALE * _SCALE))).astype(np.int16)
