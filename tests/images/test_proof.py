import numpy as np
import pytest

from blurline.images import CannotRelease, proof
from tests.images.samples import noise

EVERYWHERE = np.ones((40, 50), np.bool_)


def test_the_ratio_is_the_peak_signal_to_noise_ratio() -> None:
    flat = np.full((40, 50, 3), 100, np.uint8)
    assert proof.bounded(flat, flat, EVERYWHERE) is None
    assert proof.bounded(flat, flat + 1, EVERYWHERE) == pytest.approx(48.13, abs=0.01)  # 20 log10(255)
    assert proof.bounded(flat, flat + 10, EVERYWHERE) == pytest.approx(28.13, abs=0.01)
    with pytest.raises(CannotRelease, match=f"^{proof.CHANGED}$"):
        proof.bounded(flat, flat + 11, EVERYWHERE)


def test_only_what_is_outside_counts() -> None:
    one, other = noise(40, 50, 3), noise(40, 50, 3, seed=1)
    same = one.copy()
    same[:20] = other[:20]
    below = EVERYWHERE.copy()
    below[:20] = False
    assert proof.bounded(one, same, below) is None
    assert proof.bounded(one, other, ~EVERYWHERE) is None
    with pytest.raises(CannotRelease):
        proof.bounded(one, same, ~below)
