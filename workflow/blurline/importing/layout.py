"""What folders say of the images in them: the layout that torchvision and Hugging Face call ImageFolder."""

import polars as pl

SPLITS = ("train", "val", "valid", "validation", "test")


def columns(paths: pl.Series) -> pl.DataFrame:
    """The columns `split` and `class` of images by their relative paths; "" where the folders say nothing.

    `[<wrapper>/][train|val|…/]<class>/<image>`: a split if every image lies in a folder with such a name, and a class
    if every image of the split lies in exactly one more folder. Folders that hold everything else are passed over.
    """
    frame = pl.DataFrame({"rest": paths, "split": pl.Series([""], dtype=pl.String).new_from_index(0, len(paths))})
    while frame.height:
        folders = frame["rest"].str.extract(r"^([^/]+)/", 1)
        if folders.null_count():
            break
        inside = pl.col("rest").str.replace(r"^[^/]+/", "")
        if folders.str.to_lowercase().is_in(SPLITS).all():
            frame = frame.with_columns(inside, split=folders)
            break
        if folders.n_unique() > 1 or not frame["rest"].str.contains("/.*/").all():
            break
        frame = frame.with_columns(inside)
    in_one_folder = pl.col("rest").str.contains(r"^[^/]+/[^/]+$").all().over("split")
    folder = pl.col("rest").str.extract(r"^([^/]+)/", 1)
    return frame.select("split", pl.when(in_one_folder).then(folder).otherwise(pl.lit("")).alias("class"))
