"""What is kept on record of an image that arrived."""

from typing import NamedTuple

from blurline.images import decode
from blurline.images.decode import ImageInfo, Limits
from blurline.images.likeness import perceptual_hash


class Facts(NamedTuple):
    """What the image is, and what it looks like: see `perceptual_hash`."""

    info: ImageInfo
    phash: str | None


def facts(data: bytes, limits: Limits) -> Facts:
    """Both, from decoding it once in full.

    Raises
    ------
    Undecodable
        As `decode.load`.
    """
    decoded = decode.load(data, limits)
    return Facts(decoded.info, perceptual_hash(decoded))
