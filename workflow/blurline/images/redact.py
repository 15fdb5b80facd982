"""One image in, one releasable image out: faces blurred, metadata gone, and the result proven by decoding it again.

Whatever cannot be proven is withheld. The reasons name what would have to be built to release such images.
"""

from collections.abc import Sequence

import numpy as np

from blurline.images import codecs, containers, decode, proof
from blurline.images import orientation as exif
from blurline.images.animation import redact as animation
from blurline.images.containers import webp
from blurline.images.decode import Decoded, Limits
from blurline.images.errors import CannotRelease
from blurline.images.jpeg.redact import redact as redact_jpeg
from blurline.images.obfuscate import BlurStyle, Region, Target, obfuscate, stronger, touched
from blurline.images.proof import DIFFERS, TooWeak
from blurline.images.results import Outside, Redacted


def redact(data: bytes, targets: Sequence[Target], style: BlurStyle, limits: Limits) -> Redacted:
    """Blur these faces and strip everything that is not picture.

    Without boxes the pixels stay bit for bit, and JPEG, PNG and WebP are not even coded again. With boxes the format
    and its coding choices stay: a JPEG's tables and sampling, lossless remains lossless. Where the proof finds too much
    left of a face, the blur is made stronger until it does not.

    Parameters
    ----------
    data
        A whole file.
    targets
        What to blur, in pixels of the image as displayed, origin top left.

    Raises
    ------
    Undecodable
        When ``data`` is no image, is damaged, or is over the limits.
    CannotRelease
        When no safe release of this kind of image exists yet, or the result is not what it should be.
    """
    source = decode.load(data, limits)
    while True:
        try:
            return _redacted(data, source, targets, style, limits)
        except TooWeak:
            harder = stronger(style)
            if harder is None:
                raise
            style = harder


def _redacted(data: bytes, source: Decoded, targets: Sequence[Target], style: BlurStyle, limits: Limits) -> Redacted:
    try:
        if source.info.frames > 1 or (source.info.format == "GIF" and targets):
            return animation.redact(data, source, targets, style, limits)
        if source.info.format not in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"):
            raise CannotRelease(f"{source.info.format} is not supported yet")
        if not source.opaque:
            # Under transparency the detector and a viewer see different pictures.
            raise CannotRelease("transparency is not supported yet")
        if not targets:
            return _unchanged(data, source, limits)
        blurred = redact_jpeg if source.info.format == "JPEG" else _blurred
        return blurred(data, source, targets, style, limits)
    except ValueError as error:
        raise CannotRelease("a box is empty or outside the image") from error


def _unchanged(data: bytes, source: Decoded, limits: Limits) -> Redacted:
    if source.info.format in containers.FORMATS:
        result = containers.strip(data, source.info.format, source.info.orientation)
    else:
        result = codecs.rewrite(source)
    again = proof.reload(result, limits)
    same = (
        again.info == source.info
        and again.opaque
        and again.profile == source.profile
        and np.array_equal(_samples(again), _samples(source))
    )
    if not same:
        raise CannotRelease(DIFFERS)
    return Redacted(result, [], outside=Outside.COEFFICIENTS if source.info.format == "JPEG" else Outside.PIXELS)


def _blurred(data: bytes, source: Decoded, targets: Sequence[Target], style: BlurStyle, limits: Limits) -> Redacted:
    info = source.info
    if source.bits > 8 or source.image.mode.startswith("I"):
        raise CannotRelease("more than 8 bits with faces are not supported yet")
    if source.image.mode == "CMYK":
        raise CannotRelease("CMYK with faces is not supported yet")
    colour, alpha = _planes(source)
    # In the displayed frame, where the boxes are: the same face gets the same blur however the file is turned.
    upright = exif.to_displayed(colour, info.orientation)
    pixels, regions = obfuscate(upright, targets, style)
    stored = exif.to_stored(pixels, info.orientation)
    if alpha is not None:
        stored = np.dstack([stored, alpha])
    result = codecs.encode(stored, source, data)
    if info.format in containers.FORMATS:
        result = containers.strip(result, info.format, info.orientation)
    return _proven(result, source, _as_rgb(upright), _as_rgb(pixels), regions, limits, data)


def _planes(source: Decoded) -> tuple[np.ndarray, np.ndarray | None]:
    """Stored colour, (H, W) or (H, W, 3), and alpha, (H, W), if there is one."""
    mode = source.image.mode
    if source.info.format == "TIFF" and mode not in ("L", "RGB"):
        raise CannotRelease("TIFF variant not supported")
    if mode in ("LA", "RGBA"):
        samples = np.asarray(source.image)
        return (samples[:, :, 0] if mode == "LA" else samples[:, :, :3]), samples[:, :, -1]
    if mode == "1":
        return np.asarray(source.image.convert("L")), None
    if mode == "P":
        return decode.to_rgb(source.image), None
    if mode in ("L", "RGB"):
        return np.asarray(source.image), None
    raise CannotRelease("colour mode with faces is not supported yet")


def _proven(
    result: bytes,
    source: Decoded,
    before: np.ndarray,
    intended: np.ndarray,
    regions: list[Region],
    limits: Limits,
    data: bytes,
) -> Redacted:
    """Decode the result and compare it with the intention; the arrays are uint8 (H, W, 3) as displayed."""
    again = proof.reload(result, limits)
    old, new = source.info, again.info
    if (old.format, old.width, old.height, old.orientation, 1) != (
        new.format,
        new.width,
        new.height,
        new.orientation,
        new.frames,
    ):
        raise CannotRelease(DIFFERS)
    if again.profile != source.profile or not again.opaque:
        raise CannotRelease(DIFFERS)
    after = exif.to_displayed(decode.to_rgb(again.image), new.orientation)
    outside = ~touched(regions, old.width, old.height)
    if old.format == "WEBP" and not webp.is_lossless(data):
        if webp.is_lossless(result):
            raise CannotRelease(DIFFERS)
        proof.close_enough(intended, after, proof.WEBP_TOLERANCE)
        proofs = proof.prove(before, intended, after, regions, proof.WEBP_TOLERANCE, lossless=False)
        return Redacted(result, regions, proofs, Outside.BOUNDED, proof.psnr(before, after, outside))
    if not np.array_equal(after, intended) or not proof.equal(after, before, outside):
        raise CannotRelease(DIFFERS)
    return Redacted(result, regions, proof.prove(before, intended, after, regions, lossless=True), Outside.PIXELS)


def _samples(decoded: Decoded) -> np.ndarray:
    """The stored samples for comparison; colours instead of indices where there is a palette."""
    return decode.to_rgb(decoded.image) if decoded.image.mode == "P" else np.asarray(decoded.image)


def _as_rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels
