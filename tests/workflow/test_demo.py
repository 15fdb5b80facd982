"""The main job: a fresh clone makes the demo release, the very bytes that dvc.lock records."""

import json
import tarfile
from pathlib import Path

import pytest

from blurline import environment
from blurline.params_merge import DEMO_NAME
from tests.conftest import needs_the_demo
from tests.workflow.project import CODE, TOP, TRACKED, Project, copy_of
from tests.workflow.project import environment as environment_of

pytestmark = needs_the_demo

# The tables of the recorded release, for machines whose arithmetic differs in the last digits. They change only with
# dvc.lock, in a commit that says why the release changed.
REFERENCE = TOP / "tests/reference/demo"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """The project as a fresh clone has it, after `snakemake --cores all`; and what that said."""
    path = tmp_path_factory.mktemp("demo") / "project"
    copy_of((*CODE, *TRACKED), path)
    project = Project(path, environment_of(path))
    project.git("init", "--quiet")
    project.git("add", "--all")
    project.git("commit", "--quiet", "--message", "clone")
    return project, project.run("snakemake", "--cores", "all")


def test_the_user_is_told_what_the_readme_says(demo: tuple[Project, str]) -> None:
    _, output = demo
    text = (TOP / "README.md").read_text()
    start = text.index("    blurline-demo 0.1.0:")
    for line in text[start : text.index("\n\n", start)].splitlines():
        assert line.removeprefix("    ") in output.splitlines(), line


def test_people_are_blurred_and_things_are_not(demo: tuple[Project, str]) -> None:
    project, _ = demo
    assert project.release() == {
        **{
            f"people/{n}": "blurred"
            for n in ("bus.jpg", "zidane.jpg", "grace_hopper.jpg", "astronaut.png", "camera.png")
        },
        **{f"things/{n}": "unchanged" for n in ("chelsea.png", "coffee.png", "rocket.jpg")},
    }
    with tarfile.open(project.path / "data/blurred/demo-00000.tar") as tar:
        assert tar.getnames() == list(project.release())
    project.checksums_hold()


def test_the_recorded_release_is_reproduced(demo: tuple[Project, str]) -> None:
    """Byte for byte where environment and CPU are those recorded; elsewhere within the tolerances of `compare`."""
    project, _ = demo
    recorded = json.loads((TOP / environment.FILE).read_text())
    if {"dataset": DEMO_NAME, **environment.describe()} == recorded:
        lock = (TOP / "dvc.lock").read_text()
        assert (project.path / environment.FILE).read_text() == (TOP / environment.FILE).read_text()
        project.dvc("repro")
        assert (project.path / "dvc.lock").read_text() == lock
    assert "agree" in project.run("blurline", "compare", str(REFERENCE), str(project.path / "data"))


def test_the_reference_is_that_of_the_lock() -> None:
    """The reference's receipts have the keys of the code, params and sources that are here."""
    from blurline import plan

    planned = plan.load(TOP)
    for step in ("detect", "blur", "recheck"):
        name = Path(planned.receipt(step, "demo-00000")).name
        assert (REFERENCE / plan.folder(step) / name).is_file(), "dvc.lock and tests/reference are of another release"
