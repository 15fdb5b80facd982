"""The formula of ImageNet's release of 2021, for reproducing it: weak on small faces beside large ones.

One σ, a tenth of the longest side of all boxes, blurs the picture and the mask of the boxes alike, and the blurred mask
mixes the two. So a small box's part of the mask is washed out by the σ of a large one, and with it the blur in it.
Yang et al., A Study of Face Obfuscation in ImageNet, ICML 2022, with the release's own code as the reference.
"""

import math
from collections.abc import Collection

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from blurline.images.obfuscate import methods

KEPT = 255
"""The value of the mask where a pixel stays as it is."""
_SHARE = 0.1

Rectangle = tuple[int, int, int, int]


def sigma(boxes: Collection[Rectangle], width: int, height: int) -> float:
    """The one σ in pixels for all these boxes of an image."""
    longest = max(max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes)
    return min(_SHARE * longest, methods.largest_sigma(width, height))


def drawn(box: Rectangle, width: int, height: int) -> Rectangle:
    """What is drawn into the mask for a box, clipped, ``x2, y2`` exclusive.

    Pillow, which drew it, cuts fractions off and counts the right and the lower end in.
    """
    x1, y1, x2, y2 = box
    grown = _SHARE * max(x2 - x1, y2 - y1)
    return (
        max(math.trunc(x1 - grown), 0),
        max(math.trunc(y1 - grown), 0),
        min(math.trunc(x2 + grown) + 1, width),
        min(math.trunc(y2 + grown) + 1, height),
    )


def reach(radius: float) -> int:
    """Pixels beyond the drawn boxes that may change."""
    return methods.gaussian_reach(radius)


def kept(rectangles: Collection[Rectangle], radius: float, width: int, height: int) -> np.ndarray:
    """The blurred mask: how much of the picture stays, 0 to 255: uint8, shape (H, W)."""
    return np.asarray(_mask(rectangles, radius, (width, height)))


def blur(pixels: np.ndarray, rectangles: Collection[Rectangle], radius: float) -> np.ndarray:
    """The picture blurred by the formula.

    Parameters
    ----------
    pixels
        uint8, shape (H, W) or (H, W, C).
    """
    mask = _mask(rectangles, radius, (pixels.shape[1], pixels.shape[0]))

    def one(plane: np.ndarray) -> np.ndarray:
        image = Image.fromarray(plane)
        return np.asarray(Image.composite(image, image.filter(ImageFilter.GaussianBlur(radius)), mask))

    return methods.by_plane(pixels, one)


def _mask(rectangles: Collection[Rectangle], radius: float, size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size, KEPT)
    draw = ImageDraw.Draw(mask)
    for x1, y1, x2, y2 in rectangles:
        draw.rectangle((x1, y1, x2 - 1, y2 - 1), fill=0)
    return mask.filter(ImageFilter.GaussianBlur(radius))
