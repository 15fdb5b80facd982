"""The pins that ``envs/pin.py`` wrote agree with each other and with the running environment.

Nothing here asks a registry, so these tests also say where the environment was not made from the pins. They
need only what ``envs/requirements.txt`` installs, and pytest.
"""

import importlib.metadata
import platform
import re
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
UV: dict[str, Any] = PYPROJECT["tool"]["uv"]
GENERATED = ("envs/requirements.txt", "envs/blurline.yaml", "envs/blurline.post-deploy.sh")

# Installers are not dependencies: the environment came with them, at the version that its maker had.
INSTALLERS = {canonicalize_name(name) for name in ("pip", "uv", "setuptools")}

Versions = dict[NormalizedName, str]


def pinned(lines: Iterable[str], environment: Mapping[str, str] | None = None) -> Versions:
    """Return the one version pinned for each name in an environment, by default the running one."""
    versions: Versions = {}
    for line in lines:
        requirement = Requirement(line)
        exact = re.fullmatch(r"==([^*]+)", str(requirement.specifier))
        assert exact, f"{line}: not one exact version"
        if requirement.marker is None or requirement.marker.evaluate(dict(environment or {})):
            name = canonicalize_name(requirement.name)
            assert name not in versions, f"{name} is pinned twice"
            versions[name] = exact[1]
    return versions


def all_pins() -> list[str]:
    """Return every line of both constraint lists, a line of both once."""
    return sorted({*UV["constraint-dependencies"], *UV["build-constraint-dependencies"]})


def requirement_lines(text: str) -> dict[str, list[str]]:
    """Return the hashes of each requirement of a requirements file, by the requirement without them."""
    joined = text.replace("\\\n", " ").splitlines()
    found = {}
    for line in joined:
        if line.strip() and not line.startswith("#"):
            requirement, *hashes = line.split("--hash=")
            found[requirement.strip()] = [item.strip() for item in hashes]
    return found


def hashed() -> dict[str, list[str]]:
    return requirement_lines((ROOT / "envs/requirements.txt").read_text(encoding="utf-8"))


def installed() -> Versions:
    return {canonicalize_name(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}


def disagreements(installed: Versions, pins: Versions) -> list[str]:
    """Say which installed distributions are not the pinned ones."""
    own = canonicalize_name(PROJECT["name"])
    found = []
    for name, version in sorted(installed.items()):
        if name == own or (name in INSTALLERS and name not in pins):
            continue
        if pins.get(name) != version:
            found.append(f"{name}: {version} is installed, {pins.get(name)} is pinned")
    return found


def runtime_closure() -> set[NormalizedName]:
    """Return what the project needs to run here, from what the installed distributions ask for."""
    seen: set[tuple[NormalizedName, str]] = set()
    todo = [Requirement(line) for line in PROJECT["dependencies"]]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in importlib.metadata.requires(name) or ():
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    todo.append(needed)
    return {name for name, _ in seen}


def test_installed_versions_are_the_pinned_ones() -> None:
    assert disagreements(installed(), pinned(all_pins())) == []


def test_another_version_and_an_unpinned_package_are_found() -> None:
    here, pins = installed(), pinned(all_pins())
    here[canonicalize_name("numpy")] = "0.1"
    here[canonicalize_name("not-pinned")] = "2.0"
    assert disagreements(here, pins) == [
        "not-pinned: 2.0 is installed, None is pinned",
        f"numpy: 0.1 is installed, {pins[canonicalize_name('numpy')]} is pinned",
    ]


@pytest.mark.parametrize("line", ["numpy", "numpy>=2", "numpy==2.*", "numpy==2.1,!=2.2"])
def test_a_line_that_leaves_a_choice_is_no_pin(line: str) -> None:
    with pytest.raises(AssertionError, match="not one exact version"):
        pinned([line])


@pytest.mark.parametrize("system", ["linux", "darwin"])
@pytest.mark.parametrize("python", ["3.11.0", "3.12.0", "3.13.0", "3.14.0"])
def test_each_direct_dependency_has_one_pin_everywhere(python: str, system: str) -> None:
    names = {"linux": "Linux", "darwin": "Darwin"}
    environment = {
        "python_version": python.rpartition(".")[0],
        "python_full_version": python,
        "sys_platform": system,
        "platform_system": names[system],
        "platform_machine": {"linux": "x86_64", "darwin": "arm64"}[system],
    }
    wanted = [*PROJECT["dependencies"], *PYPROJECT["build-system"]["requires"]]
    for group in (*PROJECT["optional-dependencies"].values(), *PYPROJECT["dependency-groups"].values()):
        wanted += group
    pins = pinned(all_pins(), environment)
    for line in wanted:
        requirement = Requirement(line)
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{line}: no pin; run `uv run envs/pin.py`"
        assert requirement.specifier.contains(version, prereleases=True), line


def test_runtime_dependencies_are_in_the_requirements_at_the_installed_version() -> None:
    requirements, here = pinned(hashed()), installed()
    needed = runtime_closure()
    assert len(needed) > len(PROJECT["dependencies"])
    assert {name: requirements.get(name) for name in needed} == {name: here.get(name) for name in needed}


def test_requirements_are_pins_with_hashes() -> None:
    assert all(
        hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes) for hashes in hashed().values()
    )
    # Markers differ: the dev group may need on every platform what the package needs on one.
    plain = {line.partition(";")[0].strip() for line in all_pins()}
    assert {line.partition(";")[0].strip() for line in hashed()} <= plain


def test_a_requirement_without_a_hash_is_seen() -> None:
    text = f"# x==1\na==1 ; sys_platform == 'linux' \\\n    --hash=sha256:{'0' * 64}\nb==2\n"
    assert requirement_lines(text) == {"a==1 ; sys_platform == 'linux'": [f"sha256:{'0' * 64}"], "b==2": []}


def test_conda_environment_lists_the_same_pins() -> None:
    text = (ROOT / "envs/blurline.yaml").read_text(encoding="utf-8")
    environment = yaml.safe_load(text)
    assert text.startswith("# Generated by envs/pin.py") and "untested" in text
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    python, pip, packages = environment["dependencies"]
    assert pip == "pip"
    assert packages == {"pip": list(hashed())}
    name, _, version = python.partition("=")
    assert name == "python" and SpecifierSet(PROJECT["requires-python"]).contains(version)


def test_post_deploy_script_is_shell() -> None:
    subprocess.run(["sh", "-n", ROOT / "envs/blurline.post-deploy.sh"], check=True)


def test_running_python_is_allowed() -> None:
    assert SpecifierSet(PROJECT["requires-python"]).contains(platform.python_version(), prereleases=True)


def test_newest_upload_time_is_a_full_time() -> None:
    assert datetime.fromisoformat(UV["exclude-newer"]).tzinfo is not None


def committed() -> list[str]:
    """Return the paths that git tracks, and the generated files in any case."""
    names = {"pyproject.toml", *GENERATED}
    if (ROOT / ".git").exists():
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
        names.update(name for name in listing.stdout.decode().split("\0") if name)
    return sorted(name for name in names if (ROOT / name).is_file())


def registry_hosts() -> set[str]:
    """Return the hosts of the public registries, and of any that a local ``uv.lock`` was made with."""
    public = {f"{name}.org" for name in ("py" + "pi", "python" + "hosted", "ana" + "conda")}
    lock = ROOT / "uv.lock"
    text = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    return public | set(re.findall(r'registry = "\w+://(?:[^"/@]*@)?([^"/:]+)', text))


def test_no_address_of_a_registry_is_committed() -> None:
    hosts = [host.encode() for host in registry_hosts()]
    found = [f"{name}: {host.decode()}" for name in committed() for host in hosts if host in (ROOT / name).read_bytes()]
    assert found == []


def test_generated_files_hold_no_address_or_index_option() -> None:
    pattern = re.compile("://|index-url|find-" + "links|py" + "pi", re.IGNORECASE)
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in GENERATED}
    texts["[tool.uv]"] = str(UV)
    assert {name: pattern.findall(text) for name, text in texts.items() if pattern.search(text)} == {}
    assert not UV.keys() & {"index", "index-url", "extra-index-url", "find-links"}


def test_uv_lock_is_not_committed() -> None:
    assert "uv.lock" not in committed()
