"""YOLO's text files, one for each image: a line for each box, class, centre x, centre y, width, height.

The numbers are shares of the image's width and height. Where an image's path has a folder ``images``, its labels lie
in ``labels`` beside it, ``images/a/b.jpg`` in ``labels/a/b.txt``; else in a text file next to the image. An image
without such a file has no boxes, by the format's convention.
"""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import yaml

from blurline.errors import BlurlineError
from blurline.formats.fields import Annotated, Row, outwards, table, text_of


def label_file(path: str) -> str:
    """Where the labels of the image at this relative path lie."""
    parts = list(PurePosixPath(path).with_suffix(".txt").parts)
    if "images" in parts[:-1]:
        last = max(at for at, part in enumerate(parts[:-1]) if part == "images")
        parts[last] = "labels"
    return "/".join(parts)


def names(folder: Path) -> Mapping[int, str]:
    """Class number → name, from the ``data.yaml`` in the folder; empty without one."""
    path = folder / "data.yaml"
    if not path.is_file():
        return {}
    try:
        found = (yaml.safe_load(text_of(path)) or {}).get("names") or {}
        return dict(enumerate(found)) if isinstance(found, list) else {int(key): str(found[key]) for key in found}
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        raise BlurlineError(f"{path}: want YAML with names, a list of class names: mend it") from None


def read(
    folder: Path, images: list[str], size: Callable[[str], tuple[int, int]], labels: Path | None = None
) -> Annotated:
    """Boxes of these images, paths relative to the folder; `size` gives an image's width and height in pixels.

    The label files lie below `labels`, under the images' own paths, if it is given.

    Raises
    ------
    BlurlineError
        Naming the file and line, or when no image has a label file at all.
    """
    classes = names(labels or folder)
    rows: list[Row] = []
    seen = 0
    for path in images:
        file = labels / PurePosixPath(path).with_suffix(".txt") if labels else folder / label_file(path)
        if not file.is_file():
            continue
        seen += 1
        lines = [(at, line) for at, line in enumerate(text_of(file).splitlines(), 1) if line.strip()]
        width, height = size(path) if lines else (0, 0)
        for at, line in lines:
            place = f"{file}:{at}"
            class_, x, y, w, h = _numbers(line, place)
            box = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
            rows.append((path, classes.get(class_, str(class_)), *outwards(*box, place), False))
    if not seen:
        raise BlurlineError(
            f"{labels or folder}: no YOLO label file such as {label_file(images[0]) if images else 'x.txt'}, and no "
            "other annotations (.json, .csv, *_gt.txt) are there or named"
        )
    return table(rows, images, str(folder))


def _numbers(line: str, place: str) -> tuple[int, float, float, float, float]:
    values = line.split()
    try:
        class_, (x, y, w, h) = int(values[0]), (float(value) for value in values[1:5])
    except (ValueError, IndexError):
        raise BlurlineError(f"{place}: want class, centre x, centre y, width, height, not {line[:60]!r}") from None
    if not all(-1 <= value <= 2 for value in (x, y, w, h)):
        raise BlurlineError(f"{place}: want shares of the image's size, 0 to 1, not {line[:60]!r}")
    return class_, x, y, w, h
