"""One finished project for each cache type, from which every test starts with a copy of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workflow.project import Project, make

CACHE_TYPES = [
    "copy",
    pytest.param("hardlink", marks=pytest.mark.slow),
    pytest.param("symlink", marks=pytest.mark.slow),
]


@pytest.fixture(scope="session", params=CACHE_TYPES)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Made by snakemake, recorded by `dvc repro`, committed, tagged v1, pushed. Tests copy it and never change it."""
    project = make(tmp_path_factory.mktemp(f"finished-{request.param}") / "project", request.param)
    project.snakemake()
    project.dvc("repro", "--quiet")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "v1")
    project.git("tag", "v1")
    project.dvc("push", "--quiet")
    project.jobs()
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project."""
    return finished.copy(tmp_path / "project")


@pytest.fixture(params=["snakemake", "dvc"])
def build(request: pytest.FixtureRequest) -> Iterator[Callable[[Project], str]]:
    """Bring a project up to date with either tool."""
    if request.param == "snakemake":
        yield lambda project: project.snakemake()
    else:
        yield lambda project: project.dvc("repro")
