"""Ways to look at one image: at several sizes, mirrored, turned, or piece by piece; and the way back for boxes.

A *look* is one picture of the whole image as a detector sees it. A look that is too large for one piece is cut into
overlapping tiles. A `View` is such a piece: one input of the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from blurline.boxes import Box
from blurline.detectors.fit import MAX_ENLARGEMENT

FURTHER_ENLARGEMENT = 2.0
"""How often looks after the first may enlarge an image: more costs much, and finds little that the first has not."""
OVERLAP = 0.125
"""The share of a tile's side that it has in common with its neighbour: larger faces are seen whole by smaller looks."""


@dataclass(frozen=True)
class Looks:
    """Which looks to take.

    Attributes
    ----------
    image_sizes
        Pixels of the longer side of the image as the detector sees it, one look each. The first enlarges a small image
        up to `MAX_ENLARGEMENT` times, the others up to `FURTHER_ENLARGEMENT` times; looks that become the same, or
        that come within a tenth of one before them, are taken once.
    flips
        Those of the sizes at which the mirrored image is looked at too.
    full_size
        Also look at the image as large as it is, where it is larger than every size.
    tile
        Pixels: a look with a longer side than this is cut into tiles of this size.
    turned
        Look at images whose file does not say which side is up (`Picture.oriented`) also turned by a quarter, both
        ways, at the first of the sizes.
    """

    image_sizes: tuple[int, ...]
    flips: tuple[int, ...] = ()
    full_size: bool = False
    tile: int = 4096
    turned: bool = False


@dataclass(frozen=True)
class View:
    """A piece of an image, as the detector sees it.

    Attributes
    ----------
    window
        The piece, in pixels of the image.
    size
        Pixels: the longer side of the piece as the detector sees it.
    mirrored
        Left and right are exchanged, after turning.
    turns
        Quarter turns anticlockwise.
    inner
        Which sides of the window (left, top, right, bottom) lie inside the image, where a face may be cut.
    """

    window: Box
    size: int
    mirrored: bool = False
    turns: int = 0
    inner: tuple[bool, bool, bool, bool] = (False, False, False, False)

    def of(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The piece of an image of shape (height, width, 3), turned and mirrored, not yet resized."""
        x1, y1, x2, y2 = self.window
        piece = np.rot90(image[y1:y2, x1:x2], self.turns)
        return piece[:, ::-1] if self.mirrored else piece

    def back(self, box: Box) -> Box:
        """Map a box from pixels of the piece, as `of` gives it, to pixels of the image."""
        width, height = self.window.x2 - self.window.x1, self.window.y2 - self.window.y1
        seen_width = height if self.turns % 2 else width
        x1, y1, x2, y2 = box
        if self.mirrored:
            x1, x2 = seen_width - x2, seen_width - x1
        for _ in range(self.turns % 4):  # undo one anticlockwise turn after the other
            # Turned once, pixel (x, y) shows the pixel (seen_height - 1 - y, x) of what was turned.
            seen_height = width + height - seen_width
            x1, y1, x2, y2 = seen_height - y2, x1, seen_height - y1, x2
            seen_width = seen_height
        left, top = self.window.x1, self.window.y1
        return Box(x1 + left, y1 + top, x2 + left, y2 + top)

    def cuts(self, box: Box) -> bool:
        """Whether a box in the image touches a side of the window that lies inside the image."""
        touching = (
            box.x1 <= self.window.x1,
            box.y1 <= self.window.y1,
            box.x2 >= self.window.x2,
            box.y2 >= self.window.y2,
        )
        return any(at and inside for at, inside in zip(touching, self.inner, strict=True))


def take(looks: Looks, width: int, height: int, *, oriented: bool = True) -> list[list[View]]:
    """The looks to take at an image of this size: for each its views, one unless it is cut into tiles.

    Upright looks come first, then the turned ones.
    """
    longest = max(width, height)
    sizes = list(looks.image_sizes)
    if looks.full_size and longest > max(sizes):
        sizes.append(longest)
    taken: dict[tuple[int, bool, int], None] = {}
    for at, size in enumerate(sizes):
        limited = min(size, math.floor(longest * (FURTHER_ENLARGEMENT if at else MAX_ENLARGEMENT)))
        if any(abs(limited - other) < 0.1 * other for other, _, _ in taken):
            continue
        taken[limited, False, 0] = None
        if size in looks.flips:
            taken[limited, True, 0] = None
    if looks.turned and not oriented:
        first = next(iter(taken))[0]
        taken |= {(first, False, 1): None, (first, False, 3): None}
    return [_views(size, mirrored, turns, width, height, looks.tile) for size, mirrored, turns in taken]


def _views(size: int, mirrored: bool, turns: int, width: int, height: int, tile: int) -> list[View]:
    scale = size / max(width, height)
    side = max(1, math.floor(tile / scale))
    columns, rows = _pieces(width, side), _pieces(height, side)
    views = []
    for y1, y2 in rows:
        for x1, x2 in columns:
            inner = (x1 > 0, y1 > 0, x2 < width, y2 < height)
            seen = max(1, round(max(x2 - x1, y2 - y1) * scale))
            views.append(View(Box(x1, y1, x2, y2), seen, mirrored, turns, inner))
    return views


def _pieces(length: int, tile: int) -> list[tuple[int, int]]:
    """Cut a length into pieces of at most `tile`, all of one length, that overlap by `OVERLAP` of a tile or more."""
    if length <= tile:
        return [(0, length)]
    number = math.ceil((length - OVERLAP * tile) / (tile * (1 - OVERLAP)))
    starts = [round(at * (length - tile) / (number - 1)) for at in range(number)]
    pieces = [(start, start + tile) for start in starts]
    assert pieces[-1][1] == length and all(b[0] < a[1] for a, b in pairwise(pieces))
    return pieces


def uncut(found: Sequence[tuple[View, Box, float]], held: float = 0.8) -> list[int]:
    """Which boxes of one class in a look's tiles to keep.

    A box at a tile's border inside the image may be half a face. It goes only where a box that another tile sees
    whole, and is at least as sure of, holds nearly all of it; in doubt it stays.

    Parameters
    ----------
    found
        For each box the view that it was found in, its place in the image, and its score.
    held
        The share of its area that must lie in the other box.

    Returns
    -------
    list of int
        Positions in `found`, in order.
    """
    whole = [one for one in found if not one[0].cuts(one[1])]
    return [
        at
        for at, (view, box, score) in enumerate(found)
        if not view.cuts(box)
        or not any(
            other is not view and surer >= score and box.intersection(one) >= held * box.area
            for other, one, surer in whole
        )
    ]
