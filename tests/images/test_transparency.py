"""Transparent images: what is seen is what was looked at, and what cannot be seen does not leave."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from blurline.images import CannotRelease, decode, transparency
from blurline.images.decode import decode_rgb, inspect
from blurline.images.obfuscate import Target, touched
from blurline.images.orientation import to_displayed
from blurline.images.redact import redact
from tests.images.samples import FACE, LIMITS, STYLE, astronaut, noise, opened, photo, saved
from tests.images.test_depth import deep, plain_png, plain_tiff

TARGETS = [Target(20, 25, 50, 60)]
FORMATS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True, "exact": True},
    "TIFF": {"compression": "tiff_lzw"},
}


def cut_out(soft: bool = False, height: int = 120, width: int = 160) -> np.ndarray:
    """Alpha of an ellipse: what lies around it is clear."""
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).ellipse((width // 16, height // 16, width * 3 // 4, height * 5 // 6), fill=255)
    return np.asarray(mask.filter(ImageFilter.BoxBlur(1)) if soft else mask)


def rgba(alpha: np.ndarray, colours: np.ndarray | None = None) -> np.ndarray:
    return np.dstack([photo() if colours is None else colours, alpha])


def stored(data: bytes) -> np.ndarray:
    return np.asarray(opened(data).convert("RGBA"))


def on(data: bytes, level: int) -> np.ndarray:
    """As Pillow shows the picture on a ground of that level."""
    picture = opened(data).convert("RGBA")
    ground = Image.new("RGBA", picture.size, (level, level, level, 255))
    return np.asarray(Image.alpha_composite(ground, picture).convert("RGB"))


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", FORMATS)
def test_hidden_colours_go_and_visible_pixels_stay(kind: str, soft: bool) -> None:
    """A background that was erased by alpha alone is still in the file, and in no released one."""
    alpha = cut_out(soft)
    data = saved(rgba(alpha), kind, **FORMATS[kind])
    after = stored(redact(data, [], STYLE, LIMITS).data)
    assert np.array_equal(after[:, :, 3], alpha)
    assert np.array_equal(after[alpha > 0], rgba(alpha)[alpha > 0])
    assert len(np.unique(after[alpha == 0], axis=0)) == 1
    for level in (0, 99, 255):
        assert np.array_equal(on(redact(data, [], STYLE, LIMITS).data, level), on(data, level))


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("kind", FORMATS)
def test_faces_are_opaque_and_all_else_stays(kind: str, soft: bool) -> None:
    alpha = cut_out(soft)
    data = saved(rgba(alpha), kind, **FORMATS[kind])
    before = decode_rgb(data, LIMITS)
    result = redact(data, TARGETS, STYLE, LIMITS)
    after = stored(result.data)
    where = touched(result.regions, 160, 120)
    assert alpha[where].min() == 0  # the box lies across the edge
    assert (after[where][:, 3] == 255).all()
    assert np.array_equal(after[~where][:, 3], alpha[~where])
    seen = ~where & (alpha > 0)
    assert np.array_equal(after[seen], rgba(alpha)[seen])
    assert len(np.unique(after[~where & (alpha == 0)], axis=0)) == 1
    core = np.s_[25:60, 20:50]
    assert after[core][:, :, :3].std() < 0.7 * before[core].std()
    assert inspect(result.data, LIMITS).format == kind


def test_what_is_clean_is_not_coded_again() -> None:
    data = saved(rgba(cut_out()), "PNG")
    once = redact(data, [], STYLE, LIMITS).data
    assert redact(once, [], STYLE, LIMITS).data == once != data


@pytest.mark.parametrize("depth", ["png", "tiff"])
@pytest.mark.parametrize("targets", [[], TARGETS], ids=["no faces", "faces"])
def test_16_bits(depth: str, targets: list[Target]) -> None:
    samples = deep(4).copy()
    samples[:, :, 3] = cut_out() * np.uint16(257)
    data = plain_png(samples) if depth == "png" else plain_tiff(samples)
    result = redact(data, targets, STYLE, LIMITS)
    after = decode.load(result.data, LIMITS).deep
    assert after is not None
    where = touched(result.regions, 160, 120)
    seen = ~where & (cut_out() > 0)
    assert np.array_equal(after[seen], samples[seen])
    assert len(np.unique(after[~where & (cut_out() == 0)], axis=0)) == 1
    assert not targets or (after[where][:, 3] == 65535).all()


def test_nearly_clear_is_not_clear_at_16_bits() -> None:
    """An alpha of 1 in 65535 shows nothing, and the colour below would still be in the file."""
    samples = deep(4).copy()
    samples[:, :, 3] = np.where(cut_out() > 0, 65535, 1)
    with pytest.raises(CannotRelease, match="graded transparency is not supported yet"):
        redact(plain_png(samples), [], STYLE, LIMITS)


@pytest.mark.parametrize("targets", [[], TARGETS], ids=["no faces", "faces"])
@pytest.mark.parametrize("kind", [*FORMATS, "WEBP lossy"])
def test_alpha_that_may_be_a_picture_is_refused(kind: str, targets: list[Target]) -> None:
    """A photograph in alpha, a fade-out, a veil: colours or alpha may show or hide what nobody looked at."""
    fade = np.tile(np.linspace(0, 255, 160).astype(np.uint8), (120, 1))
    veil = np.full((120, 160), 128, np.uint8)
    small = np.full((120, 160), 255, np.uint8)
    small[50:58, 90:98] = 3
    for alpha in (photo()[:, :, 0], fade, veil, small):
        data = saved(rgba(alpha), kind.split()[0], **FORMATS.get(kind, {}))
        with pytest.raises(CannotRelease, match="graded transparency is not supported yet"):
            redact(data, targets, STYLE, LIMITS)


@pytest.mark.parametrize("colour", [0, 255])
def test_a_stencil_is_seen(colour: int) -> None:
    """A face that only alpha draws: the colours are flat, and on the ground it is there."""
    grey = np.asarray(Image.fromarray(astronaut()).convert("L").resize((256, 256)))
    alpha = np.where(grey > 90, 255, 0).astype(np.uint8)
    flat = np.full((256, 256, 3), colour, np.uint8)
    data = saved(rgba(alpha, flat), "PNG")
    seen = decode_rgb(data, LIMITS)
    assert seen.std() > 100
    x1, y1, x2, y2 = (value // 2 for value in FACE)
    box = [Target(x1, y1, x2, y2)]
    result = redact(data, box, STYLE, LIMITS)
    after = stored(result.data)[35:102, 87:142]
    assert (after[:, :, 3] == 255).all()
    assert after[:, :, 0].std() < 0.8 * seen[35:102, 87:142].std()


def test_lossy_webp() -> None:
    alpha = cut_out()
    data = saved(rgba(alpha), "WEBP", exact=True)
    with pytest.raises(CannotRelease, match="colours under transparency in a lossy file are not supported yet"):
        redact(data, [], STYLE, LIMITS)
    result = redact(data, TARGETS, STYLE, LIMITS)
    where = touched(result.regions, 160, 120)
    after = stored(result.data)
    assert np.array_equal(after[:, :, 3], np.where(where, 255, alpha))
    seen = ~where & (alpha > 0)
    error = np.abs(after[seen][:, :3].astype(int) - stored(data)[seen][:, :3])
    assert error.mean() < 6
    # Far from the edge, where the coder's ringing reaches: nothing of what was there.
    hidden = np.zeros(alpha.shape, np.bool_)
    hidden[:, 136:] = True
    assert after[hidden][:, :3].std() < 1 < stored(data)[hidden][:, :3].std()


@pytest.mark.parametrize("tag", range(1, 9))
def test_turned(tag: int) -> None:
    exif = Image.Exif()
    exif[274] = tag
    data = saved(rgba(cut_out()), "PNG", exif=exif)
    result = redact(data, TARGETS, STYLE, LIMITS)
    info = inspect(result.data, LIMITS)
    assert info == inspect(data, LIMITS)
    where = touched(result.regions, info.width, info.height)
    after = to_displayed(stored(result.data), tag)
    old = to_displayed(rgba(cut_out()), tag)
    assert (after[where][:, 3] == 255).all()
    seen = ~where & (old[:, :, 3] > 0)
    assert np.array_equal(after[seen], old[seen])


def palette_picture() -> tuple[Image.Image, int]:
    image = Image.fromarray(photo()).quantize(200)
    return image, int(np.bincount(np.asarray(image).ravel()).argmax())


def keyed() -> dict[str, bytes]:
    """Transparency that is no plane: of a palette's colours, of a level, of a colour."""
    image, index = palette_picture()
    grey = np.asarray(Image.fromarray(photo()).convert("L"))
    two = Image.fromarray(photo()).convert("1")
    level = int(np.bincount(grey.ravel()).argmax())
    flat = np.asarray(image.convert("RGB"))
    r, g, b = (int(value) for value in flat[np.asarray(image) == index][0])
    return {
        "PNG palette": saved(image, "PNG", transparency=bytes(255 * (i != index) for i in range(256))),
        "PNG palette index": saved(image, "PNG", transparency=index),
        "PNG level": saved(grey, "PNG", transparency=level),
        "PNG bit": saved(two, "PNG", transparency=0),
        "PNG colour": saved(flat, "PNG", transparency=(r, g, b)),
        "GIF": saved(image, "GIF", transparency=index, optimize=False),
        "GIF grey": saved(grey, "GIF", transparency=level, optimize=False),
    }


@pytest.mark.parametrize("targets", [[], TARGETS], ids=["no faces", "faces"])
@pytest.mark.parametrize("kind", keyed())
def test_transparency_without_a_plane(kind: str, targets: list[Target]) -> None:
    data = keyed()[kind]
    old = stored(data)
    clear = old[:, :, 3] == 0
    assert 0 < clear.mean() < 1
    result = redact(data, targets, STYLE, LIMITS)
    after = stored(result.data)
    where = touched(result.regions, 160, 120)
    assert np.array_equal(after[~where & ~clear], old[~where & ~clear])
    assert (after[~where & clear][:, 3] == 0).all()
    assert not targets or (after[where][:, 3] == 255).all()
    assert inspect(result.data, LIMITS).format == kind.split()[0]
    if not targets:
        assert inspect(result.data, LIMITS) == inspect(data, LIMITS)


def test_several_clear_colours_of_a_palette_are_one_afterwards() -> None:
    image, _ = palette_picture()
    data = saved(image, "PNG", transparency=bytes(255 * (i > 100) for i in range(256)))
    old, after = stored(data), stored(redact(data, [], STYLE, LIMITS).data)
    clear = old[:, :, 3] == 0
    assert len(np.unique(old[clear], axis=0)) > 50
    assert len(np.unique(after[clear], axis=0)) == 1
    assert np.array_equal(after[~clear], old[~clear])


def test_all_clear() -> None:
    """Nothing is seen of it, so nothing of it leaves."""
    data = saved(rgba(np.zeros((120, 160), np.uint8)), "PNG")
    assert decode_rgb(data, LIMITS).std() == 0
    after = stored(redact(data, [], STYLE, LIMITS).data)
    assert len(np.unique(after.reshape(-1, 4), axis=0)) == 1


def test_the_view_is_that_of_a_viewer() -> None:
    data = saved(rgba(cut_out(soft=True)), "PNG")
    seen = decode_rgb(data, LIMITS).astype(int)
    level = decode.ground(decode.load(data, LIMITS))
    assert np.abs(seen - on(data, level)).max() <= 1


def test_grounds() -> None:
    alpha = cut_out()
    for colour, wanted in ((0, 255), (255, 0)):
        assert transparency.ground(np.full((120, 160, 3), colour, np.uint8), alpha) == wanted
    both = np.zeros((120, 160, 3), np.uint8)
    both[:, ::2] = 255
    assert transparency.ground(both, alpha) == 128
    assert transparency.ground(noise(120, 160, 3), np.zeros((120, 160), np.uint8)) == 255
