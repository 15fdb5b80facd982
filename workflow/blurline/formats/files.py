"""Any annotation file, by what is in it."""

from collections.abc import Collection
from pathlib import Path

from blurline.errors import BlurlineError
from blurline.formats import coco, princeton, rows, wider
from blurline.formats.fields import Annotated, json_of, text_of

WANTED = f"{princeton.WANTED} or COCO's object with images, annotations and categories"


def read(path: Path, categories: Collection[str] = ()) -> Annotated:
    """Read COCO's or Princeton's JSON, WIDER FACE's text or a CSV.

    Parameters
    ----------
    categories
        Of COCO's boxes those to read; only a file with one category may leave it open.

    Raises
    ------
    BlurlineError
        Naming the file and the entry or line that cannot be understood.
    """
    kind = path.suffix.lower()
    if categories and kind in (".txt", ".csv"):
        raise BlurlineError(f"{path}: --category {min(categories)}: such files have no categories: leave it out")
    if kind == ".txt":
        return wider.parse(text_of(path), str(path))
    if kind == ".csv":
        return rows.parse(text_of(path), str(path))
    return read_json(path, categories)


def read_json(path: Path, categories: Collection[str] = ()) -> Annotated:
    """Read COCO's or Princeton's JSON (see `read`)."""
    data = json_of(path, WANTED)
    if isinstance(data, list):
        if categories:
            raise BlurlineError(
                f"{path}: --category {min(categories)}: Princeton's files have no categories: leave it out"
            )
        return princeton.parse(data, str(path))
    if isinstance(data, dict) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list):
        return coco.parse(data, categories, str(path))
    raise BlurlineError(f"{path}: not known as an annotation file: {WANTED}")
