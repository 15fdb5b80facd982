"""Draws the picture of the README and releases it: what stands over the arrow was drawn, what stands below blurred.

    uv run python docs/pictures/draw.py

The people are drawn, so that the picture shows nobody; detector and blur are those of every release.
"""

import io
import math
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from blurline import params as params_file
from blurline.detectors import centerface, ensemble
from blurline.detectors.yolo import Detector, Failure
from blurline.images import decode
from blurline.images.obfuscate import Target
from blurline.images.redact import redact
from blurline.steps.blur import style_of

HERE = Path(__file__).parent
TOP = HERE.parents[1]
SIZE = (900, 230)
GAP = 24
SCALE = 3  # drawn larger, for smooth edges

# x, y, height of the head in pixels; skin, hair and clothes
PEOPLE = [
    (90, 112, 60, (240, 202, 174), (60, 40, 30), (70, 100, 150)),
    (205, 84, 46, (238, 196, 168), (110, 70, 40), (150, 150, 90)),
    (330, 122, 64, (186, 134, 102), (25, 20, 20), (170, 70, 60)),
    (455, 80, 44, (200, 150, 115), (40, 30, 30), (120, 110, 140)),
    (575, 116, 62, (246, 212, 186), (150, 100, 50), (60, 120, 90)),
    (700, 86, 50, (170, 118, 88), (30, 24, 22), (190, 160, 90)),
    (815, 118, 58, (242, 206, 180), (190, 150, 90), (110, 80, 120)),
]


def main() -> None:
    drawn = scene()
    data = io.BytesIO()
    drawn.save(data, "PNG")
    params = params_file.load(TOP)
    limits = decode.Limits(params.download.max_bytes, params.download.max_pixels)
    (found,) = detector(params).detect(iter([decode.decode_rgb(data.getvalue(), limits)]))
    assert not isinstance(found, Failure)
    boxes = [Target(one.x1, one.y1, one.x2, one.y2) for one in found if one.score >= params.detect.confidence]
    print(f"{len(PEOPLE)} faces drawn, {len(boxes)} found")
    released = redact(data.getvalue(), boxes, style_of(params.blur), limits)
    with Image.open(io.BytesIO(released.data)) as opened:
        after = opened.convert("RGB")
    both = Image.new("RGB", (SIZE[0], SIZE[1] * 2 + GAP), "white")
    both.paste(drawn, (0, 0))
    both.paste(after, (0, SIZE[1] + GAP))
    middle, edge = SIZE[0] // 2, SIZE[1] + 4
    ImageDraw.Draw(both).polygon(
        [(middle - 16, edge), (middle + 16, edge), (middle, edge + GAP - 8)], fill=(90, 90, 90)
    )
    both.save(HERE / "before-after.jpg", quality=88, optimize=True)


def detector(params: params_file.Params) -> Detector:
    folder = Path(tempfile.mkdtemp())
    weights = folder / "centerface.onnx"
    weights.write_bytes(centerface.build(centerface.source()))
    (found,) = ensemble.load(params.detect, folder, threads=2).values()
    return found


def scene() -> Image.Image:
    """A street with people in it."""
    width, height = SIZE[0] * SCALE, SIZE[1] * SCALE
    rows = np.linspace(0, 1, height)[:, None, None]
    sky = np.array([178, 205, 228]) * (1 - rows) + np.array([228, 226, 218]) * rows
    picture = Image.fromarray(np.broadcast_to(sky, (height, width, 3)).astype(np.uint8).copy())
    draw = ImageDraw.Draw(picture)
    random = np.random.default_rng(3)
    for left in range(0, width, 220):
        top = int(random.uniform(0.05, 0.3) * height)
        shade = int(random.uniform(150, 200))
        draw.rectangle([left, top, left + 190, height], fill=(shade, shade - 12, shade - 26))
        for y in range(top + 30, height - 80, 80):
            for x in range(left + 24, left + 170, 56):
                draw.rectangle([x, y, x + 32, y + 46], fill=(shade - 60, shade - 45, shade - 30))
    draw.rectangle([0, int(height * 0.86), width, height], fill=(140, 140, 144))
    picture = picture.filter(ImageFilter.GaussianBlur(5))
    for x, y, size, skin, hair, clothes in sorted(PEOPLE, key=lambda one: one[2]):
        person(picture, x * SCALE, y * SCALE, size * SCALE, skin, hair, clothes)
    small = picture.resize(SIZE, Image.Resampling.LANCZOS)
    noise = np.random.default_rng(1).normal(0, 3, (SIZE[1], SIZE[0], 1))
    return Image.fromarray(np.clip(np.asarray(small) + noise, 0, 255).astype(np.uint8))


def person(
    picture: Image.Image,
    x: int,
    y: int,
    size: int,
    skin: tuple[int, int, int],
    hair: tuple[int, int, int],
    clothes: tuple[int, int, int],
) -> None:
    """Head and shoulders; the light comes from the upper left. `x, y` is the middle of the face."""
    draw = ImageDraw.Draw(picture)
    a, b = int(size * 0.36), int(size * 0.5)  # half the width and the height of the face
    draw.rounded_rectangle([x - int(a * 2.3), y + int(b * 1.35), x + int(a * 2.3), picture.height], a, fill=clothes)
    draw.polygon(
        [(x - a // 2, y + b // 2), (x + a // 2, y + b // 2), (x + int(a * 0.65), y + int(b * 1.5)),
         (x - int(a * 0.65), y + int(b * 1.5))],
        fill=tuple(int(c * 0.8) for c in skin),
    )  # fmt: skip
    draw.ellipse([x - int(a * 1.2), y - int(b * 1.3), x + int(a * 1.2), y + int(b * 0.75)], fill=hair)
    face = Image.new("RGB", picture.size)
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).ellipse([x - a, y - int(b * 0.98), x + a, y + b], fill=255)
    gy, gx = np.mgrid[0 : picture.height, 0 : picture.width]
    u, v = (gx - x) / a, (gy - y) / b
    depth = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
    light = 0.62 + 0.5 * np.clip(-0.45 * u - 0.35 * v + 0.75 * depth, 0, 1)

    def spot(cx: float, cy: float, rx: float, ry: float, amount: float) -> np.ndarray:
        return amount * np.exp(-(((u - cx) / rx) ** 2 + ((v - cy) / ry) ** 2))

    for side in (-1, 1):
        light -= spot(side * 0.40, -0.12, 0.22, 0.12, 0.30)  # sockets
        light += spot(side * 0.5, 0.22, 0.22, 0.14, 0.08)  # cheeks
        light -= spot(side * 0.15, 0.30, 0.07, 0.05, 0.35)  # nostrils
        light -= spot(side * 0.20, 0.12, 0.07, 0.25, 0.10)  # sides of the nose
    light += spot(0.0, 0.1, 0.08, 0.25, 0.12)  # bridge and tip
    light += spot(0.0, 0.24, 0.1, 0.06, 0.10)
    light -= spot(0.0, 0.37, 0.2, 0.05, 0.16)
    light -= spot(0.0, 0.74, 0.3, 0.06, 0.12)  # under the lip
    light += spot(0.0, -0.5, 0.45, 0.2, 0.07)  # forehead
    shaded = np.clip(np.array(skin)[None, None, :] * light[..., None], 0, 255)
    face = Image.fromarray(shaded.astype(np.uint8))
    picture.paste(face, (0, 0), mask.filter(ImageFilter.GaussianBlur(2)))
    for side in (-1, 1):
        ex, ey, rx, ry = x + side * int(a * 0.40), y - int(b * 0.10), int(a * 0.2), int(b * 0.075)
        draw.ellipse([ex - rx, ey - ry, ex + rx, ey + ry], fill=(238, 234, 230))
        draw.ellipse([ex - ry, ey - ry, ex + ry, ey + ry], fill=(70, 48, 34))
        draw.ellipse([ex - ry // 2, ey - ry // 2, ex + ry // 2, ey + ry // 2], fill=(14, 10, 10))
        draw.arc([ex - int(rx * 1.2), ey - int(ry * 1.6), ex + int(rx * 1.2), ey + ry], 190, 350, fill=(50, 32, 26),
                 width=max(2, size // 60))  # fmt: skip
        brow = [
            (ex + int(t * rx * 1.4), ey - int(ry * (2.3 + 0.7 * math.cos(t * 1.5) - 0.35 * side * t)))
            for t in np.linspace(-1, 1, 9)
        ]
        draw.line(brow, fill=hair, width=max(3, size // 34), joint="curve")
    mx, my, mw, mh = x, y + int(b * 0.55), int(a * 0.42), int(b * 0.08)
    draw.chord([mx - mw, my - 3 * mh, mx + mw, my + 2 * mh], 20, 160, fill=(160, 74, 72))
    draw.chord([mx - int(mw * 0.8), my - 2 * mh, mx + int(mw * 0.8), my + mh], 25, 155, fill=(240, 236, 230))
    fringe = [(x - int(a * 1.08), y - int(b * 0.1))]
    fringe += [(x + int(a * 1.08 * math.cos(t)), y - int(b * 1.12 * math.sin(t))) for t in np.linspace(3.0, 0.14, 24)]
    fringe += [
        (x + int(a * t), y - int(b * (0.52 + 0.2 * math.sqrt(max(0, 1 - t * t))))) for t in np.linspace(0.92, -0.92, 24)
    ]
    draw.polygon(fringe, fill=hair)


if __name__ == "__main__":
    main()
