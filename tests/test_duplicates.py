"""Copies are found: the same bytes, and nearly the same picture."""

import io
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import skimage
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from blurline import duplicates
from blurline.images import decode
from blurline.images.likeness import perceptual_hash

LIMITS = decode.Limits(10**8, 10**8)
PICTURES = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")


def encoded(image: Image.Image, kind: str, **more: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **more)
    return data.getvalue()


def bits(data: bytes) -> int:
    found = perceptual_hash(decode.load(data, LIMITS))
    assert found is not None
    assert len(found) == 16
    return int(found, 16)


def picture(name: str) -> Image.Image:
    with Image.open(Path(skimage.__file__).parent / "data" / name) as opened:
        return opened.convert("RGB")


@pytest.mark.parametrize("name", PICTURES)
def test_copies_that_were_resized_or_encoded_anew_are_near(name: str) -> None:
    original = picture(name)
    one = bits(encoded(original, "PNG"))
    small = original.resize((original.width * 2 // 3, original.height * 2 // 3))
    for other in (encoded(original, "JPEG", quality=70), encoded(small, "JPEG", quality=85), encoded(small, "WEBP")):
        assert (one ^ bits(other)).bit_count() <= duplicates.NEAR


def test_other_pictures_are_not_near() -> None:
    hashes = [bits(encoded(picture(name), "PNG")) for name in PICTURES]
    hashes.append(bits(encoded(picture(PICTURES[0]).transpose(Image.Transpose.FLIP_LEFT_RIGHT), "PNG")))
    for i, one in enumerate(hashes):
        for other in hashes[:i]:
            assert (one ^ other).bit_count() > 3 * duplicates.NEAR


def test_the_hash_is_of_the_image_as_displayed() -> None:
    turned = picture("coffee.png").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise for display
    stored = encoded(turned, "JPEG", quality=95, exif=exif.tobytes())
    assert (bits(stored) ^ bits(encoded(picture("coffee.png"), "PNG"))).bit_count() <= duplicates.NEAR


def test_modes_without_a_conversion_have_no_hash() -> None:
    decoded = decode.load(encoded(Image.new("RGB", (40, 40)), "PNG"), LIMITS)
    assert perceptual_hash(decoded) is not None
    assert perceptual_hash(replace(decoded, image=Image.new("La", (40, 40)))) is None


def table(hashes: list[int]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "image_id": [str(n) for n in range(len(hashes))],
            "sha256": [f"{n:064x}" for n in range(len(hashes))],
            "phash": [f"{value:016x}" for value in hashes],
        },
        schema=dict.fromkeys(("image_id", "sha256", "phash"), pl.String),
    )


BASES = st.sampled_from([0, 2**64 - 1, 0x0123456789ABCDEF, 0xFEDCBA9876543210])
HASHES = st.lists(
    st.builds(
        lambda base, flips: base ^ sum(1 << flip for flip in flips),
        BASES,
        st.sets(st.integers(0, 63), max_size=4),
    ),
    max_size=12,
)


@given(hashes=HASHES)
def test_groups_are_those_of_comparing_all_with_all(hashes: list[int]) -> None:
    groups = [{n} for n in range(len(hashes))]
    for i, one in enumerate(hashes):
        for j, other in enumerate(hashes[:i]):
            if (one ^ other).bit_count() <= duplicates.NEAR and groups[i] is not groups[j]:
                joined = groups[i] | groups[j]
                for member in joined:
                    groups[member] = joined
    wanted = {frozenset(map(str, group)) for group in groups if len(group) > 1}
    found = duplicates.near(table(hashes))
    assert {frozenset(group) for group in found} == wanted
    assert len(found) == len(wanted)


def test_exact_copies_count_once() -> None:
    rows = table([0, 1, 2**64 - 1, 0]).with_columns(
        sha256=pl.Series(["a" * 64, "b" * 64, None, "a" * 64]),
        phash=pl.Series(["0" * 16, "0" * 15 + "1", None, "0" * 16]),
    )
    assert duplicates.exact(rows) == [["0", "3"]]
    assert duplicates.near(rows) == [["0", "1"]]
    assert duplicates.count(rows) == {"exact_copies": 1, "near_copies": 1}
    assert duplicates.describe({"exact": [["0", "3"]], "near": []}) == (
        "the same bytes: 1 groups\n  0, 3\nnearly the same picture: 0 groups"
    )
