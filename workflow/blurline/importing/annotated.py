"""Annotation files of others: Princeton's and COCO's, read as boxes by the paths that they name."""

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from blurline.errors import BlurlineError

SCHEMA = {"path": pl.String, "label": pl.String, **dict.fromkeys(("x1", "y1", "x2", "y2"), pl.Int32)}
WANTED = (
    'want Princeton\'s list [{"url": …, "bboxes": [{"x0", "y0", "x1", "y1"}]}] or COCO\'s object with images, '
    "annotations and categories"
)
_LIMIT = 10**9


@dataclass(frozen=True)
class Annotated:
    """What a file says: `boxes` has the columns of SCHEMA; `images` is how many images the file lists.

    Boxes are whole pixels, rounded outwards and never empty: a point is a pixel.
    """

    boxes: pl.DataFrame
    images: int


def read(path: Path, categories: Collection[str]) -> Annotated:
    """Read an annotation file; of COCO's boxes those of these categories, which only a file with one may leave open.

    Raises
    ------
    BlurlineError
        Naming the file and the entry that cannot be understood.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise BlurlineError(f"{path}: cannot be read ({error.strerror}): name an annotation file") from None
    except ValueError as error:
        raise BlurlineError(f"{path}: no JSON ({error}): {WANTED}") from None
    if isinstance(data, list):
        if categories:
            raise BlurlineError(
                f"{path}: --category {min(categories)}: Princeton's files have no categories: leave it out"
            )
        return Annotated(_frame(_princeton(data, str(path)), path), len(data))
    if isinstance(data, dict) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list):
        images = _by_id(data["images"], "file_name", f"{path}: images")
        return Annotated(_frame(_coco(data, images, categories, str(path)), path), len(images))
    raise BlurlineError(f"{path}: not known as an annotation file: {WANTED}")


def _frame(rows: Iterator[tuple[Any, ...]], path: Path) -> pl.DataFrame:
    try:
        return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")
    except UnicodeEncodeError:
        raise BlurlineError(f"{path}: a name in it is no Unicode text: mend it") from None


def _princeton(data: list[Any], shown: str) -> Iterator[tuple[Any, ...]]:
    for number, entry in enumerate(data):
        place = f"{shown}: [{number}]"
        path, boxes = _field(entry, "url", str, place), _field(entry, "bboxes", list, place)
        for index, box in enumerate(boxes):
            where = f"{place}.bboxes[{index}]"
            x0, y0, x1, y1 = (
                _number(_field(box, name, (int, float), where), where) for name in ("x0", "y0", "x1", "y1")
            )
            yield path, "face", *_outwards(x0, y0, x1, y1, where)


def _coco(
    data: Mapping[str, Any], images: Mapping[Any, str], categories: Collection[str], shown: str
) -> Iterator[tuple[Any, ...]]:
    names = _by_id(data.get("categories") or [], "name", f"{shown}: categories")
    wanted = _chosen(set(names.values()), categories, shown)
    for number, entry in enumerate(data["annotations"]):
        place = f"{shown}: annotations[{number}]"
        label = "face"
        if names:
            label = _named(names, _field(entry, "category_id", (int, str), place), f"{place}: category_id")
            if label not in wanted:
                continue
        path = _named(images, _field(entry, "image_id", (int, str), place), f"{place}: image_id")
        box = _field(entry, "bbox", list, place)
        if len(box) != 4:
            raise BlurlineError(f"{place}.bbox: want [x, y, width, height], not {_short(box)}: mend it")
        x, y, width, height = (_number(value, f"{place}.bbox") for value in box)
        yield path, label, *_outwards(x, y, x + width, y + height, f"{place}.bbox")


def _chosen(known: set[str], categories: Collection[str], shown: str) -> set[str]:
    listed = ", ".join(sorted(known)[:20]) + f" and {len(known) - 20} more" * (len(known) > 20)
    for name in sorted(set(categories) - known):
        raise BlurlineError(f"{shown}: --category {name}: there is no such category: there are {listed or 'none'}")
    if not categories and len(known) > 1:
        raise BlurlineError(
            f"{shown}: which categories are to be blurred? Name them with --category: there are {listed}"
        )
    return set(categories) or known


def _by_id(entries: Any, name: str, shown: str) -> dict[Any, str]:
    found: dict[Any, str] = {}
    for number, entry in enumerate(entries):
        place = f"{shown}[{number}]"
        id_ = _field(entry, "id", (int, str), place)
        if id_ in found:
            raise BlurlineError(f"{place}: id {id_!r} stands twice: mend it")
        found[id_] = _field(entry, name, str, place)
    return found


def _field(entry: Any, name: str, kind: Any, place: str) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        problem = "is missing" if value is None else f"cannot be {_short(value)}"
        raise BlurlineError(f"{place}: {name} {problem}: mend it; {WANTED}")
    return value


def _named(names: Mapping[Any, str], id_: Any, place: str) -> str:
    if id_ not in names:
        raise BlurlineError(f"{place} {id_!r} is not the id of any: mend it")
    return names[id_]


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LIMIT:
        raise BlurlineError(f"{place}: {_short(value)} is no number of pixels: mend it")
    return value


def _outwards(x1: float, y1: float, x2: float, y2: float, place: str) -> tuple[int, int, int, int]:
    if x2 < x1 or y2 < y1:
        raise BlurlineError(f"{place}: ends before it begins: mend it")
    left, top = math.floor(x1), math.floor(y1)
    return left, top, max(math.ceil(x2), left + 1), max(math.ceil(y2), top + 1)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "…"
