"""A JPEG without faces: metadata gone, and not one byte of its tables and scans touched, so nothing is decoded."""

from blurline.images import codecs, decode, proof
from blurline.images.containers import Metadata
from blurline.images.containers import jpeg as container
from blurline.images.decode import Limits
from blurline.images.errors import CannotRelease
from blurline.images.results import Outside, Redacted


def clean(data: bytes, limits: Limits, metadata: Metadata = "keep-safe") -> Redacted:
    """The same picture, segment by segment.

    What a decoder makes of a JPEG depends on its tables, frame and scans, which must be equal byte for byte, and on how
    its first segments say that components are to be read as colours, which must mean the same.

    Raises
    ------
    Undecodable
        When this is no JPEG, its header is damaged, or it is over the limits.
    CannotRelease
        When its segments are damaged, or the result is not the same picture.
    """
    source = decode.header(data, limits)
    keep_safe = metadata == "keep-safe"
    result = container.strip(data, source.info.orientation, keep_safe)
    again = decode.header(result, Limits(len(result), limits.max_pixels))
    same = (
        again.info == source.info
        and again.profile == proof.kept_profile(source, metadata)
        and codecs.jpeg_coding(again.image) == codecs.jpeg_coding(source.image)
        and again.image.info.get("adobe_transform") == source.image.info.get("adobe_transform")
        and container.picture(result) == container.body(data)
    )
    if not same:
        raise CannotRelease(proof.DIFFERS)
    return Redacted(result, [], outside=Outside.COEFFICIENTS)
