"""Source manifests, data/sources/<name>.csv or .parquet: reading, checking, cutting into shards."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from blurline.errors import BlurlineError
from blurline.fetch import urls

FOLDER = "data/sources"
IMAGE_EXTENSIONS = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
        *(".psd", ".jp2", ".avif", ".heic", ".mpo", ".ppm"),
    )
)
_SHA256 = r"^[0-9a-f]{64}$"


class ManifestRow(BaseModel):
    """One image to release. Further columns are carried through."""

    model_config = ConfigDict(extra="allow")

    image_id: Annotated[str, Field(min_length=1, description="unique relative path, with / between its parts")]
    url: Annotated[
        str,
        Field(
            min_length=1,
            description="http(s)://…, s3://…, gs://… and what else fsspec knows, file://…, "
            "package://<python package>/<path>, or a path relative to the manifest",
        ),
    ]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$", description="of the bytes at url")] = ""


@dataclass(frozen=True)
class Manifest:
    """A checked source manifest; `rows` has the string columns image_id, url, sha256 ("" if unpinned), then others."""

    name: str
    path: Path
    rows: pl.DataFrame


@dataclass(frozen=True)
class Shard:
    """Up to shard_size consecutive rows of one manifest: the work of one job."""

    name: str
    source: str
    rows: pl.DataFrame

    @property
    def image_ids(self) -> list[str]:
        return self.rows["image_id"].to_list()

    @property
    def hashes(self) -> dict[str, str]:
        """image_id → pinned SHA-256, or "" where a row is unpinned."""
        return dict(self.rows.select("image_id", "sha256").rows())

    @property
    def unpinned(self) -> int:
        """How many rows name no SHA-256."""
        return int((self.rows["sha256"] == "").sum())


def find(root: Path, name: str) -> Path:
    """The file of source `name`.

    Raises
    ------
    BlurlineError
        When there is none, or both a CSV and a Parquet file.
    """
    found = [path for suffix in ("csv", "parquet") if (path := root / FOLDER / f"{name}.{suffix}").is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise BlurlineError(f"{FOLDER}/{name}: there is a .csv and a .parquet: keep one of them")
    raise BlurlineError(
        f"{FOLDER}/{name}.csv: not found, but params.yaml lists {name} under sources: "
        "write it, or take the name off the list"
    )


def read(root: Path, name: str) -> Manifest:
    """Read and check one source manifest.

    Raises
    ------
    BlurlineError
        Naming file and line: a missing column, an image_id that is empty, doubled or no plain relative path,
        an unknown URL scheme, a malformed sha256, two images whose names would be one sample of a shard.
    """
    path = find(root, name)
    shown = path.relative_to(root).as_posix()
    rows = _read_strings(path, shown)
    for column in ("image_id", "url"):
        if column not in rows.columns:
            raise BlurlineError(f"{shown}:1: column {column} is missing: add it (there are: {', '.join(rows.columns)})")
    if "sha256" not in rows.columns:
        rows = rows.with_columns(pl.lit("").alias("sha256"))
    rows = rows.select("image_id", "url", pl.col("sha256").str.to_lowercase(), pl.exclude("image_id", "url", "sha256"))
    _check(rows, shown)
    return Manifest(name, path, rows)


def read_all(root: Path, names: list[str]) -> list[Manifest]:
    """Read the manifests and check that no image_id stands in two of them."""
    manifests = [read(root, name) for name in names]
    if len(manifests) > 1:
        everything = pl.concat(
            [m.rows.select("image_id", file=pl.lit(m.path.name), line=pl.int_range(2, pl.len() + 2)) for m in manifests]
        )
        again = everything.filter(pl.col("image_id").is_duplicated()).sort("image_id", maintain_order=True)
        if again.height:
            image, *_ = again.row(0)
            places = [f"{FOLDER}/{file}:{line}" for i, file, line in again.head(10).rows() if i == image]
            raise BlurlineError(f"{places[1]}: image_id {image!r} is also in {places[0]}: an id names one image in all")
    return manifests


def cut(manifest: Manifest, shard_size: int) -> Iterator[Shard]:
    """Cut a manifest, in order, into shards of `shard_size` rows, named <source>-00000 and so on."""
    for number, start in enumerate(range(0, manifest.rows.height, shard_size)):
        yield Shard(f"{manifest.name}-{number:05d}", manifest.name, manifest.rows.slice(start, shard_size))


def sample_key(image_id: str) -> str:
    """The name under which WebDataset groups files into a sample: the path without its image extension.

    WebDataset splits a file name at its first dot, so dots inside the name are escaped as %2E (and % as %25).
    """
    stem, _ = _split_extension(image_id)
    folder, slash, name = stem.rpartition("/")
    return folder + slash + name.replace("%", "%25").replace(".", "%2E")


def member(image_id: str, extension: str) -> str:
    """The tar member of an image; `extension` (".jpg") is added where image_id has no image extension of its own."""
    return sample_key(image_id) + (_split_extension(image_id)[1] or extension)


def _split_extension(image_id: str) -> tuple[str, str]:
    suffix = PurePosixPath(image_id).suffix
    if suffix.lower() in IMAGE_EXTENSIONS:
        return image_id.removesuffix(suffix), suffix
    return image_id, ""


def _read_strings(path: Path, shown: str) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path).select(pl.all().cast(pl.String).fill_null(""))
        with path.open(encoding="utf-8-sig") as stream:
            header = stream.readline().rstrip("\r\n").split(",")
        doubled = sorted({name for name in header if header.count(name) > 1})
        if doubled:
            raise BlurlineError(f"{shown}:1: column {doubled[0]} stands twice: keep one of them")
        frame = pl.read_csv(path, infer_schema=False, raise_if_empty=False)
        frame = frame.fill_null("")
        # Editors like to leave blank lines at the end.
        blank = frame.select(pl.all_horizontal(pl.all() == "").alias("blank"))["blank"].to_list()
        while blank and blank[-1]:
            blank.pop()
        return frame.head(len(blank))
    except BlurlineError:
        raise
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        problem = str(error).splitlines()[0]
        raise BlurlineError(f"{shown}: cannot be read as a table ({problem}): mend or restore the file") from None


def _check(rows: pl.DataFrame, shown: str) -> None:
    """Raise for the first row that breaks a rule. Vectorised: manifests have millions of rows."""
    image, url = pl.col("image_id"), pl.col("url")
    scheme = url.str.extract(r"^([A-Za-z][A-Za-z0-9+.-]*)://", 1).str.to_lowercase()
    unknown = [s for s in rows.select(scheme.drop_nulls().unique())["url"] if not urls.is_known(s)]
    rules: list[tuple[pl.Expr, str]] = [
        (image == "", "image_id is empty: give every image a unique relative path"),
        (
            image.str.contains(r"(^|/)(\.{0,2})(/|$)") | image.str.contains(r"[\\\x00-\x1f\x7f]"),
            "image_id {image_id!r} is no plain relative path: no leading or double /, no . or .. parts, no backslashes",
        ),
        (image.str.strip_chars() != image, "image_id {image_id!r} begins or ends with a space: take it away"),
        (url.str.strip_chars() != url, "url {url!r} begins or ends with a space: take it away"),
        (image.str.len_bytes() > 1024, "image_id {image_id!r} is longer than 1,024 bytes: shorten it"),
        (image.is_duplicated(), "image_id {image_id!r} stands twice: an id names one image"),
        (url == "", "url is empty: say where {image_id!r} comes from"),
        (
            scheme.is_in(unknown),
            "url {url!r} has an unknown scheme: use "
            + ", ".join(f"{s}://" for s in urls.BUILT_IN)
            + ", s3://, gs:// or another that fsspec knows, or a path",
        ),
        (
            (pl.col("sha256") != "") & ~pl.col("sha256").str.contains(_SHA256),
            "sha256 {sha256!r}: want 64 hex digits",
        ),
    ]
    for rule, message in rules:
        bad = rows.with_row_index("line", offset=2).filter(rule)
        if bad.height:
            row = bad.row(min(bad.height - 1, 1 if "twice" in message else 0), named=True)
            row["url"] = urls.shown(row["url"])  # it may hold a password
            raise BlurlineError(f"{shown}:{row['line']}: {message.format(**row)}")
    keys = pl.Series("key", [sample_key(image_id) for image_id in rows["image_id"]], dtype=pl.String)
    clash = rows.with_row_index("line", offset=2).with_columns(keys).filter(pl.col("key").is_duplicated())
    if clash.height:
        key = clash["key"][0]
        one, other, *_ = clash.filter(pl.col("key") == key).iter_rows(named=True)
        raise BlurlineError(
            f"{shown}:{other['line']}: image_id {other['image_id']!r} and {one['image_id']!r} "
            f"(line {one['line']}) would be one sample {key!r} of a shard: rename one of them"
        )
