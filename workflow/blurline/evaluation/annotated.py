"""Annotated images in a folder: which there are, what is drawn in them, and which of them to look at."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import numpy as np
import polars as pl

from blurline.errors import BlurlineError
from blurline.evaluation.scores import Boxes
from blurline.formats import files, yolo
from blurline.formats.fields import Annotated
from blurline.images import decode
from blurline.images.decode import Limits, Undecodable

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".psd")


@dataclass(frozen=True)
class Choice:
    """Which of the annotated images to look at.

    Attributes
    ----------
    categories
        Of COCO's and YOLO's boxes those of these categories.
    only
        Patterns, such as ``0--Parade/*``, of which an image's path must match one; none: all images.
    every, first
        Of the images of each folder, in the order of their names, every how many, beginning with which (from 0): so
        that one part can be used for choosing params, and another one for the figures that are told.
    """

    categories: Collection[str] = ()
    only: Sequence[str] = ()
    every: int = 1
    first: int = 0


@dataclass(frozen=True)
class Drawn:
    """What annotators drew in an image: boxes of faces, and of regions to ignore, (n, 4) pixels each."""

    faces: Boxes
    ignored: Boxes


def read(folder: Path, annotations: Path | None, choice: Choice, limits: Limits) -> tuple[dict[str, Drawn], int]:
    """The annotated images of a folder that are chosen, by path relative to it; and how many others are not there.

    Parameters
    ----------
    annotations
        A file of COCO, Princeton or WIDER FACE, or a CSV; a folder of YOLO's labels, or None: look in the folder.

    Raises
    ------
    BlurlineError
        When there are no annotations, none of the images is there, or a file cannot be understood.
    """
    if not folder.is_dir():
        raise BlurlineError(f"{folder}: no such folder: name one with annotated images")
    annotations = annotations or find(folder)
    there = images_in(folder)
    if annotations.is_dir():
        labels = None if annotations == folder else annotations
        listed = yolo.read(folder, there, lambda path: _size(folder / path, limits), labels)
        if unknown := sorted(set(choice.categories) - set(listed.boxes["label"])):
            raise BlurlineError(f"--category {unknown[0]}: no label file of {annotations} has it: is it in data.yaml?")
        if choice.categories:
            kept = listed.boxes.filter(pl.col("label").is_in(list(choice.categories)))
            listed = Annotated(kept, listed.images)
    else:
        listed = files.read(annotations, choice.categories)
    places = _places(listed.images, there)
    if not places:
        raise BlurlineError(
            f"{annotations}: none of its {len(listed.images)} images is in {folder}"
            + (f", such as {listed.images[0]}" if listed.images else "")
            + ": name the folder that its paths start from"
        )
    drawn = _drawn(listed.boxes)
    empty = Drawn(np.zeros((0, 4), np.int64), np.zeros((0, 4), np.int64))
    by_path = {places[image]: drawn.get(image, empty) for image in listed.images if image in places}
    chosen = _chosen(sorted(by_path), choice)
    if not chosen:
        raise BlurlineError(f"{folder}: no annotated image is chosen: look at --only, --every and --first")
    return {path: by_path[path] for path in chosen}, len(listed.images) - len(places)


def find(folder: Path) -> Path:
    """The annotations in a folder of images: its only annotation file, or the folder itself with YOLO's labels."""
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in (".json", ".csv") or (path.suffix == ".txt" and path.stem.endswith("_gt"))
    )
    if len(found) == 1:
        return found[0]
    if found:
        raise BlurlineError(f"{folder}: {' and '.join(path.name for path in found[:3])}: which one? Name it")
    return folder


def images_in(folder: Path) -> list[str]:
    """The paths of all images below a folder, relative to it, sorted."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )


def _chosen(paths: Sequence[str], choice: Choice) -> list[str]:
    if not 0 <= choice.first < choice.every:
        raise BlurlineError(f"--first {choice.first}: want 0 to {choice.every - 1}, one less than --every")
    by_folder = defaultdict(list)
    for path in sorted(paths):
        by_folder[PurePosixPath(path).parent].append(path)
    some = [path for of_folder in by_folder.values() for path in of_folder[choice.first :: choice.every]]
    return [path for path in some if not choice.only or any(fnmatch(path, pattern) for pattern in choice.only)]


def _places(listed: Sequence[str], there: Sequence[str]) -> dict[str, str]:
    """Listed path → path in the folder: the same, or else the only one that ends with it, or that it ends with."""
    exact = set(there)
    by_name = defaultdict(list)
    for path in there:
        by_name[PurePosixPath(path).name].append(path)
    found = {}
    for path in listed:
        if path in exact:
            found[path] = path
            continue
        near = [one for one in by_name[PurePosixPath(path).name] if _ends_with(one, path) or _ends_with(path, one)]
        if len(near) == 1:
            found[path] = near[0]
    taken: dict[str, str] = {}
    for path, place in found.items():
        if place in taken:
            raise BlurlineError(f"{path} and {taken[place]} of the annotations would both be {place}: mend the paths")
        taken[place] = path
    return found


def _ends_with(path: str, end: str) -> bool:
    return path == end or path.endswith("/" + end.lstrip("/"))


def _drawn(boxes: pl.DataFrame) -> dict[str, Drawn]:
    found = {}
    for (path,), rows in boxes.group_by("path", maintain_order=True):
        corners = rows.select("x1", "y1", "x2", "y2").to_numpy().astype(np.int64)
        ignore = rows["ignore"].to_numpy()
        found[str(path)] = Drawn(corners[~ignore], corners[ignore])
    return found


def _size(path: Path, limits: Limits) -> tuple[int, int]:
    try:
        info = decode.inspect(path.read_bytes(), limits)
    except Undecodable as error:
        raise BlurlineError(f"{path}: {error.reason}: its labels are shares of its size: mend it") from None
    return info.width, info.height
