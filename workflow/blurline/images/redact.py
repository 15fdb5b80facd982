"""One image in, one releasable image out: faces blurred, metadata gone, and the result proven by decoding it again.

Whatever cannot be proven is withheld. The reasons name what would have to be built to release such images.
"""

from collections.abc import Sequence

import numpy as np

from blurline.images import codecs, containers, decode, palette, proof, raster
from blurline.images import orientation as exif
from blurline.images.animation import redact as animation
from blurline.images.containers import Metadata, webp
from blurline.images.containers import jpeg as container
from blurline.images.decode import Decoded, Limits
from blurline.images.errors import CannotRelease
from blurline.images.jpeg.clean import clean
from blurline.images.jpeg.redact import redact as redact_jpeg
from blurline.images.obfuscate import BlurStyle, NotInImage, Region, Target, obfuscate, stronger, touched
from blurline.images.proof import DIFFERS, TooWeak
from blurline.images.raster import Raster, as_rgb
from blurline.images.results import Outside, Redacted


def redact(
    data: bytes, targets: Sequence[Target], style: BlurStyle, limits: Limits, metadata: Metadata = "keep-safe"
) -> Redacted:
    """Blur these faces and strip everything that is not picture.

    Without boxes the pixels stay bit for bit, and JPEG, PNG and WebP are not even coded again, unless colours under
    transparency must go. With boxes the format and its coding choices stay: a JPEG's tables and sampling, lossless
    remains lossless. Where the proof finds too much left of a face, the blur is made stronger until it does not.

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
    if not targets and data.startswith(container.START):
        return clean(data, limits, metadata)
    source = decode.load(data, limits)
    while True:
        try:
            return _redacted(data, source, targets, style, limits, metadata)
        except TooWeak:
            harder = stronger(style)
            if harder is None:
                raise
            style = harder


def _redacted(
    data: bytes, source: Decoded, targets: Sequence[Target], style: BlurStyle, limits: Limits, metadata: Metadata
) -> Redacted:
    try:
        if source.info.frames > 1:
            return animation.redact(data, source, targets, style, limits, metadata)
        if source.info.format not in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"):
            raise CannotRelease(f"{source.info.format} is not supported yet")
        if not targets:
            return _unchanged(data, source, limits, metadata)
        blurred = redact_jpeg if source.info.format == "JPEG" else _blurred
        return blurred(data, source, targets, style, limits, metadata)
    except NotInImage as error:
        raise CannotRelease(str(error)) from error


def _unchanged(data: bytes, source: Decoded, limits: Limits, metadata: Metadata) -> Redacted:
    info, before = source.info, raster.of(source)
    intended = raster.without_hidden(before, source)
    if info.format not in containers.FORMATS:
        result = codecs.rewrite(source, metadata)
    elif intended is before:
        result = containers.strip(data, info.format, info.orientation, metadata)
    elif _is_lossy(data, source):
        raise CannotRelease("colours under transparency in a lossy file are not supported yet")
    else:
        result = _encoded(intended, source, data, metadata)
    again = proof.reload(result, limits)
    _same_kind(source, again, metadata)
    # Byte order apart: Pillow's I;16B is I;16 once it is written.
    modes = {decoded.image.mode.replace("I;16B", "I;16") for decoded in (source, again)}
    if (intended is before and len(modes) > 1) or not _equal(raster.of(again), intended):
        raise CannotRelease(DIFFERS)
    return Redacted(result, [], outside=Outside.PIXELS)


def _blurred(
    data: bytes, source: Decoded, targets: Sequence[Target], style: BlurStyle, limits: Limits, metadata: Metadata
) -> Redacted:
    info, before = source.info, raster.of(source)
    # In the displayed frame, where the boxes are: the same face gets the same blur however the file is turned.
    upright = decode.upright_rgb(source)
    picture = upright[:, :, 0] if before.mode in ("L", "LA") else upright
    pixels, regions = obfuscate(picture, targets, style)
    where = exif.to_stored(touched(regions, info.width, info.height), info.orientation)
    kept = raster.without_hidden(before, source)
    intended = raster.replaced(kept, exif.to_stored(pixels, info.orientation), where)
    if info.format == "GIF":
        intended = palette.fitted(intended, where)
    result = _encoded(intended, source, data, metadata)
    again = proof.reload(result, limits)
    _same_kind(source, again, metadata)
    wanted = as_rgb(pixels)
    if _is_lossy(data, source):
        return _proven_lossy(source, again, result, intended, upright, wanted, regions)
    _prove_exact(raster.of(again), intended, before, where)
    # Of a palette, what could be had of the colours wanted; of all others, just these.
    shown = exif.to_displayed(as_rgb(intended.colours), info.orientation) if info.format == "GIF" else wanted
    tolerance = proof.PALETTE_TOLERANCE if info.format == "GIF" else 0.0
    proofs = proof.prove(upright, wanted, shown, regions, tolerance, lossless=not tolerance)
    return Redacted(result, regions, proofs, Outside.PIXELS)


def _encoded(intended: Raster, source: Decoded, data: bytes, metadata: Metadata) -> bytes:
    coded = codecs.encode(intended, source, data, metadata)
    if source.info.format not in containers.FORMATS:
        return coded
    return containers.strip(coded, source.info.format, source.info.orientation, metadata)


def _is_lossy(data: bytes, source: Decoded) -> bool:
    return source.info.format == "JPEG" or (source.info.format == "WEBP" and not webp.is_lossless(data))


def _same_kind(source: Decoded, again: Decoded, metadata: Metadata) -> None:
    old, new = source.info, again.info
    same = (
        (old.format, old.width, old.height, old.orientation) == (new.format, new.width, new.height, new.orientation)
        and new.frames == 1
        and again.profile == proof.kept_profile(source, metadata)
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
        and np.array_equal(as_rgb(one.colours), as_rgb(other.colours))
        and np.array_equal(_opacity(one), _opacity(other))
    )


def _proven_lossy(
    source: Decoded,
    again: Decoded,
    result: bytes,
    intended: Raster,
    before: np.ndarray,
    wanted: np.ndarray,
    regions: list[Region],
) -> Redacted:
    """A lossy WebP; `before` and `wanted` are (H, W, 3) as displayed, on the source's ground."""
    if webp.is_lossless(result) or not np.array_equal(_opacity(raster.of(again)), _opacity(intended)):
        raise CannotRelease(DIFFERS)
    after = decode.upright_rgb(again, decode.ground(source))
    proof.close_enough(wanted, after, proof.WEBP_TOLERANCE)
    proofs = proof.prove(before, wanted, after, regions, proof.WEBP_TOLERANCE, lossless=False)
    outside = ~touched(regions, source.info.width, source.info.height)
    return Redacted(result, regions, proofs, Outside.BOUNDED, proof.bounded(before, after, outside))


def _opacity(picture: Raster) -> np.ndarray:
    height, width = picture.samples.shape[:2]
    return np.full((height, width), 255, np.uint8) if picture.alpha is None else picture.alpha
