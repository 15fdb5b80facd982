"""Lists of URLs, as text, CSV or Parquet: their rows, and image_ids for those that have none. Nothing is fetched."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from blurline import sources
from blurline.archives import chain
from blurline.errors import BlurlineError
from blurline.importing.manifest import ORIGIN

SUFFIXES = (".txt", ".csv", ".parquet")
_ENTRY = "\0entry"  # a url as the list has it: image_ids must not tell where the list lay
MAX_ID = 900  # bytes: leaves room for what makes an image_id unique


@dataclass(frozen=True)
class Listed:
    """The rows of a list: url, sha256 ("" if it has none), further columns, ORIGIN, and image_id if `named`.

    Else they are for `name`, which gives them one.
    """

    rows: pl.DataFrame
    named: bool


def is_list(path: Path) -> bool:
    """Whether a path given to the import is a list of URLs."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read(path: Path, url_column: str | None, id_column: str | None, local: Callable[[Path], str]) -> Listed:
    """Read a list: a URL a line in a .txt (blank lines and those that begin with # do not count), or a table.

    Parameters
    ----------
    path
        The list.
    url_column, id_column
        Of a table; by default the one named url (in any case), and image_id if there is one.
    local
        Gives the URL of a local file: an entry without a scheme is a path relative to the list.

    Raises
    ------
    BlurlineError
        When there is no URL, or no such column.
    """
    if path.suffix.lower() == ".txt":
        if url_column or id_column:
            raise BlurlineError(f"{path}: a .txt has no columns: leave out --url-column and --id-column")
        rows = _lines(path)
        url, image_id = "url", None
    else:
        rows = sources.read_strings(path, str(path)).with_row_index(ORIGIN, offset=2)
        url, image_id = _names([name for name in rows.columns if name != ORIGIN], url_column, id_column, path)
    ids: list[pl.Expr] = [pl.col(image_id).alias("image_id")] if image_id else []
    sha256 = pl.col("sha256").str.to_lowercase() if "sha256" in rows.columns else pl.lit("").alias("sha256")
    rows = rows.select(
        *ids,
        pl.col(url).str.strip_chars().alias("url"),
        sha256,
        pl.exclude(["image_id", "url", "sha256", url, image_id or url, ORIGIN]),
        (pl.lit(f"{path}:") + pl.col(ORIGIN).cast(pl.String)).alias(ORIGIN),
    )
    empty = rows.filter(pl.col("url") == "")
    if empty.height:
        raise BlurlineError(f"{empty[ORIGIN][0]}: the url is empty: take the line away, or say where the image is")
    if not rows.height:
        raise BlurlineError(f"{path}: no url in it: write one a line")
    rows = _with_paths(rows, path.parent, local)
    return Listed(rows.drop(_ENTRY) if image_id else rows, image_id is not None)


def name(rows: pl.DataFrame, known: pl.DataFrame, opaque: bool, prefix: str) -> tuple[pl.DataFrame, int]:
    """Give image_ids to the rows of a list, one row for each URL; and how many rows repeated a URL.

    A URL in `known` (columns image_id and url, of the manifest that is there) keeps its image_id. Any other gets the
    prefix, and its host and path, or a digest of the URL if `opaque`. Where that would be the sample of another row,
    some digits of the URL's SHA-256 follow, so that the answer depends on nothing but what is there and the order of
    the list.
    """
    once = rows.unique("url", keep="first", maintain_order=True)
    there = known.select("url", "image_id").unique("url", keep="first")
    found = once.join(there, on="url", how="left", maintain_order="left")
    new = found.filter(pl.col("image_id").is_null())
    ids = (
        pl.Series("image_id", [_digest(url) for url in new["url"]], dtype=pl.String) if opaque else derived(new[_ENTRY])
    )
    ids = prefix + ids
    every = pl.concat([known["image_id"], ids])
    clash = (~every.to_frame("image_id").select(sources.stem()).to_series().is_first_distinct()).slice(known.height)
    unique = [_with_digest(id_, url) if again else id_ for id_, url, again in zip(ids, new["url"], clash, strict=True)]
    named = pl.DataFrame({"url": new["url"], "new_id": unique}, schema={"url": pl.String, "new_id": pl.String})
    found = found.join(named, on="url", how="left", maintain_order="left")
    found = found.with_columns(pl.coalesce("image_id", "new_id").alias("image_id")).drop("new_id", _ENTRY)
    return found, rows.height - once.height


def derived(urls: pl.Series) -> pl.Series:
    """Host and path of URLs, or paths, as plain relative paths; %xx stays, what an image_id may not hold goes."""
    text = pl.col("url")
    web = text.str.contains(r"^(?i:https?)://")
    frame = pl.DataFrame({"url": [_members(url) if chain.is_chain(url) else url for url in urls]}, {"url": pl.String})
    bare = pl.when(web).then(text.str.replace(r"[?#].*$", "")).otherwise(text)
    rest = bare.str.replace(r"^[A-Za-z][A-Za-z0-9+.-]*://", "")
    # No user, password and port; host names know no case.
    host = rest.str.extract(r"^([^/]*)", 1).str.replace(r"^.*@", "").str.replace(r":[0-9]+$", "").str.to_lowercase()
    of_url = host + rest.str.replace(r"^[^/]*", "")
    path = pl.when(text.str.contains("://", literal=True)).then(of_url).otherwise(text)
    printable = path.str.replace_all(r"[\\\x00-\x1f\x7f]", "_")
    long = printable.str.len_bytes() > MAX_ID
    short = pl.when(long).then(printable.str.slice(0, MAX_ID // 4)).otherwise(printable)
    trimmed = short.str.replace_all(r"\s*/\s*", "/").str.strip_chars()
    clean = trimmed.str.replace_all(r"(^|/)(?:\.{0,2}(?:/|$))+", "${1}").str.strip_chars("/")
    return frame.select(image_id=pl.when(clean == "").then(pl.lit("image")).otherwise(clean))["image_id"]


def _lines(path: Path) -> pl.DataFrame:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BlurlineError(f"{path}: cannot be read ({error}): want UTF-8 text, a url a line") from None
    rows = [(line.strip(), number) for number, line in enumerate(lines, 1)]
    schema = {"url": pl.String, ORIGIN: pl.UInt32}
    return pl.DataFrame([row for row in rows if row[0] and not row[0].startswith("#")], schema=schema, orient="row")


def _names(columns: list[str], url_column: str | None, id_column: str | None, path: Path) -> tuple[str, str | None]:
    for option, column in (("--url-column", url_column), ("--id-column", id_column)):
        if column is not None and column not in columns:
            raise BlurlineError(f"{path}: {option} {column}: no such column: there are {', '.join(columns)}")
    if url_column is None:
        named_so = [column for column in columns if column.lower() == "url"]
        if len(named_so) != 1:
            raise BlurlineError(
                f"{path}: which column has the urls? Name it with --url-column: there are {', '.join(columns)}"
            )
        url_column = named_so[0]
    return url_column, id_column or ("image_id" if "image_id" in columns and url_column != "image_id" else None)


def _with_paths(rows: pl.DataFrame, folder: Path, local: Callable[[Path], str]) -> pl.DataFrame:
    """Entries without a scheme are paths relative to the list."""
    written = pl.col("url").alias(_ENTRY)
    paths = rows.filter(~pl.col("url").str.contains("://", literal=True))["url"].unique()
    if not paths.len():
        return rows.with_columns(written)
    urls = {path: local(folder / path) for path in paths}
    return rows.with_columns(written, pl.col("url").replace(urls))


def _members(url: str) -> str:
    """A member of an archive by the names on the way to it."""
    *links, _ = url.split("::")
    return "/".join(link.partition("://")[2] for link in reversed(links))


def _digest(url: str) -> str:
    sha256 = hashlib.sha256(url.encode()).hexdigest()
    return f"{sha256[:2]}/{sha256[2:32]}"


def _with_digest(image_id: str, url: str) -> str:
    """The same name with a few digits that no other URL has, before its extension."""
    stem, extension = sources.split_extension(image_id)
    return f"{stem}-{hashlib.sha256(url.encode()).hexdigest()[:8]}{extension}"
