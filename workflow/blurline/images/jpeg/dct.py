"""Pixels to the quantised DCT coefficients of a JPEG's components, in integers, so that every CPU gives the same.

ITU-T T.81 (JPEG), A.3.3 (forward DCT) and A.3.4 (quantisation); ITU-T T.871 (JFIF), 7 (colour conversion).
"""

import numpy as np

SIDE = 8  # samples
_SCALE = 1 << 18  # of each of the transform's two passes
_HALF, _CENTRE = 1 << 15, 128

# Rows are the basis functions C(u)/2 · cos((2x + 1)uπ/16), times _SCALE.
_BASIS = np.rint(
    _SCALE
    * np.cos(np.outer(np.arange(SIDE), 2 * np.arange(SIDE) + 1) * np.pi / (2 * SIDE))
    * np.where(np.arange(SIDE) == 0, np.sqrt(1 / SIDE), 0.5)[:, None]
)

# Kb, Kr of BT.601 in 1/65536, as JFIF has them: rows Y, Cb, Cr; columns R, G, B. Each row sums to 65536 or to 0.
_YCC = np.array([[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]], dtype=np.int32)


def ycc(rgb: np.ndarray, component: int) -> np.ndarray:
    """Y, Cb or Cr of RGB samples: uint8 (H, W, 3) to (H, W)."""
    red, green, blue = _YCC[component]
    converted = red * rgb[:, :, 0] + green * rgb[:, :, 1] + blue * rgb[:, :, 2]
    converted += (_CENTRE << 16 if component else 0) + _HALF
    clipped: np.ndarray = np.clip(converted >> 16, 0, 255).astype(np.uint8)
    return clipped


def reduced(plane: np.ndarray, across: int, down: int) -> np.ndarray:
    """Means of `down` × `across` samples: uint8 (H, W), multiples of both, to int64 (H / down, W / across)."""
    wide = plane.astype(np.int64)
    rows = sum((wide[at::down] for at in range(1, down)), wide[::down])
    sums = sum((rows[:, at::across] for at in range(1, across)), rows[:, ::across])
    count = across * down
    return np.asarray((sums + count // 2) // count)


def transformed(plane: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Quantised coefficients of a plane.

    Parameters
    ----------
    plane
        Samples 0 to 255: int64, shape (8·down, 8·across).
    table
        Quantisation table: 64 steps in natural order.

    Returns
    -------
    int16, shape (down, across, 64), natural order.
    """
    down, across = plane.shape[0] // SIDE, plane.shape[1] // SIDE
    blocks = (plane - _CENTRE).reshape(down, SIDE, across, SIDE).swapaxes(1, 2).astype(np.float64)
    # Whole numbers below 2⁵³: exact in whatever order they are added up, and quicker than integers.
    scaled = (_BASIS @ blocks @ _BASIS.T).reshape(down, across, SIDE * SIDE).astype(np.int64)
    steps = table.astype(np.int64) * (_SCALE * _SCALE)
    # Rounded half away from zero, as encoders do.
    quantised: np.ndarray = ((2 * np.abs(scaled) + steps) // (2 * steps) * np.sign(scaled)).astype(np.int16)
    return quantised
