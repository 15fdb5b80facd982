"""A job: one step on one shard, with everything that its key was made from, and nothing else."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from blurline import progress, receipts, tables
from blurline.annotations import Annotation
from blurline.decisions import Decision
from blurline.errors import BlurlineError
from blurline.params import Params
from blurline.receipts import Receipt
from blurline.sources import Shard

T = TypeVar("T")


@dataclass(frozen=True)
class Input:
    """The output of an earlier step on one shard, opened by the key that the job's own key holds."""

    folder: Path
    receipt: Receipt

    def file(self, name: str) -> Path:
        """A payload file, after checking that it is what its receipt says.

        Raises
        ------
        BlurlineError
            When the file is missing or has other bytes.
        """
        path = self.folder / name
        said = self.receipt.payload.get(name)
        if said is None:
            raise BlurlineError(f"{path}: not part of {self.receipt.name}: run `blurline repair`, then snakemake")
        if not path.is_file() or receipts.file_digest(path) != said["sha256"]:
            raise BlurlineError(
                f"{path}: not what {self.receipt.name} says: bring it back with `dvc checkout`, "
                "or run `blurline repair`, then snakemake"
            )
        return path

    def table(self, name: str, schema: tables.Schema) -> pl.DataFrame:
        """A payload table (see `file`)."""
        return tables.read(self.file(name), schema)


@dataclass
class Job:
    """One step on one shard, planned.

    `parts` is what the key is made of; `inputs` maps (folder, shard) of every receipt to read to its key. `rows`
    (download), `decisions` and `annotations` (merge) and `shards` (checksum) are the git-tracked rows whose digests
    stand in `parts`;
    `owns_folder` says that the job is the only one of its step, so that every other file in the folder is left over;
    `confirm` raises when the job is not wanted any more.
    """

    root: Path
    step: str
    folder: str
    shard: str
    parts: Mapping[str, Any]
    inputs: Mapping[tuple[str, str], str]
    params: Params
    threads: int = 1
    rows: Shard | None = None
    decisions: Sequence[Decision] = ()
    annotations: Sequence[Annotation] = ()
    shards: Sequence[Shard] = ()
    owns_folder: bool = False
    confirm: Callable[[], None] = lambda: None
    _read: dict[str, str] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        return receipts.key_of(self.parts)

    def input(self, folder: str, shard: str | None = None) -> Input:
        """Open the output of an earlier step, by default on the job's own shard."""
        shard = shard or self.shard
        key = self.inputs[folder, shard]
        path = self.root / "data" / folder / receipts.file_name(shard, key)
        receipt, digest = receipts.load(path)
        self._read[f"{folder}/{path.name}"] = digest
        return Input(path.parent, receipt)

    @contextmanager
    def output(self) -> Iterator["Output"]:
        """A private folder to write the payload to; it takes its place, receipt last, when the block ends well."""
        with receipts.scratch(self.root, f"{self.step}.{self.shard}") as scratch:
            made = scratch / "made"
            made.mkdir()
            output = Output(made, note=scratch / progress.FILE)
            yield output
            payload = {
                name: {"sha256": receipts.file_digest(made / name), "bytes": (made / name).stat().st_size}
                for name in receipts.files(made)
            }
            receipt = Receipt(self.parts, dict(sorted(self._read.items())), payload, output.counts)
            receipts.commit(self.root / "data" / self.folder, made, receipt, self._belongs, self.confirm)

    def _belongs(self, name: str) -> bool:
        """A shard's job owns the shard's files; a job for a whole step without shards owns the folder."""
        return self.owns_folder or receipts.owner(name) == self.shard


@dataclass
class Output:
    """Where a job writes: files by their final name, and the figures that its receipt shall hold."""

    folder: Path
    note: Path
    counts: dict[str, int] = field(default_factory=dict)

    def track(self, items: Iterable[T], total: int) -> Iterator[T]:
        """Pass images on one by one, so that people can see how far the job is."""
        return progress.track(items, self.note, total)

    def path(self, name: str) -> Path:
        return self.folder / name

    def scratch(self, name: str) -> Path:
        """A folder beside the payload for what is needed only while the job runs."""
        folder = self.folder.parent / name
        folder.mkdir(exist_ok=True)
        return folder
