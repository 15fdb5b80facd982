import numpy as np
import pytest
from scipy.fft import dctn

from blurline.images.jpeg import dct
from tests.images.samples import astronaut, noise


def test_the_transform_is_the_orthonormal_dct() -> None:
    """Against scipy's, in floats: a coefficient may differ by one step only where it lies between two."""
    table = np.arange(1, 65)
    picture = astronaut()[:64, :72, 0].reshape(-1, 64)
    for blocks in (picture, noise(72, 64), np.zeros((1, 64), np.uint8), np.full((2, 64), 255, np.uint8)):
        got = dct.transformed(blocks.astype(np.int64), table)
        for block, coefficients in zip(blocks, got, strict=True):
            exact = dctn(block.reshape(8, 8).astype(float) - 128, norm="ortho").ravel() / table
            assert np.abs(coefficients - exact).max() < 0.501


@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_subsampling_takes_means(across: int, down: int) -> None:
    plane = noise(16, 32)
    want = [[plane[y : y + down, x : x + across].mean() for x in range(0, 32, across)] for y in range(0, 16, down)]
    assert np.abs(dct.reduced(plane, across, down) - np.array(want)).max() <= 0.5
