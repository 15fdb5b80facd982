"""What detectors are shown of an image, where that is not what people are shown."""

import numpy as np
from PIL import Image, ImageFilter

from blurline.images import decode, depth
from blurline.images import orientation as exif
from blurline.images.decode import Decoded

_DITHER = 1.0  # pixels: sigma that turns the dots of a dithered picture into greys
_BRIGHTEST = 99.5  # per cent of the samples that are not over what counts as the brightest


def for_detection(decoded: Decoded) -> np.ndarray:
    """The picture as displayed, for detectors: uint8, shape (H, W, 3), RGB.

    Dithered pictures, of one bit, are smoothed: their dots hide faces from detectors, not from people. Samples of more
    than 8 bits that lie far below a few bright pixels (a burnt-in mark, a hot pixel) are brightened: whoever gets the
    file may do so too.
    """
    if decoded.image.mode == "1":
        grey = decoded.image.convert("L").filter(ImageFilter.GaussianBlur(_DITHER))
        smooth = np.repeat(np.asarray(grey)[:, :, None], 3, axis=2)
        return np.ascontiguousarray(exif.to_displayed(smooth, decoded.info.orientation))
    samples = decoded.deep if decoded.deep is not None else _wide(decoded.image)
    if samples is None or decoded.alpha is not None:
        return decode.upright_rgb(decoded)
    top = int(np.percentile(samples, _BRIGHTEST))
    bits = max(0, top.bit_length() - 8)
    if bits >= depth.shift(samples):
        return decode.upright_rgb(decoded)
    plain = np.minimum(samples.astype(np.int64) >> bits, 255).astype(np.uint8)
    plain = plain[:, :, None] if plain.ndim == 2 else plain[:, :, :3] if plain.shape[2] > 2 else plain[:, :, :1]
    shown = plain if plain.shape[2] == 3 else np.repeat(plain, 3, axis=2)
    return np.ascontiguousarray(exif.to_displayed(shown, decoded.info.orientation))


def _wide(image: Image.Image) -> np.ndarray | None:
    """Unsigned samples of more than 8 bits that Pillow keeps, (H, W)."""
    return np.maximum(np.asarray(image), 0) if image.mode.startswith("I") else None
