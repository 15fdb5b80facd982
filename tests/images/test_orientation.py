import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from blurline.images import orientation
from tests.images.samples import exif_with_secrets, noise

ALL_TAGS = range(1, 9)


@pytest.mark.parametrize("tag", ALL_TAGS)
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_turning_is_what_pillow_does(tag: int, shape: tuple[int, ...]) -> None:
    stored = noise(*shape)
    image = Image.fromarray(stored)
    image.getexif()[274] = tag
    shown = orientation.to_displayed(stored, tag)
    assert np.array_equal(shown, np.asarray(ImageOps.exif_transpose(image)))
    assert np.array_equal(orientation.to_stored(shown, tag), stored)


@pytest.mark.parametrize("tag", ALL_TAGS)
def test_minimal_exif_holds_the_tag_and_nothing_else(tag: int) -> None:
    block = orientation.minimal(tag)
    assert len(block) == 26
    assert orientation.read(block) == orientation.read(orientation.PREFIX + block) == tag
    exif = Image.Exif()
    exif.load(orientation.PREFIX + block)
    assert dict(exif) == {274: tag}


@pytest.mark.parametrize("tag", ALL_TAGS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "code"), [(1, "B"), (3, "H"), (4, "I")])
def test_both_byte_orders_and_all_integer_types(tag: int, order: str, kind: int, code: str) -> None:
    value = struct.pack(order + code, tag).ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 12) + bytes(4)
    other = struct.pack(order + "HHI4s", 271, 2, 1, b"x\0\0\0")
    block = head + struct.pack(order + "H", 2) + other + struct.pack(order + "HHI", 274, kind, 1) + value
    assert orientation.read(block) == tag


def test_broken_blocks_mean_upright() -> None:
    whole = exif_with_secrets(6)
    assert orientation.read(whole) == 6
    for cut in range(20):  # the value ends there
        assert orientation.read(orientation.minimal(6)[:cut]) == 1
    assert orientation.read(b"MM\0*\xff\xff\xff\xff") == 1
    for value in (0, 9, 255):
        assert orientation.read(orientation.minimal(value)) == 1
    assert [orientation.valid(v) for v in (1, 8, 0, 9, True, "6", (6,), None)] == [
        1,
        8,
        None,
        None,
        None,
        None,
        None,
        None,
    ]
