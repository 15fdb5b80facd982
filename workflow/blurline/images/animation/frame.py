"""What writers of several frames share: one frame to be written, and where it differs from the one before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from blurline.images.containers import Metadata
from blurline.images.decode import Decoded


@dataclass(frozen=True)
class Frame:
    """One frame to write.

    Attributes
    ----------
    source
        The frame as it was decoded.
    pixels
        What it is to show: uint8, (H, W, 3), upright.
    touched
        bool, (H, W): where that may differ from the source.
    """

    source: Decoded
    pixels: np.ndarray
    touched: np.ndarray

    @property
    def grey(self) -> bool:
        """Whether the source has no colours, by its mode."""
        return self.source.image.mode in ("1", "L")


class Writer(Protocol):
    """Writes a file frame by frame, from arrays alone: nothing but what is shown can be in it."""

    def add(self, frame: Frame) -> np.ndarray | None:
        """Write a frame; what it will show, uint8 (H, W, 3), where a palette may limit it; None if coded with loss."""
        ...

    def close(self) -> bytes:
        """The file."""
        ...


Opener = Callable[[bytes, Decoded, bool, Metadata], Writer]
"""Makes a writer for a source: the file, its first frame, whether every pixel must stay, however the file grows, and
what stays beside the pixels; the frame has its profile if that stays."""


def changed(pixels: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """Where a frame differs from what is shown before it: bool, (H, W); everywhere in the first one."""
    if before is None:
        return np.ones(pixels.shape[:2], dtype=np.bool_)
    mask: np.ndarray = (pixels != before).any(axis=2)
    return mask


def bounds(mask: np.ndarray, step: int = 1) -> tuple[int, int, int, int]:
    """The smallest rectangle around a mask, its left and top multiples of `step`; the first pixel if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 1, 1
    return (
        int(columns[0]) // step * step,
        int(rows[0]) // step * step,
        int(columns[-1]) + 1,
        int(rows[-1]) + 1,
    )
