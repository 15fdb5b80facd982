"""Receipts: keys, equal bytes, and replacing files so that nothing is ever half there."""

import os
from pathlib import Path

import pytest

from blurline import receipts
from blurline.errors import BlurlineError
from blurline.receipts import Receipt

PARTS = {"step": "blur", "shard": "demo-00000", "algorithm_version": 1, "params": {"blur.margin": 0.1}, "inputs": {}}


def made(root: Path, files: dict[str, str]) -> tuple[Path, Receipt]:
    folder = root / "data/.tmp/job/made"
    folder.mkdir(parents=True, exist_ok=True)
    payload = {}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        payload[name] = {"sha256": receipts.file_digest(path), "bytes": path.stat().st_size}
    return folder, Receipt(PARTS, {}, payload)


def of_shard(name: str) -> bool:
    return receipts.owner(name) == "demo-00000"


def test_a_key_is_a_function_of_its_parts_alone() -> None:
    shuffled = dict(reversed(PARTS.items()))
    assert receipts.key_of(PARTS) == receipts.key_of(shuffled) == receipts.digest(PARTS)[:16]
    assert receipts.key_of(PARTS | {"algorithm_version": 2}) != receipts.key_of(PARTS)


def test_commit_replaces_the_shard_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "data/blurred"
    folder.mkdir(parents=True)
    for name in ("demo-00000.tar", "demo-00000.old.tar", "demo-00000.0123456789abcdef.json", "demo-00001.tar"):
        (folder / name).write_text("old")
    where, receipt = made(tmp_path, {"demo-00000.tar": "new"})
    receipts.commit(folder, where, receipt, of_shard, lambda: None)
    assert receipts.files(folder) == sorted(["demo-00000.tar", "demo-00001.tar", receipt.name])
    assert (folder / "demo-00000.tar").read_text() == "new"
    assert receipts.load(folder / receipt.name)[0] == receipt


def test_commit_never_writes_into_a_link(tmp_path: Path) -> None:
    """Outputs may be links into DVC's cache, whose files must never change."""
    folder = tmp_path / "data/blurred"
    folder.mkdir(parents=True)
    for kind, link in (("hard", os.link), ("symbolic", os.symlink)):
        cached = tmp_path / f"cached-{kind}"
        cached.write_text("cached")
        cached.chmod(0o444)
        link(cached, folder / "demo-00000.tar")
        where, receipt = made(tmp_path, {"demo-00000.tar": "new"})
        receipts.commit(folder, where, receipt, of_shard, lambda: None)
        assert cached.read_text() == "cached"
        assert not (folder / "demo-00000.tar").is_symlink()
        (folder / "demo-00000.tar").unlink()


def test_the_receipt_comes_last_and_the_old_one_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data/blurred"
    folder.mkdir(parents=True)
    (folder / "demo-00000.tar").write_text("old")
    (folder / "demo-00000.0123456789abcdef.json").write_text("old")
    where, receipt = made(tmp_path, {"demo-00000.tar": "new"})

    class Killed(Exception):
        pass

    replace = Path.replace

    for moment in ("demo-00000.tar", receipt.name):

        def killed(self: Path, target: Path, moment: str = moment) -> Path:
            if self.name == moment:
                raise Killed
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            receipts.commit(folder, where, receipt, of_shard, lambda: None)
        assert [name for name in receipts.files(folder) if receipts.parse_name(name)] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"blur.margin": 0.1', '"blur.margin": 0.2'),
        lambda text: text.replace('"bytes": 3', '"bytes": 4 '),
        lambda text: text[:-1],
        lambda text: text[: len(text) // 2],
        lambda text: "{}",
        lambda text: "[]",
    ],
)
def test_a_receipt_that_was_edited_is_refused(tmp_path: Path, change: object) -> None:
    _, receipt = made(tmp_path, {"demo-00000.tar": "new"})
    path = tmp_path / receipt.name
    path.write_text(change(receipt.text()))  # type: ignore[operator]
    with pytest.raises(BlurlineError, match="not a receipt as it was written"):
        receipts.load(path)


def test_scratch_folders_of_dead_jobs_are_swept(tmp_path: Path) -> None:
    import socket

    parent = tmp_path / receipts.SCRATCH
    dead = parent / f"{socket.gethostname()}+999999999+blur.demo-00000+x"
    elsewhere = parent / "another-host+1+blur.demo-00000+x"
    for folder in (dead, elsewhere):
        folder.mkdir(parents=True)
    with receipts.scratch(tmp_path, "detect.demo-00000") as mine, receipts.scratch(tmp_path, "blur.demo-00000"):
        assert mine.is_dir()
        assert not dead.exists()
        assert elsewhere.exists()
    assert not mine.exists()
