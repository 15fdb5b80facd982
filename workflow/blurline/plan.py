"""The plan: sources, params and decisions → shards, and the key of every job.

A key is the first 16 hex digits of SHA-256 over all that can affect a job's output, known from git-tracked files
alone. A job is due exactly when its receipt, data/<folder>/<shard>.<key>.json, is not there.
"""

import difflib
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl

from blurline import annotations as annotation_files
from blurline import decisions as decision_files
from blurline import params as params_file
from blurline import reach as reaching
from blurline import receipts, retries, sources, tables
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
ABOVE = checksum.READS
PRIVATE = ("weights", "download", "detect", "merge")  # steps whose output shows the people whom the release protects
TARGETS = (("checksum", CLOSING), ("blur", CLOSING))  # what the workflow is asked for; a public clone has both
PRIVATE_COLUMNS = ("url", "sha256")  # of the manifest; they lead back to the clear faces
RESERVED_COLUMNS = frozenset({*tables.BLURRED, "state", "faces", "source", "shard", "phash", *checksum.KEY_COLUMNS})


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
    """Read params, manifests, decisions and annotations, check them, and plan every job.

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
    listed = _listed(shards)
    reached = reaching.reach(decision_files.read_all(root), listed)
    _check_strangers(root, params, reached.strangers, manifests, decision_files.locate, "take the decision away")
    boxes = reaching.reach(annotation_files.read_all(root), listed, annotation_files.KEYED)
    _check_strangers(root, params, boxes.strangers, manifests, annotation_files.locate, "take the line away")
    return make(root, params, shards, reached.by_shard(), boxes.by_shard(), retries.read(root))


def inputs_digest(root: Path) -> str:
    """SHA-256 over the very bytes of all that `load` reads: while it stays, so does the plan."""
    folders = (root / part.FOLDER for part in (sources, decision_files, annotation_files))
    paths = [path for folder in folders for path in sorted(folder.glob("*")) if path.suffix in (".csv", ".parquet")]
    files = [root / params_file.FILE, *paths]
    return receipts.digest([[path.as_posix(), receipts.file_digest(path)] for path in files if path.is_file()])


def make(
    root: Path,
    params: Params,
    shards: list[Shard],
    decisions: Mapping[str, pl.DataFrame],
    annotations: Mapping[str, pl.DataFrame],
    rounds: Mapping[str, int],
) -> Plan:
    """Plan every job from data already read.

    `decisions` and `annotations` map a shard's name to those that concern it, if any do; `rounds` to its last round of
    `retries`.
    """
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
            inputs = {at: jobs[at].key for at in reads(step, shard.name, boxes is not None)}
            if step == "merge" and concerning is None:
                rows = undecided
            else:
                rows = _rows(step, shard, concerning, rounds.get(shard.name, 0))
            rows = rows | _annotation_rows(step, boxes)
            add(step, shard.name, rows, inputs)
        jobs["download", shard.name].rows = shard
    for step in SHARDED:
        inputs = {(step, shard.name): jobs[step, shard.name].key for shard in shards}
        jobs[step, CLOSING] = _closing(root, params, step, inputs)
    job = add("checksum", CLOSING, _public_rows(params, shards), {(s, CLOSING): jobs[s, CLOSING].key for s in ABOVE})
    job.shards = shards
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
    rows, decisions, boxes, round_ = None, None, None, 0
    if step == "download":
        rows, round_ = sources.read_shard(root, name, params.shard_size), retries.read(root).get(name, 0)
    elif step == "merge":
        every = decision_files.read_all(root)
        scanned = (sources.scan(root, source, params.shard_size) for source in params.sources)
        listed = pl.concat(one.select(reaching.ROWS) for one in scanned)
        decisions = reaching.reach(every, reaching.relevant(listed, every, name)).concerning(name)
        boxes = _boxes(root, listed, name)
    above = reads(step, name, boxes is not None)
    for keys in itertools.product(*(receipts.keys_of(root / "data" / folder(s), of) for s, of in above)):
        inputs = dict(zip(above, keys, strict=True))
        of_git = _rows(step, rows, decisions, round_) | _annotation_rows(step, boxes)
        made_of = parts(step, name, params.pick(STEPS[step].PARAMS), of_git, inputs)
        found = _job(root, params, step, name, made_of, inputs)
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


def _listed(shards: list[Shard]) -> pl.DataFrame:
    """The manifest rows as `reach` wants them."""
    return pl.concat(shard.rows.select("image_id", "sha256", shard=pl.lit(shard.name)) for shard in shards)


def _rows(step: str, shard: Shard | None, decisions: pl.DataFrame | None, round_: int = 0) -> dict[str, Any]:
    """Number and digest of the git-tracked rows that a step reads for a shard."""
    if step == "download" and shard is not None:
        manifest = _digest(shard.rows.select("image_id", "url", "sha256"))
        return {"manifest": manifest} | ({"retry": round_} if round_ else {})
    if step == "merge" and decisions is not None:
        return {"decisions": _digest(decisions.select(decision_files.KEYED))}
    return {}


def _annotation_rows(step: str, boxes: pl.DataFrame | None) -> dict[str, Any]:
    """The same for imported boxes; without any there is no such part, so that most keys are as if none existed."""
    if step != "merge" or boxes is None:
        return {}
    return {"annotations": _digest(boxes.select(annotation_files.KEYED))}


def _digest(rows: pl.DataFrame) -> dict[str, Any]:
    """How many rows, and the SHA-256 of them as CSV: every field quoted, a line feed after every line."""
    return {"rows": rows.height, "sha256": hashlib.sha256(rows.write_csv(quote_style="always").encode()).hexdigest()}


def _public_rows(params: Params, shards: list[Shard]) -> dict[str, Any]:
    columns = [c for c in params.release.public_columns if c not in PRIVATE_COLUMNS]
    if not columns:
        return {}
    return {
        "manifest": {
            s.name: _digest(s.rows.select("image_id", *(c for c in columns if c in s.rows.columns))) for s in shards
        }
    }


def _check_strangers(
    root: Path,
    params: Params,
    strangers: list[str],
    manifests: list[sources.Manifest],
    locate: Callable[[Path, str], str],
    remedy: str,
) -> None:
    """A decision about no image is misspelt, or about a source that was taken off the list: only the latter is fine."""
    if not strangers:
        return
    listed = [image for manifest in manifests for image in manifest.rows["image_id"].to_list()]
    gone = {
        image
        for path in sorted((root / sources.FOLDER).iterdir())
        if path.suffix in (".csv", ".parquet") and path.stem not in (*params.sources, retries.NAME)
        for image in sources.read(root, path.stem).rows["image_id"].to_list()
    }
    for image in strangers:
        if image not in gone:
            close = difflib.get_close_matches(image, listed, n=1)
            hint = f"did you mean {close[0]}?" if close else f"mend it, or {remedy}"
            raise BlurlineError(
                f"{locate(root, image)}: image_id {image!r} is in no manifest of {sources.FOLDER}: {hint}"
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
