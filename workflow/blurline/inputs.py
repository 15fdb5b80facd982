"""All that git tracks of a data set, read and checked together: params, manifests, decisions, boxes, retries."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from blurline import annotations as annotation_files
from blurline import decisions as decision_files
from blurline import params as params_file
from blurline import reach as reaching
from blurline import receipts, retries, sources, tables
from blurline.errors import BlurlineError
from blurline.params import Params
from blurline.reach import Reach
from blurline.sources import Shard
from blurline.steps import checksum

PRIVATE_COLUMNS = ("url", "sha256")  # of the manifest; they lead back to the clear faces
RESERVED_COLUMNS = frozenset(
    {*tables.BLURRED, "state", "faces", "source", "shard", "phash", "unseen", *checksum.KEY_COLUMNS}
)
_HINTED = 20_000  # image_ids that a misspelt one is compared with: comparing takes its time


@dataclass(frozen=True)
class Inputs:
    """What a plan is made of.

    `decisions` and `annotations` know which shards they concern; `rounds` maps shards to their last round of
    `retries`. `unmatched` are the decisions known by their hash alone that are not about a source taken off the list:
    each must have met an image when all are downloaded.
    """

    params: Params
    shards: list[Shard]
    decisions: Reach
    annotations: Reach
    rounds: Mapping[str, int]
    unmatched: pl.DataFrame


def load(root: Path) -> Inputs:
    """Read and check all of it.

    Raises
    ------
    BlurlineError
        For the first thing that is wrong in them, before any work starts.
    """
    params = params_file.load(root)
    if not params.sources:
        raise BlurlineError(
            f"{params_file.place(root, 'sources')}: sources: no source is listed: "
            "`blurline import PATH…` writes a manifest and lists it"
        )
    manifests = sources.read_all(root, params.sources)
    _check_public_columns(params, manifests)
    shards = [shard for manifest in manifests for shard in sources.cut(manifest, params.shard_size)]
    if not shards:
        raise BlurlineError(f"{sources.FOLDER}: no image is listed: add rows to {', '.join(params.sources)}")
    listed = _listed(shards)
    reached = reaching.reach(decision_files.read_all(root), listed)
    _check_strangers(root, params, reached.strangers, manifests, decision_files.locate, "take the decision away")
    boxes = reaching.reach(annotation_files.read_all(root), listed, annotation_files.KEYED)
    _check_strangers(root, params, boxes.strangers, manifests, annotation_files.locate, "take the line away")
    anywhere = reached.anywhere
    unmatched = anywhere.filter(~pl.col("image_id").is_in(_gone(root, params))) if anywhere.height else anywhere
    return Inputs(params, shards, reached, boxes, _rounds(root), unmatched)


def digest(root: Path) -> str:
    """SHA-256 over the very bytes of all that `load` reads: while it stays, so does the plan."""
    folders = (root / part.FOLDER for part in (sources, decision_files, annotation_files))
    paths = [path for folder in folders for path in sorted(folder.glob("*")) if path.suffix in (".csv", ".parquet")]
    files = [root / params_file.FILE, *paths]
    return receipts.digest([[path.as_posix(), receipts.file_digest(path)] for path in files if path.is_file()])


def _listed(shards: list[Shard]) -> pl.DataFrame:
    """The manifest rows as `reach` wants them."""
    return pl.concat(shard.rows.select("image_id", "sha256", shard=pl.lit(shard.name)) for shard in shards)


def _rounds(root: Path) -> dict[str, int]:
    found = retries.read(root)
    for shard in found:
        source = shard.rpartition("-")[0]
        if not any((root / sources.FOLDER / f"{source}.{suffix}").is_file() for suffix in ("csv", "parquet")):
            raise BlurlineError(
                f"{retries.FILE}: shard {shard}: there is no source {source} in {sources.FOLDER}: mend the line"
            )
    return found


def _gone(root: Path, params: Params) -> set[str]:
    """The image_ids of manifests that params.yaml does not list."""
    return {
        image
        for path in sorted((root / sources.FOLDER).iterdir())
        if path.suffix in (".csv", ".parquet") and path.stem not in (*params.sources, retries.NAME)
        for image in sources.read(root, path.stem).rows["image_id"].to_list()
    }


def _like(image: str, manifests: list[sources.Manifest]) -> list[str]:
    """image_ids that a misspelt one may mean: of the same folder, or of the same name in another; else the first."""
    folder, _, name = image.rpartition("/")
    listed = pl.concat([manifest.rows.select("image_id") for manifest in manifests])["image_id"]
    near = listed.filter(listed.str.starts_with(f"{folder}/") | listed.str.ends_with(name))
    return (near if len(near) else listed).head(_HINTED).to_list()


def _check_strangers(
    root: Path,
    params: Params,
    strangers: list[str],
    manifests: list[sources.Manifest],
    locate: Callable[[Path, str], str],
    remedy: str,
) -> None:
    """A decision about no image is misspelt, or about a source that was taken off the list: only the latter is fine."""
    if not strangers:
        return
    gone = _gone(root, params)
    for image in strangers:
        if image not in gone:
            close = difflib.get_close_matches(image, _like(image, manifests), n=1)
            hint = f"did you mean {close[0]}?" if close else f"mend it, or {remedy}"
            raise BlurlineError(
                f"{locate(root, image)}: image_id {image!r} is in no manifest of {sources.FOLDER}: {hint}"
            )


def _check_public_columns(params: Params, manifests: list[sources.Manifest]) -> None:
    for column in params.release.public_columns:
        if column in RESERVED_COLUMNS:
            raise BlurlineError(
                f"{params_file.FILE}: release.public_columns: {column!r} is a column of every release already: "
                "rename it in the manifest, or take it off the list"
            )
    known = {column for manifest in manifests for column in manifest.rows.columns}
    for column in params.release.public_columns:
        if column not in known:
            raise BlurlineError(
                f"{params_file.FILE}: release.public_columns: no manifest has a column {column!r} to publish: "
                f"there are {', '.join(sorted(known - {'image_id'}))}"
            )
