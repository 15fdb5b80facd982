"""Reviewers' decisions, data/review/*.csv: reading and checking."""

import csv
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import polars as pl
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from blurline.boxes import ALL_FRAMES, Box
from blurline.errors import BlurlineError

FOLDER = "data/review"

Action = Literal["accept", "reject", "add", "adjust", "clear", "exclude", "erase"]
BOX_ACTIONS = frozenset({"accept", "reject", "add", "adjust"})

_Coordinate = Annotated[
    Annotated[int, Field(ge=0, lt=2**31)] | None, BeforeValidator(lambda value: None if value == "" else value)
]


def _moment(value: str) -> str:
    """Check an ISO 8601 time and write it in UTC, so that times compare as text."""
    try:
        parsed = datetime.fromisoformat(value)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        moment = parsed.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        raise ValueError("want an ISO 8601 time such as 2026-01-31T12:00:00+00:00") from None
    return moment


class Decision(BaseModel):
    """One judgement by one person about one image, or about one box in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    image_id: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$", description="of the image that the reviewer saw")] = ""
    action: Action
    frame: Annotated[
        int, BeforeValidator(lambda value: ALL_FRAMES if value == "" else value), Field(ge=-1, lt=2**31)
    ] = ALL_FRAMES
    label: str = ""
    box_id: Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")] = ""
    x1: _Coordinate = None
    y1: _Coordinate = None
    x2: _Coordinate = None
    y2: _Coordinate = None
    reviewer: Annotated[str, Field(min_length=1)]
    decided_at: Annotated[str, BeforeValidator(_moment)]
    note: str = ""

    @model_validator(mode="after")
    def _has_its_box(self) -> "Decision":
        corners = [self.x1, self.y1, self.x2, self.y2]
        if any(c is None for c in corners):
            if any(c is not None for c in corners):
                raise ValueError("x1, y1, x2, y2 go together: fill in all four or none")
            if self.action in BOX_ACTIONS:
                raise ValueError(f"{self.action} needs a box: fill in x1, y1, x2, y2")
        elif not self.box.area:  # type: ignore[union-attr]
            raise ValueError("the box is empty: x2 must be over x1 and y2 over y1")
        return self

    @property
    def box(self) -> Box | None:
        """The box, in pixels of the displayed image, or None."""
        if self.x1 is None or self.y1 is None or self.x2 is None or self.y2 is None:
            return None
        return Box(self.x1, self.y1, self.x2, self.y2)

    def canonical(self) -> list[Any]:
        """What the merge can depend on, as JSON data: all but the note."""
        return list(self.model_dump(exclude={"note"}).values())


_ADAPTER = TypeAdapter(Decision)

COLUMNS = tuple(Decision.model_fields)
KEYED = tuple(name for name in COLUMNS if name != "note")
"""What the merge can depend on."""
SCHEMA = dict.fromkeys(COLUMNS, pl.String)

# Rows that match these are valid, and canonical but for the time's form: a reviewing tool writes all its rows so. Any
# other row goes through the model, which is slower by far and has the last word.
_PLAIN = {
    "sha256": r"^([0-9a-f]{64})?$",
    "frame": r"^(-1|0|[1-9][0-9]{0,8})?$",
    "box_id": r"^([0-9a-f]{16})?$",
    **dict.fromkeys(("x1", "y1", "x2", "y2"), r"^(0|[1-9][0-9]{0,8})?$"),
    "decided_at": (
        r"^[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{6})?(\+00:00|Z)$"
    ),
}


def read_all(root: Path) -> pl.DataFrame:
    """Every decision in data/review/*.csv (not in its subfolders: gold and audit never enter the merge).

    Returns
    -------
    polars.DataFrame
        One row for each, with the columns of `COLUMNS`, all strings in canonical form ("" for what is absent, -1 for
        all frames, times in UTC with microseconds); `of_rows` makes `Decision`s of them.

    Raises
    ------
    BlurlineError
        Naming file, line and column.
    """
    folder = root / FOLDER
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        unread = len(place.parts) > 1 or path.suffix != ".csv" or not path.is_file()
        if path.suffix.lower() == ".csv" and unread and place.parts[0] != "gold":
            raise BlurlineError(
                f"{path.relative_to(root).as_posix()}: would not be read: decisions are files {FOLDER}/<reviewer>.csv"
            )
    return pl.concat([pl.DataFrame(schema=SCHEMA), *(_frame(path, root) for path in sorted(folder.glob("*.csv")))])


def of_rows(frame: pl.DataFrame) -> list[Decision]:
    """The rows of `read_all`, or some of them, as `Decision`s."""
    return [Decision.model_validate(row) for row in frame.iter_rows(named=True)]


def locate(root: Path, image_id: str) -> str:
    """File and line of the first decision on an image."""
    for path in sorted((root / FOLDER).glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.DictReader(stream)
            for row in lines:
                if row["image_id"].strip() == image_id:
                    return f"{path.relative_to(root).as_posix()}:{lines.line_num}"
    return FOLDER


def _frame(path: Path, root: Path) -> pl.DataFrame:
    """The decisions of one file, hundreds of thousands in a second if they are written plainly."""
    rows = _plain_rows(path)
    if rows is None:
        return _rows(read(path, root))
    corners = [pl.col(side).cast(pl.Int64, strict=False) for side in ("x1", "y1", "x2", "y2")]
    boxed = (corners[0] < corners[2]) & (corners[1] < corners[3])
    boxless = pl.all_horizontal(pl.col(side) == "" for side in ("x1", "y1", "x2", "y2"))
    plain = (
        pl.all_horizontal(pl.col(name).str.contains(pattern) for name, pattern in _PLAIN.items())
        & pl.all_horizontal(pl.col(name) == pl.col(name).str.strip_chars() for name in COLUMNS)
        & (pl.col("image_id") != "")
        & (pl.col("reviewer") != "")
        & pl.col("action").is_in(get_args(Action))
        & (boxed | (boxless & ~pl.col("action").is_in(sorted(BOX_ACTIONS))))
    )
    marked = rows.with_columns(plain=plain.fill_null(False))
    fraction = pl.col("decided_at").str.extract(r"\.([0-9]{6})").fill_null("000000")
    good = marked.filter("plain").with_columns(
        frame=pl.when(pl.col("frame") == "").then(pl.lit("-1")).otherwise("frame"),
        decided_at=pl.col("decided_at").str.slice(0, 19) + "." + fraction + "+00:00",
    )
    odd = marked.filter(~pl.col("plain")).select(COLUMNS)
    try:
        others = [_ADAPTER.validate_python(row) for row in odd.iter_rows(named=True)]
    except ValidationError:
        return _rows(read(path, root))  # which says in what line
    return pl.concat([good.select(COLUMNS), _rows(others)])


def _plain_rows(path: Path) -> pl.DataFrame | None:
    """All fields of a file, "" where they are absent; None when it needs Python's own CSV reader to understand it."""
    try:
        # Quoted fields, which may hold commas, count as empty; a field over several lines looks ragged.
        lines = pl.read_csv(path, has_header=False, separator="\x01", quote_char=None, infer_schema=False)
        fields = pl.col(lines.columns[0]).str.replace_all(r'"[^"]*"', "").str.count_matches(",", literal=True)
        if len(lines.columns) > 1 or lines.select(fields.n_unique()).item() != 1 or lines.null_count()[0, 0]:
            return None
        header = lines[0, 0].removeprefix("\ufeff").split(",")
        required = [name for name, field in Decision.model_fields.items() if field.is_required()]
        if len(set(header)) != len(header) or not set(required) <= set(header) <= set(COLUMNS):
            return None
        rows = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError):
        return None
    if rows.columns != header:
        return None
    return rows.fill_null("").select(pl.col(name) if name in header else pl.lit("").alias(name) for name in COLUMNS)


def _rows(decisions: Iterable[Decision]) -> pl.DataFrame:
    """Decisions as rows of `read_all`."""
    fields = ([_text(value) for value in decision.model_dump().values()] for decision in decisions)
    return pl.DataFrame(list(fields), schema=SCHEMA, orient="row")


def _text(value: object) -> str:
    return "" if value is None else str(value)


def read(path: Path, root: Path) -> list[Decision]:
    """The decisions of one file (see `read_all`)."""
    shown = path.relative_to(root).as_posix()
    decisions = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.DictReader(stream, strict=True)
            _check_header(lines.fieldnames, shown)
            for row in lines:
                where = f"{shown}:{lines.line_num}"
                if None in row or None in row.values():
                    raise BlurlineError(f"{where}: not as many fields as the header has: mend the line")
                decisions.append(_parse(row, where))
    except (csv.Error, UnicodeDecodeError) as error:
        raise BlurlineError(f"{shown}: not a UTF-8 CSV file ({error}): mend or restore it") from None
    return decisions


def _check_header(names: Iterable[str] | None, shown: str) -> None:
    names = list(names or [])
    known = list(Decision.model_fields)
    for name, field in Decision.model_fields.items():
        if field.is_required() and name not in names:
            raise BlurlineError(f"{shown}:1: column {name} is missing: the first line names the columns")
    for name in names:
        if name not in known:
            raise BlurlineError(f"{shown}:1: unknown column {name}: known are {', '.join(known)}")
        if names.count(name) > 1:
            raise BlurlineError(f"{shown}:1: column {name} stands twice: keep one of them")


def _parse(row: Mapping[str, str], where: str) -> Decision:
    try:
        return _ADAPTER.validate_python(dict(row))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        column = f"{problem['loc'][0]}: " if problem["loc"] else ""
        message = problem["msg"].removeprefix("Value error, ")
        value = "" if isinstance(problem["input"], dict) else f" (it is {problem['input']!r})"
        raise BlurlineError(f"{where}: {column}{message[0].lower()}{message[1:]}{value}") from None
