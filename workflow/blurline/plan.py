"""The plan: sources, params and decisions → shards, and the key of every job.

A key is the first 16 hex digits of SHA-256 over all that can affect a job's output, known from git-tracked files
alone. A job is due exactly when its receipt, data/<folder>/<shard>.<key>.json, is not there.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl

from blurline import annotations as annotation_files
from blurline import decisions as decision_files
from blurline import inputs, receipts, retries, sources
from blurline import params as params_file
from blurline import reach as reaching
from blurline.errors import BlurlineError
from blurline.inputs import Inputs
from blurline.job import Job
from blurline.params import Params
from blurline.receipts import CLOSING
from blurline.sources import Shard
from blurline.steps import blur, checksum, detect, download, merge, recheck, weights

# In the order of the flow. Each module says what its key is made of: ALGORITHM_VERSION, PARAMS and READS.
STEPS: Mapping[str, ModuleType] = {
    "weights": weights,
    "download": download,
    "detect": detect,
    "merge": merge,
    "blur": blur,
    "recheck": recheck,
    "checksum": checksum,
}
SHARDED = ("download", "detect", "merge", "blur", "recheck")
ABOVE = checksum.READS
PRIVATE = ("weights", "download", "detect", "merge")  # steps whose output shows the people whom the release protects
MAY_BE_ABSENT = (*PRIVATE, "recheck")  # steps of which a clone may have nothing, and still verify the rest
TARGETS = (("checksum", CLOSING), ("blur", CLOSING))  # what the workflow is asked for; a public clone has both


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

    def inputs(self, step: str, shard: str) -> list[str]:
        """The receipts that a job reads."""
        above = (name.partition("/") for name in self.jobs[step, shard].parts["inputs"])
        return [self.receipt(step, shard) for step, _, shard in above]

    def images(self) -> dict[str, dict[str, int]]:
        """Step → receipt of each shard → how many images it stands for."""
        sizes = {shard: self.jobs["download", shard].parts["rows"]["manifest"]["rows"] for shard in self.shards}
        return {step: {self.receipt(step, shard): sizes[shard] for shard in self.shards} for step in SHARDED}

    def without_rows(self) -> "Plan":
        """The same plan, of which no job can be run: for who keeps it long and does not need millions of rows."""
        return replace(self, jobs={at: replace(job, rows=None, shards=()) for at, job in self.jobs.items()})

    def shard_receipts(self, step: str) -> list[str]:
        """The receipts that the closing job of a sharded step waits for."""
        return [self.receipt(step, shard) for shard in self.shards]


def load(root: Path) -> Plan:
    """Read all that git tracks of the data set (see `inputs.load`), and plan every job."""
    return make(root, inputs.load(root))


def make(root: Path, given: Inputs) -> Plan:
    """Plan every job from data already read."""
    params, shards = given.params, given.shards
    decisions, annotations = given.decisions.by_shard(), given.annotations.by_shard()
    anywhere = _anywhere_rows(given.decisions.anywhere)
    jobs: dict[tuple[str, str], Job] = {}
    picked = {step: params.pick(module.PARAMS) for step, module in STEPS.items()}
    undecided = _rows("merge", None, pl.DataFrame(schema=decision_files.SCHEMA))

    def add(step: str, shard: str, rows: Mapping[str, Any], inputs: Mapping[tuple[str, str], str]) -> Job:
        jobs[step, shard] = _job(root, params, step, shard, parts(step, shard, picked[step], rows, inputs), inputs)
        return jobs[step, shard]

    add("weights", CLOSING, {}, {})
    for shard in shards:
        concerning, boxes = decisions.get(shard.name), annotations.get(shard.name)
        for step in SHARDED:
            above = {at: jobs[at].key for at in reads(step, shard.name, boxes is not None)}
            if step == "merge" and concerning is None:
                rows = undecided
            else:
                rows = _rows(step, shard, concerning, given.rounds.get(shard.name, 0))
            if step == "merge":
                rows = rows | _annotation_rows(boxes) | (anywhere if shard.name in given.decisions.unpinned else {})
            add(step, shard.name, rows, above)
        jobs["download", shard.name].rows = shard
    for step in SHARDED:
        above = {(step, shard.name): jobs[step, shard.name].key for shard in shards}
        jobs[step, CLOSING] = _closing(root, params, step, above)
    rows = _public_rows(params, shards) | _anywhere_rows(given.unmatched)
    job = add("checksum", CLOSING, rows, {(s, CLOSING): jobs[s, CLOSING].key for s in ABOVE})
    job.shards = shards
    job.decisions = decision_files.of_rows(given.unmatched)
    # Checksum reads the tables of every shard; their keys follow from the closing receipts in its own key.
    job.inputs = {
        **job.inputs,
        **{(folder(step), s.name): jobs[step, s.name].key for step in SHARDED for s in shards},
    }
    return Plan(jobs, tuple(shard.name for shard in shards), params)


def parts(
    step: str,
    shard: str,
    params: Mapping[str, Any],
    rows: Mapping[str, Any],
    inputs: Mapping[tuple[str, str], str],
) -> dict[str, Any]:
    """What the key of a job is made of; `inputs` maps the (step, shard) of every job that it reads to its key."""
    return {
        "step": step,
        "shard": shard,
        "algorithm_version": STEPS[step].ALGORITHM_VERSION,
        "params": params,
        "rows": rows,
        "inputs": _named(inputs),
    }


def reads(step: str, shard: str, annotated: bool) -> list[tuple[str, str]]:
    """The jobs whose output a shard's job reads; `annotated` says that imported boxes concern the shard."""
    more = merge.READS_IF_ANNOTATED if annotated and step == "merge" else ()
    return [(above, CLOSING if above == "weights" else shard) for above in (*STEPS[step].READS, *more)]


def _named(inputs: Mapping[tuple[str, str], str]) -> dict[str, str]:
    return {f"{step}/{shard}": key for (step, shard), key in inputs.items()}


def _job(
    root: Path,
    params: Params,
    step: str,
    shard: str,
    made_of: Mapping[str, Any],
    inputs: Mapping[tuple[str, str], str],
) -> Job:
    in_folders = {(folder(above), of): key for (above, of), key in inputs.items()}
    alone = step not in SHARDED
    return Job(root, step, folder(step), shard, made_of, in_folders, params, owns_folder=alone)


def job(root: Path, step: str, shard: str, key: str, threads: int = 1) -> Job:
    """The job that Snakemake asks for by (step, shard, key), planned anew from the files as they are now.

    A shard's job reads only what its own key is made of, so that it starts at once however large the collection is:
    download its rows, merge the decisions and annotations that may concern it, and every step the keys of the receipts
    that it will read. A key that comes out as the one asked for proves that these are what was planned.

    Raises
    ------
    BlurlineError
        When its key is another one: somebody edited params, a manifest or decisions after the run was planned.
    """
    closing = step in SHARDED and shard == CLOSING
    candidates = _closing_job if closing else _shard_job if step in SHARDED else _whole_job

    def find() -> Job | None:
        try:
            return next((candidate for candidate in candidates(root, step, shard) if candidate.key == key), None)
        except pl.exceptions.PolarsError:
            return None  # a manifest that could be read when the run was planned

    found = find()
    if found is None:
        raise BlurlineError(f"{step} {shard}: inputs changed during the run (key {key} is not planned): run again")

    def confirm() -> None:
        if find() is None:
            raise BlurlineError(f"{step} {shard}: inputs changed while the job ran: run again")

    return replace(found, threads=threads, confirm=confirm)


def _whole_job(root: Path, step: str, shard: str) -> Iterator[Job]:
    if step == "weights":
        params = params_file.load(root)
        yield _job(root, params, step, shard, parts(step, shard, params.pick(weights.PARAMS), {}, {}), {})
    elif (step, shard) in (jobs := load(root).jobs):
        yield jobs[step, shard]


def _closing_job(root: Path, step: str, shard: str) -> Iterator[Job]:
    """A step's closing job, from the number of rows and the receipts that are there; failing that, the planned one."""
    params = params_file.load(root)
    present = receipts.by_shard(receipts.names(root / "data" / folder(step)))
    shards = [name for source in params.sources for name in sources.shard_names(root, source, params.shard_size)]
    if shards and all(len(present.get(name, [])) == 1 for name in shards):
        inputs = {(step, name): receipts.parse_name(present[name][0])[1] for name in shards}  # type: ignore[index]
        yield _closing(root, params, step, inputs)
    yield from _whole_job(root, step, shard)


def _closing(root: Path, params: Params, step: str, inputs: Mapping[tuple[str, str], str]) -> Job:
    made_of = {"step": step, "shard": CLOSING, "inputs": _named(inputs)}
    return _job(root, params, step, CLOSING, made_of, inputs)


def _shard_job(root: Path, step: str, name: str) -> Iterator[Job]:
    """A shard's job, from what its key is made of alone; several where an input has several receipts, or none."""
    params = params_file.load(root)
    if not sources.is_shard_of(name, params.sources):
        return
    rows, decisions, boxes, of_git = None, None, None, {}
    if step == "download":
        rows = sources.read_shard(root, name, params.shard_size)
        of_git = _rows(step, rows, None, retries.read(root).get(name, 0))
    elif step == "merge":
        every = decision_files.read_all(root)
        scanned = (sources.scan(root, source, params.shard_size) for source in params.sources)
        listed = pl.concat(one.select(reaching.ROWS) for one in scanned)
        reached = reaching.reach(every, reaching.relevant(listed, every, name))
        boxes = _boxes(root, listed, name)
        decisions = reached.concerning(name)
        of_git = _rows(step, None, decisions) | _annotation_rows(boxes)
        if name in reached.unpinned:
            of_git |= _anywhere_rows(reached.anywhere)
            decisions = pl.concat([decisions, reached.anywhere])
    above = reads(step, name, boxes is not None)
    for keys in itertools.product(*(receipts.keys_of(root / "data" / folder(s), of) for s, of in above)):
        read = dict(zip(above, keys, strict=True))
        made_of = parts(step, name, params.pick(STEPS[step].PARAMS), of_git, read)
        found = _job(root, params, step, name, made_of, read)
        found.rows = rows
        found.decisions = decision_files.of_rows(decisions) if decisions is not None else ()
        found.annotations = annotation_files.of_rows(boxes) if boxes is not None else ()
        yield found


def _boxes(root: Path, listed: pl.LazyFrame, shard: str) -> pl.DataFrame | None:
    """The imported boxes that concern a shard; None if there are none."""
    every = annotation_files.read_all(root)
    if not every.height:
        return None
    known = reaching.copies(listed, shard)
    named = every.filter(pl.col("image_id").is_in(known["image_id"].to_list()))
    concerning = reaching.reach(named, known, annotation_files.KEYED).concerning(shard)
    return concerning if concerning.height else None


def _rows(step: str, shard: Shard | None, decisions: pl.DataFrame | None, round_: int = 0) -> dict[str, Any]:
    """Number and digest of the git-tracked rows that a step reads for a shard."""
    if step == "download" and shard is not None:
        manifest = _digest(shard.rows.select("image_id", "url", "sha256"))
        return {"manifest": manifest} | ({"retry": round_} if round_ else {})
    if step == "merge" and decisions is not None:
        return {"decisions": _digest(decisions.select(decision_files.KEYED))}
    return {}


def _annotation_rows(boxes: pl.DataFrame | None) -> dict[str, Any]:
    """The same for imported boxes; without any there is no such part, so that most keys are as if none existed."""
    return {} if boxes is None else {"annotations": _digest(boxes.select(annotation_files.KEYED))}


def _anywhere_rows(decisions: pl.DataFrame) -> dict[str, Any]:
    """The same for decisions that may mean any unpinned row: one part, digested once, of every shard that has some."""
    return {"decisions by hash alone": _digest(decisions.select(decision_files.KEYED))} if decisions.height else {}


def _digest(rows: pl.DataFrame) -> dict[str, Any]:
    """How many rows, and the SHA-256 of them as CSV: every field quoted, a line feed after every line."""
    return {"rows": rows.height, "sha256": hashlib.sha256(rows.write_csv(quote_style="always").encode()).hexdigest()}


def _public_rows(params: Params, shards: list[Shard]) -> dict[str, Any]:
    columns = [c for c in params.release.public_columns if c not in inputs.PRIVATE_COLUMNS]
    if not columns:
        return {}
    return {
        "manifest": {
            s.name: _digest(s.rows.select("image_id", *(c for c in columns if c in s.rows.columns))) for s in shards
        }
    }
