"""The import of annotation files as people call it: files in, data/annotations/<name>.csv out."""

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import polars as pl

from blurline import annotations as annotation_files
from blurline import params as params_file
from blurline import sources
from blurline.annotations import FOLDER, NAME
from blurline.boxes import ALL_FRAMES
from blurline.errors import BlurlineError
from blurline.formats import files as formats
from blurline.importing.matching import Matches, match

SHOWN = 3
_COLUMNS = ("image_id", "frame", "label", "x1", "y1", "x2", "y2")


def run(
    root: Path,
    files: Sequence[Path],
    name: str | None,
    source: str | None,
    categories: Collection[str],
    skip_unknown: bool,
    progress: Callable[[int, int], None],
) -> str:
    """Add the boxes of annotation files to data/annotations/<name>.csv; the lines to show when it is done.

    Parameters
    ----------
    files
        Princeton's or COCO's (see `formats.files`).
    name
        Of the CSV, and of the detector that the merged tables name; by default the file's own.
    source
        Look for the images in this source only; by default in all that params.yaml lists.
    categories
        Of COCO's boxes, those to import.
    skip_unknown
        Leave out boxes of images that no manifest has; else they stop the import.
    progress
        Called with the files read, and all there are.

    Raises
    ------
    BlurlineError
        For the first thing that is wrong; nothing is written then.
    """
    params = params_file.load(root)
    name = _name(files, name)
    if source is not None and source not in params.sources:
        raise BlurlineError(
            f"--source {source}: not listed under sources in {params_file.FILE}: import its images first"
        )
    names = [source] if source is not None else params.sources
    image_ids = [sources.read(root, one).rows["image_id"] for one in names]
    read = []
    for number, file in enumerate(files):
        progress(number, len(files))
        read.append(formats.read_json(file, categories))
    progress(len(files), len(files))
    boxes = pl.concat(one.boxes for one in read)
    images = sum(len(one.images) for one in read)
    if not boxes.height:
        raise BlurlineError(f"{', '.join(map(str, files))}: no box in {_count(images, 'image')}: nothing to import")
    matches = match(boxes["path"], pl.concat([pl.Series(dtype=pl.String), *image_ids]))
    _refuse(matches, names, skip_unknown)
    found = boxes.join(matches.found, on="path", maintain_order="left").with_columns(frame=pl.lit(ALL_FRAMES, pl.Int32))
    if not found.height:
        raise BlurlineError(f"{', '.join(map(str, files))}: none of its images is in a manifest: look at the paths")
    added, already = _add(root, name, found.select(_COLUMNS))
    return _message(name, added, already, boxes, matches, images)


def _name(files: Sequence[Path], name: str | None) -> str:
    if name is not None:
        if not re.fullmatch(NAME, name):
            raise BlurlineError(f"--name {name}: want a-z, 0-9, - and _, beginning with a letter or digit")
        return name
    if len(files) > 1:
        raise BlurlineError("several files make one set of annotations: name it with --name")
    name = re.sub(r"[^a-z0-9_-]+", "-", files[0].stem.lower()).strip("-_")
    if not name:
        raise BlurlineError(f"{files[0]}: its name makes no name for the annotations: name them with --name")
    return name


def _refuse(matches: Matches, names: list[str], skip_unknown: bool) -> None:
    searched = ", ".join(names) or "no source"
    if matches.ambiguous.height:
        path, image_ids = matches.ambiguous.row(0)
        others = f" (and {_count(matches.ambiguous.height - 1, 'more path')})" * (matches.ambiguous.height > 1)
        raise BlurlineError(
            f"{path!r}{others} may mean {' or '.join(map(repr, image_ids[:SHOWN]))}, or shares it with another path: "
            "write image_ids into the annotation file, or narrow it with --source; nothing was imported"
        )
    if len(matches.unknown) and not skip_unknown:
        raise BlurlineError(
            f"{_count(len(matches.unknown), 'image')} with boxes in no manifest of {searched} "
            f"({_some(matches.unknown)}): import the images first, or leave these out with --skip-unknown; "
            "nothing was imported"
        )


def _add(root: Path, name: str, found: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Write what is there and what is new; the new rows, and how many were there already."""
    path = root / FOLDER / f"{name}.csv"
    there = annotation_files.read(path, root).select(_COLUMNS) if path.exists() else found.clear()
    once = found.unique(maintain_order=True)
    new = once.join(there, on=_COLUMNS, how="anti", maintain_order="left")
    if not new.height:
        return new, once.height
    rows = pl.concat([there, new])
    if (rows["frame"] == ALL_FRAMES).all():
        rows = rows.drop("frame")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        rows.write_csv(unfinished)
        if not annotation_files.read(unfinished, root).select(_COLUMNS).equals(pl.concat([there, new])):
            raise BlurlineError(f"{FOLDER}/{name}.csv: cannot hold these rows: look for odd characters in labels")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return new, once.height - new.height


def _message(name: str, added: pl.DataFrame, already: int, boxes: pl.DataFrame, matches: Matches, images: int) -> str:
    was = f"; {already:,} {'was' if already == 1 else 'were'} there already" if already else ""
    lines = [
        f"{name}: {_count(added.height, 'box', 'boxes')} in {_count(added['image_id'].n_unique(), 'image')} added to "
        f"{FOLDER}/{name}.csv{was}"
    ]
    if len(matches.unknown):
        lost = boxes.filter(pl.col("path").is_in(matches.unknown.to_list())).height
        lines.append(
            f"  left out, as in no manifest: {_count(lost, 'box', 'boxes')} in "
            f"{_count(len(matches.unknown), 'image')}: {_some(matches.unknown)}"
        )
    empty = images - boxes["path"].n_unique()
    if empty > 0:
        lines.append(f"  {_count(empty, 'image')} without a box to import")
    lines.append("  next: `uv run snakemake --cores all` blurs them, unless reviewers reject them")
    return "\n".join(lines)


def _some(paths: pl.Series) -> str:
    return ", ".join(paths.head(SHOWN)) + " …" * (len(paths) > SHOWN)


def _count(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"
