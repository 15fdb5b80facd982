"""Several frames in, a releasable file of the same frames out, proven by decoding it again, frame by frame.

What leaves is what the detector saw: frames are blurred as they are shown, and written anew from these pixels. So no
viewer shows anything else, and nothing lies under what is shown. All files written here are upright.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from blurline.boxes import ALL_FRAMES
from blurline.images import decode, proof
from blurline.images.animation import gif, palette, png, tiff, webp
from blurline.images.animation.frame import Frame, Opener
from blurline.images.containers import Metadata
from blurline.images.decode import Decoded, Limits, Undecodable
from blurline.images.errors import CannotRelease
from blurline.images.obfuscate import BlurStyle, NotInImage, Region, Target, obfuscate, touched
from blurline.images.proof import DIFFERS
from blurline.images.results import Outside, Proof, Redacted

_WRITERS: dict[str, Opener] = {"GIF": gif.Writer, "PNG": png.Writer, "WEBP": webp.Writer, "TIFF": tiff.Writer}

FORMATS = frozenset(_WRITERS)
"""Formats of which several frames can be released."""


def redact(
    data: bytes,
    source: Decoded,
    targets: Sequence[Target],
    style: BlurStyle,
    limits: Limits,
    metadata: Metadata = "keep-safe",
) -> Redacted:
    """Blur each frame's faces and strip everything that is not picture, duration or loop count.

    Outside of what is blurred, every pixel of every frame stays, but in frames of a lossy WebP, which are coded again.
    Where the colours of a GIF frame do not suffice, the blurred pixels get the nearest ones, and if that does not do,
    every place is blurred in all frames.

    Parameters
    ----------
    data, source
        A whole file, and its first frame.
    targets
        What to blur, in pixels of the frames as displayed.

    Raises
    ------
    Undecodable
        When a frame is damaged, or the frames together are over the limits.
    CannotRelease
        When no safe release of this kind of file exists yet, or the result is not what it should be.
    """
    info = source.info
    if info.format not in FORMATS:
        raise CannotRelease("several frames are not supported yet")
    if any(target.frame != ALL_FRAMES and not 0 <= target.frame < info.frames for target in targets):
        raise CannotRelease("a box is in a frame that is not there")
    try:
        return _proven(data, source, targets, style, limits, metadata)
    except CannotRelease as error:
        # What was blurred in one frame and is shown again in the next needs colours that a palette has no room for.
        # In doubt, blur: then no frame shows any of these places again.
        if error.reason != palette.TOO_MANY or all(target.frame == ALL_FRAMES for target in targets):
            raise
        return _proven(data, source, [target._replace(frame=ALL_FRAMES) for target in targets], style, limits, metadata)


def _proven(
    data: bytes, source: Decoded, targets: Sequence[Target], style: BlurStyle, limits: Limits, metadata: Metadata
) -> Redacted:
    file_format = source.info.format
    source = replace(source, profile=proof.kept_profile(source, metadata))
    shown: list[bytes | None] | None = None
    regions: list[list[Region]] = [[] for _ in range(source.info.frames)]
    try:
        result = webp.strip(data, source) if file_format == "WEBP" and not targets else None
        if result is None:
            result, shown, regions = _written(data, source, targets, style, limits, metadata)
    except (CannotRelease, NotInImage, Undecodable):
        raise
    except Exception as error:  # Pillow's encoders raise as many kinds as its decoders
        raise CannotRelease(f"{file_format} could not be written") from error
    proofs, least = _prove(data, result, targets, style, limits, shown, metadata)
    outside = Outside.PIXELS if shown is None or None not in shown else Outside.BOUNDED
    placed = _placed(regions, proofs)
    return Redacted(result, [region for region, _ in placed], [proof for _, proof in placed], outside, least)


def _written(
    data: bytes, source: Decoded, targets: Sequence[Target], style: BlurStyle, limits: Limits, metadata: Metadata
) -> tuple[bytes, list[bytes | None], list[list[Region]]]:
    """The file; the digest of each frame's pixels, or None where they are coded with loss; each frame's regions."""
    writer = _WRITERS[source.info.format](data, source, not targets, metadata)
    shown: list[bytes | None] = []
    regions = []
    for index, frame in enumerate(decode.frames(data, limits)):
        _check(frame)
        frame = replace(frame, profile=proof.kept_profile(frame, metadata))
        _, pixels, done, mask = _blurred(frame, index, targets, style)
        written = writer.add(Frame(frame, pixels, mask))
        shown.append(None if written is None else _digest(written))
        regions.append(done)
    return writer.close(), shown, regions


def _check(frame: Decoded) -> None:
    if not frame.opaque:
        # Under transparency the detector and a viewer see different pictures.
        raise CannotRelease("transparency is not supported yet")
    if frame.bits > 8 or frame.image.mode not in ("1", "L", "P", "RGB", "LA", "RGBA"):
        raise CannotRelease(f"several frames of this {frame.info.format} variant are not supported yet")


def _blurred(
    frame: Decoded, index: int, targets: Sequence[Target], style: BlurStyle
) -> tuple[np.ndarray, np.ndarray, list[Region], np.ndarray]:
    """A frame before and after, its regions, and where it may have changed."""
    before = decode.upright_rgb(frame)
    here = [target for target in targets if target.frame in (ALL_FRAMES, index)]
    pixels, regions = obfuscate(before, here, style) if here else (before, [])
    return before, pixels, regions, touched(regions, before.shape[1], before.shape[0])


def _placed(regions: list[list[Region]], proofs: list[list[Proof]]) -> list[tuple[Region, Proof]]:
    """The regions of all frames in order, with their proofs; one that every frame has is there once, at its worst."""
    found: dict[Region, list[Proof]] = {}
    for each, shown in zip(regions, proofs, strict=True):
        for region, one in zip(each, shown, strict=True):
            found.setdefault(region, []).append(one)
    placed = []
    for region in regions[0]:
        if all(region in others for others in regions[1:]):
            ones = found.pop(region)
            placed.append((region, Proof(min(one.full for one in ones), max(one.residual for one in ones))))
    for index, (each, shown) in enumerate(zip(regions, proofs, strict=True)):
        pairs = zip(each, shown, strict=True)
        placed += [(replace(region, frame=index), one) for region, one in pairs if region in found]
    return placed


def _prove(
    data: bytes,
    result: bytes,
    targets: Sequence[Target],
    style: BlurStyle,
    limits: Limits,
    shown: list[bytes | None] | None,
    metadata: Metadata,
) -> tuple[list[list[Proof]], float | None]:
    """Decode the result beside its source; `shown` as from `_written`, None when every frame must be as it was.

    Returns each frame's proofs, and the lowest ratio in dB outside of the regions of frames coded with loss.
    """
    proofs, ratios = [], []
    sources = decode.frames(data, limits)
    # Bytes are not limited: a new coding may be larger than the old.
    results = decode.frames(result, Limits(len(result), limits.max_pixels))
    for index, source in enumerate(sources):
        try:
            again = next(results)
        except (StopIteration, Undecodable) as error:
            raise CannotRelease(DIFFERS) from error
        before, intended, regions, mask = _blurred(source, index, targets, style)
        if (
            _outline(again) != _outline(source)
            or not again.opaque
            or again.profile != proof.kept_profile(source, metadata)
        ):
            raise CannotRelease(DIFFERS)
        after = decode.upright_rgb(again)
        wanted = _digest(before) if shown is None else shown[index]
        if wanted is None:
            proof.close_enough(intended, after, proof.WEBP_TOLERANCE)
            ratios.append(proof.bounded(before, after, ~mask))
        elif _digest(after) != wanted or not np.array_equal(after[~mask], before[~mask]):
            raise CannotRelease(DIFFERS)
        tolerance = proof.WEBP_TOLERANCE if wanted is None else proof.PALETTE_TOLERANCE * (source.info.format == "GIF")
        proofs.append(proof.prove(before, intended, after, regions, tolerance, lossless=not tolerance))
    return proofs, min((ratio for ratio in ratios if ratio is not None), default=None)


def _outline(frame: Decoded) -> tuple[object, ...]:
    """What must be equal of a frame besides its pixels: the number of frames as well, so no file has some more."""
    info = frame.info
    loop, duration = frame.image.info.get("loop"), frame.image.info.get("duration") or 0
    return info.format, info.width, info.height, info.frames, loop, duration


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.sha256(pixels.tobytes()).digest()
