"""Metadata off, pixels untouched: containers rewritten from the few parts that decoding and display need.

What is not known to be needed is dropped, and what is not well-formed is refused: an allow-list cannot leak what
its author has never heard of.
"""

from typing import Literal

from blurline.images.containers import jpeg, png, webp
from blurline.images.errors import CannotRelease

Metadata = Literal["strip", "keep-safe"]
"""What stays beside the picture. ``keep-safe``: orientation, colour profile, density. ``strip``: the orientation.

How coded components become colours (JFIF's and Adobe's markers) is part of the picture.
"""

_STRIP = {"JPEG": jpeg.strip, "PNG": png.strip, "WEBP": webp.strip}
FORMATS = frozenset(_STRIP)


def strip(data: bytes, file_format: str, orientation: int, metadata: Metadata = "keep-safe") -> bytes:
    """The same coded pixels without metadata.

    Parameters
    ----------
    data
        A whole file.
    file_format
        One of `FORMATS`.
    orientation
        EXIF orientation 1 to 8; anything but 1 is written into a new EXIF block that holds nothing else.
    metadata
        See `Metadata`.

    Raises
    ------
    CannotRelease
        When the file is not well-formed, is animated, or has parts that cannot be judged.
    """
    try:
        return _STRIP[file_format](data, orientation, metadata == "keep-safe")
    except CannotRelease:
        raise
    except Exception as error:  # the walkers check what they read; whatever they missed must not stop a shard
        raise CannotRelease(f"damaged {file_format} container") from error
