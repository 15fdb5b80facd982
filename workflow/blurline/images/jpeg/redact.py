"""A JPEG with faces: blurred, written block by block, and proven by decoding it again."""

from collections.abc import Sequence

import numpy as np

from blurline.images import codecs, proof
from blurline.images import orientation as exif
from blurline.images.decode import Decoded, Limits
from blurline.images.errors import CannotRelease
from blurline.images.jpeg import blocks
from blurline.images.obfuscate import BlurStyle, Target, obfuscate, touched
from blurline.images.results import Outside, Redacted


def redact(data: bytes, source: Decoded, targets: Sequence[Target], style: BlurStyle, limits: Limits) -> Redacted:
    """Blur these faces; the coefficients of every block without a changed pixel stay bit for bit.

    Raises
    ------
    CannotRelease
        As `blurline.images.redact.redact`.
    ValueError
        For a box that is empty or outside the image.
    """
    turn = source.info.orientation
    # In the displayed frame, where the boxes are: the same face gets the same blur however the file is turned.
    before = exif.to_displayed(np.asarray(source.image), turn)
    intended, regions = obfuscate(before, targets, style)
    changed = exif.to_stored(touched(regions, *before.shape[1::-1]), turn)
    written = blocks.replace(data, source, exif.to_stored(intended, turn), changed)
    again = proof.reload(written.data, limits)
    coding = codecs.jpeg_coding(source.image)
    if again.info != source.info or again.profile != source.profile:
        raise CannotRelease(proof.DIFFERS)
    if codecs.jpeg_coding(again.image) != coding:
        raise CannotRelease("JPEG coding could not be kept")
    stored = np.asarray(again.image)
    # Equal coefficients are equal pixels, except where the neighbours' chroma is smoothed into them.
    if not proof.equal(stored, np.asarray(source.image), ~_grown(written.blocks, _reach(coding))):
        raise CannotRelease(proof.DIFFERS)
    proofs = proof.prove(
        before, intended, exif.to_displayed(stored, turn), regions, proof.jpeg_tolerance(coding), lossless=False
    )
    return Redacted(written.data, regions, proofs, Outside.COEFFICIENTS)


def _reach(coding: codecs.JpegCoding) -> int:
    """Pixels that one sample of the coarsest component reaches beyond its own when a decoder smooths."""
    return 2 * max(max(across.denominator, down.denominator) for across, down in coding.sampling) - 2


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """The mask grown by so many pixels on every side: bool (H, W)."""
    grown = mask.copy()
    for axis in (0, 1):
        moved = np.moveaxis(grown, axis, 0)
        for _ in range(pixels):
            once = moved.copy()
            once[1:] |= moved[:-1]
            once[:-1] |= moved[1:]
            moved[...] = once
    return grown
