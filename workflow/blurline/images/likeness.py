"""A perceptual hash of a picture: equal or close for copies that were resized or encoded anew."""

import imagehash
from PIL import Image

from blurline.images import decode
from blurline.images import orientation as exif
from blurline.images.decode import Decoded

_SIDE = 128  # pixels that are enough: the hash looks at 32


def perceptual_hash(decoded: Decoded) -> str | None:
    """64 bits as 16 hex digits, of the image as displayed: ImageHash's `phash`, signs of the lowest DCT coefficients.

    None for colour modes without a plain conversion to RGB.
    """
    try:
        pixels = exif.to_displayed(decode.to_rgb(decoded.image), decoded.info.orientation)
    except decode.Undecodable:
        return None
    grey = Image.fromarray(pixels).convert("L")
    return str(imagehash.phash(grey.reduce(max(1, min(grey.size) // _SIDE))))
