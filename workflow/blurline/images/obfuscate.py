"""Faces made unrecognisable: pixels in, pixels out.

Every face has its own σ, in proportion to its own size. One σ for a whole image, or a mask blurred together with
the image (as ImageNet's release did), leaves the pixels of a small face beside a large one nearly untouched.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from blurline.boxes import ALL_FRAMES

MIN_SIGMA = 2.0
"""σ in pixels below which no face is blurred, however small its box: a face of 8 pixels is still a face."""

_MAX_SIGMA_SHARE = 4.0
_FULL = 256  # the weight of a fully blurred pixel
_GRID = 32


@dataclass(frozen=True)
class BlurStyle:
    """How to blur. Lengths are shares of the longer side of a face's box.

    Attributes
    ----------
    method
        ``gaussian``, the only one so far.
    strength
        σ of the Gaussian. See `MIN_SIGMA`.
    margin
        How far the core reaches beyond the box on every side.
    feather
        Width of the soft edge outside the core.

    Raises
    ------
    ValueError
        For an unknown method, a strength that is not positive, a negative or infinite length.
    """

    method: str
    strength: float
    margin: float
    feather: float

    def __post_init__(self) -> None:
        if self.method != "gaussian":
            raise ValueError(f"method: want gaussian, found {self.method}")
        if not (0 < self.strength < math.inf and 0 <= self.margin < math.inf and 0 <= self.feather < math.inf):
            raise ValueError("strength must be positive, margin and feather not negative, and all finite")


class Target(NamedTuple):
    """What to blur: a box in pixels, ``x2, y2`` exclusive, the class it is of, and its frame (-1: every frame)."""

    x1: int
    y1: int
    x2: int
    y2: int
    label: str = "face"
    frame: int = ALL_FRAMES


@dataclass(frozen=True)
class Region:
    """What was done to one face.

    ``x1, y1, x2, y2`` is the core, in pixels of the array given, origin top left, ``x2, y2`` exclusive: every pixel
    in it is replaced by the blurred one. ``sigma`` and ``feather`` (the soft edge outside the core) are pixels.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    method: str
    sigma: float
    feather: int

    def grown(self, pixels: int, width: int, height: int) -> tuple[int, int, int, int]:
        """The core grown on every side and clipped to the image."""
        return (
            max(self.x1 - pixels, 0),
            max(self.y1 - pixels, 0),
            min(self.x2 + pixels, width),
            min(self.y2 + pixels, height),
        )


def plan(targets: Iterable[Target], style: BlurStyle, width: int, height: int) -> list[Region]:
    """The regions to blur for these targets, in the order in which to blur them.

    Raises
    ------
    ValueError
        For a box that is empty or has no pixel in the image: it cannot mean what its author meant.
    """
    regions = []
    for x1, y1, x2, y2 in sorted({target[:4] for target in targets}):
        side = max(x2 - x1, y2 - y1)
        if x1 >= x2 or y1 >= y2 or x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise ValueError("a box is empty or outside the image")
        # A box may reach far beyond the image; above this sigma nothing changes any more.
        sigma = max(MIN_SIGMA, min(style.strength * side, _MAX_SIGMA_SHARE * max(width, height)))
        margin = style.margin * side
        regions.append(
            Region(
                max(math.floor(x1 - margin), 0),
                max(math.floor(y1 - margin), 0),
                min(math.ceil(x2 + margin), width),
                min(math.ceil(y2 + margin), height),
                style.method,
                sigma,
                min(math.ceil(style.feather * side), width + height),
            )
        )
    # Ascending sigma, each blur working on what the ones before have left. A pixel in several cores is then written
    # last by its strongest blur. The other way round, a weak blur would come last and mix clear pixels from just
    # outside the strong core back into it. A step only ever mixes what is left of the image, so no pixel that is gone
    # can come back. The coordinates break ties: the order in which the boxes came never shows.
    return sorted(regions, key=lambda r: (r.sigma, r.x1, r.y1, r.x2, r.y2, r.feather))


def obfuscate(pixels: np.ndarray, targets: Iterable[Target], style: BlurStyle) -> tuple[np.ndarray, list[Region]]:
    """Blur the faces in these boxes.

    The result depends on neither the order nor the repetition of the targets, and on no CPU: Pillow's blur and the
    blending work on integers.

    Parameters
    ----------
    pixels
        uint8, shape (H, W) or (H, W, C), colour channels only. It stays as it is.
    targets
        Faces in pixels of this array.

    Returns
    -------
    pixels, regions
        A new array of the same shape, and what was done, in the order in which it was done. Pixels farther from
        every core than its feather are as they were.

    Raises
    ------
    ValueError
        As `plan`.
    """
    height, width = pixels.shape[:2]
    regions = plan(targets, style, width, height)
    result = np.array(pixels, dtype=np.uint8, order="C")
    for region in regions:
        _apply(result, region)
    return result, regions


def touched(regions: Iterable[Region], width: int, height: int) -> np.ndarray:
    """Where pixels may have changed (cores and feathers): bool, shape (H, W)."""
    mask = np.zeros((height, width), dtype=np.bool_)
    for region in regions:
        x1, y1, x2, y2 = region.grown(region.feather, width, height)
        mask[y1:y2, x1:x2] = True
    return mask


def _apply(pixels: np.ndarray, region: Region) -> None:
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = region.grown(region.feather, width, height)
    # Pillow's three box filters together reach no farther than this, so blurring the crop gives exactly what
    # blurring the whole image would. At the image's border they repeat its outermost pixels.
    reach = math.ceil(3 * region.sigma) + 3
    cx1, cy1, cx2, cy2 = region.grown(region.feather + reach, width, height)
    blurred = _gaussian(pixels[cy1:cy2, cx1:cx2], region.sigma)[y1 - cy1 : y2 - cy1, x1 - cx1 : x2 - cx1]
    weight = _weights(region, (x1, y1, x2, y2))
    window = pixels[y1:y2, x1:x2]
    if pixels.ndim == 3:
        weight = weight[:, :, None]
    old = window.astype(np.int32)
    window[...] = old + (((blurred.astype(np.int32) - old) * weight + _FULL // 2) >> 8)


def _gaussian(pixels: np.ndarray, sigma: float) -> np.ndarray:
    blur = ImageFilter.GaussianBlur(sigma)
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return np.asarray(Image.fromarray(pixels).filter(blur))
    planes = [np.asarray(Image.fromarray(pixels[:, :, c]).filter(blur)) for c in range(pixels.shape[2])]
    return np.stack(planes, axis=2)


def _weights(region: Region, area: tuple[int, int, int, int]) -> np.ndarray:
    """Weight of the blurred pixel, 0 to 256: int32, the shape of the area; 256 everywhere in the core.

    Outside it falls off as 1 - t²(3 - 2t) (smoothstep) with the Euclidean distance t to the core.
    """
    x1, y1, x2, y2 = area
    xs, ys = np.arange(x1, x2), np.arange(y1, y2)
    dx = np.maximum(np.maximum(region.x1 - xs, xs - (region.x2 - 1)), 0)
    dy = np.maximum(np.maximum(region.y1 - ys, ys - (region.y2 - 1)), 0)
    distance = np.sqrt((dx[None, :] ** 2 + dy[:, None] ** 2).astype(np.float64))
    t = np.minimum(distance / (region.feather + 1), 1.0)
    weight: np.ndarray = np.rint(_FULL * (1.0 - t * t * (3.0 - 2.0 * t))).astype(np.int32)
    return weight


def residual_detail(before: np.ndarray, after: np.ndarray) -> float:
    """How much of a face's structure is left: 1 for an untouched crop, near 0 for a strong blur.

    Both crops are brought to 32 × 32 grey pixels, the scale at which faces are recognised, and the Laplacian of one
    is regressed on that of the other; the slope is returned. Unlike the variance of the Laplacian at full size it
    is fooled neither by a blur of a few pixels on a large face nor by noise added afterwards.

    Parameters
    ----------
    before, after
        The same crop: uint8, shape (H, W) or (H, W, 3).

    Returns
    -------
    float
        The slope; 0 when the original is flat, so that there was nothing to hide.
    """
    old, new = _laplacian(before), _laplacian(after)
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
