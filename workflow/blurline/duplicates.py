"""Images that occur more than once: with the same bytes, or with other bytes and nearly the same picture.

Two pictures are near duplicates when the perceptual hashes that `download` notes (64 bits, by the library ImageHash)
differ in at most `NEAR` bits. Resized and re-encoded copies do; another crop or a mirrored copy does not.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

NEAR = 3  # bits
_BANDS = 4  # one more than NEAR: of two hashes that differ in NEAR bits, one band of 16 bits is equal


def exact(rows: pl.DataFrame) -> list[list[str]]:
    """Groups of image_ids with the same SHA-256; `rows` has the columns image_id and sha256 (null: not retrieved)."""
    known = rows.filter(pl.col("sha256").is_not_null())
    return _groups(known.rename({"sha256": "group"}))


def near(rows: pl.DataFrame) -> list[list[str]]:
    """Groups of image_ids whose pictures are nearly the same, exact copies left out but for the first.

    `rows` has the columns image_id, sha256 and phash (16 hex digits; null: no picture). Nearness is followed along
    chains: the ends of a group may differ in more than NEAR bits.
    """
    known = rows.filter(pl.col("phash").is_not_null()).unique("sha256", keep="first", maintain_order=True)
    hashes = np.array([int(text, 16) for text in known["phash"]], dtype=np.uint64)
    distinct, of_row = np.unique(hashes, return_inverse=True)
    parent = list(range(len(distinct)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in _close(distinct):
        parent[root(one)] = root(other)
    return _groups(known.with_columns(group=pl.Series([root(int(node)) for node in of_row], dtype=pl.Int64)))


def count(rows: pl.DataFrame) -> dict[str, int]:
    """How many images are copies of an earlier one, by the same bytes and by nearly the same picture."""
    return {
        "exact_copies": sum(len(group) - 1 for group in exact(rows)),
        "near_copies": sum(len(group) - 1 for group in near(rows)),
    }


def describe(found: Mapping[str, list[list[str]]]) -> str:
    """What `blurline duplicates` prints: a group a line."""
    lines = []
    for kind, title in (("exact", "the same bytes"), ("near", "nearly the same picture")):
        lines.append(f"{title}: {len(found[kind])} groups")
        lines += [f"  {', '.join(group)}" for group in found[kind]]
    return "\n".join(lines)


def _groups(rows: pl.DataFrame) -> list[list[str]]:
    repeated = rows.filter(pl.col("group").is_duplicated()).group_by("group", maintain_order=True)
    return repeated.agg("image_id")["image_id"].to_list()


def _close(hashes: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Pairs of indices of hashes that differ in at most NEAR bits, found by the band of 16 bits that they share."""
    for band in range(_BANDS):
        keys = (hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.diff(keys[order], prepend=np.uint64(0x10000)))
        for members in np.split(order, starts[1:]):
            for at, one in enumerate(members[:-1]):
                others = members[at + 1 :]
                for other in others[np.bitwise_count(hashes[others] ^ hashes[one]) <= NEAR]:
                    yield int(one), int(other)
