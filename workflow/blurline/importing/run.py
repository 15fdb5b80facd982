"""The import as people call it: paths in, a manifest and an entry in params.yaml out, and what to say about it."""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import polars as pl

from blurline import params as params_file
from blurline import retries, sources
from blurline.archives.formats import stem
from blurline.errors import BlurlineError
from blurline.fetch import urls
from blurline.importing import layout, lists, manifest, remote
from blurline.importing.finding import HIDDEN, NO_EXTENSION, Found, Progress, search
from blurline.importing.manifest import ORIGIN, Added
from blurline.params_edit import edit

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class Options:
    """How to import.

    `source` is the name of the manifest, `prefix` is put before every image_id. For lists of URLs: the columns, and
    whether image_ids are digests of URLs. For URLs of folders: `hashing` reads all images there.
    """

    source: str | None = None
    prefix: str = ""
    url_column: str | None = None
    id_column: str | None = None
    opaque_ids: bool = False
    hashing: bool = False


def run(root: Path, paths: Sequence[Path | str], options: Options, progress: Progress) -> str:
    """Import images into data/sources/<source>.csv; the lines to show when it is done.

    `paths` are folders, archives and images, URLs of folders, or one list of URLs. Nothing is written unless all could
    be read and every rule holds.

    Raises
    ------
    BlurlineError
        For the first thing that is wrong.
    """
    params = params_file.load(root)
    places = [_place(path) for path in paths]
    name = _source_name(places, options.source)
    listing = _listing(root, name, params.sources)
    target = manifest.target(root, name)
    others = [sources.read(root, other) for other in params.sources if other != name]
    notes: list[str] = []
    if any(isinstance(place, Path) and lists.is_list(place) for place in places):
        rows, notes = _from_list(root, places, name if target.exists() else None, options)
        _refuse_odd_names(rows)
    else:
        _refuse_options(options)
        found = [_search(root, place, options.hashing, progress) for place in places]
        skipped = sum((one.skipped for one in found), Counter[str]())
        rows = _rows(found, options.prefix)
        if not rows.height:
            passed_over = f" ({_kinds(skipped)})" if skipped.total() else ""
            raise BlurlineError(f"{', '.join(map(str, paths))}: no image found{passed_over}: name what holds images")
        if skipped.total():
            notes = [f"not imported, as no images: {_kinds(skipped)}"]
        _refuse_odd_names(rows)
        _refuse_doubles(rows)
        rows = rows.drop("number")
    added = manifest.add(root, name, rows, others)
    if listing is not None:
        _replace(root / params_file.FILE, listing)
    return _message(root, name, added, notes, listing is not None)


def _place(path: Path | str) -> Path | str:
    """A path, or a URL of another scheme than file."""
    if isinstance(path, Path) or "://" not in path:
        return Path(path)
    if path.lower().startswith("file://"):
        local = urls.local_path(path)
        if local is None:
            raise BlurlineError(f"{urls.shown(path)}: names another host: write file:///… for a path of this machine")
        return local
    return path


def _refuse_options(options: Options) -> None:
    given = {
        "--url-column": options.url_column,
        "--id-column": options.id_column,
        "--opaque-ids": options.opaque_ids,
    }
    for option, value in given.items():
        if value:
            raise BlurlineError(f"{option} is for lists of urls ({', '.join(lists.SUFFIXES)}): leave it out")


def _from_list(
    root: Path, places: Sequence[Path | str], there: str | None, options: Options
) -> tuple[pl.DataFrame, list[str]]:
    """The rows of a list, and what is to be said of them; `there` is the source if it has a manifest already."""
    path, *others = places
    if others or not isinstance(path, Path):
        raise BlurlineError("a list of urls is imported by itself: name nothing else beside it")
    if options.hashing:
        raise BlurlineError("--hash: what a list names is not fetched: run snakemake, then `blurline pin`")
    listed = lists.read(path, options.url_column, options.id_column, lambda file: _urls(root, file)(""))
    if listed.named:
        if options.opaque_ids:
            raise BlurlineError("--opaque-ids: the list has image_ids of its own: leave it out")
        return listed.rows.with_columns(image_id=pl.lit(options.prefix) + pl.col("image_id")), []
    schema = {"image_id": pl.String, "url": pl.String}
    known = sources.read(root, there).rows.select(*schema) if there else pl.DataFrame(schema=schema)
    rows, repeats = lists.name(listed.rows, known, options.opaque_ids, options.prefix)
    notes = [f"left out, as urls that stood in the list before: {repeats:,}"] if repeats else []
    if not options.opaque_ids:
        notes.append("image_ids are published, and these tell the urls: --id-column or --opaque-ids gives others")
    return rows, notes


def _source_name(paths: Sequence[Path | str], source: str | None) -> str:
    name = _wished_name(paths, source)
    if name == retries.NAME:
        raise BlurlineError(f"{retries.FILE} is no manifest: give the source another name with --source")
    return name


def _wished_name(paths: Sequence[Path | str], source: str | None) -> str:
    if source is not None:
        if not _NAME.fullmatch(source):
            raise BlurlineError(f"--source {source}: want a-z, 0-9, - and _, beginning with a letter or digit")
        return source
    if len(paths) > 1:
        raise BlurlineError("several paths make one source: name it with --source")
    path = paths[0]
    last = path.rstrip("/").rpartition("/")[2] if isinstance(path, str) else _absolute(path).name
    last = last[: -len(suffix)] if (suffix := Path(last).suffix).lower() in lists.SUFFIXES else last
    name = re.sub(r"[^a-z0-9_-]+", "-", stem(last).lower()).strip("-_")
    if not name:
        raise BlurlineError(f"{paths[0]}: its name makes no name for a source: name it with --source")
    return name


def _search(root: Path, path: Path | str, hashing: bool, progress: Progress) -> Found:
    if isinstance(path, str):
        return remote.search(path, hashing, progress)
    if hashing:
        raise BlurlineError(f"--hash: {path} is on this machine, and hashed anyway: leave it out")
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
        (pl.lit(prefix) + pl.col("path")).alias("image_id"),
        "url",
        "sha256",
        "split",
        "class",
        pl.col("origin").alias(ORIGIN),
        "number",
    )


def _refuse_odd_names(rows: pl.DataFrame) -> None:
    odd = rows.filter(~sources.is_plain_path(pl.col("image_id")))
    if odd.height:
        one = odd.row(0, named=True)
        raise BlurlineError(
            f"{one[ORIGIN]}: image_id {one['image_id']!r} would be no plain relative path (no leading or double /, "
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
        f"{other[ORIGIN]}: would have the image_id of {one[ORIGIN]}, {one['image_id']!r}: {remedy}; "
        "nothing was imported"
    )


def _listing(root: Path, name: str, listed: list[str]) -> str | None:
    """params.yaml with the source on its list; None if it is there already.

    Raises
    ------
    BlurlineError
        When params.yaml would be refused afterwards.
    """
    if name in listed:
        return None
    text = edit((root / params_file.FILE).read_bytes().decode(), {"sources": [*listed, name]})
    params_file.parse(text)
    return text


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(text.encode())
    unfinished.replace(path)


def _message(root: Path, name: str, added: Added, notes: list[str], listed: bool) -> str:
    copies = f" ({_count(added.copies, 'exact copy', 'exact copies')} of another image)" if added.copies else ""
    already = f"; {added.already:,} were there already" if added.already else ""
    lines = [f"{name}: {_count(added.added, 'row')} added to {added.path.relative_to(root)}{copies}{already}"]
    lines += [f"  {note}" for note in notes]
    if added.unpinned:
        lines.append(
            f"  {_count(added.unpinned, 'row')} without SHA-256, as nothing was fetched: after the first run, "
            "`uv run blurline pin` writes it down"
        )
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
