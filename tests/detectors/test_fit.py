import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blurline.detectors.fit import GREY, MAX_ENLARGEMENT, fit

sides = st.integers(1, 5000)


@given(sides, sides, st.sampled_from([320, 640, 1024, 1000]), st.sampled_from([None, (640, 640), (384, 640)]))
def test_an_image_fits_and_its_frame_maps_back(
    height: int, width: int, image_size: int, canvas: tuple[int, int] | None
) -> None:
    place = fit(height, width, image_size=image_size, stride=32, canvas=canvas)
    assert 1 <= place.inner_width <= place.canvas_width and 1 <= place.inner_height <= place.canvas_height
    assert place.inner_width <= width * MAX_ENLARGEMENT + 1
    if canvas:
        assert (place.canvas_height, place.canvas_width) == canvas
    else:
        assert place.canvas_width % 32 == place.canvas_height % 32 == 0
        assert max(place.inner_width, place.inner_height) == min(image_size, max(height, width) * MAX_ENLARGEMENT)
    assert place.back(0, 0, place.inner_width, place.inner_height) == (0, 0, width, height)


@given(sides, sides, st.lists(st.floats(-100, 1200), min_size=4, max_size=4))
def test_boxes_are_rounded_outward_and_clipped(height: int, width: int, corners: list[float]) -> None:
    x1, x2 = sorted(corners[:2])
    y1, y2 = sorted(corners[2:])
    place = fit(height, width, image_size=1024, stride=32)
    back = place.back(x1, y1, x2, y2)
    if back is None:
        outside_x = x2 <= 0 or x1 >= place.inner_width
        assert outside_x or y2 <= 0 or y1 >= place.inner_height
        return
    assert 0 <= back[0] < back[2] <= width and 0 <= back[1] < back[3] <= height
    scale = width / place.inner_width
    assert back[0] <= max(0, x1 * scale) and back[2] >= min(width, x2 * scale)


def test_the_picture_is_top_left_and_the_rest_is_grey() -> None:
    image = np.zeros((100, 50, 3), np.uint8)
    place = fit(100, 50, image_size=320, stride=32)
    canvas = place.place(image)
    assert canvas.shape == (320, 160, 3)
    assert not canvas[:320, :160].any()
    place = fit(100, 30, image_size=320, stride=32)
    canvas = place.place(image[:, :30])
    assert canvas.shape == (320, 96, 3) and (place.inner_width, place.canvas_width) == (96, 96)
    place = fit(100, 33, image_size=320, stride=32)
    canvas = place.place(image[:, :33])
    assert canvas.shape == (320, 128, 3) and place.inner_width == 106
    assert not canvas[:, :106].any() and (canvas[:, 106:] == GREY).all()


def test_a_point_still_marks_a_pixel_but_the_padding_marks_none() -> None:
    place = fit(1000, 1000, image_size=1000, stride=32)
    assert place.back(7, 7, 7, 7) == (7, 7, 8, 8)
    assert place.back(1000, 10, 1020, 20) is None
    assert place.back(-20, 10, 0, 20) is None
