"""Tables and tars: equal content gives equal bytes."""

from pathlib import Path

import pytest

from blurline import tables, tars
from blurline.errors import BlurlineError


def test_tars_hold_no_time_and_no_user(tmp_path: Path) -> None:
    members = [("a/b.jpg", b"one"), ("ü" * 80 + "/c.png", b"two" * 1000), ("d.jpg", b"")]
    for name in ("one.tar", "two.tar"):
        with tars.Writer(tmp_path / name) as tar:
            for member, data in members:
                tar.add(member, data)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert list(tars.read(tmp_path / "one.tar")) == members
    import tarfile

    with tarfile.open(tmp_path / "one.tar") as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 0o644)


def test_tables_are_equal_bytes_and_checked(tmp_path: Path) -> None:
    row = dict.fromkeys(tables.BLURRED) | {"image_id": "a.jpg", "action": "failed", "regions": []}
    for name in ("one.parquet", "two.parquet"):
        tables.write(tmp_path / name, [row, row], tables.BLURRED)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert tables.read(tmp_path / "one.parquet", tables.BLURRED).height == 2
    with pytest.raises(BlurlineError, match="other columns than this version writes"):
        tables.read(tmp_path / "one.parquet", tables.RAW)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(BlurlineError, match="not a Parquet table"):
        tables.read(tmp_path / "bad.parquet", tables.RAW)
