"""The download step with a server that misbehaves: what the tables, tars and logs hold, and what they never hold."""

import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from blurline import plan, tars
from blurline.fetch import bodies
from blurline.receipts import files
from blurline.steps import download
from tests.fetch.server import DATA, Running, running
from tests.workflow.project import small_images

SHARD = "one-00000"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data/sources").mkdir(parents=True)
    (tmp_path / "data/review").mkdir()
    small_images(tmp_path / "data/sources/images")
    settings = {"allow_private_hosts": True, "backoff": 0.01, "timeout": 20.0, "retries": 2}
    params = {
        "dataset": {"name": "t"},
        "sources": ["one"],
        "download": settings,
        "detect": {"weights": "centerface", "sha256": "a" * 64},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    return tmp_path


def run(project: Path, rows: dict[str, str], pins: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Download these rows (image_id → url): image_id → row of the raw table."""
    lines = [f"{image},{url},{(pins or {}).get(image, '')}\n" for image, url in rows.items()]
    (project / "data/sources/one.csv").write_text("image_id,url,sha256\n" + "".join(lines))
    download.run(plan.load(project).jobs["download", SHARD])
    table = pl.read_parquet(project / f"data/raw/{SHARD}.parquet")
    assert table["image_id"].to_list() == list(rows)
    return {row["image_id"]: row for row in table.iter_rows(named=True)}


def raw(project: Path) -> dict[str, bytes]:
    return {name: (project / "data/raw" / name).read_bytes() for name in files(project / "data/raw")}


def test_what_rows_tell_of_their_way(project: Path, server: Running) -> None:
    rows = run(
        project,
        {
            "local.jpg": "images/cat.jpg",
            "text.jpg": server.url("/good"),
            "moved.jpg": server.url("/moved?to=/good?token=secret"),
            "flaky.jpg": server.url("/flaky?code=503&times=1"),
            "wrong.jpg": server.url("/moved?to=/good&n=2"),
            "gone.jpg": server.url("/moved?to=/gone?token=secret"),
            "busy.jpg": server.url("/status?code=500"),
            "out.jpg": server.url("/robots?say=noai"),
            "nowhere.jpg": "http://nowhere.invalid/x.jpg",
            "html.jpg": server.url("/good?type=text/html"),
        },
        {"wrong.jpg": "a" * 64},
    )
    told = {
        name: tuple(row[c] for c in ("status", "reason", "http_status", "final_url", "attempts"))
        for name, row in rows.items()
    }
    good, gone = server.url("/good"), server.url("/gone")
    assert told == {
        "local.jpg": ("ok", "", None, None, None),
        "text.jpg": ("quarantined", "not an image", 200, None, None),
        "moved.jpg": ("quarantined", "not an image", 200, good, None),
        "flaky.jpg": ("quarantined", "not an image", 200, None, None),
        "wrong.jpg": ("failed", "wrong sha256", 200, good, None),
        "gone.jpg": ("failed", "http 404", 404, gone, 1),
        "busy.jpg": ("failed", "http 500", 500, None, 3),
        "out.jpg": ("failed", "opt-out", 200, None, 1),
        "nowhere.jpg": ("failed", "dns", None, None, 1),
        "html.jpg": ("failed", "not an image", 200, None, 1),
    }
    assert rows["wrong.jpg"]["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert rows["html.jpg"]["sha256"] is None
    aside = dict(tars.read(project / f"data/raw/{SHARD}.quarantine.tar"))
    assert aside == dict.fromkeys(("text.jpg", "moved.jpg", "flaky.jpg"), DATA)
    assert [name for name, _ in tars.read(project / f"data/raw/{SHARD}.tar")] == ["local.jpg"]
    assert files(project / "data/.tmp") == ["raw.one-00000.lock"]


def test_a_hard_way_leaves_the_same_bytes_as_an_easy_one(project: Path, server: Running) -> None:
    """Transient errors and resumed transfers are no part of the shard: the server behaves the second time."""
    rows = {
        "a.jpg": server.url("/flaky?code=500&times=2"),
        "b.jpg": server.url("/ranges"),
        "c.jpg": server.url("/truncated?times=1"),
        "d.jpg": server.url("/moved?to=/flaky?code=429%26times=1"),
        "e.jpg": "images/face.jpg",
        "f.jpg": server.url("/gone"),
    }
    first = run(project, rows)
    assert [row["status"] for row in first.values()] == [*["quarantined"] * 4, "ok", "failed"]
    asked = server.seen.count
    one = raw(project)
    run(project, rows)
    assert raw(project) == one
    assert server.seen.count - asked < asked


def test_secrets_stay_in_the_url_column(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running() as server:
        places = [
            "/flaky?code=500&times=1",
            "/status?code=500",
            "/gone",
            "/moved?to=/good?sig=s3cret",
            "/good",
            "/reset",
        ]
        rows = {
            f"{n}.jpg": f"http://me:s3cret@127.0.0.1:{server.port}{place}&token=s3cret".replace("good&", "good?")
            for n, place in enumerate(places)
        }
        rows["bad.jpg"] = "http://me:s3cret@[::1/x?token=s3cret"
        run(project, rows)
    output = "".join(capfd.readouterr())
    assert "0.jpg: arrived after http 500" in output
    assert f"{SHARD}: 3 quarantined: not an image" in output
    assert "s3cret" not in output
    table = pl.read_parquet(project / f"data/raw/{SHARD}.parquet")
    assert table["url"].to_list() == list(rows.values())  # the manifest's, which is as private
    assert "s3cret" not in table.drop("url").write_csv()
    for name, data in raw(project).items():
        if name.endswith(".json"):
            assert b"s3cret" not in data


@pytest.mark.parametrize("image", [True, False])
def test_memory_does_not_grow_with_the_shard(project: Path, image: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 rows of 800 kB, good or for the quarantine, in much less than 160 MB: some rows wait, none is kept.

    What waits is twice in memory while it is passed to the process that decodes it.
    """
    large = project / "data/sources/large"
    photograph = (project / "data/sources/images/cat.jpg").read_bytes() if image else b""
    large.write_bytes(photograph + b"\0" * 800_000)
    monkeypatch.setattr(bodies, "MEMORY", 8_000_000)
    tracemalloc.start()
    rows = run(project, {f"{n}.jpg": "large" for n in range(200)})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert {row["status"] for row in rows.values()} == {"ok" if image else "quarantined"}
    assert peak < 60_000_000
