"""What a released file must show once it is decoded again: nothing of a face is left, and nothing else has changed."""

from collections.abc import Sequence

import numpy as np

from blurline.images import codecs
from blurline.images.errors import CannotRelease
from blurline.images.obfuscate import Region, residual_detail

DIFFERS = "the result differs from what was intended"
WEBP_TOLERANCE = 6.0
"""Mean absolute error, in levels, that coding a lossy WebP again may cause."""
_MEASURABLE = 32  # pixels: `residual_detail` would have to enlarge a smaller core, and says little about it
MAX_RESIDUAL = 0.2
"""The most of `residual_detail` that may be left: a Gaussian of σ = 2 % of a face's width leaves 0.25 to 0.43."""
_EXTRA_DETAIL = 0.1  # rounding may add that much; an untouched face has 1


def gone(before: np.ndarray, after: np.ndarray, regions: Sequence[Region]) -> None:
    """However the params say to blur: a face that can still be made out does not leave."""
    for region in regions:
        core = np.s_[region.y1 : region.y2, region.x1 : region.x2]
        if min(after[core].shape[:2]) >= _MEASURABLE and residual_detail(before[core], after[core]) > MAX_RESIDUAL:
            raise CannotRelease("the blur leaves too much of a face")


def close_enough(
    before: np.ndarray, intended: np.ndarray, after: np.ndarray, regions: Sequence[Region], tolerance: float
) -> None:
    """Lossy coding may round, but neither move the picture nor bring a face back."""
    # As a whole in grey: subsampled chroma may stray far where colours are wild, and nobody hides there.
    if _error(_grey(after), _grey(intended)) > tolerance:
        raise CannotRelease(DIFFERS)
    for region in regions:
        core = np.s_[region.y1 : region.y2, region.x1 : region.x2]
        if _error(after[core], intended[core]) > tolerance:
            raise CannotRelease(DIFFERS)
        if min(after[core].shape[:2]) >= _MEASURABLE:
            allowed = residual_detail(before[core], intended[core]) + _EXTRA_DETAIL
            if residual_detail(before[core], after[core]) > allowed:
                raise CannotRelease(DIFFERS)


def _error(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference in levels."""
    return float(np.abs(one.astype(np.int16) - other).mean())


def _grey(rgb: np.ndarray) -> np.ndarray:
    """Luma, uint8 (H, W): ITU-R BT.601 weights in 1/256."""
    grey: np.ndarray = (rgb.astype(np.int32) @ np.array([77, 150, 29]) >> 8).astype(np.uint8)
    return grey


def jpeg_tolerance(coding: codecs.JpegCoding) -> float:
    """Mean absolute error, in levels, that coding with these tables may cause.

    A coefficient is off by at most half its step, and uniformly so: q/√12 root mean square. The transform is
    orthonormal, hence the pixels' error is the root mean square of those; 2 levels are for colour conversion.
    """
    steps = np.array(coding.tables, dtype=np.float64)
    return 2.0 + float(np.sqrt((steps**2 / 12).mean(axis=1)).max())
