"""A face that moves through the frames of a file is found in each of them where it is, and only there."""

from pathlib import Path

import pytest

from blurline.boxes import Box
from blurline.detectors.yolo import Picture
from blurline.images.decode import frames, upright_rgb
from tests.images.moving import KINDS, LIMITS, PLACES, face

from .conftest import detector


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "apng grey"])
def test_the_face_is_found_in_every_frame_that_has_it(face_model: Path, kind: str) -> None:
    pictures = (Picture(upright_rgb(one), one.oriented) for one in frames(KINDS[kind], LIMITS))
    answers = list(detector(face_model, image_size=640, candidate=0.5).detect(pictures))
    assert len(answers) == len(PLACES)
    for found, left in zip(answers, PLACES, strict=True):
        assert isinstance(found, list)
        places = [Box(one.x1, one.y1, one.x2, one.y2) for one in found]
        assert len(places) == (left is not None)
        assert left is None or places[0].iou(Box(*face(left))) > 0.5
