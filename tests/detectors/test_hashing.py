import subprocess
from pathlib import Path

import pytest

from blurline.detectors.hashing import weights_digest
from blurline.errors import BlurlineError


def shell(command: str, folder: Path) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.split()[0]


def test_a_file_has_the_digest_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"weights")
    assert weights_digest(tmp_path / "a.pt") == shell("sha256sum a.pt", tmp_path)


def test_a_folder_has_the_digest_that_its_documentation_tells(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/x", "b.y", "B", "é"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "B")
    command = "export LC_ALL=C; find -L . -type f -printf '%P\\n' | sort | xargs -d '\\n' sha256sum | sha256sum"
    assert weights_digest(tmp_path) == shell(command, tmp_path)


def test_a_folder_changes_with_every_name_and_byte(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"1")
    before = weights_digest(tmp_path)
    file.write_bytes(b"2")
    changed = weights_digest(tmp_path)
    file.rename(tmp_path / "model.xml")
    assert len({before, changed, weights_digest(tmp_path)}) == 3


def test_what_is_no_weights(tmp_path: Path) -> None:
    with pytest.raises(BlurlineError, match="absent"):
        weights_digest(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BlurlineError, match="without weights"):
        weights_digest(tmp_path / "empty")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with pytest.raises(BlurlineError, match="symbolic link"):
        weights_digest(tmp_path)
