import numpy as np
import pytest

from blurline.images.jpeg.blocks import _touched, _with_neighbours


@pytest.mark.parametrize("cell", [(8, 8), (16, 16), (16, 8), (8, 16), (32, 8)])
@pytest.mark.parametrize("shape", [(375, 500), (7, 3), (8, 8), (64, 65)])
def test_a_block_is_touched_if_it_holds_a_changed_pixel(shape: tuple[int, int], cell: tuple[int, int]) -> None:
    changed = np.random.default_rng(0).random(shape) < 0.003
    width, height = cell
    want = np.zeros((-(-shape[0] // height), -(-shape[1] // width)), np.bool_)
    for y, x in np.argwhere(changed):
        want[y // height, x // width] = True
    assert np.array_equal(_touched(changed, cell), want)


def test_neighbours_are_all_eight() -> None:
    touched = np.zeros((5, 6), np.bool_)
    touched[2, 3] = True
    grown = _with_neighbours(touched)
    ys, xs = np.nonzero(grown)
    assert (ys.min(), ys.max(), xs.min(), xs.max(), grown.sum()) == (1, 3, 2, 4, 9)
