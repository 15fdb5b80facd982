"""One image in, one releasable image out: faces blurred, metadata gone, and the result proven by decoding it again.

Whatever cannot be proven is withheld. The reasons name what would have to be built to release such images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blurline.images import codecs, containers, decode, palette, proof, raster
from blurline.images import orientation as exif
from blurline.images.containers import Metadata, webp
from blurline.images.decode import Decoded, Limits, Undecodable
from blurline.images.errors import CannotRelease
from blurline.images.obfuscate import BlurStyle, Region, Target, obfuscate, touched
from blurline.images.proof import DIFFERS
from blurline.images.raster import Raster


@dataclass(frozen=True)
class Redacted:
    """The file to release, and what was blurred in it, in pixels of the displayed image."""

    data: bytes
    regions: list[Region]


def redact(
    data: bytes, targets: Sequence[Target], style: BlurStyle, limits: Limits, metadata: Metadata = "keep-safe"
) -> Redacted:
    """Blur these faces and strip everything that is not picture.

    Without boxes the pixels stay bit for bit, and JPEG, PNG and WebP are not even coded again, unless colours under
    transparency must go. With boxes the format and its coding choices stay: a JPEG's tables and sampling, lossless
    remains lossless.

    Parameters
    ----------
    data
        A whole file.
    targets
        What to blur, in pixels of the image as displayed, origin top left.
    metadata
        What stays beside the picture.

    Raises
    ------
    Undecodable
        When ``data`` is no image, is damaged, or is over the limits.
    CannotRelease
        When no safe release of this kind of image exists yet, or the result is not what it should be.
    """
    source = decode.load(data, limits)
    if source.info.frames > 1:
        raise CannotRelease("several frames are not supported yet")
    if source.info.format not in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"):
        raise CannotRelease(f"{source.info.format} is not supported yet")
    if not targets:
        return Redacted(_unchanged(data, source, limits, metadata), [])
    return _blurred(data, source, targets, style, limits, metadata)


def _unchanged(data: bytes, source: Decoded, limits: Limits, metadata: Metadata) -> bytes:
    info, before = source.info, raster.of(source)
    intended = raster.without_hidden(before, source)
    if info.format not in containers.FORMATS:
        result = codecs.rewrite(source, metadata)
    elif intended is before:
        result = containers.strip(data, info.format, info.orientation, metadata)
    elif _is_lossy(data, source):
        raise CannotRelease("colours under transparency in a lossy file are not supported yet")
    else:
        coded = codecs.encode(intended, source, data, metadata)
        result = containers.strip(coded, info.format, info.orientation, metadata)
    again = _reload(result, limits)
    _same_kind(source, again, metadata)
    # Byte order apart: Pillow's I;16B is I;16 once it is written.
    modes = {decoded.image.mode.replace("I;16B", "I;16") for decoded in (source, again)}
    if (intended is before and len(modes) > 1) or not _equal(raster.of(again), intended):
        raise CannotRelease(DIFFERS)
    return result


def _blurred(
    data: bytes, source: Decoded, targets: Sequence[Target], style: BlurStyle, limits: Limits, metadata: Metadata
) -> Redacted:
    info, before = source.info, raster.of(source)
    if info.format == "JPEG" and before.mode == "CMYK":
        raise CannotRelease("CMYK with faces is not supported yet")
    # In the displayed frame, where the boxes are: the same face gets the same blur however the file is turned.
    upright = decode.upright_rgb(source)
    try:
        grey = before.mode in ("L", "LA")
        pixels, regions = obfuscate(upright[:, :, 0] if grey else upright, targets, style)
    except ValueError as error:
        raise CannotRelease("a box is empty or outside the image") from error
    where = exif.to_stored(touched(regions, info.width, info.height), info.orientation)
    kept = raster.without_hidden(before, source)
    intended = raster.replaced(kept, exif.to_stored(pixels, info.orientation), where)
    if info.format == "GIF":
        intended = palette.fitted(intended, where)
        pixels = exif.to_displayed(palette.as_rgb(intended.colours), info.orientation)
    result = codecs.encode(intended, source, data, metadata)
    if info.format in containers.FORMATS:
        result = containers.strip(result, info.format, info.orientation, metadata)
    again = _reload(result, limits)
    _same_kind(source, again, metadata)
    if _is_lossy(data, source):
        after = _prove_lossy(source, again, result, intended, upright, _as_rgb(pixels), regions)
    else:
        _prove_exact(raster.of(again), intended, before, where)
        after = _as_rgb(pixels)
    proof.gone(upright, after, regions)
    return Redacted(result, regions)


def _is_lossy(data: bytes, source: Decoded) -> bool:
    return source.info.format == "JPEG" or (source.info.format == "WEBP" and not webp.is_lossless(data))


def _same_kind(source: Decoded, again: Decoded, metadata: Metadata) -> None:
    old, new = source.info, again.info
    same = (
        (old.format, old.width, old.height, old.orientation) == (new.format, new.width, new.height, new.orientation)
        and new.frames == 1
        and again.profile == (source.profile if metadata == "keep-safe" else None)
    )
    if not same:
        raise CannotRelease(DIFFERS)


def _prove_exact(again: Raster, intended: Raster, before: Raster, where: np.ndarray) -> None:
    """What was released is what was intended, and that is the source outside of `where`, but for hidden colours."""
    outside = ~where if before.alpha is None else ~where & (before.alpha > 0)
    kept = np.array_equal(intended.samples[outside], before.samples[outside])
    if before.alpha is not None and intended.alpha is not None:
        kept = kept and np.array_equal(intended.alpha[~where], before.alpha[~where])
    if not kept or not _equal(again, intended):
        raise CannotRelease(DIFFERS)


def _equal(one: Raster, other: Raster) -> bool:
    if one.mode == other.mode:
        return np.array_equal(one.samples, other.samples)
    # A GIF does not say whether its colours are greys only, or which mode alpha goes with.
    return (
        one.samples.dtype == other.samples.dtype
        and "CMYK" not in (one.mode, other.mode)
        and np.array_equal(palette.as_rgb(one.colours), palette.as_rgb(other.colours))
        and np.array_equal(_opacity(one), _opacity(other))
    )


def _prove_lossy(
    source: Decoded,
    again: Decoded,
    result: bytes,
    intended: Raster,
    before: np.ndarray,
    wanted: np.ndarray,
    regions: list[Region],
) -> np.ndarray:
    """What a lossy file shows, (H, W, 3) as displayed like `before` and `wanted`, proven to be near what is wanted."""
    if not np.array_equal(_opacity(raster.of(again)), _opacity(intended)):
        raise CannotRelease(DIFFERS)
    after = decode.upright_rgb(again, decode.ground(source))
    if source.info.format == "JPEG":
        coding = codecs.jpeg_coding(source.image)
        if codecs.jpeg_coding(again.image) != coding:
            raise CannotRelease("JPEG coding could not be kept")
        tolerance = proof.jpeg_tolerance(coding)
    else:
        if webp.is_lossless(result):
            raise CannotRelease(DIFFERS)
        tolerance = proof.WEBP_TOLERANCE
    proof.close_enough(before, wanted, after, regions, tolerance)
    return after


def _opacity(picture: Raster) -> np.ndarray:
    height, width = picture.samples.shape[:2]
    return np.full((height, width), 255, np.uint8) if picture.alpha is None else picture.alpha


def _reload(result: bytes, limits: Limits) -> Decoded:
    """Decode what was written; bytes are not limited, as a new coding may be larger than the old."""
    try:
        return decode.load(result, Limits(len(result), limits.max_pixels))
    except Undecodable as error:
        raise CannotRelease(DIFFERS) from error


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels
