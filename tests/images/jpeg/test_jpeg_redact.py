"""JPEGs with faces, of every kind that can be made here: the face is gone, and no other coefficient moves."""

from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from blurline.boxes import Box
from blurline.images import CannotRelease, codecs, decode, proof
from blurline.images import orientation as exif
from blurline.images.decode import decode_rgb
from blurline.images.jpeg import blocks, libjpeg
from blurline.images.jpeg.libjpeg import Geometry
from blurline.images.obfuscate import Target, touched
from blurline.images.redact import redact
from blurline.images.results import Outside
from tests.images.samples import FACE, LIMITS, STYLE, astronaut, blur, saved, with_orientation


def ycck() -> bytes:
    """A CMYK file that says its first three planes are YCbCr."""
    data = saved(Image.fromarray(astronaut()).convert("CMYK"), "JPEG", quality=92, subsampling=0)
    at = data.index(b"Adobe")
    return data[: at + 11] + b"\2" + data[at + 12 :]


def sampled(factor: int) -> bytes:
    done, data = cv2.imencode(
        ".jpg", astronaut()[:, :, ::-1], [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_QUALITY, 90]
    )
    assert done
    return data.tobytes()


KINDS = {
    "444": saved(astronaut(), "JPEG", quality=95, subsampling=0),
    "422": saved(astronaut(), "JPEG", quality=85, subsampling=1),
    "420": saved(astronaut(), "JPEG", quality=75, subsampling=2),
    "411": sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
    "440": sampled(cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
    "coarse": saved(astronaut(), "JPEG", quality=10),
    "progressive": saved(astronaut(), "JPEG", quality=85, progressive=True),
    "restarts": saved(astronaut(), "JPEG", quality=85, restart_marker_rows=1),
    "odd size": saved(astronaut()[:427, :331], "JPEG", quality=85),
    "grey": saved(astronaut()[:, :, 1], "JPEG", quality=85),
    "rgb": saved(astronaut(), "JPEG", quality=85, keep_rgb=True),
    "cmyk": saved(Image.fromarray(astronaut()).convert("CMYK"), "JPEG", quality=85),
    "cmyk progressive": saved(Image.fromarray(astronaut()).convert("CMYK"), "JPEG", quality=85, progressive=True),
    "ycck": ycck(),
    "turned": with_orientation(astronaut(), "JPEG", 6, quality=85),
}


def geometry(data: bytes) -> list[tuple[Geometry, tuple[int, int]]]:
    """Of every component: its blocks, and the pixels that one of these covers, across and down."""
    image = decode.load(data, LIMITS).image
    found = []
    for across, down in codecs.jpeg_coding(image).sampling:
        cell = 8 * across.denominator, 8 * down.denominator
        found.append((Geometry(-(-image.width // cell[0]), -(-image.height // cell[1])), cell))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_only_blocks_with_changed_pixels_differ(kind: str) -> None:
    data = KINDS[kind]
    source = decode.load(data, LIMITS)
    face = exif.box_to_displayed(Box(*FACE), source.info.orientation, 512, 512)
    result = redact(data, [Target(*face)], STYLE, LIMITS)
    assert result.outside == Outside.COEFFICIENTS
    (region,), (shown,) = result.regions, result.proofs
    assert shown.full > 0.98
    assert abs(shown.residual) < 0.05
    displayed = touched([region], source.info.width, source.info.height)
    changed = exif.to_stored(displayed, source.info.orientation)
    cells = geometry(data)
    before = libjpeg.coefficients(data, [blocks for blocks, _ in cells])
    after = libjpeg.coefficients(result.data, [blocks for blocks, _ in cells])
    for (_, (width, height)), one, other in zip(cells, before, after, strict=True):
        differ = (one != other).any(axis=2)
        assert differ.any() or not one[:, :, 1:].any()  # but for the black plane, which is empty here
        for row, column in np.argwhere(differ):
            assert changed[row * height : (row + 1) * height, column * width : (column + 1) * width].any()
    again = decode.load(result.data, LIMITS)
    assert codecs.jpeg_coding(again.image) == codecs.jpeg_coding(source.image)
    assert again.info == source.info


@pytest.mark.parametrize("kind", ["444", "grey", "rgb", "cmyk", "cmyk progressive"])
def test_every_pixel_of_an_untouched_block_is_the_same(kind: str) -> None:
    """Without chroma subsampling a pixel depends on its own block alone; for the rest see the coefficients."""
    data = KINDS[kind]
    one, other = (np.asarray(decode.load(each, LIMITS).image) for each in (data, redacted(data)))
    differ = (one != other).reshape(*one.shape[:2], -1).any(axis=2)
    rows, columns = np.nonzero(differ)
    (region,) = redact(data, [Target(*FACE)], STYLE, LIMITS).regions
    x1, y1, x2, y2 = region.grown(region.feather, 512, 512)
    assert (rows.min() >= y1 // 8 * 8, rows.max() < -(-y2 // 8) * 8) == (True, True)
    assert (columns.min() >= x1 // 8 * 8, columns.max() < -(-x2 // 8) * 8) == (True, True)


def redacted(data: bytes) -> bytes:
    return redact(data, [Target(*FACE)], STYLE, LIMITS).data


def test_a_face_in_the_black_plane_is_gone() -> None:
    """Edits of the fourth plane are lost in some libraries; here the face is nowhere else."""
    flat = np.full((512, 512), 30, np.uint8)
    picture = Image.merge("CMYK", [Image.fromarray(plane) for plane in (flat, flat, flat, astronaut()[:, :, 0])])
    data = saved(picture, "JPEG", quality=90)
    result = redact(data, [Target(*FACE)], STYLE, LIMITS)
    assert abs(result.proofs[0].residual) < 0.05
    x1, y1, x2, y2 = FACE
    before, after = (np.asarray(decode.load(each, LIMITS).image)[y1:y2, x1:x2, 3] for each in (data, result.data))
    assert before.std() > 30
    assert np.abs(np.diff(after.astype(int), axis=1)).max() <= 4 < np.abs(np.diff(before.astype(int), axis=1)).max()


def test_the_black_plane_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that forgets it is caught."""
    flat = np.full((512, 512), 30, np.uint8)
    picture = Image.merge("CMYK", [Image.fromarray(plane) for plane in (flat, flat, flat, astronaut()[:, :, 0])])
    data = saved(picture, "JPEG", quality=90)
    real = blocks._Colours.plane

    def forgetful(colours: Any, index: int, window: tuple[int, int, int, int]) -> np.ndarray:
        plane = real(colours, index, window)
        left, top = window[:2]
        return before[top : top + plane.shape[0], left : left + plane.shape[1]] if index == 3 else plane

    before = 255 - np.asarray(decode.load(data, LIMITS).image)[:, :, 3]
    monkeypatch.setattr(blocks._Colours, "plane", forgetful)
    with pytest.raises(CannotRelease, match=f"^{proof.DIFFERS}$"):
        redact(data, [Target(*FACE)], STYLE, LIMITS)


def test_the_blur_is_the_one_asked_for() -> None:
    """To the pixel within what quantisation does."""
    for kind in ("444", "420", "rgb", "grey"):
        want, (region,) = blur(decode_rgb(KINDS[kind], LIMITS), [FACE], STYLE)
        got = decode_rgb(redacted(KINDS[kind]), LIMITS)
        core = np.s_[region.y1 : region.y2, region.x1 : region.x2]
        assert np.abs(got[core].astype(int) - want[core]).mean() < 1.5, kind


def test_damaged_data_is_withheld() -> None:
    """A restart marker out of turn; Pillow shows something, and says nothing."""
    damaged = KINDS["restarts"].replace(b"\xff\xd3", b"\xff\xd5", 1)
    decode.load(damaged, LIMITS)
    for targets in ([], [Target(*FACE)]):
        with pytest.raises(CannotRelease, match=f"^{libjpeg.DAMAGED}$"):
            redact(damaged, targets, STYLE, LIMITS)


def test_what_a_decoder_skips_is_gone() -> None:
    """More data than the picture has blocks for: it shows what it did, and holds no more than that."""
    data = KINDS["420"]
    middle = len(data) // 2
    longer = data[:middle] + data[middle - 500 :]
    one, other = (
        np.asarray(decode.load(each, LIMITS).image) for each in (longer, redact(longer, [], STYLE, LIMITS).data)
    )
    assert np.array_equal(one, other)
    assert abs(redact(longer, [Target(*FACE)], STYLE, LIMITS).proofs[0].residual) < 0.05


def test_subsampling_by_halves_of_samples_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """libjpeg decodes none such, so the coding is made up."""
    data = KINDS["420"]
    source = decode.load(data, LIMITS)
    real = codecs.jpeg_coding(source.image)
    odd = codecs.JpegCoding(real.tables, (real.sampling[0], (real.sampling[1][0] * 4 / 3,) * 2), False, False)
    monkeypatch.setattr(codecs, "jpeg_coding", lambda _: odd)
    with pytest.raises(CannotRelease, match=f"^{blocks.SAMPLING}$"):
        blocks.replace(data, source, np.asarray(source.image), np.ones((512, 512), np.bool_))


def test_a_small_face_costs_a_small_change() -> None:
    """A file of the same quality: as large, or smaller, but for the entropy coder's tables."""
    result = redact(KINDS["420"], [Target(300, 300, 312, 314)], STYLE, LIMITS)
    assert len(result.data) < 1.01 * len(KINDS["420"])
