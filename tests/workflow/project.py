"""A temporary copy of the project with a small source, and the real snakemake, dvc and git to run in it."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from PIL import Image

from blurline import params_edit, performance
from blurline.environment import record
from blurline.params import Params
from blurline.params_merge import DEMO_NAME

TOP = Path(__file__).parents[2]
CODE = (
    "Snakefile",
    "dvc.yaml",
    "params.yaml",
    "workflow",
    "profiles",
    "envs",
    ".dvcignore",
    ".gitignore",
    "data/.gitignore",
)
# What else a clone has: records, and inputs of the demo.
TRACKED = (
    ".gitattributes",
    ".dvc/config",
    ".dvc/.gitignore",
    "dvc.lock",
    "data/sources",
    "data/review",
    "data/annotations",
    "data/environment.json",
)
NOTHING = "Nothing to be done"


BUILT_IN = {
    "detect.weights": "centerface",
    "detect.sha256": "7aa3d2c60ca61c1b9cec910975b93d96f66b22cbe281675dac65a838ac5a63a0",
}


@dataclass
class Project:
    """A project folder; `run` runs a command in it, and `jobs` tells which of the workflow's jobs ran since."""

    path: Path
    env: dict[str, str]
    _seen: set[tuple[str, int]] = field(default_factory=set)

    def run(self, *command: str, ok: bool = True, **more: str) -> str:
        """Run a command; its output. Fails the test unless it ends as `ok` says."""
        done = subprocess.run(
            command,
            cwd=self.path,
            env=self.env | more,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        output = done.stdout + done.stderr
        assert (done.returncode == 0) is ok, f"{' '.join(command)} ended with {done.returncode}:\n{output}"
        return output

    def snakemake(self, *more: str, cores: int = 2, ok: bool = True) -> str:
        return self.run("snakemake", "--cores", str(cores), *more, ok=ok)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def dvc(self, *arguments: str, ok: bool = True) -> str:
        return self.run("dvc", *arguments, ok=ok)

    def jobs(self) -> list[str]:
        """Jobs that have run since the last call, as sorted "step shard": each writes its log anew."""
        now = {
            (path.relative_to(self.path / "logs").as_posix(), path.stat().st_mtime_ns)
            for path in (self.path / "logs").rglob("*.log")
        }
        new, self._seen = now - self._seen, now
        return sorted(f"{Path(name).parent} {Path(name).name.split('.')[0]}" for name, _ in new)

    def is_idle(self) -> None:
        """Both tools have nothing to do, and the checksums hold."""
        assert self.planned() == []
        assert "up to date" in self.dvc("status")
        self.checksums_hold()

    def planned(self) -> list[str]:
        """The receipts that `blurline plan` and `snakemake -n` both say a run would make; fails where they differ."""
        output = self.snakemake("-n")
        says = re.findall(r"^    output: (data/\S+\.json)$", output, re.MULTILINE)
        assert bool(says) is (NOTHING not in output)
        state = json.loads(self.run("blurline", "plan", "--json"))
        assert sorted(one["receipt"] for one in state["due"]) == sorted(says)
        return sorted(says)

    def checksums_hold(self) -> None:
        subprocess.run(["sha256sum", "--check", "--quiet", "release/SHA256SUMS"], cwd=self.path / "data", check=True)

    def set(self, key: str, value: object) -> None:
        """Edit one key of params.yaml, and only that line."""
        group, _, name = key.rpartition(".")
        path = self.path / "params.yaml"
        text = path.read_text()
        start = text.index(f"\n{group}:\n") if group else 0
        pattern = re.compile(rf"^(\s*{name}:).*$", re.MULTILINE)
        match = pattern.search(text, start)
        assert match, key
        line = yaml.safe_dump(value, default_flow_style=True, width=10**9).removesuffix("...\n").strip()
        path.write_text(f"{text[: match.start()]}{match[1]} {line}{text[match.end() :]}")

    def decide(self, image_id: str, action: str, **more: object) -> None:
        """Append one line to a reviewer's file."""
        row = {
            "image_id": image_id,
            "action": action,
            "reviewer": "ann",
            "decided_at": "2026-01-01T00:00:00+00:00",
        } | more
        columns = ["image_id", "action", "x1", "y1", "x2", "y2", "reviewer", "decided_at"]
        path = self.path / "data/review" / f"{row['reviewer']}.csv"
        if not path.exists():
            path.write_text(",".join(columns) + "\n")
        with path.open("a") as stream:
            stream.write(",".join(str(row.get(c, "")) for c in columns) + "\n")

    def raise_version(self, step: str) -> None:
        """Raise a step's ALGORITHM_VERSION in the copy's own code."""
        path = self.path / "workflow/blurline/steps" / f"{step}.py"
        text = path.read_text()
        changed = re.sub(
            r"^ALGORITHM_VERSION = (\d+)$", lambda m: f"ALGORITHM_VERSION = {int(m[1]) + 1}", text, flags=re.M
        )
        assert changed != text
        path.write_text(changed)

    def data(self) -> dict[str, str]:
        """Every computed file below data/ and its SHA-256."""
        return {
            path.relative_to(self.path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in ("weights", "raw", "detections", "merged", "blurred", "recheck", "release")
            for path in sorted((self.path / "data" / folder).rglob("*"))
            if path.is_file()
        }

    def release(self) -> dict[str, str]:
        """image_id → action, of the release's manifest."""
        import polars as pl

        table = pl.read_parquet(self.path / "data/release/manifest.parquet")
        return dict(table.select("image_id", "action").rows())

    def copy(self, path: Path) -> "Project":
        """An identical project elsewhere."""
        subprocess.run(["cp", "-a", str(self.path), str(path)], check=True)
        twin = Project(path, environment(path))
        if "hardlink" in (path / ".dvc/config").read_text():
            twin.dvc("checkout", "--relink", "--quiet")  # cp breaks links to what lies outside of the folder
        twin.jobs()
        return twin

    def clone(self, path: Path) -> "Project":
        """A fresh git clone: nothing pulled, a cache of its own."""
        subprocess.run(["git", "clone", "--quiet", str(self.path), str(path)], check=True)
        return Project(path, environment(path))

    def kill_when(self, *command: str, after: float, pattern: str = "") -> bool:
        """Start a command, and SIGKILL its process group after so many seconds, or when a file matches the pattern.

        Returns whether it was still running.
        """
        process = subprocess.Popen(
            command,
            cwd=self.path,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        before = set(self.path.glob(pattern)) if pattern else set()
        end = time.monotonic() + after
        while time.monotonic() < end and process.poll() is None:
            if pattern and set(self.path.glob(pattern)) - before:
                break
            time.sleep(0.002)
        running = process.poll() is None
        if running:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return running


def environment(path: Path) -> dict[str, str]:
    """The environment of a copy: its own code, this interpreter's commands, nothing of the user's settings."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "DVC", "GIT_", "PYTEST"))}
    home = path.parent / f"{path.name}-home"
    home.mkdir(exist_ok=True)
    return keep | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(path / "workflow"),
        "HOME": str(home),
        "DVC_SITE_CACHE_DIR": str(home / "dvc-site"),
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.org",
        "XDG_CACHE_HOME": str(home / "cache"),
    }


def small_images(folder: Path) -> list[str]:
    """Six small pictures, three of them with a face; their names, in the order of the source."""
    import skimage

    pictures = Path(skimage.__file__).parent / "data"
    folder.mkdir(parents=True)
    with Image.open(pictures / "astronaut.png") as opened:
        astronaut = opened.convert("RGB")
    with Image.open(pictures / "chelsea.png") as opened:
        cat = opened.convert("RGB")
    face = astronaut.crop((120, 0, 376, 256))
    face.save(folder / "face.jpg", quality=90)
    cat.crop((0, 0, 256, 256)).save(folder / "cat.jpg", quality=90)
    face.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "mirror.png")
    cat.crop((150, 40, 342, 232)).save(folder / "eye.png")
    astronaut.resize((256, 256)).save(folder / "whole.jpg", quality=85)
    cat.resize((200, 133)).save(folder / "small.png")
    return ["face.jpg", "cat.jpg", "mirror.png", "eye.png", "whole.jpg", "small.png"]


def manifest(folder: Path, names: list[str]) -> str:
    """A pinned manifest of the images in data/sources/images."""
    lines = [f"{n},images/{n},{hashlib.sha256((folder / n).read_bytes()).hexdigest()}" for n in names]
    return "\n".join(["image_id,url,sha256", *lines]) + "\n"


def copy_of(names: Iterable[str], path: Path) -> None:
    """Copy these files and folders of the project itself to a new folder."""
    path.mkdir(parents=True)
    for name in names:
        here, there = TOP / name, path / name
        there.parent.mkdir(parents=True, exist_ok=True)
        if here.is_dir():
            shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(here, there)


def defaults() -> dict[str, object]:
    """Dotted key → default of every param that has one in the groups of params.yaml."""
    groups = {name: getattr(field.annotation, "model_fields", {}) for name, field in Params.model_fields.items()}
    return {
        f"{group}.{name}": field.default
        for group, fields in groups.items()
        for name, field in fields.items()
        if not field.is_required()
    }


def upstream(path: Path) -> Project:
    """A git repository as blurline's own: the project with its demo, recorded on this machine, and a release's tag."""
    copy_of((*CODE, *TRACKED, "README.md", "docs", "tests", "pyproject.toml"), path)
    record(path, DEMO_NAME)
    (path / performance.FILE).write_text('{\n "detect": {\n  "seconds": 1.0\n }\n}\n')
    project = Project(path, environment(path))
    project.git("init", "--quiet", "--initial-branch=main")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "blurline 1.0.0")
    project.git("tag", "blurline-1.0.0")
    return project


def make(path: Path, cache_type: str) -> Project:
    """A git and DVC repository with the project's code, a source of six images in two shards, and two remotes."""
    copy_of(CODE, path)
    images = path / "data/sources/images"
    names = small_images(images)
    (path / "data/sources/small.csv").write_text(manifest(images, names))
    for name in ("data/review", "data/annotations"):
        (path / name).mkdir()
        (path / name / ".gitkeep").touch()
    project = Project(path, environment(path))
    # In a data set of one's own the params have values of its own: here they have their defaults.
    params = path / "params.yaml"
    small = {"sources": ["small"], "shard_size": 3, "detect.image_sizes": [256], "detect.confidence": 0.3}
    params.write_text(params_edit.edit(params.read_text(), defaults() | BUILT_IN | small))
    project.git("init", "--quiet", "--initial-branch=main")
    project.dvc("init", "--quiet")
    for key, value in {
        "core.analytics": "false",
        "core.check_update": "false",
        "cache.type": cache_type,
    }.items():
        project.dvc("config", key, value)
    # Outside the project: links into the cache stay good in a copy. Local: a clone has a cache of its own.
    project.dvc("config", "--local", "cache.dir", str(path.parent / "cache"))
    for remote in ("private", "public"):
        project.dvc("remote", "add", "--quiet", remote, str(path.parent / "remotes" / remote))
    return project
