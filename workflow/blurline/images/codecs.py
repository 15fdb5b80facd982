"""Pixels back into a file of the format, and with the coding choices, of their source.

Every image written here is built from an array, so nothing but the arguments can reach the file.
"""

import io
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from blurline.images import orientation as exif
from blurline.images.containers import png, webp
from blurline.images.decode import Decoded
from blurline.images.errors import CannotRelease

WEBP_QUALITY = 90
"""Quality of a lossy WebP that is coded again: its own does not stand in the file."""

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


def encode(stored: np.ndarray, source: Decoded, data: bytes) -> bytes:
    """A file in the source's format for a changed raster.

    Parameters
    ----------
    stored
        uint8 in the *stored* frame: (H, W) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB, (H, W, 4) RGBA.
    source, data
        The source, decoded and as bytes.

    Raises
    ------
    CannotRelease
        When the format, or the source's way of using it, cannot be written.
    """
    image = _image(stored)
    writer = {"PNG": _png, "WEBP": _webp, "BMP": _bmp, "TIFF": _tiff}.get(source.info.format)
    if writer is None:
        raise CannotRelease(f"{source.info.format} with faces is not supported yet")
    try:
        return writer(image, source, data)
    except CannotRelease:
        raise
    except Exception as error:  # Pillow's encoders raise as many kinds as its decoders
        raise CannotRelease(f"{source.info.format} could not be written") from error


def rewrite(source: Decoded) -> bytes:
    """A new file with the source's pixels, for formats that code them without loss and have no container to strip.

    Raises
    ------
    CannotRelease
        When the format or mode is not among BMP (1, L, P, RGB), GIF (L, P) and TIFF (8-bit L, RGB).
    """
    kind, mode = source.info.format, source.image.mode
    if (kind, mode) in {("BMP", "1"), ("BMP", "L"), ("BMP", "P"), ("BMP", "RGB"), ("GIF", "L"), ("GIF", "P")}:
        image = Image.frombytes(mode, source.image.size, source.image.tobytes())
        if mode == "P":
            image.putpalette(source.image.getpalette() or [])
        try:
            return _saved(image, kind, **({"optimize": False} if kind == "GIF" else {}))
        except Exception as error:
            raise CannotRelease(f"{kind} could not be written") from error
    if kind == "TIFF" and mode in ("L", "RGB") and source.bits == 8:
        return encode(np.asarray(source.image), source, b"")
    raise CannotRelease(f"{kind} variant not supported")


def saved(pixels: np.ndarray, file_format: str, **options: object) -> bytes:
    """A file of these pixels, uint8 as `encode` takes them, with Pillow's options."""
    return _saved(_image(pixels), file_format, **options)


def tiff_compression(source: Decoded) -> object:
    """How to compress a TIFF, or a page of one, without loss: as the source does if it does so."""
    compression = source.image.info.get("compression")
    return compression if compression in _LOSSLESS_TIFF else "tiff_adobe_deflate"


def _image(stored: np.ndarray) -> Image.Image:
    mode = "L" if stored.ndim == 2 else {2: "LA", 3: "RGB", 4: "RGBA"}[stored.shape[2]]
    height, width = stored.shape[:2]
    return Image.frombytes(mode, (width, height), np.ascontiguousarray(stored).tobytes())


def _saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _png(image: Image.Image, source: Decoded, data: bytes) -> bytes:
    written = _saved(image, "PNG")
    colour = [(name, png.find(data, name)) for name in (*png.COLOUR, b"iCCP")]
    after_header = len(png.SIGNATURE) + 25
    return b"".join(
        [
            written[:after_header],
            *(png.chunk(name, content) for name, content in colour if content is not None),
            written[after_header:],
        ]
    )


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


def _bmp(image: Image.Image, source: Decoded, data: bytes) -> bytes:
    return _saved(image, "BMP")


def _tiff(image: Image.Image, source: Decoded, data: bytes) -> bytes:
    return _saved(
        image,
        "TIFF",
        compression=tiff_compression(source),
        icc_profile=source.profile,
        tiffinfo={exif.TAG: source.info.orientation},
    )
