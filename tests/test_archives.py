"""Members of archives: every way to pack them is read in place, and every damage has a reason."""

import bz2
import gzip
import io
import lzma
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blurline.archives import access, chain, formats, views
from blurline.archives.chain import Link
from blurline.archives.errors import Unreadable
from blurline.fetch import FetchFailed, fetch

Files = dict[str, bytes]
FILES: Files = {"a.jpg": b"one" * 1000, "b/c d.png": b"", "b/é.jpg": bytes(range(256)) * 512, "e": b"x" * 513}


def tar(files: Files) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def stored(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return stream.getvalue()


def deflated(files: Files) -> bytes:
    return stored(files, zipfile.ZIP_DEFLATED)


def tgz(files: Files) -> bytes:
    return gzip.compress(tar(files))


def tbz(files: Files) -> bytes:
    return bz2.compress(tar(files))


def txz(files: Files) -> bytes:
    return lzma.compress(tar(files))


PACKERS: dict[str, tuple[str, Callable[[Files], bytes]]] = {
    "tar": ("tar", tar),
    "tar.gz": ("tar", tgz),
    "tar.bz2": ("tar", tbz),
    "tar.xz": ("tar", txz),
    "stored.zip": ("zip", stored),
    "deflated.zip": ("zip", deflated),
}


def get(url: str, base: Path, max_bytes: int = 10**6) -> bytes:
    return fetch(url, base, max_bytes=max_bytes, timeout=1)


def reason(url: str, base: Path, max_bytes: int = 10**6) -> str:
    with pytest.raises(FetchFailed) as caught:
        get(url, base, max_bytes)
    assert str(base) not in caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("kind", PACKERS)
def test_members_of_an_archive(tmp_path: Path, kind: str) -> None:
    scheme, pack = PACKERS[kind]
    (tmp_path / f"x.{kind}").write_bytes(pack(FILES))
    for name, data in [*FILES.items(), *reversed(FILES.items())]:
        assert get(f"{scheme}://{name}::x.{kind}", tmp_path) == data
        assert get(f"{scheme.upper()}://{name}::{(tmp_path / f'x.{kind}').as_uri()}", Path("/nowhere")) == data
    assert reason(f"{scheme}://gone.jpg::x.{kind}", tmp_path) == "no such member"
    assert reason(f"{scheme}://b::x.{kind}", tmp_path) == "no such member"
    assert reason(f"{scheme}://a.jpg::x.{kind}", tmp_path, 2999) == "over max_bytes"
    assert get(f"{scheme}://a.jpg::x.{kind}", tmp_path, 3000) == FILES["a.jpg"]


@pytest.mark.parametrize("inner", PACKERS)
@pytest.mark.parametrize("outer", PACKERS)
def test_archives_inside_archives(tmp_path: Path, outer: str, inner: str) -> None:
    (out, pack), (inside, fill) = PACKERS[outer], PACKERS[inner]
    packed = {f"1.{inner}": fill(FILES), "between.txt": b"-", f"sub/2.{inner}": fill({"a.jpg": b"two"})}
    (tmp_path / "x").write_bytes(pack(packed))
    urls = [(f"{inside}://{name}::{out}://1.{inner}::x", data) for name, data in FILES.items()]
    urls += [(f"{inside}://a.jpg::{out}://sub/2.{inner}::x", b"two"), (f"{out}://between.txt::x", b"-")]
    if inside == "zip" and outer not in ("tar", "stored.zip"):
        # The directory of a zip file stands at its end: it needs a file to jump about in.
        assert {reason(url, tmp_path) for url, _ in urls if url.startswith("zip://a")} == {
            "zip inside a compressed archive"
        }
        return
    for url, data in urls + urls[::-1]:
        assert get(url, tmp_path) == data


def test_three_deep_and_no_deeper(tmp_path: Path) -> None:
    for pack in (tar, tgz):
        (tmp_path / "x").write_bytes(pack({"2.tar": tar({"1.tar": tar({"a": b"deep"})})}))
        assert get("tar://a::tar://1.tar::tar://2.tar::x", tmp_path) == b"deep"
    assert reason("tar://a::tar://0::tar://1.tar::tar://2.tar::x", tmp_path) == "archives nested too deeply"
    (tmp_path / "x").write_bytes(tgz({"3.tar": tar({"2.tar": tar({"1.tar": tar({"a": b"deep"})})})}))
    assert reason("tar://1.tar::tar://2.tar::tar://3.tar::x", tmp_path) == "archives nested too deeply"


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "deflated.zip"])
def test_urls_mean_what_they_mean_to_fsspec(tmp_path: Path, kind: str) -> None:
    scheme, pack = PACKERS[kind]
    (tmp_path / f"x.{kind}").write_bytes(pack({"b/é c.jpg": b"data", "in.zip": stored({"a b.jpg": b"inner"})}))
    url = chain.write([Link(scheme, "b/é c.jpg")], (tmp_path / f"x.{kind}").as_uri())
    with fsspec.open(url) as stream:
        assert get(url, tmp_path) == stream.read() == b"data"
    if kind == "tar":
        url = chain.write([Link("tar", "in.zip"), Link("zip", "a b.jpg")], (tmp_path / f"x.{kind}").as_uri())
        with fsspec.open(url) as stream:
            assert get(url, tmp_path) == stream.read() == b"inner"


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
surrogates = st.binary(min_size=1).map(lambda data: data.decode(errors="surrogateescape"))


@given(
    st.lists(st.builds(Link, st.sampled_from(chain.SCHEMES), names | surrogates), min_size=1, max_size=3),
    st.sampled_from(["x.tar", "a::b/c%3A.tar", "file:///x%20y.tar", "../:x", "::"]),
)
def test_chains_come_back_as_they_were(links: list[Link], location: str) -> None:
    url = chain.write(links, location)
    assert chain.read(url) == (tuple(links), location)
    assert url.isprintable()
    url.encode()


@pytest.mark.parametrize(
    "name", ["a::b.jpg", "100%.jpg", "%41.jpg", "tar://x.jpg", ":", "a\nb.jpg", " a .jpg", "a#b?c.jpg"]
)
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "deflated.zip"])
def test_odd_names_of_members(tmp_path: Path, kind: str, name: str) -> None:
    scheme, pack = PACKERS[kind]
    (tmp_path / "x::y%41.t").write_bytes(pack({"other": b"no", name: b"data"}))
    assert get(chain.write([Link(scheme, name)], "x::y%41.t"), tmp_path) == b"data"
    assert get(chain.write([Link(scheme, name)], (tmp_path / "x::y%41.t").as_uri()), tmp_path) == b"data"


@pytest.mark.parametrize(
    "url", ["tar://", "tar://a", "tar://a::", "tar://::x", "zip://a::tar://::x", "tar://a::tar://b"]
)
def test_no_chains(url: str) -> None:
    with pytest.raises(Unreadable, match="not the url of a member of an archive"):
        chain.read(url)


@pytest.mark.parametrize("pack", [tar, tgz])
def test_what_is_no_plain_file_is_not_followed(tmp_path: Path, pack: Callable[[Files], bytes]) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    stream = io.BytesIO()
    kinds = {"sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "pipe": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE}
    with tarfile.open(fileobj=stream, mode="w") as out:
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret") if name == "sym" else "a.jpg"
            out.addfile(info)
        info = tarfile.TarInfo("a.jpg")
        out.addfile(info)
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        out.addfile(folder)
    data = stream.getvalue()
    (tmp_path / "x").write_bytes(data if pack is tar else gzip.compress(data))
    assert [reason(f"tar://{name}::x", tmp_path) for name in [*kinds, "folder"]] == [
        *["member is a link"] * 2,
        *["member is no regular file"] * 2,
        "no such member",
    ]
    assert get("tar://a.jpg::x", tmp_path) == b""


def test_links_encryption_and_odd_methods_in_zip_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as out:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        out.writestr(link, "a")
        out.writestr("a", b"a")
        out.writestr("bzip2", b"a" * 100, zipfile.ZIP_BZIP2)
        out.writestr("lzma", b"a" * 100, zipfile.ZIP_LZMA)
        out.writestr("locked", b"a")
    data = bytearray((tmp_path / "x").read_bytes())
    entry = data.rindex(b"locked") - 46
    assert data[entry : entry + 4] == b"PK\1\2"
    data[entry + 8] |= 1
    (tmp_path / "x").write_bytes(data)
    for name, why in {
        "link": "member is a link",
        "bzip2": "compression method not supported",
        "lzma": "compression method not supported",
        "locked": "member is encrypted",
    }.items():
        assert reason(f"zip://{name}::x", tmp_path) == why
    assert get("zip://a::x", tmp_path) == b"a"


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_ambiguous(tmp_path: Path, kind: str) -> None:
    scheme, _ = PACKERS[kind]
    stream = io.BytesIO()
    if scheme == "zip":
        with zipfile.ZipFile(stream, "w") as packed:
            for data in (b"1", b"2"):
                packed.writestr("a.jpg", data)
            packed.writestr("b.jpg", b"b")
    else:
        with tarfile.open(fileobj=stream, mode="w") as out:
            for name in ("a.jpg", "a.jpg", "b.jpg"):
                out.addfile(tarfile.TarInfo(name))
    data = stream.getvalue()
    if kind == "tar.gz":
        data = gzip.compress(data)
    (tmp_path / "x").write_bytes(data)
    assert reason(f"{scheme}://a.jpg::x", tmp_path) == "ambiguous: several members have this name"
    get(f"{scheme}://b.jpg::x", tmp_path)


def test_failures_have_a_reason_that_holds_no_path(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "noise").write_bytes(random.Random(0).randbytes(5000))
    (tmp_path / "x.tar").write_bytes(tar(FILES))
    (tmp_path / "twice.tar").write_bytes(tar(FILES) + tar(FILES))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    damaged = "archive damaged or truncated"
    for url, why in {
        "tar://a.jpg::gone": "file not found",
        "tar://a.jpg::.": "file not readable (IsADirectoryError)",
        "tar://a.jpg::pipe": "no regular file",
        "tar://a.jpg::/dev/zero": "no regular file",
        "tar://a.jpg::file://other/x.tar": "file url names another host",
        "tar://a.jpg::empty": damaged,
        "tar://a.jpg::noise": damaged,
        "zip://a.jpg::noise": damaged,
        "tar://a.jpg::tar://e::x.tar": damaged,
        "tar://a.jpg::x.zst": "compression method not supported",
        "zip://a.jpg::x.tar": "not the url of a member of an archive",
        "tar://a.jpg::twice.tar": "archive has data after its end",
        "tar://a.jpg::http://127.0.0.1:1/x.tar": "scheme http is not supported",
        "tar://x::package://no_such_package/x.tar": "package no_such_package is not installed",
    }.items():
        assert reason(url, tmp_path) == why, url


@pytest.mark.parametrize("kind", PACKERS)
def test_an_archive_cut_anywhere_gives_no_wrong_bytes(tmp_path: Path, kind: str) -> None:
    scheme, pack = PACKERS[kind]
    whole = pack(FILES)
    last = len(whole) - (9000 if kind == "tar" else 1)  # a tar ends with blocks of zeros, of which one is enough
    cuts = sorted({*range(0, last, max(1, last // 40)), last})
    for number, cut in enumerate(cuts):
        (tmp_path / str(number)).write_bytes(whole[:cut])
        assert reason(f"{scheme}://a.jpg::{number}", tmp_path) == "archive damaged or truncated", cut


def test_a_tar_cut_between_two_members_is_noticed(tmp_path: Path) -> None:
    whole = tar(FILES)
    with tarfile.open(fileobj=io.BytesIO(whole)) as opened:
        starts = [info.offset for info in opened][1:]
    for start in starts:
        (tmp_path / f"{start}").write_bytes(whole[:start])
        assert reason(f"tar://a.jpg::{start}", tmp_path) == "archive damaged or truncated"
        # tarfile alone takes a damaged header for the end.
        (tmp_path / f"{start}b").write_bytes(whole[: start + 148] + b"z" + whole[start + 149 :])
        assert reason(f"tar://a.jpg::{start}b", tmp_path) == "archive damaged or truncated"


@pytest.mark.parametrize("kind", PACKERS)
def test_flipped_bytes_never_raise_anything_else(tmp_path: Path, kind: str) -> None:
    scheme, pack = PACKERS[kind]
    whole, dice = pack({**FILES, "in.tar": tar(FILES)}), random.Random(0)
    checked = kind != "tar"  # a tar has no checksum over its data: that is what the manifest's sha256 is for
    for number in range(60):
        data = bytearray(whole)
        for _ in range(dice.choice([1, 1, 20])):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        (tmp_path / f"{number}").write_bytes(data)
        for url in (f"{scheme}://a.jpg::{number}", f"tar://a.jpg::{scheme}://in.tar::{number}"):
            try:
                found = get(url, tmp_path)
            except FetchFailed:
                continue
            # What lies stored in a zip file and is an archive is read in place, which no checksum covers.
            assert found == FILES["a.jpg"] or not checked or "stored" in kind


@pytest.mark.parametrize("claim", [2999, 3001, 0])
def test_a_zip_file_that_lies_about_a_size(tmp_path: Path, claim: int) -> None:
    data = bytearray(deflated({"a.jpg": FILES["a.jpg"]}))
    entry = data.index(b"PK\1\2")
    data[entry + 24 : entry + 28] = struct.pack("<I", claim)
    (tmp_path / "x").write_bytes(data)
    assert reason("zip://a.jpg::x", tmp_path) == "archive damaged or truncated"


@pytest.mark.parametrize("claim", [5, 1])
def test_entries_of_a_zip_file_are_counted_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claim: int
) -> None:
    """Whatever the record at the end claims: zipfile goes by the directory's size."""
    data = bytearray(stored({f"{n}.jpg": b"x" for n in range(5)}))
    end = data.rindex(b"PK\5\6")
    data[end + 8 : end + 12] = struct.pack("<HH", claim, claim)
    (tmp_path / "x.zip").write_bytes(data)
    made: list[str] = []

    class Counted(zipfile.ZipInfo):
        def __init__(self, filename: str) -> None:
            made.append(filename)
            super().__init__(filename)

    monkeypatch.setattr(zipfile, "ZipInfo", Counted)
    monkeypatch.setattr(formats, "MAX_MEMBERS", 4)
    assert reason("zip://0.jpg::x.zip", tmp_path) == "archive has too many members"
    assert made == []
    (tmp_path / "y.zip").write_bytes(data)
    monkeypatch.setattr(formats, "MAX_MEMBERS", 5)
    assert get("zip://0.jpg::y.zip", tmp_path) == b"x"
    assert len(made) == 5


def peak(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz", "deflated.zip"])
def test_bombs_cost_no_memory(tmp_path: Path, kind: str) -> None:
    scheme, pack = PACKERS[kind]
    size = 60_000_000
    data = bytearray(pack({"bomb.jpg": bytes(size)}))
    (tmp_path / "x").write_bytes(data)
    assert peak(lambda: reason(f"{scheme}://bomb.jpg::x", tmp_path)) < 16_000_000
    if scheme == "zip":  # a header that lies about the size, either way
        for claim in (100, 2**31):
            entry = data.index(b"PK\1\2")
            data[entry + 24 : entry + 28] = struct.pack("<I", claim)
            (tmp_path / f"{claim}").write_bytes(data)
            assert peak(lambda claim=claim: reason(f"zip://bomb.jpg::{claim}", tmp_path)) < 16_000_000  # type: ignore[misc]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
def test_headers_as_large_as_a_bomb_cost_no_memory(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 60_000_000
    (tmp_path / "x").write_bytes(gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(61_000_000)))
    seen = []
    assert peak(lambda: seen.append(reason("tar://a::x", tmp_path))) < 16_000_000
    assert seen == ["archive damaged or truncated"]


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each read of an archive on disk gave."""
    sizes: list[int] = []
    real = views.File.read

    def read(self: views.File, offset: int, size: int) -> bytes:
        data = real(self, offset, size)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(views.File, "read", read)
    return sizes


NOISE = {f"{number:03}.jpg": random.Random(number).randbytes(20_000) for number in range(300)}


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "deflated.zip", "tar in tar.gz"])
def test_rows_in_order_cost_one_index_and_one_pass(
    tmp_path: Path, kind: str, threads: int, bytes_read: list[int]
) -> None:
    if kind == "tar in tar.gz":
        half = list(NOISE.items())
        packed = tgz({"1.tar": tar(dict(half[:150])), "2.tar": tar(dict(half[150:]))})
        urls = [f"tar://{name}::tar://{1 + (at >= 150)}.tar::x" for at, name in enumerate(NOISE)]
    else:
        scheme, pack = PACKERS[kind]
        packed, urls = pack(NOISE), [f"{scheme}://{name}::x" for name in NOISE]
    (tmp_path / "x").write_bytes(packed)
    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(lambda url: get(url, tmp_path), urls)) == list(NOISE.values())
    assert sum(bytes_read) < 2.2 * len(packed)


def test_threads_in_any_order_get_the_right_bytes(tmp_path: Path) -> None:
    few = dict(list(NOISE.items())[:40])
    wanted = []
    for kind in ("tar", "tar.gz", "deflated.zip"):
        scheme, pack = PACKERS[kind]
        (tmp_path / kind).write_bytes(pack({**few, "in.tar": tar(few)}))
        for name, data in few.items():
            wanted += [(f"{scheme}://{name}::{kind}", data), (f"tar://{name}::{scheme}://in.tar::{kind}", data)]
    random.Random(1).shuffle(wanted)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda one: get(one[0], tmp_path), wanted)) == [data for _, data in wanted]


def test_a_damaged_archive_is_looked_through_once(tmp_path: Path, bytes_read: list[int]) -> None:
    packed = tgz(NOISE)[:-100]
    (tmp_path / "x").write_bytes(packed)
    for name in NOISE:
        assert reason(f"tar://{name}::x", tmp_path) == "archive damaged or truncated"
    assert sum(bytes_read) < 1.2 * len(packed)


def test_an_archive_that_was_replaced_is_looked_at_anew(tmp_path: Path) -> None:
    for content in (b"one", b"other"):
        (tmp_path / "new").write_bytes(tar({"a.jpg": content}))
        (tmp_path / "new").replace(tmp_path / "x")
        assert get("tar://a.jpg::x", tmp_path) == content


def test_members_that_a_stream_has_passed_are_kept_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "KEPT", 100_000)
    (tmp_path / "x").write_bytes(tgz(NOISE))
    for name in ("299.jpg", "298.jpg", "000.jpg", "299.jpg", "296.jpg", "150.jpg"):
        assert get(f"tar://{name}::x", tmp_path) == NOISE[name]
    held = [archive._value for archive in access._open._made.values() if isinstance(archive._value, access._Streamed)]
    assert held[-1] is not None
    assert 0 < sum(map(len, held[-1]._passed.values())) <= 100_000
