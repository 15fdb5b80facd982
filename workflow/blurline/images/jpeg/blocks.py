"""Changed pixels into a JPEG: only the blocks that hold them get new coefficients."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from blurline.images import codecs
from blurline.images.containers import Metadata
from blurline.images.containers import jpeg as container
from blurline.images.decode import Decoded
from blurline.images.errors import CannotRelease
from blurline.images.jpeg import dct, libjpeg

SAMPLING = "JPEG sampling with faces is not supported yet"


@dataclass(frozen=True)
class Written:
    """A JPEG with some blocks replaced, and where: cells of (width, height) pixels, bool (down, across).

    A cell is one block of the coarsest component. The cells around a replaced block are among them, as decoders smooth
    chroma over its edges.
    """

    data: bytes
    cell: tuple[int, int]
    reached: np.ndarray

    def kept(self, before: np.ndarray, after: np.ndarray) -> bool:
        """Whether all pixels outside of these cells are equal: both uint8 (H, W[, C]), as stored."""
        height, width = before.shape[:2]
        differs = (before != after).reshape(height, -1)
        planes = differs.shape[1] // width
        return not (_touched(differs, (self.cell[0] * planes, self.cell[1])) & ~self.reached).any()


def replace(
    data: bytes, source: Decoded, pixels: np.ndarray, changed: np.ndarray, metadata: Metadata = "keep-safe"
) -> Written:
    """The source with other pixels where `changed` says so; all other coefficients stay bit for bit.

    Parameters
    ----------
    data, source
        The source, and the same decoded.
    pixels
        What to show, in the *stored* frame: uint8 (H, W) grey, (H, W, 3) RGB, or (H, W, 4) CMYK as Pillow has it.
    changed
        Where it differs from the source: bool (H, W).
    metadata
        What stays beside the picture.

    Raises
    ------
    CannotRelease
        When the data is damaged, or subsampled by anything but whole numbers.
    """
    coding = codecs.jpeg_coding(source.image)
    height, width = changed.shape
    geometry, changes = [], []
    coarsest = (dct.SIDE, dct.SIDE)
    for index, (share_across, share_down) in enumerate(coding.sampling):
        if share_across.numerator != 1 or share_down.numerator != 1:
            raise CannotRelease(SAMPLING)
        across, down = share_across.denominator, share_down.denominator
        cell = dct.SIDE * across, dct.SIDE * down
        coarsest = max(coarsest[0], cell[0]), max(coarsest[1], cell[1])
        geometry.append(libjpeg.Geometry(-(-width // cell[0]), -(-height // cell[1])))
        touched = _touched(changed, cell)
        changes.append((touched, _component(pixels, touched, index, source, (across, down))))
    picture = libjpeg.replace(data, geometry, changes, coding.progressive)
    result = container.head(data, source.info.orientation, metadata == "keep-safe") + container.picture(picture)
    return Written(result, coarsest, _with_neighbours(_touched(changed, coarsest)))


def _touched(changed: np.ndarray, cell: tuple[int, int]) -> np.ndarray:
    """Which blocks hold a changed pixel: bool (blocks down, blocks across) for cells of (width, height) pixels."""
    (height, width), (cell_width, cell_height) = changed.shape, cell
    padded = np.zeros((height + -height % cell_height, width + -width % cell_width), dtype=np.bool_)
    padded[:height, :width] = changed
    # Eight pixels of a row at once.
    eights = padded.view(np.uint64).reshape(padded.shape[0] // cell_height, cell_height, -1)
    rows = np.bitwise_or.reduce(eights, axis=1) != 0
    return np.asarray(rows.reshape(rows.shape[0], -1, cell_width // dct.SIDE).any(axis=2))


def _with_neighbours(touched: np.ndarray) -> np.ndarray:
    """These cells and those around them: bool, the same shape."""
    grown = touched.copy()
    grown[1:] |= touched[:-1]
    grown[:-1] |= touched[1:]
    once = grown.copy()
    grown[:, 1:] |= once[:, :-1]
    grown[:, :-1] |= once[:, 1:]
    return grown


def _component(
    pixels: np.ndarray, touched: np.ndarray, index: int, source: Decoded, share: tuple[int, int]
) -> np.ndarray:
    """New coefficients for the touched blocks of one component, in their order: int16 (N, 64)."""
    if not touched.any():
        return np.empty((0, libjpeg.BLOCK), np.int16)
    across, down = share
    rows, columns = (np.flatnonzero(touched.any(axis=axis)) for axis in (1, 0))
    top, left = rows[0], columns[0]
    cell_height, cell_width = dct.SIDE * down, dct.SIDE * across
    window = pixels[
        top * cell_height : (rows[-1] + 1) * cell_height, left * cell_width : (columns[-1] + 1) * cell_width
    ]
    # Beyond the picture's edge, its last row and column go on, as encoders do it.
    short = -window.shape[0] % cell_height, -window.shape[1] % cell_width
    plane = np.pad(_plane(window, index, source), ((0, short[0]), (0, short[1])), mode="edge")
    new = dct.transformed(dct.reduced(plane, across, down), np.array(codecs.jpeg_coding(source.image).tables[index]))
    return np.asarray(new[touched[top : rows[-1] + 1, left : columns[-1] + 1]])


def _plane(window: np.ndarray, index: int, source: Decoded) -> np.ndarray:
    """Samples of a component at full resolution: uint8 (H, W)."""
    if window.ndim == 2:
        return window
    if window.shape[2] == 4 and (index == 3 or not source.image.info.get("adobe_transform")):
        return 255 - window[:, :, index]  # Pillow inverts CMYK, as Adobe stores it, whoever wrote it
    # The first three planes of YCCK are those of an RGB picture, and inverted once more on the way to CMYK.
    if codecs.jpeg_coding(source.image).rgb:
        return window[:, :, index]
    colours = Image.frombytes("RGB", window.shape[1::-1], np.ascontiguousarray(window[:, :, :3]).tobytes())
    return np.asarray(colours.convert("YCbCr").getchannel(index))
