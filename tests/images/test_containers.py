import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from blurline.images import CannotRelease, containers
from blurline.images.containers import icc, jpeg, png, webp
from tests.images.samples import (
    SECRETS,
    leaky_jpeg,
    leaky_png,
    leaky_webp,
    noise,
    opened,
    photo,
    png_chunk,
    profile,
    saved,
    segment,
    table_profile,
    with_chunks,
)

LEAKY = {"JPEG": leaky_jpeg, "PNG": leaky_png, "WEBP": leaky_webp}


def reason(data: bytes, file_format: str) -> str:
    with pytest.raises(CannotRelease) as caught:
        containers.strip(data, file_format, 1)
    return caught.value.reason


@pytest.mark.parametrize("file_format", LEAKY)
@pytest.mark.parametrize("tag", [1, 6])
def test_nothing_leaks_and_no_pixel_changes(file_format: str, tag: int) -> None:
    data = LEAKY[file_format](tag=tag)
    assert data.count(b"SECRET") >= 4
    clean = containers.strip(data, file_format, tag)
    for secret in SECRETS:
        assert secret not in clean
    image = opened(clean)
    assert np.array_equal(np.asarray(image), np.asarray(opened(data)))
    assert dict(image.getexif()) == ({274: 6} if tag == 6 else {})
    assert not image.getexif().get_ifd(0x8825)
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "gamma", "exif"} | {
        "loop",
        "background",
        "timestamp",
        "duration",
    }
    assert containers.strip(clean, file_format, tag) == clean


@pytest.mark.parametrize("file_format", LEAKY)
def test_profiles_stay(file_format: str) -> None:
    for icc_profile in (profile(), table_profile()):
        data = saved(photo(), file_format, icc_profile=icc_profile)
        clean = containers.strip(data, file_format, 1)
        assert opened(clean).info["icc_profile"] == icc.clean(icc_profile)
        assert opened(containers.strip(data, file_format, 1, "strip")).info.get("icc_profile") is None


@pytest.mark.parametrize("file_format", LEAKY)
def test_what_only_claims_to_be_a_profile_goes(file_format: str) -> None:
    secret = b"SECRET " + noise(500).tobytes()
    data = saved(photo(), file_format, icc_profile=secret)
    clean = containers.strip(data, file_format, 1)
    assert b"SECRET" not in clean
    assert opened(clean).info.get("icc_profile") is None
    padded = saved(photo(), file_format, icc_profile=profile() + secret)
    assert opened(containers.strip(padded, file_format, 1)).info["icc_profile"] == icc.clean(profile())


# JPEG


def test_jpeg_variants_stay_as_they_are() -> None:
    grey = photo()[:, :, 0]
    cmyk = Image.fromarray(photo()).convert("CMYK")
    for data in (
        saved(photo(), "JPEG", progressive=True),
        saved(photo(), "JPEG", subsampling=0, quality=95),
        saved(photo(), "JPEG", restart_marker_rows=1),
        saved(photo(), "JPEG", keep_rgb=True),
        saved(grey, "JPEG"),
        saved(cmyk, "JPEG"),
    ):
        clean = containers.strip(data, "JPEG", 1)
        assert np.array_equal(np.asarray(opened(clean)), np.asarray(opened(data)))
        assert opened(clean).mode == opened(data).mode


def test_a_plain_jpeg_comes_back_byte_for_byte() -> None:
    data = saved(photo(), "JPEG", dpi=(72, 72))
    assert containers.strip(data, "JPEG", 1) == data


def test_jfif_density_stays_and_its_thumbnail_goes() -> None:
    clean = containers.strip(leaky_jpeg(), "JPEG", 1)
    assert clean[2:20] == segment(0xE0, b"JFIF\0\1\2\1\0\x48\0\x48\0\0")


def test_adobe_keeps_only_its_transform() -> None:
    data = saved(photo(), "JPEG", keep_rgb=True)
    at = data.index(b"Adobe") - 4
    marked = data[:at] + segment(0xEE, b"Adobe\0\x64\x5e\xc7\x5e\xc7\0SECRET") + data[at + 16 :]
    clean = containers.strip(marked, "JPEG", 1)
    assert clean == data
    assert np.array_equal(np.asarray(opened(clean)), np.asarray(opened(marked)))


def test_jpeg_segments_between_scans_go() -> None:
    data = saved(photo(), "JPEG", progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    leaky = data[:second] + segment(0xE5, b"SECRET") + segment(0xFE, b"SECRET") + data[second:]
    assert containers.strip(leaky, "JPEG", 1) == containers.strip(data, "JPEG", 1)


def test_fill_bytes_before_markers_go() -> None:
    data = saved(photo(), "JPEG")
    at = data.index(b"\xff\xdb")
    assert containers.strip(data[:at] + b"\xff" * 9 + data[at:], "JPEG", 1) == containers.strip(data, "JPEG", 1)


def test_malformed_jpegs_are_refused() -> None:
    data = saved(photo(), "JPEG")
    frame, scan, tables = data.index(b"\xff\xc0"), data.index(b"\xff\xda"), data.index(b"\xff\xdb")
    size = struct.unpack_from(">H", data, tables + 2)[0]
    longer = struct.pack(">H", size + 6)
    for bad in (
        data[:-2],  # no end
        data[1:],
        data[:scan] + b"junk" + data[scan:],
        data[:frame] + data[frame:scan] + data[frame:],  # two frames
        data[:frame] + data[frame + 19 :],  # no frame
        data[:scan] + b"\xff\xd9",  # no scan
        data[:2] + b"\xff\xd8" + data[2:],
        data[: tables + 2] + longer + data[tables + 4 : tables + 2 + size] + b"SECRET" + data[tables + 2 + size :],
        data[: scan + 50] + b"\xff\xd0" + data[scan + 50 :],  # a restart that was never announced
        data[: frame + 4] + b"\x0c" + data[frame + 5 :],  # 12 bits
        data[: frame + 1] + b"\xc3" + data[frame + 2 :],  # lossless
        data[:scan] + segment(0xDC, b"\0\1") + data[scan:],  # number of lines
        data[:scan] + b"\xff\xfe\0\0" + data[scan:],  # a segment of no length
        data[:scan] + b"\xff\xfe\xff\xff" + data[scan:],  # a segment beyond the end
    ):
        assert reason(bad, "JPEG") in ("damaged JPEG container", "JPEG variant not supported")


def test_profile_parts_must_fit_together() -> None:
    parts = [b"ICC_PROFILE\0" + bytes((1, 2)) + profile()[:200], b"ICC_PROFILE\0" + bytes((2, 2)) + profile()[200:]]
    plain = saved(photo(), "JPEG")

    def kept(*payloads: bytes) -> object:
        data = plain[:20] + b"".join(segment(0xE2, payload) for payload in payloads) + plain[20:]
        return opened(containers.strip(data, "JPEG", 1)).info.get("icc_profile")

    assert kept(*parts) == kept(*parts[::-1]) == icc.clean(profile())
    assert kept(parts[0]) is None
    assert kept(parts[0], parts[0]) is None
    assert kept(*parts, parts[1]) is None
    assert kept(b"ICC_PROFILE\0") is None


# PNG


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_modes(mode: str) -> None:
    deep = Image.fromarray(photo()[:, :, 0].astype(np.uint16) * 257)
    image = deep if mode == "I;16" else Image.fromarray(photo()).convert(mode)
    data = leaky_png(image)
    clean = containers.strip(data, "PNG", 1)
    assert opened(clean).mode == opened(data).mode
    assert np.array_equal(np.asarray(opened(clean)), np.asarray(opened(data)))


def adam7(rows: int, columns: int) -> bytes:
    """An interlaced grey PNG; every pass is zero."""
    passes = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
    raw = bytearray()
    for x, dx, y, dy in passes:
        across, down = len(range(x, columns, dx)), len(range(y, rows, dy))
        raw += bytes((1 + across) * down if across else 0)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 1)
    parts = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(bytes(raw))), png_chunk(b"IEND", b"")]
    return png.SIGNATURE + b"".join(parts)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (5, 2), (8, 8), (9, 17), (33, 31)])
def test_interlaced_png(size: tuple[int, int]) -> None:
    data = adam7(*size)
    assert containers.strip(data, "PNG", 1) == data


def test_png_data_hidden_in_the_stream_is_refused() -> None:
    data = saved(noise(8, 8), "PNG")
    start = data.index(b"IDAT") - 4
    length = struct.unpack_from(">I", data, start)[0]
    stream = data[start + 8 : start + 8 + length]
    rows = zlib.decompress(stream)

    def rebuilt(*streams: bytes) -> bytes:
        chunks = b"".join(png_chunk(b"IDAT", part) for part in streams)
        return data[:start] + chunks + data[start + 12 + length :]

    assert containers.strip(rebuilt(stream[:9], b"", stream[9:]), "PNG", 1)
    for bad in (
        rebuilt(zlib.compress(rows + b"SECRET")),
        rebuilt(zlib.compress(rows + bytes(50_000_000))),
        rebuilt(stream + b"SECRET"),
        rebuilt(stream, b"SECRET"),
        rebuilt(zlib.compress(rows[:-1])),
        rebuilt(stream[:-4]),
        rebuilt(b"junk"),
    ):
        assert reason(bad, "PNG") == "damaged PNG container"


def test_malformed_pngs_are_refused() -> None:
    data = saved(photo(), "PNG")
    header, end = data[8:33], data[-12:]
    palette = saved(Image.fromarray(photo()).convert("P"), "PNG", transparency=bytes(256))
    clear = palette.index(b"tRNS") - 4
    size = 12 + struct.unpack_from(">I", palette, clear)[0]
    for bad in (
        data[:-12],  # no end
        data[:-1],
        data[:29] + bytes([data[29] ^ 1]) + data[30:],  # checksum
        with_chunks(data, header),
        data[:8] + end,
        data[:8] + data[33:],
        with_chunks(data, png_chunk(b"gAMA", b"SECRET")),
        with_chunks(data, png_chunk(b"sRGB", b"\0"), png_chunk(b"sRGB", b"\0")),
        with_chunks(data, png_chunk(b"CRIT", b"SECRET")),
        with_chunks(data, png_chunk(b"PLTE", bytes(771))),
        data[:-12] + png_chunk(b"IEND", b"SECRET"),
        palette[:clear] + palette[clear + size : -12] + palette[clear : clear + size] + end,
    ):
        assert reason(bad, "PNG") in ("damaged PNG container", "PNG variant not supported")
    frames = saved(photo(), "PNG", save_all=True, append_images=[Image.fromarray(photo()[::-1])])
    assert reason(frames, "PNG") == "several frames are not supported yet"


# WebP


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("alpha", [True, False])
def test_webp_flags_are_right(lossless: bool, alpha: bool) -> None:
    picture = np.dstack([photo(), photo()[:, :, 0]]) if alpha else photo()
    data = leaky_webp(picture, lossless=lossless, icc_profile=profile())
    clean = containers.strip(data, "WEBP", 1)
    assert clean[12:16] == b"VP8X"
    assert clean[20] == 0x20 | (0x10 if alpha else 0)
    assert struct.unpack_from("<I", clean, 4)[0] == len(clean) - 8
    assert webp.is_lossless(clean) is lossless
    assert opened(clean).mode == opened(data).mode
    assert np.array_equal(np.asarray(opened(clean)), np.asarray(opened(data)))


def test_malformed_webps_are_refused() -> None:
    data = saved(photo(), "WEBP", icc_profile=profile())
    for bad in (
        data[:-1],
        data[:4] + struct.pack("<I", 2**31) + data[8:],
        data[:4] + struct.pack("<I", len(data)) + data[8:] + b"abcdefgh",
        data[:16] + struct.pack("<I", 2**31) + data[20:],
        data[:4] + struct.pack("<I", 22) + data[8:30],  # no picture
        data[:4] + struct.pack("<I", len(data) + 10) + data[8:] + data[12:30],  # two headers
        data[:20] + bytes([data[20] | 2]) + data[21:],  # says that it is animated
    ):
        assert reason(bad, "WEBP") == "damaged WEBP container"
    frames = saved(photo(), "WEBP", save_all=True, append_images=[Image.fromarray(photo()[::-1])])
    assert reason(frames, "WEBP") == "several frames are not supported yet"


# All of them


@pytest.mark.parametrize("file_format", LEAKY)
def test_damage_never_raises_anything_else(file_format: str) -> None:
    data = LEAKY[file_format](photo(24, 18))
    random = np.random.default_rng(5)
    for _ in range(300):
        bad = bytearray(data)
        for at in random.integers(0, len(data), random.integers(1, 4)):
            bad[at] = random.integers(256)
        try:
            clean = containers.strip(bytes(bad[: random.integers(len(bad) + 1)]), file_format, 1)
        except CannotRelease as error:
            assert len(error.reason) < 50
        else:
            Image.open(io.BytesIO(clean))
    assert jpeg.FRAMES
