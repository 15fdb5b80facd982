"""The blur itself: pixels in, pixels out.

Every face has its own strength, in proportion to its own size. One σ for a whole image, or a mask blurred together with
the image (as ImageNet's release did), leaves the pixels of a small face beside a large one nearly untouched.
"""

from collections.abc import Iterable

import numpy as np

from blurline.images.obfuscate import imagenet, methods
from blurline.images.obfuscate.regions import FULL, Rectangle, Region, Target, plan
from blurline.images.obfuscate.styles import BlurStyle


def obfuscate(pixels: np.ndarray, targets: Iterable[Target], style: BlurStyle) -> tuple[np.ndarray, list[Region]]:
    """Blur what is in these boxes.

    The result depends on neither the order nor the repetition of the targets, and on no CPU: Pillow's blur, averages
    and the blending work on integers.

    Parameters
    ----------
    pixels
        uint8, shape (H, W) or (H, W, C), colour channels only. It stays as it is.
    targets
        Faces and the like, in pixels of this array.

    Returns
    -------
    pixels, regions
        A new array of the same shape, and what was done, in the order in which it was done. Pixels farther from
        every core than its feather are as they were.

    Raises
    ------
    ValueError
        As `plan`; and for a given colour when the pixels are neither grey nor RGB.
    """
    height, width = pixels.shape[:2]
    regions = plan(targets, style, width, height)
    result = np.array(pixels, dtype=np.uint8, order="C")
    if regions and style.method == "imagenet2021":
        return imagenet.blur(result, [region.core for region in regions], regions[0].sigma or 0.0), regions
    for region in regions:
        _apply(result, region)
    return result, regions


def _apply(pixels: np.ndarray, region: Region) -> None:
    x1, y1, x2, y2 = area = region.grown(region.feather, pixels.shape[1], pixels.shape[0])
    new = _replacement(pixels, region, area).astype(np.int32)
    weight = region.weights(area)
    if pixels.ndim == 3:
        weight = weight[:, :, None]
    window = pixels[y1:y2, x1:x2]
    old = window.astype(np.int32)
    window[...] = old + (((new - old) * weight + FULL // 2) >> 8)


def _replacement(pixels: np.ndarray, region: Region, area: Rectangle) -> np.ndarray:
    """What stands in the area instead: uint8, the area's shape, or one colour."""
    if region.sigma is not None:
        return methods.gaussian(pixels, area, region.sigma)
    if region.cell is not None:
        return methods.mosaic(pixels, region.core, area, region.cell)
    if region.colour is not None:
        return methods.given_colour(region.colour, pixels)
    return methods.mean_colour(pixels, region.core, region.core_mask())
