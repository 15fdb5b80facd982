"""git and DVC: the only module that runs either of them."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from blurline.errors import BlurlineError

# What git leaves behind while it waits for its user.
_UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


_LOGIN = re.compile(r"(?<=://)\S*@")  # up to the last @: a password may hold one, or a /


def without_logins(text: str) -> str:
    """Text as it may be shown: user and password, or token, are taken out of its URLs."""
    return _LOGIN.sub("", text)


def git(root: Path, *arguments: str) -> str:
    """What a git command prints.

    Raises
    ------
    BlurlineError
        With git's complaint in one line.
    """
    return _run(root, ["git", *arguments], ["git", *arguments])


def dvc(root: Path, *arguments: str) -> str:
    """What a DVC command prints; raises as `git` does. It is this environment's DVC, whatever PATH says."""
    return _run(root, ["dvc", *arguments], [sys.executable, "-m", "dvc", *arguments])


def top(root: Path) -> Path | None:
    """The top folder of the git repository that holds `root`, or None outside of one."""
    found = _ask(root, "rev-parse", "--show-toplevel")
    return Path(found) if found else None


def head(root: Path) -> str:
    """The commit that is checked out, or "" before the first one."""
    return _ask(root, "rev-parse", "--verify", "--quiet", "HEAD")


def branch(root: Path) -> str:
    """The branch that is checked out, or "" where HEAD is on none."""
    return _ask(root, "symbolic-ref", "--quiet", "--short", "HEAD")


def is_shallow(root: Path) -> bool:
    """Whether the clone lacks older commits."""
    return _ask(root, "rev-parse", "--is-shallow-repository") == "true"


def is_tracked(root: Path, path: str) -> bool:
    """Whether git tracks this file."""
    return bool(_ask(root, "ls-files", "--", path))


def uncommitted(root: Path) -> list[str]:
    """Tracked files that are not as in the last commit, in the index or the folder."""
    entries = git(root, "diff", "--name-only", "-z", "HEAD", "--").split("\0")
    staged = git(root, "diff", "--name-only", "-z", "--cached", "--").split("\0")
    return sorted({*entries, *staged} - {""})


def unfinished(root: Path) -> str:
    """What git is in the middle of ("merge", "rebase", …), or ""."""
    for name, what in _UNFINISHED.items():
        if (root / git(root, "rev-parse", "--git-path", name).strip()).exists():
            return what
    return ""


def knows_its_user(root: Path) -> bool:
    """Whether git can tell who commits."""
    return bool(_ask(root, "var", "GIT_AUTHOR_IDENT") and _ask(root, "var", "GIT_COMMITTER_IDENT"))


def user(root: Path) -> str:
    """The name that git writes into commits, or ""."""
    return _ask(root, "config", "user.name")


def remotes(root: Path) -> dict[str, str]:
    """Name → url of the git remotes."""
    return {name: git(root, "remote", "get-url", name).strip() for name in git(root, "remote").split()}


def followed(root: Path, branch: str) -> str:
    """The remote that a branch pulls from and pushes to, or ""."""
    return _ask(root, "config", f"branch.{branch}.remote")


def data_remotes(root: Path) -> dict[str, str]:
    """Name → url of the DVC remotes; paths are absolute."""
    settings = dict(line.split("=", 1) for line in dvc(root, "config", "--list").splitlines() if "=" in line)
    return {
        key.removeprefix("remote.").removesuffix(".url"): value
        for key, value in settings.items()
        if key.startswith("remote.") and key.endswith(".url")
    }


def set_data_remote(root: Path, name: str, url: str) -> None:
    """Point a DVC remote, in .dvc/config, to another place."""
    dvc(root, "remote", "modify", name, "url", url)


def commit(root: Path, message: str, paths: Sequence[str]) -> str:
    """Commit these tracked files as they are in the folder, and no other; the short name of the commit."""
    git(root, "commit", "--quiet", "--only", "--message", message, "--", *paths)
    return git(root, "rev-parse", "--short", "HEAD").strip()


def _ask(root: Path, *arguments: str) -> str:
    """What git answers, or "" where it has no answer."""
    try:
        return git(root, *arguments).strip()
    except BlurlineError:
        return ""


def _run(root: Path, shown: Sequence[str], command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError:
        raise BlurlineError(f"{shown[0]}: not found: install it, or put it on PATH") from None
    if done.returncode:
        ended = f"`{' '.join(shown)}` ended with {done.returncode}: {_complaint(done)}"
        raise BlurlineError(without_logins(ended))
    return done.stdout


def _complaint(done: "subprocess.CompletedProcess[str]") -> str:
    """The line of the output that says most."""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    marked = [line for line in lines if line.lower().startswith(("fatal:", "error:"))]
    return (marked or lines[-1:] or ["it says nothing"])[0]
