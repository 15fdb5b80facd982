"""Images of several frames: every frame blurred, nothing else changed, and nothing of a face anywhere in the file."""

import io
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from blurline.images import CannotRelease, proof
from blurline.images import redact as redact_module
from blurline.images.animation import palette
from blurline.images.animation import redact as animation_redact
from blurline.images.containers import icc
from blurline.images.decode import Limits, Undecodable, inspect
from blurline.images.obfuscate import BlurStyle, Region, Target, residual_detail, touched
from blurline.images.redact import redact
from blurline.images.results import Redacted
from tests.images.moving import (
    DURATIONS,
    HEIGHT,
    KINDS,
    LIMITS,
    LOOP,
    LOSSY,
    PLACES,
    TARGETS,
    WIDTH,
    animation,
    face,
    few_colours,
    frames,
    pieces,
    scene,
    shown,
)
from tests.images.samples import (
    FACE,
    SECRETS,
    STYLE,
    astronaut,
    exif_with_secrets,
    noise,
    png_chunk,
    profile,
    saved,
    with_chunks,
    with_orientation,
)

PROFILE = profile()  # it holds the time


def released(data: bytes, targets: list[Target]) -> Redacted:
    return redact(data, targets, STYLE, LIMITS)


def refused(data: bytes, targets: list[Target]) -> str:
    with pytest.raises(CannotRelease) as caught:
        released(data, targets)
    return caught.value.reason


def of_frame(result: Redacted, frame: int) -> list[Region]:
    return [region for region in result.regions if region.frame in (-1, frame)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_is_blurred_and_nothing_else_changes(kind: str) -> None:
    data = KINDS[kind]
    result = released(data, TARGETS)
    before, after = shown(data), shown(result.data)
    assert replace(inspect(result.data, LIMITS), mode="") == replace(inspect(data, LIMITS), mode="")
    assert (after.durations, after.loop) == (before.durations, before.loop)
    if kind != "tiff":
        assert (after.durations[-1], after.loop) == (DURATIONS[-1], LOOP)
    assert [region.frame for region in result.regions] == [1, 2, 3]
    for n, (old, new, left) in enumerate(zip(before.frames, after.frames, PLACES, strict=True)):
        outside = ~touched(of_frame(result, n), old.shape[1], old.shape[0])
        difference = np.abs(old.astype(int) - new)[outside]
        if kind in LOSSY:
            assert difference.mean() < proof.WEBP_TOLERANCE
        else:
            assert not difference.any()
        if left is not None:
            x1, y1, x2, y2 = face(left)
            assert residual_detail(old[y1:y2, x1:x2], new[y1:y2, x1:x2]) < proof.MAX_RESIDUAL


ALLOWED = {b"NETSCAPE2.0", b"IHDR", b"acTL", b"IEND", b"VP8X", b"ANIM", b"VP8 ", b"VP8L"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tiff"])
@pytest.mark.parametrize("targets", [[], TARGETS], ids=["unchanged", "blurred"])
def test_nothing_lies_beneath_what_is_shown(kind: str, targets: list[Target]) -> None:
    data = released(KINDS[kind], targets).data
    coded, others = pieces(data)
    assert others <= ALLOWED
    visible = shown(data).frames
    assert len(coded) == len(visible)
    for piece, whole in zip(coded, visible, strict=True):
        height, width = piece.clear.shape
        under = whole[piece.y : piece.y + height, piece.x : piece.x + width]
        difference = np.abs(under.astype(int) - piece.pixels)[~piece.clear]
        assert difference.max(initial=0) <= (3 if kind in LOSSY else 0)
        # Nor is there anything under what is clear but one colour.
        assert len(np.unique(piece.pixels[piece.clear], axis=0)) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_without_faces_every_frame_stays_bit_for_bit(kind: str) -> None:
    data = KINDS[kind]
    result = released(data, [])
    assert result.regions == []
    before, after = shown(data), shown(result.data)
    assert (after.durations, after.loop) == (before.durations, before.loop)
    assert len(after.frames) == len(before.frames) == len(PLACES)
    assert all(np.array_equal(old, new) for old, new in zip(before.frames, after.frames, strict=True))
    assert released(result.data, []).data == result.data


def test_a_place_in_all_frames_is_one_region() -> None:
    for kind in ("gif", "apng apart", "webp lossless", "tiff"):
        result = released(KINDS[kind], [Target(*face(110)), *TARGETS])
        assert [region.frame for region in result.regions] == [-1, 1, 3]
        for old, new in zip(shown(KINDS[kind]).frames[2:3], shown(result.data).frames[2:3], strict=True):
            x1, y1, x2, y2 = face(110)
            assert residual_detail(old[y1:y2, x1:x2], new[y1:y2, x1:x2]) < proof.MAX_RESIDUAL


def test_a_lossy_frame_that_nothing_touched_is_not_coded_again() -> None:
    data = animation("WEBP", [noise(64, 64, 3, seed=n) for n in range(3)], kmax=1)
    result = released(data, [Target(10, 10, 40, 40, "face", 1)])
    same = [np.array_equal(*pair) for pair in zip(shown(data).frames, shown(result.data).frames, strict=True)]
    assert same == [True, False, True]


# Frames that not every viewer shows


def test_frames_that_are_hardly_shown_are_frames() -> None:
    """A picture for viewers that know no animation, one that is shown for no time, one with a piece at an offset."""
    one, empty = scene(10), scene(None)
    apart = animation("PNG", [one, empty, empty[:, ::-1]], default_image=True, duration=[5, 5])
    brief = animation("GIF", [empty, one, empty], duration=[100, 0, 100])
    assert len(pieces(brief)[0]) == 3
    assert pieces(brief)[0][1].x > 0
    for data, n in ((apart, 0), (brief, 1)):
        assert inspect(data, LIMITS).frames == 3
        result = released(data, [Target(*face(10), "face", n)])
        x1, y1, x2, y2 = face(10)
        for piece in pieces(result.data)[0]:
            whole = np.zeros_like(one)
            height, width = piece.clear.shape
            whole[piece.y : piece.y + height, piece.x : piece.x + width] = piece.pixels
            assert residual_detail(one[y1:y2, x1:x2], whole[y1:y2, x1:x2]) < proof.MAX_RESIDUAL


# Metadata


def with_gif_extensions(data: bytes) -> bytes:
    table = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    return (
        data[:table]
        + b"!\xfe\x06SECRET\0"
        + b"!\xff\x0bXMP DataXMP<x>SECRET</x>"[:14]
        + b"\x06SECRET\0"
        + b"!\x01\x0c"
        + bytes(12)
        + b"\x06SECRET\0"
        + data[table:-1]
        + b"!\xfe\x06SECRET\0;SECRET"
    )


def leaky() -> dict[str, bytes]:
    exif = exif_with_secrets().removeprefix(b"Exif\0\0")
    apng = animation("PNG", exif=exif, icc_profile=PROFILE)
    return {
        "gif": with_gif_extensions(KINDS["gif"]),
        "apng": with_chunks(apng, png_chunk(b"tEXt", b"Comment\0SECRET"), png_chunk(b"prVt", b"SECRET")) + b"SECRET",
        "webp": animation("WEBP", exif=exif, xmp=b"<x>SECRET</x>", icc_profile=PROFILE) + b"SECRET",
        "webp lossless": animation("WEBP", lossless=True, exif=exif, xmp=b"<x>SECRET</x>"),
        "tiff": animation("TIFF", description="SECRET", icc_profile=PROFILE),
    }


@pytest.mark.parametrize("kind", leaky())
@pytest.mark.parametrize("targets", [[], TARGETS], ids=["unchanged", "blurred"])
def test_metadata_goes_and_the_colour_profile_stays(kind: str, targets: list[Target]) -> None:
    data = leaky()[kind]
    assert any(secret in data for secret in SECRETS)
    result = released(data, targets).data
    for secret in SECRETS:
        assert secret not in result
    with Image.open(io.BytesIO(result)) as image:
        assert image.info.get("icc_profile") == (None if kind in ("gif", "webp lossless") else icc.clean(PROFILE))


@pytest.mark.parametrize("kind", leaky())
@pytest.mark.parametrize("targets", [[], TARGETS], ids=["unchanged", "blurred"])
def test_the_colour_profile_may_go_too(kind: str, targets: list[Target]) -> None:
    data = leaky()[kind]
    if kind == "apng":
        data = with_chunks(data, png_chunk(b"gAMA", bytes(4)), png_chunk(b"pHYs", bytes(9)))
    result = redact(data, targets, STYLE, LIMITS, "strip").data
    for trace in (b"ICCP", b"iCCP", b"acsp", b"gAMA", b"pHYs"):
        assert trace not in result
    assert inspect(result, LIMITS).frames == inspect(data, LIMITS).frames > 1


@pytest.mark.parametrize("file_format", ["TIFF", "WEBP", "PNG"])
def test_a_turned_file_becomes_an_upright_one(file_format: str) -> None:
    """Boxes are in the frames as displayed, and so are the frames that are written."""
    options: dict[str, Any] = {"lossless": True} if file_format == "WEBP" else {}
    stored = [np.ascontiguousarray(np.rot90(one)) for one in frames()]
    data = with_orientation(
        stored[0], file_format, 6, save_all=True, append_images=[Image.fromarray(one) for one in stored[1:]], **options
    )
    info = inspect(data, LIMITS)
    assert (info.orientation, info.width, info.height) == (6, WIDTH, frames()[0].shape[0])
    for targets in ([], TARGETS):
        result = released(data, targets)
        assert inspect(result.data, LIMITS).orientation == 1
        for n, (old, new) in enumerate(zip(frames(), shown(result.data).frames, strict=True)):
            outside = ~touched(of_frame(result, n), *old.shape[1::-1])
            assert np.array_equal(old[outside], new[outside])
            assert np.array_equal(old, new) == (not of_frame(result, n))


# Colours of GIFs


def test_a_gif_of_one_frame() -> None:
    picture = few_colours(astronaut(), 256)
    before = np.asarray(picture.convert("RGB"))
    assert len(np.unique(before.reshape(-1, 3), axis=0)) == 256
    result = released(saved(picture, "GIF"), [Target(*FACE)])
    (after,) = shown(result.data).frames
    (region,) = result.regions
    outside = ~touched([region], 512, 512)
    assert np.array_equal(before[outside], after[outside])
    core = np.s_[region.y1 : region.y2, region.x1 : region.x2]
    assert residual_detail(before[core], after[core]) < proof.MAX_RESIDUAL
    assert result.regions == [region]
    assert region.frame == -1
    assert released(saved(picture, "GIF"), [Target(*FACE)]).data == result.data


def test_more_colours_than_a_palette_has_where_frames_draw_only_what_changes() -> None:
    """Two halves with palettes of their own: together they show 400 colours."""
    left, right = few_colours(noise(40, 60, 3), 200), few_colours(noise(40, 60, 3, seed=1), 200)
    first, second = saved(left, "GIF"), saved(right, "GIF")
    data = joined(first, piece_of(second, 30), width=90)
    before = shown(data).frames
    assert len(np.unique(before[1].reshape(-1, 3), axis=0)) > 256
    # What is blurred in the first frame alone could not be shown again beside the second's colours: blurred in both.
    for targets, where in (
        ([], []),
        ([Target(35, 5, 60, 30, "face", 1)], [1]),
        ([Target(5, 5, 25, 25, "face", 0)], [-1]),
    ):
        result = released(data, targets)
        assert [region.frame for region in result.regions] == where
        for n, (old, new) in enumerate(zip(before, shown(result.data).frames, strict=True)):
            outside = ~touched(of_frame(result, n), 90, 40)
            assert np.array_equal(old[outside], new[outside])


def test_too_many_colours_are_withheld() -> None:
    """The second frame is taken back, so the third shows again what was below, with colours of its own besides."""
    first, second = (
        saved(few_colours(noise(40, 90, 3), 250), "GIF"),
        saved(few_colours(noise(40, 90, 3, seed=1)), "GIF"),
    )
    third = saved(few_colours(noise(40, 40, 3, seed=2)), "GIF")
    data = joined(first, piece_of(second, 0, disposal=3), piece_of(third, 0), width=90)
    assert refused(data, []) == "a frame has more than 256 colours"


def piece_of(gif: bytes, x: int, disposal: int = 1) -> bytes:
    """The only frame of a GIF as one of another, with its palette."""
    table = 3 << ((gif[10] & 7) + 1)
    at = gif.index(b",", 13 + table)
    size = gif[at + 5 : at + 9]
    control = b"!\xf9\x04" + struct.pack("<BHB", disposal << 2, 5, 0) + b"\0"
    return (
        control
        + b","
        + struct.pack("<HH", x, 0)
        + size
        + bytes((0x80 | gif[10] & 7 | gif[at + 9] & 0x40,))
        + (gif[13 : 13 + table] + gif[at + 10 : -1])
    )


def joined(first: bytes, *others: bytes, width: int) -> bytes:
    return first[:6] + struct.pack("<H", width) + first[8:-1] + b"".join(others) + b";"


@pytest.mark.parametrize("room", [0, 1, 30, 255])
def test_colours_that_do_not_fit_become_the_nearest(room: int) -> None:
    pixels = noise(30, 40, 3)
    free = np.zeros((30, 40), np.bool_)
    free[5:25, 5:35] = True
    fixed = noise(256 - room, 3, seed=1)
    pixels[~free] = np.resize(fixed, (int((~free).sum()), 3))
    indices, colours, clear = palette.indexed(pixels, np.ones_like(free), free)
    assert clear is None
    assert len(colours) <= palette.MOST
    got = colours[indices]
    assert np.array_equal(got[~free], pixels[~free])
    distances = ((pixels[free].astype(int)[:, None] - colours.astype(int)[None]) ** 2).sum(axis=2)
    chosen = ((pixels[free].astype(int) - got[free]) ** 2).sum(axis=1)
    assert np.array_equal(chosen, distances.min(axis=1))


@pytest.mark.parametrize("loop", [None, 0, 1, 65535])
def test_loops(loop: int | None) -> None:
    options: dict[str, Any] = {"loop": loop}
    for kind in ("GIF", "WEBP", "PNG") if loop is not None else ("GIF",):
        data = animation(kind, **options)
        assert shown(data).loop == loop
        assert shown(released(data, TARGETS).data).loop == loop


def test_a_webp_with_pixels_under_alpha_is_written_anew_without_them() -> None:
    """The second frame draws a little, and carries the clear face where it is transparent."""
    hidden = np.dstack([scene(10), np.zeros((HEIGHT, WIDTH), np.uint8)])
    hidden[:8, :8] = (9, 8, 7, 255)
    for lossless in (True, False):
        first = saved(scene(None), "WEBP", lossless=lossless)
        second = saved(hidden, "WEBP", lossless=True, exact=True)
        data = webp_of(first, second)
        before = shown(data).frames
        assert np.array_equal(before[1][10:], before[0][10:])
        result = released(data, []).data
        assert all(np.array_equal(*pair) for pair in zip(before, shown(result).frames, strict=True))
        assert [piece.pixels.shape[:2] for piece in pieces(result)[0]] == [(HEIGHT, WIDTH), (8, 8)]


def webp_of(*stills: bytes) -> bytes:
    """An animated WebP of these pictures, each drawn over the one before."""
    three = [(side - 1).to_bytes(3, "little") for side in (WIDTH, HEIGHT)]
    body = riff_chunk(b"VP8X", bytes((0x12, 0, 0, 0)) + b"".join(three)) + riff_chunk(b"ANIM", bytes(6))
    for still in stills:
        at = still.index(b"VP8L" if b"VP8L" in still[:60] else b"VP8 ")
        body += riff_chunk(b"ANMF", bytes(6) + b"".join(three) + bytes((50, 0, 0, 0)) + still[at:])
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


# What is withheld


def test_withheld() -> None:
    clear = np.dstack([frames()[0], np.full(frames()[0].shape[:2], 255, np.uint8)])
    holed = clear.copy()
    holed[3, 3, 3] = 254
    for file_format, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        data = animation(file_format, [clear, holed], **options)
        assert refused(data, []) == refused(data, TARGETS[:1]) == "transparency is not supported yet"
    assert refused(KINDS["gif"], [Target(*face(10), "face", 4)]) == "a box is in a frame that is not there"
    assert refused(KINDS["gif"], [Target(*face(500), "face", 1)]) == "a box is empty or outside the image"
    deep = [Image.fromarray(one[:, :, 0].astype(np.uint16) * 257) for one in frames()]
    data = saved(deep[0], "PNG", save_all=True, append_images=deep[1:])
    assert refused(data, []) == "several frames of this PNG variant are not supported yet"


def test_an_apng_that_shows_what_lies_behind_it_is_withheld() -> None:
    """Pillow paints black there where there is no alpha; a viewer shows the page."""
    plain = animation("PNG", [frames()[0], scene(10), scene(110)])
    at = plain.index(b"fcTL")
    cleared = plain[: at - 4] + png_chunk(b"fcTL", plain[at + 4 : at + 28] + b"\x01\x00") + plain[at + 34 :]
    assert pieces(cleared)[0][1].x > 0
    assert refused(cleared, []) == "transparency is not supported yet"
    pixels = np.full((10, 20, 3), 7, np.uint8)
    control = struct.pack(">IIIIIHHBB", 0, 20, 10, 3, 3, 1, 10, 0, 0)
    data = bytearray(saved(scene(10), "PNG"))
    idat = saved(pixels, "PNG")
    content = idat[idat.index(b"IDAT") + 4 : -16]
    data[33:33] = png_chunk(b"acTL", struct.pack(">II", 1, 0))
    data[-12:-12] = png_chunk(b"fcTL", control) + png_chunk(b"fdAT", struct.pack(">I", 1) + content)
    assert inspect(bytes(data), LIMITS).frames == 2
    assert refused(bytes(data), []) == "transparency is not supported yet"


def test_pages_with_other_profiles_are_withheld() -> None:
    for profiles in ((None, PROFILE), (PROFILE, None)):
        file = io.BytesIO()
        with TiffImagePlugin.AppendingTiffWriter(file) as pages:
            for one, colours in zip(frames()[:2], profiles, strict=True):
                Image.fromarray(one).save(pages, "TIFF", icc_profile=colours)
                pages.newFrame()
            data = file.getvalue()
        assert inspect(data, LIMITS).frames == 2
        assert refused(data, []) == "TIFF variant not supported"


def test_pages_of_different_sizes_are_withheld() -> None:
    data = animation("TIFF", [frames()[0], frames()[1][:, :-1]])
    with pytest.raises(Undecodable, match="frames of different sizes are not supported"):
        released(data, [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_frame_withholds_the_image(kind: str) -> None:
    """Cut in the last frame: the others are whole."""
    data = KINDS[kind]
    for targets in ([], TARGETS):
        with pytest.raises((CannotRelease, Undecodable)):
            released(data[: -len(data) // 8], targets)


@pytest.mark.parametrize("targets", [[], TARGETS], ids=["unchanged", "blurred"])
def test_a_result_that_differs_is_withheld(monkeypatch: pytest.MonkeyPatch, targets: list[Target]) -> None:
    """Each property that the proof compares, broken once in an otherwise right result."""
    source = KINDS["apng"]
    right = released(source, targets)
    pictures = shown(right.data).frames
    one_off = pictures[3].copy()
    one_off[5, 5, 1] ^= 1
    wrong = {
        "a frame less": animation("PNG", pictures[:3]),
        "a frame more": animation("PNG", [*pictures, pictures[0]], duration=[*DURATIONS, 5]),
        "other durations": animation("PNG", pictures, duration=[*DURATIONS[:3], 251]),
        "another loop": animation("PNG", pictures, loop=4),
        "a pixel": animation("PNG", [*pictures[:3], one_off]),
        "another profile": animation("PNG", pictures, icc_profile=PROFILE),
        "another format": animation("WEBP", pictures, lossless=True),
        "another size": animation("PNG", [one[:, :-1] for one in pictures]),
        "damaged": right.data[:-300],
        "nothing": b"",
    }
    if targets:
        wrong["not blurred"] = source
    written = animation_redact._written
    for result in wrong.values():
        with monkeypatch.context() as patch:
            patch.setattr(animation_redact, "_written", lambda *args, result=result: (result, *written(*args)[1:]))
            assert refused(source, targets) == proof.DIFFERS
    assert released(source, targets) == right


def test_a_lossy_result_that_strays_is_withheld(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [Target(100, 20, 180, 110, "face", 0), *TARGETS]  # no frame is kept as it is
    result = released(KINDS["webp"], targets)
    right = shown(result.data).frames
    one, other = (region for region in result.regions if region.frame in (1, 2))
    moved = [frame.copy() for frame in right]
    moved[1][one.y1 : one.y2, one.x1 : one.x2] = right[2][other.y1 : other.y2, other.x1 : other.x2][::-1]
    written = animation_redact._written
    for pictures, passes in ((right, True), ([*right[:3], right[3] // 2], False), (moved, False)):
        file = animation("WEBP", pictures, quality=95)
        with monkeypatch.context() as patch:
            patch.setattr(animation_redact, "_written", lambda *args, file=file: (file, *written(*args)[1:]))
            assert passes or refused(KINDS["webp"], targets) == proof.DIFFERS
            assert not passes or released(KINDS["webp"], targets).data == file


@pytest.mark.parametrize("kind", KINDS)
def test_a_blur_that_leaves_a_face_is_made_stronger(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weak = BlurStyle(method="gaussian", strength=0.001, margin=0.1, feather=0.1)
    for target in TARGETS:
        result = redact(KINDS[kind], [target], weak, LIMITS)
        assert all(shown.residual <= proof.MAX_RESIDUAL for shown in result.proofs)
        assert all((region.sigma or 0) > 2 for region in result.regions)
        with monkeypatch.context() as patch:
            patch.setattr(redact_module, "stronger", lambda _: None)
            with pytest.raises(CannotRelease, match=f"^{proof.TOO_WEAK}$"):
                redact(KINDS[kind], [target], weak, LIMITS)


def test_more_frames_than_the_limits_allow_are_refused() -> None:
    picture = saved(few_colours(frames()[0]), "GIF")
    many = joined(picture, *[piece_of(picture, 0)] * 60, width=WIDTH)
    assert inspect(many, LIMITS).frames == 61
    with pytest.raises(Undecodable, match="over max_pixels"):
        released(many, [])
    assert len(shown(redact(many, [], STYLE, Limits(20_000_000, 5_000_000)).data).frames) == 61
