"""The tar files of the shards: equal members give equal bytes."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType


class Writer:
    """Writes members in the order given, with mtime 0, uid 0, mode 0644 and no names of users."""

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 (closed by __exit__)

    def add(self, member: str, data: bytes) -> None:
        info = tarfile.TarInfo(member)
        info.size, info.mode, info.mtime = len(data), 0o644, 0
        self._tar.addfile(info, io.BytesIO(data))
        self._tar.members = []  # type: ignore[attr-defined]  # else tarfile remembers all it has written

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tar.close()


def read(path: Path) -> Iterator[tuple[str, bytes]]:
    """Members and their bytes, in order, one at a time."""
    with tarfile.open(path, "r:") as tar:
        for info in tar:
            stream = tar.extractfile(info)
            if stream is not None:
                yield info.name, stream.read()
            tar.members = []  # type: ignore[attr-defined]  # else tarfile remembers all it has seen
