"""Keys change exactly when they should; shards never move."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from blurline import plan, presets
from blurline.annotations import Annotation
from blurline.errors import BlurlineError
from blurline.plan import STEPS, Plan

SHA = "a" * 64
ALL = ("weights", "download", "detect", "merge", "blur", "recheck", "checksum")
PARAMS = {
    "dataset": {"name": "test"},
    "sources": ["one"],
    "shard_size": 2,
    "detect": {"weights": "centerface", "sha256": SHA},
    "release": {"public_columns": ["class"]},
}
MANIFEST = "image_id,url,sha256,class\n" + "".join(f"{i}.jpg,x/{i}.jpg,{i * 64},c\n" for i in "01234")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data/sources").mkdir(parents=True)
    (tmp_path / "data/review").mkdir()
    (tmp_path / "data/annotations").mkdir()
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (tmp_path / "data/sources/one.csv").write_text(MANIFEST)
    return tmp_path


def keys(project: Path) -> dict[tuple[str, str], str]:
    found: Plan = plan.load(project)
    return {at: job.key for at, job in found.jobs.items()}


def changed(before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> set[tuple[str, str]]:
    """(step, shard) of jobs whose keys changed, closing jobs left out."""
    return {
        at for at in after if before.get(at) != after[at] and (at[1] != "_step" or at[0] in ("weights", "checksum"))
    }


EDITS = [
    ("dataset.version", "9", ("checksum",)),
    ("download.max_bytes", 5, ("download", "detect", "merge", "blur", "recheck", "checksum")),
    ("download.max_pixels", 5, ("download", "detect", "merge", "blur", "recheck", "checksum")),
    ("download.max_redirects", 9, ("download", "detect", "merge", "blur", "recheck", "checksum")),
    ("download.honour_opt_out", False, ("download", "detect", "merge", "blur", "recheck", "checksum")),
    ("download.allow_private_hosts", True, ("download", "detect", "merge", "blur", "recheck", "checksum")),
    ("download.max_failure_rate", 0.1, ("checksum",)),
    ("download.retries", 5, ()),
    ("download.backoff", 5.0, ()),
    ("download.max_retry_after", 5.0, ()),
    ("download.connect_timeout", 5.0, ()),
    ("download.timeout", 5.0, ()),
    ("download.total_timeout", 5.0, ()),
    ("download.concurrency", 5, ()),
    ("download.per_host", 5, ()),
    ("download.user_agent", "me", ()),
    ("download.threads", 5, ()),
    ("detect.weights", "other.pt", ("weights", "detect", "merge", "blur", "recheck", "checksum")),
    ("detect.sha256", "b" * 64, ("weights", "detect", "merge", "blur", "recheck", "checksum")),
    (
        "detect.also",
        [{"weights": "plates.pt", "sha256": "c" * 64}],
        ("weights", "detect", "merge", "blur", "recheck", "checksum"),
    ),
    ("detect.image_sizes", [512], ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.flips", [1024], ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.full_size", False, ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.turned", True, ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.tile", 640, ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.engine", "openvino", ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.candidate", 0.05, ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.nms_iou", 0.5, ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.classes", ["face"], ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.device", "cuda", ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.precision", "f16", ("detect", "merge", "blur", "recheck", "checksum")),
    ("detect.confidence", 0.4, ("merge", "blur", "recheck", "checksum")),
    ("detect.confidence_of", {"centerface": 0.9}, ("merge", "blur", "recheck", "checksum")),
    ("detect.threads", 5, ()),
    ("detect.batch", 5, ()),
    ("review.match_iou", 0.6, ("merge", "blur", "recheck", "checksum")),
    ("review.reject_votes", 1, ("merge", "blur", "recheck", "checksum")),
    ("review.window", 0.2, ("merge", "blur", "recheck", "checksum")),
    ("review.required", True, ("checksum",)),
    ("blur.strength", 0.5, ("blur", "recheck", "checksum")),
    ("blur.method", "mosaic", ("blur", "recheck", "checksum")),
    ("blur.cells", 4, ("blur", "recheck", "checksum")),
    ("blur.colour", "#808080", ("blur", "recheck", "checksum")),
    ("blur.shape", "ellipse", ("blur", "recheck", "checksum")),
    ("blur.classes", {"licence_plate": {"method": "solid"}}, ("blur", "recheck", "checksum")),
    ("blur.margin", 0.3, ("blur", "recheck", "checksum")),
    ("blur.feather", 0.3, ("blur", "recheck", "checksum")),
    ("blur.metadata", "strip", ("blur", "recheck", "checksum")),
    ("recheck.enabled", False, ("recheck", "checksum")),
    ("release.public_columns", [], ("checksum",)),
]


@pytest.mark.parametrize(("key", "value", "steps"), EDITS, ids=[e[0] for e in EDITS])
def test_a_param_changes_the_keys_that_depend_on_it(
    project: Path, key: str, value: object, steps: tuple[str, ...]
) -> None:
    before = keys(project)
    group, _, name = key.partition(".")
    (project / "params.yaml").write_text(
        yaml.safe_dump(PARAMS | {group: {**PARAMS.get(group, {}), name: value}})  # type: ignore[dict-item]
    )
    moved = changed(before, keys(project))
    assert {step for step, _ in moved} == set(steps)
    for step in set(steps) - {"weights", "checksum"}:
        assert {shard for at, shard in moved if at == step} == {"one-00000", "one-00001", "one-00002"}


def test_a_preset_is_the_values_that_it_stands_for(project: Path) -> None:
    """Another preset makes other keys; the same values by hand make the same ones; a value of one's own wins."""

    def with_(**detect: object) -> dict[tuple[str, str], str]:
        group = {**PARAMS["detect"], **detect}  # type: ignore[dict-item]
        (project / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"detect": group}))
        return keys(project)

    balanced = with_()
    assert with_(preset="balanced") == with_(image_sizes=None, confidence=None) == balanced
    fast = with_(preset="fast")
    assert {step for step, _ in changed(balanced, fast)} == {"detect", "merge", "blur", "recheck", "checksum"}
    assert with_(**presets.PRESETS["fast"]) == fast
    assert with_(preset="thorough", **presets.PRESETS["fast"]) == fast
    own = with_(preset="fast", confidence=0.33)
    assert {step for step, _ in changed(fast, own)} == {"merge", "blur", "recheck", "checksum"}


@pytest.mark.parametrize("step", ALL)
def test_a_raised_version_changes_the_step_and_what_follows(
    project: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys(project)
    module: ModuleType = STEPS[step]
    monkeypatch.setattr(module, "ALGORITHM_VERSION", module.ALGORITHM_VERSION + 1)
    after = {
        "weights": {"weights", "detect", "merge", "blur", "recheck", "checksum"},
        "download": {"download", "detect", "merge", "blur", "recheck", "checksum"},
        "detect": {"detect", "merge", "blur", "recheck", "checksum"},
        "merge": {"merge", "blur", "recheck", "checksum"},
        "blur": {"blur", "recheck", "checksum"},
        "recheck": {"recheck", "checksum"},
        "checksum": {"checksum"},
    }
    assert {at for at, _ in changed(before, keys(project))} == after[step]


def test_the_second_gate_looks_with_the_settings_of_the_first() -> None:
    """Whatever changes what detect finds, or from which score merge blurs, changes what recheck finds."""
    detect, merge, recheck = (set(STEPS[step].PARAMS) for step in ("detect", "merge", "recheck"))
    confidence = {name for name in merge if name.startswith("detect.")}
    assert confidence == {"detect.confidence", "detect.confidence_of"}
    # Where weights come from stays private: recheck's receipts are public, and the key of the weights holds it.
    assert recheck == (detect - {"detect.also"}) | confidence | {"recheck.enabled"}
    assert "detect.also" in STEPS["weights"].PARAMS
    assert {"weights", "blur"} == set(STEPS["recheck"].READS)


def edit(file: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def run(project: Path) -> None:
        path = project / file
        path.write_text(change(path.read_text() if path.exists() else ""))

    return run


REVIEW = "image_id,sha256,action,reviewer,decided_at,x1,y1,x2,y2,note\n"
BOXES = "image_id,x1,y1,x2,y2\n"
SHARD = [(step, "one-00001") for step in ("merge", "blur", "recheck")]
END = ("checksum", "_step")
ROWS = [
    ("a decision by id", "data/review/ann.csv", lambda t: REVIEW + "2.jpg,,clear,ann,2026-01-01,,,,,\n", {*SHARD, END}),
    (
        "a decision by hash, on an image that is gone",
        "data/review/ann.csv",
        lambda t: REVIEW + f"gone.jpg,{'2' * 64},clear,ann,2026-01-01,,,,,\n",
        {*SHARD, END},
    ),
    ("a box", "data/annotations/x.csv", lambda t: BOXES + "2.jpg,1,2,3,4\n", {*SHARD, END}),
    (
        "boxes in two shards",
        "data/annotations/x.csv",
        lambda t: BOXES + "2.jpg,1,2,3,4\n4.jpg,1,2,3,4\n2.jpg,5,5,6,6\n",
        {*SHARD, *((step, "one-00002") for step, _ in SHARD), END},
    ),
    ("an empty file of boxes", "data/annotations/x.csv", lambda t: BOXES, set()),
    ("an empty file of decisions", "data/review/ann.csv", lambda t: REVIEW, set()),
    (
        "another url",
        "data/sources/one.csv",
        lambda t: t.replace("x/2.jpg", "y/2.jpg"),
        {("download", "one-00001"), ("detect", "one-00001"), *SHARD, END},
    ),
    (
        "rows at the end",
        "data/sources/one.csv",
        lambda t: t + "5.jpg,x,,\n6.jpg,x,,\n",
        {(s, f"one-0000{n}") for s in ALL[1:6] for n in (2, 3)} | {END},
    ),
    ("a published column", "data/sources/one.csv", lambda t: t.replace(",c\n", ",d\n", 1), {END}),
    ("an order of columns", "data/sources/one.csv", lambda t: "\n".join(swap(r) for r in t.splitlines()) + "\n", set()),
    ("line ends", "data/sources/one.csv", lambda t: t.replace("\n", "\r\n"), set()),
]


def swap(row: str) -> str:
    one, two, *rest = row.split(",")
    return ",".join([two, one, *rest])


@pytest.mark.parametrize(("file", "change", "moved"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS])
def test_a_row_changes_the_keys_of_its_shard(
    project: Path, file: str, change: Callable[[str], str], moved: set[tuple[str, str]]
) -> None:
    before = keys(project)
    edit(file, change)(project)
    assert changed(before, keys(project)) == moved


def test_notes_and_the_order_and_files_of_decisions_change_nothing(project: Path) -> None:
    lines = [f"2.jpg,,accept,{who},2026-01-0{n},1,2,3,4,{{}}\n" for n, who in enumerate(("ann", "bob"), 1)]
    path = project / "data/review/ann.csv"
    path.write_text(REVIEW + "".join(lines).format("", ""))
    before = keys(project)
    path.write_text(REVIEW + "".join(reversed(lines)).format("why", "because"))
    assert changed(before, keys(project)) == set()
    path.write_text(REVIEW + lines[0].format(""))
    (project / "data/review/bob.csv").write_text(REVIEW + lines[1].format(""))
    assert changed(before, keys(project)) == set()


def test_boxes_of_one_shard_are_nothing_to_the_others(project: Path) -> None:
    """Keys of shards without imported boxes are made of the same parts as before there were any."""
    (project / "data/annotations/x.csv").write_text(BOXES + "2.jpg,1,2,3,4\n")
    jobs = plan.load(project).jobs
    assert jobs["merge", "one-00000"].parts["rows"].keys() == {"decisions"}
    assert jobs["merge", "one-00000"].parts["inputs"].keys() == {"detect/one-00000"}
    assert jobs["merge", "one-00001"].parts["rows"]["annotations"]["rows"] == 1
    assert jobs["merge", "one-00001"].parts["inputs"].keys() == {"detect/one-00001", "download/one-00001"}
    assert plan.load(project).inputs("merge", "one-00001") == [
        plan.load(project).receipt(step, "one-00001") for step in ("detect", "download")
    ]


def test_how_boxes_are_written_changes_nothing_and_every_box_counts(project: Path) -> None:
    path = project / "data/annotations/x.csv"
    path.write_text(BOXES + "2.jpg,1,2,3,4\n3.jpg,5,6,7,8\n")
    before = keys(project)
    for text in (
        BOXES + "3.jpg,05,6,7,8\n2.jpg,1,2,3,4\n2.jpg,1,2,3,4\n\n",
        "label,frame,x1,y1,x2,y2,image_id\n,,1,2,3,4,2.jpg\nface,-1,5,6,7,8,3.jpg\n",
    ):
        path.write_text(text)
        assert changed(before, keys(project)) == set()
    for text in (
        BOXES + "2.jpg,1,2,3,5\n3.jpg,5,6,7,8\n",
        "image_id,x1,y1,x2,y2,label\n2.jpg,1,2,3,4,head\n3.jpg,5,6,7,8,\n",
        "image_id,x1,y1,x2,y2,frame\n2.jpg,1,2,3,4,0\n3.jpg,5,6,7,8,\n",
    ):
        path.write_text(text)
        assert changed(before, keys(project)) == {*SHARD, END}
    path.write_text(BOXES + "2.jpg,1,2,3,4\n3.jpg,5,6,7,8\n")
    assert changed(before, keys(project)) == set()
    path.rename(path.with_name("y.csv"))  # the name is the detector's
    assert changed(before, keys(project)) == {*SHARD, END}


def test_boxes_reach_pinned_copies_in_other_shards(project: Path) -> None:
    (project / "data/sources/one.csv").write_text(MANIFEST + f"copy.jpg,x/5.jpg,{'2' * 64},c\n6.jpg,x/6.jpg,,c\n")
    before = keys(project)
    (project / "data/annotations/x.csv").write_text(BOXES + "2.jpg,1,2,3,4\n")
    assert changed(before, keys(project)) == {*SHARD, *((step, "one-00002") for step, _ in SHARD), END}
    ((shard, box),) = boxes_of(project, "one-00002")
    assert (shard, box.image_id, box.sha256, box.detector, box.box) == (
        "one-00002",
        "2.jpg",
        "2" * 64,
        "x",
        (1, 2, 3, 4),
    )


def boxes_of(project: Path, shard: str) -> list[tuple[str, Annotation]]:
    """The boxes that a shard's merge job is given, planned alone."""
    whole = plan.load(project)
    for step in ("download", "detect"):
        receipt = project / whole.receipt(step, shard)
        receipt.parent.mkdir(exist_ok=True)
        receipt.touch()
    return [(shard, box) for box in plan.job(project, "merge", shard, whole.keys()["merge", shard]).annotations]


def test_a_job_is_planned_as_the_plan_says(project: Path) -> None:
    """Though it reads its own inputs only: for a shard's job, the keys of the receipts it will read are among them."""
    (project / "data/review/ann.csv").write_text(REVIEW + "2.jpg,,clear,ann,2026-01-01,,,,,\n")
    (project / "data/annotations/x.csv").write_text(BOXES + "3.jpg,1,2,3,4\n4.jpg,1,2,3,4\n")
    whole = plan.load(project)
    for step, shard in whole.jobs:
        receipt = project / whole.receipt(step, shard)
        receipt.parent.mkdir(exist_ok=True)
        receipt.touch()
        receipt.with_name(f"{shard}.{'0' * 16}.json").touch()  # another one, of a run that was killed
    for (step, shard), job in whole.jobs.items():
        alone = plan.job(project, step, shard, job.key)
        assert (alone.parts, alone.inputs, alone.folder) == (job.parts, job.inputs, job.folder)
        assert alone.owns_folder is (step in ("weights", "checksum"))
    assert [d.image_id for d in plan.job(project, "merge", "one-00001", whole.keys()["merge", "one-00001"]).decisions]


def test_a_job_whose_input_is_of_another_plan_is_not_wanted(project: Path) -> None:
    whole = plan.load(project)
    with pytest.raises(BlurlineError, match="blur one-00000: inputs changed during the run"):
        plan.job(project, "blur", "one-00000", whole.keys()["blur", "one-00000"])
    for step, shard in (("merge", "one-00000"), ("download", "one-00000")):
        receipt = project / whole.receipt(step, shard)
        receipt.parent.mkdir(exist_ok=True)
        receipt.touch()
    job = plan.job(project, "blur", "one-00000", whole.keys()["blur", "one-00000"])
    job.confirm()
    receipt = project / whole.receipt("merge", "one-00000")
    receipt.rename(receipt.with_name(f"one-00000.{'0' * 16}.json"))
    with pytest.raises(BlurlineError, match="inputs changed while the job ran: run again"):
        job.confirm()


def test_jobs_with_blank_lines_and_decisions_by_hash_alone(project: Path) -> None:
    """A pinned source with a blank line at its end, unpinned rows elsewhere, a decision that may mean any of them."""
    manifest = project / "data/sources/one.csv"
    manifest.write_text(manifest.read_text() + "\n\n")
    (project / "data/sources/two.csv").write_text("image_id,url\nfree.jpg,x\n")
    (project / "data/sources/old.csv").write_text("image_id,url\ngone.jpg,x\n")
    (project / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"sources": ["one", "two"]}))
    line = "{},%s,erase,ann,2026-01-01,,,,,\n" % ("f" * 64)
    (project / "data/review/ann.csv").write_text(REVIEW + line.format("gone.jpg"))
    whole = plan.load(project)
    assert "decisions by hash alone" in whole.jobs["merge", "two-00000"].parts["rows"]
    for step, shard in whole.jobs:
        receipt = project / whole.receipt(step, shard)
        receipt.parent.mkdir(exist_ok=True)
        receipt.touch()
    for (step, shard), job in whole.jobs.items():
        alone = plan.job(project, step, shard, job.key)
        assert alone.parts == job.parts
        told = [d.image_id for d in alone.decisions]
        assert told == (["gone.jpg"] if (step, shard) == ("merge", "two-00000") else [])
    # One of no manifest at all must meet an image: checksum, which knows all hashes, has to look.
    (project / "data/review/ann.csv").write_text(REVIEW + line.format("gone.jpgg"))
    assert [d.image_id for d in plan.load(project).jobs["checksum", "_step"].decisions] == ["gone.jpgg"]


def test_a_column_of_any_name_is_carried_through(project: Path) -> None:
    path = project / "data/sources/one.csv"
    path.write_text(path.read_text().replace("class", "row", 1))
    (project / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"release": {"public_columns": ["row"]}}))
    plan.load(project)
