"""The metadata gate: nothing beside the picture leaves but what the parameter keeps, from any format."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from blurline.images.containers import Metadata
from blurline.images.decode import decode_rgb, inspect
from blurline.images.obfuscate import Target, touched
from blurline.images.redact import redact
from tests.images import walkers
from tests.images.leaky import leaky_bmp, leaky_gif, leaky_mpo, leaky_tiff
from tests.images.samples import (
    LIMITS,
    SECRETS,
    STYLE,
    leaky_jpeg,
    leaky_png,
    leaky_webp,
    noise,
    opened,
    photo,
    saved,
    segment,
    table_profile,
    with_chunks,
)


def full_jpeg(tag: int = 1) -> bytes:
    return leaky_jpeg(tag=tag, icc_profile=table_profile())


def full_png(tag: int = 1) -> bytes:
    return leaky_png(tag=tag, icc_profile=table_profile(), dpi=(300, 200))


def full_webp(tag: int = 1) -> bytes:
    return leaky_webp(tag=tag, icc_profile=table_profile())


def lossless_webp(tag: int = 1) -> bytes:
    return leaky_webp(tag=tag, icc_profile=table_profile(), lossless=True)


LEAKY: dict[str, Callable[..., bytes]] = {
    "JPEG": full_jpeg,
    "PNG": full_png,
    "WEBP": full_webp,
    "WEBP lossless": lossless_webp,
    "TIFF": leaky_tiff,
    "BMP": leaky_bmp,
    "GIF": leaky_gif,
    "JPEG MPO": leaky_mpo,
}
TURNABLE = ("JPEG", "PNG", "WEBP", "WEBP lossless", "TIFF")
CASES = [(kind, tag) for kind in LEAKY for tag in (range(1, 9) if kind in TURNABLE else (1,))]
FACES = [Target(20, 25, 50, 60)]


@pytest.mark.parametrize("targets", [[], FACES], ids=["no faces", "faces"])
@pytest.mark.parametrize(("kind", "tag"), CASES)
def test_nothing_outside_the_whitelist_leaves(kind: str, tag: int, targets: list[Target]) -> None:
    data, file_format = LEAKY[kind](tag=tag), kind.split()[0]
    assert b"SECRET" in data
    assert walkers.extras(data, file_format, "keep-safe")
    before = decode_rgb(data, LIMITS)
    for metadata in ("keep-safe", "strip"):
        choice: Metadata = "keep-safe" if metadata == "keep-safe" else "strip"
        result = redact(data, targets, STYLE, LIMITS, choice)
        assert walkers.extras(result.data, file_format, metadata) == []
        for secret in (*SECRETS, b"SECR"):
            assert secret not in result.data
        info = inspect(result.data, LIMITS)
        assert info == inspect(data, LIMITS) or (targets and file_format == "GIF")
        assert info.orientation == tag
        after = decode_rgb(result.data, LIMITS)
        assert np.array_equal(after, np.asarray(ImageOps.exif_transpose(opened(result.data)).convert("RGB")))
        outside = ~touched(result.regions, info.width, info.height)
        if not targets or kind not in ("JPEG", "JPEG MPO", "WEBP"):
            assert np.array_equal(after[outside], before[outside])
        assert bool(targets) != np.array_equal(after, before)


@pytest.mark.parametrize("targets", [[], FACES], ids=["no faces", "faces"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_density_stays_if_it_may(kind: str, targets: list[Target]) -> None:
    kept = opened(redact(LEAKY[kind](), targets, STYLE, LIMITS).data)
    assert kept.info["dpi"] == pytest.approx((300, 200), abs=0.1)
    gone = opened(redact(LEAKY[kind](), targets, STYLE, LIMITS, "strip").data)
    assert gone.info.get("dpi") in (None, (1, 1), (0, 0))


@pytest.mark.parametrize("targets", [[], FACES], ids=["no faces", "faces"])
def test_of_several_pictures_in_a_jpeg_the_first_leaves(targets: list[Target]) -> None:
    data = leaky_mpo()
    assert Image.open(io.BytesIO(data)).format == "MPO"
    second = data.rindex(b"\xff\xd8\xff")
    result = redact(data, targets, STYLE, LIMITS)
    assert Image.open(io.BytesIO(result.data)).format == "JPEG"
    assert result.data.count(b"\xff\xd8\xff") == 1
    assert data[second + 700 : second + 800] not in result.data
    if not targets:
        assert np.array_equal(np.asarray(opened(result.data)), np.asarray(opened(data)))


@pytest.mark.parametrize("targets", [[], FACES], ids=["no faces", "faces"])
@pytest.mark.parametrize("kind", TURNABLE[:4])
def test_broken_exif_goes_like_any_other(kind: str, targets: list[Target]) -> None:
    """Lying counts and offsets, a loop of directories, cut short, empty, no EXIF at all."""
    whole = b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HHII", 271, 2, 1 << 30, 8) + struct.pack("<HHII", 274, 3, 1, 6)
    loop = whole + struct.pack("<I", 8)
    for block in (
        whole,
        loop,
        whole[:15],
        b"",
        b"SECRET",
        whole[:4] + b"\xff\xff\xff\x7f",
        b"MM\0*" + noise(90).tobytes(),
    ):
        exif = b"Exif\0\0" + block
        if kind == "JPEG":
            plain = saved(photo(), "JPEG")
            data = plain[:2] + segment(0xE1, exif) + plain[2:]
        elif kind == "PNG":
            plain = saved(photo(), "PNG")
            chunk = struct.pack(">I", len(block)) + b"eXIf" + block
            data = with_chunks(plain, chunk + struct.pack(">I", zlib.crc32(b"eXIf" + block)))
        else:
            data = saved(photo(), "WEBP", exif=exif or b" ", lossless=kind != "WEBP")
        result = redact(data, targets, STYLE, LIMITS)
        assert walkers.extras(result.data, kind.split()[0], "keep-safe") == []
        assert inspect(result.data, LIMITS) == inspect(data, LIMITS)


def test_the_walkers_find_what_is_planted() -> None:
    """A check that finds nothing is worth what it finds when something is there."""
    for kind, leaky in LEAKY.items():
        file_format = kind.split()[0]
        clean = redact(leaky(), [], STYLE, LIMITS, "strip").data
        assert walkers.extras(clean + b"x", file_format, "strip")
        assert len(walkers.extras(leaky(), file_format, "strip")) > len(walkers.extras(clean, file_format, "strip"))
