"""Edits of params.yaml: the values asked for change, and no other character does."""

from typing import Any

import pytest
import yaml

from blurline.errors import BlurlineError
from blurline.params_edit import edit

TEXT = """\
# A comment at the top: it stays.
sources: [demo]   # files in data/sources
shard_size: 1000  # rows
name:             # nothing yet
blur:
  margin: 0.1     # a share
  method: "gaussian"
flow: {a: 1, b: [x, 'y, z']}  # one line
block:            # which
- one             # the first
- two             # the last

# about after
after:
  deep:
    - 'x'
    -   y
text: |
  several
  lines
end: last"""

CASES = [
    # what to set, text that changes, what it becomes
    ({"sources": ["demo", "mine"]}, "sources: [demo]   #", "sources: [demo, mine]   #"),
    ({"sources": []}, "sources: [demo]   #", "sources: []   #"),
    ({"sources": ["a b", "c, d"]}, "[demo]", "[a b, 'c, d']"),
    ({"shard_size": 5}, "shard_size: 1000  #", "shard_size: 5  #"),
    ({"shard_size": "5"}, "shard_size: 1000  #", "shard_size: '5'  #"),
    ({"shard_size": None}, "shard_size: 1000  #", "shard_size: null  #"),
    ({"shard_size": True}, "shard_size: 1000  #", "shard_size: true  #"),
    ({"name": "x"}, "name:             #", "name: x             #"),
    ({"blur.margin": 0.25}, "margin: 0.1     #", "margin: 0.25     #"),
    ({"blur.method": "a: b # c"}, '"gaussian"', "'a: b # c'"),
    ({"flow.a": "x, y"}, "a: 1", "a: 'x, y'"),
    ({"flow.b": ["x", "y, z", "w"]}, "'y, z']", "'y, z', w]"),
    ({"block": ["one", "two", "three"]}, "# the last\n", "# the last\n- three\n"),
    ({"block": ["two"]}, "block:            # which\n- one             # the first\n- two             # the last\n", "block: [two]            # which\n"),
    ({"block": []}, "block:            # which\n- one             # the first\n- two             # the last\n", "block: []            # which\n"),
    ({"after.deep": ["x", "y", "z"]}, "    -   y\n", "    -   y\n    - z\n"),
    ({"after.deep": 1}, "  deep:\n    - 'x'\n    -   y\n", "  deep: 1\n"),
    ({"text": "one"}, "text: |\n  several\n  lines\n", "text: one\n"),
    ({"end": "ü"}, "end: last", "end: ü"),
    ({"end": 1, "sources": ["demo", "x"], "blur.margin": 2}, None, None),
]  # fmt: skip


def at(tree: Any, path: list[str]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


@pytest.mark.parametrize(("values", "old", "new"), CASES, ids=[str(case[0]) for case in CASES])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_only_the_value_changes(values: dict[str, Any], old: str | None, new: str | None, line_end: str) -> None:
    text = TEXT.replace("\n", line_end)
    edited = edit(text, values)
    if old is not None and new is not None:
        assert text.count(old.replace("\n", line_end)) == 1
        assert edited == text.replace(old.replace("\n", line_end), new.replace("\n", line_end))
    before, after = yaml.safe_load(text), yaml.safe_load(edited)
    for path, value in values.items():
        *groups, name = path.split(".")
        assert at(after, [*groups, name]) == value
        at(before, groups)[name] = value
    assert after == before
    assert edit(edited, values) == edited


def test_lists_at_the_end_of_the_file() -> None:
    assert edit("a:\n- x", {"a": ["x", "y"]}) == "a:\n- x\n- y"
    assert edit("a:\n- x\n", {"a": ["x", "y"]}) == "a:\n- x\n- y\n"
    assert edit("a:\n- x\n", {"a": []}) == "a: []\n"
    assert edit("a:\n- x", {"a": []}) == "a: []"
    assert (
        edit("a: [\n  x,  # one\n  y,  # two\n]\n", {"a": ["x", "y", "z"]}) == "a: [\n  x,  # one\n  y, z,  # two\n]\n"
    )


def test_values_that_are_there_already_leave_the_text_alone() -> None:
    odd = "a:   [ 'x' ,y]\nb: !!float 1\n"
    assert edit(odd, {"a": ["x", "y"], "b": 1.0}) == odd


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a: 1\n", "b", "params.yaml: b: not there: add the key first, as the demo's file has it"),
        ("a: 1\n", "a.b", "params.yaml: a.b: not there: add the key first, as the demo's file has it"),
        ("a:\n  b: 1\n", "a.c", "params.yaml: a.c: not there: add the key first, as the demo's file has it"),
        ("", "a", "params.yaml: a: not there: add the key first, as the demo's file has it"),
        ("a: 1\nb: [\n", "a", "params.yaml:3: not valid YAML: mend the line"),
        ("a: &x 1\nb: *x\n", "a", "params.yaml: a: cannot be edited in place: edit the file by hand"),
        ("a: &x 1\nb: *x\n", "b", "params.yaml: b: cannot be edited in place: edit the file by hand"),
    ],
)
def test_what_cannot_be_edited_is_an_error(text: str, key: str, line: str) -> None:
    with pytest.raises(BlurlineError) as caught:
        edit(text, {key: 9})
    assert str(caught.value) == line
