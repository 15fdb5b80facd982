"""One finished project for each cache type, from which every test starts with a copy of its own."""

from pathlib import Path

import pytest
from filelock import FileLock

from tests.workflow.project import Project, environment, make

CACHE_TYPES = [
    "copy",
    pytest.param("hardlink", marks=pytest.mark.slow),
    pytest.param("symlink", marks=pytest.mark.slow),
]


@pytest.fixture(scope="session", params=CACHE_TYPES)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Made by snakemake, recorded by `dvc repro`, committed, tagged v1, pushed. Tests copy it and never change it.

    pytest-xdist's workers share it: the first to come makes it.
    """
    shared = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        shared = shared.parent
    path = shared / f"finished-{request.param}" / "project"
    with FileLock(shared / f"finished-{request.param}.lock"):
        if not (path.parent / "done").exists():
            project = make(path, request.param)
            project.snakemake()
            project.dvc("repro", "--quiet")
            project.git("add", "--all")
            project.git("commit", "--quiet", "--message", "v1")
            project.git("tag", "v1")
            project.dvc("push", "--quiet")
            (path.parent / "done").touch()
    project = Project(path, environment(path))
    project.jobs()
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project."""
    return finished.copy(tmp_path / "project")


class Tool:
    """Either of the tools that bring a project up to date."""

    def __init__(self, name: str) -> None:
        self.name = name

    def build(self, project: Project) -> None:
        """Bring it up to date, by just the jobs that were planned."""
        planned = {Path(receipt).name for receipt in project.planned()}
        before = {Path(name).name for name in project.data()}
        self._run(project)
        made = {Path(name).name for name in project.data()} - before
        assert {name for name in made if name.endswith(".json")} >= planned

    def _run(self, project: Project) -> None:
        if self.name == "snakemake":
            project.snakemake()
        else:
            project.dvc("repro")

    def is_idle(self, project: Project) -> None:
        """Nothing to do, says this tool; and when DVC has recorded the state, so say both."""
        if self.name == "snakemake":
            assert project.planned() == []
            project.checksums_hold()
        else:
            project.is_idle()


@pytest.fixture(params=["snakemake", "dvc"])
def tool(request: pytest.FixtureRequest) -> Tool:
    """Both tools, one after the other."""
    return Tool(request.param)
