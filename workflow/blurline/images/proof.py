"""What a released file must show once it is decoded again: nothing of a face is left, and nothing else has changed."""

import functools
import math
from collections.abc import Sequence

import numpy as np

from blurline.images import codecs, decode
from blurline.images.containers import Metadata
from blurline.images.decode import Decoded, Limits, Undecodable
from blurline.images.errors import CannotRelease
from blurline.images.obfuscate import Region, Residual, full_strength, residual
from blurline.images.results import Proof

DIFFERS = "the result differs from what was intended"
TOO_WEAK = "the blur leaves too much of a face"
WEBP_TOLERANCE = 6.0
"""Mean absolute error, in levels, that coding a lossy WebP again may cause."""
CHANGED = "coding it anew changes too much outside of what is blurred"
MIN_DB = 28.0
"""The least peak signal-to-noise ratio outside of the regions of what must be coded anew, in dB."""
PALETTE_TOLERANCE = 16.0
"""Mean absolute error, in levels, that the nearest colour of a palette may cause."""
MAX_RESIDUAL = 0.2
"""The largest share of a face's structure that may be left: a Gaussian of σ = 2 % of its width leaves 0.25 to 0.43."""
MAX_LEVELS = 1.0
"""Up to so many grey levels of structure, the share does not count: where there was no more than that to begin with, as
in a slow gradient, a blur of any strength may leave most of it."""
EXTRA_LEVELS = 0.75
"""So many grey levels more of a face's structure than was meant may be rounding, and more in a core of few pixels.

An untouched face has 25 to 50 in all.
"""
MIN_FULL = 0.98
"""The least share of a region's core that must show what was to be shown."""
_EXTRA_DETAIL = 0.1  # rounding may add that much; an untouched face has 1
_FEW = 16  # pixels
_EDGE = 4  # pixels that chroma may spread: two samples of every second pixel
_SPREAD = 6.0  # times the tolerance, which is a mean: a single pixel of a blur coded with loss may be off by that


class TooWeak(CannotRelease):
    """A face that can still be made out: a stronger blur may help."""

    def __init__(self, reason: str = TOO_WEAK) -> None:
        super().__init__(reason)


def reload(result: bytes, limits: Limits) -> Decoded:
    """Decode what was written; bytes are not limited, as a new coding may be larger than the old.

    Raises
    ------
    CannotRelease
        When it does not decode.
    """
    try:
        return decode.load(result, Limits(len(result), limits.max_pixels))
    except Undecodable as error:
        raise CannotRelease(DIFFERS) from error


def kept_profile(source: Decoded, metadata: Metadata) -> bytes | None:
    """The colour profile that a released file must have."""
    return source.profile if metadata == "keep-safe" else None


def prove(
    before: np.ndarray,
    intended: np.ndarray,
    after: np.ndarray,
    regions: Sequence[Region],
    tolerance: float = 0.0,
    *,
    lossless: bool,
) -> list[Proof]:
    """Measure every region in the decoded released picture.

    Parameters
    ----------
    before, intended, after
        The source, what it was to become, and what was released, in the displayed frame: uint8 (H, W), (H, W, 3) or,
        as CMYK, (H, W, 4).
    tolerance
        Mean absolute error, in levels, that coding with loss may cause.

    Raises
    ------
    TooWeak
        However the params say to blur: a face that can still be made out does not leave.
    CannotRelease
        When a region does not show what it was to show.
    """
    allowed = 0.0 if lossless else _SPREAD * tolerance
    strong = full_strength(regions, *before.shape[1::-1])
    proofs = []
    for region in regions:
        core, mask = np.s_[region.y1 : region.y2, region.x1 : region.x2], region.core_mask()
        if not mask.any():
            raise CannotRelease(DIFFERS)  # there is nothing to measure
        # Chroma of subsampled pictures spreads over a core's edge, whose colour may be any: lightness tells.
        want, got = (picture[core] if lossless else _shade(picture[core]) for picture in (intended, after))
        error = np.abs(got.astype(np.int16) - want)
        shown = _widest(error) <= allowed
        if not (_of(error, mask).mean() <= tolerance and _of(shown, mask).mean() >= MIN_FULL):
            raise CannotRelease(DIFFERS)
        if not lossless and not _colours_agree(intended[core], after[core], mask, tolerance):
            raise CannotRelease(DIFFERS)
        left = _left(before[core], after[core], mask)
        rounding = EXTRA_LEVELS * max(1.0, _FEW / min(mask.shape))
        if left.levels > rounding:
            meant = _left(before[core], intended[core], mask)
            if left.levels - meant.levels > rounding and left.share - meant.share > _EXTRA_DETAIL:
                raise CannotRelease(DIFFERS)
        if left.levels > MAX_LEVELS and left.share > MAX_RESIDUAL:
            raise TooWeak
        full = _of(shown & strong[core], mask).mean()
        proofs.append(Proof(round(float(full), 4), round(left.share, 4)))
    return proofs


def _of(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The values where the mask, bool (H, W), says so."""
    return values if mask.all() else values[mask]


def _shade(picture: np.ndarray) -> np.ndarray:
    """Lightness: grey as it is, luma of RGB, luma and the black plane of CMYK."""
    if picture.ndim == 2:
        return picture
    luma = _grey(picture[:, :, :3])
    return luma if picture.shape[2] == 3 else np.dstack([luma, picture[:, :, 3]])


def _colours_agree(intended: np.ndarray, after: np.ndarray, mask: np.ndarray, tolerance: float) -> bool:
    """Whether the colours are about those meant, farther inside than chroma spreads; a small core has no such place."""
    inner = np.s_[_EDGE:-_EDGE, _EDGE:-_EDGE]
    if intended.ndim == 2 or not mask[inner].any():
        return True
    error = np.abs(after[inner].astype(np.int16) - intended[inner])
    return bool(_of(error, mask[inner]).mean() <= 2 * tolerance)


def _left(before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> Residual:
    """What is left of the structure; of a CMYK picture that of the black plane, if it is more."""
    if before.ndim == 3 and before.shape[2] == 4:
        planes = (residual(before[:, :, at], after[:, :, at], mask) for at in (np.s_[:3], 3))
        return max(planes, key=lambda left: left.levels)
    return residual(before, after, mask)


def _widest(samples: np.ndarray) -> np.ndarray:
    """The largest sample of every pixel: (H, W[, C]) to (H, W). Plane by plane, as numpy is slow along short axes."""
    if samples.ndim == 2:
        return samples
    return functools.reduce(np.maximum, (samples[:, :, plane] for plane in range(samples.shape[2])))


def bounded(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float | None:
    """Peak signal-to-noise ratio, in dB, of two uint8 pictures where the mask says so; None where they are equal.

    Raises
    ------
    CannotRelease
        When it is under `MIN_DB`.
    """
    difference = (one.astype(np.int32) - other)[where]
    power = float((difference**2).mean()) if difference.size else 0.0
    ratio = 10 * math.log10(255**2 / power) if power else math.inf
    if ratio < MIN_DB:
        raise CannotRelease(CHANGED)
    return round(ratio, 2) if power else None


def close_enough(intended: np.ndarray, after: np.ndarray, tolerance: float) -> None:
    """Coding with loss may round, but not move the picture; both uint8 (H, W, 3).

    Raises
    ------
    CannotRelease
        When the two differ by more, on average, in levels.
    """
    # As a whole in grey: subsampled chroma may stray far where colours are wild, and nobody hides there.
    error = np.abs(_grey(after).astype(np.int16) - _grey(intended)).mean()
    if error > tolerance:
        raise CannotRelease(DIFFERS)


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
