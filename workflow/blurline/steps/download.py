"""download: fetch a shard's images, check them, and keep the bytes exactly as retrieved.

Equal answers make equal shards. So of a row that arrived the table tells nothing that depends on the moment: not how
often it was tried (`attempts` is empty), and the status 200 of the whole even if it came in parts. `final_url` is part
of what the server answered; it is kept without its query, where servers put tokens that are new each time. Of a row
that failed everything is told. The job's log names the rows that took several attempts.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import polars as pl

from blurline import receipts, sources, tables, tars
from blurline.errors import BlurlineError
from blurline.fetch import Fetched, Fetcher, FetchFailed
from blurline.images import CannotRelease, decode
from blurline.images.facts import Facts, facts
from blurline.images.isolated import Workers, room
from blurline.job import Input, Job, Output
from blurline.params import Download

ALGORITHM_VERSION = 2
FOLDER = "raw"
PARAMS = (
    "download.max_bytes",
    "download.max_pixels",
    "download.max_redirects",
    "download.honour_opt_out",
    "download.allow_private_hosts",
)
READS = ()

T = TypeVar("T")
R = TypeVar("R")
Wanted = tuple[str, str, str]
"""image_id, url and pinned SHA-256 of a row."""


@dataclass(frozen=True)
class Kept:
    """An image that had arrived before this retry, and what the table tells of the way that it took."""

    data: bytes
    http_status: int | None
    final_url: str | None


EXTENSIONS = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "GIF": ".gif",
    "TIFF": ".tif",
    "PSD": ".psd",
}


def run(job: Job) -> None:
    """Fetch every row of the shard; a row that fails is recorded with its reason and never stops the run."""
    if job.rows is None:
        raise BlurlineError("download runs on a shard")
    base = sources.find(job.root, job.rows.source).parent
    settings = job.params.download
    manifest = job.rows.rows.select("image_id", "url", "sha256")
    outcomes: Counter[tuple[str, str]] = Counter()

    with job.output() as output, ExitStack() as stack:
        tar = Tars(output, job.shard, stack)
        workers = stack.enter_context(Workers(room(settings.max_pixels)))
        pool = stack.enter_context(ThreadPoolExecutor(job.threads))

        def check(item: tuple[Wanted, Fetched | FetchFailed | Kept]) -> tuple[dict[str, Any], bytes | FetchFailed]:
            (image_id, url, pinned), one = item
            data = one if isinstance(one, FetchFailed) else one.body.take() if isinstance(one, Fetched) else one.data
            if isinstance(one, Fetched) and one.setbacks:
                print(f"{image_id}: arrived after {', '.join(one.setbacks)}", file=sys.stderr)
            return record(image_id, url, pinned, data, settings, look) | answer(one), data

        def look(data: bytes, limits: decode.Limits) -> Facts:
            return workers.call(facts, data, limits)

        fetcher = stack.enter_context(Fetcher(base, settings, output.scratch("arriving")))
        had = kept(job)
        asked = manifest.filter(~pl.col("image_id").is_in(had.keys()))
        found = _joined(manifest, had, fetcher.fetch_all(asked["url"]), job)

        def rows() -> Iterator[dict[str, Any]]:
            checked = _in_order(pool, check, found, 2 * job.threads)
            for row, data in output.track(checked, manifest.height):
                outcomes[row["status"], row["reason"]] += 1
                if isinstance(data, bytes):
                    tar.keep(row, data)
                yield row

        tables.write(output.path(f"{job.shard}.parquet"), rows(), tables.RAW)
        for status in ("ok", "failed", "quarantined"):
            output.counts[status] = sum(number for (one, _), number in outcomes.items() if one == status)
    for (status, reason), number in outcomes.most_common():
        print(f"{job.shard}: {number} {status}{': ' * bool(reason)}{reason}", file=sys.stderr)


def kept(job: Job) -> dict[str, dict[str, Any]]:
    """The rows that need not be asked for again, by image_id: in a retry, those that arrived the last time.

    They are those of the shard's receipt that differs from this job's in nothing but the round.
    """
    if "retry" not in job.parts["rows"]:
        return {}
    before = _before(job)
    if before is None:
        return {}
    table = before.table(f"{job.shard}.parquet", tables.RAW)
    return {row["image_id"]: row for row in table.filter(pl.col("status") == "ok").iter_rows(named=True)}


def _before(job: Job) -> Input | None:
    here = job.root / "data" / FOLDER
    for key in receipts.keys_of(here, job.shard):
        receipt, _ = receipts.load(here / receipts.file_name(job.shard, key))
        if _without_round(receipt.parts) == _without_round(job.parts):
            return Input(here, receipt)
    return None


def _without_round(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {**parts, "rows": {name: value for name, value in parts["rows"].items() if name != "retry"}}


def _joined(
    manifest: pl.DataFrame,
    had: Mapping[str, Mapping[str, Any]],
    found: Iterator[Fetched | FetchFailed],
    job: Job,
) -> Iterator[tuple[Wanted, Fetched | FetchFailed | Kept]]:
    """Every row in the order of the manifest, with what was kept of it or what became of asking for it."""
    before = _before(job) if had else None
    members = tars.read(before.file(f"{job.shard}.tar")) if before is not None else iter(())
    for wanted in manifest.iter_rows():
        row = had.get(wanted[0])
        if row is None:
            yield wanted, next(found)
            continue
        member, data = next(members, ("", b""))
        if member != row["member"] or hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise BlurlineError(
                f"data/raw/{job.shard}.tar: want {row['member']} as its table has it, found {member or 'its end'}: "
                "run `blurline repair`, then snakemake"
            )
        yield wanted, Kept(data, row["http_status"], row["final_url"])


class Tars:
    """Where bytes are kept as they come: the shard's tar, and beside it, only if it is needed, the quarantine's."""

    def __init__(self, output: Output, shard: str, stack: ExitStack) -> None:
        self._output, self._shard, self._stack = output, shard, stack
        self._good = self._open(f"{shard}.tar")
        self._aside: tars.Writer | None = None

    def keep(self, row: dict[str, Any], data: bytes) -> None:
        """Write an image that arrived where its row says; a failed row's bytes are the wrong ones, and are let go."""
        if row["status"] == "ok":
            self._good.add(row["member"], data)
        elif row["status"] == "quarantined":
            self._aside = self._aside or self._open(f"{self._shard}.quarantine.tar")
            self._aside.add(row["member"], data)

    def _open(self, name: str) -> tars.Writer:
        return self._stack.enter_context(tars.Writer(self._output.path(name)))


def answer(found: Fetched | FetchFailed | Kept) -> dict[str, Any]:
    """What a row of the raw table tells of the way that its bytes took."""
    return {
        "http_status": found.http_status,
        "final_url": found.final_url,
        "attempts": found.attempts if isinstance(found, FetchFailed) else None,
    }


def record(
    image_id: str,
    url: str,
    pinned: str,
    data: bytes | FetchFailed,
    settings: Download,
    look: Callable[[bytes, decode.Limits], Facts] = facts,
) -> dict[str, Any]:
    """The row of the raw table for one image: status ok, failed (no right bytes) or quarantined (no image in them).

    ``look`` decodes it: in a worker, so that native code that crashes over an image costs no more than that one.
    """
    row: dict[str, Any] = dict.fromkeys(tables.RAW)
    row |= {"image_id": image_id, "url": url, "member": None, "reason": ""}
    if isinstance(data, FetchFailed):
        return row | {"status": "failed", "reason": data.reason}
    sha256 = hashlib.sha256(data).hexdigest()
    row |= {"sha256": sha256, "bytes": len(data)}
    if pinned and sha256 != pinned:
        return row | {"status": "failed", "reason": "wrong sha256"}
    try:
        image, phash = look(data, decode.Limits(settings.max_bytes, settings.max_pixels))
    except (decode.Undecodable, CannotRelease) as error:
        return row | {"status": "quarantined", "reason": error.reason, "member": sources.member(image_id, "")}
    return row | {
        "status": "ok",
        "phash": phash,
        "member": sources.member(image_id, EXTENSIONS[image.format]),
        "format": image.format,
        "mode": image.mode,
        "width": image.width,
        "height": image.height,
        "frames": image.frames,
        "orientation": image.orientation,
    }


def _in_order(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], window: int) -> Iterator[R]:
    """Like pool.map, but at most `window` results are held at once, however long the list is."""
    todo = iter(items)
    waiting: list[Future[R]] = [pool.submit(function, item) for item in islice(todo, window)]
    while waiting:
        done = waiting.pop(0).result()
        waiting += [pool.submit(function, item) for item in islice(todo, 1)]
        yield done
