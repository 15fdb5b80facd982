"""Where images are decoded, and what detectors are shown: the steps as they run, on a project of one image."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from blurline import plan
from blurline.detectors import ensemble
from blurline.detectors.hashing import weights_digest
from blurline.detectors.yolo import Detection, Picture
from blurline.images import CannotRelease, isolated
from blurline.steps import blur, detect, download, merge
from tests.images.samples import photo, saved
from tests.test_steps import place

SHARD = "one-00000"
SEEN: list[np.ndarray] = []


class Fake:
    """A detector that finds nothing."""

    def __init__(self, *_: object, **settings: object) -> None: ...

    def detect(self, pictures: Iterable[Picture]) -> Iterator[list[Detection]]:
        for picture in pictures:
            assert isinstance(picture, Picture)
            SEEN.append(picture.pixels)
            yield []


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data/sources").mkdir(parents=True)
    (tmp_path / "data/review").mkdir()
    (tmp_path / "data/sources/one.csv").write_text("image_id,url\na.png,a.png\n")
    dots = Image.fromarray(photo()).convert("L").convert("1")
    (tmp_path / "data/sources/a.png").write_bytes(saved(dots, "PNG"))
    (tmp_path / "face.pt").write_bytes(b"weights")
    place(tmp_path, "face.pt", weights_digest(tmp_path / "face.pt"))
    monkeypatch.setattr(ensemble, "Detector", Fake)
    SEEN.clear()
    return tmp_path


def row(project: Path, folder: str) -> dict[str, object]:
    (found,) = pl.read_parquet(project / f"data/{folder}/{SHARD}.parquet").iter_rows(named=True)
    return found


def crash(*_: object) -> None:
    raise CannotRelease(isolated.CRASHED)


def test_what_arrives_is_decoded_apart(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated.Workers, "call", crash)
    download.run(plan.load(project).jobs["download", SHARD])
    found = row(project, "raw")
    assert (found["status"], found["reason"]) == ("quarantined", isolated.CRASHED)


def test_what_leaves_is_made_apart_and_detectors_see_greys(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = plan.load(project).jobs
    download.run(jobs["download", SHARD])
    detect.run(jobs["detect", SHARD])
    (seen,) = SEEN
    assert len(np.unique(seen)) > 50  # of a picture that has two colours
    merge.run(jobs["merge", SHARD])
    blur.run(jobs["blur", SHARD])
    assert row(project, "blurred")["action"] == "unchanged"
    monkeypatch.setattr(isolated.Worker, "call", crash)
    blur.run(jobs["blur", SHARD])
    found = row(project, "blurred")
    assert (found["action"], found["reason"]) == ("withheld", isolated.CRASHED)
