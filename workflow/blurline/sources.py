"""Source manifests, data/sources/<name>.csv or .parquet: reading, checking, cutting into shards."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from blurline.archives import chain
from blurline.archives.errors import Unreadable
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
            "package://<python package>/<path>, or a path relative to the manifest; "
            "tar://<member>::<one of these> and zip://<member>::<one of these> for a member of an archive that is a "
            "local file (% and : in a member's name are written %25 and %3A)",
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
    rows = read_strings(path, shown)
    for column in ("image_id", "url"):
        if column not in rows.columns:
            raise BlurlineError(f"{shown}:1: column {column} is missing: add it (there are: {', '.join(rows.columns)})")
    rows = rows.select(_columns(rows.columns))
    check(rows, lambda index: f"{shown}:{index + 2}")
    return Manifest(name, path, rows)


def scan(root: Path, name: str, shard_size: int) -> pl.LazyFrame:
    """The rows of source `name` as `read` gives them, unchecked and read only as far as asked for, and their `shard`.

    For jobs: their rows were checked when the run was planned, or else their key says that they are other rows.
    """
    number = (pl.int_range(pl.len()) // shard_size).cast(pl.String).str.zfill(5)
    # Blank lines at the end are no rows, as in `read`; elsewhere planning refuses them.
    return _lazy(root, name).with_columns(shard=pl.lit(f"{name}-") + number).filter(pl.col("image_id") != "")


def _lazy(root: Path, name: str) -> pl.LazyFrame:
    path = find(root, name)
    rows = pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_csv(path, infer_schema=False)
    return rows.select(pl.all().cast(pl.String).fill_null("")).select(_columns(rows.collect_schema().names()))


def read_shard(root: Path, name: str, shard_size: int) -> Shard:
    """One shard by its own name, unchecked (see `scan`); without rows when the manifest has none for it."""
    source, _, number = name.rpartition("-")
    rows = _lazy(root, source).slice(int(number) * shard_size, shard_size)
    return Shard(name, source, _without_blank_end(rows.collect()))


def _columns(names: list[str]) -> list[pl.Expr]:
    """The columns of a manifest's rows: image_id, url, sha256 in lower case, then what else there is."""
    sha256 = pl.col("sha256").str.to_lowercase() if "sha256" in names else pl.lit("").alias("sha256")
    return [pl.col("image_id"), pl.col("url"), sha256, pl.exclude("image_id", "url", "sha256")]


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


def shard_names(root: Path, name: str, shard_size: int) -> list[str]:
    """The names of the shards of source `name`, by counting its rows."""
    rows = scan(root, name, shard_size).select(pl.len()).collect().item()
    return [f"{name}-{number:05d}" for number in range(-(-rows // shard_size))]


def is_shard_of(name: str, sources: list[str]) -> bool:
    """Whether a shard has the name of one that may be cut from one of these sources."""
    source, _, number = name.rpartition("-")
    return source in sources and number.isdigit() and len(number) >= 5


def sample_key(image_id: str) -> str:
    """The name under which WebDataset groups files into a sample: the path without its image extension.

    WebDataset splits a file name at its first dot, so dots inside the name are escaped as %2E (and % as %25).
    """
    stem, _ = split_extension(image_id)
    folder, slash, name = stem.rpartition("/")
    return folder + slash + name.replace("%", "%25").replace(".", "%2E")


def member(image_id: str, extension: str) -> str:
    """The tar member of an image; `extension` (".jpg") is added where image_id has no image extension of its own."""
    return sample_key(image_id) + (split_extension(image_id)[1] or extension)


def split_extension(image_id: str) -> tuple[str, str]:
    """The path without its image extension, and that extension ("" where it has none)."""
    # By hand: this runs for every row of every manifest, and pathlib takes five times as long.
    stem, dot, extension = image_id.rpartition(".")
    if stem and not stem.endswith("/") and f".{extension}".lower() in IMAGE_EXTENSIONS:
        return stem, dot + extension
    return image_id, ""


def is_plain_path(text: pl.Expr) -> pl.Expr:
    """Whether text is a plain relative path, as image_ids are."""
    return ~(text.str.contains(r"(^|/)(\.{0,2})(/|$)") | text.str.contains(r"[\\\x00-\x1f\x7f]"))


def read_strings(path: Path, shown: str) -> pl.DataFrame:
    """The table as it stands in a file, every value a string; `shown` is what errors call the file."""
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path).select(pl.all().cast(pl.String).fill_null(""))
        with path.open(encoding="utf-8-sig") as stream:
            header = stream.readline().rstrip("\r\n").split(",")
        doubled = sorted({name for name in header if header.count(name) > 1})
        if doubled:
            raise BlurlineError(f"{shown}:1: column {doubled[0]} stands twice: keep one of them")
        return _without_blank_end(pl.read_csv(path, infer_schema=False, raise_if_empty=False).fill_null(""))
    except BlurlineError:
        raise
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        problem = str(error).splitlines()[0]
        raise BlurlineError(f"{shown}: cannot be read as a table ({problem}): mend or restore the file") from None


def _without_blank_end(rows: pl.DataFrame) -> pl.DataFrame:
    """Editors like to leave blank lines at the end."""
    if not rows.height:
        return rows
    filled = rows.select((pl.any_horizontal(pl.all() != "")).arg_true().max()).item()
    return rows.head(0 if filled is None else filled + 1)


def check(rows: pl.DataFrame, place: Callable[[int], str]) -> None:
    """Check rows of image_id, url and sha256. Vectorised: manifests have millions of rows.

    Raises
    ------
    BlurlineError
        For the first row that breaks a rule; `place` says where the row of an index (from 0) stands.
    """
    image, url = pl.col("image_id"), pl.col("url")
    scheme = url.str.extract(r"^([A-Za-z][A-Za-z0-9+.-]*)://", 1).str.to_lowercase()
    unknown = [s for s in rows.select(scheme.drop_nulls().unique())["url"] if not urls.is_known(s)]
    rules: list[tuple[pl.Expr, str]] = [
        (image == "", "image_id is empty: give every image a unique relative path"),
        (
            ~is_plain_path(image),
            "image_id {image_id!r} is no plain relative path: no leading or double /, no . or .. parts, no backslashes",
        ),
        (image.str.strip_chars() != image, "image_id {image_id!r} begins or ends with a space: take it away"),
        (url.str.strip_chars() != url, "url {url!r} begins or ends with a space: take it away"),
        (image.str.len_bytes() > 1024, "image_id {image_id!r} is longer than 1,024 bytes: shorten it"),
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
    # One pass to see whether all is well, which it nearly always is.
    broken = rows.lazy().select(rule.any().alias(str(n)) for n, (rule, _) in enumerate(rules)).collect()
    # Not the further columns: one of them may have the name of the index.
    numbered = rows.select("image_id", "url", "sha256").with_row_index("row")
    for (rule, message), bad in zip(rules, broken.row(0), strict=True):
        if bad:
            row = numbered.filter(rule).row(0, named=True)
            row["url"] = urls.shown(row["url"])  # it may hold a password
            raise BlurlineError(f"{place(row['row'])}: {message.format(**row)}")
    _check_chains(numbered, place)
    stems = rows.select(stem=stem())["stem"]
    if not stems.is_duplicated().any():
        return
    again = numbered.filter(pl.col("image_id").is_duplicated())
    if again.height:
        image_id = again["image_id"][0]
        second = again.filter(pl.col("image_id") == image_id)["row"][1]
        raise BlurlineError(f"{place(second)}: image_id {image_id!r} stands twice: an id names one image")
    clash = numbered.with_columns(stems).filter(stems.is_duplicated())
    one, other, *_ = clash.filter(pl.col("stem") == clash["stem"][0]).iter_rows(named=True)
    raise BlurlineError(
        f"{place(other['row'])}: image_id {other['image_id']!r} and {one['image_id']!r} ({place(one['row'])}) "
        f"would be one sample {sample_key(one['image_id'])!r} of a shard: rename one of them"
    )


def stem() -> pl.Expr:
    """The column image_id without image extensions: equal exactly where `sample_key` is, and faster for millions."""
    image = pl.col("image_id")
    extensions = "|".join(sorted(extension[1:] for extension in IMAGE_EXTENSIONS))
    hidden = image.str.contains(r"(^|/)\.[^./]*$")  # the whole name of `.jpg`, not its extension
    # -u: only ASCII letters have another case here, as in `split_extension`.
    return pl.when(hidden).then(image).otherwise(image.str.replace(rf"\.(?i-u:{extensions})$", ""))


def _check_chains(numbered: pl.DataFrame, place: Callable[[int], str]) -> None:
    """Members of archives: every part is there, and the archive is a local file."""
    chains = numbered.filter(pl.col("url").str.contains(r"^(?i:tar|zip)://"))
    # Whatever the member, what is said of its archive is the same: look at one of each, not at millions.
    alike = chains.unique(pl.col("url").str.replace(r"^([A-Za-z]+)://[^:]+::", "${1}://x::"), keep="first")
    for row, url in alike.sort("row").select("row", "url").iter_rows():
        try:
            _, location = chain.read(url)
        except Unreadable as error:
            raise BlurlineError(
                f"{place(row)}: url {urls.shown(url)!r}: {error.reason}: write tar://<member>::<path of the archive>, "
                f"up to {chain.DEPTH} archives deep"
            ) from None
        scheme, separator, _ = location.partition("://")
        if separator and scheme.lower() not in ("file", "package"):
            raise BlurlineError(
                f"{place(row)}: url {urls.shown(url)!r}: an archive is read where it lies, and {scheme}:// is not on "
                "this machine: fetch the archive, and use its path or a file:// url"
            )
