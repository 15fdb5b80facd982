"""WIDER FACE's text: for each image its path, the number of faces, and a line for each that begins x y w h.

The six further numbers of a line are blur, expression, illumination, invalid, occlusion and pose. An image without
faces has the count 0 and one line of zeros. Boxes that are marked invalid, or have no width or height, are to be
ignored, as the benchmark does.
"""

from blurline.errors import BlurlineError
from blurline.formats.fields import Annotated, Row, number, outwards, table

_INVALID = 7  # place of the flag in a line


def parse(text: str, shown: str) -> Annotated:
    """Boxes of the text of such a file; `shown` names it in messages."""
    lines = text.splitlines()
    images: list[str] = []
    rows: list[Row] = []
    at = 0
    while at < len(lines):
        path = lines[at].strip()
        if not path:
            at += 1
            continue
        count = lines[at + 1].strip() if at + 1 < len(lines) else ""
        if not count.isdecimal():
            raise BlurlineError(f"{shown}:{at + 2}: want the number of faces in {path}, not {count[:40]!r}: mend it")
        images.append(path)
        last = at + 2 + max(1, int(count))  # a line of zeros stands for no face
        if last > len(lines) and int(count):
            raise BlurlineError(f"{shown}:{at + 2}: {count} faces in {path}, but the file ends before: mend it")
        rows += [_row(path, lines[n], f"{shown}:{n + 1}") for n in range(at + 2, at + 2 + int(count))]
        at = last if int(count) or (at + 2 < len(lines) and _is_zeros(lines[at + 2])) else at + 2
    return table(rows, images, shown)


def _is_zeros(line: str) -> bool:
    return bool(line.split()) and all(value == "0" for value in line.split())


def _row(path: str, line: str, place: str) -> Row:
    try:
        values = [float(value) for value in line.split()]
    except ValueError:
        values = []
    if len(values) < 4:
        raise BlurlineError(f"{place}: want x y w h and flags, not {line[:60]!r}: mend it")
    x, y, width, height = (number(value, place) for value in values[:4])
    invalid = len(values) > _INVALID and values[_INVALID] != 0
    ignore = invalid or width <= 0 or height <= 0
    return path, "face", *outwards(x, y, x + max(width, 0), y + max(height, 0), place), ignore
