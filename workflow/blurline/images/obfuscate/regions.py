"""What to blur, and where and how it will be blurred: regions with their weights, from boxes and a style."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from blurline.boxes import ALL_FRAMES
from blurline.images.obfuscate import imagenet, methods
from blurline.images.obfuscate.styles import MEAN, BlurStyle

FULL = 256
"""The weight of a pixel that is entirely replaced."""

Rectangle = tuple[int, int, int, int]


class NotInImage(ValueError):
    """A box that is empty or has no pixel in the image: it cannot mean what its author meant."""

    def __init__(self, reason: str = "a box is empty or outside the image") -> None:
        super().__init__(reason)


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

    Attributes
    ----------
    x1, y1, x2, y2
        The core's rectangle, in pixels of the array given, origin top left, ``x2, y2`` exclusive: every pixel of
        `core_mask` in it is replaced. (Not by ``imagenet2021``, of which it is the box drawn into the mask.)
    method
        One of `METHODS`.
    sigma
        Of the Gaussian, in pixels; None if the method has none.
    feather
        Width of the soft edge outside the core, in pixels: nothing changes beyond it.
    shape
        Of the core.
    outline
        The core's rectangle before the image's border cut it: what an ellipse is inscribed in.
    cell
        Of a mosaic: no cell is narrower, in pixels, but where the core is; None if the method has none.
    colour
        ``#rrggbb`` if one was asked for.
    frame
        -1 for every frame.
    """

    x1: int
    y1: int
    x2: int
    y2: int
    method: str
    sigma: float | None
    feather: int
    shape: str = "box"
    outline: Rectangle | None = None
    cell: int | None = None
    colour: str | None = None
    frame: int = ALL_FRAMES

    @property
    def core(self) -> Rectangle:
        return self.x1, self.y1, self.x2, self.y2

    @property
    def cells(self) -> int | None:
        """How many averages a mosaic leaves of the core."""
        return None if self.cell is None else math.prod(methods.grid(self.core, self.cell))

    def grown(self, pixels: int, width: int, height: int) -> Rectangle:
        """The core grown on every side and clipped to the image."""
        return (
            max(self.x1 - pixels, 0),
            max(self.y1 - pixels, 0),
            min(self.x2 + pixels, width),
            min(self.y2 + pixels, height),
        )

    def core_mask(self) -> np.ndarray:
        """Which pixels of the core's rectangle are of the core: bool, shape (y2 - y1, x2 - x1)."""
        if self.shape == "box":
            return np.ones((self.y2 - self.y1, self.x2 - self.x1), dtype=np.bool_)
        mask: np.ndarray = self.weights(self.core) == FULL
        return mask

    def weights(self, area: Rectangle) -> np.ndarray:
        """Weight of the replaced pixel, 0 to 256: int32, the shape of the area; 256 everywhere in the core.

        Outside it falls off as 1 - t²(3 - 2t) (smoothstep) with the distance t to the core. (For ``imagenet2021``,
        whose weights depend on all boxes of an image, this is the box.)
        """
        x1, y1, x2, y2 = area
        xs, ys = np.arange(x1, x2), np.arange(y1, y2)
        distance = self._beyond_box(xs, ys) if self.shape == "box" else self._beyond_ellipse(xs, ys)
        t = np.minimum(distance / (self.feather + 1), 1.0)
        weight: np.ndarray = np.rint(FULL * (1.0 - t * t * (3.0 - 2.0 * t))).astype(np.int32)
        return weight

    def _beyond_box(self, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        dx = np.maximum(np.maximum(self.x1 - xs, xs - (self.x2 - 1)), 0)
        dy = np.maximum(np.maximum(self.y1 - ys, ys - (self.y2 - 1)), 0)
        distance: np.ndarray = np.sqrt((dx[None, :] ** 2 + dy[:, None] ** 2).astype(np.float64))
        return distance

    def _beyond_ellipse(self, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        """0 inside, and outside 1 and the way to the ellipse along the line to its centre, in pixels.

        Only operations that IEEE 754 rounds exactly: the same on every CPU.
        """
        x1, y1, x2, y2 = self.outline or self.core
        dx, dy = (2 * xs + 1 - x1 - x2).astype(np.float64), (2 * ys + 1 - y1 - y2).astype(np.float64)
        u, v = dx / (x2 - x1), dy / (y2 - y1)
        radius = np.maximum(np.sqrt(u[None, :] * u[None, :] + v[:, None] * v[:, None]), 1.0)
        from_centre = np.sqrt(dx[None, :] * dx[None, :] + dy[:, None] * dy[:, None]) / 2.0
        distance: np.ndarray = np.where(radius > 1.0, 1.0 + from_centre * (1.0 - 1.0 / radius), 0.0)
        return distance


def plan(targets: Iterable[Target], style: BlurStyle, width: int, height: int) -> list[Region]:
    """The regions to blur for these targets, in the order in which to blur them.

    Raises
    ------
    NotInImage
        For a box that is empty or has no pixel in the image.
    """
    wanted = {(target[:4], style.of(target.label)) for target in targets}
    for (x1, y1, x2, y2), _ in wanted:
        if x1 >= x2 or y1 >= y2 or x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise NotInImage
    if style.method == "imagenet2021":
        regions = _published({box for box, _ in wanted}, width, height)
    else:
        regions = {_region(box, own, width, height) for box, own in wanted}
    # Ascending strength, each blur working on what the ones before have left. A pixel in several cores is then written
    # last by its strongest blur. The other way round, a weak blur would come last and mix clear pixels from just
    # outside the strong core back into it. A step only ever mixes what is left of the image, so no pixel that is gone
    # can come back. The other attributes break ties: the order in which the boxes came never shows.
    return sorted(regions, key=lambda r: (_reach(r), *r.core, r.feather, r.method, r.shape, r.outline, r.colour or ""))


def _region(box: Rectangle, style: BlurStyle, width: int, height: int) -> Region:
    x1, y1, x2, y2 = box
    side = max(x2 - x1, y2 - y1)
    margin = style.margin * side
    # A box that ends just at the border may be that of half a face: an ellipse would leave clear what is at the border.
    cut = x1 == 0 or y1 == 0 or x2 == width or y2 == height
    shape = "box" if cut else style.shape
    outline = math.floor(x1 - margin), math.floor(y1 - margin), math.ceil(x2 + margin), math.ceil(y2 + margin)
    return Region(
        max(outline[0], 0),
        max(outline[1], 0),
        min(outline[2], width),
        min(outline[3], height),
        style.method,
        methods.sigma(style.strength, side, width, height) if style.method == "gaussian" else None,
        min(math.ceil(style.feather * side), width + height),
        shape,
        outline if shape == "ellipse" else None,
        methods.cell(style.cells, side, width, height) if style.method == "mosaic" else None,
        style.colour if style.method == "solid" and style.colour != MEAN else None,
    )


def _published(boxes: set[Rectangle], width: int, height: int) -> set[Region]:
    sigma = imagenet.sigma(boxes, width, height) if boxes else 0.0
    drawn = {imagenet.drawn(box, width, height) for box in boxes}
    return {Region(*box, "imagenet2021", sigma, imagenet.reach(sigma)) for box in drawn}


def _reach(region: Region) -> float:
    """How far a method spreads a pixel: σ in pixels or what comes near it, without end for one colour."""
    if region.method == "solid":
        return math.inf
    return region.cell / 2 if region.cell is not None else region.sigma or 0.0


def touched(regions: Iterable[Region], width: int, height: int) -> np.ndarray:
    """Where pixels may have changed (cores and feathers): bool, shape (H, W).

    Parameters
    ----------
    regions
        All regions of the image.
    """
    return _where(list(regions), width, height, 1)


def full_strength(regions: Iterable[Region], width: int, height: int) -> np.ndarray:
    """Where pixels are entirely replaced (weight exactly 1): bool, shape (H, W).

    Every pixel of every `Region.core_mask` is; under ``imagenet2021``, only what its blurred mask leaves at 0.

    Parameters
    ----------
    regions
        All regions of the image.
    """
    return _where(list(regions), width, height, FULL)


def _where(regions: list[Region], width: int, height: int, least: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=np.bool_)
    published = [region for region in regions if region.method == "imagenet2021"]
    for region in regions:
        if region.method == "imagenet2021":
            continue
        if least == FULL:
            mask[region.y1 : region.y2, region.x1 : region.x2] |= region.core_mask()
        else:
            x1, y1, x2, y2 = area = region.grown(region.feather, width, height)
            mask[y1:y2, x1:x2] |= region.weights(area) >= least
    if published:
        kept = imagenet.kept([region.core for region in published], published[0].sigma or 0.0, width, height)
        mask |= kept == 0 if least == FULL else kept < imagenet.KEPT
    return mask
