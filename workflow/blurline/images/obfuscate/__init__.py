"""Faces made unrecognisable: pixels in, pixels out; the plan of it, and a measure of what is left."""

from blurline.images.obfuscate.drawing import obfuscate
from blurline.images.obfuscate.methods import MIN_CELL, MIN_SIGMA
from blurline.images.obfuscate.regions import NotInImage, Region, Target, full_strength, plan, touched
from blurline.images.obfuscate.residual import Residual, residual, residual_detail
from blurline.images.obfuscate.styles import METHODS, SHAPES, WEAK, BlurStyle, stronger

__all__ = [
    "METHODS",
    "MIN_CELL",
    "MIN_SIGMA",
    "SHAPES",
    "WEAK",
    "BlurStyle",
    "NotInImage",
    "Region",
    "Residual",
    "Target",
    "full_strength",
    "obfuscate",
    "plan",
    "residual",
    "residual_detail",
    "stronger",
    "touched",
]
