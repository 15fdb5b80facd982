"""Draws the pictures of docs/blurring.md: the methods, and a small face beside a large one.

    uv run python docs/pictures/methods.py

The face is that of scikit-image's astronaut, Eileen Collins, in NASA's portrait, which is in the public domain.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.data import astronaut

from blurline.images.obfuscate import BlurStyle, Target, obfuscate
from blurline.params import Blur
from blurline.steps.blur import style_of

HERE = Path(__file__).parent
FACE = (175, 70, 285, 205)
SHOWN = (110, 20, 350, 260)
LABEL = 22  # pixels


def main() -> None:
    style = style_of(Blur())
    ways = {
        "untouched": None,
        f"gaussian {style.strength}": style,
        "gaussian, ellipse": replace(style, shape="ellipse"),
        f"mosaic {style.cells}": replace(style, method="mosaic"),
        "solid": replace(style, method="solid"),
        "solid #808080": replace(style, method="solid", colour="#808080"),
        "solid, ellipse": replace(style, method="solid", shape="ellipse"),
        "imagenet2021": replace(style, method="imagenet2021"),
    }
    panels = [
        labelled(Image.fromarray(blurred(astronaut(), [FACE], way)).crop(SHOWN), name) for name, way in ways.items()
    ]
    save([panels[:4], panels[4:]], "blur-methods.jpg")
    scene, boxes = beside()
    pair = {
        "untouched": None,
        "imagenet2021": replace(style, method="imagenet2021"),
        f"gaussian {style.strength}": style,
    }
    save(
        [[labelled(Image.fromarray(blurred(scene, boxes, way)), name) for name, way in pair.items()]], "blur-beside.jpg"
    )


def blurred(pixels: np.ndarray, boxes: list[tuple[int, int, int, int]], style: BlurStyle | None) -> np.ndarray:
    return pixels if style is None else obfuscate(pixels, [Target(*box) for box in boxes], style)[0]


def beside() -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """The same portrait twice: with a face of 200 pixels, and with one of 40."""
    portrait = Image.fromarray(astronaut()).crop((110, 20, 350, 300))
    scene = Image.new("RGB", (520, 420), (120, 130, 140))
    boxes = []
    for x, y, scale in ((10, 5, 200 / 135), (410, 180, 40 / 135)):
        size = (round(240 * scale), round(280 * scale))
        scene.paste(portrait.resize(size, Image.Resampling.LANCZOS), (x, y))
        x1, y1, x2, y2 = ((v - o) * scale for v, o in zip(FACE, (110, 20, 110, 20), strict=True))
        boxes.append((round(x + x1), round(y + y1), round(x + x2), round(y + y2)))
    return np.asarray(scene), boxes


def labelled(picture: Image.Image, name: str) -> Image.Image:
    panel = Image.new("RGB", (picture.width, picture.height + LABEL), "white")
    panel.paste(picture, (0, LABEL))
    ImageDraw.Draw(panel).text((2, 3), name, fill="black", font=ImageFont.load_default(14))
    return panel


def save(rows: list[list[Image.Image]], name: str) -> None:
    width, height = rows[0][0].size
    sheet = Image.new("RGB", (len(rows[0]) * (width + 6) - 6, len(rows) * height), "white")
    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            sheet.paste(panel, (x * (width + 6), y * height))
    sheet.save(HERE / name, quality=85, optimize=True)


if __name__ == "__main__":
    main()
