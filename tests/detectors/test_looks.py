"""With the real detector: what would hide a face from it, and from nobody else, does not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurline.images import decode, looks
from tests.detectors.conftest import detector, photo
from tests.images.samples import LIMITS, saved


def dithered() -> bytes:
    return saved(Image.fromarray(photo("astronaut")).convert("L").resize((300, 300)).convert("1"), "PNG")


def dim() -> bytes:
    samples = photo("astronaut")[:, :, 0].astype(np.uint16)
    samples[3, 3] = 65535
    return saved(Image.fromarray(samples), "PNG")


@pytest.mark.parametrize("data", [dithered(), dim()], ids=["dithered", "dim"])
def test_the_face_is_found(face_model: Path, data: bytes) -> None:
    decoded = decode.load(data, LIMITS)
    pictures = [looks.for_detection(decoded), decode.upright_rgb(decoded)]
    shown, plain = (
        max((one.score for one in found), default=0.0)  # type: ignore[union-attr]
        for found in detector(face_model, image_size=640).detect(iter(pictures))
    )
    assert shown > 0.8 > plain
