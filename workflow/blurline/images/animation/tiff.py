"""TIFF page by page."""

import io

import numpy as np
from PIL import Image, TiffImagePlugin

from blurline.images import codecs
from blurline.images.animation.frame import Frame
from blurline.images.containers import Metadata
from blurline.images.decode import Decoded
from blurline.images.errors import CannotRelease


class Writer:
    """See `blurline.images.animation.frame.Writer`."""

    def __init__(self, data: bytes, first: Decoded, exact: bool, metadata: Metadata) -> None:
        self._profile = first.profile
        self._file = io.BytesIO()
        self._pages = TiffImagePlugin.AppendingTiffWriter(self._file)

    def add(self, frame: Frame) -> np.ndarray:
        source = frame.source
        if source.image.mode not in ("1", "L", "P", "RGB") or source.profile != self._profile:
            raise CannotRelease("TIFF variant not supported")
        pixels = np.ascontiguousarray(frame.pixels[:, :, 0] if frame.grey else frame.pixels)
        Image.fromarray(pixels).save(
            self._pages,
            "TIFF",
            compression=codecs.tiff_compression(source),
            icc_profile=self._profile,
        )
        self._pages.newFrame()
        return frame.pixels

    def close(self) -> bytes:
        self._pages.close()
        return self._file.getvalue()
