"""Receipts: data/<folder>/<shard>.<key>.json, the record of a finished job and the only thing that staleness is about.

A receipt holds no clock time, host, path or library version, so a rerun writes the same bytes.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blurline.errors import BlurlineError

CLOSING = "_step"  # the pseudo-shard of a receipt over a whole step
SCRATCH = "data/.tmp"  # on the same file system as the outputs, but never among them: DVC tracks whole folders
_NAME = re.compile(r"^(?P<shard>_step|[a-z0-9][a-z0-9_-]*-\d{5,})\.(?P<key>[0-9a-f]{16})\.json$")


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces: equal data, equal text."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def digest(data: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of `data`."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()


def key_of(parts: Mapping[str, Any]) -> str:
    """The key that belongs to `parts`: the first 16 hex digits of their digest."""
    return digest(parts)[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Receipt:
    """The record of a finished job.

    `parts` is all that its key is made of (step, shard, algorithm version, params, digests of git-tracked rows, keys
    of the inputs); `read` maps each receipt that it read, by its path below data/, to that receipt's SHA-256;
    `payload` maps each file written beside it to {"sha256", "bytes"}; `counts` are the step's own figures.
    """

    parts: Mapping[str, Any]
    read: Mapping[str, str]
    payload: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return key_of(self.parts)

    @property
    def name(self) -> str:
        return file_name(self.parts["shard"], self.key)

    def text(self) -> str:
        data = {
            "key": self.key,
            "parts": self.parts,
            "read": self.read,
            "payload": self.payload,
            "counts": self.counts,
        }
        return json.dumps(data, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def file_name(shard: str, key: str) -> str:
    """The name of a receipt's file."""
    return f"{shard}.{key}.json"


def parse_name(name: str) -> tuple[str, str] | None:
    """(shard, key) if `name` is the name of a receipt, else None."""
    match = _NAME.match(name)
    return (match["shard"], match["key"]) if match else None


def names(folder: Path) -> set[str]:
    """The names of all that lies in a step's folder; none where there is no folder."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def by_shard(names: Iterable[str]) -> dict[str, list[str]]:
    """Shard → the names of its receipts: one, unless its job was killed, or is under way, or is due."""
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        if parsed := parse_name(name):
            found.setdefault(parsed[0], []).append(name)
    return found


def keys_of(folder: Path, shard: str) -> list[str]:
    """The keys of a shard's receipts in a folder: one, unless a job was killed or is under way."""
    return [found[1] for path in sorted(folder.glob(f"{shard}.*.json")) if (found := parse_name(path.name))]


def owner(name: str) -> str:
    """The shard that a file in a step's folder belongs to: shard names hold no dots."""
    return name.split(".", 1)[0]


def parse(data: bytes, path: Path) -> Receipt:
    """Read a receipt and check it against its own key and file name.

    Raises
    ------
    BlurlineError
        When it is damaged, or says something else than its name.
    """
    try:
        fields = json.loads(data)
        receipt = Receipt(fields["parts"], fields["read"], fields["payload"], fields["counts"])
        sound = fields["key"] == receipt.key and path.name == receipt.name and receipt.text().encode() == data
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise BlurlineError(f"{path}: not a receipt as it was written: run `blurline repair`, then snakemake")
    return receipt


def load(path: Path) -> tuple[Receipt, str]:
    """The receipt in a file, and that file's SHA-256 (see `parse`)."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BlurlineError(f"{path}: this receipt is missing: run `blurline repair`, then snakemake") from None
    return parse(data, path), hashlib.sha256(data).hexdigest()


@contextmanager
def scratch(root: Path, label: str) -> Iterator[Path]:
    """A private folder for unfinished files; folders left by jobs of this host that are dead are swept away."""
    parent = root / SCRATCH
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    prefix = f"{socket.gethostname()}+{os.getpid()}+{label}+"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for folder in parent.iterdir():
        host, _, rest = folder.name.partition("+")
        pid = rest.split("+", 1)[0]
        if host == socket.gethostname() and pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def files(folder: Path) -> list[str]:
    """Every file below a folder, as sorted relative paths with /."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def commit(
    folder: Path, made: Path, receipt: Receipt, belongs: Callable[[str], bool], confirm: Callable[[], None]
) -> None:
    """Move the files of `made` into a step's folder: old receipts go first, the receipt comes last.

    So a kill at any moment leaves a valid receipt with its payload, or no receipt. `belongs` says which files of the
    folder are this job's: those that are not part of the new payload go. Nothing is written in place: a file here may
    be a link into DVC's cache. Two jobs that finish the same shard at once (a requeued cluster job) take turns: one
    whole result, then the other. `confirm` raises when the job is not wanted any more: a job that was left behind by
    a killed run must not replace what was made since.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (made.parent.parent / f"{folder.name}.{receipt.parts['shard']}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        confirm()
        old = [name for name in files(folder) if belongs(name)]
        remove(folder, [name for name in old if parse_name(name)])
        _sync(folder)
        for name in receipt.payload:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            _sync(made / name)
            (made / name).replace(folder / name)
        remove(folder, [name for name in old if not parse_name(name) and name not in receipt.payload])
        last = made / receipt.name
        last.write_text(receipt.text(), encoding="utf-8")
        _sync(last)
        _sync(folder)
        last.replace(folder / receipt.name)
        _sync(folder)


def remove(folder: Path, names: Iterable[str]) -> None:
    """Delete files of a folder, and subfolders that this leaves empty."""
    for name in names:
        path = folder / name
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == folder or any(parent.iterdir()):
                break
            parent.rmdir()


def _sync(path: Path) -> None:
    """Bring a file, or a folder's names, to the disk, so that a power cut cannot reorder what a kill could not."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
