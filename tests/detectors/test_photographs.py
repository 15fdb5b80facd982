"""Coverage of the annotated photographs in ../shared, where a checkout has them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blurline.detectors.yolo import Detection

from .conftest import detector

FACES = Path(__file__).parents[3] / "shared/faces"

pytestmark = pytest.mark.skipif(not FACES.is_dir(), reason="../shared/faces is absent")


def covers(found: Detection, face: list[float]) -> bool:
    """At least 80 % of the face lies in the box grown on every side by a tenth of its longer side."""
    x, y, width, height = face
    grow = 0.1 * max(found.x2 - found.x1, found.y2 - found.y1)
    wide = min(found.x2 + grow, x + width) - max(found.x1 - grow, x)
    high = min(found.y2 + grow, y + height) - max(found.y1 - grow, y)
    return wide > 0 and high > 0 and wide * high >= 0.8 * width * height


@pytest.mark.parametrize("image_size", [640, 1024])
@pytest.mark.parametrize("shrink", [1, 4])
def test_every_annotated_face_is_covered(face_model: Path, image_size: int, shrink: int) -> None:
    """Also in pictures of a quarter of the size, with faces of 9 pixels, since small pictures are enlarged."""
    photographs = json.loads((FACES / "annotations.json").read_text())["images"]
    images = []
    for photograph in photographs:
        image = Image.open(FACES / photograph["file"]).convert("RGB")
        size = (image.width // shrink, image.height // shrink)
        images.append(np.asarray(image.resize(size, Image.Resampling.BOX)))
    answers = detector(face_model, image_size=image_size, candidate=0.4).detect(images)
    for photograph, found in zip(photographs, answers, strict=True):
        assert isinstance(found, list)
        for face in photograph["faces"]:
            scaled = [side / shrink for side in face]
            assert any(covers(one, scaled) for one in found), (photograph["file"], face)
