"""Reviewers' decisions, data/review/*.csv: reading, checking, and finding those that concern a shard."""

import csv
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

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


def read_all(root: Path) -> list[Decision]:
    """Every decision in data/review/*.csv (not in its subfolders: gold and audit never enter the merge).

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
    return [decision for path in sorted(folder.glob("*.csv")) for decision in read(path, root)]


def locate(root: Path, image_id: str) -> str:
    """File and line of the first decision on an image."""
    for path in sorted((root / FOLDER).glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.DictReader(stream)
            for row in lines:
                if row["image_id"].strip() == image_id:
                    return f"{path.relative_to(root).as_posix()}:{lines.line_num}"
    return FOLDER


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


class Index:
    """Finds the decisions that concern a shard.

    A decision concerns an image by its image_id, and every image whose pinned SHA-256 is that of the image decided
    on, so that a face added in one copy is blurred in all copies. One on an image_id that no manifest has, with a
    hash that no row is pinned to, may mean any unpinned row: the merge, which knows their hashes, finds out.
    """

    def __init__(self, decisions: Iterable[Decision], rows: Mapping[str, str]) -> None:
        """`rows`: image_id → SHA-256, or "" if unpinned, of every row of every manifest."""
        self._by_image: dict[str, list[Decision]] = {}
        self._by_sha256: dict[str, list[Decision]] = {}
        self._of_unpinned: list[Decision] = []
        self.strangers: list[str] = []
        """image_ids of decisions that mean no image of any manifest: misspelt, or of a source that is gone."""
        hashes = set(rows.values())
        pinned, any_unpinned = hashes - {""}, "" in hashes
        for decision in decisions:
            if not decision.sha256 and rows.get(decision.image_id):
                # Say which bytes are meant, so that the merge of another shard knows a copy of them.
                decision = decision.model_copy(update={"sha256": rows[decision.image_id]})
            self._by_image.setdefault(decision.image_id, []).append(decision)
            if decision.sha256:
                self._by_sha256.setdefault(decision.sha256, []).append(decision)
            if decision.image_id not in rows and decision.sha256 not in pinned:
                if decision.sha256 and any_unpinned:
                    self._of_unpinned.append(decision)
                else:
                    self.strangers.append(decision.image_id)

    def concerning(self, rows: Mapping[str, str]) -> list[Decision]:
        """The decisions for a shard's rows (as in `__init__`), without repeats, in an order of their own."""
        found: dict[str, Decision] = {}
        if not self._by_image:
            return []
        for image_id, sha256 in rows.items():
            for decision in (*self._by_image.get(image_id, []), *self._by_sha256.get(sha256, [])):
                found[repr(decision.canonical())] = decision
        if "" in rows.values():
            found |= {repr(decision.canonical()): decision for decision in self._of_unpinned}
        return [found[name] for name in sorted(found)]
