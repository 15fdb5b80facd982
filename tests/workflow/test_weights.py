"""Other weights work by changing two lines of params.yaml."""

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
