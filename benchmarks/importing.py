"""How long an import takes beside hashing: rows appended to a manifest of 1.4 million, and files and members found.

    uv run python benchmarks/importing.py [rows of the manifest] [images]

Every figure stands beside a peer measured in the same run: reading the manifest, or hashing the same bytes.
"""

import hashlib
import io
import random
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from blurline import sources
from blurline.importing.run import Options, run

PARAMS = f"dataset: {{name: b}}\nsources: [big]\ndetect: {{weights: centerface, sha256: {'a' * 64}}}\n"
JPEG = b"\xff\xd8\xff"


@contextmanager
def clock(what: str, times: dict[str, float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times[what] = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:60} {times[what]:8.2f} s   (peak memory so far {peak:,.0f} MiB)", flush=True)


def manifest(path: Path, rows: int) -> None:
    numbers = pl.DataFrame({"n": range(rows)})
    name = pl.format("n{}/n{}_{}.JPEG", pl.col("n") // 1300 + 10_000_000, pl.col("n") // 1300, "n")
    url = pl.format("file:///data/imagenet/train/{}", name)
    sha256 = pl.Series([hashlib.sha256(str(n).encode()).hexdigest() for n in range(rows)])
    numbers.select(image_id=name, url=url, sha256=sha256).write_csv(path)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_400_000
    images = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "project"
        (root / "data/sources").mkdir(parents=True)
        (root / "params.yaml").write_text(PARAMS)
        with clock(f"writing a manifest of {rows:,} rows", times):
            manifest(root / "data/sources/big.csv", rows)
        with clock("reading and checking it, as planning does", times):
            sources.read(root, "big")
        one = Path(folder) / "one"
        one.mkdir()
        (one / "new.jpg").write_bytes(JPEG)
        with clock("importing one image into it", times):
            run(root, [one], Options("big"), lambda done, of: None)
        with clock("importing it again", times):
            run(root, [one], Options("big"), lambda done, of: None)
        (root / "data/sources/big.csv").write_text("image_id,url\n")

        dice, many = random.Random(0), Path(folder) / "many"
        packed = Path(folder) / "many.tar"
        with tarfile.open(packed, "w") as out:
            for n in range(images):
                data = JPEG + dice.randbytes(20_000)
                path = many / f"class{n % 100}" / f"{n}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                info = tarfile.TarInfo(f"class{n % 100}/{n}.jpg")
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
        with clock(f"hashing {images:,} files of 20 kB, one thread, nothing else", times):
            for path in many.rglob("*.jpg"):
                with path.open("rb") as stream:
                    hashlib.file_digest(stream, "sha256").hexdigest()
        with clock("importing them from the folder", times):
            run(root, [many], Options(prefix="folder/"), lambda done, of: None)
        with clock("importing them from a tar file", times):
            run(root, [packed], Options("packed", "tar/"), lambda done, of: None)
    hashing = times[f"hashing {images:,} files of 20 kB, one thread, nothing else"]
    reading = times["reading and checking it, as planning does"]
    print(f"one image into {rows:,} rows: {times['importing one image into it'] / reading:.1f} × reading them")
    print(f"a folder: {times['importing them from the folder'] / hashing:.1f} × hashing it in one thread")
    print(f"a tar file: {times['importing them from a tar file'] / hashing:.1f} × hashing the files in one thread")


if __name__ == "__main__":
    main()
