"""Colour profiles: the transform stays, to the last bit, and every other word of them goes."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from blurline.images.containers import icc
from tests.images.samples import noise, profile, table_profile


def cleaned(data: bytes) -> bytes:
    result = icc.clean(data)
    assert result is not None
    return result


def shown(icc_profile: bytes, intent: int) -> bytes:
    """Noise as seen through a profile."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
    lab = ImageCms.createProfile("LAB")
    picture = Image.fromarray(noise(64, 64, 3))
    seen = ImageCms.profileToProfile(picture, source, lab, ImageCms.Intent(intent), outputMode="LAB")
    assert seen is not None
    return seen.tobytes()


@pytest.mark.parametrize("intent", range(4))
@pytest.mark.parametrize("original", [profile(), table_profile()], ids=["curves", "table"])
def test_colours_look_the_same(original: bytes, intent: int) -> None:
    clean = cleaned(original)
    assert shown(clean, intent) == shown(original, intent)


def test_profiles_of_other_colours_look_different() -> None:
    """What the test above compares does depend on the profile."""
    assert shown(cleaned(profile()), 0) != shown(cleaned(table_profile()), 0)


@pytest.mark.parametrize("original", [profile(), table_profile()], ids=["curves", "table"])
def test_nothing_but_colours_stays(original: bytes) -> None:
    clean = cleaned(original)
    (count,) = struct.unpack_from(">I", clean, 128)
    entries = [struct.unpack_from(">4sII", clean, 132 + 12 * index) for index in range(count)]
    assert {name for name, _, _ in entries} <= set(
        b"desc cprt wtpt bkpt chad rXYZ gXYZ bXYZ rTRC gTRC bTRC A2B0".split()
    )
    assert struct.unpack_from(">I", clean)[0] == len(clean)
    assert not any(clean[4:8] + clean[40:64] + clean[80:128])
    assert struct.unpack_from(">6H", clean, 24) == (2000, 1, 1, 0, 0, 0)
    covered = np.zeros(len(clean), np.bool_)
    covered[: 132 + 12 * count] = True
    for _, start, length in entries:
        covered[start : start + length] = True
        assert clean[start + 4 : start + 8] == bytes(4)
    assert not any(np.frombuffer(clean, np.uint8)[~covered])
    for secret in (b"SECR", b"lcms", b"sRGB"):
        assert secret not in clean
    assert ImageCms.getProfileName(ImageCms.ImageCmsProfile(io.BytesIO(clean))).strip() == "colour profile"


def test_what_is_clean_stays_as_it_is() -> None:
    for original in (profile(), table_profile()):
        assert icc.clean(cleaned(original)) == cleaned(original)


def test_the_device_does_not_show() -> None:
    """Two cameras whose profiles transform colours alike have one profile afterwards."""
    assert cleaned(table_profile(b"SECRET")) == cleaned(table_profile(b"OTHER!"))


def test_no_profiles() -> None:
    good = profile()
    for bad in (None, "text", b"", good[:100], good[:-1], good.replace(b"acsp", b"xxxx")):
        assert icc.clean(bad) is None
    assert icc.clean(good[:12] + b"link" + good[16:]) is None
    for count in (0, 1_000_000):
        assert icc.clean(good[:128] + struct.pack(">I", count) + good[132:]) is None
    assert icc.clean(good[:136] + struct.pack(">I", 2**32 - 4) + good[140:]) is None


def test_damage_raises_nothing() -> None:
    random = np.random.default_rng(2)
    for original in (profile(), table_profile()):
        for _ in range(300):
            bad = bytearray(original)
            for at in random.integers(0, 400, random.integers(1, 6)):
                bad[at] = random.integers(256)
            clean = icc.clean(bytes(bad))
            assert clean is None or icc.clean(clean) == clean
