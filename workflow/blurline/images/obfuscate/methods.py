"""What stands in a face's place: a Gaussian blur, a mosaic of averages, or one colour.

All of it is integer arithmetic: the same on every CPU.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

MIN_SIGMA = 2.0
"""σ in pixels below which no face is blurred, however small its box: a face of 8 pixels is still a face."""
MIN_CELL = 4
"""Pixels below which no cell of a mosaic is wide, however small the face."""

_MAX_SIGMA_SHARE = 4.0
_PER_SIGMA = 4  # squares to one sigma, when a wide blur works on means

Rectangle = tuple[int, int, int, int]


def largest_sigma(width: int, height: int) -> float:
    """σ in pixels from which on nothing changes any more in an image of that size.

    A box may reach far beyond the image.
    """
    return _MAX_SIGMA_SHARE * max(width, height)


def sigma(strength: float, side: int, width: int, height: int) -> float:
    """σ in pixels for a face whose longer side is so long, in an image of that size."""
    return max(MIN_SIGMA, min(strength * side, largest_sigma(width, height)))


def gaussian_reach(sigma: float) -> int:
    """Pixels beyond which Pillow's Gaussian, three box filters, spreads nothing."""
    return math.ceil(3 * sigma) + 3


def gaussian(pixels: np.ndarray, area: Rectangle, sigma: float) -> np.ndarray:
    """The area blurred: uint8.

    A wide blur leaves nothing finer than a fraction of its σ, so it works on means of squares of σ / `_PER_SIGMA`
    pixels, and is brought back linearly; these two add less than 1 % to σ. At the image's border, the outermost pixels
    or squares go on.
    """
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = area
    step = max(1, int(sigma / _PER_SIGMA))
    reach = gaussian_reach(sigma) + 2 * step
    left, top = max(x1 - reach, 0), max(y1 - reach, 0)
    crop = pixels[top : min(y2 + reach, height), left : min(x2 + reach, width)]
    place = (x1 - left) / step, (y1 - top) / step, (x2 - left) / step, (y2 - top) / step
    blur = ImageFilter.GaussianBlur(sigma / step)

    def blurred(plane: np.ndarray) -> np.ndarray:
        image = Image.fromarray(plane)
        if step == 1:
            return np.asarray(image.filter(blur).crop((x1 - left, y1 - top, x2 - left, y2 - top)))
        soft = image.reduce(step).filter(blur)
        return np.asarray(soft.resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR, box=place))

    return by_plane(crop, blurred)


def by_plane(pixels: np.ndarray, work: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply what works on grey and on RGB to pixels of any number of channels."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return work(pixels)
    return np.stack([work(pixels[:, :, channel]) for channel in range(pixels.shape[2])], axis=2)


def cell(cells: int, side: int, width: int, height: int) -> int:
    """The least width of a cell in pixels for a face whose longer side is so long, in an image of that size."""
    return min(max(MIN_CELL, -(-side // cells)), width + height)


def grid(core: Rectangle, cell: int) -> tuple[int, int]:
    """Columns and rows of a core's mosaic: as many as are no narrower than a cell, and at least one."""
    x1, y1, x2, y2 = core
    return max(1, (x2 - x1) // cell), max(1, (y2 - y1) // cell)


def mosaic(pixels: np.ndarray, core: Rectangle, area: Rectangle, cell: int) -> np.ndarray:
    """The area with each cell of the core as its average, and the outermost cells going on outside: uint8."""
    x1, y1, x2, y2 = core
    columns, rows = grid(core, cell)
    # Cells of nearly equal size: a remainder as a column of its own would be narrow, and show detail.
    xs = np.arange(columns + 1) * (x2 - x1) // columns
    ys = np.arange(rows + 1) * (y2 - y1) // rows
    by_row = np.add.reduceat(pixels[y1:y2, x1:x2], ys[:-1], axis=0, dtype=np.int64)
    sums = np.add.reduceat(by_row, xs[:-1], axis=1)
    counts = np.diff(ys)[:, None] * np.diff(xs)[None, :]
    means = _rounded(sums, counts if pixels.ndim == 2 else counts[:, :, None])
    column = np.searchsorted(xs[1:], np.clip(np.arange(area[0], area[2]) - x1, 0, x2 - x1 - 1), side="right")
    row = np.searchsorted(ys[1:], np.clip(np.arange(area[1], area[3]) - y1, 0, y2 - y1 - 1), side="right")
    spread: np.ndarray = means[row[:, None], column[None, :]]
    return spread


def mean_colour(pixels: np.ndarray, core: Rectangle, mask: np.ndarray) -> np.ndarray:
    """The mean of the core's pixels in the mask: uint8, shape () or (C,)."""
    x1, y1, x2, y2 = core
    where = mask if pixels.ndim == 2 else mask[:, :, None]
    sums = np.asarray(np.sum(pixels[y1:y2, x1:x2], axis=(0, 1), dtype=np.int64, where=where))
    return _rounded(sums, int(np.count_nonzero(mask)))


def given_colour(colour: str, pixels: np.ndarray) -> np.ndarray:
    """A colour ``#rrggbb`` as these pixels have it: uint8, shape () or (C,).

    Raises
    ------
    ValueError
        When the pixels are neither grey, RGB nor CMYK.
    """
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 3:
        return np.array([red, green, blue], dtype=np.uint8)
    if channels == 4:
        return np.array([255 - red, 255 - green, 255 - blue, 0], dtype=np.uint8)
    if channels != 1:
        raise ValueError(f"colour: want grey, RGB or CMYK pixels, found {channels} channels")
    grey = (77 * red + 150 * green + 29 * blue + 128) >> 8  # luma, ITU-R BT.601
    return np.full(pixels.shape[2:], grey, dtype=np.uint8)


def _rounded(sums: np.ndarray, counts: np.ndarray | int) -> np.ndarray:
    means: np.ndarray = ((2 * sums + counts) // (2 * counts)).astype(np.uint8)
    return means
