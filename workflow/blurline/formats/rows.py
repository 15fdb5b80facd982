"""Boxes as CSV: image_id, x1, y1, x2, y2, and if you like label and ignore; a row without numbers is an image alone."""

import csv

from blurline.errors import BlurlineError
from blurline.formats.fields import Annotated, Row, number, outwards, table

_NEEDED = ("image_id", "x1", "y1", "x2", "y2")
_TRUE = ("1", "true", "yes")


def parse(text: str, shown: str) -> Annotated:
    """Boxes of the text of such a file; `shown` names it in messages. x2 and y2 are exclusive."""
    lines = csv.DictReader(text.splitlines())
    if missing := [name for name in _NEEDED if name not in (lines.fieldnames or [])]:
        raise BlurlineError(f"{shown}:1: column {missing[0]} is missing: the first line names the columns")
    images: list[str] = []
    rows: list[Row] = []
    for row in lines:
        place = f"{shown}:{lines.line_num}"
        path = row["image_id"]
        if not path:
            raise BlurlineError(f"{place}: image_id is empty: say which image the box is in")
        images.append(path)
        corners = [row[name] or "" for name in _NEEDED[1:]]
        if not any(corners):
            continue
        try:
            x1, y1, x2, y2 = (number(float(value), place) for value in corners)
        except ValueError:
            raise BlurlineError(f"{place}: want x1, y1, x2, y2 in pixels, not {','.join(corners)}: mend it") from None
        ignore = (row.get("ignore") or "").strip().lower() in _TRUE
        rows.append((path, row.get("label") or "face", *outwards(x1, y1, x2, y2, place), ignore))
    return table(rows, images, shown)
