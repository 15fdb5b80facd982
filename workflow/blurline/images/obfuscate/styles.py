"""How to blur: the method and its strength, for all faces or for a class of its own."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

METHODS = ("gaussian", "mosaic", "solid", "imagenet2021")
WEAK = ("imagenet2021",)
"""Methods that may leave a face recognisable: a release says where they were used."""
SHAPES = ("box", "ellipse")
MEAN = "mean"
"""The colour that stands for a face's own mean."""
MIN_ELLIPSE_MARGIN = 0.1
"""With less margin, an ellipse would leave more than a twentieth of a square box clear."""

_STRONGEST = 0.3  # beyond, a Gaussian hides less than one colour does, and changes the picture as much
_FEWEST = 2


@dataclass(frozen=True)
class BlurStyle:
    """How to blur. Lengths are shares of the longer side of a face's box.

    Attributes
    ----------
    method
        One of `METHODS`. ``imagenet2021`` is a formula that others published, weak on small faces beside large ones:
        it looks at no other attribute.
    strength
        σ of the Gaussian. See `MIN_SIGMA`.
    margin
        How far the core reaches beyond the box on every side.
    feather
        Width of the soft edge outside the core.
    shape
        Of the core: ``box``, or ``ellipse``: the one inscribed in what would be the box.
    cells
        At most so many cells of a mosaic lie along the longer side of the box. See `MIN_CELL`.
    colour
        Of ``solid``: ``#rrggbb``, or ``mean``.
    classes
        The styles of classes that have their own, by label.

    Raises
    ------
    ValueError
        For an unknown method, shape or colour; a strength or number of cells that is not positive; a negative or
        infinite length; an ellipse with less than `MIN_ELLIPSE_MARGIN`; the published formula beside other styles.
    """

    method: str
    strength: float
    margin: float
    feather: float
    shape: str = "box"
    cells: int = 3
    colour: str = MEAN
    classes: Mapping[str, "BlurStyle"] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: want one of {', '.join(METHODS)}, found {self.method}")
        if self.shape not in SHAPES:
            raise ValueError(f"shape: want one of {', '.join(SHAPES)}, found {self.shape}")
        if self.colour != MEAN and not re.fullmatch("#[0-9a-f]{6}", self.colour):
            raise ValueError(f"colour: want {MEAN} or #rrggbb, found {self.colour}")
        if not (0 < self.strength < math.inf and 0 <= self.margin < math.inf and 0 <= self.feather < math.inf):
            raise ValueError("strength must be positive, margin and feather not negative, and all finite")
        if self.cells < 1:
            raise ValueError("cells must be positive")
        if self.shape == "ellipse" and self.margin < MIN_ELLIPSE_MARGIN:
            raise ValueError(f"an ellipse needs a margin of {MIN_ELLIPSE_MARGIN} or more")
        if any(style.classes for style in self.classes.values()):
            raise ValueError("the style of a class has no classes")
        if self.classes and "imagenet2021" in (self.method, *(style.method for style in self.classes.values())):
            raise ValueError("imagenet2021 is one formula for all boxes: no class has a style of its own")

    def of(self, label: str) -> "BlurStyle":
        """The style for targets of this class."""
        return self.classes.get(label, self)


def stronger(style: BlurStyle) -> BlurStyle | None:
    """The next stronger way to blur; None after the strongest, which is one colour.

    A Gaussian's σ is doubled and a mosaic's cells are halved while that is of use. Classes go along. The published
    formula has none: with any other it would not be that formula.
    """
    if style.method == "imagenet2021":
        return None
    own = _next(style)
    classes = {label: _next(one) for label, one in style.classes.items()}
    if own is None and not any(classes.values()):
        return None
    return replace(own or style, classes={label: one or style.classes[label] for label, one in classes.items()})


def _next(style: BlurStyle) -> BlurStyle | None:
    if style.method == "solid":
        return None
    if style.method == "gaussian" and 2 * style.strength <= _STRONGEST:
        return replace(style, strength=2 * style.strength)
    if style.method == "mosaic" and style.cells >= 2 * _FEWEST:
        return replace(style, cells=style.cells // 2)
    return replace(style, method="solid")
