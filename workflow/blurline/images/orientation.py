"""EXIF orientation: reading the tag, writing nothing but the tag, and turning rasters.

The *stored* raster is what the file holds; the *displayed* one is what a viewer shows after applying tag 274
(CIPA DC-008, Exif 3.0, 4.6.5.1.6). All boxes of this project are in the displayed frame.
"""

import struct

import numpy as np

from blurline.boxes import Box

TAG = 274
UPRIGHT = 1
PREFIX = b"Exif\0\0"

# How to get from the stored to the displayed raster: swap the axes first, then flip rows, then flip columns.
_STEPS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def swaps_axes(orientation: int) -> bool:
    """Whether the displayed width is the stored height."""
    return _STEPS[orientation][0]


def to_displayed(stored: np.ndarray, orientation: int) -> np.ndarray:
    """A view of the stored raster, shape (H, W[, C]), as a viewer shows it; (W, H[, C]) for orientations 5 to 8."""
    swap, rows, columns = _STEPS[orientation]
    turned = stored.swapaxes(0, 1) if swap else stored
    return turned[:: -1 if rows else 1, :: -1 if columns else 1]


def to_stored(displayed: np.ndarray, orientation: int) -> np.ndarray:
    """A view of the displayed raster as the file stores it: the inverse of `to_displayed`."""
    swap, rows, columns = _STEPS[orientation]
    flipped = displayed[:: -1 if rows else 1, :: -1 if columns else 1]
    return flipped.swapaxes(0, 1) if swap else flipped


def box_to_displayed(box: Box, orientation: int, width: int, height: int) -> Box:
    """A box of the stored raster in the frame of the displayed one, whose size in pixels is `width` × `height`."""
    swap, rows, columns = _STEPS[orientation]
    x1, y1, x2, y2 = (box.y1, box.x1, box.y2, box.x2) if swap else box
    if rows:
        y1, y2 = height - y2, height - y1
    if columns:
        x1, x2 = width - x2, width - x1
    return Box(x1, y1, x2, y2)


def valid(value: object) -> int | None:
    """The tag's value if it is 1 to 8."""
    return value if type(value) is int and value in _STEPS else None


def find(exif: bytes) -> int | None:
    """The orientation, 1 to 8, in an EXIF block with or without its ``Exif`` prefix; None if it is absent or broken.

    Only IFD0 counts, and no other source does: viewers disagree about orientations in XMP or text chunks.
    """
    block = exif.removeprefix(PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return None
    found = None
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, start)
        for index in range(entries):
            tag, kind, count = struct.unpack_from(order + "HHI", block, start + 2 + 12 * index)
            # SHORT by the standard; Pillow and others take BYTE and LONG as well, so pixels would turn there.
            code = {1: "B", 3: "H", 4: "I"}.get(kind)
            if tag == TAG and count == 1 and code:
                found = valid(struct.unpack_from(order + code, block, start + 10 + 12 * index)[0])
    except struct.error:
        return found
    return found


def read(exif: bytes) -> int:
    """The orientation as `find` finds it; 1 if there is none."""
    return find(exif) or UPRIGHT


def minimal(orientation: int) -> bytes:
    """An EXIF block (without prefix) that says nothing but the orientation."""
    header = struct.pack(">2sHI", b"MM", 42, 8)
    return header + struct.pack(">HHHIHHI", 1, TAG, 3, 1, orientation, 0, 0)
