"""blurline import: folders and archives become rows that plan and download take, and nothing is half imported."""

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml
from PIL import Image

from blurline import plan, tables
from blurline.errors import BlurlineError
from blurline.importing import layout
from blurline.importing.run import Options, run
from blurline.steps import download
from tests.test_archives import deflated, stored, tar, tgz

PARAMS = f"""\
# Kept as it is.
dataset: {{name: test}}
sources: []   # files in data/sources
shard_size: 4
detect: {{weights: centerface, sha256: {"a" * 64}}}
"""


def picture(shade: int, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade % 256, shade // 256, 0)).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "data/sources").mkdir(parents=True)
    (root / "data/review").mkdir()
    (root / "params.yaml").write_text(PARAMS)
    return root


def imported(project: Path, *paths: Path, source: str | None = None, prefix: str = "") -> str:
    return run(project, paths, Options(source, prefix), lambda done, of: None)


def refused(project: Path, *paths: Path, source: str | None = None, prefix: str = "") -> str:
    """The line that an import is refused with; nothing is written."""
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(BlurlineError) as caught:
        imported(project, *paths, source=source, prefix=prefix)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def rows(project: Path, name: str) -> pl.DataFrame:
    return pl.read_csv(project / f"data/sources/{name}.csv", infer_schema=False).fill_null("")


def downloaded(project: Path) -> dict[str, tuple[str, str]]:
    """image_id → (status, reason), after fetching every row."""
    found: dict[str, tuple[str, str]] = {}
    for (step, shard), job in plan.load(project).jobs.items():
        if step == "download" and shard != "_step":
            job.threads = 4
            download.run(job)
            table = tables.read(project / f"data/raw/{shard}.parquet", tables.RAW)
            found |= {image: (status, reason) for image, status, reason in table["image_id", "status", "reason"].rows()}
    return found


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


CATS = {f"train/cat/{n}.jpg": picture(n) for n in range(3)}
DOGS = {f"train/dog/{n}.png": picture(10 + n, "PNG") for n in range(3)}
VAL = {f"val/cat/{n}.jpg": picture(20 + n) for n in range(2)}
FOLDERS = CATS | DOGS | VAL


def test_a_folder_of_images(project: Path, tmp_path: Path) -> None:
    files = {
        "b/two.jpg": picture(2),
        "a.jpeg": picture(1),
        "b/no extension": picture(3, "PNG"),
        "copy.jpg": picture(1),
        "liar.txt": picture(4, "GIF"),
        "notes.txt": b"BMW is no bitmap",
        "more.txt": b"",
        "README": b"read me",
        ".hidden.jpg": b"x",
        ".git/config": b"x",
        "__MACOSX/._a.jpg": b"x",
    }
    folder = tree(tmp_path / "My Photos%", files)
    message = imported(project, folder)
    assert message.splitlines() == [
        "my-photos: 5 rows added to data/sources/my-photos.csv (1 exact copy of another image)",
        "  not imported, as no images: 2 .txt, 3 hidden, 1 without extension",
        "  params.yaml: my-photos is listed under sources now",
        "  next: look at the manifest, then `uv run snakemake --cores all`",
    ]
    table = rows(project, "my-photos")
    order = ["a.jpeg", "copy.jpg", "liar.txt", "b/no extension", "b/two.jpg"]
    assert table.columns == ["image_id", "url", "sha256"]
    assert table["image_id"].to_list() == order
    assert table["sha256"].to_list() == [sha(files[name]) for name in order]
    assert table["url"][3] == (folder / "b/no extension").as_uri()
    assert (project / "params.yaml").read_text() == PARAMS.replace("[]", "[my-photos]")
    assert set(downloaded(project).values()) == {("ok", "")}


def test_paths_inside_the_project_are_relative(project: Path) -> None:
    folder = tree(project / "data/sources/in 100%", {"a b.jpg": picture(1), "in.zip": stored({"c:d%.jpg": picture(2)})})
    imported(project, folder, source="one")
    assert rows(project, "one")["url"].to_list() == ["in 100%/a b.jpg", "zip://c%3Ad%25.jpg::in 100%/in.zip"]
    imported(project, Path(os.path.relpath(folder / "a b.jpg")), source="two", prefix="x/")
    assert rows(project, "two")["url"].to_list() == ["in 100%/a b.jpg"]
    assert set(downloaded(project).values()) == {("ok", "")}


PACKED: dict[str, Callable[[dict[str, bytes]], bytes]] = {"x.tar": tar, "x.tgz": tgz, "x.zip": deflated, "x": tar}


@pytest.mark.parametrize("kind", ["folder", *PACKED])
@pytest.mark.parametrize("wrapper", ["", "set 1/", "./"])
def test_imagefolder_trees(project: Path, tmp_path: Path, kind: str, wrapper: str) -> None:
    if kind == "folder":
        path = tree(tmp_path / "x", {wrapper + name: data for name, data in FOLDERS.items()})
    else:
        path = tmp_path / kind
        path.write_bytes(PACKED[kind]({wrapper + name: data for name, data in FOLDERS.items()}))
    imported(project, path)
    table = rows(project, "x")
    assert table.columns == ["image_id", "url", "sha256", "split", "class"]
    for image, _, sha256, split, kind_ in table.rows():
        name = image.removeprefix(wrapper)
        assert (sha256, f"{split}/{kind_}") == (sha(FOLDERS[name]), name.rpartition("/")[0])
    assert table.height == len(FOLDERS)
    assert set(downloaded(project).values()) == {("ok", "")}


@pytest.mark.parametrize(
    ("paths", "splits", "classes"),
    [
        (["a.jpg", "b.jpg"], "--", "--"),
        (["cat/a.jpg", "dog/b.jpg"], "--", "cat dog"),
        (["cat/a.jpg", "b.jpg"], "--", "--"),
        (["cat/a.jpg", "dog/old/b.jpg"], "--", "--"),
        (["x/cat/a.jpg", "x/dog/b.jpg"], "--", "cat dog"),
        (["x/y/cat/a.jpg", "x/y/dog/b.jpg"], "--", "cat dog"),
        (["Train/a.jpg", "test/b.jpg"], "Train test", "--"),
        (["train/cat/a.jpg", "test/b.jpg"], "train test", "cat -"),
        (["x/train/cat/a.jpg", "x/val/dog/b.jpg"], "train val", "cat dog"),
        (["train/a.jpg", "car/b.jpg"], "--", "train car"),
        (["train/train/a.jpg", "validation/val/b.jpg"], "train validation", "train val"),
        (["dog/a.jpg", "dog/b.jpg"], "--", "dog dog"),
    ],
)
def test_what_folders_say(paths: list[str], splits: str, classes: str) -> None:
    def wanted(text: str) -> list[str]:
        return ["", ""] if text == "--" else [part.strip("-") for part in text.split()]

    told = layout.columns(pl.Series(paths))
    assert told["split"].to_list() == wanted(splits)
    assert told["class"].to_list() == wanted(classes)


def test_no_paths_say_nothing() -> None:
    assert layout.columns(pl.Series([], dtype=pl.String)).height == 0


def by_class(pack: Callable[[dict[str, bytes]], bytes]) -> dict[str, bytes]:
    """As ImageNet ships: a tar file for each class."""
    return {f"n0{c}.tar": pack({f"n0{c}_{n}.JPEG": picture(10 * c + n) for n in range(3)}) for c in (1, 2)}


@pytest.mark.parametrize("outer", ["tar", "tgz", "folder"])
@pytest.mark.parametrize("inner", [tar, tgz])
def test_a_tar_of_tars_has_a_class_each(
    project: Path, tmp_path: Path, outer: str, inner: Callable[[dict[str, bytes]], bytes]
) -> None:
    packed = by_class(inner)
    path = tmp_path / "train.tar"
    if outer == "folder":
        tree(path, packed)
    else:
        path.write_bytes({"tar": tar, "tgz": tgz}[outer](packed))
    imported(project, path)
    table = rows(project, "train")
    assert table["image_id"].to_list() == [f"n0{c}/n0{c}_{n}.JPEG" for c in (1, 2) for n in range(3)]
    assert table["class"].to_list() == ["n01"] * 3 + ["n02"] * 3
    assert table["sha256"].to_list() == [sha(picture(10 * c + n)) for c in (1, 2) for n in range(3)]
    if outer != "folder":
        assert table["url"][4] == f"tar://n02_1.JPEG::tar://n02.tar::{path.as_uri()}"
    assert set(downloaded(project).values()) == {("ok", "")}


@pytest.mark.parametrize("with_class", [True, False])
def test_webdataset_shards(project: Path, tmp_path: Path, with_class: bool) -> None:
    import webdataset

    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(2):
        with webdataset.TarWriter(str(folder / f"train-{shard:05}.tar")) as out:
            for n in range(3):
                sample = {"__key__": f"{shard}{n:03}", "jpg": picture(10 * shard + n), "json": {"n": n}}
                out.write(sample | ({"cls": n % 2} if with_class else {"txt": "a caption"}))
    message = imported(project, folder)
    table = rows(project, "shards")
    assert table["image_id"].to_list() == [f"train-{s:05}/{s}{n:03}.jpg" for s in range(2) for n in range(3)]
    assert ("class" in table.columns) is with_class
    if with_class:
        assert table["class"].to_list() == ["0", "1", "0"] * 2
    assert f"not imported, as no images: 6 .json{'' if with_class else ', 6 .txt'}" in message
    # Given one by one, the names are those inside.
    imported(project, *sorted(folder.iterdir()), source="two")
    assert rows(project, "two")["image_id"].to_list() == [f"{s}{n:03}.jpg" for s in range(2) for n in range(3)]
    assert set(downloaded(project).values()) == {("ok", "")}


def test_sidecars_before_their_image_make_a_sample_too(project: Path, tmp_path: Path) -> None:
    shards = {f"{n}.tar": tar({f"{n}.json": b"{}", f"{n}.png": picture(n, "PNG")}) for n in range(2)}
    imported(project, tree(tmp_path / "x", shards))
    assert rows(project, "x").columns == ["image_id", "url", "sha256"]


def test_again_changes_nothing_and_new_images_go_to_the_end(project: Path, tmp_path: Path) -> None:
    folder = tree(tmp_path / "mine", {"b.jpg": picture(1), "d.jpg": picture(2)})
    imported(project, folder)
    path = project / "data/sources/mine.csv"
    before = path.read_bytes()
    shards = plan.load(project).jobs["download", "mine-00000"].key
    params = (project / "params.yaml").read_bytes()
    assert imported(project, folder).splitlines() == [
        "mine: 0 rows added to data/sources/mine.csv; 2 were there already",
        "  next: look at the manifest, then `uv run snakemake --cores all`",
    ]
    assert (path.read_bytes(), (project / "params.yaml").read_bytes()) == (before, params)
    tree(folder, {"a.jpg": picture(3), "c.jpg": picture(1)})
    message = imported(project, folder)
    assert "2 rows added to data/sources/mine.csv (1 exact copy of another image); 2 were there already" in message
    assert path.read_bytes().startswith(before)
    assert rows(project, "mine")["image_id"].to_list() == ["b.jpg", "d.jpg", "a.jpg", "c.jpg"]
    imported(project, tree(tmp_path / "more", {"e.jpg": picture(5)}), source="mine")
    assert rows(project, "mine")["image_id"].to_list()[-1] == "e.jpg"
    assert plan.load(project).jobs["download", "mine-00000"].key != shards  # its last row is new
    assert len(plan.load(project).shards) == 2


def test_a_moved_archive_keeps_its_rows(project: Path, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar({"a.jpg": picture(1)}))
    imported(project, tmp_path / "x.tar")
    before = rows(project, "x")
    (tmp_path / "x.tar").rename(tmp_path / "y.tar")
    imported(project, tmp_path / "y.tar", source="x")
    assert rows(project, "x").equals(before)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_columns_of_a_manifest_that_is_there(project: Path, tmp_path: Path, line_end: str, start: bytes) -> None:
    path = project / "data/sources/mine.csv"
    text = line_end.join(["photographer,url,image_id,sha256", f'"Ann, B",x/o.jpg,o.jpg,{"AB" * 32}', "", ""])
    path.write_bytes(start + text.encode())
    imported(project, tree(tmp_path / "flat", {"a.jpg": picture(1)}), source="mine")
    assert path.read_bytes().startswith(start + text.encode().rstrip())
    assert path.read_bytes().endswith(
        f",{(tmp_path / 'flat/a.jpg').as_uri()},a.jpg,{sha(picture(1))}{line_end}".encode()
    )
    imported(project, tree(tmp_path / "tree", {"cat/b.jpg": picture(2), "dog/c.jpg": picture(3)}), source="mine")
    table = rows(project, "mine")
    assert table.columns == ["photographer", "url", "image_id", "sha256", "class"]
    assert table["class"].to_list() == ["", "", "cat", "dog"]
    assert table["photographer"].to_list() == ["Ann, B", "", "", ""]
    assert '""' not in path.read_text()
    assert len(plan.load(project).shards) == 1


def test_links_on_disk(project: Path, tmp_path: Path) -> None:
    folder = tree(tmp_path / "mine", {"blobs/a.jpg": picture(1)})
    (folder / "b.jpg").symlink_to("blobs/a.jpg")
    (folder / "round").symlink_to(".")
    os.mkfifo(folder / "pipe.jpg")
    assert "not imported, as no images: 1 linked folder, 1 special file" in imported(project, folder)
    assert rows(project, "mine")["image_id"].to_list() == ["b.jpg", "blobs/a.jpg"]


def test_what_archives_hold_besides_images(project: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        for name, kind in {"a.jpg": tarfile.SYMTYPE, "b.jpg": tarfile.LNKTYPE, "c": tarfile.FIFOTYPE}.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "real.jpg"
            out.addfile(info)
        for name, data in {
            "real.jpg": picture(1),
            "a/.b.jpg": b"",
            "__MACOSX/._in.tar": b"no tar",
            "x.txt": b"",
            "GIF": picture(2, "GIF"),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    (tmp_path / "x.tar").write_bytes(stream.getvalue())
    message = imported(project, tmp_path / "x.tar")
    assert "not imported, as no images: 1 .txt, 2 hidden, 2 links, 1 special file" in message
    assert rows(project, "x")["image_id"].to_list() == ["real.jpg", "GIF"]


def with_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def locked_zip(name: str) -> bytes:
    data = bytearray(stored({name: picture(1)}))
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def twice() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        for n in range(2):
            info = tarfile.TarInfo("a.jpg")
            info.size = len(picture(n))
            out.addfile(info, io.BytesIO(picture(n)))
    return stream.getvalue()


def with_claim(data: bytes, size: int) -> bytes:
    """A zip file whose directory claims another size for its first member."""
    entry = data.index(b"PK\1\2")
    return data[: entry + 24] + size.to_bytes(4, "little") + data[entry + 28 :]


PLAIN = "(no leading or double /, no parts . or .., no backslashes): rename it, if need be in the unpacked archive; nothing was imported"
AGAIN = "get the archive again, or unpack what can be saved and import the folder; nothing was imported"
UNPACK = "unpack the archive and import the folder; nothing was imported"
ARCHIVES = [
    # bytes of x.tar, the whole line
    (tar({"../a.jpg": picture(1)}), f"x.tar: member 1 '../a.jpg': image_id '../a.jpg' would be no plain relative path {PLAIN}"),
    (tar({"/etc/a.jpg": picture(1)}), f"x.tar: member 1 '/etc/a.jpg': image_id '/etc/a.jpg' would be no plain relative path {PLAIN}"),
    (tar({"ok.jpg": picture(2), "a/../../b.jpg": picture(1)}), f"x.tar: member 2 'a/../../b.jpg': image_id 'a/../../b.jpg' would be no plain relative path {PLAIN}"),
    (stored({"a\\b.jpg": picture(1)}), rf"x.tar: member 1 'a\\b.jpg': image_id 'a\\b.jpg' would be no plain relative path {PLAIN}"),
    (tar({"../in.tar": tar({"a.jpg": picture(1)})}), f"x.tar: '../in.tar': member 1 'a.jpg': image_id '../in/a.jpg' would be no plain relative path {PLAIN}"),
    (tar({"\udcff.jpg": picture(1)}), "x.tar: member 1 '\ufffd.jpg': its name is no UTF-8: rename it; nothing was imported"),
    (tar({" a.jpg": picture(1)}), "x.tar: member 1 ' a.jpg': image_id ' a.jpg' begins or ends with a space: take it away"),
    (tar({"a.jpg": picture(1), "a.png": picture(2)}), "x.tar: member 2 'a.png': image_id 'a.png' and 'a.jpg' (x.tar: member 1 'a.jpg') would be one sample 'a' of a shard: rename one of them"),
    (tar({"a.jpg": picture(1), "./a.jpg": picture(2)}), "x.tar: member 2 './a.jpg': would have the image_id of x.tar: member 1 'a.jpg', 'a.jpg': rename one of them; nothing was imported"),
    (twice(), "x.tar: member 2 'a.jpg': would have the image_id of x.tar: member 1 'a.jpg', 'a.jpg': pack the archive anew, with one name for each; nothing was imported"),
    (tar({"a.jpg": picture(1)})[:1400], f"x.tar: archive damaged or truncated: {AGAIN}"),
    (tgz({"a.jpg": picture(1)})[:-9], f"x.tar: archive damaged or truncated: {AGAIN}"),
    (tar({"a.jpg": picture(1)}) * 2, f"x.tar: archive has data after its end: {AGAIN}"),
    (tar({"in.tar": tar({"b.tar": b"no archive"})}), f"x.tar: 'in.tar': 'b.tar': archive damaged or truncated: {AGAIN}"),
    (tgz({"in.zip": stored({"a.jpg": picture(1)})}), f"x.tar: member 1 'in.zip': zip inside a compressed archive: {UNPACK}"),
    (tar({"1.tar": tar({"2.tar": tar({"3.tar": tar({})})})}), f"x.tar: '1.tar': '2.tar': member 1 '3.tar': archives nested too deeply: {UNPACK}"),
    (locked_zip("a.jpg"), f"x.tar: member 1 'a.jpg': member is encrypted: {UNPACK}"),
    (stored({"a.jpg": b"a" * 99}, zipfile.ZIP_BZIP2), f"x.tar: member 1 'a.jpg': compression method not supported: {UNPACK}"),
    (stored({"a.jpg": picture(1)}).replace(picture(1), picture(2)), f"x.tar: member 1 'a.jpg': archive damaged or truncated: {UNPACK}"),
    (with_claim(deflated({"a.jpg": picture(1)}), 10_000), f"x.tar: member 1 'a.jpg': archive damaged or truncated: {UNPACK}"),
    (with_claim(deflated({"a.jpg": picture(1)}), 100), f"x.tar: member 1 'a.jpg': archive damaged or truncated: {UNPACK}"),
    (tar({"a.txt": b"", "b.cls": b""}), "x.tar: no image found (1 .txt): name what holds images"),
    (tar({"a.jpg": picture(1), "a.cls": b"\xff\xff"}), "x.tar: member 2 'a.cls': is no line of text that names a class: mend it; nothing was imported"),
    (tar({"a.jpg": picture(1), "a.cls": b"a\nb"}), "x.tar: member 2 'a.cls': is no line of text that names a class: mend it; nothing was imported"),
    (tar({"a.jpg": picture(1), "a.cls": b"a" * 2000}), "x.tar: member 2 'a.cls': is no line of text that names a class: mend it; nothing was imported"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "line"), ARCHIVES, ids=[line[:50] for _, line in ARCHIVES])
def test_archives_that_are_refused(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.tar").write_bytes(data)
    assert refused(project, Path("x.tar"), source="one") == line


Make = Callable[[Path, Path], list[Path]]


def dangling(folder: Path) -> Path:
    (folder / "b.jpg").symlink_to("gone")
    return folder


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


REFUSED: list[tuple[str, Make, dict[str, str], str]] = [
    ("no such path", lambda here, root: [here / "gone"], {}, "{here}/gone: not found: name a folder, an archive or an image"),
    ("a pipe", lambda here, root: [pipe(here / "pipe")], {}, "{here}/pipe: neither a folder nor a regular file: name a folder, an archive or an image"),
    ("an empty folder", lambda here, root: [tree(here / "x", {"a.txt": b""})], {}, "{here}/x: no image found (1 .txt): name what holds images"),
    ("no image", lambda here, root: [with_bytes(here / "a.pdf", b"")], {}, "{here}/a.pdf: no image found (1 .pdf): name what holds images"),
    ("several paths, no name", lambda here, root: [here, here], {}, "several paths make one source: name it with --source"),
    ("a bad name", lambda here, root: [here], {"source": "A b"}, "--source A b: want a-z, 0-9, - and _, beginning with a letter or digit"),
    ("the name of another file", lambda here, root: [tree(here / "x", {"a.jpg": b"x"})], {"source": "retries"}, "data/sources/retries.csv is no manifest: give the source another name with --source"),
    ("a folder of that name", lambda here, root: [tree(here / "Retries", {"a.jpg": b"x"})], {}, "data/sources/retries.csv is no manifest: give the source another name with --source"),
    ("a path without a name", lambda here, root: [tree(here / "_%_", {"a.jpg": b"x"})], {}, "{here}/_%_: its name makes no name for a source: name it with --source"),
    ("a broken link", lambda here, root: [dangling(tree(here / "x", {"a.jpg": b"x"}))], {}, "{here}/x/b.jpg: cannot be read (No such file or directory): mend it or move it away; nothing was imported"),
    ("one id from two paths", lambda here, root: [tree(here / "x", {"a.jpg": b"x"}), tree(here / "y", {"a.jpg": b"y"})], {"source": "z"}, "{here}/y/a.jpg: would have the image_id of {here}/x/a.jpg, 'a.jpg': import one path at a time, each with a --prefix of its own; nothing was imported"),
    ("other bytes", lambda here, root: [tree(here / "x", {"c.jpg": b"x"})], {"source": "old"}, "data/sources/old.csv:3: image_id 'c.jpg' has other bytes in {here}/x/c.jpg: a row stands for one image for ever: import the new one with a --prefix, and leave the old one out by a decision"),
    ("not pinned, elsewhere", lambda here, root: [tree(here / "x", {"u.jpg": b"x"})], {"source": "old"}, "data/sources/old.csv:4: image_id 'u.jpg' is not pinned, so nobody knows whether {here}/x/u.jpg is the same image: run `blurline pin` first, or import with a --prefix"),
    ("an id of another source", lambda here, root: [tree(here / "x", {"c.jpg": b"x"})], {"source": "new"}, "data/sources/old.csv:3: image_id 'c.jpg' is also that of {here}/x/c.jpg: an id names one image in all: import with a --prefix"),
    ("a bad prefix", lambda here, root: [tree(here / "x", {"a.jpg": b"x"})], {"prefix": "../"}, f"{{here}}/x/a.jpg: image_id '../a.jpg' would be no plain relative path {PLAIN}"),
    ("one sample with a row that is there", lambda here, root: [tree(here / "x", {"c.png": b"x"})], {"source": "old"}, "{here}/x/c.png: image_id 'c.png' and 'c.jpg' (data/sources/old.csv:3) would be one sample 'c' of a shard: rename one of them"),
    ("a broken manifest", lambda here, root: [with_bytes(root / "data/sources/x.csv", b"image_id\na\n"), tree(here / "x", {"a.jpg": b"x"})][1:], {}, "data/sources/x.csv:1: column url is missing: add it (there are: image_id)"),
    ("a backslash", lambda here, root: [tree(here / "x", {"a\\b.jpg": b"x"})], {}, rf"{{here}}/x/a\b.jpg: image_id 'a\\b.jpg' would be no plain relative path {PLAIN}"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "options", "line"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_imports_that_are_refused(
    project: Path, tmp_path: Path, make: Make, options: dict[str, str], line: str
) -> None:
    (project / "params.yaml").write_text(PARAMS.replace("[]", "[old]"))
    (project / "data/sources/old.csv").write_text(
        f"image_id,url,sha256\nb.jpg,x/b.jpg,{'b' * 64}\nc.jpg,x/c.jpg,{'c' * 64}\nu.jpg,x/u.jpg,\n"
    )
    here = tmp_path / "here"
    here.mkdir()
    assert refused(project, *make(here, project), **options) == line.format(here=here)


def test_nothing_is_written_when_params_could_not_be_read_afterwards(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blurline.importing.run.edit", lambda text, values: text.replace("sources: []", "sources: 1"))
    assert "sources" in refused(project, tree(tmp_path / "x", {"a.jpg": picture(1)}))


def test_a_file_url_of_another_host_is_refused(project: Path, tmp_path: Path) -> None:
    folder = tree(tmp_path / "x", {"a.jpg": picture(1)})
    with pytest.raises(BlurlineError, match=r"^file://other/.*: names another host: "):
        run(project, [f"file://other{folder}"], Options(), lambda done, of: None)
    run(project, [f"file://localhost{folder}"], Options(), lambda done, of: None)
    assert rows(project, "x").height == 1


@pytest.mark.skipif(sys.platform != "linux", reason="a file that opens and cannot be read, for root as well")
@pytest.mark.parametrize("name", ["b.jpg", "unknown", "x.tar"])
def test_unreadable_files_stop_the_import(project: Path, tmp_path: Path, name: str) -> None:
    folder = tree(tmp_path / "x", {"a.jpg": b"x"})
    (folder / name).symlink_to("/proc/self/mem")
    line = refused(project, folder)
    assert line.startswith(f"{folder}/{name}: ")
    assert line.endswith("; nothing was imported")


def test_an_unpinned_row_of_the_same_file_stays(project: Path, tmp_path: Path) -> None:
    folder = tree(tmp_path / "mine", {"a.jpg": picture(1), "b.jpg": picture(2)})
    path = project / "data/sources/mine.csv"
    path.write_text(f"image_id,url\na.jpg,{(folder / 'a.jpg').as_uri()}\n")
    assert "1 row added to data/sources/mine.csv; 1 were there already" in imported(project, folder)
    assert rows(project, "mine")["sha256"].to_list() == ["", sha(picture(2))]


def test_the_first_step_of_a_new_project(project: Path, tmp_path: Path) -> None:
    """The command itself, in a project without any source, quiet where nobody looks."""
    with pytest.raises(BlurlineError) as caught:
        plan.load(project)
    assert str(caught.value) == (
        "params.yaml:3: sources: no source is listed: `blurline import PATH…` writes a manifest and lists it"
    )
    folder = tree(tmp_path / "mine", {"a.jpg": picture(1)})
    blurline = str(Path(sys.executable).parent / "blurline")
    done = subprocess.run([blurline, "import", str(folder)], cwd=project, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mine: 1 row added to data/sources/mine.csv\n")
    assert yaml.safe_load((project / "params.yaml").read_text())["sources"] == ["mine"]
    done = subprocess.run(
        [blurline, "import", "gone", "--source", "mine"], cwd=project, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: gone: not found: name a folder, an archive or an image\n"


def test_progress_ends_at_its_end(project: Path, tmp_path: Path) -> None:
    folder = tree(tmp_path / "x", {"a.jpg": picture(1), **{f"{n}.tar": tar(FOLDERS) for n in range(2)}})
    (folder / "x.tgz").write_bytes(gzip.compress(tar(FOLDERS)))
    seen: list[tuple[int, int]] = []
    run(project, [folder], Options(), lambda done, of: seen.append((done, of)))
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert seen[-1] == (size, size)
    assert {of for _, of in seen} == {size}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_many_files_stay_in_order(project: Path, tmp_path: Path) -> None:
    files = {f"{n:04}.jpg": picture(n) for n in range(1000)}
    tree(tmp_path / "x", files)
    imported(project, tmp_path / "x")
    table = rows(project, "x")
    assert dict(table.select("image_id", "sha256").rows()) == {name: sha(data) for name, data in files.items()}
    assert table["image_id"].is_sorted()
