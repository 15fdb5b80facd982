"""Boxes: integer pixels, origin top left, x2 and y2 exclusive, in the image as displayed (EXIF applied)."""

import hashlib
import json
from typing import NamedTuple

ALL_FRAMES = -1
"""The frame of a box that is in every frame."""


class Box(NamedTuple):
    """A rectangle in pixels of the displayed image; x2, y2 exclusive."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def area(self) -> int:
        return max(0, self.x2 - self.x1) * max(0, self.y2 - self.y1)

    def intersection(self, other: "Box") -> int:
        """Shared area in pixels."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        return max(0, width) * max(0, height)

    def iou(self, other: "Box") -> float:
        """Intersection over union, 0 to 1."""
        shared = self.intersection(other)
        whole = self.area + other.area - shared
        return shared / whole if whole else 0.0

    def union(self, other: "Box") -> "Box":
        """The smallest box that holds both."""
        return Box(min(self.x1, other.x1), min(self.y1, other.y1), max(self.x2, other.x2), max(self.y2, other.y2))

    def clip(self, width: int, height: int) -> "Box":
        """The part inside an image of that size; its area is 0 when there is none."""
        x1, y1 = min(max(self.x1, 0), width), min(max(self.y1, 0), height)
        return Box(x1, y1, max(x1, min(self.x2, width)), max(y1, min(self.y2, height)))

    def contains(self, other: "Box") -> bool:
        return self.x1 <= other.x1 and self.y1 <= other.y1 and self.x2 >= other.x2 and self.y2 >= other.y2


def box_id(sha256: str, frame: int, detector: str, label: str, box: Box) -> str:
    """First 16 hex digits of SHA-256 over the JSON list [image sha256, frame, detector, label, x1, y1, x2, y2]."""
    text = json.dumps([sha256, frame, detector, label, *box], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
