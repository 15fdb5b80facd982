"""What a detector says about one image."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Detection:
    """One object found.

    Attributes
    ----------
    label
        The class's name, as the weights give it.
    x1, y1, x2, y2
        Box in integer pixels of the given image, origin top left, `x2` and `y2` exclusive, rounded outward and
        clipped to the image, so at least one pixel wide and high.
    score
        The model's float32 score in 0 to 1, rounded to 3 decimals.
    """

    label: str
    x1: int
    y1: int
    x2: int
    y2: int
    score: float


def order(found: Detection) -> tuple[float, int, int, int, int, str]:
    """Sort key: best score first, then by place."""
    return -found.score, found.x1, found.y1, found.x2, found.y2, found.label


@dataclass(frozen=True)
class Failure:
    """Why nothing is known about an image. Never read it as an image without faces.

    Attributes
    ----------
    reason
        One line, the same in every run: it holds no path, time or address.
    """

    reason: str
