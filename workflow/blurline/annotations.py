"""Imported annotations, data/annotations/<name>.csv: boxes that a data set came with. Reading and checking."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from blurline import sources
from blurline.boxes import ALL_FRAMES, Box
from blurline.errors import BlurlineError

FOLDER = "data/annotations"
NAME = r"[a-z0-9][a-z0-9_-]*"
_Pixel = Annotated[int, Field(gt=-(10**9), lt=10**9)]


class AnnotationRow(BaseModel):
    """One box that an annotation file of the data set held, as `blurline import-annotations` writes it."""

    model_config = ConfigDict(extra="forbid")

    image_id: Annotated[str, Field(min_length=1)]
    frame: Annotated[int, Field(ge=-1, lt=10**9, description="-1 or nothing: all frames")] = ALL_FRAMES
    label: str = "face"
    x1: Annotated[_Pixel, Field(description="pixels; in an image with EXIF orientation both readings are blurred")]
    y1: _Pixel
    x2: Annotated[_Pixel, Field(description="exclusive")]
    y2: Annotated[_Pixel, Field(description="exclusive")]


class Annotation(NamedTuple):
    """A box of an annotation file; `detector` is the file's name, sha256 that of the pinned image ("" if unpinned).

    The box is in pixels of the displayed image, or of the stored one: files differ, and do not say which. It may
    reach beyond the image.
    """

    image_id: str
    sha256: str
    detector: str
    frame: int
    label: str
    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def box(self) -> Box:
        return Box(self.x1, self.y1, self.x2, self.y2)


_CORNERS = ("x1", "y1", "x2", "y2")
COLUMNS = tuple(AnnotationRow.model_fields)
KEYED = Annotation._fields
"""What the merge can depend on: all of it."""
SCHEMA = {name: pl.Int32 if kind is int else pl.String for name, kind in Annotation.__annotations__.items()}


def read_all(root: Path) -> pl.DataFrame:
    """Every box in data/annotations/*.csv.

    Returns
    -------
    polars.DataFrame
        One row for each, with the columns of `SCHEMA`; sha256 is "" (`reach` fills it in); `of_rows` makes
        `Annotation`s of them.

    Raises
    ------
    BlurlineError
        Naming file and line, or a file that would not be read.
    """
    folder = root / FOLDER
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".csv", ".json") and (path.parent != folder or path.suffix != ".csv"):
            raise BlurlineError(
                f"{path.relative_to(root).as_posix()}: would not be read: `blurline import-annotations FILE` writes "
                f"{FOLDER}/<name>.csv"
            )
    return pl.concat([pl.DataFrame(schema=SCHEMA), *(read(path, root) for path in sorted(folder.glob("*.csv")))])


def of_rows(frame: pl.DataFrame) -> list[Annotation]:
    """The rows of `read_all`, or some of them, as `Annotation`s."""
    return [Annotation(*row) for row in frame.select(KEYED).iter_rows()]


def read(path: Path, root: Path) -> pl.DataFrame:
    """The boxes of one file (see `read_all`). Vectorised: there are hundreds of thousands."""
    shown = path.relative_to(root).as_posix()
    rows = sources.read_strings(path, shown)
    _check_header(rows.columns, shown)
    rows = rows.select(pl.col(name) if name in rows.columns else pl.lit("").alias(name) for name in COLUMNS)
    numbers = [pl.col(name).cast(pl.Int32, strict=False) for name in _CORNERS]
    _refuse(rows, shown, pl.col("image_id") == "", lambda row: "image_id is empty: say which image the box is in")
    _refuse(
        rows,
        shown,
        ~pl.col("frame").str.contains(r"^(-1|[0-9]{1,9})?$"),
        lambda row: f"frame {row['frame']!r}: want the number of a frame, from 0 on, or nothing for all frames",
    )
    for name in _CORNERS:
        _refuse(
            rows,
            shown,
            ~pl.col(name).str.contains(r"^-?[0-9]{1,9}$"),
            lambda row, name=name: f"{name} {row[name]!r}: want whole pixels",  # type: ignore[misc]
        )
    _refuse(
        rows,
        shown,
        (numbers[0] >= numbers[2]) | (numbers[1] >= numbers[3]),
        lambda row: "the box is empty: x2 must be over x1 and y2 over y1",
    )
    return rows.select(
        "image_id",
        pl.lit("").alias("sha256"),
        pl.lit(path.stem).alias("detector"),
        pl.when(pl.col("frame") == "").then(pl.lit(str(ALL_FRAMES))).otherwise("frame").alias("frame").cast(pl.Int32),
        pl.when(pl.col("label") == "").then(pl.lit("face")).otherwise("label").alias("label"),
        *numbers,
    )


def locate(root: Path, image_id: str) -> str:
    """File and line of the first box in an image."""
    for path in sorted((root / FOLDER).glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.DictReader(stream)
            for row in lines:
                if row["image_id"] == image_id:
                    return f"{path.relative_to(root).as_posix()}:{lines.line_num}"
    return FOLDER


def _check_header(names: list[str], shown: str) -> None:
    for name, field in AnnotationRow.model_fields.items():
        if field.is_required() and name not in names:
            raise BlurlineError(f"{shown}:1: column {name} is missing: the first line names the columns")
    for name in names:
        if name not in COLUMNS:
            raise BlurlineError(f"{shown}:1: unknown column {name}: known are {', '.join(COLUMNS)}")


def _refuse(rows: pl.DataFrame, shown: str, bad: pl.Expr, problem: Callable[[dict[str, str]], str]) -> None:
    found = rows.with_row_index("row").filter(bad).head(1)
    if found.height:
        row = found.row(0, named=True)
        raise BlurlineError(f"{shown}:{row['row'] + 2}: {problem(row)}")
