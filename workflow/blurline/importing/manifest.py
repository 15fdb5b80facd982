"""Rows added at the end of a source manifest: what is there stays, and every rule holds before the file is replaced."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from blurline import sources
from blurline.errors import BlurlineError
from blurline.sources import FOLDER, Manifest

OPTIONAL = ("split", "class")


@dataclass(frozen=True)
class Added:
    """What became of the rows: `path` of the manifest, and counts; `copies` of those added repeat an image's bytes."""

    path: Path
    added: int
    already: int
    copies: int


def add(root: Path, name: str, found: pl.DataFrame, others: list[Manifest]) -> Added:
    """Add rows (image_id, url, sha256, split, class, and origin: what errors call the row) to data/sources/<name>.csv.

    `others` are the other manifests that are in use.

    Raises
    ------
    BlurlineError
        When the manifest would break a rule of `sources`, or an image_id stands for other bytes already; the file is
        then as it was.
    """
    path = target(root, name)
    shown = path.relative_to(root).as_posix()
    manifest = sources.read(root, name) if path.exists() else None
    for other in others:
        _refuse_taken(found, other, root)
    here = manifest.rows if manifest else pl.DataFrame(schema=dict.fromkeys(("image_id", "url", "sha256"), pl.String))
    new = _new(found, here, shown)
    hashes = [here["sha256"], *(other.rows["sha256"] for other in others)]
    copies = _copies(new["sha256"], pl.concat(hashes))
    if new.height:
        _write(path, shown, here.height, new)
    return Added(path, new.height, found.height - new.height, copies)


def target(root: Path, name: str) -> Path:
    """The manifest to write.

    Raises
    ------
    BlurlineError
        When the source has a Parquet file.
    """
    path = root / FOLDER / f"{name}.csv"
    if path.with_suffix(".parquet").exists():
        raise BlurlineError(f"{FOLDER}/{name}.parquet: import writes CSV: name another source with --source")
    return path


def _refuse_taken(found: pl.DataFrame, other: Manifest, root: Path) -> None:
    taken = other.rows.select("image_id").with_row_index("row").join(found, on="image_id").sort("row")
    if taken.height:
        one = taken.row(0, named=True)
        raise BlurlineError(
            f"{other.path.relative_to(root).as_posix()}:{one['row'] + 2}: image_id {one['image_id']!r} is also that of "
            f"{one['origin']}: an id names one image in all: import with a --prefix"
        )


def _new(found: pl.DataFrame, here: pl.DataFrame, shown: str) -> pl.DataFrame:
    """The rows that are not there yet."""
    there = here.select("image_id", "url", "sha256").with_row_index("row")
    both = found.join(there, on="image_id", suffix="_there").sort("row")
    unknown = pl.col("sha256_there") == ""
    changed = both.filter(~unknown & (pl.col("sha256") != pl.col("sha256_there")))
    if changed.height:
        one = changed.row(0, named=True)
        raise BlurlineError(
            f"{shown}:{one['row'] + 2}: image_id {one['image_id']!r} has other bytes in {one['origin']}: a row stands "
            "for one image for ever: import the new one with a --prefix, and leave the old one out by a decision"
        )
    moved = both.filter(unknown & (pl.col("url") != pl.col("url_there")))
    if moved.height:
        one = moved.row(0, named=True)
        raise BlurlineError(
            f"{shown}:{one['row'] + 2}: image_id {one['image_id']!r} is not pinned, so nobody knows whether "
            f"{one['origin']} is the same image: run `blurline pin` first, or import with a --prefix"
        )
    return found.join(there, on="image_id", how="anti", maintain_order="left")


def _copies(new: pl.Series, known: pl.Series) -> int:
    first = new.is_first_distinct()
    return int((~first | new.is_in(known.implode())).sum())


def _write(path: Path, shown: str, lines: int, new: pl.DataFrame) -> None:
    """Write beside the file, read it back, check it, and only then put it in place."""
    before = sources.read_strings(path, shown) if path.exists() else None
    columns = before.columns if before is not None else ["image_id", "url", "sha256"]
    used = [c for c in ("sha256", *OPTIONAL) if c not in columns and new.select((pl.col(c) != "").any()).item()]
    rows = new.select(
        *(pl.col(c) if c in new.columns else pl.lit("").alias(c) for c in columns), *(pl.col(c) for c in used)
    )
    wanted = rows if before is None else pl.concat([before.with_columns(pl.lit("").alias(c) for c in used), rows])
    unfinished = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        as_read = None
        if before is not None and not used:
            _append(path, unfinished, rows)  # the lines that are there stay as they are, byte for byte
            as_read = sources.read_strings(unfinished, shown)
        if as_read is None or not as_read.equals(wanted):
            _without_quotes(wanted).write_csv(unfinished)
            as_read = sources.read_strings(unfinished, shown)
        if not as_read.equals(wanted):
            raise BlurlineError(f"{shown}: cannot hold these rows: look for odd characters in the names of the images")
        origins = new["origin"]
        sources.check(_pinned(as_read), lambda row: f"{shown}:{row + 2}" if row < lines else str(origins[row - lines]))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _append(path: Path, unfinished: Path, rows: pl.DataFrame) -> None:
    text = path.read_bytes()
    line_end = "\r\n" if text.partition(b"\n")[0].endswith(b"\r") else "\n"
    more = _without_quotes(rows).write_csv(include_header=False, line_terminator=line_end)
    unfinished.write_bytes(text.rstrip(b"\r\n") + line_end.encode() + more.encode())


def _without_quotes(rows: pl.DataFrame) -> pl.DataFrame:
    """Empty fields as nulls, which CSV writes as nothing, not as two quotation marks."""
    return rows.with_columns(pl.when(pl.all() != "").then(pl.all()))


def _pinned(rows: pl.DataFrame) -> pl.DataFrame:
    if "sha256" not in rows.columns:
        rows = rows.with_columns(pl.lit("").alias("sha256"))
    return rows.with_columns(pl.col("sha256").str.to_lowercase())
