import struct
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from blurline.images import CannotRelease, codecs, containers, decode, proof, redact
from blurline.images.containers import webp
from blurline.images.decode import Limits, Undecodable, decode_rgb, inspect
from blurline.images.jpeg import blocks
from blurline.images.obfuscate import BlurStyle, Target, residual_detail, touched
from blurline.images.results import Redacted
from tests.images.samples import (
    FACE,
    LIMITS,
    SECRETS,
    STYLE,
    astronaut,
    blur,
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
    with_chunks,
    with_orientation,
)

Boxes = list[tuple[int, int, int, int]]
BOXES: Boxes = [(40, 20, 75, 60), (100, 80, 110, 92)]


def released(data: bytes, boxes: Boxes, style: BlurStyle = STYLE) -> Redacted:
    return redact.redact(data, [Target(*box) for box in boxes], style, LIMITS)


def refused(data: bytes, boxes: Boxes, style: BlurStyle = STYLE) -> str:
    with pytest.raises(CannotRelease) as caught:
        released(data, boxes, style)
    return caught.value.reason


def grey() -> np.ndarray:
    return photo()[:, :, 0]


LOSSLESS: dict[str, bytes] = {
    "png": saved(photo(), "PNG"),
    "png grey": saved(grey(), "PNG"),
    "png palette": saved(Image.fromarray(photo()).convert("P"), "PNG"),
    "png bits": saved(Image.fromarray(photo()).convert("1"), "PNG"),
    "png opaque alpha": saved(np.dstack([photo(), np.full((120, 160), 255, np.uint8)]), "PNG"),
    "png opaque grey alpha": saved(np.dstack([grey(), np.full((120, 160), 255, np.uint8)]), "PNG"),
    "png turned": with_orientation(photo(), "PNG", 8),
    "webp": saved(photo(), "WEBP", lossless=True),
    "webp profile": saved(photo(), "WEBP", lossless=True, icc_profile=profile()),
    "webp turned": with_orientation(photo(), "WEBP", 5, lossless=True),
    "webp opaque alpha": saved(np.dstack([photo(), np.full((120, 160), 255, np.uint8)]), "WEBP", lossless=True),
    "bmp": saved(photo(), "BMP"),
    "bmp grey": saved(grey(), "BMP"),
    "bmp palette": saved(Image.fromarray(photo()).convert("P"), "BMP"),
    "bmp bits": saved(Image.fromarray(photo()).convert("1"), "BMP"),
    "tiff": saved(photo(), "TIFF"),
    "tiff grey": saved(grey(), "TIFF", compression="tiff_lzw"),
    "tiff turned": with_orientation(photo(), "TIFF", 6, compression="tiff_adobe_deflate"),
    "tiff jpeg": saved(photo(), "TIFF", compression="jpeg"),
    "tiff profile": saved(photo(), "TIFF", icc_profile=profile()),
}
LOSSY: dict[str, bytes] = {
    "jpeg": saved(photo(), "JPEG"),
    "jpeg 444": saved(photo(), "JPEG", subsampling=0, quality=95),
    "jpeg 422": saved(photo(), "JPEG", subsampling=1, quality=60),
    "jpeg 420": saved(photo(), "JPEG", subsampling=2, quality=85),
    "jpeg progressive": saved(photo(), "JPEG", progressive=True),
    "jpeg coarse": saved(photo(), "JPEG", quality=12),
    "jpeg grey": saved(grey(), "JPEG"),
    "jpeg rgb": saved(photo(), "JPEG", keep_rgb=True, quality=90),
    "jpeg profile": saved(photo(), "JPEG", icc_profile=profile()),
    "jpeg turned": with_orientation(photo(), "JPEG", 7),
    "jpeg one table": saved(photo(), "JPEG", qtables=[[9] * 64]),
    "jpeg three tables": saved(photo(), "JPEG", qtables=[[5] * 64, [7] * 64, [11] * 64]),
    "jpeg wide steps": saved(photo(), "JPEG", qtables=[[5] * 60 + [300] * 4]),
    "jpeg cmyk": saved(Image.fromarray(photo()).convert("CMYK"), "JPEG"),
    "jpeg restarts": saved(photo(), "JPEG", restart_marker_rows=1),
    "webp": saved(photo(), "WEBP"),
}
EXTRA: dict[str, bytes] = {
    "gif": saved(photo(), "GIF"),
    "gif grey": saved(grey(), "GIF"),
    "jpeg cmyk": saved(Image.fromarray(photo()).convert("CMYK"), "JPEG"),
    "png 16": saved(Image.fromarray(grey().astype(np.uint16) * 257), "PNG"),
    "jpeg leaky": leaky_jpeg(tag=6),
    "png leaky": leaky_png(tag=6),
    "webp leaky": leaky_webp(tag=6),
}


# Without faces


@pytest.mark.parametrize(
    "data", [*LOSSLESS.values(), *LOSSY.values(), *EXTRA.values()], ids=[*LOSSLESS, *LOSSY, *EXTRA]
)
def test_without_faces_the_pixels_stay_bit_for_bit(data: bytes) -> None:
    result = released(data, [])
    assert result.regions == []
    assert inspect(result.data, LIMITS) == inspect(data, LIMITS)
    one, other = opened(data), opened(result.data)
    assert other.mode == one.mode
    assert np.array_equal(np.asarray(other.convert("RGB")), np.asarray(one.convert("RGB")))
    if one.mode in ("CMYK", "I;16", "RGBA", "LA"):
        assert np.array_equal(np.asarray(other), np.asarray(one))
    for secret in SECRETS:
        assert secret not in result.data
    assert released(result.data, []).data == result.data


def test_a_result_that_differs_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each property that the proof compares, broken once."""
    data = saved(photo(), "PNG")
    one_off = photo().copy()
    one_off[5, 5, 1] ^= 1
    for wrong in (
        saved(one_off, "PNG"),
        saved(photo()[:, :-1], "PNG"),
        saved(grey(), "PNG"),
        with_orientation(photo(), "PNG", 3),
        saved(photo(), "BMP"),
        saved(photo(), "PNG", icc_profile=profile()),
        data[:-30],
        b"",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(containers, "strip", lambda *_, wrong=wrong: wrong)
            assert refused(data, []) == proof.DIFFERS


# With faces


@pytest.mark.parametrize("data", LOSSLESS.values(), ids=LOSSLESS)
def test_lossless_formats_hold_exactly_what_was_intended(data: bytes) -> None:
    before = decode_rgb(data, LIMITS)
    result = released(data, BOXES)
    after = decode_rgb(result.data, LIMITS)
    old, new = inspect(data, LIMITS), inspect(result.data, LIMITS)
    assert (new.format, new.width, new.height, new.orientation) == (
        old.format,
        old.width,
        old.height,
        old.orientation,
    )
    outside = ~touched(result.regions, new.width, new.height)
    assert np.array_equal(after[outside], before[outside])
    want, regions = blur(before, BOXES, STYLE)
    assert result.regions == regions
    assert np.array_equal(after, want)
    assert decode.load(result.data, LIMITS).profile == decode.load(data, LIMITS).profile
    if old.format == "WEBP":
        assert webp.is_lossless(result.data)


@pytest.mark.parametrize("data", LOSSY.values(), ids=LOSSY)
def test_lossy_formats_keep_their_coding(data: bytes) -> None:
    before = decode_rgb(data, LIMITS)
    result = released(data, BOXES)
    after = decode_rgb(result.data, LIMITS)
    old, new = decode.load(data, LIMITS), decode.load(result.data, LIMITS)
    assert new.info == old.info
    assert new.profile == old.profile
    want, _ = blur(before, BOXES, STYLE)
    assert np.abs(after.astype(int) - want).mean() < 3
    for r in result.regions:
        core = np.s_[r.y1 : r.y2, r.x1 : r.x2]
        assert np.abs(after[core].astype(int) - want[core]).mean() < 9
    if old.info.format == "JPEG":
        assert codecs.jpeg_coding(new.image) == codecs.jpeg_coding(old.image)
        assert new.image.info.get("progressive") == old.image.info.get("progressive")
        assert opened(result.data).mode == opened(data).mode
    else:
        assert not webp.is_lossless(result.data)


def test_jpeg_coding_is_read_right() -> None:
    def coding(**options: Any) -> codecs.JpegCoding:
        return codecs.jpeg_coding(decode.load(saved(photo(), "JPEG", **options), LIMITS).image)

    one, half = Fraction(1), Fraction(1, 2)
    assert coding(subsampling=2).sampling == ((one, one), (half, half), (half, half))
    assert coding(subsampling=1).sampling == ((one, one), (half, one), (half, one))
    assert coding(subsampling=0).sampling == ((one, one), (one, one), (one, one))
    assert coding(progressive=True).progressive
    assert not coding().progressive
    assert coding(keep_rgb=True).rgb
    assert not coding().rgb
    assert coding(qtables=[[5] * 64, [7] * 64]).tables == ((5,) * 64, (7,) * 64, (7,) * 64)


def test_rgb_by_component_names_alone() -> None:
    """Without Adobe's marker, components called R, G and B are RGB."""
    data = saved(photo(), "JPEG", keep_rgb=True, quality=90)
    at = data.index(b"\xff\xee")
    bare = data[:at] + data[at + 16 :]
    assert np.array_equal(decode_rgb(bare, LIMITS), decode_rgb(data, LIMITS))
    result = released(bare, BOXES).data
    assert codecs.jpeg_coding(decode.load(bare, LIMITS).image).rgb
    assert codecs.jpeg_coding(decode.load(result, LIMITS).image).rgb
    after = decode_rgb(result, LIMITS)
    assert np.abs(after.astype(int) - blur(decode_rgb(bare, LIMITS), BOXES, STYLE)[0]).mean() < 2


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_boxes_land_where_they_are_seen(file_format: str, tag: int) -> None:
    """A viewer that applies the tag, here Pillow, sees the blur in the box and nowhere else."""
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = with_orientation(noise(80, 120, 3), file_format, tag, **options)
    before = np.asarray(ImageOps.exif_transpose(opened(data)))
    box = (10, 20, 40, 45)
    result = released(data, [box])
    shown = ImageOps.exif_transpose(opened(result.data))
    after = np.asarray(shown)
    assert shown.size == ((80, 120) if tag > 4 else (120, 80))
    (region,) = result.regions
    assert (region.x1, region.y1, region.x2, region.y2) == (7, 17, 43, 48)
    inside = np.zeros(after.shape[:2], np.bool_)
    inside[20:45, 10:40] = True
    far = ~touched(result.regions, *shown.size)
    far[:32] &= np.arange(after.shape[1]) > 70  # JPEG's blocks reach a little farther
    assert after[inside].std() < 0.45 * before[inside].std()
    assert after[far].std() > 0.9 * before[far].std()
    assert inspect(result.data, LIMITS).orientation == tag


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_nothing_of_a_real_face_is_left(file_format: str) -> None:
    data = saved(astronaut(), file_format)
    result = released(data, [FACE])
    x1, y1, x2, y2 = FACE
    before, after = decode_rgb(data, LIMITS), decode_rgb(result.data, LIMITS)
    face = np.s_[y1:y2, x1:x2]
    assert residual_detail(before[face], before[face]) == pytest.approx(1)
    assert abs(residual_detail(before[face], after[face])) < 0.03
    body = np.s_[300:500, 100:400]
    assert residual_detail(before[body], after[body]) > 0.95


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_a_blur_that_hides_too_little_is_made_stronger(file_format: str) -> None:
    data = saved(astronaut(), file_format)
    weak = BlurStyle(method="gaussian", strength=0.005, margin=0.1, feather=0.1)
    (region,), (shown,) = (lambda result: (result.regions, result.proofs))(released(data, [FACE], weak))
    assert region.method == "gaussian"
    assert region.sigma is not None
    assert region.sigma / (FACE[3] - FACE[1]) in (0.04, 0.08)  # doubled until enough
    assert shown.residual < proof.MAX_RESIDUAL


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_library_that_blurs_no_more_is_found_out(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One colour needs no library."""
    monkeypatch.setattr(ImageFilter, "GaussianBlur", lambda _: ImageFilter.BoxBlur(0))
    (region,) = released(saved(astronaut(), file_format), [FACE]).regions
    assert region.method == "solid"


def test_what_cannot_be_made_stronger_is_withheld() -> None:
    """ImageNet's formula leaves a small face beside a large one nearly as it was."""
    style = BlurStyle(method="imagenet2021", strength=1, margin=0, feather=0)
    data = saved(astronaut(), "JPEG")
    assert released(data, [FACE], style).proofs[0].full < 1
    small = (300, 430, 330, 460)
    assert refused(data, [(0, 0, 300, 300), small], style) == proof.TOO_WEAK


@pytest.mark.parametrize("leaky", [leaky_jpeg, leaky_png, leaky_webp])
@pytest.mark.parametrize("tag", [1, 6])
def test_no_metadata_survives_a_blur(leaky: Any, tag: int) -> None:
    data = leaky(tag=tag)
    result = released(data, [(10, 10, 50, 50)])
    for secret in SECRETS:
        assert secret not in result.data
    assert dict(opened(result.data).getexif()) == ({274: tag} if tag != 1 else {})


def test_no_metadata_survives_in_rewritten_formats() -> None:
    tiff = saved(photo(), "TIFF", tiffinfo={270: "SECRET", 305: "SECRET", 700: b"SECRET", 34377: b"SECRET"})
    gif = saved(Image.fromarray(photo()).convert("P"), "GIF", comment=b"SECRET") + b"SECRET"
    bmp = saved(photo(), "BMP") + b"SECRET"
    for data, boxes in ((tiff, []), (tiff, BOXES), (gif, []), (bmp, []), (bmp, BOXES)):
        assert b"SECRET" in data
        assert b"SECRET" not in released(data, boxes).data


def test_colour_chunks_of_a_png_stay() -> None:
    chroma = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    data = with_chunks(
        saved(photo(), "PNG"),
        png_chunk(b"gAMA", struct.pack(">I", 50000)),
        png_chunk(b"cHRM", chroma),
        png_chunk(b"pHYs", struct.pack(">IIB", 100, 200, 0)),
    )
    for boxes in ([], BOXES):
        image = opened(released(data, boxes).data)
        assert image.info["gamma"] == 0.5
        assert image.info["aspect"] == (100, 200)
        assert "chromaticity" in image.info


def test_the_order_of_boxes_does_not_matter() -> None:
    data = saved(photo(), "JPEG")
    assert released(data, BOXES) == released(data, BOXES[::-1]) == released(data, BOXES * 2)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 2)])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_tiny_images(size: tuple[int, int], file_format: str) -> None:
    data = saved(photo()[: size[0], : size[1]], file_format)
    for boxes in ([], [(0, 0, 1, 1)], [(0, 0, size[1], size[0])]):
        assert inspect(released(data, boxes).data, LIMITS).format == file_format


def test_a_noisy_progressive_jpeg_fits_the_encoder() -> None:
    data = saved(noise(300, 400, 3), "JPEG", quality=100, subsampling=0, progressive=True)
    assert len(released(data, BOXES).data) > 2 * 300 * 400


# Withheld


def several(file_format: str) -> bytes:
    return saved(photo(), file_format, save_all=True, append_images=[Image.fromarray(photo()[::-1])])


def sampled(file_format: str = "JPEG", factors: bytes = b"\x12\x11\x11") -> bytes:
    """A JPEG whose header names other sampling factors: it decodes, to whatever."""
    data = bytearray(saved(noise(64, 64, 3), file_format, subsampling=2, restart_marker_rows=1))
    at = data.index(b"\xff\xc0") + 11
    for index, factor in enumerate(factors):
        data[at + 3 * index] = factor
    return bytes(data)


@pytest.mark.parametrize("boxes", [[], BOXES])
def test_withheld_with_or_without_faces(boxes: Boxes) -> None:
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 4, 5, 8, 3) + bytes(12) + b"\0\0"
    assert refused(header + noise(60).tobytes(), boxes) == "PSD is not supported yet"


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (160, 0, 170, 9), (9, 9, 5, 5), (-9, -9, 0, 0)])
def test_a_box_that_makes_no_sense_withholds(box: tuple[int, int, int, int]) -> None:
    assert refused(saved(photo(), "JPEG"), [box]) == "a box is empty or outside the image"


def test_a_box_in_the_stored_frame_is_outside_the_displayed_one() -> None:
    data = with_orientation(photo(), "JPEG", 6)
    assert released(data, [(100, 130, 119, 159)]).regions
    assert refused(data, [(130, 100, 159, 119)]) == "a box is empty or outside the image"


def test_no_image_at_all() -> None:
    for boxes in ([], BOXES):
        with pytest.raises(Undecodable):
            released(b"", boxes)
        with pytest.raises(Undecodable):
            redact.redact(saved(photo(), "JPEG"), [Target(*box) for box in boxes], STYLE, Limits(10**6, 100))


# The proof


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "PNG"])
def test_a_writer_that_cheats_is_caught(fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unblurred, blurred in the wrong place, too weakly, turned, another size, other colours, another coding."""
    data = saved(astronaut(), fmt)
    source = decode_rgb(data, LIMITS)
    blurred, regions = blur(source, [FACE], STYLE)
    weak, _ = blur(source, [FACE], BlurStyle("gaussian", 0.02, 0.1, 0.1))
    wrong, _ = blur(source, [(300, 300, 400, 420)], STYLE)
    core = np.s_[40:240, 150:310]
    elsewhere = blurred[::-1].copy()
    elsewhere[core] = blurred[core]
    ghost = (0.8 * blurred + 0.2 * source).astype(np.uint8)  # a faint face: few levels, but all of its structure
    kept = {"qtables": opened(data).quantization} if fmt == "JPEG" else {}  # type: ignore[attr-defined]
    mask = touched(regions, *source.shape[1::-1])
    good, cell = saved(blurred, fmt, **kept), (8, 8)
    if fmt == "JPEG":
        written = blocks.replace(data, decode.load(data, LIMITS), blurred, mask)
        good, cell, mask = written.data, written.cell, written.reached
    cheats = [
        data,
        saved(weak, fmt, **kept),
        saved(elsewhere, fmt, **kept),
        saved(ghost, fmt, **kept),
        saved(wrong, fmt, **kept),
        saved(blurred[::-1], fmt, **kept),
        saved(blurred[:, :, ::-1], fmt, **kept),
        saved(blurred[:-1], fmt, **kept),
        with_orientation(blurred, fmt, 3, **kept),
        saved(blurred, "BMP"),
        good[: len(good) // 2],
    ]
    if fmt == "JPEG":
        cheats += [saved(blurred, fmt, quality=50), saved(blurred, fmt, subsampling=0, **kept)]
        cheats += [saved(blurred, fmt, progressive=True, **kept)]
    if fmt == "WEBP":
        cheats += [saved(blurred, fmt, lossless=True)]
    if fmt == "PNG":
        spot = blurred.copy()
        spot[500, 500] ^= 1
        cheats += [saved(spot, fmt)]
    for cheat in [good, *cheats]:
        with monkeypatch.context() as patch:
            patch.setattr(codecs, "encode", lambda *_, cheat=cheat: cheat)
            patch.setattr(blocks, "replace", lambda *_, cheat=cheat: blocks.Written(cheat, cell, mask))
            patch.setattr(containers, "strip", lambda result, *_: result)
            if cheat is good:
                assert released(data, [FACE]).data == good
            else:
                assert refused(data, [FACE]) in (proof.DIFFERS, proof.TOO_WEAK, "JPEG coding could not be kept")


def test_an_encoder_that_fails_withholds(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(codecs, "_saved", fail)
    assert refused(saved(photo(), "PNG"), BOXES) == "PNG could not be written"
    assert refused(saved(photo(), "GIF"), []) == "GIF could not be written"


def test_jpeg_comment_between_tables() -> None:
    data = saved(photo(), "JPEG")
    at = data.index(b"\xff\xc0")
    leaky = data[:at] + segment(0xFE, b"SECRET") + data[at:]
    assert released(leaky, []).data == released(data, []).data
