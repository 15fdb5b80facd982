"""Repair: remove the receipts that are not to be relied on, so that snakemake makes anew what they stood for."""

from pathlib import Path

from blurline import receipts
from blurline.errors import BlurlineError
from blurline.plan import STEPS, folder
from blurline.receipts import Receipt


def repair(root: Path) -> list[str]:
    """Remove every receipt that is damaged, whose payload is, or that was made from a receipt that is gone.

    Parameters
    ----------
    root
        The project.

    Returns
    -------
    list of str
        The receipts removed, as paths below the project. A step of which nothing is here (a public clone has no
        private ones) counts as unknown, not as gone.
    """
    removed: list[str] = []
    absent = {folder(step) for step in STEPS if not _names(root / "data" / folder(step))}
    for step in STEPS:
        here = root / "data" / folder(step)
        # Shards first: the receipt that closes a step was made from theirs.
        for name in sorted(_names(here), key=lambda name: receipts.owner(name) == receipts.CLOSING):
            if not _is_sound(root, here, name, absent):
                receipts.remove(here, [name])
                removed.append(f"data/{here.name}/{name}")
    return removed


def _names(here: Path) -> list[str]:
    return [name for name in receipts.files(here) if receipts.parse_name(name)] if here.is_dir() else []


def _is_sound(root: Path, here: Path, name: str, absent: set[str]) -> bool:
    try:
        receipt, _ = receipts.load(here / name)
    except BlurlineError:
        return False
    return all(_is_payload(here / file, said) for file, said in receipt.payload.items()) and _is_chained(
        root, receipt, absent
    )


def _is_payload(path: Path, said: object) -> bool:
    return path.is_file() and {"sha256": receipts.file_digest(path), "bytes": path.stat().st_size} == said


def _is_chained(root: Path, receipt: Receipt, absent: set[str]) -> bool:
    for name, said in receipt.read.items():
        path = root / "data" / name
        if path.parent.name not in absent and (not path.is_file() or receipts.file_digest(path) != said):
            return False
    return True
