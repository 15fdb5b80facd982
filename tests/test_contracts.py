"""What is written down in two places says the same in both."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
import yaml

from blurline import adopt, decisions, environment, performance, presets, schemas
from blurline.params import Params, load
from blurline.params_merge import DEMO_NAME
from blurline.plan import PRIVATE, STEPS, folder
from tests.conftest import needs_the_demo

# Git-tracked inputs that a step's key holds rows of, and the params that say which rows.
ROWS = {"download": ["data/sources"], "merge": ["data/annotations", "data/review"], "checksum": ["data/sources"]}
CUTTING = {"download": ["sources", "shard_size"]}


@pytest.fixture
def stages(top: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((top / "dvc.yaml").read_text())["stages"]
    return found


def test_every_step_is_a_rule_a_stage_and_a_module(top: Path, stages: dict[str, Any]) -> None:
    assert list(stages) == list(STEPS)
    for step in STEPS:
        assert (top / "workflow/blurline/steps" / f"{step}.py").is_file()
        assert f"\nrule {step}:\n" in (top / "workflow/rules" / f"{step}.smk").read_text()


@pytest.mark.parametrize("step", STEPS)
def test_dvc_sees_what_the_key_sees(stages: dict[str, Any], step: str) -> None:
    module, stage = STEPS[step], stages[step]
    plain = [p for p in stage["params"] if isinstance(p, str)]
    # A preset is in no key: what it stands for is.
    preset = ["detect.preset"] if {f"detect.{name}" for name in presets.KEYS} & set(module.PARAMS) else []
    assert sorted(plain) == sorted([*module.PARAMS, *CUTTING.get(step, []), *preset])
    assert [p for p in stage["params"] if not isinstance(p, str)] == [
        {f"workflow/blurline/steps/{step}.py": ["ALGORITHM_VERSION"]},
        *([{"workflow/blurline/presets.py": ["PRESETS"]}] if preset else []),
    ]
    # DVC knows no shards: it sees what any of them reads.
    reads = [f"data/{folder(above)}" for above in (*module.READS, *getattr(module, "READS_IF_ANNOTATED", ()))]
    assert sorted(stage.get("deps", [])) == sorted([*reads, *ROWS.get(step, [])])


@pytest.mark.parametrize("step", STEPS)
def test_stages_run_their_own_rules_and_verify(stages: dict[str, Any], step: str) -> None:
    target = "all" if step == "checksum" else f"{step}_all"
    own = {"weights": f"weights {target}", "checksum": f"checksum {target}"}.get(step, f"{step} {step}_step {target}")
    assert stages[step]["cmd"] == (
        f"snakemake --cores all --quiet host rules --allowed-rules {own} -- {target} && blurline verify --step {step}"
    )
    remote = "private" if step in PRIVATE else "public"
    assert stages[step]["outs"] == [{f"data/{folder(step)}": {"persist": True, "remote": remote}}]


def test_every_param_is_part_of_a_key_or_known_to_change_nothing() -> None:
    # How long to wait, how often to ask and how politely: a row that fails for it can be fetched again.
    manners = {
        *("retries", "backoff", "max_retry_after", "connect_timeout", "timeout", "total_timeout"),
        *("concurrency", "per_host", "user_agent", "threads"),
    }
    harmless = {*(f"download.{name}" for name in manners), "detect.threads", "detect.batch", "detect.preset"}
    cutting = {"sources", "shard_size"}
    keyed = {path for module in STEPS.values() for path in module.PARAMS}
    leaves = set()
    for name, field in Params.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        leaves |= {f"{name}.{leaf}" for leaf in inner} if inner else {name}
    covered = {leaf for leaf in leaves if leaf in keyed or leaf.split(".")[0] in keyed}
    assert leaves - covered == harmless | cutting
    assert keyed <= leaves | {leaf.split(".")[0] for leaf in leaves}


@needs_the_demo
def test_params_yaml_names_and_explains_every_param(top: Path) -> None:
    text = (top / "params.yaml").read_text()
    tree = yaml.safe_load(text)
    for name, field in Params.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        for leaf in inner or ():
            assert leaf in tree[name], f"{name}.{leaf}"
    for line in text.splitlines():
        if re.match(r"^  (?!name|version|licence|creators|description|preset|weights|sha256|also|method)\w+:", line):
            assert "#" in line, f"no comment: {line}"


@needs_the_demo
def test_defaults_in_params_yaml_are_those_of_the_model(top: Path) -> None:
    """A key that somebody leaves out means what the demo's file says."""
    tree = yaml.safe_load((top / "params.yaml").read_text())
    for name, field in Params.model_fields.items():
        for leaf, inner in (getattr(field.annotation, "model_fields", None) or {}).items():
            if not inner.is_required() and name != "dataset":
                assert tree[name][leaf] == inner.default, f"{name}.{leaf}"


def test_schemas_are_those_of_the_code(top: Path) -> None:
    for name, text in schemas.texts().items():
        assert (top / "workflow/schemas" / name).read_text() == text, f"{name}: run `blurline schemas`"


def test_the_architecture_page_gives_every_module_its_line(top: Path) -> None:
    page = (top / "docs/architecture.md").read_text()
    package = top / "workflow/blurline"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if path.name != "__init__.py"}
    listed = set(re.findall(r"^\| `([a-z_/]+\.py)` \|", page, re.MULTILINE))
    assert listed == modules


@needs_the_demo
def test_the_readmes_decisions_are_decisions(top: Path, tmp_path: Path) -> None:
    lines = (top / "README.md").read_text().splitlines()
    start = lines.index("    image_id,action,x1,y1,x2,y2,reviewer,decided_at,note")
    block = [line.strip() for line in lines[start : lines.index("", start)]]
    (tmp_path / "ann.csv").write_text("\n".join(block) + "\n")
    found = decisions.read(tmp_path / "ann.csv", tmp_path)
    assert [d.action for d in found] == ["reject", "add", "exclude"]
    demo = pl.read_csv(top / "data/sources/demo.csv")["image_id"].to_list()
    assert {d.image_id for d in found} <= set(demo)


def test_the_readme_explains_every_action(top: Path) -> None:
    text = (top / "README.md").read_text()
    for action in get_args(decisions.Action):
        assert f"`{action}`" in text, action


def test_the_package_never_imports_snakemake_and_steps_never_each_other(top: Path) -> None:
    package = top / "workflow/blurline"
    for path in package.rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"^\s*(import|from) snakemake", text, re.MULTILINE), path
        if path.parent.name == "steps":
            assert not re.search(r"^\s*(import|from) blurline\.steps", text, re.MULTILINE), path


def test_the_rules_measure_jobs_where_performance_looks(top: Path) -> None:
    for step in performance.STEPS:
        place = performance.benchmark_file(step, "{shard}", "{key}")
        assert f'benchmark:\n        "{place}"\n' in (top / "workflow/rules" / f"{step}.smk").read_text()


def test_every_rule_names_its_log_and_environment(top: Path) -> None:
    for path in (top / "workflow/rules").glob("*.smk"):
        for rule in path.read_text().split("\nrule ")[1:]:
            if "shell:" in rule:
                for part in ("output:", "log:", "conda:"):
                    assert part in rule, f"{path.name}: rule {rule.split(':')[0]} has no {part}"


@needs_the_demo
def test_the_demos_manifest_never_changes(top: Path) -> None:
    """Every data set has deleted it, and git makes an edit of a deleted file a conflict in each of their upgrades.

    Another demo gets another file, and this one stays. Where git merges params.yaml as text, another version of the
    demo would become that of every data set whose first release has not got another one.
    """
    assert load(top).dataset.version == adopt.FIRST_VERSION
    content = (top / adopt.DEMO_MANIFEST).read_bytes()
    assert hashlib.sha256(content).hexdigest() == "259ecc1b1d8889208acb0b4c58ddd9636a9cf61965007afdd492cf80025da9de"


def test_git_is_told_how_to_merge_what_both_sides_change(top: Path) -> None:
    drivers = dict(re.findall(r"^([^#\s]\S*) merge=(\w+)$", (top / ".gitattributes").read_text(), re.MULTILINE))
    assert drivers == {**dict.fromkeys(adopt.BLANK, "ours"), "params.yaml": "params"}
    assert {f"merge.{name}.driver" for name in drivers.values()} == adopt.DRIVERS.keys()
    page = (top / adopt.PAGE).read_text()
    for setting, value in adopt.DRIVERS.items():
        assert re.search(f'^    git config {re.escape(setting)} ["]?{re.escape(value)}["]?$', page, re.MULTILINE)


@needs_the_demo
def test_what_releases_rewrite_is_merged_as_ones_own(top: Path) -> None:
    assert {environment.FILE, performance.FILE} <= adopt.BLANK.keys()
    assert {f"data/{path.name}" for path in (top / "data").glob("*.json")} <= adopt.BLANK.keys()
    # Figures of speed are never the same twice. An environment may be upstream's, and of two equal files git would take
    # upstream's next one without asking the driver.
    assert json.loads((top / environment.FILE).read_text())["dataset"] == DEMO_NAME
