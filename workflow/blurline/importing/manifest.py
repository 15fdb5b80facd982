"""Rows added at the end of a source manifest: what is there stays, and every rule holds before the file is replaced."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from blurline import sources
from blurline.errors import BlurlineError
from blurline.sources import FOLDER, Manifest

ORIGIN = "\0origin"
"""The column that says what errors call a row; no file has one of this name."""
_OWN = ("image_id", "url", "sha256", ORIGIN)


@dataclass(frozen=True)
class Added:
    """What became of the rows: `path` of the manifest, and counts.

    Of the rows added, `copies` repeat an image's bytes, and `unpinned` say nothing of theirs.
    """

    path: Path
    added: int
    already: int
    copies: int
    unpinned: int


def add(root: Path, name: str, found: pl.DataFrame, others: list[Manifest]) -> Added:
    """Add rows to data/sources/<name>.csv, or to its .parquet if that is there.

    `found` has the string columns image_id, url, sha256 ("" if unpinned), ORIGIN, and others, which are carried through
    if they say anything. `others` are the other manifests that are in use.

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
    return Added(path, new.height, found.height - new.height, copies, int((new["sha256"] == "").sum()))


def target(root: Path, name: str) -> Path:
    """The manifest to write: the one that is there, else a CSV (which git can compare line by line)."""
    path = root / FOLDER / f"{name}.csv"
    parquet = path.with_suffix(".parquet")
    return sources.find(root, name) if parquet.exists() else path


def _refuse_taken(found: pl.DataFrame, other: Manifest, root: Path) -> None:
    taken = other.rows.select("image_id").with_row_index("row").join(found.select(_OWN), on="image_id").sort("row")
    if taken.height:
        one = taken.row(0, named=True)
        raise BlurlineError(
            f"{other.path.relative_to(root).as_posix()}:{one['row'] + 2}: image_id {one['image_id']!r} is also that of "
            f"{one[ORIGIN]}: an id names one image in all: import with a --prefix"
        )


def _new(found: pl.DataFrame, here: pl.DataFrame, shown: str) -> pl.DataFrame:
    """The rows that are not there yet."""
    there = here.select("image_id", "url", "sha256").with_row_index("row")
    both = found.select(_OWN).join(there, on="image_id", suffix="_there").sort("row")
    unknown = (pl.col("sha256") == "") | (pl.col("sha256_there") == "")
    changed = both.filter(~unknown & (pl.col("sha256") != pl.col("sha256_there")))
    if changed.height:
        one = changed.row(0, named=True)
        raise BlurlineError(
            f"{shown}:{one['row'] + 2}: image_id {one['image_id']!r} has other bytes in {one[ORIGIN]}: a row stands "
            "for one image for ever: import the new one with a --prefix, and leave the old one out by a decision"
        )
    moved = both.filter(unknown & (pl.col("url") != pl.col("url_there")))
    if moved.height:
        one = moved.row(0, named=True)
        raise BlurlineError(
            f"{shown}:{one['row'] + 2}: image_id {one['image_id']!r} is not pinned, so nobody knows whether "
            f"{one[ORIGIN]} is the same image: run `blurline pin` first, or import with a --prefix"
        )
    return found.join(there, on="image_id", how="anti", maintain_order="left")


def _copies(new: pl.Series, known: pl.Series) -> int:
    pinned = new.filter(new != "")
    return int((~pinned.is_first_distinct() | pinned.is_in(known.implode())).sum())


def _write(path: Path, shown: str, lines: int, new: pl.DataFrame) -> None:
    """Write beside the file, read it back, check it, and only then put it in place."""
    before = sources.read_strings(path, shown) if path.exists() else None
    columns = before.columns if before is not None else ["image_id", "url", "sha256"]
    more = [c for c in new.columns if c not in (*columns, ORIGIN)]
    used = [c for c in more if new.select((pl.col(c) != "").any()).item()]
    rows = new.select(
        *(pl.col(c) if c in new.columns else pl.lit("").alias(c) for c in columns), *(pl.col(c) for c in used)
    )
    wanted = rows if before is None else pl.concat([before.with_columns(pl.lit("").alias(c) for c in used), rows])
    origins = new[ORIGIN]
    unfinished = path.with_name(f".{path.name}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.suffix == ".parquet":
            as_read = _write_parquet(path, unfinished, rows, origins, shown)
            # Numbers may be written another way now; what was there, and what the rows are known by, may not.
            kept = [c for c in ("image_id", "url", "sha256") if c in wanted.columns]
            good = as_read.head(lines).equals(wanted.head(lines)) and as_read.select(kept).equals(wanted.select(kept))
        else:
            as_read = _write_csv(path, unfinished, rows, wanted, append=before is not None and not used)
            good = as_read.equals(wanted)
        if not good:
            raise BlurlineError(f"{shown}: cannot hold these rows: look for odd characters in the names of the images")
        sources.check(_pinned(as_read), lambda row: f"{shown}:{row + 2}" if row < lines else str(origins[row - lines]))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write_csv(path: Path, unfinished: Path, rows: pl.DataFrame, wanted: pl.DataFrame, append: bool) -> pl.DataFrame:
    """Write `rows` after what is there, byte for byte as it is, or else all of `wanted`. The file read back."""
    shown = path.name
    if append:
        _append(path, unfinished, rows)
        as_read = sources.read_strings(unfinished, shown)
        if as_read.equals(wanted):
            return as_read
    _without_quotes(wanted).write_csv(unfinished)
    return sources.read_strings(unfinished, shown)


def _write_parquet(path: Path, unfinished: Path, rows: pl.DataFrame, origins: pl.Series, shown: str) -> pl.DataFrame:
    """Write a Parquet manifest with rows at its end; its columns keep their types. The file read back, as strings."""
    before = pl.read_parquet(path)
    typed = []
    for column in _without_quotes(rows).get_columns():
        kind = before.schema.get(column.name, pl.String())
        cast = _typed(column, kind)
        odd = (cast.is_null() & column.is_not_null()).arg_true()
        if odd.len():
            raise BlurlineError(
                f"{shown}: column {column.name} is {kind}, and {column[odd[0]]!r} ({origins[odd[0]]}) is not: "
                "import into another source with --source"
            )
        typed.append(cast)
    pl.concat([before, pl.DataFrame(typed)], how="diagonal").write_parquet(unfinished)
    return pl.read_parquet(unfinished).select(pl.all().cast(pl.String).fill_null(""))


def _typed(column: pl.Series, kind: pl.DataType) -> pl.Series:
    """Text as another type; null where it is none of it."""
    try:
        if kind == pl.Date:
            return column.str.to_date(strict=False)
        if kind == pl.Datetime:
            return column.str.to_datetime(strict=False).cast(kind)
        if kind == pl.Boolean:
            return column.replace_strict({"true": True, "false": False}, default=None, return_dtype=kind)
        return column.cast(kind, strict=False)
    except pl.exceptions.PolarsError:
        return pl.Series(column.name, [None] * len(column), dtype=kind)


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
