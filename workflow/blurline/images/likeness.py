"""A perceptual hash of a picture: equal or close for copies that were resized or encoded anew."""

import imagehash
from PIL import Image

from blurline.images import decode
from blurline.images import orientation as exif
from blurline.images.decode import Decoded

_SIDE = 256  # pixels that are enough: the hash looks at 32
_TILE = 512  # pixels, about, of a side of what is converted at once


def perceptual_hash(decoded: Decoded) -> str | None:
    """64 bits as 16 hex digits, of the image as displayed: ImageHash's `phash`, signs of the lowest DCT coefficients.

    None for colour modes without a plain conversion to RGB. No copy of the whole raster is made.
    """
    try:
        small = decode.to_rgb(_reduced(decoded.image))
    except decode.Undecodable:
        return None
    pixels = exif.to_displayed(small, decoded.info.orientation)
    return str(imagehash.phash(Image.fromarray(pixels).convert("L")))


def _reduced(image: Image.Image) -> Image.Image:
    """The stored raster with sides of `_SIDE` to 2 · `_SIDE` pixels, or as they are if they are shorter.

    Raises
    ------
    Undecodable
        For colour modes that have no plain conversion to RGB.
    """
    factors = (max(1, image.width // _SIDE), max(1, image.height // _SIDE))
    if image.mode in ("L", "RGB"):
        return image.reduce(factors)
    # Pillow reduces no palettes and no 16 bits, and mixes alpha into colours, so what is reduced is converted before.
    across, down = (factor * max(1, _TILE // factor) for factor in factors)
    whole: Image.Image | None = None
    for top in range(0, image.height, down):
        for left in range(0, image.width, across):
            box = (left, top, min(left + across, image.width), min(top + down, image.height))
            tile = _plain(image.crop(box)).reduce(factors)
            if whole is None:
                size = (-(-image.width // factors[0]), -(-image.height // factors[1]))
                whole = Image.new(tile.mode, size)
            whole.paste(tile, (left // factors[0], top // factors[1]))
    return whole or image


def _plain(image: Image.Image) -> Image.Image:
    """In a mode that `Image.reduce` takes. Samples of more than 8 bits stay: they are scaled by the whole's largest."""
    if image.mode == "F":
        return image
    return image.convert("I") if image.mode.startswith("I") else Image.fromarray(decode.to_rgb(image))
