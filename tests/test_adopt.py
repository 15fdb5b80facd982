"""`blurline adopt`: a fresh clone becomes a data set; what is no fresh clone, or cannot be, stays as it is."""

import os
import pty
import re
import select
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blurline import adopt, history, params
from blurline.adopt import Wishes
from blurline.errors import BlurlineError
from tests.conftest import needs_the_demo
from tests.workflow.project import Project, upstream

pytestmark = needs_the_demo

NAME = Wishes(name="mine")
REVIEW = "image_id,action,reviewer,decided_at\n"


@pytest.fixture(scope="module")
def blurline(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Blurline's own repository. Tests clone it and never change it."""
    return upstream(tmp_path_factory.mktemp("upstream") / "blurline")


@pytest.fixture
def clone(blurline: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A fresh clone; git and DVC in this process have the same settings as in it."""
    project = blurline.clone(tmp_path / "clone")
    for name in ("HOME", "DVC_SITE_CACHE_DIR", "XDG_CACHE_HOME", *(k for k in project.env if k.startswith("GIT_"))):
        monkeypatch.setenv(name, project.env[name])
    return project


def state(project: Project) -> tuple[str, ...]:
    """Everything that adopting may change: commits, index, files, settings."""
    files = sorted(path for path in project.path.rglob("*") if path.is_file() and ".git" not in path.parts)
    return (
        project.git("log", "--all", "--format=%H %D"),
        project.git("status", "--porcelain=v2", "--branch"),
        (project.path / ".git/config").read_text(),
        "".join(f"{path} {path.read_bytes()!r}" for path in files),
    )


def test_a_clone_becomes_a_data_set(clone: Project, blurline: Project, tmp_path: Path) -> None:
    (clone.path / "notes.txt").write_text("untracked files are nobody's business")
    wishes = Wishes(
        name='Faces: "a"',
        licence="CC-BY-4.0",
        creators=("Ann Example", "Doe, Bob"),
        description="Street scenes, 2026 # all of them.",
        origin=str(tmp_path / "mine.git"),
        private_remote=str(tmp_path / "private"),
        public_remote="s3://bucket/release",
    )
    before = params.load(clone.path)
    message = adopt.adopt(clone.path, wishes, None)

    after = params.load(clone.path)
    assert after.dataset == params.Dataset(
        name='Faces: "a"',
        version="0.1.0",
        licence="CC-BY-4.0",
        creators=["Ann Example", "Doe, Bob"],
        description="Street scenes, 2026 # all of them.",
    )
    assert after == before.model_copy(update={"dataset": after.dataset, "sources": []})
    # Only the lines of these values: others are upstream's to change.
    changed = re.findall(
        r"^\+(?:  )?(\w+):", clone.git("diff", "HEAD~", "--unified=0", "--", "params.yaml"), re.MULTILINE
    )
    assert changed == ["name", "licence", "creators", "description", "sources"]

    assert clone.git("log", "-1", "--format=%s").strip() == 'Adopt blurline for Faces: "a"'
    assert clone.git("rev-parse", "HEAD~").strip() == blurline.git("rev-parse", "HEAD").strip()
    assert clone.git("diff", "--name-status", "HEAD~").split("\n")[:-1] == [
        "M\t.dvc/config",
        "M\tdata/environment.json",
        "M\tdata/performance.json",
        "D\tdata/sources/demo.csv",
        "M\tdvc.lock",
        "M\tparams.yaml",
    ]
    assert clone.git("status", "--porcelain").strip() == "?? notes.txt"
    assert (clone.path / "data/sources").is_dir()

    assert history.remotes(clone.path) == {"origin": str(tmp_path / "mine.git"), "upstream": str(blurline.path)}
    assert history.data_remotes(clone.path) == {"private": str(tmp_path / "private"), "public": "s3://bucket/release"}
    for setting, value in adopt.DRIVERS.items():
        assert clone.git("config", setting).strip() == value
    # A plain `git push` must not take the data set to upstream.
    assert "branch.main" not in clone.git("config", "--list")
    assert "still open" not in message
    assert "git push -u origin main" in message
    clone.dvc("status")  # what is left of dvc.lock is a lock to DVC


def test_the_name_is_enough(clone: Project) -> None:
    output = clone.run("blurline", "adopt", "--name", "mine")
    assert params.load(clone.path).dataset == params.Dataset(name="mine")
    for line in (
        "  params.yaml: dataset: fill in licence, creators, description",
        "  git remote add origin URL, the data set's own repository",
        "  dvc remote modify private url URL: until then `dvc push` goes to a folder of this clone, the demo's",
        "  dvc remote modify public url URL: until then `dvc push` goes to a folder of this clone, the demo's",
    ):
        assert line in output.splitlines()
    assert "error: params.yaml:" in clone.snakemake("-n", ok=False)
    again = clone.run("blurline", "adopt", "--name", "other", ok=False)
    assert again.startswith("error: params.yaml: dataset.name: this clone is the data set mine already: ")


@pytest.mark.parametrize(
    ("before", "origin", "after"),
    [
        ({"origin": "U"}, None, {"upstream": "U"}),
        ({"origin": "U"}, "M", {"upstream": "U", "origin": "M"}),
        ({"origin": "M.git"}, "M", {"origin": "M.git"}),  # a fork: origin is one's own already
        ({"origin": "M", "upstream": "U"}, None, {"origin": "M", "upstream": "U"}),
        ({"origin": "N", "upstream": "U"}, "M", {"origin": "M", "upstream": "U"}),
        ({}, "M", {"origin": "M"}),
        ({"else": "U"}, None, {"else": "U"}),
    ],
)
def test_git_remotes(clone: Project, before: dict[str, str], origin: str | None, after: dict[str, str]) -> None:
    clone.git("remote", "remove", "origin")
    for name, url in before.items():
        clone.git("remote", "add", name, url)
    message = adopt.adopt(clone.path, replace(NAME, origin=origin), None)
    assert history.remotes(clone.path) == after
    assert ("git remote add upstream URL" in message) is ("upstream" not in after)
    assert ("git remote add origin URL" in message) is ("origin" not in after)


def test_sources_and_decisions_of_ones_own_stay(clone: Project) -> None:
    """Somebody began before adopting."""
    (clone.path / "data/sources/early.csv").write_text("image_id,url\nmine.jpg,x.jpg\n")
    (clone.path / "data/review/ann.csv").write_text(f"{REVIEW}mine.jpg,exclude,ann,2026-01-01\n")
    (clone.path / "data/review/bob.csv").write_text(f"{REVIEW}people/bus.jpg,exclude,bob,2026-01-01\n")
    clone.set("sources", ["early", "demo"])
    clone.git("add", "--all")
    clone.git("commit", "--quiet", "--message", "early")
    adopt.adopt(clone.path, NAME, None)
    assert params.load(clone.path).sources == ["early"]
    assert {path.name for path in (clone.path / "data/review").glob("*.csv")} == {"ann.csv"}
    assert clone.git("status", "--porcelain") == ""


def shell(command: str) -> Callable[[Project], None]:
    def run(project: Project) -> None:
        project.run("bash", "-ec", command)

    return run


def forget_the_user(project: Project) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        del os.environ[name]  # the fixture brings them back
    project.git("config", "user.useConfigOnly", "true")


CLONES: list[tuple[str, Callable[[Project], None], str]] = [
    (
        "uncommitted edits",
        shell(
            "echo >> README.md; git rm -q data/sources/demo.csv; echo >> dvc.yaml; echo >> Snakefile; git add dvc.yaml"
        ),
        "README.md, Snakefile, data/sources/demo.csv and 1 more: not committed: commit, or undo with `git checkout .`; "
        "adopting makes a commit of its own",
    ),
    (
        "a merge under way",
        shell(
            "git checkout -q -b b; git commit -q --allow-empty -m b; git checkout -q main; "
            "git commit -q --allow-empty -m m; git merge -q --no-commit b"
        ),
        "git is in the middle of a merge: finish or abort it first",
    ),
    (
        "a rebase under way",
        shell(
            "git checkout -q -b b; echo b > README.md; git commit -q -a -m b; git checkout -q main; "
            "echo m > README.md; git commit -q -a -m m; git rebase b || git checkout -q HEAD -- ."
        ),
        "git is in the middle of a rebase: finish or abort it first",
    ),
    (
        "an adopted clone",
        shell("sed -i 's/name: blurline-demo/name: mine/' params.yaml; git commit -q -a -m m"),
        "params.yaml: dataset.name: this clone is the data set mine already: docs/own-data-set.md says how to go on, "
        "and what other clones of it need",
    ),
    (
        "no demo",
        shell("git rm -q data/sources/demo.csv; git commit -q -m m"),
        "data/sources/demo.csv: not in git, so this is no fresh clone: start from one",
    ),
    (
        "a tag checked out",
        shell("git checkout -q blurline-1.0.0"),
        "HEAD is on no branch: `git switch -c main` first, so that the data set has one",
    ),
    (
        "nobody to commit",
        forget_the_user,
        "git does not know who commits: `git config user.name …` and `git config user.email …`",
    ),
    (
        "decisions mixed with the demo's",
        shell(
            f"printf '{REVIEW}people/bus.jpg,exclude,ann,2026-01-01\\nmine.jpg,exclude,ann,2026-01-01\\n' "
            "> data/review/ann.csv; git add data/review; git commit -q -m m"
        ),
        "data/review/ann.csv: decides on the demo's images and on others: keep these in a file apart",
    ),
    (
        "params that do not hold",
        shell("sed -i 's/^shard_size: .*/shard_size: 0/' params.yaml; git commit -q -a -m m"),
        "params.yaml:14: shard_size: input should be greater than or equal to 1 (it is 0): mend it",
    ),
]


@pytest.mark.parametrize(("spoil", "line"), [c[1:] for c in CLONES], ids=[c[0] for c in CLONES])
def test_what_is_no_fresh_clone_stays_as_it_is(clone: Project, spoil: Callable[[Project], None], line: str) -> None:
    spoil(clone)
    before = state(clone)
    with pytest.raises(BlurlineError) as caught:
        adopt.adopt(clone.path, NAME, None)
    assert str(caught.value) == line
    assert state(clone) == before


def test_elsewhere_than_in_the_top_folder(clone: Project, blurline: Project, tmp_path: Path) -> None:
    empty = Project(tmp_path / "empty", clone.env)
    empty.path.mkdir()
    line = f"{empty.path}: no git clone of blurline: `git clone` it, and run this in its top folder"
    for _ in range(2):  # no repository; then one without a commit
        with pytest.raises(BlurlineError) as caught:
            adopt.adopt(empty.path, NAME, None)
        assert str(caught.value) == line
        empty.git("init", "--quiet")
    with pytest.raises(BlurlineError) as caught:
        adopt.adopt(clone.path / "data", NAME, None)
    assert str(caught.value) == f"{clone.path}/data: not the top folder of the clone: run this in {clone.path}"
    shallow = tmp_path / "shallow"
    blurline.git("commit", "--quiet", "--allow-empty", "--message", "more")
    blurline.git("clone", "--quiet", "--depth=1", f"file://{blurline.path}", str(shallow))
    blurline.git("reset", "--quiet", "--hard", "HEAD~")
    with pytest.raises(BlurlineError) as caught:
        adopt.adopt(shallow, NAME, None)
    assert str(caught.value) == (
        "this clone lacks older commits, which servers and upgrades want: `git fetch --unshallow`"
    )


INSIDE = "lies inside this repository, where `git add` and `git clean` reach it: name a place outside"
STORAGE = "name the storage itself: a folder, or a URL such as s3://bucket/private"


def beside(private: str, public: str) -> str:
    return (
        f"--private-remote {private}, --public-remote {public}: one lies inside the other, and clear images beside "
        "released ones: name two places apart"
    )


WISHES: list[tuple[dict[str, str], str]] = [
    ({"name": " "}, "--name ' ': want a name, in one line"),
    ({"name": "a\nb"}, "--name 'a\\nb': want a name, in one line"),
    ({"name": "blurline-demo"}, "--name blurline-demo: that is the demo: give your data set another name"),
    ({"origin": "/u/"}, "--origin /u/: that is upstream, where blurline comes from: name the data set's own"),
    ({"origin": " "}, "--origin: is empty: name the data set's own git repository"),
    (
        {"private_remote": ""},
        "--private-remote: is empty: name a folder or a URL such as s3://bucket/private",
    ),
    ({"private_remote": "remote://public/x"}, f"--private-remote remote://public/x: {STORAGE}"),
    ({"private_remote": "-x"}, f"--private-remote -x: {STORAGE}"),
    (
        {"private_remote": "ssh://ann:secret@store/x"},
        "--private-remote: the URL holds a password, and git tracks .dvc/config: leave it out, and give it to this "
        "clone alone with `dvc remote modify --local private password …`",
    ),
    ({"private_remote": "."}, f"--private-remote .: {INSIDE}"),
    ({"public_remote": "remotes/public"}, f"--public-remote remotes/public: {INSIDE}"),
    ({"private_remote": "link/raw"}, f"--private-remote link/raw: {INSIDE}"),
    (
        {"private_remote": "file:///data/store"},
        "--private-remote file:///data/store: DVC knows no such URLs: name the folder itself, such as /data/private",
    ),
    ({"private_remote": "../a", "public_remote": "{parent}/a/"}, beside("../a", "{parent}/a/")),
    ({"private_remote": "s3://b/x/raw", "public_remote": "S3://b/x"}, beside("s3://b/x/raw", "S3://b/x")),
    ({"private_remote": "s3://b", "public_remote": "s3://b/x"}, beside("s3://b", "s3://b/x")),
    ({"private_remote": "ssh://ann@h/x", "public_remote": "ssh://H//x/y/.."}, beside("ssh://ann@h/x", "ssh://H//x/y/..")),
    # The other one stays where it is, in the clone.
    ({"public_remote": ".."}, beside("{clone}/remotes/private", "..")),
]  # fmt: skip


@pytest.fixture(scope="module")
def surveyed(blurline: Project, tmp_path_factory: pytest.TempPathFactory) -> adopt.Clone:
    """A clone with an upstream, and a link into itself, as adopting sees it."""
    project = blurline.clone(tmp_path_factory.mktemp("surveyed") / "clone")
    project.git("remote", "add", "upstream", "/u")
    (project.path / "link").symlink_to("data")
    return adopt.survey(project.path)


@pytest.mark.parametrize(("wishes", "line"), WISHES, ids=[str(w[0]) for w in WISHES])
def test_wishes_that_cannot_be_met(surveyed: adopt.Clone, wishes: dict[str, str], line: str) -> None:
    places = {"clone": str(surveyed.root), "parent": str(surveyed.root.parent)}
    wanted: dict[str, Any] = {name: url.format(**places) for name, url in wishes.items()}
    with pytest.raises(BlurlineError) as caught:
        adopt.check(surveyed, replace(NAME, **wanted))
    assert str(caught.value) == line.format(**places)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--licence", "CC0-1.0"], "--name: missing: say what the data set is called"),
        (["--name", "mine", "--private-remote", "data"], f"--private-remote data: {INSIDE}"),
    ],
)
def test_nothing_is_touched_before_all_is_checked(clone: Project, options: list[str], line: str) -> None:
    before = state(clone)
    assert clone.run("blurline", "adopt", *options, ok=False) == f"error: {line}\n"
    assert state(clone) == before


@pytest.mark.parametrize(
    ("private", "public"),
    [
        ("s3://bucket/x-private", "s3://bucket/x"),
        ("s3://private", "s3://public"),
        ("s3://bucket/x", "gs://bucket/x"),
        ("../private", "../public"),
        ("/tmp/private", "/tmp/public"),
    ],
)
def test_places_apart_are_fine(surveyed: adopt.Clone, private: str, public: str) -> None:
    adopt.check(surveyed, replace(NAME, private_remote=private, public_remote=public))


def test_a_remote_that_dvc_does_not_know(clone: Project) -> None:
    clone.dvc("remote", "remove", "private")
    clone.git("commit", "--quiet", "--all", "--message", "m")
    with pytest.raises(BlurlineError) as caught:
        adopt.adopt(clone.path, replace(NAME, private_remote="/p"), None)
    assert str(caught.value) == ".dvc/config: no remote private: add it (`dvc remote add private /p`), and commit"


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def die_at(patch: pytest.MonkeyPatch, at: int) -> None:
    """Die before act number `at`, counted from where adopting begins to change things."""
    acts = iter(range(at))

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            if next(acts, None) is None:
                raise Killed
            return real(*arguments)

        return act

    def begin(clone: adopt.Clone, wishes: Wishes) -> None:
        patch.setattr(history, "_run", counted(history._run))
        patch.setattr(adopt, "_write", counted(adopt._write))
        begins(clone, wishes)

    begins = adopt._set_up_git
    patch.setattr(adopt, "_set_up_git", begin)


def test_adopting_may_be_interrupted_anywhere(
    blurline: Project, clone: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then `git checkout .` and adopting again lead where an uninterrupted one leads, or it is adopted already."""
    wishes = replace(NAME, origin=str(tmp_path / "mine.git"))
    found = history.data_remotes(clone.path)
    monkeypatch.setattr(history, "data_remotes", lambda root: found)  # DVC takes long to say it each time
    adopt.adopt(clone.path, wishes, None)

    def outcome(project: Project) -> tuple[str, ...]:
        settings = sorted(project.git("config", "--local", "--list").splitlines())
        return project.git("rev-parse", "HEAD^{tree}"), *settings, project.git("status", "--porcelain")

    for at in range(100):
        other = blurline.clone(tmp_path / f"clone-{at}")
        with monkeypatch.context() as patch:
            die_at(patch, at)
            try:
                adopt.adopt(other.path, wishes, None)
            except Killed:
                pass
            else:
                break
        adopted = other.git("log", "-1", "--format=%s").startswith("Adopt")
        assert (history.uncommitted(other.path) == []) or not adopted
        other.git("checkout", "--quiet", ".")
        if not adopted:
            adopt.adopt(other.path, wishes, None)
        assert outcome(other) == outcome(clone), at
    assert at > len(adopt.texts(adopt.survey(blurline.path), wishes)) + len(adopt.DRIVERS)


def test_a_commit_that_a_hook_refuses(clone: Project) -> None:
    hook = clone.path / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho error: not like this >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(BlurlineError) as caught:
        adopt.adopt(clone.path, NAME, None)
    assert str(caught.value).endswith(
        "ended with 1: error: not like this: mend that, undo with `git checkout .`, and adopt again"
    )
    hook.unlink()
    clone.git("checkout", "--quiet", ".")
    adopt.adopt(clone.path, NAME, None)
    assert clone.git("status", "--porcelain") == ""


def converse(project: Project, command: list[str], answers: list[tuple[str, str]]) -> str:
    """Run a command on a terminal and answer its questions, each when it is asked; all that was on the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, cwd=project.path, env=project.env | {"TERM": "dumb"}, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    screen = ""
    unread = 0
    for question, answer in [*answers, ("", "")]:
        while question not in screen[unread:] or not question:
            assert select.select([ours], [], [], 60)[0], f"nothing more comes:\n{screen}"
            try:
                screen += os.read(ours, 1024).decode()
            except OSError:  # the other side is closed
                assert not question, screen
                break
        unread = len(screen)
        if question:
            os.write(ours, f"{answer}\n".encode())
    os.close(ours)
    assert process.wait() == 0, screen
    return screen.replace("\r", "")


def test_on_a_terminal_it_asks_for_what_is_missing(clone: Project, tmp_path: Path) -> None:
    screen = converse(
        clone,
        ["blurline", "adopt", "--licence", "CC0-1.0"],
        [
            ("Name of the data set: ", ""),
            ("Name of the data set: ", "mine"),
            ("Creators, with ; between them (empty: not yet): ", "Doe, Ann; Bob"),
            ("Description, one line (empty: not yet): ", ""),
            ("URL of its own git repository (empty: not yet): ", ""),
            ("DVC remote for clear images, a folder or URL (empty: not yet): ", "data"),
            ("DVC remote for clear images, a folder or URL (empty: not yet): ", str(tmp_path / "private")),
            ("DVC remote for released images, a folder or URL (empty: not yet): ", ""),
        ],
    )
    assert "--name '': want a name, in one line" in screen
    assert f"--private-remote data: {INSIDE}" in screen
    assert "Licence" not in screen
    assert params.load(clone.path).dataset == params.Dataset(
        name="mine", licence="CC0-1.0", creators=["Doe, Ann", "Bob"]
    )
    assert history.data_remotes(clone.path)["private"] == str(tmp_path / "private")
    assert clone.git("log", "-1", "--format=%s").strip() == "Adopt blurline for mine"


def test_leaving_the_conversation_leaves_the_clone_as_it_is(clone: Project) -> None:
    before = state(clone)
    with pytest.raises(AssertionError, match="Aborted"):
        converse(clone, ["blurline", "adopt"], [("Name of the data set: ", "mine"), ("Licence of", "\x04")])
    assert state(clone) == before


def test_no_login_is_shown(clone: Project) -> None:
    clone.git("remote", "set-url", "origin", "https://me:tok/en@example.org/blurline.git")
    message = adopt.adopt(clone.path, replace(NAME, origin="https://me:tok/en@example.org/mine.git"), None)
    assert history.remotes(clone.path)["origin"] == "https://me:tok/en@example.org/mine.git"
    assert "  origin: https://example.org/mine.git\n" in message
    assert "upstream: https://example.org/blurline.git" in message
    assert "tok" not in message


def test_a_failing_command_shows_no_login(clone: Project) -> None:
    with pytest.raises(BlurlineError) as caught:
        history.git(clone.path, "remote", "add", "--", "bad..name", "https://me:token@example.org/x.git")
    assert "remote add -- bad..name https://example.org/x.git` ended with" in str(caught.value)
    with pytest.raises(BlurlineError) as caught:
        history.git(clone.path, "clone", "https://me:token@127.0.0.1:1/x.git", "copy")
    assert "token" not in str(caught.value)
    assert "127.0.0.1:1/x.git" in str(caught.value)
