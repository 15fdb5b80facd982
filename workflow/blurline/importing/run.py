"""The import as people call it: paths in, a manifest and an entry in params.yaml out, and what to say about it."""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import polars as pl

from blurline import params as params_file
from blurline import sources
from blurline.archives.formats import stem
from blurline.errors import BlurlineError
from blurline.importing import layout, manifest
from blurline.importing.finding import HIDDEN, NO_EXTENSION, Found, Progress, search
from blurline.importing.manifest import Added
from blurline.params_edit import edit

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def run(root: Path, paths: Sequence[Path], source: str | None, prefix: str, progress: Progress) -> str:
    """Import the images below `paths` into data/sources/<source>.csv; the lines to show when it is done.

    `prefix` is put before every image_id. Nothing is written unless all could be read and every rule holds.

    Raises
    ------
    BlurlineError
        For the first thing that is wrong.
    """
    params = params_file.load(root)
    name = _source_name(paths, source)
    manifest.target(root, name)
    others = [sources.read(root, other) for other in params.sources if other != name]
    found = [_search(root, path, progress) for path in paths]
    rows = _rows(found, prefix)
    skipped = sum((one.skipped for one in found), Counter[str]())
    if not rows.height:
        passed_over = f" ({_kinds(skipped)})" if skipped.total() else ""
        raise BlurlineError(f"{', '.join(map(str, paths))}: no image found{passed_over}: name what holds images")
    _refuse_odd_names(rows)
    _refuse_doubles(rows)
    added = manifest.add(root, name, rows.drop("number"), others)
    listed = _list(root, name, params.sources)
    return _message(root, name, added, skipped, listed)


def _source_name(paths: Sequence[Path], source: str | None) -> str:
    if source is not None:
        if not _NAME.fullmatch(source):
            raise BlurlineError(f"--source {source}: want a-z, 0-9, - and _, beginning with a letter or digit")
        return source
    if len(paths) > 1:
        raise BlurlineError("several paths make one source: name it with --source")
    name = re.sub(r"[^a-z0-9_-]+", "-", stem(_absolute(paths[0]).name).lower()).strip("-_")
    if not name:
        raise BlurlineError(f"{paths[0]}: its name makes no name for a source: name it with --source")
    return name


def _search(root: Path, path: Path, progress: Progress) -> Found:
    if not path.exists():
        raise BlurlineError(f"{path}: not found: name a folder, an archive or an image")
    if not (path.is_dir() or path.is_file()):
        raise BlurlineError(f"{path}: neither a folder nor a regular file: name a folder, an archive or an image")
    return search(path, _urls(root, path), progress)


def _urls(root: Path, path: Path) -> Callable[[str], str]:
    """What gives the URL of a file below `path`: relative to the manifest if it lies there, else file://."""
    folder = root / sources.FOLDER
    for one, other in ((_absolute(path), _absolute(folder)), (path.resolve(), folder.resolve())):
        if one.is_relative_to(other):
            inside = one.relative_to(other)
            return lambda relative: (inside / relative).as_posix()
    base = "file://" + quote(os.fsencode(_absolute(path))).rstrip("/")
    return lambda relative: f"{base}/{quote(os.fsencode(relative))}" if relative else base


def _absolute(path: Path) -> Path:
    """Without . and .., and with links as they are."""
    return Path(os.path.normpath(path.absolute()))


def _rows(found: list[Found], prefix: str) -> pl.DataFrame:
    """The rows of all paths: image_id, url, sha256, split, class, origin, and the number of the path."""
    frames = []
    for number, one in enumerate(found):
        told = layout.columns(one.images["path"])
        frame = one.images.hstack(told)
        if one.samples or one.classes:
            # An archive of samples says itself what they are: its own name is no class.
            classes = pl.DataFrame(
                {"sample": list(one.classes), "class": list(one.classes.values())},
                schema={"sample": pl.String, "class": pl.String},
            )
            frame = frame.drop("class").with_columns(sample=pl.col("path").str.extract(r"^((?:.*/)?[^/.]*)", 1))
            frame = frame.join(classes, on="sample", how="left", maintain_order="left").drop("sample")
        frames.append(frame.with_columns(pl.col("class").fill_null(""), number=pl.lit(number)))
    return pl.concat([frame.select(sorted(frame.columns)) for frame in frames]).select(
        (pl.lit(prefix) + pl.col("path")).alias("image_id"), "url", "sha256", "split", "class", "origin", "number"
    )


def _refuse_odd_names(rows: pl.DataFrame) -> None:
    odd = rows.filter(~sources.is_plain_path(pl.col("image_id")))
    if odd.height:
        one = odd.row(0, named=True)
        raise BlurlineError(
            f"{one['origin']}: image_id {one['image_id']!r} would be no plain relative path (no leading or double /, "
            "no parts . or .., no backslashes): rename it, if need be in the unpacked archive; nothing was imported"
        )


def _refuse_doubles(rows: pl.DataFrame) -> None:
    double = rows.filter(pl.col("image_id").is_duplicated())
    if not double.height:
        return
    one, other, *_ = double.filter(pl.col("image_id") == double["image_id"][0]).iter_rows(named=True)
    if one["number"] != other["number"]:
        remedy = "import one path at a time, each with a --prefix of its own"
    elif one["url"] == other["url"]:
        remedy = "pack the archive anew, with one name for each"
    else:
        remedy = "rename one of them"
    raise BlurlineError(
        f"{other['origin']}: would have the image_id of {one['origin']}, {one['image_id']!r}: {remedy}; "
        "nothing was imported"
    )


def _list(root: Path, name: str, listed: list[str]) -> bool:
    """Put the source on the list in params.yaml; whether it was not there."""
    if name in listed:
        return False
    path = root / params_file.FILE
    text = edit(path.read_bytes().decode(), {"sources": [*listed, name]})
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(text.encode())
    unfinished.replace(path)
    return True


def _message(root: Path, name: str, added: Added, skipped: Counter[str], listed: bool) -> str:
    copies = f" ({_count(added.copies, 'exact copy', 'exact copies')} of another image)" if added.copies else ""
    already = f"; {added.already:,} were there already" if added.already else ""
    lines = [f"{name}: {_count(added.added, 'row')} added to {added.path.relative_to(root)}{copies}{already}"]
    if skipped.total():
        lines.append(f"  not imported, as no images: {_kinds(skipped)}")
    if listed:
        lines.append(f"  {params_file.FILE}: {name} is listed under sources now")
    lines.append("  next: look at the manifest, then `uv run snakemake --cores all`")
    return "\n".join(lines)


def _kinds(skipped: Counter[str]) -> str:
    plain = (".", HIDDEN, NO_EXTENSION)
    return ", ".join(
        f"{count:,} {kind}" if kind.startswith(plain) else _count(count, kind)
        for kind, count in sorted(skipped.items())
        if count
    )


def _count(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"
