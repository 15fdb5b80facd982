"""Edits of params.yaml that change the values asked for and no other character of the text."""

from collections.abc import Mapping
from typing import Any

import yaml

from blurline.errors import BlurlineError
from blurline.params import FILE


def edit(text: str, values: Mapping[str, Any]) -> str:
    """The text of a params.yaml with the values at dotted keys ("blur.margin") replaced.

    Comments, order, line ends and notation stay; a list that only grows keeps its items as they stand. Text whose
    values are those already comes back as it is.

    Raises
    ------
    BlurlineError
        When a key is not there, or the text cannot be edited so that it reads as before but for these values.
    """
    wanted = _load(text)
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    splices: list[tuple[int, int, str]] = []
    for path, value in values.items():
        *groups, name = path.split(".")
        tree = wanted
        for group in groups:
            tree = tree.get(group) if isinstance(tree, dict) else None
        if not isinstance(tree, dict) or name not in tree:
            raise BlurlineError(f"{FILE}: {path}: not there: add the key first, as the demo's file has it")
        if _is_same(tree[name], value):
            continue
        assert node is not None
        key, old = _find(node, path.split("."))
        splices += _splices(text, key, old, tree[name], value)
        tree[name] = value
    for start, end, new in sorted(splices, reverse=True):
        text = text[:start] + new + text[end:]
    try:
        right = _is_same(yaml.safe_load(text), wanted)
    except yaml.YAMLError:
        right = False
    if not right:
        raise BlurlineError(f"{FILE}: {', '.join(values)}: cannot be edited in place: edit the file by hand")
    return text


def _load(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise BlurlineError(f"{FILE}{line}: not valid YAML: mend the line") from None


def _is_same(one: Any, other: Any) -> bool:
    """Equal in type as well: 1, 1.0 and true are three values."""
    return bool(yaml.safe_dump(one) == yaml.safe_dump(other))


def _find(node: yaml.Node, path: list[str]) -> tuple[yaml.Node, yaml.Node]:
    """The nodes of a key and of its value; the last of two equal keys, as YAML readers take it."""
    key = node
    for name in path:
        assert isinstance(node, yaml.MappingNode)
        key, node = next(pair for pair in reversed(node.value) if pair[0].value == name)
    return key, node


def _splices(text: str, key: yaml.Node, old: yaml.Node, was: Any, value: Any) -> list[tuple[int, int, str]]:
    """What to replace, as (start, end, new text)."""
    start, end = old.start_mark.index, _end(old, text)
    grows = isinstance(was, list) and isinstance(value, list) and 0 < len(was) < len(value)
    if grows and _is_same(value[: len(was)], was):
        assert isinstance(old, yaml.SequenceNode)
        more = value[len(was) :]
        last = _end(old.value[-1], text)
        if old.flow_style:
            return [(last, last, "".join(f", {_flow(item)}" for item in more))]
        # After the line of the last item: a comment may stand beside it.
        _, after = _lines(text, last, last)
        indent = f"{_line_end(text)}{' ' * old.start_mark.column}- "
        return [(after, after, "".join(f"{indent}{_flow(item)}" for item in more))]
    if isinstance(old, yaml.CollectionNode) and not old.flow_style:
        # A block cannot be replaced where it begins: its lines go, and the value stands beside the key.
        colon = text.index(":", key.end_mark.index) + 1
        first, after = _lines(text, start, end)
        return [(colon, colon, f" {_flow(value)}"), (first - len(_line_end(text)), after, "")]
    space = " " if text[start - 1] == ":" else ""  # a key without a value
    return [(start, end, space + _flow(value))]


def _end(node: yaml.Node, text: str) -> int:
    """Where a node's own text ends; YAML's mark for the end of a block is where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, yaml.MappingNode) else last, text)
    start, end = node.start_mark.index, node.end_mark.index
    return start + len(text[start:end].rstrip())


def _lines(text: str, start: int, end: int) -> tuple[int, int]:
    """From the beginning of the line of `start` to the end of the line of `end`, without its line end."""
    after = text.find("\n", end)
    after = len(text) if after < 0 else after - text[:after].endswith("\r")
    return text.rfind("\n", 0, start) + 1, after


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _flow(value: Any) -> str:
    """A value in one line, quoted so that it may stand anywhere."""
    return yaml.safe_dump([value], default_flow_style=True, width=2**31, allow_unicode=True).strip()[1:-1]
