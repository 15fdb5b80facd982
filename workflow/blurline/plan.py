"""The plan: sources, params and decisions → shards, and the key of every job.

A key is the first 16 hex digits of SHA-256 over all that can affect a job's output, known from git-tracked files
alone. A job is due exactly when its receipt, data/<folder>/<shard>.<key>.json, is not there.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from blurline import decisions as decision_files
from blurline import params as params_file
from blurline import receipts, sources, tables
from blurline.decisions import Decision
from blurline.errors import BlurlineError
from blurline.job import Job
from blurline.params import Params
from blurline.receipts import CLOSING
from blurline.sources import Shard
from blurline.steps import blur, checksum, detect, download, merge, weights

# In the order of the flow. Each module says what its key is made of: ALGORITHM_VERSION, PARAMS and READS.
STEPS: Mapping[str, ModuleType] = {
    "weights": weights,
    "download": download,
    "detect": detect,
    "merge": merge,
    "blur": blur,
    "checksum": checksum,
}
SHARDED = ("download", "detect", "merge", "blur")
PRIVATE_COLUMNS = ("url", "sha256")  # of the manifest; they lead back to the clear faces
RESERVED_COLUMNS = frozenset({*tables.BLURRED, "state", "faces", "source", "shard", *checksum.KEY_COLUMNS})


def folder(step: str) -> str:
    """The folder below data/ that a step writes to."""
    return str(STEPS[step].FOLDER)


@dataclass(frozen=True)
class Plan:
    """Every job of the workflow by (step, shard); closing jobs, and steps without shards, have the shard _step."""

    jobs: Mapping[tuple[str, str], Job]
    shards: tuple[str, ...]
    params: Params

    def keys(self) -> dict[tuple[str, str], str]:
        """The key of every job."""
        return {at: job.key for at, job in self.jobs.items()}

    def receipt(self, step: str, shard: str = CLOSING) -> str:
        """The path of a job's receipt, relative to the project."""
        job = self.jobs[step, shard]
        return f"data/{job.folder}/{receipts.file_name(shard, job.key)}"

    def shard_receipts(self, step: str) -> list[str]:
        """The receipts that the closing job of a sharded step waits for."""
        return [self.receipt(step, shard) for shard in self.shards]


def load(root: Path) -> Plan:
    """Read params, manifests and decisions, and plan every job.

    Raises
    ------
    BlurlineError
        For the first thing that is wrong in them, before any work starts.
    """
    params = params_file.load(root)
    if not params.sources:
        raise BlurlineError(
            f"{params_file.place(root, 'sources')}: sources: no source is listed: "
            "`blurline import PATH…` writes a manifest and lists it"
        )
    manifests = sources.read_all(root, params.sources)
    _check_public_columns(params, manifests)
    shards = [shard for manifest in manifests for shard in sources.cut(manifest, params.shard_size)]
    if not shards:
        raise BlurlineError(f"{sources.FOLDER}: no image is listed: add rows to {', '.join(params.sources)}")
    index = decision_files.Index(
        decision_files.read_all(root), {image: sha for shard in shards for image, sha in shard.hashes.items()}
    )
    _check_strangers(root, params, index.strangers, manifests)
    return make(root, params, shards, {shard.name: index.concerning(shard.hashes) for shard in shards})


def make(root: Path, params: Params, shards: list[Shard], decisions: Mapping[str, list[Decision]]) -> Plan:
    """Plan every job from data already read; `decisions` maps each shard's name to those that concern it."""
    jobs: dict[tuple[str, str], Job] = {}

    def add(step: str, shard: str, rows: Mapping[str, Any], reads: list[tuple[str, str]]) -> Job:
        module = STEPS[step]
        parts = {
            "step": step,
            "shard": shard,
            "algorithm_version": module.ALGORITHM_VERSION,
            "params": params.pick(module.PARAMS),
            "rows": rows,
            "inputs": {f"{above}/{of}": jobs[above, of].key for above, of in reads},
        }
        job = _job(root, params, step, shard, parts, jobs, reads)
        jobs[step, shard] = job
        return job

    add("weights", CLOSING, {}, [])
    jobs["weights", CLOSING].owns_folder = True
    for shard in shards:
        for step in SHARDED:
            reads = [(above, CLOSING if above == "weights" else shard.name) for above in STEPS[step].READS]
            job = add(step, shard.name, _rows(step, shard, decisions[shard.name]), reads)
            job.rows, job.decisions = shard, decisions[shard.name]
    for step in SHARDED:
        parts = {
            "step": step,
            "shard": CLOSING,
            "inputs": {f"{step}/{shard.name}": jobs[step, shard.name].key for shard in shards},
        }
        reads = [(step, shard.name) for shard in shards]
        jobs[step, CLOSING] = _job(root, params, step, CLOSING, parts, jobs, reads)
    job = add("checksum", CLOSING, _public_rows(params, shards), [(s, CLOSING) for s in checksum.READS])
    job.shards, job.owns_folder = shards, True
    # Checksum reads the tables of every shard; their keys follow from the closing receipts in its own key.
    job.inputs = {
        **job.inputs,
        **{(folder(step), s.name): jobs[step, s.name].key for step in SHARDED for s in shards},
    }
    return Plan(jobs, tuple(shard.name for shard in shards), params)


def job(root: Path, step: str, shard: str, key: str, threads: int = 1) -> Job:
    """The job that Snakemake asks for by (step, shard, key), planned anew from the files as they are now.

    Raises
    ------
    BlurlineError
        When its key is another one: somebody edited params, a manifest or decisions after the run was planned.
    """
    found = load(root).jobs.get((step, shard))
    if found is None or found.key != key:
        raise BlurlineError(f"{step} {shard}: inputs changed during the run (key {key} is not planned): run again")

    def confirm() -> None:
        now = load(root).jobs.get((step, shard))
        if now is None or now.key != key:
            raise BlurlineError(f"{step} {shard}: inputs changed while the job ran: run again")

    return replace(found, threads=threads, confirm=confirm)


def _job(
    root: Path,
    params: Params,
    step: str,
    shard: str,
    parts: Mapping[str, Any],
    jobs: Mapping[tuple[str, str], Job],
    reads: list[tuple[str, str]],
) -> Job:
    inputs = {(folder(above), of): jobs[above, of].key for above, of in reads}
    return Job(root, step, folder(step), shard, parts, inputs, params)


def _rows(step: str, shard: Shard, decisions: list[Decision]) -> dict[str, Any]:
    """Digests of the git-tracked rows that a step reads for a shard."""
    if step == "download":
        return {"manifest": receipts.digest(shard.rows.select("image_id", "url", "sha256").rows())}
    if step == "merge":
        return {"decisions": receipts.digest([decision.canonical() for decision in decisions])}
    return {}


def _public_rows(params: Params, shards: list[Shard]) -> dict[str, Any]:
    columns = [c for c in params.release.public_columns if c not in PRIVATE_COLUMNS]
    if not columns:
        return {}
    return {
        "manifest": {
            s.name: receipts.digest(s.rows.select("image_id", *(c for c in columns if c in s.rows.columns)).rows())
            for s in shards
        }
    }


def _check_strangers(root: Path, params: Params, strangers: list[str], manifests: list[sources.Manifest]) -> None:
    """A decision about no image is misspelt, or about a source that was taken off the list: only the latter is fine."""
    if not strangers:
        return
    listed = [image for manifest in manifests for image in manifest.rows["image_id"].to_list()]
    gone = {
        image
        for path in sorted((root / sources.FOLDER).iterdir())
        if path.suffix in (".csv", ".parquet") and path.stem not in params.sources
        for image in sources.read(root, path.stem).rows["image_id"].to_list()
    }
    for image in strangers:
        if image not in gone:
            close = difflib.get_close_matches(image, listed, n=1)
            hint = f"did you mean {close[0]}?" if close else "mend it, or take the decision away"
            raise BlurlineError(
                f"{decision_files.locate(root, image)}: image_id {image!r} is in no manifest of "
                f"{sources.FOLDER}: {hint}"
            )


def _check_public_columns(params: Params, manifests: list[sources.Manifest]) -> None:
    for column in params.release.public_columns:
        if column in RESERVED_COLUMNS:
            raise BlurlineError(
                f"{params_file.FILE}: release.public_columns: {column!r} is a column of every release already: "
                "rename it in the manifest, or take it off the list"
            )
    known = {column for manifest in manifests for column in manifest.rows.columns}
    for column in params.release.public_columns:
        if column not in known:
            raise BlurlineError(
                f"{params_file.FILE}: release.public_columns: no manifest has a column {column!r} to publish: "
                f"there are {', '.join(sorted(known - {'image_id'}))}"
            )
