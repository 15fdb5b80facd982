"""COCO's object detection format: an object with images, annotations and categories; boxes are x, y, width, height."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from blurline.errors import BlurlineError
from blurline.formats.fields import Annotated, Row, field, four, named, outwards, table

WANTED = "want COCO's object with images, annotations and categories"


def parse(data: Mapping[str, Any], categories: Collection[str], shown: str) -> Annotated:
    """Boxes of these categories in the content of such a file, which only one with a single category may leave open.

    Boxes with `iscrowd` are to be ignored.
    """
    images = _by_id(data["images"], "file_name", f"{shown}: images")
    return table(_rows(data, images, categories, shown), images.values(), shown)


def _rows(data: Mapping[str, Any], images: Mapping[Any, str], categories: Collection[str], shown: str) -> Iterator[Row]:
    names = _by_id(data.get("categories") or [], "name", f"{shown}: categories")
    wanted = _chosen(set(names.values()), categories, shown)
    for at, entry in enumerate(data["annotations"]):
        place = f"{shown}: annotations[{at}]"
        label = "face"
        if names:
            label = named(names, field(entry, "category_id", (int, str), place, WANTED), f"{place}: category_id")
            if label not in wanted:
                continue
        path = named(images, field(entry, "image_id", (int, str), place, WANTED), f"{place}: image_id")
        x, y, width, height = four(field(entry, "bbox", list, place, WANTED), f"{place}.bbox")
        yield path, label, *outwards(x, y, x + width, y + height, f"{place}.bbox"), bool(entry.get("iscrowd"))


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
    for at, entry in enumerate(entries):
        place = f"{shown}[{at}]"
        id_ = field(entry, "id", (int, str), place, WANTED)
        if id_ in found:
            raise BlurlineError(f"{place}: id {id_!r} stands twice: mend it")
        found[id_] = field(entry, name, str, place, WANTED)
    return found
