"""A JPEG without faces: metadata gone, and not one byte of its tables and scans touched."""

import numpy as np

from blurline.images import codecs, decode, proof
from blurline.images.containers import Metadata
from blurline.images.containers import jpeg as container
from blurline.images.decode import Decoded, Limits
from blurline.images.errors import CannotRelease
from blurline.images.jpeg import blocks, libjpeg
from blurline.images.results import Outside, Redacted


def clean(data: bytes, limits: Limits, metadata: Metadata = "keep-safe") -> Redacted:
    """The same picture, segment by segment.

    What a decoder makes of a JPEG depends on its coefficients and the tables that scale them, which must be equal, and
    on how its first segments say that components are to be read as colours, which must mean the same. Scans may also
    hold what no decoder reads: such a file is written anew from its coefficients.

    Raises
    ------
    Undecodable
        When this is no JPEG, its header is damaged, or it is over the limits.
    CannotRelease
        When its segments are damaged, or the result is not the same picture.
    """
    source = decode.header(data, limits)
    result = container.strip(data, source.info.orientation, metadata == "keep-safe")
    again = decode.header(result, Limits(len(result), limits.max_pixels))
    if not _same_kind(source, again, metadata):
        raise CannotRelease(proof.DIFFERS)
    blocks_of = blocks.geometry(codecs.jpeg_coding(source.image), *source.image.size)
    if not libjpeg.unchanged(data, result, blocks_of):
        return _rewritten(data, limits, metadata)
    return Redacted(result, [], outside=Outside.COEFFICIENTS)


def _same_kind(source: Decoded, again: Decoded, metadata: Metadata) -> bool:
    return (
        again.info == source.info
        and again.profile == proof.kept_profile(source, metadata)
        and codecs.jpeg_coding(again.image) == codecs.jpeg_coding(source.image)
        and again.image.info.get("adobe_transform") == source.image.info.get("adobe_transform")
    )


def _rewritten(data: bytes, limits: Limits, metadata: Metadata) -> Redacted:
    """A file with bytes that no decoder reads, from its coefficients; here every pixel is compared as well."""
    source = decode.load(data, limits)
    result = blocks.rewritten(data, source, metadata)
    again = proof.reload(result, limits)
    if not _same_kind(source, again, metadata) or not np.array_equal(np.asarray(again.image), np.asarray(source.image)):
        raise CannotRelease(proof.DIFFERS)
    return Redacted(result, [], outside=Outside.COEFFICIENTS)
