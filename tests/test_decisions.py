"""Decisions are read alike by the fast reader and by the model; and reach the shards that they should."""

import csv
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blurline import decisions, sources
from blurline.decisions import COLUMNS, Decision
from blurline.errors import BlurlineError
from blurline.reach import ROWS, Reach, reach, relevant

HASHES = [letter * 64 for letter in "abc"]


def field(*plain: str, odd: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """Mostly what a tool writes, now and then what a person might."""
    return st.one_of(st.sampled_from(plain), st.sampled_from(plain), st.sampled_from(plain + odd))


ROW = st.fixed_dictionaries(
    {
        "image_id": field("a.jpg", "x/b.jpg", "c,d.jpg", odd=(" a.jpg", "", 'quo"ted', "é")),
        "sha256": field("", *HASHES, odd=("A" * 64, "12")),
        "action": field("accept", "reject", "clear", "exclude", odd=("Accept", "", "skip", " add")),
        "frame": field("", "-1", "0", "12", odd=("-2", "1.0", "01", "99999999999", "+1")),
        "label": field("", "face", odd=(" face ",)),
        "box_id": field("", "0" * 16, odd=("xyz",)),
        "x1": field("1", odd=("", "01", "-1", "1.5", "9", "1_0", "²")),
        "y1": field("2", "0", odd=("", "2 ", "+2")),
        "x2": field("9", "10", odd=("", "1", "99999999999")),
        "y2": field("12", odd=("", "2")),
        "reviewer": field("ann", "bob", odd=("", " ann")),
        "decided_at": field(
            "2026-01-31T12:00:00+00:00",
            "2026-01-28T12:00:00Z",
            "2026-01-28T12:00:00.000001+00:00",
            odd=(
                "2026-01-31",
                "2026-02-31T12:00:00Z",
                "2026-01-31T12:00:00+14:00",
                "yesterday",
                "2026-01-28T24:00:00Z",
            ),
        ),
        "note": field("", "why", odd=("two\nlines", "a, b", " ")),
    }
)


def write(root: Path, name: str, rows: list[dict[str, str]], columns: list[str]) -> Path:
    path = root / decisions.FOLDER / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(ROW, max_size=4), columns=st.permutations(COLUMNS), optional=st.booleans())
def test_the_fast_reader_says_what_the_model_says(
    tmp_path: Path, rows: list[dict[str, str]], columns: list[str], optional: bool
) -> None:
    if optional:
        columns = [name for name in columns if name not in ("note", "frame", "label")]
    path = write(tmp_path, "ann", rows, columns)
    try:
        slow: Any = decisions.read(path, tmp_path)
    except BlurlineError as error:
        slow = str(error)
    try:
        fast: Any = decisions.of_rows(decisions.read_all(tmp_path))
    except BlurlineError as error:
        fast = str(error)
    if isinstance(slow, list) and isinstance(fast, list):
        assert sorted(map(repr, fast)) == sorted(map(repr, slow))
    else:
        assert fast == slow


def test_plain_files_do_not_go_through_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a million lines would take it long; one odd line does not send the others there."""
    lines = [
        "a.jpg,accept,1,2,3,4,ann,2026-01-01T00:00:00+00:00,",
        "a.jpg,exclude,,,,,ann,2026-01-01T00:00:00+00:00,in a hurry",
        "a.jpg,exclude,,,,,ann,2026-01-01,",
    ]
    path = tmp_path / decisions.FOLDER / "ann.csv"
    path.parent.mkdir(parents=True)
    path.write_text("image_id,action,x1,y1,x2,y2,reviewer,decided_at,note\n" + "\n".join(lines) + "\n")
    validated = []

    class Watched:
        def validate_python(self, row: dict[str, str]) -> Decision:
            validated.append(row["decided_at"])
            return Decision.model_validate(row)

    monkeypatch.setattr(decisions, "_ADAPTER", Watched())
    assert decisions.read_all(tmp_path).height == 3
    assert validated == ["2026-01-01"]


def concerning(told: list[dict[str, str]], rows: list[dict[str, str]], shard: str) -> set[tuple[str, str, str]]:
    """What the module's docstring says, word for word and one by one."""
    pins = {row["image_id"]: row["sha256"] for row in rows}
    pinned = set(pins.values()) - {""}
    found = set()
    for decision in told:
        sha256 = decision["sha256"] or pins.get(decision["image_id"], "")
        for row in rows:
            if row["shard"] != shard:
                continue
            anywhere = decision["image_id"] not in pins and sha256 and sha256 not in pinned and not row["sha256"]
            if row["image_id"] == decision["image_id"] or (sha256 and row["sha256"] == sha256) or anywhere:
                found.add((decision["image_id"], sha256, decision["reviewer"]))
    return found


def full(found: Reach, shard: str) -> pl.DataFrame:
    """What the merge of a shard is told."""
    own = found.concerning(shard)
    return pl.concat([own, found.anywhere]) if shard in found.unpinned else own


IDS = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
TOLD = st.lists(
    st.fixed_dictionaries(
        {
            "image_id": st.sampled_from([*IDS, "gone.jpg", "away.jpg"]),
            "sha256": st.sampled_from(["", "", *HASHES]),
            "reviewer": st.sampled_from(["ann", "bob"]),
        }
    ),
    max_size=5,
)
LISTED = st.lists(st.tuples(st.sampled_from(["", *HASHES]), st.sampled_from(["s-00000", "s-00001"])), max_size=5)


@settings(max_examples=300, deadline=None)
@given(told=TOLD, listed=LISTED)
def test_decisions_reach_every_copy_and_no_other_shard(
    told: list[dict[str, str]], listed: list[tuple[str, str]]
) -> None:
    rows = [{"image_id": i, "sha256": s, "shard": of} for i, (s, of) in zip(IDS, listed, strict=False)]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(ROWS, pl.String))
    more = {"action": "clear", "decided_at": "2026-01-01", **dict.fromkeys(("x1", "y1", "x2", "y2"), "")}
    every = decisions._rows(Decision.model_validate(one | more) for one in told)
    whole = reach(every, frame)
    by_shard = whole.by_shard()
    for shard in ("s-00000", "s-00001"):
        wanted = concerning(told, rows, shard)
        assert whole.concerning(shard).equals(by_shard.get(shard, whole.concerning(shard).clear()))
        near = reach(every, relevant(frame.lazy(), every, shard))
        found = full(whole, shard)
        assert set(found.select("image_id", "sha256", "reviewer").rows()) == wanted
        assert found.height == len(wanted)
        assert found.equals(full(near, shard))
    ids, pins = {row["image_id"] for row in rows}, {row["sha256"] for row in rows}
    strange = [
        one["image_id"]
        for one in told
        if one["image_id"] not in ids and (not one["sha256"] or (one["sha256"] not in pins and "" not in pins))
    ]
    assert whole.strangers == strange


NAME = st.text(alphabet="aA.%/jJpPgGsSſıK2é", max_size=9)


@settings(max_examples=600)
@given(names=st.lists(NAME, max_size=6), extensions=st.lists(st.sampled_from([*sorted(sources.IMAGE_EXTENSIONS), ""])))
def test_stems_are_equal_where_sample_keys_are(names: list[str], extensions: list[str]) -> None:
    ids = [*names, *(n + e for n in names for e in extensions[:3])]
    stems = pl.DataFrame({"image_id": pl.Series(ids, dtype=pl.String)}).select(sources.stem()).to_series().to_list()
    keys = [sources.sample_key(image_id) for image_id in ids]
    for i in range(len(ids)):
        for j in range(i):
            assert (stems[i] == stems[j]) == (keys[i] == keys[j]), (ids[i], ids[j])


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_job_reads_the_shard_that_was_planned(tmp_path: Path, suffix: str) -> None:
    text = 'url,image_id,class\r\n"x,\n1",a.jpg,dog\r\nx/2,b.jpg,\r\nx/3,c.jpg,cat\r\n\r\n\r\n'
    folder = tmp_path / sources.FOLDER
    folder.mkdir(parents=True)
    (folder / "one.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    if suffix == "parquet":
        sources.read(tmp_path, "one").rows.with_columns(sha256=pl.lit(None)).write_parquet(folder / "one.parquet")
        (folder / "one.csv").unlink()
    planned = list(sources.cut(sources.read(tmp_path, "one"), 2))
    assert [shard.rows.height for shard in planned] == [2, 1]
    for shard in planned:
        alone = sources.read_shard(tmp_path, shard.name, 2)
        assert alone.rows.equals(shard.rows)
        assert (alone.name, alone.source) == (shard.name, shard.source)
    assert sources.read_shard(tmp_path, "one-00002", 2).rows.height == 0
    named = sources.scan(tmp_path, "one", 2).collect()
    assert named["shard"].to_list() == ["one-00000", "one-00000", "one-00001"]


def test_other_unpinned_rows_are_not_held_for_one_shard() -> None:
    rows = pl.DataFrame(
        {"image_id": ["a", "b", "c"], "sha256": ["", "", ""], "shard": ["s-00000", "s-00001", "s-00002"]}
    )
    told = decisions._rows(
        [Decision(image_id="b", action="clear", reviewer="ann", decided_at="2026-01-01"),
         Decision(image_id="x", sha256=HASHES[0], action="clear", reviewer="ann", decided_at="2026-01-01")]
    )  # fmt: skip
    assert relevant(rows.lazy(), told, "s-00000")["image_id"].to_list() == ["a", "b"]
