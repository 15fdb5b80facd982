"""blurline import: lists of URLs, folders in object stores, and manifests that are Parquet files."""

import datetime
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blurline import pin, plan, sources
from blurline.errors import BlurlineError
from blurline.importing import lists, remote
from blurline.importing.run import Options, run
from blurline.steps import download
from tests.test_import import PARAMS, downloaded, picture, rows, sha, tree


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "data/sources").mkdir(parents=True)
    (root / "data/review").mkdir()
    (root / "params.yaml").write_text(PARAMS)
    return root


def imported(project: Path, path: Path | str, **options: Any) -> str:
    return run(project, [path], Options(**options), lambda done, of: None)


def refused(project: Path, *paths: Path | str, **options: Any) -> str:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with pytest.raises(BlurlineError) as caught:
        run(project, paths, Options(**options), lambda done, of: None)
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def text(folder: Path, lines: str, name: str = "urls.txt") -> Path:
    (folder / name).write_text(lines)
    return folder / name


def test_a_url_a_line(project: Path, tmp_path: Path) -> None:
    path = text(tmp_path, "# mine\nhttps://ex.org/a/b.jpg\n\n  http://ex.org/c.png?size=2 \nhttps://ex.org/a/b.jpg\n")
    assert imported(project, path).splitlines() == [
        "urls: 2 rows added to data/sources/urls.csv",
        "  left out, as urls that stood in the list before: 1",
        "  image_ids are published, and these tell the urls: --id-column or --opaque-ids gives others",
        "  2 rows without SHA-256, as nothing was fetched: after the first run, `uv run blurline pin` writes it down",
        "  params.yaml: urls is listed under sources now",
        "  next: look at the manifest, then `uv run snakemake --cores all`",
    ]
    assert (project / "data/sources/urls.csv").read_text() == (
        "image_id,url,sha256\nex.org/a/b.jpg,https://ex.org/a/b.jpg,\nex.org/c.png,http://ex.org/c.png?size=2,\n"
    )
    assert plan.load(project).shards == ("urls-00000",)


def test_again_adds_what_is_new_and_keeps_every_image_id(project: Path, tmp_path: Path) -> None:
    """Though the new ones would have the same names, or stand before the old ones."""
    imported(project, text(tmp_path, "https://ex.org/p?id=1\nhttps://ex.org/p?id=2\nhttps://ex.org/p.jpg\n"))
    before = (project / "data/sources/urls.csv").read_bytes()
    first, *others = rows(project, "urls")["image_id"].to_list()
    assert first == "ex.org/p"
    assert [sources.sample_key(one)[:9] for one in others] == ["ex.org/p-"] * 2
    assert len(set(others)) == 2
    assert others[1].endswith(".jpg")
    path = text(tmp_path, "https://EX.org/p\nhttps://ex.org/p?id=2\nhttps://ex.org/p?id=1\nhttps://ex.org/p.jpg\n")
    assert "1 row added to data/sources/urls.csv; 3 were there already" in imported(project, path)
    assert (project / "data/sources/urls.csv").read_bytes().startswith(before)
    assert "0 rows added to data/sources/urls.csv; 4 were there already" in imported(project, path)


def test_image_ids_that_tell_no_url(project: Path, tmp_path: Path) -> None:
    path = text(tmp_path, "https://ex.org/jane-doe.jpg\nhttps://ex.org/p?id=2\n")
    assert "tell the urls" not in imported(project, path, opaque_ids=True, prefix="web/")
    names = rows(project, "urls")["image_id"]
    assert names.str.contains(r"^web/[0-9a-f]{2}/[0-9a-f]{30}$").all()
    assert "0 rows added" in imported(project, path, opaque_ids=True, prefix="web/")


def test_paths_in_a_list_are_relative_to_it_and_tell_nothing_else(project: Path, tmp_path: Path) -> None:
    folder = tree(tmp_path / "mine", {"a@b/x 1.jpg": picture(1), "list.txt": b"a@b/x 1.jpg\n"})
    imported(project, folder / "list.txt")
    assert rows(project, "list").rows() == [("a@b/x 1.jpg", (folder / "a@b/x 1.jpg").as_uri(), "")]
    inside = tree(project / "data/sources/in", {"y.jpg": picture(2)})
    imported(project, text(inside, "y.jpg\n"))
    assert rows(project, "urls")["url"].to_list() == ["in/y.jpg"]
    assert set(downloaded(project).values()) == {("ok", "")}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables(project: Path, tmp_path: Path, kind: str) -> None:
    table = pl.DataFrame(
        {
            "URL": ["https://ex.org/1", "https://ex.org/2"],
            "key": ["k/1.jpg", "k/2.jpg"],
            "TEXT": ["a, b", None],
            "size": [1, 2],
            "empty": ["", ""],
            "SHA256": ["x", "y"],
            "sha256": ["AB" * 32, None],
        }
    )
    path = tmp_path / f"Laion 1.{kind}"
    (table.write_csv if kind == "csv" else table.write_parquet)(path)
    message = imported(project, path, id_column="key", prefix="p/")
    assert "  1 row without SHA-256" in message
    assert "tell the urls" not in message
    found = rows(project, "laion-1")
    assert found.columns == ["image_id", "url", "sha256", "TEXT", "size", "SHA256"]
    assert found.rows() == [
        ("p/k/1.jpg", "https://ex.org/1", "ab" * 32, "a, b", "1", "x"),
        ("p/k/2.jpg", "https://ex.org/2", "", "", "2", "y"),
    ]
    assert "0 rows added to data/sources/laion-1.csv; 2 were there already" in imported(
        project, path, id_column="key", prefix="p/"
    )
    assert "other.csv" in imported(project, path, url_column="URL", source="other")
    assert rows(project, "other")["image_id"].to_list() == ["ex.org/1", "ex.org/2"]
    assert "key" in rows(project, "other").columns
    plan.load(project)


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("x.txt", "", {}, "{x}: no url in it: write one a line"),
    ("x.txt", "https://a/b\nftp:/x\\y\n", {}, "{x}:2: image_id 'ftp:/x_y'"),
    ("x.txt", "https://a/b\nnope://x/y\n", {}, "{x}:2: url 'nope://x/y' has an unknown scheme: "),
    ("x.txt", "https://a/b\n", {"url_column": "u"}, "{x}: a .txt has no columns: leave out --url-column and --id-column"),
    ("x.txt", "https://a/b\n", {"hashing": True}, "--hash: what a list names is not fetched: run snakemake, then `blurline pin`"),
    ("x.csv", "u,v\nhttps://a/b,\n", {}, "{x}: which column has the urls? Name it with --url-column: there are u, v"),
    ("x.csv", "url,Url\nhttps://a/b,\n", {}, "{x}: which column has the urls? Name it with --url-column: there are url, Url"),
    ("x.csv", "u,v\nhttps://a/b,\n", {"url_column": "w"}, "{x}: --url-column w: no such column: there are u, v"),
    ("x.csv", "url,v\nhttps://a/b,\n", {"id_column": "w"}, "{x}: --id-column w: no such column: there are url, v"),
    ("x.csv", "url,v\nhttps://a/b,1\n,1\n", {}, "{x}:3: the url is empty: take the line away, or say where the image is"),
    ("x.csv", "url,image_id\nhttps://a/b,a\nhttps://a/c,a\n", {}, "{x}:3: image_id 'a' stands twice: an id names one image"),
    ("x.csv", "url,image_id\nhttps://a/b,a\nhttps://a/c,../a\n", {}, "{x}:3: image_id '../a' would be no plain relative path"),
    ("x.csv", "url,image_id\nhttps://a/b,a\n", {"opaque_ids": True}, "--opaque-ids: the list has image_ids of its own: leave it out"),
    ("x.csv", "url,sha256\nhttps://a/b,12\n", {}, "{x}:2: sha256 '12': want 64 hex digits"),
    ("x.csv", "url,image_id\nhttps://a/b,u.jpg\n", {"source": "old"}, "data/sources/old.csv:2: image_id 'u.jpg' is not pinned, so nobody knows whether {x}:2 is the same image"),
    ("x.csv", "url,image_id\nhttps://a/b,u.jpg\n", {}, "data/sources/old.csv:2: image_id 'u.jpg' is also that of {x}:2: an id names one image in all"),
    ("x.parquet", "no", {}, "{x}: cannot be read as a table"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "lines", "options", "line"), REFUSED, ids=[case[3][:60] for case in REFUSED])
def test_lists_that_are_refused(
    project: Path, tmp_path: Path, file: str, lines: str, options: dict[str, Any], line: str
) -> None:
    (project / "params.yaml").write_text(PARAMS.replace("[]", "[old]"))
    (project / "data/sources/old.csv").write_text("image_id,url,sha256\nu.jpg,https://other/u.jpg,\n")
    path = text(tmp_path, lines, file)
    if line == "{x}:2: image_id 'ftp:/x_y'":  # an odd path, but a path
        imported(project, path)
        assert rows(project, "x")["image_id"].to_list() == ["a/b", "ftp:/x_y"]
        return
    assert refused(project, path, **options).startswith(line.format(x=path))


def test_calls_that_make_no_sense(project: Path, tmp_path: Path) -> None:
    path = text(tmp_path, "https://a/b\n")
    assert refused(project, path, path, source="x").startswith("a list of urls is imported by itself: ")
    folder = tree(tmp_path / "x", {"a.jpg": picture(1)})
    assert refused(project, folder, id_column="x").startswith("--id-column is for lists of urls (.txt, .csv, .parquet)")
    assert refused(project, folder, hashing=True).startswith(f"--hash: {folder} is on this machine, and hashed anyway")
    assert refused(project, "https://ex.org/images/").startswith(
        "https://ex.org/images/: a web server lists no folders"
    )
    assert refused(project, "nope://ex/images").startswith("nope://ex/images: cannot be read (Protocol not known: nope")


URLS = [
    ("https://User:pw@Ex.COM:8080/a/b%20c.jpg?x=1#f", "ex.com/a/b%20c.jpg"),
    ("http://ex.com", "ex.com"),
    ("https://ex.com//a/../b/./c.png", "ex.com/a/b/c.png"),
    ("s3://Bucket/K ey/a?b#c.jpg", "bucket/K ey/a?b#c.jpg"),
    ("https://ex.com/ /. /x.jpg", "ex.com/x.jpg"),
    ("../a\\b\tc.jpg", "a_b_c.jpg"),
    ("tar://in/a.jpg::tar://n01.tar::file:///x.tar", "n01.tar/in/a.jpg"),
    ("package://skimage/data/c.png", "skimage/data/c.png"),
    ("https://", "image"),
]


@pytest.mark.parametrize(("url", "image_id"), URLS)
def test_image_ids_of_urls(url: str, image_id: str) -> None:
    assert lists.derived(pl.Series([url])).to_list() == [image_id]


odd = st.text(st.sampled_from("a.B/\\ ?#%@:\t\u00a0é\x7f-"), max_size=20)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["https://", "s3://", "file://", ""]), odd), min_size=1, max_size=8))
def test_every_url_gets_a_good_image_id(parts: list[tuple[str, str]]) -> None:
    """That the manifest's own rules take: unique, plain, not too long."""
    urls = [start + rest * 20 for start, rest in parts if (start + rest).strip()]
    if not urls:
        return
    table = pl.DataFrame({"url": urls, "\0entry": urls, "sha256": [""] * len(urls)})
    known = pl.DataFrame({"image_id": ["a.jpg", "image"], "url": ["x", "y"]})
    named, repeats = lists.name(table, known, False, "")
    assert named.height + repeats == len(urls)
    everything = pl.concat([known, named.select("image_id", "url")])
    # Whether the URLs are good is another matter.
    sources.check(everything.with_columns(url=pl.lit("x"), sha256=pl.lit("")), str)


def test_images_on_another_file_system() -> None:
    store = fsspec.filesystem("memory")
    for name in ("b.jpg", "sub/a.PNG", "sub/notes.txt", ".git/x.jpg", "x.tar", "README"):
        store.pipe(f"/bucket/prefix/{name}", picture(len(name)))
    store.pipe("/bucket/other.jpg", b"")
    seen: list[tuple[int, int]] = []
    found = remote.search("memory://bucket/prefix/", False, lambda done, of: seen.append((done, of)))
    assert found.images.rows() == [
        (name, f"memory://bucket/prefix/{name}", f"memory://bucket/prefix/{name}", "")
        for name in ("b.jpg", "sub/a.PNG")
    ]
    assert dict(found.skipped) == {"hidden": 1, ".txt": 1, ".tar": 1, "without extension": 1}
    assert seen == [(1, 2), (2, 2)]
    found = remote.search("memory://bucket/prefix", True, lambda done, of: None)
    assert found.images["sha256"].to_list() == [sha(picture(5)), sha(picture(9))]
    single = remote.search("memory://bucket/prefix/b.jpg", False, lambda done, of: None).images
    assert single.select("path", "url").rows() == [("b.jpg", "memory://bucket/prefix/b.jpg")]
    store.rm("/bucket", recursive=True)
    with pytest.raises(BlurlineError, match=r"^memory://bucket/prefix: cannot be read \(|no image"):
        remote.search("memory://bucket/prefix", False, lambda done, of: None)
        raise BlurlineError("no image")


def test_a_file_url_is_a_path(project: Path, tmp_path: Path) -> None:
    folder = tree(tmp_path / "a b", {"x.jpg": picture(1)})
    imported(project, folder.as_uri())
    assert rows(project, "a-b").rows() == [("x.jpg", (folder / "x.jpg").as_uri(), sha(picture(1)))]


def test_a_bucket(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a real server that speaks S3; once listed and once read."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {"ACCESS_KEY_ID": "t", "SECRET_ACCESS_KEY": "t", "DEFAULT_REGION": "us-east-1"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        store = fsspec.filesystem("s3", skip_instance_cache=True)
        store.mkdir("faces")
        files = {f"set/{split}/{n}.jpg": picture(n) for n, split in enumerate(("train", "val"))}
        for name, data in files.items():
            store.pipe(f"faces/{name}", data)
        imported(project, "s3://faces/set", source="listed")
        listed = rows(project, "listed")
        assert listed.columns == ["image_id", "url", "sha256", "split"]
        assert listed["url"].to_list() == [f"s3://faces/{name}" for name in files]
        assert listed["sha256"].to_list() == ["", ""]
        imported(project, "s3://faces/set", source="read", prefix="read/", hashing=True)
        assert rows(project, "read")["sha256"].to_list() == [sha(data) for data in files.values()]
        assert set(downloaded(project).values()) == {("ok", "")}
    finally:
        server.stop()


def parquet(project: Path) -> Path:
    path = project / "data/sources/big.parquet"
    pl.DataFrame(
        {
            "image_id": ["a.jpg", "b.jpg"],
            "url": [(project / "a.jpg").as_uri(), (project / "b.jpg").as_uri()],
            "sha256": [None, sha(picture(2))],
            "taken": [datetime.date(2020, 1, 1), None],
            "likes": [1, 2],
            "tags": pl.Series(["x", None], dtype=pl.Categorical()),
        }
    ).write_parquet(path)
    tree(project, {"a.jpg": picture(1), "b.jpg": picture(2)})
    (project / "params.yaml").write_text(PARAMS.replace("[]", "[big]"))
    return path


def test_a_parquet_manifest_is_planned_downloaded_and_pinned(project: Path) -> None:
    path = parquet(project)
    whole = plan.load(project)
    wanted = whole.jobs["download", "big-00000"]
    job = plan.job(project, "download", "big-00000", wanted.key)
    assert job.rows is not None
    assert wanted.rows is not None
    assert job.rows.rows.equals(wanted.rows.rows)
    download.run(job)
    assert pin.pin(project, plan.load(project)) == {"big": 1}
    table = pl.read_parquet(path)
    assert table["sha256"].to_list() == [sha(picture(1)), sha(picture(2))]
    assert table["likes"].dtype == pl.Int64


def test_a_parquet_manifest_grows_and_its_columns_keep_their_types(project: Path, tmp_path: Path) -> None:
    path = parquet(project)
    before = pl.read_parquet(path)
    folder = tree(tmp_path / "more", {"train/c.jpg": picture(3), "val/d.jpg": picture(2)})
    assert "big: 2 rows added to data/sources/big.parquet (1 exact copy of another image)" in imported(
        project, folder, source="big"
    )
    table = pl.read_parquet(path)
    assert {name: table.schema[name] for name in before.columns} == dict(before.schema)
    assert table.head(2).select(before.columns).equals(before)
    assert table["split"].to_list() == [None, None, "train", "val"]
    assert table["likes"].to_list() == [1, 2, None, None]
    listed = text(tmp_path, "url,likes,taken,tags\nhttps://e.org/e.jpg,07,2021-02-03,y\n", "l.csv")
    imported(project, listed, source="big")
    row = pl.read_parquet(path).row(-1, named=True)
    assert [row[c] for c in ("image_id", "likes", "taken", "tags", "split")] == [
        *("e.org/e.jpg", 7, datetime.date(2021, 2, 3), "y", None)
    ]
    assert "0 rows added to data/sources/big.parquet; 1 were there already" in imported(project, listed, source="big")
    assert len(plan.load(project).jobs["download", "big-00001"].rows.rows) == 1  # type: ignore[union-attr]


def test_what_a_parquet_manifest_cannot_hold_is_refused(project: Path, tmp_path: Path) -> None:
    parquet(project)
    many = text(tmp_path, "url,likes\nhttps://e.org/e.jpg,1\nhttps://e.org/f.jpg,many\n", "l.csv")
    assert refused(project, many, source="big") == (
        f"data/sources/big.parquet: column likes is Int64, and 'many' ({many}:3) is not: import into another source "
        "with --source"
    )
    other = tree(tmp_path / "x", {"b.jpg": picture(9)})
    assert refused(project, other, source="big").startswith(
        f"data/sources/big.parquet:3: image_id 'b.jpg' has other bytes in {other}/b.jpg: a row stands for one image"
    )
    (project / "data/sources/big.csv").write_text("image_id,url\n")
    assert refused(project, other, source="big") == "data/sources/big: there is a .csv and a .parquet: keep one of them"
