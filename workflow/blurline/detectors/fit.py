"""How an image meets a detector's input: resized and padded by us alone, so that we know the way back exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GREY = 114  # what ultralytics pads with in training

# Enlarging small images finds faces that a detector would miss: with photographs of 125 x 94 pixels and faces of 9,
# CenterFace covered 30, 43, 43 and 42 of 43 faces at a score of 0.3 when enlarged 1, 2, 4 and 8 times (13, 40, 43 and
# 42 at 0.5). Beyond 4 there is nothing to win.
MAX_ENLARGEMENT = 4.0


@dataclass(frozen=True)
class Fit:
    """An image's place in the detector's input: its top left corner, the rest is grey. All in pixels.

    Attributes
    ----------
    width, height
        Of the image as given.
    inner_width, inner_height
        Of the resized image.
    canvas_width, canvas_height
        Of the input: at least as large.
    """

    width: int
    height: int
    inner_width: int
    inner_height: int
    canvas_width: int
    canvas_height: int

    def place(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Resize and pad an image: uint8, (height, width, 3) to (canvas_height, canvas_width, 3).

        Pillow's bilinear filter grows as the image shrinks, so it is antialiased: small faces do not fall between
        samples.
        """
        size = (self.inner_width, self.inner_height)
        resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
        canvas = np.full((self.canvas_height, self.canvas_width, 3), GREY, np.uint8)
        canvas[: self.inner_height, : self.inner_width] = np.asarray(resized)
        return canvas

    def back(self, x1: float, y1: float, x2: float, y2: float) -> tuple[int, int, int, int] | None:
        """Map a box from input pixels to integer pixels of the image: rounded outward, clipped, right end exclusive.

        Returns
        -------
        tuple of int or None
            None when the box lies wholly outside the image, in the padding or beyond.
        """
        columns = _span(x1, x2, self.width, self.inner_width)
        rows = _span(y1, y2, self.height, self.inner_height)
        if columns is None or rows is None:
            return None
        return columns[0], rows[0], columns[1], rows[1]


def fit(height: int, width: int, *, image_size: int, stride: int, canvas: tuple[int, int] | None = None) -> Fit:
    """Place an image of `height` x `width` pixels.

    Parameters
    ----------
    image_size
        Pixels of the resized image's longer side. Small images are enlarged, by no more than `MAX_ENLARGEMENT`.
    stride
        The input's sides are the next multiples of this.
    canvas
        Height and width of the input, for a model that takes one size only; it replaces the two above.
    """
    scale = image_size / max(height, width)
    if canvas is not None:
        scale = min(canvas[0] / height, canvas[1] / width)
    scale = min(scale, MAX_ENLARGEMENT)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    rows, columns = canvas or (math.ceil(side / stride) * stride for side in inner)
    return Fit(width, height, inner[1], inner[0], columns, rows)


def _span(low: float, high: float, size: int, inner: int) -> tuple[int, int] | None:
    """One axis of `Fit.back`."""
    first, last = math.floor(low * size / inner), math.ceil(high * size / inner)
    last = max(last, first + 1)  # a box without area still marks a pixel
    if last <= 0 or first >= size:
        return None
    return max(first, 0), min(last, size)
