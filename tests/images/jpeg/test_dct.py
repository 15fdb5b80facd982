import numpy as np
import pytest
from scipy.fft import dctn

from blurline.images.jpeg import dct
from tests.images.samples import astronaut, noise


def test_the_transform_is_the_orthonormal_dct() -> None:
    """Against scipy's, in floats: a coefficient may differ by one step only where it lies between two."""
    for plane in (astronaut()[:64, :72, 0], noise(64, 72), np.zeros((8, 8), np.uint8), np.full((8, 16), 255, np.uint8)):
        table = np.arange(1, 65)
        got = dct.transformed(plane.astype(np.int64), table)
        for row, column in np.ndindex(got.shape[:2]):
            block = plane[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].astype(float) - 128
            exact = dctn(block, norm="ortho").ravel() / table
            assert np.abs(got[row, column] - exact).max() < 0.501


@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_subsampling_takes_means(across: int, down: int) -> None:
    plane = noise(16, 32)
    want = [[plane[y : y + down, x : x + across].mean() for x in range(0, 32, across)] for y in range(0, 16, down)]
    assert np.abs(dct.reduced(plane, across, down) - np.array(want)).max() <= 0.5
