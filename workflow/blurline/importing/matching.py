"""Which image of the manifests a path in somebody else's file means."""

from typing import NamedTuple

import polars as pl


class Matches(NamedTuple):
    """`found` (path, image_id); `unknown` paths; `ambiguous` (path, image_ids: those that it may mean).

    Several paths that may mean one image_id are ambiguous as well.
    """

    found: pl.DataFrame
    unknown: pl.Series
    ambiguous: pl.DataFrame


def match(paths: pl.Series, image_ids: pl.Series) -> Matches:
    r"""Find the image_id of each path: the same, or else the only one that ends in the path, or that the path ends in.

    Whole parts count, between / or \: `b/c.jpg` is at the end of `a/b/c.jpg`, `x-c.jpg` does not end in `c.jpg`. An
    image_id that is the same as a path is meant by no other path.
    """
    named = pl.DataFrame({"path": paths.unique(maintain_order=True)}, schema={"path": pl.String}).with_columns(
        name=pl.col("path").str.replace_all("\\", "/", literal=True).str.replace_all(r"(^|/)(\.?/)+", "${1}")
    )
    wanted = named.select("name").unique(maintain_order=True)
    ids = pl.DataFrame({"image_id": image_ids}, schema={"image_id": pl.String}).unique(maintain_order=True)
    same = wanted.join(ids, left_on="name", right_on="image_id", coalesce=False)
    rest = wanted.join(same, on="name", how="anti", maintain_order="left")
    candidates = _candidates(rest, ids.join(same, on="image_id", how="anti"))
    several = candidates.filter(
        (pl.col("number") > 1) | (pl.col("number").sum().over("name") > 1) | pl.col("first").is_duplicated()
    )
    unsure = candidates.join(several, on="name", how="semi")
    sure = candidates.join(unsure, on="name", how="anti").select("name", image_id="first")
    shown = pl.col("some").list.explode(keep_nulls=False, empty_as_null=False).alias("image_ids")
    unknown = rest.join(candidates, on="name", how="anti")

    def by_path(rows: pl.DataFrame) -> pl.DataFrame:
        return named.join(rows, on="name", maintain_order="left").drop("name")

    return Matches(
        by_path(pl.concat([same.select("name", "image_id"), sure])),
        by_path(unknown)["path"],
        by_path(unsure.group_by("name").agg(shown)),
    )


def _candidates(wanted: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    """For each name its candidates of one length: how many (`number`), the `first`, and `some` to be shown.

    Never the pairs themselves: where thousands of images have one name, there would be too many.
    """
    parts = pl.col("name").str.count_matches("/", literal=True)
    paths = wanted.select("name").with_columns(parts=parts)
    images = ids.select("image_id", name="image_id").with_columns(parts=parts)
    frames = [
        pl.DataFrame(schema={"name": pl.String, "number": pl.UInt32, "first": pl.String, "some": pl.List(pl.String)})
    ]
    deepest = max(int(frame["parts"].max() or 0) for frame in (paths, images))  # type: ignore[arg-type]
    for depth in range(deepest + 1):
        end = pl.col("name").str.extract(rf"((?:[^/]*/){{{depth}}}[^/]*)$", 1).alias("end")
        same, more = pl.col("parts") == depth, pl.col("parts") > depth
        for some_paths, some_images in (
            (paths.filter(same), images.filter(more)),
            (paths.filter(more), images.filter(same)),
        ):
            if some_paths.height and some_images.height:
                image_id = pl.col("image_id")
                per_end = some_images.group_by(end).agg(
                    number=pl.len(), first=image_id.min(), some=image_id.sort().head(3)
                )
                frames.append(some_paths.with_columns(end).join(per_end, on="end").select(frames[0].columns))
    return pl.concat(frames)
