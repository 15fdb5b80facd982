"""The Parquet tables of the shards: their columns, reading and writing."""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from blurline.errors import BlurlineError

Schema = Mapping[str, Any]

RELEASED = ("blurred", "unchanged")
OUTCOMES = (*RELEASED, "excluded", "withheld", "failed", "quarantined", "erased")
"""What can become of a row of a manifest: exactly one of these."""

BOX: Schema = {
    "box_id": pl.String,
    "frame": pl.Int32,
    "label": pl.String,
    "detector": pl.String,
    "x1": pl.Int32,
    "y1": pl.Int32,
    "x2": pl.Int32,
    "y2": pl.Int32,
    "score": pl.Float32,
}
FACE: Schema = {
    **BOX,
    "origin": pl.String,
    "verdict": pl.String,
    "blur": pl.Boolean,
    "decided_by": pl.List(pl.String),
}
REGION: Schema = {
    "frame": pl.Int32,
    "x1": pl.Int32,
    "y1": pl.Int32,
    "x2": pl.Int32,
    "y2": pl.Int32,
    "method": pl.String,
    "shape": pl.String,
    "sigma": pl.Float64,
    "cells": pl.Int32,
    "colour": pl.String,
    "full": pl.Float64,
    "residual": pl.Float64,
}

RAW: Schema = {
    "image_id": pl.String,
    "member": pl.String,
    "status": pl.String,
    "reason": pl.String,
    "url": pl.String,
    "sha256": pl.String,
    "bytes": pl.Int64,
    "format": pl.String,
    "mode": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "frames": pl.Int32,
    "orientation": pl.Int32,
    "phash": pl.String,
    "http_status": pl.Int32,
    "final_url": pl.String,
    "attempts": pl.Int32,
}
DETECTIONS: Schema = {
    "image_id": pl.String,
    "sha256": pl.String,
    "status": pl.String,
    "reason": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "faces": pl.List(pl.Struct(dict(BOX))),
}
MERGED: Schema = {
    "image_id": pl.String,
    "sha256": pl.String,
    "status": pl.String,
    "state": pl.String,
    "reason": pl.String,
    "faces": pl.List(pl.Struct(dict(FACE))),
}
BLURRED: Schema = {
    "image_id": pl.String,
    "member": pl.String,
    "action": pl.String,
    "reason": pl.String,
    "sha256_release": pl.String,
    "bytes": pl.Int64,
    "outside": pl.String,
    "outside_db": pl.Float64,
    "regions": pl.List(pl.Struct(dict(REGION))),
}
FOUND: Schema = {
    "region": pl.Int32,
    "frame": pl.Int32,
    "x1": pl.Int32,
    "y1": pl.Int32,
    "x2": pl.Int32,
    "y2": pl.Int32,
    "score": pl.Float32,
    "label": pl.String,
    "detector": pl.String,
}
"""A box in a released image that lies in a blurred region, whose index in the blurred table is `region`."""
RECHECK: Schema = {
    "image_id": pl.String,
    "sha256_release": pl.String,
    "status": pl.String,
    "reason": pl.String,
    "found": pl.List(pl.Struct(dict(FOUND))),
    "elsewhere": pl.Int32,
}
"""`elsewhere` counts the boxes that lie in no region; null where nobody looked."""


BATCH = 1000
"""Rows that become columns together."""


def write(path: Path, rows: Iterable[Mapping[str, Any]], schema: Schema) -> None:
    """Write rows as Parquet; equal rows give equal bytes (Parquet holds no time or host).

    The rows may come one by one: they are held as columns, which take a fraction of the memory.
    """
    todo = iter(rows)
    frames = [pl.DataFrame(schema=dict(schema))]
    while batch := list(islice(todo, BATCH)):
        frames.append(pl.DataFrame(batch, schema=dict(schema), orient="row"))
    pl.concat(frames, rechunk=True).write_parquet(path, compression="zstd")


def read(path: Path, schema: Schema) -> pl.DataFrame:
    """Read a table and check that its columns are those of `schema`.

    Raises
    ------
    BlurlineError
        When the file is no such table.
    """
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        problem = str(error).splitlines()[0]
        raise BlurlineError(f"{path}: not a Parquet table ({problem}): `blurline verify` says what else is") from None
    if dict(frame.schema) != dict(schema):
        raise BlurlineError(f"{path}: other columns than this version writes: run snakemake to make it anew")
    return frame
