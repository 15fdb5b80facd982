"""The one decoder: nothing else in this project opens an image.

Pillow's plugins are called directly instead of ``Image.open``. ultralytics replaces ``Image.open`` by one that
installs a package from the network when a file is no image, and other libraries may do worse; besides, this way no
plugin can ever be reached but those listed here (none of them starts another program).
"""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PsdImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from blurline.boxes import ALL_FRAMES
from blurline.images import depth, transparency
from blurline.images import orientation as exif
from blurline.images.containers import icc, png

NOT_AN_IMAGE = "not an image"
NOT_SUPPORTED = "format not supported"
UNREADABLE = "damaged or unsupported header"
CORRUPT = "truncated or corrupt"
TOO_MANY_BYTES = "over max_bytes"
TOO_MANY_PIXELS = "over max_pixels"
TOO_MANY_SCANS = "too many scans"
ODD_MODE = "colour mode not supported"
DEEP_PLANES = "16-bit planes apart not supported"
DEEP_KEY = "16-bit clear colour not supported"
ODD_SIZES = "frames of different sizes are not supported"


SMALLEST_FRAME = 4096
"""Pixels that a frame is charged at least: decoding costs something however small it is."""


_SCAN = b"\xff\xda"
MAX_SCANS = 500
"""Scans of a JPEG: encoders write about ten, and each makes a decoder go through the whole picture again."""


@dataclass(frozen=True)
class Limits:
    """What a file may cost: bytes as stored, and pixels: width times height of its canvas, and of all frames together.

    A frame counts as `SMALLEST_FRAME` pixels at least, so the number of frames is limited too.
    """

    max_bytes: int
    max_pixels: int


class Undecodable(Exception):
    """No pixels can be had; ``reason`` is one of this module's phrases and names no path or URL."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class ImageInfo:
    """What a file is. ``width`` and ``height`` are pixels as displayed, that is with ``orientation`` applied."""

    format: str
    mode: str
    width: int
    height: int
    frames: int
    orientation: int


@dataclass(frozen=True)
class Decoded:
    """A decoded first frame.

    ``image`` holds the *stored* raster in Pillow's mode for the file. ``bits`` is the depth of a sample in the file
    (Pillow reduces some 16-bit images silently); ``deep`` has all bits of those, as `depth.read` says. ``alpha`` is
    uint8 (H, W), or None when every pixel is opaque. ``profile`` is the ICC profile, cleaned. ``oriented`` tells
    whether the file says which side is up.
    """

    info: ImageInfo
    image: Image.Image
    bits: int
    profile: bytes | None
    oriented: bool = False
    alpha: np.ndarray | None = None
    deep: np.ndarray | None = None

    @property
    def opaque(self) -> bool:
        """Whether every pixel is."""
        return self.alpha is None


def inspect(data: bytes, limits: Limits) -> ImageInfo:
    """What the file is, after decoding its first frame in full.

    Raises
    ------
    Undecodable
        When the first frame does not decode completely, within the limits.
    """
    return load(data, limits).info


def decode_rgb(data: bytes, limits: Limits) -> np.ndarray:
    """The first frame as displayed: uint8, shape (H, W, 3), RGB.

    Transparent images are shown on a plain ground, see `transparency`. Samples of more than 8 bits are scaled as
    `depth.shift` says, floats from their minimum to their maximum.

    Raises
    ------
    Undecodable
        As `inspect`, and for colour modes that have no plain conversion to RGB.
    """
    return upright_rgb(load(data, limits))


def upright_rgb(decoded: Decoded, level: int | None = None) -> np.ndarray:
    """The same of an image already decoded; `level` is another ground than `ground` says."""
    shown = colours(decoded)
    if decoded.alpha is not None:
        shown = transparency.over(shown, decoded.alpha, ground(decoded) if level is None else level)
    return np.ascontiguousarray(exif.to_displayed(shown, decoded.info.orientation))


def ground(decoded: Decoded) -> int:
    """The level of the grey on which a transparent image is shown; of no meaning for opaque ones."""
    return 0 if decoded.alpha is None else transparency.ground(colours(decoded), decoded.alpha)


def colours(decoded: Decoded) -> np.ndarray:
    """The stored raster without its alpha: uint8 (H, W, 3).

    Raises
    ------
    Undecodable
        As `to_rgb`.
    """
    if decoded.deep is None:
        return to_rgb(decoded.image)
    deep = decoded.deep
    plain = depth.reduce(deep[:, :, :3] if deep.shape[2] > 2 else deep[:, :, :1])
    return plain if plain.shape[2] == 3 else np.repeat(plain, 3, axis=2)


def load(data: bytes, limits: Limits) -> Decoded:
    """Decode the first frame, keeping the stored raster and the coding details that Pillow hangs on its image.

    Raises
    ------
    Undecodable
        As `inspect`.
    """
    with _pillow(limits):
        image = _opened(data, limits)
        with _as_undecodable(CORRUPT):
            return _loaded(image, data, _count(image), deep=True)


def header(data: bytes, limits: Limits) -> Decoded:
    """What a JPEG's header says; ``image`` is open, but no pixel of it is decoded.

    Raises
    ------
    Undecodable
        When it is no JPEG, or its header cannot be read, or says more than the limits allow.
    """
    with _pillow(limits):
        image = _opened(data, limits)
        if image.format != "JPEG":
            raise Undecodable(NOT_SUPPORTED)
        with _as_undecodable(UNREADABLE):
            said = _orientation(image, data)
            orientation = said or exif.UPRIGHT
            size = image.size[::-1] if exif.swaps_axes(orientation) else image.size
            info = ImageInfo("JPEG", image.mode, *size, 1, orientation)
            return Decoded(info, image, 8, _profile(image, data), said is not None)


def frames(data: bytes, limits: Limits) -> Iterator[Decoded]:
    """Every frame as a viewer shows it: put together with what the frames before have left, one after the other.

    Nothing is skipped: frames that are shown for no time, or only by viewers that know no animation, count too. One
    frame is in memory at a time, and the one that the next is drawn on.

    Yields
    ------
    Decoded
        All of one displayed size, as many as ``info.frames`` says. ``image.info`` has ``duration`` and ``loop`` as
        Pillow reads them.

    Raises
    ------
    Undecodable
        As `inspect`, for any frame: those before it have been yielded by then. When frames differ in size (the pages
        of a TIFF may), as boxes, tables and reviewers know one size of an image. When they have more pixels
        together than an image may have.
    """
    with _pillow(limits):
        image = _opened(data, limits)
        with _as_undecodable(CORRUPT):
            count = _count(image)
            width, height = image.size
    if count * max(width * height, SMALLEST_FRAME) > limits.max_pixels and count > 1:
        raise Undecodable(TOO_MANY_PIXELS)
    size = None
    for index in range(count):
        # Not held while the caller works: another thread may decode meanwhile.
        with _pillow(limits), _as_undecodable(CORRUPT):
            if index:
                image.seek(index)
            width, height = image.size
            if width * height > limits.max_pixels:
                raise Undecodable(TOO_MANY_PIXELS)
            decoded = _loaded(image, data, count, snapshot=True)
        if size is None:
            size = decoded.info.width, decoded.info.height
        if size != (decoded.info.width, decoded.info.height):
            raise Undecodable(ODD_SIZES)
        yield decoded


def numbered(data: bytes, limits: Limits, count: int) -> Iterator[tuple[int, Decoded]]:
    """The `count` frames of a file with their numbers; -1, which stands for every frame, for the only one.

    Raises
    ------
    Undecodable
        As `load` and `frames`.
    """
    if count == 1:
        yield ALL_FRAMES, load(data, limits)
    else:
        yield from enumerate(frames(data, limits))


def to_rgb(image: Image.Image) -> np.ndarray:
    """The raster of an image without its alpha: uint8, shape (H, W, 3).

    Raises
    ------
    Undecodable
        For colour modes that have no plain conversion to RGB.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return np.repeat(_to_8_bit(np.asarray(image))[:, :, None], 3, axis=2)
    plain = image.copy()
    plain.info.clear()  # a "transparency" there changes what convert() does
    try:
        return np.asarray(plain.convert("RGB"))
    except Exception as error:
        raise Undecodable(ODD_MODE) from error


def _to_8_bit(samples: np.ndarray) -> np.ndarray:
    """Grey samples of 16 or 32 bits, or floats (for whose range there is no rule), scaled to uint8."""
    if samples.dtype.kind == "f":
        finite = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = float(finite.min()), float(finite.max())
        return np.rint((finite - low) * (255.0 / (high - low or 1.0))).astype(np.uint8)
    return depth.reduce(samples)


def _opened(data: bytes, limits: Limits) -> ImageFile.ImageFile:
    """The file with its header read, inside of `_pillow`."""
    if len(data) > limits.max_bytes:
        raise Undecodable(TOO_MANY_BYTES)
    plugin = _plugin(data)
    with _as_undecodable(UNREADABLE):
        image = plugin(io.BytesIO(data))
        width, height = image.size
    if width * height > limits.max_pixels:
        raise Undecodable(TOO_MANY_PIXELS)
    if image.format == "JPEG" and data.count(_SCAN) > MAX_SCANS:
        raise Undecodable(TOO_MANY_SCANS)
    return image


def _count(image: ImageFile.ImageFile) -> int:
    """Frames of the file. Before loading: counting moves the plugins of GIF and TIFF about."""
    # A PSD's "frames" are its layers; what it shows is the one flattened picture.
    return 1 if image.format == "PSD" else int(getattr(image, "n_frames", 1))


def _loaded(
    image: ImageFile.ImageFile, data: bytes, frames: int, *, snapshot: bool = False, deep: bool = False
) -> Decoded:
    """The frame that the file stands at.

    `snapshot`: with an image of its own, which the next frame does not change. `deep`: with all bits, if it is alone.
    """
    said = _orientation(image, data)
    orientation = said or exif.UPRIGHT
    # Pillow's TIFF plugin turns the raster while loading, and would take the orientation from XMP if it found one.
    image.info.pop("xmp", None)
    bits = _bits(image, data)
    if bits > 8 and _is_planar(image):
        raise Undecodable(DEEP_PLANES)  # Pillow would take every byte for a sample
    image.load()
    upright = image.size
    stored: Image.Image = image
    if image.format == "TIFF":
        stored = _turned_back(image, orientation)
    elif exif.swaps_axes(orientation):
        upright = image.size[::-1]
    if snapshot:
        stored = stored.copy()  # before "transparency" changes below: Pillow needs its own for the frames to come
    if image.format == "PNG":
        stored.info.pop("transparency", None)
        alphas = png.find(data, b"tRNS")
        if alphas is not None:
            stored.info["transparency"] = alphas
    info = ImageInfo(str(image.format), image.mode, *upright, frames, orientation)
    whole = _deep(image, bits, data) if deep and frames == 1 else None
    if whole is not None and image.format == "TIFF":
        whole = exif.to_stored(whole, orientation)  # turned by Pillow as well
    alpha = _alpha(stored, bits, whole)
    return Decoded(info, stored, bits, _profile(image, data), said is not None, alpha, whole)


def _is_planar(image: ImageFile.ImageFile) -> bool:
    return (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) != 1
        and image.tag_v2.get(TiffImagePlugin.SAMPLESPERPIXEL, 1) != 1
    )


def _deep(image: ImageFile.ImageFile, bits: int, data: bytes) -> np.ndarray | None:
    if bits <= 8 or image.mode not in ("RGB", "RGBA"):
        return None

    def again() -> ImageFile.ImageFile:
        opened = _plugin(data)(io.BytesIO(data))
        opened.info.pop("xmp", None)
        return opened

    return depth.read(again, np.asarray(image))


def _alpha(stored: Image.Image, bits: int, deep: np.ndarray | None) -> np.ndarray | None:
    if deep is None or deep.shape[2] == 3:
        if stored.mode in ("RGBa", "La", "PA"):
            raise Undecodable(ODD_MODE)
        if bits > 8 and "transparency" in stored.info:
            raise Undecodable(DEEP_KEY)
        return transparency.alpha_of(stored, bits)
    alpha = deep[:, :, -1]
    if alpha.min(initial=depth.FULL) == depth.FULL:
        return None
    between = np.clip(alpha >> 8, 1, 254)
    return np.where(alpha == 0, 0, np.where(alpha == depth.FULL, 255, between)).astype(np.uint8)


def _bits(image: ImageFile.ImageFile, data: bytes) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))
    if image.format == "PNG":
        return (png.find(data, b"IHDR") or bytes(9))[8]
    return 8


def _profile(image: ImageFile.ImageFile, data: bytes) -> bytes | None:
    if image.format == "PNG":
        return png.read_profile(png.find(data, b"iCCP") or b"")
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # in `info`, a page would inherit that of the one before
        return icc.clean(image.tag_v2.get(TiffImagePlugin.ICCPROFILE))
    return icc.clean(image.info.get("icc_profile"))


def _orientation(image: ImageFile.ImageFile, data: bytes) -> int | None:
    """The orientation in the file's real EXIF. ``getexif()`` would fall back on XMP and on text chunks."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return exif.valid(image.tag_v2.get(exif.TAG))
    if image.format == "PNG":
        return exif.find(png.find(data, b"eXIf") or b"")
    if image.format in ("JPEG", "MPO", "WEBP"):
        return exif.find(image.info.get("exif", b""))
    return None


_TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _turned_back(image: Image.Image, orientation: int) -> Image.Image:
    """The stored raster of a TIFF that Pillow has already turned upright."""
    if orientation == exif.UPRIGHT:
        return image
    stored = image.transpose(_TURN_BACK[orientation])
    stored.info.clear()
    stored.info.update(image.info)
    return stored


Plugin = Callable[[io.BytesIO], ImageFile.ImageFile]

# By signature alone: a name or an extension never reaches this module.
_SUPPORTED: tuple[tuple[int, bytes, Plugin], ...] = (
    (0, b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),  # of an MPO the first picture: the others never leave
    (0, png.SIGNATURE, PngImagePlugin.PngImageFile),
    (0, b"GIF87a", GifImagePlugin.GifImageFile),
    (0, b"GIF89a", GifImagePlugin.GifImageFile),
    (8, b"WEBP", WebPImagePlugin.WebPImageFile),
    (0, b"BM", BmpImagePlugin.BmpImageFile),
    (0, b"II*\0", TiffImagePlugin.TiffImageFile),
    (0, b"MM\0*", TiffImagePlugin.TiffImageFile),
    (0, b"8BPS\0\1", PsdImagePlugin.PsdImageFile),
)
_KNOWN = (
    (4, b"ftyp"),  # HEIF, AVIF
    (0, b"\0\0\0\x0cjP  "),  # JPEG 2000
    (0, b"\xff\x4f\xff\x51"),
    (0, b"\0\0\0\x0cJXL "),
    (0, b"\xff\x0a"),  # JPEG XL
    (0, b"II+\0"),
    (0, b"MM\0+"),  # BigTIFF
    (0, b"%!PS"),
    (0, b"\xc5\xd0\xd3\xc6"),  # EPS
    (0, b"%PDF"),
    (0, b"<svg"),
    (0, b"\0\0\1\0"),  # ICO
    (0, b"qoif"),
    (0, b"8BPS"),
    *((0, b"P%d" % kind) for kind in range(1, 8)),  # Netpbm
)


def is_image(head: bytes) -> bool:
    """Whether a file that begins with these bytes (32 or more, or all of it) is of a format that is decoded here."""
    return (
        any(head[at : at + len(signature)] == signature for at, signature, _ in _SUPPORTED)
        # Two letters are no signature: the reserved field of a BMP, which is 0, tells it from text that begins so.
        and (head[:2] != b"BM" or head[6:10] == bytes(4))
    )


def _plugin(data: bytes) -> Plugin:
    for at, signature, plugin in _SUPPORTED:
        if data[at : at + len(signature)] == signature:
            return plugin
    if any(data[at : at + len(signature)] == signature for at, signature in _KNOWN):
        raise Undecodable(NOT_SUPPORTED)
    raise Undecodable(NOT_AN_IMAGE)


_lock = threading.RLock()


@contextmanager
def _pillow(limits: Limits) -> Iterator[None]:
    """Pillow's global switches as this module needs them, and as they were afterwards.

    Other libraries set them too: ultralytics lifts the pixel limit, and a common work-around for damaged files is to
    accept truncated ones. The lock keeps two threads from restoring each other's values.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        # The limit proper is checked by us. Pillow's own, at twice its value, stops what would be allocated earlier:
        # a WebP canvas while the header is read, a GIF frame larger than its canvas.
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = limits.max_pixels, False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


@contextmanager
def _as_undecodable(reason: str) -> Iterator[None]:
    """Turn whatever hostile bytes provoke in Pillow (a long list, MemoryError included) into one exception."""
    try:
        yield
    except Undecodable:
        raise
    except Image.DecompressionBombError as error:
        raise Undecodable(TOO_MANY_PIXELS) from error
    except Exception as error:
        raise Undecodable(reason) from error
