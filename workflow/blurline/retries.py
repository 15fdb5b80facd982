"""data/sources/retries.csv: shards whose failed rows were asked for again, and in which round.

Git tracks it, so a release says what it was made with. The last round of a shard is part of its download key, and of no
other: a failed row alone makes nothing stale.
"""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from blurline.errors import BlurlineError

NAME = "retries"
FILE = f"data/sources/{NAME}.csv"
COLUMNS = ("shard", "round")
_SHARD = re.compile(r"^[a-z0-9][a-z0-9_-]*-\d{5,}$")
_ROUND = re.compile(r"^[1-9]\d{0,8}$")


def read(root: Path) -> dict[str, int]:
    """Shard → its last round; empty when nothing was ever asked for again.

    Raises
    ------
    BlurlineError
        Naming file, line and column.
    """
    path = root / FILE
    if not path.is_file():
        return {}
    found: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream, strict=True)
            header = next(lines, [])
            if tuple(header) != COLUMNS:
                raise BlurlineError(f"{FILE}:1: want the columns {','.join(COLUMNS)}: restore the file from git")
            for fields in lines:
                if not fields:
                    continue
                where = f"{FILE}:{lines.line_num}"
                if len(fields) != len(COLUMNS) or not _SHARD.match(fields[0]):
                    raise BlurlineError(f"{where}: want <source>-<00000>,<round>: mend the line")
                if not _ROUND.match(fields[1]):
                    raise BlurlineError(f"{where}: round: want a whole number from 1 on (it is {fields[1]!r})")
                found[fields[0]] = max(found.get(fields[0], 0), int(fields[1]))
    except (csv.Error, UnicodeDecodeError) as error:
        raise BlurlineError(f"{FILE}: not a UTF-8 CSV file ({error}): restore it from git") from None
    return found


def append(root: Path, shards: Iterable[str]) -> dict[str, int]:
    """Ask for the failed rows of these shards again: a line for each, with its next round. Shard → that round."""
    before = read(root)
    rounds = {shard: before.get(shard, 0) + 1 for shard in shards}
    path = root / FILE
    text = path.read_text(encoding="utf-8") if path.is_file() else ",".join(COLUMNS) + "\n"
    text += "" if text.endswith("\n") else "\n"
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text(text + "".join(f"{shard},{number}\n" for shard, number in rounds.items()), encoding="utf-8")
    unfinished.replace(path)
    return rounds
