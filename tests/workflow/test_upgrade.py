"""A data set of one's own, by the commands of docs/own-data-set.md: adopted, released, upgraded, in several clones."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from blurline import adopt, params_edit, plan
from tests.conftest import TOP, needs_the_demo
from tests.workflow.project import Project, environment, manifest, small_images, upstream

pytestmark = needs_the_demo

RERUN = sorted(
    f"{step} {shard}"
    for step in ("detect", "merge", "blur", "recheck", "checksum")
    for shard in (*("small-00000", "small-00001") * (step != "checksum"), "_step")
)
OWN = tuple(adopt.BLANK)  # one's own, though upstream's releases change them


@pytest.fixture
def blurline(tmp_path: Path) -> Project:
    """Upstream, with a release to clone."""
    return upstream(tmp_path / "blurline")


@pytest.fixture
def mine(blurline: Project, tmp_path: Path) -> Project:
    """A data set that is adopted and has not been released."""
    project = blurline.clone(tmp_path / "mine")
    project.git("init", "--quiet", "--bare", "--initial-branch=main", str(tmp_path / "mine.git"))
    remotes = ["--private-remote", "../private", "--public-remote", "../public"]
    project.run("blurline", "adopt", "--name", "mine", "--origin", str(tmp_path / "mine.git"), *remotes)
    return project


def documented(heading: str) -> list[list[str]]:
    """The commands below a heading of the page, block by block."""
    text = (TOP / adopt.PAGE).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^    .+\n)+", text, re.MULTILINE)
    return [[line.strip() for line in block.splitlines()] for block in blocks]


def follow(project: Project, commands: list[str], **values: object) -> str:
    """Run documented commands, with what the reader has to fill in; without uv, which would install the project."""
    output = ""
    for command in commands:
        filled = command.replace("uv run ", "")
        for old, new in values.items():
            filled = filled.replace(old.replace("_", "-"), str(new))
        output += project.run("bash", "-c", filled)
    return output


def edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path.write_text(text)


def release_next(blurline: Project) -> None:
    """Upstream makes a release 0.2.0 in which the detector's results change."""
    path = blurline.path
    blurline.raise_version("detect")
    edit(
        path / "workflow/blurline/params.py",
        ('    """Finding faces."""\n', '    """Finding faces."""\n\n    read_ahead: Annotated[int, Field(ge=0)] = 2\n'),
    )
    # Beside and on the very lines that a data set changes: of the demo, of its sources, and of a param.
    lines = (path / "params.yaml").read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.startswith("sources:"):
            lines[number] = line.replace("[demo]", "[demo, more]").replace("# files", "# names of files")
        if line.startswith("  image_sizes:"):
            lines[number] = line.replace("#", "# in") + "  read_ahead: 2      # images read ahead\n"
        if line.startswith("  description:"):
            lines[number] = line.replace("Eight", "Nine")
    (path / "params.yaml").write_text("".join(lines))
    (path / "data/sources/more.csv").write_text(
        (path / "data/sources/demo.csv").read_text().replace("people/", "more/")
    )
    # Its records of the demo. What they say does not matter here, but that they say something else.
    edit(path / "dvc.lock", ("ALGORITHM_VERSION: 1", "ALGORITHM_VERSION: 2"), ("- demo\n", "- demo\n        - more\n"))
    for name in adopt.BLANK.keys() - {"dvc.lock"}:
        edit(path / name, ("{\n", '{\n "another": "machine",\n'))
    reference = next((path / "tests/reference/demo/detections").glob("*.json"))
    reference.rename(reference.with_name(f"demo-00000.{'0' * 16}.json"))
    edit(path / "README.md", ("# blurline\n", "# blurline 0.2.0\n"))
    edit(path / "workflow/rules/detect.smk", ("# Needs: ", "# It needs: "))
    blurline.git("add", "--all")
    blurline.git("commit", "--quiet", "--message", "blurline 0.2.0")
    blurline.git("tag", "blurline-0.2.0")


def add_images(project: Project, images: Path) -> None:
    """Two shards of images outside of the repository."""
    names = small_images(images)
    rows = manifest(images, names).replace(",images/", f",{images}/")
    (project.path / "data/sources/small.csv").write_text(rows)
    params = project.path / "params.yaml"
    values = {"sources": ["small"], "shard_size": 3, "detect.image_sizes": [256], "detect.confidence": 0.3}
    params.write_text(params_edit.edit(params.read_text(), values))


def merge_upgrade(project: Project, blurline: Project) -> None:
    """Merge 0.2.0 as the page says: upstream's files are those of the release, and one's own are as they were."""
    own = {name: (project.path / name).read_text() for name in OWN}
    before = yaml.safe_load((project.path / "params.yaml").read_text())
    follow(project, documented("Upgrade")[0])
    assert project.git("status", "--porcelain") == ""
    assert {name: (project.path / name).read_text() for name in OWN} == own

    text = (project.path / "params.yaml").read_text()
    before["detect"]["read_ahead"] = 2
    assert yaml.safe_load(text) == before
    for comment in ("# names of files in data/sources", "# images read ahead", "# in pixels"):
        assert comment in text

    ours = {".dvc/config", "params.yaml", adopt.DEMO_MANIFEST, *OWN}
    differ = set(project.git("diff", "--name-only", "blurline-0.2.0").splitlines())
    assert differ - {"data/sources/small.csv"} == ours
    assert (project.path / "README.md").read_text().startswith("# blurline 0.2.0\n")


def planned(project: Project) -> list[str]:
    """The jobs that a run would make, as "step shard"."""
    steps = {f"data/{plan.folder(step)}": step for step in plan.STEPS}
    paths = [Path(receipt) for receipt in project.planned()]
    return sorted(f"{steps[str(path.parent)]} {path.name.split('.')[0]}" for path in paths)


def test_adopted_released_upgraded(blurline: Project, mine: Project, tmp_path: Path) -> None:
    # Somebody has made the demo before adopting.
    for name in ("raw", "blurred"):
        (mine.path / "data" / name).mkdir()
        (mine.path / "data" / name / "demo-00000.tar").write_text("the demo's")
    add_images(mine, tmp_path / "images")
    record, publish = documented("Release")
    follow(mine, record)
    follow(mine, publish)
    assert mine.git("status", "--porcelain") == ""
    assert mine.jobs() != []
    assert not [name for name in mine.data() if "demo-" in name]
    # The worst case for git's short cut: made on a machine like upstream's, yet not equal to upstream's record.
    recorded = json.loads((mine.path / "data/environment.json").read_text())
    assert recorded | {"dataset": "blurline-demo"} == json.loads((blurline.path / "data/environment.json").read_text())

    release_next(blurline)
    merge_upgrade(mine, blurline)
    assert planned(mine) == RERUN
    follow(mine, documented("Upgrade")[1])
    assert mine.jobs() == RERUN
    assert mine.git("status", "--porcelain") == ""
    assert "ALGORITHM_VERSION: 2" in (mine.path / "dvc.lock").read_text()
    mine.is_idle()
    mine.run("blurline", "verify")

    # Another clone, from before the upgrade, knows neither upstream nor the settings.
    clone = Project(tmp_path / "clone", environment(tmp_path / "clone"))
    commands = documented("Several people and clones")[0]
    assert commands[0].startswith("git clone ")
    mine.git("clone", "--quiet", str(tmp_path / "mine.git"), str(clone.path))
    follow(clone, commands[1:], URL_OF_BLURLINE=blurline.path)
    assert "merge." not in clone.git("config", "--local", "--list")
    merge_upgrade(clone, blurline)
    assert planned(clone) == RERUN


def test_upgraded_before_the_first_release(blurline: Project, mine: Project) -> None:
    release_next(blurline)
    merge_upgrade(mine, blurline)
    assert {name: (mine.path / name).read_text() for name in OWN} == {name: adopt.BLANK[name] for name in OWN}
    assert "no source is listed" in mine.run("blurline", "plan", ok=False)
    mine.dvc("status")


def test_a_clone_without_the_settings_is_told_and_can_go_on(blurline: Project, mine: Project) -> None:
    """No settings: git merges text, and says where that does not go. Nothing is chosen in silence."""
    for setting in adopt.DRIVERS:
        mine.git("config", "--unset", setting)
    release_next(blurline)
    own = {name: (mine.path / name).read_text() for name in OWN}
    mine.git("fetch", "--quiet", "upstream", "--tags")
    output = mine.run("git", "merge", "blurline-0.2.0", ok=False)
    assert set(re.findall(r"^CONFLICT \(content\): Merge conflict in (\S+)$", output, re.MULTILINE)) >= set(OWN)
    shutil.copy(mine.path / "params.yaml", mine.path / "params.yaml.orig")
    mine.git("checkout", "--ours", "params.yaml")
    mine.git("add", "params.yaml")
    follow(mine, documented("Upgrade")[2])
    assert {name: (mine.path / name).read_text() for name in OWN} == own


@pytest.mark.parametrize("there", [True, False], ids=["blurline runs", "blurline is not on PATH"])
def test_what_both_sides_changed_is_marked(blurline: Project, mine: Project, there: bool) -> None:
    """One value, two wishes: the reader decides, whether or not git can call blurline."""
    mine.set("blur.strength", 0.5)
    mine.git("commit", "--quiet", "--all", "--message", "stronger")
    blurline.set("blur.strength", 0.2)
    blurline.git("commit", "--quiet", "--all", "--message", "blurline 0.2.0")
    blurline.git("tag", "blurline-0.2.0")
    mine.git("fetch", "--quiet", "upstream", "--tags")
    path = mine.env["PATH"] if there else mine.env["PATH"].split(":", 1)[1]
    output = mine.run("git", "merge", "blurline-0.2.0", ok=False, PATH=path)
    assert "CONFLICT (content): Merge conflict in params.yaml" in output
    text = (mine.path / "params.yaml").read_text()
    assert "<<<<<<< yours\n  strength: 0.5\n=======\n  strength: 0.2\n>>>>>>> upstream\n" in text
    assert "error: params.yaml:" in mine.run("blurline", "verify", ok=False)
    mine.git("merge", "--abort")
    assert mine.git("status", "--porcelain") == ""


def test_blurlines_own_tests_hold_in_a_data_set(blurline: Project, mine: Project, tmp_path: Path) -> None:
    """They skip what is said of the demo; and values of one's own do not enter the copies that others work in."""
    add_images(mine, tmp_path / "images")
    mine.set("detect.confidence", 0.9)
    mine.set("detect.weights", "mine.pt")
    mine.set("detect.device", "cuda")
    output = mine.run(
        *("python", "-m", "pytest", "-q", "-n0", "-rs", "-p", "no:cacheprovider"),
        *(
            "tests/test_contracts.py",
            "tests/test_adopt.py",
            "tests/workflow/test_demo.py",
            "tests/workflow/test_upgrade.py",
        ),
    )
    assert "without blurline's demo" in output
    assert re.search(r"^\d+ passed, \d+ skipped", output, re.MULTILINE)
    script = "from pathlib import Path; from tests.workflow.project import make; make(Path('../copy/project'), 'copy')"
    mine.run("python", "-c", script)
    copied = yaml.safe_load((tmp_path / "copy/project/params.yaml").read_text())["detect"]
    assert (copied["confidence"], copied["weights"], copied["device"]) == (0.3, "centerface", "cpu")
