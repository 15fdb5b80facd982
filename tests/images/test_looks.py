import numpy as np
import pytest
from PIL import Image

from blurline.images import decode, looks
from tests.images.samples import FACE, LIMITS, astronaut, photo, saved


def shown(data: bytes) -> np.ndarray:
    return looks.for_detection(decode.load(data, LIMITS))


def test_others_are_shown_as_they_are() -> None:
    for data in (saved(photo(), "JPEG"), saved(photo(), "PNG"), saved(Image.fromarray(photo()).convert("P"), "GIF")):
        assert np.array_equal(shown(data), decode.decode_rgb(data, LIMITS))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_dots_become_greys(file_format: str) -> None:
    grey = Image.fromarray(astronaut()).convert("L")
    data = saved(grey.convert("1"), file_format)
    want = np.asarray(grey)[FACE[1] : FACE[3], FACE[0] : FACE[2]].ravel()
    errors = [
        np.corrcoef(picture[FACE[1] : FACE[3], FACE[0] : FACE[2], 0].ravel(), want)[0, 1]
        for picture in (shown(data), decode.decode_rgb(data, LIMITS))
    ]
    assert errors[0] > 0.9 > errors[1]


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_one_bright_pixel_blinds_nobody(bits: int) -> None:
    """A picture of fewer bits in 16, and a mark at full white."""
    samples = astronaut()[:, :, 0].astype(np.uint16) << (bits - 8)
    samples[3, 3] = 65535
    data = saved(Image.fromarray(samples), "PNG")
    assert decode.decode_rgb(data, LIMITS)[100:400, 100:400].max() < 16
    got = shown(data)[:, :, 1].astype(int)
    assert got[3, 3] == 255
    got[3, 3] = astronaut()[3, 3, 0]
    assert np.abs(got - astronaut()[:, :, 0]).max() <= 1


def test_full_range_stays() -> None:
    data = saved(Image.fromarray(astronaut()[:, :, 0].astype(np.uint16) * 257), "PNG")
    assert np.array_equal(shown(data), decode.decode_rgb(data, LIMITS))
