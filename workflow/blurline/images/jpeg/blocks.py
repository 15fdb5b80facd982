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
    colours = _Colours(pixels, source, coding)
    changes = []
    cells = _cells(coding)
    coarsest = max(cell[0] for cell in cells), max(cell[1] for cell in cells)
    for index, cell in enumerate(cells):
        touched = _touched(changed, cell)
        changes.append((touched, _component(colours, touched, index, coding)))
    picture = libjpeg.replace(data, geometry(coding, width, height), changes, coding.progressive)
    result = container.head(data, source.info.orientation, metadata == "keep-safe") + container.picture(picture)
    return Written(result, coarsest, _with_neighbours(_touched(changed, coarsest)))


def geometry(coding: codecs.JpegCoding, width: int, height: int) -> list[libjpeg.Geometry]:
    """The blocks of each component of a picture of so many pixels, as stored.

    Raises
    ------
    CannotRelease
        When it is subsampled by anything but whole numbers.
    """
    return [libjpeg.Geometry(-(-width // across), -(-height // down)) for across, down in _cells(coding)]


def _cells(coding: codecs.JpegCoding) -> list[tuple[int, int]]:
    """The pixels that a block of each component covers, across and down."""
    if any(share.numerator != 1 for shares in coding.sampling for share in shares):
        raise CannotRelease(SAMPLING)
    return [(dct.SIDE * across.denominator, dct.SIDE * down.denominator) for across, down in coding.sampling]


def rewritten(data: bytes, source: Decoded, metadata: Metadata) -> bytes:
    """The same coefficients in a file that holds nothing else.

    Raises
    ------
    CannotRelease
        As `replace`.
    """
    coding = codecs.jpeg_coding(source.image)
    height, width = source.image.height, source.image.width
    nothing = np.zeros((height, width), dtype=np.bool_)
    return replace(data, source, np.zeros((height, width, len(coding.sampling)), np.uint8), nothing, metadata).data


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


def _component(colours: "_Colours", touched: np.ndarray, index: int, coding: codecs.JpegCoding) -> np.ndarray:
    """New coefficients for the touched blocks of one component, in their order: int16 (N, 64)."""
    if not touched.any():
        return np.empty((0, libjpeg.BLOCK), np.int16)
    across, down = (share.denominator for share in coding.sampling[index])
    rows, columns = (np.flatnonzero(touched.any(axis=axis)) for axis in (1, 0))
    top, left = rows[0], columns[0]
    cell_height, cell_width = dct.SIDE * down, dct.SIDE * across
    right, bottom = (columns[-1] + 1) * cell_width, (rows[-1] + 1) * cell_height
    window = colours.plane(index, (left * cell_width, top * cell_height, right, bottom))
    # Beyond the picture's edge, its last row and column go on, as encoders do it.
    short = -window.shape[0] % cell_height, -window.shape[1] % cell_width
    plane = np.pad(window, ((0, short[0]), (0, short[1])), mode="edge")
    samples = dct.reduced(plane, across, down)
    blocks = samples.reshape(samples.shape[0] // dct.SIDE, dct.SIDE, -1, dct.SIDE).swapaxes(1, 2)
    wanted = blocks[touched[top : rows[-1] + 1, left : columns[-1] + 1]]
    return dct.transformed(wanted.reshape(-1, libjpeg.BLOCK), np.array(coding.tables[index]))


class _Colours:
    """Pixels as the samples of a JPEG's components, at full resolution; a window is converted once for all of them."""

    def __init__(self, pixels: np.ndarray, source: Decoded, coding: codecs.JpegCoding) -> None:
        self._pixels, self._rgb = pixels, coding.rgb
        self._ycck = bool(source.image.info.get("adobe_transform"))
        self._window: tuple[int, int, int, int] | None = None
        self._converted = Image.new("YCbCr", (1, 1))

    def plane(self, index: int, window: tuple[int, int, int, int]) -> np.ndarray:
        """A component's samples in a window (left, top, right, bottom), as far as there are any: uint8 (H, W)."""
        left, top, right, bottom = window
        here = self._pixels[top:bottom, left:right]
        if here.ndim == 2:
            return here
        if here.shape[2] == 4 and (index == 3 or not self._ycck):
            return 255 - here[:, :, index]  # Pillow inverts CMYK, as Adobe stores it, whoever wrote it
        if self._rgb:
            return here[:, :, index]
        if window != self._window:
            # The first three planes of YCCK are those of an RGB picture, and inverted once more on the way to CMYK.
            rgb = Image.fromarray(np.ascontiguousarray(here[:, :, :3]))
            self._window, self._converted = window, rgb.convert("YCbCr")
        return np.asarray(self._converted.getchannel(index))
