"""What a run would do, and why: the plan held against the receipts that are there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blurline import receipts
from blurline.errors import BlurlineError
from blurline.plan import MAY_BE_ABSENT, SHARDED, STEPS, TARGETS, Plan, folder
from blurline.receipts import CLOSING

At = tuple[str, str]
"""A job: (step, shard)."""

SHOWN = 12  # groups of one step, shards of one group: more are counted


@dataclass(frozen=True)
class Change:
    """One part of a key and its values; None where it was not, or is no longer, part of it."""

    part: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Due:
    """A job that a run would do. `reason` is new (never made), changed (what differs is in `changes`) or damaged."""

    step: str
    shard: str
    key: str
    receipt: str
    reason: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Gap:
    """A receipt that is missing, though `below`, which is there, was made from it: no run makes it anew."""

    receipt: str
    below: str


@dataclass(frozen=True)
class State:
    """What is due, in the order of the flow; what is broken; files of no planned shard; steps not here."""

    due: tuple[Due, ...]
    gaps: tuple[Gap, ...]
    orphans: tuple[str, ...]
    absent: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(root: Path, plan: Plan) -> State:
    """Compare the plan with the receipts under data/, by their names, as Snakemake does.

    A job is due if its receipt is missing and the release, or a job that is due, asks for it. Why it is due is read
    from the receipt that it had before.
    """
    present = {step: receipts.names(root / "data" / folder(step)) for step in STEPS}
    missing = {at for at in plan.jobs if Path(plan.receipt(*at)).name not in present[at[0]]}
    asked = _asked(plan, missing)
    absent = tuple(step for step in MAY_BE_ABSENT if not present[step] and not any(at[0] == step for at in asked))
    earlier = {step: receipts.by_shard(names) for step, names in present.items()}
    due = tuple(_due(root, plan, at, earlier[at[0]].get(at[1], [])) for at in _ordered(plan, asked))
    gaps = tuple(
        Gap(plan.receipt(*at), plan.receipt(*reader))
        for at in _ordered(plan, missing - asked)
        if at[0] not in absent
        for reader in _readers(plan, at, missing)[:1]
    )
    return State(due, gaps, tuple(_orphans(plan, present)), absent)


def change(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Change, ...]:
    """The parts of a key that differ, by the names that people know them by: `blur.margin`, `decisions`."""
    flat = [_flat(parts) for parts in (old, new)]
    names = [name for name in (*flat[1], *flat[0]) if flat[0].get(name) != flat[1].get(name)]
    return tuple(Change(name, flat[0].get(name), flat[1].get(name)) for name in dict.fromkeys(names))


def describe(plan: Plan, state: State) -> str:
    """What `blurline plan` says: jobs with the same cause in one paragraph."""
    lines: list[str] = []
    for step in STEPS:
        of_step = [due for due in state.due if due.step == step]
        # That a step is closed again goes without saying, unless that is all.
        shown = [due for due in of_step if due.shard != CLOSING] or of_step
        groups: dict[tuple[str, ...], list[str]] = {}
        for due in shown:
            groups.setdefault(tuple(_causes(due)), []).append(due.shard)
        for causes, shards in list(groups.items())[:SHOWN]:
            lines.append(f"{step:<9} {_shards(step, shards, len(plan.shards))}".rstrip())
            lines += [f"{'':9}   {cause}" for cause in causes]
        if len(groups) > SHOWN:
            lines.append(f"{step:<9} and {len(groups) - SHOWN} more groups of shards: --json lists all")
    jobs = len(state.due)
    idle = "nothing to do" if not state.gaps else "nothing that a run would do"
    lines.append(f"{jobs} job{'s' * (jobs != 1)} to run: `snakemake --cores all`" if jobs else idle)
    if state.absent:
        lines.append(f"not here: {', '.join(state.absent)} (a public clone; nothing asks for them)")
    if state.orphans:
        lines.append(f"of no planned shard: {_some(state.orphans)}: pruned when their step is closed next")
    lines += [
        f"broken: {gap.receipt} is missing, though {gap.below} was made from it" for gap in state.gaps[: 2 * SHOWN]
    ]
    return "\n".join(lines)


def _inputs(plan: Plan, at: At) -> Iterator[At]:
    for name in plan.jobs[at].parts["inputs"]:
        step, _, shard = name.partition("/")
        yield step, shard


def _asked(plan: Plan, missing: set[At]) -> set[At]:
    """The missing receipts that the release, or a job that is asked for, needs."""
    asked: set[At] = set()
    todo = [at for at in TARGETS if at in missing]
    while todo:
        at = todo.pop()
        if at not in asked:
            asked.add(at)
            todo += [above for above in _inputs(plan, at) if above in missing]
    return asked


def _readers(plan: Plan, at: At, missing: set[At]) -> list[At]:
    """The jobs whose receipts are there and that read this one."""
    shard = at[1]
    shards = [*plan.shards, CLOSING] if shard == CLOSING else [shard, CLOSING]
    candidates = [(below, of) for of in shards for below in STEPS if (below, of) in plan.jobs]
    return [job for job in candidates if job not in missing and at in _inputs(plan, job)]


def _ordered(plan: Plan, some: set[At]) -> list[At]:
    return [at for at in plan.jobs if at in some]


def _due(root: Path, plan: Plan, at: At, earlier: list[str]) -> Due:
    """`earlier`: the names of receipts that the job left under other keys."""
    job = plan.jobs[at]
    reason: str = "new"
    changes: tuple[Change, ...] = ()
    for name in earlier:
        try:
            old, _ = receipts.load(root / "data" / job.folder / name)
        except BlurlineError:
            reason = "damaged"
        else:
            reason, changes = "changed", change(old.parts, job.parts)
    return Due(*at, job.key, plan.receipt(*at), reason, changes)


def _flat(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Parts by the names that people know them by."""
    inputs = {f"key of {name}": key for name, key in parts.get("inputs", {}).items()}
    version = {"ALGORITHM_VERSION": parts["algorithm_version"]} if "algorithm_version" in parts else {}
    return {**version, **parts.get("params", {}), **parts.get("rows", {}), **inputs}


def _causes(due: Due) -> list[str]:
    """One line for each cause; what merely follows from earlier steps in one line."""
    if due.reason != "changed":
        return ["never made" if due.reason == "new" else "its receipt is damaged"]
    own = [one for one in due.changes if not one.part.startswith("key of ")]
    lines = [f"{one.part}: {_value(one.old, one.new)} → {_value(one.new, one.old)}" for one in own]
    follows = [one.part.removeprefix("key of ") for one in due.changes if one.part.startswith("key of ")]
    if follows:
        steps = {name.partition("/")[0] for name in follows}
        lines.append(f"follows {', '.join(step for step in STEPS if step in steps)}")
    return lines


def _value(value: Any, other: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping) and value.keys() == {"rows", "sha256"}:
        # The number of rows says most; where it is the same, the digest says that they are others.
        same = isinstance(other, Mapping) and other.get("rows") == value["rows"]
        return f"{value['rows']} rows" + f" ({value['sha256'][:8]})" * same
    return receipts.canonical(value)


def _shards(step: str, names: list[str], whole: int) -> str:
    if names == [CLOSING]:
        return "closing the step" if step in SHARDED else ""
    if len(names) == whole and whole > 1:
        return f"all {whole} shards"
    return f"{len(names)} of {whole} shards: {_some(names)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)


def _orphans(plan: Plan, present: Mapping[str, set[str]]) -> Iterator[str]:
    """Files of shards that are not planned, and receipts left beside the ones that are."""
    for step in STEPS:
        wanted = {Path(plan.receipt(step, of)).name for of in (*plan.shards, CLOSING) if (step, of) in plan.jobs}
        known = {*plan.shards, CLOSING} if len(wanted) > 1 else None
        for name in sorted(present[step]):
            owner = receipts.owner(name)
            stray = known is not None and owner not in known
            beside = receipts.parse_name(name) is not None and name not in wanted
            replaced = beside and (step, owner) in plan.jobs and Path(plan.receipt(step, owner)).name in present[step]
            if stray or replaced:
                yield f"data/{folder(step)}/{name}"
