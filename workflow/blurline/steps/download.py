"""download: fetch a shard's images, check them, and keep the bytes exactly as retrieved."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

from blurline import sources, tables, tars
from blurline.errors import BlurlineError
from blurline.fetch import FetchFailed, fetch
from blurline.images import decode
from blurline.job import Job
from blurline.params import Download

ALGORITHM_VERSION = 1
FOLDER = "raw"
PARAMS = ("download.max_bytes", "download.max_pixels")
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
    rows: list[dict[str, Any]] = []

    def get(row: tuple[str, str]) -> bytes | FetchFailed:
        try:
            return fetch(row[1], base, max_bytes=settings.max_bytes, timeout=settings.timeout)
        except FetchFailed as error:
            return error

    manifest = job.rows.rows.select("image_id", "url", "sha256").rows()
    with (
        job.output() as output,
        tars.Writer(output.path(f"{job.shard}.tar")) as good,
        ThreadPoolExecutor(job.threads) as pool,
    ):
        quarantine: list[tuple[str, bytes]] = []
        found = _in_order(pool, get, ((image, url) for image, url, _ in manifest), 2 * job.threads)
        fetched = zip(manifest, found, strict=True)
        for (image_id, url, pinned), data in output.track(fetched, len(manifest)):
            row = record(image_id, url, pinned, data, settings)
            rows.append(row)
            if isinstance(data, bytes) and row["status"] == "ok":
                good.add(row["member"], data)
            elif isinstance(data, bytes) and row["status"] == "quarantined":
                quarantine.append((row["member"], data))
        if quarantine:
            with tars.Writer(output.path(f"{job.shard}.quarantine.tar")) as aside:
                for member, data in quarantine:
                    aside.add(member, data)
        tables.write(output.path(f"{job.shard}.parquet"), rows, tables.RAW)
        for status in ("ok", "failed", "quarantined"):
            output.counts[status] = sum(row["status"] == status for row in rows)


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
