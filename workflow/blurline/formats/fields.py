"""What every format's reader needs: fields checked where they stand, boxes in whole pixels, the table they go to."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from blurline.errors import BlurlineError

SCHEMA = {
    "path": pl.String,
    "label": pl.String,
    **dict.fromkeys(("x1", "y1", "x2", "y2"), pl.Int32),
    "ignore": pl.Boolean,
}
_LIMIT = 10**9

Row = tuple[str, str, int, int, int, int, bool]


@dataclass(frozen=True)
class Annotated:
    """What a file says.

    Attributes
    ----------
    boxes
        One row each, with the columns of `SCHEMA`. Boxes are whole pixels, rounded outwards and never empty: a point
        is a pixel. `ignore` marks regions that hold faces which nobody drew one by one, or could judge.
    images
        Paths of all images that the file lists, also of those without boxes, in its order, each once.
    """

    boxes: pl.DataFrame
    images: list[str]


def table(rows: Iterable[Row], images: Iterable[str], shown: str) -> Annotated:
    """Put what a reader found together."""
    try:
        return Annotated(pl.DataFrame(list(rows), schema=SCHEMA, orient="row"), list(dict.fromkeys(images)))
    except UnicodeEncodeError:
        raise BlurlineError(f"{shown}: a name in it is no Unicode text: mend it") from None


def text_of(path: Path) -> str:
    """The whole of a text file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BlurlineError(f"{path}: cannot be read ({error.strerror}): name an annotation file") from None
    except UnicodeDecodeError as error:
        raise BlurlineError(f"{path}: not UTF-8 text ({error.reason}): save it as UTF-8") from None


def json_of(path: Path, wanted: str) -> Any:
    """The content of a JSON file; `wanted` says in messages what it should be."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise BlurlineError(f"{path}: cannot be read ({error.strerror}): name an annotation file") from None
    except ValueError as error:
        raise BlurlineError(f"{path}: no JSON ({error}): {wanted}") from None


def field(entry: Any, name: str, kind: Any, place: str, wanted: str) -> Any:
    """A field of a JSON object, of a kind as for `isinstance`."""
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        problem = "is missing" if value is None else f"cannot be {_short(value)}"
        raise BlurlineError(f"{place}: {name} {problem}: mend it; {wanted}")
    return value


def named(names: Mapping[Any, str], id_: Any, place: str) -> str:
    """What an id stands for."""
    if id_ not in names:
        raise BlurlineError(f"{place} {id_!r} is not the id of any: mend it")
    return names[id_]


def number(value: Any, place: str) -> float:
    """A finite number of pixels."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LIMIT:
        raise BlurlineError(f"{place}: {_short(value)} is no number of pixels: mend it")
    return value


def outwards(x1: float, y1: float, x2: float, y2: float, place: str) -> tuple[int, int, int, int]:
    """A box in whole pixels, right end exclusive."""
    if x2 < x1 or y2 < y1:
        raise BlurlineError(f"{place}: ends before it begins: mend it")
    left, top = math.floor(x1), math.floor(y1)
    return left, top, max(math.ceil(x2), left + 1), max(math.ceil(y2), top + 1)


def four(values: Any, place: str) -> tuple[float, float, float, float]:
    """Four numbers [x, y, width, height]."""
    if not isinstance(values, list) or len(values) != 4:
        raise BlurlineError(f"{place}: want [x, y, width, height], not {_short(values)}: mend it")
    x, y, width, height = (number(value, place) for value in values)
    return x, y, width, height


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "…"
