"""Merges of params.yaml by key, where git would merge lines and find a conflict between neighbours."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from blurline import params_edit
from blurline.errors import BlurlineError
from blurline.params import FILE

DEMO_NAME = "blurline-demo"  # dataset.name upstream
# What a data set says of itself: the demo has no say in it. A colleague's version of the data set has.
OWN = ("dataset.", "sources")


def merge(base: str, ours: str, theirs: str) -> str:
    """The other side's text (`theirs`) with the values that this side (`ours`) has changed since `base`.

    Raises
    ------
    BlurlineError
        When both sides changed a value, or ours differs from base in more than values: nothing of it may get lost.
    """
    before, mine, new = (dict(_leaves(_load(text))) for text in (base, ours, theirs))
    own = {key for key in mine if key.startswith(OWN)} if _same(new, "dataset.name", DEMO_NAME) else set()
    changed = {key: value for key, value in mine.items() if key in own or not _same(before, key, value)}
    for key in changed.keys() - own:
        if not _same(new, key, before.get(key)) and not _same(new, key, mine[key]):
            raise BlurlineError(f"{FILE}: {key}: changed here and in the other version: keep one of the two")
    blank = dict.fromkeys(changed)
    if params_edit.edit(ours, blank) != params_edit.edit(base, blank):
        raise BlurlineError(f"{FILE}: changed in more than values: merge it as text")
    return params_edit.edit(theirs, changed)


def _same(values: Mapping[str, Any], key: str, value: Any) -> bool:
    """Equal in type as well: 1, 1.0 and true are three values."""
    return key in values and repr(values[key]) == repr(value)


def _load(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise BlurlineError(f"{FILE}: not valid YAML in one of the versions to merge: merge it as text") from None


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        yield prefix, tree
        return
    for name, value in tree.items():
        yield from _leaves(value, f"{prefix}.{name}" if prefix else str(name))
