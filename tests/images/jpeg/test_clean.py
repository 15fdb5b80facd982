import numpy as np
import pytest
from PIL import Image

from blurline.images import CannotRelease, proof
from blurline.images.containers import jpeg as container
from blurline.images.decode import Undecodable
from blurline.images.jpeg import libjpeg
from blurline.images.jpeg.clean import clean
from blurline.images.obfuscate import Target
from blurline.images.redact import redact
from tests.images.jpeg.test_jpeg_redact import KINDS
from tests.images.samples import (
    LIMITS,
    SECRETS,
    STYLE,
    leaky_jpeg,
    opened,
    photo,
    profile,
    saved,
    with_orientation,
)


@pytest.mark.parametrize("kind", [*KINDS, "leaky"])
def test_tables_and_scans_stay_byte_for_byte(kind: str) -> None:
    """And so does every pixel; here both are decoded."""
    data = leaky_jpeg(tag=6) if kind == "leaky" else KINDS[kind]
    result = clean(data, LIMITS)
    if kind != "leaky":  # which has other pictures' scans in its segments
        assert result.data.endswith(data[data.index(b"\xff\xda") : data.rindex(b"\xff\xd9")] + b"\xff\xd9")
    assert np.array_equal(np.asarray(opened(result.data)), np.asarray(opened(data)))
    assert not any(secret in result.data for secret in SECRETS)
    assert redact(data, [], STYLE, LIMITS) == result


def test_a_result_that_is_another_picture_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each property that is compared, broken once."""
    data = saved(photo(), "JPEG", keep_rgb=True)
    good = clean(data, LIMITS).data
    adobe = good.index(b"Adobe")
    first = good.index(b"\xff\xda")
    flipped = bytearray(good)
    flipped[first + 40] ^= 1
    table = bytearray(good)
    table[good.index(b"\xff\xdb") + 8] ^= 1
    for wrong in (
        bytes(flipped),
        bytes(table),
        good[: adobe + 11] + b"\1" + good[adobe + 12 :],
        good[: adobe - 4] + good[adobe + 12 :],
        saved(photo(), "JPEG", keep_rgb=True, icc_profile=profile()),
        with_orientation(photo(), "JPEG", 3, keep_rgb=True),
        saved(photo()[:-8], "JPEG", keep_rgb=True),
        saved(photo(), "JPEG"),
        good[:-2] + bytes(50) + good[-2:],
    ):
        assert wrong != good
        with monkeypatch.context() as patch:
            patch.setattr(container, "strip", lambda *_, wrong=wrong: wrong)
            with pytest.raises(CannotRelease, match=f"^({proof.DIFFERS}|{libjpeg.KEPT}|{libjpeg.DAMAGED})$"):
                clean(data, LIMITS)
    assert clean(data, LIMITS).data == good


def shorter(data: bytes, rows: int) -> bytes:
    """The same with a header that says fewer rows: what decoders show is the top."""
    at = next(at for at in (data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) if at > 0) + 5
    return data[:at] + rows.to_bytes(2) + data[at + 2 :]


@pytest.mark.parametrize("kind", ["420", "grey", "cmyk", "progressive", "restarts"])
def test_what_no_decoder_shows_does_not_leave(kind: str) -> None:
    data = KINDS[kind]
    hidden = saved(photo(), "JPEG").replace(b"\xff", b"\xff\0")
    for holding in (shorter(data, 16), data[:-2] + hidden + data[-2:]):
        result = clean(holding, LIMITS).data
        assert np.array_equal(np.asarray(opened(result)), np.asarray(opened(holding)))
        assert len(result) < len(data) * (0.2 if holding is not None and opened(holding).height == 16 else 1.05)
        assert hidden[200:300] not in result
        assert clean(result, LIMITS).data == result
        blurred = redact(holding, [Target(2, 2, 14, 14)], STYLE, LIMITS).data
        assert len(blurred) < 1.05 * len(result) + 1000


def test_no_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", refuse)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    assert clean(KINDS["420"], LIMITS).data


def test_what_is_no_jpeg_is_refused() -> None:
    for data in (saved(photo(), "PNG"), b"\xff\xd8\xff", b""):
        with pytest.raises(Undecodable):
            clean(data, LIMITS)
