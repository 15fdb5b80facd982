"""Which decisions, and which imported boxes, concern which shard.

A decision concerns an image by its image_id, and every image whose pinned SHA-256 is that of the image decided on, so
that a face added in one copy is blurred in all copies. One on an image_id that no manifest has, with a hash that no
row is pinned to, may mean any unpinned row: the merge, which knows their hashes, finds out. The same holds for imported
boxes, which name no hash of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from blurline import decisions as decision_files

ROWS = ("image_id", "sha256", "shard")
"""The columns of `rows` below: of manifest rows; sha256 is "" where a row is unpinned."""


@dataclass(frozen=True)
class Reach:
    """`decisions` (as `decisions.read_all` gives them, sha256 filled in) and `pairs` of (decision, shard).

    `anywhere` are those that may mean any unpinned row, and so concern each of the shards `unpinned`.
    `strangers` are image_ids of decisions that mean no image of any manifest: misspelt, or of a source that is gone.
    `keyed` are the columns that count: rows that differ in no other are one.
    """

    decisions: pl.DataFrame
    pairs: pl.DataFrame
    anywhere: pl.DataFrame
    unpinned: frozenset[str]
    strangers: list[str]
    keyed: Sequence[str]

    def concerning(self, shard: str) -> pl.DataFrame:
        """The decisions on images of a shard, without repeats, in an order of their own."""
        return self._canonical(self.pairs.filter(pl.col("shard") == shard)["decision"])

    def by_shard(self) -> dict[str, pl.DataFrame]:
        """As `concerning`, for every shard that has any."""
        return {str(shard): self._canonical(pairs["decision"]) for (shard,), pairs in self.pairs.group_by("shard")}

    def _canonical(self, numbers: pl.Series) -> pl.DataFrame:
        return _canonical(self.decisions[numbers], self.keyed)


def reach(decisions: pl.DataFrame, rows: pl.DataFrame, keyed: Sequence[str] = decision_files.KEYED) -> Reach:
    """Join decisions with manifest rows (columns `ROWS`); see the module's first lines for the rules.

    For one shard's sake, `rows` may be only those that `relevant` keeps. `decisions` may as well be what
    `annotations.read_all` gives, with its `KEYED`; then those that `copies` keeps are enough.
    """
    known = rows.select("image_id", pinned="sha256", listed=pl.lit(True))
    found = decisions.join(known, on="image_id", how="left", maintain_order="left")
    # Say which bytes are meant, so that the merge of another shard knows a copy of them.
    said = pl.when(pl.col("sha256") == "").then(pl.col("pinned").fill_null("")).otherwise("sha256")
    numbered = found.with_columns(sha256=said).with_row_index("decision")
    pinned = rows.filter(pl.col("sha256") != "")
    by_image = numbered.join(rows.select("image_id", "shard"), on="image_id")
    by_hash = numbered.filter(pl.col("sha256") != "").join(pinned.select("sha256", "shard"), on="sha256")
    unlisted = numbered.filter(pl.col("listed").is_null()).join(pinned, on="sha256", how="anti")
    unpinned = frozenset(rows.filter(pl.col("sha256") == "")["shard"].unique().to_list())
    anywhere = unlisted.filter((pl.col("sha256") != "") & pl.lit(bool(unpinned)))
    lost = unlisted.join(anywhere, on="decision", how="anti").sort("decision")
    pairs = pl.concat(part.select("decision", "shard") for part in (by_image, by_hash))
    return Reach(
        numbered.select(decisions.columns),
        pairs.unique(),
        _canonical(anywhere.select(decisions.columns), keyed),
        unpinned,
        lost["image_id"].to_list(),
        keyed,
    )


def _canonical(decisions: pl.DataFrame, keyed: Sequence[str]) -> pl.DataFrame:
    """Without repeats, in an order that does not depend on files; what is not `keyed` counts for nothing."""
    return decisions.sort(decisions.columns).unique(list(keyed), keep="first", maintain_order=True)


def relevant(rows: pl.LazyFrame, decisions: pl.DataFrame, shard: str) -> pl.DataFrame:
    """The manifest rows that can matter to what `reach` says of one shard, read without holding all others."""
    wanted = (
        (pl.col("shard") == shard)
        | pl.col("image_id").is_in(decisions["image_id"].unique().to_list())
        | pl.col("sha256").is_in([sha256 for sha256 in decisions["sha256"].unique() if sha256])
    )
    return rows.select(ROWS).filter(wanted).collect(engine="streaming")


def copies(rows: pl.LazyFrame, shard: str) -> pl.DataFrame:
    """The manifest rows of a shard, and of every other shard those pinned to the same bytes."""
    hashes = rows.filter((pl.col("shard") == shard) & (pl.col("sha256") != "")).select(pl.col("sha256").unique())
    known = hashes.collect(engine="streaming")["sha256"].to_list()
    wanted = (pl.col("shard") == shard) | pl.col("sha256").is_in(known)
    return rows.select(ROWS).filter(wanted).collect(engine="streaming")
