"""A JPEG with faces: blurred, written block by block, and proven by decoding it again."""

from collections.abc import Sequence

import numpy as np

from blurline.images import codecs, proof
from blurline.images import orientation as exif
from blurline.images.containers import Metadata
from blurline.images.decode import Decoded, Limits
from blurline.images.errors import CannotRelease
from blurline.images.jpeg import blocks
from blurline.images.obfuscate import BlurStyle, Target, obfuscate, touched
from blurline.images.results import Outside, Redacted


def redact(
    data: bytes,
    source: Decoded,
    targets: Sequence[Target],
    style: BlurStyle,
    limits: Limits,
    metadata: Metadata = "keep-safe",
) -> Redacted:
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
    stored = np.asarray(source.image)
    before = exif.to_displayed(stored, turn)
    intended, regions = obfuscate(before, targets, style)
    changed = exif.to_stored(touched(regions, *before.shape[1::-1]), turn)
    written = blocks.replace(data, source, exif.to_stored(intended, turn), changed, metadata)
    again = proof.reload(written.data, limits)
    coding = codecs.jpeg_coding(source.image)
    if again.info != source.info or again.profile != proof.kept_profile(source, metadata):
        raise CannotRelease(proof.DIFFERS)
    if codecs.jpeg_coding(again.image) != coding:
        raise CannotRelease("JPEG coding could not be kept")
    released = np.asarray(again.image)
    if not written.kept(stored, released):
        raise CannotRelease(proof.DIFFERS)
    after = exif.to_displayed(released, turn)
    proofs = proof.prove(before, intended, after, regions, proof.jpeg_tolerance(coding), lossless=False)
    return Redacted(written.data, regions, proofs, Outside.COEFFICIENTS)
