"""The command line: one function a command, no logic."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from blurline.errors import BlurlineError


class _App(typer.Typer):
    """Prints what the user can mend as one line, without a traceback."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        try:
            return super().__call__(*args, **kwargs)
        except BlurlineError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None


app = _App(
    help="Privacy-aware releases of image data sets. Run it in the project's top folder.",
    no_args_is_help=True,
)
ROOT = Path()
AsJson = Annotated[bool, typer.Option("--json", help="print it as JSON")]


@contextmanager
def _bar(task: str, *columns: ProgressColumn) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for a person, nothing in a log: to be called with what is done, and all there is."""
    console = Console(stderr=True)
    shown = (TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn())
    with Progress(*shown, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task(task, total=None)
        yield lambda done, of: progress.update(bar, completed=done, total=of)


def _json(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False)


@app.command()
def run(
    step: Annotated[str, typer.Argument(help="weights, download, detect, merge, blur, recheck or checksum")],
    shard: Annotated[str, typer.Argument(help="<source>-<00000>, or _step for a step without shards")],
    key: Annotated[str, typer.Argument(help="the key in the name of the receipt to make")],
    threads: Annotated[int, typer.Option(min=1, help="CPU threads to use; changes no byte")] = 1,
) -> None:
    """Run one job: what the workflow's rules call."""
    from blurline import plan, receipts

    if step not in plan.STEPS:
        raise BlurlineError(f"{step}: no such step: name one of {', '.join(plan.STEPS)}")
    if (shard == receipts.CLOSING) is (step in plan.SHARDED):
        raise BlurlineError(f"{step} {shard}: a step with shards runs on a shard, weights and checksum on _step")
    plan.STEPS[step].run(plan.job(ROOT, step, shard, key, threads))


@app.command()
def close(
    step: Annotated[str, typer.Argument(help="download, detect, merge, blur or recheck")],
    key: Annotated[str, typer.Argument(help="the key in the name of the receipt to make")],
) -> None:
    """Close a step when all its shards are done: prune what is left over, write its receipt."""
    from blurline import closing, plan, receipts

    if step not in plan.SHARDED:
        raise BlurlineError(f"{step}: has no shards to close: name one of {', '.join(plan.SHARDED)}")
    closing.run(plan.job(ROOT, step, receipts.CLOSING, key))


@app.command()
def verify(
    step: Annotated[str | None, typer.Option(help="only this step: it must be complete")] = None,
) -> None:
    """Check every file against its receipt, every receipt against the plan, and the chain of receipts."""
    from blurline import inputs, plan
    from blurline.release import verify as verifying

    if step is not None and step not in plan.STEPS:
        raise BlurlineError(f"--step {step}: no such step: name one of {', '.join(plan.STEPS)}")
    with _bar("verify", DownloadColumn()) as progress:
        before = inputs.digest(ROOT)
        planned = plan.load(ROOT)
        report = verifying.verify(ROOT, planned, step, progress)
    for problem in report.problems:
        print(f"error: {problem}", file=sys.stderr)
    if report.problems:
        raise BlurlineError(
            f"{len(report.problems)} problems: `dvc checkout` brings recorded files back; "
            "`blurline repair` and then snakemake make anew what is missing or damaged"
        )
    # DVC locks what it finds after this command: what was verified must still be what is asked for.
    if inputs.digest(ROOT) != before and plan.load(ROOT).keys() != planned.keys():
        raise BlurlineError(
            "params.yaml, data/sources, data/review or data/annotations changed during the verification: run again"
        )
    absent = f"; not here, so not checked: {', '.join(report.absent)}" if report.absent else ""
    print(f"verified {step or 'the release'}: {report.files} files, {report.receipts} receipts{absent}")


@app.command()
def repair() -> None:
    """Remove the receipts of missing or damaged files, and those made from them; snakemake then makes them anew."""
    from blurline.release import repair as repairing

    removed = repairing.repair(ROOT)
    for name in removed:
        print(f"removed {name}")
    print("run snakemake to make them anew" if removed else "nothing to repair")


@app.command()
def retry() -> None:
    """Ask for failed rows again: a round in data/sources/retries.csv for each shard that has some."""
    from blurline import arrivals, plan, retries

    failed, unknown = arrivals.failed(ROOT, plan.load(ROOT))
    for shard, number in (retries.append(ROOT, failed) if failed else {}).items():
        print(f"{shard}: {failed[shard]} failed rows: round {number}")
    if unknown:
        print(f"{len(unknown)} shards are not downloaded as they are planned: run snakemake first, or too")
    elif not failed:
        print("no row has failed")
    if failed:
        print("run snakemake to ask for them")


@app.command("duplicates")
def show_duplicates(as_json: AsJson = False) -> None:
    """List images that occur more than once, by the same bytes and by nearly the same picture."""
    from blurline import arrivals, duplicates, plan

    planned = plan.load(ROOT)
    rows, (_, unknown) = arrivals.retrieved(ROOT, planned), arrivals.failed(ROOT, planned)
    if unknown:
        print(f"not looked at: {len(unknown)} shards that are not downloaded as they are planned", file=sys.stderr)
    found = {"exact": duplicates.exact(rows), "near": duplicates.near(rows)}
    print(_json(found) if as_json else duplicates.describe(found))


@app.command("plan")
def show_plan(as_json: AsJson = False) -> None:
    """Say what would run, and for each job which part of its key changed. Runs nothing."""
    from blurline import due, plan

    planned = plan.load(ROOT)
    state = due.examine(ROOT, planned)
    print(_json(state.as_json()) if as_json else due.describe(planned, state))
    if state.gaps:
        raise BlurlineError(
            f"{len(state.gaps)} receipts are missing below ones that were made from them: `dvc checkout` brings "
            "recorded files back; `blurline repair` and then snakemake make them anew"
        )


@app.command("status")
def show_status(as_json: AsJson = False) -> None:
    """Count what is there, for each source and step: images, faces, failures, reviews, disk."""
    from blurline import plan, status

    found = status.examine(ROOT, plan.load(ROOT))
    print(_json(found) if as_json else status.describe(found))


@app.command()
def summary() -> None:
    """Say what the release holds, where it is, and what to do next."""
    from blurline import plan
    from blurline.release import summary as summarising

    print(summarising.summarise(ROOT, plan.load(ROOT)))


@app.command()
def compare(
    one: Annotated[Path, typer.Argument(help="a data folder")],
    other: Annotated[Path, typer.Argument(help="another, made on another machine")],
) -> None:
    """Compare two runs of one release: same images and outcomes, boxes within 1 px, scores within 0.01."""
    from blurline.release import compare as comparing

    exceptions = comparing.compare(one, other)
    for line in exceptions:
        print(line)
    if exceptions:
        raise BlurlineError(f"{len(exceptions)} exceptions: {one} and {other} are not the same release")
    print(f"{one} and {other} agree")


@app.command()
def evaluate(
    images: Annotated[Path, typer.Argument(help="a folder of annotated images")],
    annotations: Annotated[
        Path | None,
        typer.Argument(help="COCO's, Princeton's or WIDER FACE's file, a CSV; else found in the folder, or YOLO's"),
    ] = None,
    output: Annotated[Path, typer.Option(help="folder to write to")] = Path("data/evaluation"),
    category: Annotated[list[str] | None, typer.Option(help="judge by boxes of this category")] = None,
    only: Annotated[list[str] | None, typer.Option(help="images whose path is like this, such as 'street/*'")] = None,
    every: Annotated[int, typer.Option(min=1, help="of each folder's images, sorted by name, every how many")] = 1,
    first: Annotated[int, typer.Option(min=0, help="and beginning with which, from 0")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="images at once; else one per CPU core")] = None,
) -> None:
    """Say how well faces are found in annotated images, at the present params: recall, coverage, and what they cost."""
    from blurline.evaluation import annotated
    from blurline.evaluation import run as evaluating

    choice = annotated.Choice(category or (), only or (), every, first)
    with _bar("evaluate", MofNCompleteColumn()) as progress:
        message = evaluating.run(
            ROOT,
            images,
            annotations,
            output,
            choice,
            threads,
            progress,
        )
    print(message)


@app.command("import")
def import_(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="folders, tar or zip files, images; s3://bucket/prefix; or a list of urls: .txt .csv .parquet"
        ),
    ],
    source: Annotated[str | None, typer.Option(help="the source to add to; else the path's own name")] = None,
    prefix: Annotated[str, typer.Option(help="put before every image_id, such as people/")] = "",
    url_column: Annotated[str | None, typer.Option(help="of a list: the column with the urls; else url")] = None,
    id_column: Annotated[str | None, typer.Option(help="of a list: the column with image_ids; else image_id")] = None,
    opaque_ids: Annotated[bool, typer.Option("--opaque-ids", help="of a list: image_ids that tell no url")] = False,
    hashing: Annotated[bool, typer.Option("--hash", help="read all images of a remote folder and pin them")] = False,
) -> None:
    """Write images of folders, archives, buckets and lists into a source manifest, and list it in params.yaml."""
    from blurline.importing import run as importing

    options = importing.Options(source, prefix, url_column, id_column, opaque_ids, hashing)
    with _bar("import", TaskProgressColumn()) as progress:
        message = importing.run(ROOT, paths, options, progress)
    print(message)


@app.command("import-annotations")
def import_annotations(
    files: Annotated[list[Path], typer.Argument(help="Princeton's or COCO's annotation files, JSON")],
    name: Annotated[str | None, typer.Option(help="of data/annotations/<name>.csv; else the file's own")] = None,
    source: Annotated[str | None, typer.Option(help="the source that has the images; else all are searched")] = None,
    category: Annotated[list[str] | None, typer.Option(help="import boxes of this category of COCO's")] = None,
    skip_unknown: Annotated[bool, typer.Option(help="leave out images that no manifest has")] = False,
) -> None:
    """Write boxes that a data set comes with into data/annotations: blurred unless reviewers reject them."""
    from blurline.importing import annotations as importing

    with _bar("import", DownloadColumn()) as progress:
        message = importing.run(
            ROOT,
            files,
            name,
            source,
            category or [],
            skip_unknown,
            progress,
        )
    print(message)


@app.command()
def pin() -> None:
    """Write the SHA-256s of the images retrieved into the source manifests."""
    from blurline import pin as pinning
    from blurline import plan

    for source, rows in pinning.pin(ROOT, plan.load(ROOT)).items():
        print(f"{source}: {rows} rows pinned")


@app.command()
def digest(path: Annotated[Path, typer.Argument(exists=True, help="a weights file or folder")]) -> None:
    """Print the SHA-256 of weights, as detect.sha256 in params.yaml wants it."""
    from blurline.detectors.hashing import weights_digest

    print(weights_digest(path))


@app.command()
def adopt(
    name: Annotated[str | None, typer.Option(help="of the data set")] = None,
    licence: Annotated[str | None, typer.Option(help="of the data set, such as CC-BY-4.0")] = None,
    creator: Annotated[list[str] | None, typer.Option(help="who made the data set; may be given again")] = None,
    description: Annotated[str | None, typer.Option(help="what is in the data set")] = None,
    origin: Annotated[str | None, typer.Option(help="URL of the data set's own git repository")] = None,
    private_remote: Annotated[str | None, typer.Option(help="DVC remote for clear images: a folder or URL")] = None,
    public_remote: Annotated[str | None, typer.Option(help="DVC remote for released images: a folder or URL")] = None,
) -> None:
    """Make a fresh clone of blurline your own data set. On a terminal it asks for what is not given."""
    from blurline import adopt as adopting

    creators = tuple(creator) if creator else None
    wishes = adopting.Wishes(name, licence, creators, description, origin, private_remote, public_remote)
    ask = (lambda question: typer.prompt(question, default="", show_default=False)) if sys.stdin.isatty() else None
    print(adopting.adopt(ROOT, wishes, ask))


@app.command(hidden=True)
def merge_params(
    ours: Annotated[Path, typer.Argument(help="the data set's params.yaml, which becomes the merged one")],
    base: Annotated[Path, typer.Argument(help="what both come from")],
    theirs: Annotated[Path, typer.Argument(help="upstream's")],
) -> None:
    """Merge params.yaml key by key: what git calls where an upgrade brings another one."""
    from blurline import params_merge

    texts = [path.read_bytes().decode() for path in (base, ours, theirs)]
    ours.write_bytes(params_merge.merge(*texts).encode())


@app.command(hidden=True)
def schemas() -> None:
    """Write workflow/schemas from the models."""
    from blurline import schemas as writing

    writing.write(ROOT / "workflow" / "schemas")
