"""Adopt: turn a fresh clone of blurline into the repository of one's own data set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blurline import decisions, environment, history, params, params_edit, performance, remotes, sources
from blurline.errors import BlurlineError
from blurline.params_merge import DEMO_NAME

DEMO_SOURCE = "demo"
DEMO_MANIFEST = f"{sources.FOLDER}/{DEMO_SOURCE}.csv"
FIRST_VERSION = "0.1.0"
UPSTREAM = "upstream"  # the git remote that blurline itself comes from
# Records of the demo's release. They stay, as what says nothing yet: git asks a merge driver about a file that both
# sides have changed, and does not ask it about one that is gone.
BLANK = {
    "dvc.lock": "schema: '2.0'\nstages: {}\n",
    environment.FILE: "{}\n",
    performance.FILE: "{}\n",
}
# What .gitattributes means by merge=ours and merge=params. Where blurline cannot be run, git merges lines.
DRIVERS = {
    "merge.ours.driver": "true",
    "merge.params.driver": ("blurline merge-params %A %O %B || git merge-file -L yours -L before -L upstream %A %O %B"),
}
PAGE = "docs/own-data-set.md"


@dataclass(frozen=True)
class Wishes:
    """What somebody wants of the new data set; None where they were not asked, or left it open."""

    name: str | None = None
    licence: str | None = None
    creators: tuple[str, ...] | None = None
    description: str | None = None
    origin: str | None = None  # url of the data set's own git repository
    private_remote: str | None = None  # url of DVC's remote for clear images
    public_remote: str | None = None  # and of the one for released images


QUESTIONS = {
    "name": "Name of the data set",
    "licence": "Licence of the data set (empty: not yet)",
    "creators": "Creators, with ; between them (empty: not yet)",
    "description": "Description, one line (empty: not yet)",
    "origin": "URL of its own git repository (empty: not yet)",
    "private_remote": "DVC remote for clear images, a folder or URL (empty: not yet)",
    "public_remote": "DVC remote for released images, a folder or URL (empty: not yet)",
}
Ask = Callable[[str], str]


@dataclass(frozen=True)
class Clone:
    """What was found in the folder."""

    root: Path
    branch: str
    git_remotes: Mapping[str, str]
    data_remotes: Mapping[str, str]
    params: params.Params
    reviews: list[str]  # files of decisions about the demo's images


def adopt(root: Path, wishes: Wishes, ask: Ask | None) -> str:
    """Make the clone at `root` the repository of one's own data set, in one commit; what to tell the user.

    Everything is checked before anything is touched, and the commit comes last: until then `git checkout .` undoes what
    was done to files, and adopting again does the rest anew.

    Parameters
    ----------
    root
        The top folder of the clone.
    wishes, ask
        What is wanted, and how to ask for what is not said (None: nobody is there to ask).

    Raises
    ------
    BlurlineError
        When it is no fresh, clean clone, or a wish cannot be met.
    """
    clone = survey(root)
    check(clone, wishes)
    if ask:
        wishes = complete(clone, wishes, ask)
    if wishes.name is None:
        raise BlurlineError("--name: missing: say what the data set is called")
    edits = texts(clone, wishes)
    _set_up_git(clone, wishes)
    for name, url in _data_wishes(wishes).items():
        history.set_data_remote(root, name, url)
    for path, text in edits.items():
        _write(root / path, text)
    paths = [*edits, *[".dvc/config"] * bool(_data_wishes(wishes))]
    try:
        commit = history.commit(root, f"Adopt blurline for {wishes.name}", paths)
    except BlurlineError as error:
        raise BlurlineError(f"{error}: mend that, undo with `git checkout .`, and adopt again") from None
    return _message(clone, wishes, commit)


def survey(root: Path) -> Clone:
    """Look at the clone.

    Raises
    ------
    BlurlineError
        When it is none, is not clean, or is somebody's data set already.
    """
    top = history.top(root)
    if top is None or not history.head(root):
        raise BlurlineError(
            f"{root.resolve()}: no git clone of blurline: `git clone` it, and run this in its top folder"
        )
    if not top.samefile(root):
        raise BlurlineError(f"{root.resolve()}: not the top folder of the clone: run this in {top}")
    unfinished = history.unfinished(root)
    if unfinished:
        raise BlurlineError(f"git is in the middle of a {unfinished}: finish or abort it first")
    # A run of the demo rewrites what is blanked anyway.
    changed = [path for path in history.uncommitted(root) if path not in BLANK]
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise BlurlineError(
            f"{', '.join(changed[:3])}{more}: not committed: commit, or undo with `git checkout .`; adopting makes a "
            "commit of its own"
        )
    found = params.load(root)
    if found.dataset.name != DEMO_NAME:
        raise BlurlineError(
            f"{params.FILE}: dataset.name: this clone is the data set {found.dataset.name} already: {PAGE} says how to "
            "go on, and what other clones of it need"
        )
    if not history.is_tracked(root, DEMO_MANIFEST):
        raise BlurlineError(f"{DEMO_MANIFEST}: not in git, so this is no fresh clone: start from one")
    branch = history.branch(root)
    if not branch:
        raise BlurlineError("HEAD is on no branch: `git switch -c main` first, so that the data set has one")
    if history.is_shallow(root):
        raise BlurlineError("this clone lacks older commits, which servers and upgrades want: `git fetch --unshallow`")
    if not history.knows_its_user(root):
        raise BlurlineError("git does not know who commits: `git config user.name …` and `git config user.email …`")
    return Clone(root, branch, history.remotes(root), history.data_remotes(root), found, _demo_reviews(root))


def check(clone: Clone, wishes: Wishes) -> None:
    """Check what is wished so far.

    Raises
    ------
    BlurlineError
        For the first option that cannot be met.
    """
    if wishes.name is not None and (not wishes.name.strip() or not wishes.name.isprintable()):
        raise BlurlineError(f"--name {wishes.name!r}: want a name, in one line")
    if wishes.name == DEMO_NAME:
        raise BlurlineError(f"--name {DEMO_NAME}: that is the demo: give your data set another name")
    if wishes.origin is not None and not wishes.origin.strip():
        raise BlurlineError("--origin: is empty: name the data set's own git repository")
    if wishes.origin is not None and _same_url(wishes.origin, clone.git_remotes.get(UPSTREAM)):
        shown = history.without_logins(wishes.origin)
        raise BlurlineError(f"--origin {shown}: that is {UPSTREAM}, where blurline comes from: name the data set's own")
    wanted = _data_wishes(wishes)
    for name, url in wanted.items():
        if name not in clone.data_remotes:
            added = f"dvc remote add {name} {history.without_logins(url)}"
            raise BlurlineError(f".dvc/config: no remote {name}: add it (`{added}`), and commit")
        remotes.check(clone.root, name, url)
    everywhere = {**clone.data_remotes, **wanted}
    if wanted and {"private", "public"} <= everywhere.keys():
        remotes.check_apart(clone.root, everywhere["private"], everywhere["public"])


def complete(clone: Clone, wishes: Wishes, ask: Ask) -> Wishes:
    """Ask for what is not said, each until the answer can be met; an empty answer leaves it open."""
    for name, question in QUESTIONS.items():
        if getattr(wishes, name) is None:
            wishes = _answered(clone, wishes, name, question, ask)
    return wishes


def _answered(clone: Clone, wishes: Wishes, name: str, question: str, ask: Ask) -> Wishes:
    problem = ""
    while True:
        answer = ask(f"{problem}{question}").strip()
        if not answer and name != "name":
            return wishes
        value: Any = tuple(part.strip() for part in answer.split(";")) if name == "creators" else answer
        completed = replace(wishes, **{name: value})
        try:
            check(clone, completed)
        except BlurlineError as error:
            problem = f"{error}\n"
        else:
            return completed


def texts(clone: Clone, wishes: Wishes) -> dict[str, str | None]:
    """Path → new text, None where the file goes. All of them are in git already, so git can bring them back."""
    values: dict[str, Any] = {
        "dataset.name": wishes.name,
        "dataset.version": FIRST_VERSION,
        "dataset.licence": wishes.licence or "",
        "dataset.creators": list(wishes.creators or ()),
        "dataset.description": wishes.description or "",
        "sources": [source for source in clone.params.sources if source != DEMO_SOURCE],
    }
    edited = params_edit.edit(params.read_text(clone.root), values)
    params.parse(edited)
    blank = {path: text for path, text in BLANK.items() if history.is_tracked(clone.root, path)}
    return {params.FILE: edited, **blank, DEMO_MANIFEST: None, **dict.fromkeys(clone.reviews)}


def _demo_reviews(root: Path) -> list[str]:
    """Files of decisions about the demo's images."""
    demo = set(sources.read(root, DEMO_SOURCE).rows["image_id"])
    found = []
    for path in sorted((root / decisions.FOLDER).glob("*.csv")):
        shown = path.relative_to(root).as_posix()
        images = {decision.image_id for decision in decisions.read(path, root)}
        if images & demo and history.is_tracked(root, shown):
            if images - demo:
                raise BlurlineError(f"{shown}: decides on the demo's images and on others: keep these in a file apart")
            found.append(shown)
    return found


def _data_wishes(wishes: Wishes) -> dict[str, str]:
    both = {"private": wishes.private_remote, "public": wishes.public_remote}
    return {name: url for name, url in both.items() if url is not None}


def _same_url(one: str, other: str | None) -> bool:
    return other is not None and one.rstrip("/").removesuffix(".git") == other.rstrip("/").removesuffix(".git")


def _set_up_git(clone: Clone, wishes: Wishes) -> None:
    """Drivers and remotes: settings of this clone alone. Done twice, they are as done once."""
    for setting, value in DRIVERS.items():
        history.git(clone.root, "config", setting, value)
    origin = clone.git_remotes.get("origin")
    is_own = origin is not None and wishes.origin is not None and _same_url(wishes.origin, origin)
    if origin is not None and UPSTREAM not in clone.git_remotes and not is_own:
        history.git(clone.root, "remote", "rename", "origin", UPSTREAM)
        origin = None
    if history.followed(clone.root, clone.branch) == UPSTREAM:
        # Else a plain `git push` would take the data set there.
        history.git(clone.root, "branch", "--unset-upstream", clone.branch)
    if wishes.origin is not None and not is_own:
        change = "add" if origin is None else "set-url"
        history.git(clone.root, "remote", change, "--", "origin", wishes.origin)


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
        return
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_text(text, encoding="utf-8", newline="")
    unfinished.replace(path)


def _message(clone: Clone, wishes: Wishes, commit: str) -> str:
    """What was done, what is still open, and what to do next."""
    git = history.remotes(clone.root)
    data = {**clone.data_remotes, **_data_wishes(wishes)}
    lines = [f"{wishes.name} {FIRST_VERSION}: adopted in commit {commit}"]
    lines += [f"  {UPSTREAM}: {history.without_logins(git[UPSTREAM])}, for upgrades"] if UPSTREAM in git else []
    lines += [f"  origin: {history.without_logins(git['origin'])}"] if "origin" in git else []
    lines += [f"  {name}: {history.without_logins(data[name])}" for name in ("private", "public") if name in data]
    open_fields = [f for f in ("licence", "creators", "description") if not getattr(wishes, f)]
    todo = [f"{params.FILE}: dataset: fill in {', '.join(open_fields)}"] * bool(open_fields)
    if "origin" not in git:
        todo.append("git remote add origin URL, the data set's own repository")
    if UPSTREAM not in git:
        todo.append(f"git remote add {UPSTREAM} URL, where blurline comes from, for upgrades")
    inside = [name for name, url in data.items() if remotes.is_inside(clone.root, url)]
    todo += [
        f"dvc remote modify {name} url URL: until then `dvc push` goes to a folder of this clone, the demo's"
        for name in inside
    ]
    lines += ["still open:", *(f"  {line}" for line in todo)] if todo else []
    steps = [
        "blurline import PATH…   # the images: writes a manifest and lists it",
        "snakemake --cores all   # make the release",
        "dvc repro               # record it; then git commit, git tag, dvc push",
        f"git push -u origin {clone.branch}",
    ]
    return "\n".join([*lines, "next:", *(f"  {step}" for step in steps), f"more: {PAGE}"])
