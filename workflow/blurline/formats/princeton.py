"""Princeton's list of ImageNet's faces: [{"url": "train/n…/x.JPEG", "bboxes": [{"x0", "y0", "x1", "y1"}]}]."""

from collections.abc import Iterator
from typing import Any

from blurline.formats.fields import Annotated, Row, field, number, outwards, table

WANTED = 'want Princeton\'s list [{"url": …, "bboxes": [{"x0", "y0", "x1", "y1"}]}]'


def parse(data: list[Any], shown: str) -> Annotated:
    """Boxes of the content of such a file; `shown` names it in messages."""
    images = [field(entry, "url", str, f"{shown}: [{number_}]", WANTED) for number_, entry in enumerate(data)]
    return table(_rows(data, images, shown), images, shown)


def _rows(data: list[Any], images: list[str], shown: str) -> Iterator[Row]:
    for at, (entry, path) in enumerate(zip(data, images, strict=True)):
        place = f"{shown}: [{at}]"
        for index, box in enumerate(field(entry, "bboxes", list, place, WANTED)):
            where = f"{place}.bboxes[{index}]"
            x0, y0, x1, y1 = (
                number(field(box, name, (int, float), where, WANTED), where) for name in ("x0", "y0", "x1", "y1")
            )
            yield path, "face", *outwards(x0, y0, x1, y1, where), False
