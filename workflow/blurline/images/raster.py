"""A picture's samples as a file stores them, whatever their kind, with blurred pixels put into their places."""

from dataclasses import dataclass, replace

import numpy as np

from blurline.images import decode, depth, transparency
from blurline.images.decode import Decoded
from blurline.images.errors import CannotRelease


@dataclass(frozen=True)
class Raster:
    """Samples in the *stored* frame: uint8 or uint16, (H, W) for mode L, (H, W, C) for LA, RGB, RGBA and CMYK.

    ``shift`` is what `depth.shift` said of uint16 colours as they came.
    """

    mode: str
    samples: np.ndarray
    shift: int = 0

    @property
    def alpha(self) -> np.ndarray | None:
        """The alpha plane, (H, W), if there is one."""
        return self.samples[:, :, -1] if self.mode in ("LA", "RGBA") else None

    @property
    def colours(self) -> np.ndarray:
        """All but alpha."""
        return self.samples if self.alpha is None else self.samples[:, :, :-1]


def of(decoded: Decoded) -> Raster:
    """The samples of an image; colours instead of indices where there is a palette.

    Raises
    ------
    CannotRelease
        For samples of a kind that is not released.
    """
    image = decoded.image
    if decoded.deep is not None:
        return _deep({2: "LA", 3: "RGB", 4: "RGBA"}[decoded.deep.shape[2]], decoded.deep)
    if image.mode.startswith("I;16"):
        return _deep("L", np.asarray(image).astype(np.uint16))
    if decoded.bits > 8:
        # Of floats and 32-bit numbers nobody knows which range a viewer will show.
        raise CannotRelease(f"samples of {decoded.bits} bits in this layout are not supported yet")
    if image.mode in ("LA", "RGBA", "CMYK"):
        return Raster(image.mode, np.asarray(image))
    if image.mode in ("1", "L"):
        mode, samples = "L", np.asarray(image.convert("L") if image.mode == "1" else image)
    elif image.mode in ("P", "RGB"):
        mode, samples = "RGB", decode.to_rgb(image)
    else:
        raise CannotRelease("colour mode not supported")
    if decoded.alpha is not None:  # of a palette, or by a colour that is clear
        return Raster(mode + "A", np.dstack([samples, decoded.alpha]))
    return Raster(mode, samples)


def _deep(mode: str, samples: np.ndarray) -> Raster:
    whole = Raster(mode, samples)
    return replace(whole, shift=depth.shift(whole.colours))


def without_hidden(raster: Raster, decoded: Decoded) -> Raster:
    """Colour under full transparency replaced by the ground that `decode.upright_rgb` shows.

    Raises
    ------
    CannotRelease
        When alpha is more than a cut-out, so that it may be, or hide, a picture.
    """
    if decoded.alpha is None or raster.alpha is None:
        return raster
    if not transparency.is_cut_out(decoded.alpha):
        raise CannotRelease("graded transparency is not supported yet")
    if not transparency.hides(raster.colours, decoded.alpha):
        return raster
    level = np.array(decode.ground(decoded), np.uint8)
    samples = raster.samples.copy()
    samples[:, :, :-1][decoded.alpha == 0] = _as(raster, level)
    return replace(raster, samples=samples)


def _as(raster: Raster, pixels: np.ndarray) -> np.ndarray:
    """uint8 pixels as samples of the raster's depth."""
    return depth.widen(pixels, raster.shift) if raster.samples.dtype == np.uint16 else pixels


def replaced(raster: Raster, pixels: np.ndarray, where: np.ndarray) -> Raster:
    """The raster with other pixels in some places, opaque there, and as it was in all others.

    Parameters
    ----------
    pixels
        uint8 in the stored frame, (H, W) for grey, else (H, W, 3), of the picture that `decode.upright_rgb` shows.
    where
        bool (H, W). All of a pixel is replaced: its low bits and its black plane as well.
    """
    new = _as(raster, pixels[where])
    if raster.mode == "CMYK":
        # Without black, which is the one way that every conversion agrees upon.
        new = np.hstack([255 - new, np.zeros((len(new), 1), np.uint8)])
    elif raster.alpha is not None:
        full = np.iinfo(raster.samples.dtype).max
        new = np.hstack([new.reshape(len(new), -1), np.full((len(new), 1), full, new.dtype)])
    samples = raster.samples.copy()
    samples[where] = new
    return replace(raster, samples=samples)


def as_rgb(colours: np.ndarray) -> np.ndarray:
    """Colours (H, W), (H, W, 1) or (H, W, 3) as (H, W, 3)."""
    planes = colours[:, :, None] if colours.ndim == 2 else colours
    return planes if planes.shape[2] == 3 else np.repeat(planes, 3, axis=2)
