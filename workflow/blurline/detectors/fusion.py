"""One list of boxes out of several looks at an image."""

from __future__ import annotations

from dataclasses import dataclass

from blurline.boxes import Box
from blurline.detectors.results import Detection
from blurline.detectors.views import View

MATCH_IOU = 0.5
"""Boxes of two looks at least this close are one face. A looser match lets a weak neighbour inherit a strong score."""


@dataclass(frozen=True)
class Seen:
    """A detection in a view: where it lies in the image, and what the detector said."""

    view: View
    box: Box
    said: Detection
