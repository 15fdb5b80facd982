"""Verify: every file is what its receipt says, every receipt is planned, and the chain of receipts has no gap."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from blurline import receipts
from blurline.errors import BlurlineError
from blurline.plan import MAY_BE_ABSENT, STEPS, Plan, folder
from blurline.receipts import Receipt


@dataclass(frozen=True)
class _Said:
    """A payload file, and what the receipt `by` says of it."""

    path: Path
    sha256: str
    size: int
    by: str


@dataclass
class Report:
    """What was found: one line for each problem, and how much was looked at."""

    problems: list[str] = field(default_factory=list)
    files: int = 0
    receipts: int = 0
    absent: list[str] = field(default_factory=list)  # steps of which nothing is here, as in a public clone


def verify(
    root: Path,
    plan: Plan,
    only: str | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Report:
    """Check the folders under data/ against their receipts and the receipts against the plan.

    Parameters
    ----------
    root, plan
        The project and what should be there.
    only
        One step. Without it all are checked, and steps of which nothing is here (a public clone) are left out.
    progress
        Called with (bytes hashed, bytes to hash).
    """
    report = Report()
    to_hash: list[_Said] = []
    for step in [only] if only else STEPS:
        here = root / "data" / folder(step)
        names = receipts.files(here) if here.is_dir() else []
        if not names and not only and step in MAY_BE_ABSENT:
            report.absent.append(step)
            continue
        found = _receipts(here, names, step, plan, report)
        payload = {name: (receipt, said) for receipt in found for name, said in receipt.payload.items()}
        for name in names:
            if receipts.parse_name(name) is None and name not in payload:
                report.problems.append(f"{_shown(here, name)}: belongs to no receipt")
        for name, (receipt, said) in sorted(payload.items()):
            path = here / name
            if not path.is_file():
                report.problems.append(f"{_shown(here, name)}: missing, though {receipt.name} lists it")
            elif path.stat().st_size != said["bytes"]:
                report.problems.append(f"{_shown(here, name)}: not what {receipt.name} says (other size)")
            else:
                to_hash.append(_Said(path, said["sha256"], said["bytes"], receipt.name))
        for receipt in found:
            report.problems += _chain(root, here, receipt)
        if step == "checksum" and not report.problems:
            report.problems += _sums(root, to_hash)
    report.files = len(to_hash)
    report.problems += _hash(to_hash, progress)
    return report


def _receipts(here: Path, names: Iterable[str], step: str, plan: Plan, report: Report) -> list[Receipt]:
    """The readable receipts of a folder; complaints about others, and about what is stale or missing."""
    wanted = {Path(plan.receipt(at, shard)).name for at, shard in plan.jobs if at == step}
    present = {name for name in names if receipts.parse_name(name)}
    if present - wanted:
        report.problems.append(
            f"data/{here.name}: {len(present - wanted)} receipts are of other params, rows, decisions or code than "
            "those here: run snakemake, or go back to what they are of and `dvc checkout`"
        )
    else:
        report.problems += [f"{_shown(here, name)}: missing" for name in sorted(wanted - present)]
    found = []
    for name in sorted(present):
        try:
            found.append(receipts.load(here / name)[0])
        except BlurlineError as error:
            report.problems.append(str(error))
    report.receipts += len(found)
    return found


def _chain(root: Path, here: Path, receipt: Receipt) -> Iterator[str]:
    """Complaints about receipts that this one has read and that are now gone or different."""
    for name, said in receipt.read.items():
        path = root / "data" / name
        if path.is_file():
            if receipts.file_digest(path) != said:
                yield f"data/{name}: not the receipt that {_shown(here, receipt.name)} was made from"
        elif path.parent.is_dir() and any(path.parent.iterdir()):
            yield f"data/{name}: missing, though {_shown(here, receipt.name)} was made from it"


def _sums(root: Path, known: list[_Said]) -> Iterator[str]:
    """Complaints about SHA256SUMS: it lists exactly the payload of data/blurred and data/release, with their hashes."""
    public = {
        file.path.relative_to(root / "data").as_posix(): file.sha256
        for file in known
        if file.path.parent.name in ("blurred", "release") and file.path.name != "SHA256SUMS"
    }
    path = root / "data" / "release" / "SHA256SUMS"
    if not path.is_file():
        yield "data/release/SHA256SUMS: missing"
        return
    text = path.read_text(encoding="utf-8")
    listed = {name: sha256 for sha256, _, name in (line.partition("  ") for line in text.splitlines())}
    for name in sorted(listed.keys() | public.keys()):
        if name not in public and name.startswith("blurred/") and not any(n.startswith("blurred/") for n in public):
            continue  # `--step checksum` does not look into data/blurred
        if listed.get(name) != public.get(name):
            yield f"data/release/SHA256SUMS: {name}: not as its receipt says"


def _hash(files: list[_Said], progress: Callable[[int, int], None]) -> list[str]:
    problems = []
    done, whole = 0, sum(file.size for file in files)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(receipts.file_digest, (file.path for file in files))
        for file, digest in zip(files, digests, strict=True):
            if digest != file.sha256:
                problems.append(f"{_shown(file.path.parent, file.path.name)}: not what {file.by} says (other bytes)")
            done += file.size
            progress(done, whole)
    return problems


def _shown(here: Path, name: str) -> str:
    parts = (*here.parts, name)
    return "/".join(parts[len(parts) - 1 - parts[::-1].index("data") :]) if "data" in parts else f"{here}/{name}"
