"""Pixels back into a file of the format, and with the coding choices, of their source.

Every image written here is built from an array, so nothing but the arguments can reach the file.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from blurline.images import orientation as exif
from blurline.images import palette
from blurline.images.containers import Metadata, png, tiff, webp
from blurline.images.decode import Decoded
from blurline.images.errors import CannotRelease
from blurline.images.raster import Raster, of, without_hidden

WEBP_QUALITY = 90
"""Quality of a lossy WebP that is coded again: its own does not stand in the file."""

_MAX_DENSITY = 1e6
_LOSSLESS_TIFF = frozenset({"raw", "packbits", "tiff_lzw", "tiff_adobe_deflate"})


@dataclass(frozen=True)
class JpegCoding:
    """What decides how much of a picture a JPEG keeps.

    ``tables``: the quantisation table of each component, 64 values in natural order. ``sampling``: across and down,
    each component's share of the full resolution. ``rgb``: coded as RGB instead of YCbCr.
    """

    tables: tuple[tuple[int, ...], ...]
    sampling: tuple[tuple[Fraction, Fraction], ...]
    progressive: bool
    rgb: bool


def jpeg_coding(image: Image.Image) -> JpegCoding:
    """The coding of a JPEG as read from its header.

    Raises
    ------
    CannotRelease
        When a table is missing, or the image is no JPEG.
    """
    if not isinstance(image, JpegImageFile):
        raise CannotRelease("JPEG variant not supported")
    across = max(layer[1] for layer in image.layer)
    down = max(layer[2] for layer in image.layer)
    try:
        tables = tuple(tuple(image.quantization[layer[3]]) for layer in image.layer)
    except KeyError as error:
        raise CannotRelease("damaged JPEG container") from error
    return JpegCoding(
        tables,
        tuple((Fraction(layer[1], across), Fraction(layer[2], down)) for layer in image.layer),
        bool(image.info.get("progressive")),
        _is_rgb(image),
    )


def _is_rgb(image: JpegImageFile) -> bool:
    """Whether three components are RGB, by the rules of libjpeg (jdapimin.c, default_decompress_parms)."""
    if len(image.layer) != 3 or "jfif" in image.info:
        return False
    if "adobe_transform" in image.info:
        return bool(image.info["adobe_transform"] == 0)
    return [layer[0] for layer in image.layer] == list(b"RGB")


def encode(raster: Raster, source: Decoded, data: bytes, metadata: Metadata) -> bytes:
    """A file in the source's format, which is not JPEG, for a changed raster; PNG and WebP are still to be stripped.

    Parameters
    ----------
    raster
        In the *stored* frame; for GIF of no more colours than `palette.fitted` leaves.
    source, data
        The source, decoded and as bytes.
    metadata
        Whether density and profile stay.

    Raises
    ------
    CannotRelease
        When the format, or the source's way of using it, cannot be written.
    """
    kind = source.info.format
    if kind == "PNG":
        writer = partial(_png, raster, data)
    elif kind == "GIF":
        writer = partial(_gif, raster)
    elif kind == "TIFF" and raster.samples.dtype == np.uint16 and raster.samples.ndim == 3:
        writer = partial(_deep_tiff, raster, source, metadata)
    else:
        writer = partial(_written, _image(raster), source, data, metadata)
    return _checked(writer, kind)


def rewrite(source: Decoded, metadata: Metadata) -> bytes:
    """A new file with the source's pixels, for formats that code them without loss and have no container to strip.

    Indices and single bits stay what they are.

    Raises
    ------
    CannotRelease
        When the format or mode cannot be written.
    """
    kind, mode = source.info.format, source.image.mode
    if mode not in ("1", "P") and (kind, mode) != ("GIF", "L"):
        return encode(without_hidden(of(source), source), source, b"", metadata)
    image = Image.frombytes(mode, source.image.size, source.image.tobytes())
    if mode == "P":
        image.putpalette(source.image.getpalette() or [])
    clear = None if source.alpha is None else source.image.info.get("transparency")
    if kind == "GIF":
        return _checked(partial(_saved, image, "GIF", optimize=False, **_clear(clear)), kind)
    if clear is not None:
        raise CannotRelease(f"{kind} variant not supported")
    return _checked(partial(_written, image, source, b"", metadata), kind)


def _checked(writer: Callable[[], bytes], kind: str) -> bytes:
    try:
        return writer()
    except CannotRelease:
        raise
    except Exception as error:  # Pillow's encoders raise as many kinds as its decoders
        raise CannotRelease(f"{kind} could not be written") from error


def _written(image: Image.Image, source: Decoded, data: bytes, metadata: Metadata) -> bytes:
    kind = source.info.format
    if kind == "WEBP":
        return _webp(image, source, data)
    if kind == "BMP" and image.mode in ("1", "L", "P", "RGB"):
        return _saved(image, "BMP", dpi=_density(source, metadata) or (0, 0))
    if kind == "TIFF":
        return _tiff(image, source, metadata)
    raise CannotRelease(f"{kind} variant not supported")


def _density(source: Decoded, metadata: Metadata) -> tuple[float, float] | None:
    """Pixels per inch, if they stay and make sense."""
    found = source.image.info.get("dpi") if metadata == "keep-safe" else None
    try:
        across, down = (float(number) for number in found or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < _MAX_DENSITY and 0 < down < _MAX_DENSITY else None


def _clear(index: object) -> dict[str, object]:
    return {} if index is None else {"transparency": index}


def saved(pixels: np.ndarray, file_format: str, **options: object) -> bytes:
    """A file of these pixels, uint8, (H, W) or (H, W, 3), with Pillow's options."""
    return _saved(_image(Raster("L" if pixels.ndim == 2 else "RGB", pixels)), file_format, **options)


def tiff_compression(source: Decoded) -> object:
    """How to compress a TIFF, or a page of one, without loss: as the source does if it does so."""
    compression = source.image.info.get("compression")
    return compression if compression in _LOSSLESS_TIFF else "tiff_adobe_deflate"


def _image(raster: Raster) -> Image.Image:
    height, width = raster.samples.shape[:2]
    mode = "I;16" if raster.samples.dtype == np.uint16 else raster.mode
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(raster.samples).tobytes())


def _saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _png(raster: Raster, data: bytes) -> bytes:
    written = png.write(raster.samples) if raster.samples.dtype == np.uint16 else _saved(_image(raster), "PNG")
    colour = [(name, png.find(data, name)) for name in (*png.SAFE, b"iCCP")]
    after_header = len(png.SIGNATURE) + 25
    return b"".join(
        [
            written[:after_header],
            *(png.chunk(name, content) for name, content in colour if content is not None),
            written[after_header:],
        ]
    )


def _gif(raster: Raster) -> bytes:
    if raster.mode == "L":
        return _saved(_image(raster), "GIF", optimize=False)
    indices, colours, clear = palette.indexed(raster, np.zeros(raster.samples.shape[:2], np.bool_))
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    return _saved(image, "GIF", optimize=False, **_clear(clear))


def _webp(image: Image.Image, source: Decoded, data: bytes) -> bytes:
    lossless = webp.is_lossless(data)
    return _saved(
        image,
        "WEBP",
        lossless=lossless,
        exact=lossless,
        quality=WEBP_QUALITY,
        icc_profile=source.profile,
        exif=exif.minimal(source.info.orientation) if source.info.orientation != exif.UPRIGHT else b"",
    )


def _tiff(image: Image.Image, source: Decoded, metadata: Metadata) -> bytes:
    density = _density(source, metadata)
    return _saved(
        image,
        "TIFF",
        compression=tiff_compression(source),
        icc_profile=source.profile if metadata == "keep-safe" else None,
        tiffinfo={exif.TAG: source.info.orientation},
        **({"dpi": density} if density else {}),
    )


def _deep_tiff(raster: Raster, source: Decoded, metadata: Metadata) -> bytes:
    return tiff.write(
        raster.samples,
        source.image.info.get("compression") != "raw",
        source.info.orientation,
        _density(source, metadata),
        source.profile if metadata == "keep-safe" else None,
    )
