"""Other weights work by changing two lines of params.yaml."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from blurline.detectors.hashing import weights_digest
from tests.detectors.conftest import face_model, openvino_model, torch_model  # noqa: F401 (fixtures)
from tests.workflow.project import Project


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        ("torch_model", {"face", "plate"}),
        pytest.param("openvino_model", {"face"}, marks=pytest.mark.slow),
    ],
)
def test_other_weights(project: Project, model: str, labels: set[str], request: pytest.FixtureRequest) -> None:
    weights: Path = request.getfixturevalue(model)
    mine = project.path / weights.name
    if weights.is_dir():
        shutil.copytree(weights, mine)
    else:
        shutil.copy(weights, mine)
    digest = project.run("blurline", "digest", weights.name).strip()
    assert digest == weights_digest(weights)
    project.set("detect.weights", weights.name)
    project.set("detect.sha256", digest)
    project.snakemake()
    project.run("blurline", "verify")
    found = pl.concat([pl.read_parquet(path) for path in sorted((project.path / "data/detections").glob("*.parquet"))])
    assert found["status"].to_list() == ["ok"] * 6
    boxes = found["faces"].explode().struct.unnest()
    assert set(boxes["label"].drop_nulls()) <= labels
    assert set(boxes["detector"].drop_nulls()) == {weights.stem}
    assert not [name for name in project.data() if "centerface.onnx" in name and weights.stem != "centerface"]


def test_two_detectors_side_by_side(project: Project, request: pytest.FixtureRequest) -> None:
    """Their boxes are marked by detector, united at merge, and each has its confidence without detecting again."""
    weights: Path = request.getfixturevalue("torch_model")
    shutil.copy(weights, project.path / weights.name)
    also = {"weights": weights.name, "sha256": weights_digest(weights), "classes": ["face"], "image_sizes": [128]}
    project.set("detect.also", [also])
    project.snakemake()
    project.run("blurline", "verify")
    tables = {
        step: pl.concat([pl.read_parquet(path) for path in sorted((project.path / f"data/{step}").glob("*.parquet"))])
        for step in ("detections", "merged")
    }
    boxes = tables["detections"]["faces"].explode().struct.unnest()
    assert set(boxes["detector"].drop_nulls()) == {"centerface", weights.stem}
    assert set(boxes["label"].drop_nulls()) == {"face"}
    merged = tables["merged"]["faces"].explode().struct.unnest()
    assert set(merged["detector"].drop_nulls()) <= {"centerface", weights.stem, f"centerface+{weights.stem}"}
    release = json.loads((project.path / "data/release/release.json").read_text())
    assert release["weights"]["sha256"].keys() == {"centerface", weights.stem}
    assert weights.name not in json.dumps(release["params"])
    project.set("detect.confidence_of", {weights.stem: 1.0})
    assert {receipt.split("/")[1] for receipt in project.planned()} == {"merged", "blurred", "recheck", "release"}
