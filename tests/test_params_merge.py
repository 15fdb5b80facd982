"""Merging params.yaml by key: one's own values in upstream's new text, and no silent choice between two."""

from pathlib import Path

import pytest

from blurline import cli, params_merge
from blurline.errors import BlurlineError

BASE = """\
# Every knob.
dataset:
  name: blurline-demo
  version: 0.1.0
  creators: [the blurline developers]
  description: Eight photographs, five of them with people.

sources: [demo]   # files in data/sources
shard_size: 1000  # rows per shard

blur:
  strength: 0.15     # σ of the Gaussian
  feather: 0.1       # width of the soft edge
"""
MINE = (
    BASE.replace("blurline-demo", "mine")
    .replace("[the blurline developers]", "[Ann]")
    .replace("Eight photographs, five of them with people.", "Mine")
    .replace("[demo]", "[a]")
)


def edit(text: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


FEATHER = "  feather: 0.1       # width of the soft edge\n"
FLOOR = "  floor: 2           # pixels\n"
BOTH = "changed here and in the other version: keep one of the two"
CLEAN = [
    (
        "a key after the one that was changed",
        [("feather: 0.1 ", "feather: 0.2 ")],
        [(FEATHER, FEATHER + FLOOR)],
        [(FEATHER, FEATHER.replace("0.1", "0.2") + FLOOR)],
    ),
    (
        "another comment beside it",
        [("strength: 0.15", "strength: 0.3")],
        [("σ of the Gaussian", "standard deviation")],
        [("strength: 0.15", "strength: 0.3"), ("σ of the Gaussian", "standard deviation")],
    ),
    (
        "the demo's own words, version and source",
        [],
        [("version: 0.1.0", "version: 0.2.0"), ("Eight", "Nine"), ("[demo]", "[demo, demo2]"), ("1000", "2000")],
        [("1000", "2000")],
    ),
    ("the same on both sides", [("0.15", "0.2")], [("0.15", "0.2")], [("0.15", "0.2")]),
    (
        "a list in another notation",
        [("creators: [Ann]", "creators:\n  - Ann\n  - Bob")],
        [("# rows per shard", "# rows")],
        [("creators: [Ann]", "creators: [Ann, Bob]"), ("# rows per shard", "# rows")],
    ),
    (
        "a value in another notation",
        [("0.15 ", "0.30 ")],
        [("# rows", "# Rows")],
        [("0.15 ", "0.3 "), ("# rows", "# Rows")],
    ),
]


@pytest.mark.parametrize(("mine", "theirs", "merged"), [c[1:] for c in CLEAN], ids=[c[0] for c in CLEAN])
def test_values_are_put_into_the_new_text(
    mine: list[tuple[str, str]], theirs: list[tuple[str, str]], merged: list[tuple[str, str]]
) -> None:
    assert params_merge.merge(BASE, edit(MINE, *mine), edit(BASE, *theirs)) == edit(MINE, *merged)


INVALID = "params.yaml: not valid YAML in one of the versions to merge: merge it as text"
TEXT = "params.yaml: changed in more than values: merge it as text"
CONFLICTS = [
    (
        "a value that both sides changed",
        edit(MINE, ("0.15", "0.2")),
        edit(BASE, ("0.15", "0.3")),
        f"params.yaml: blur.strength: {BOTH}",
    ),
    ("a comment of one's own", edit(MINE, ("# Every", "# My every")), BASE, TEXT),
    ("a key left out", edit(MINE, (FEATHER, "")), BASE, TEXT),
    (
        "a changed key that is gone",
        edit(MINE, ("feather: 0.1 ", "feather: 0.2 ")),
        edit(BASE, ("feather", "edge")),
        f"params.yaml: blur.feather: {BOTH}",
    ),
    ("a key of one's own", MINE + "  mine: 1\n", BASE, f"params.yaml: blur.mine: {BOTH}"),
    (
        "two colleagues' sources",  # neither of them is the demo: none may get lost
        edit(MINE, ("[a]", "[a, b]")),
        edit(MINE, ("[a]", "[a, c]")),
        f"params.yaml: sources: {BOTH}",
    ),
    ("damaged text", MINE + "\t[", BASE, INVALID),
]


@pytest.mark.parametrize(("ours", "theirs", "line"), [c[1:] for c in CONFLICTS], ids=[c[0] for c in CONFLICTS])
def test_what_git_is_left_to_merge_as_text(ours: str, theirs: str, line: str, tmp_path: Path) -> None:
    base = MINE if "c]" in theirs else BASE
    paths = [tmp_path / name for name in ("ours", "base", "theirs")]
    for path, text in zip(paths, (ours, base, theirs), strict=True):
        path.write_text(text)
    with pytest.raises(BlurlineError) as caught:
        cli.merge_params(*paths)
    assert str(caught.value) == line
    assert paths[0].read_text() == ours
