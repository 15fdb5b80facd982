"""download: fetch a shard's images, check them, and keep the bytes exactly as retrieved.

Equal answers make equal shards. So of a row that arrived the table tells nothing that depends on the moment: not how
often it was tried (`attempts` is empty), and the status 200 of the whole even if it came in parts. `final_url` is part
of what the server answered; it is kept without its query, where servers put tokens that are new each time. Of a row
that failed everything is told. The job's log names the rows that took several attempts.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import Any, TypeVar

from blurline import sources, tables, tars
from blurline.errors import BlurlineError
from blurline.fetch import Fetched, Fetcher, FetchFailed
from blurline.images import decode
from blurline.job import Job, Output
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

    def check(item: tuple[tuple[str, str, str], Fetched | FetchFailed]) -> tuple[dict[str, Any], bytes | FetchFailed]:
        (image_id, url, pinned), one = item
        data = one.body.take() if isinstance(one, Fetched) else one
        if isinstance(one, Fetched) and one.setbacks:
            print(f"{image_id}: arrived after {', '.join(one.setbacks)}", file=sys.stderr)
        return record(image_id, url, pinned, data, settings) | answer(one), data

    with job.output() as output, ExitStack() as stack:
        tar = Tars(output, job.shard, stack)
        pool = stack.enter_context(ThreadPoolExecutor(job.threads))
        fetcher = stack.enter_context(Fetcher(base, settings, output.scratch("arriving")))
        found = fetcher.fetch_all(manifest["url"])

        def rows() -> Iterator[dict[str, Any]]:
            items = zip(manifest.iter_rows(), found, strict=True)
            checked = _in_order(pool, check, items, 2 * job.threads)
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


def answer(found: Fetched | FetchFailed) -> dict[str, Any]:
    """What a row of the raw table tells of the way that its bytes took."""
    return {
        "http_status": found.http_status,
        "final_url": found.final_url,
        "attempts": found.attempts if isinstance(found, FetchFailed) else None,
    }


def record(image_id: str, url: str, pinned: str, data: bytes | FetchFailed, settings: Download) -> dict[str, Any]:
    """The row of the raw table for one image: status ok, failed (no right bytes) or quarantined (no image in them)."""
    row: dict[str, Any] = dict.fromkeys(tables.RAW)
    row |= {"image_id": image_id, "url": url, "member": None, "reason": ""}
    if isinstance(data, FetchFailed):
        return row | {"status": "failed", "reason": data.reason}
    sha256 = hashlib.sha256(data).hexdigest()
    row |= {"sha256": sha256, "bytes": len(data)}
    if pinned and sha256 != pinned:
        return row | {"status": "failed", "reason": "wrong sha256"}
    try:
        image = decode.inspect(data, decode.Limits(settings.max_bytes, settings.max_pixels))
    except decode.Undecodable as error:
        return row | {"status": "quarantined", "reason": error.reason, "member": sources.member(image_id, "")}
    return row | {
        "status": "ok",
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
