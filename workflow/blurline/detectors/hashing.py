"""The identity of a weights file: checked before anything in it is parsed, let alone unpickled."""

import hashlib
from pathlib import Path

from blurline.errors import BlurlineError


def weights_digest(path: Path) -> str:
    r"""SHA-256 of a weights file, or of a folder of them, as 64 lowercase hex digits.

    A folder's digest covers the names and bytes of all files below it. It is the SHA-256 of one line per file,
    ``"<sha256>  <path relative to the folder, with forward slashes>\n"`` in UTF-8, sorted by that path's bytes.
    Inside the folder, this prints the same (for names without newline or backslash, which sha256sum escapes)::

        export LC_ALL=C; find -L . -type f -printf '%P\n' | sort | xargs -d '\n' sha256sum | sha256sum

    Raises
    ------
    BlurlineError
        When `path` does not exist, is a folder without files, or holds a symbolic link to a folder. (Links to files
        are followed: DVC makes them.)
    """
    if path.is_file():
        return _file_digest(path)
    if not path.is_dir():
        raise BlurlineError(f"{path}: no such weights: give the path of a weights file or of an OpenVINO folder")
    members = sorted(path.rglob("*"), key=lambda member: member.relative_to(path).as_posix().encode())
    linked = [member for member in members if member.is_symlink() and member.is_dir()]
    if linked:
        raise BlurlineError(f"{linked[0]}: a symbolic link to a folder inside weights: put the folder itself there")
    lines = [f"{_file_digest(file)}  {file.relative_to(path).as_posix()}\n" for file in members if file.is_file()]
    if not lines:
        raise BlurlineError(f"{path}: a folder without weights: give one that ultralytics exported")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
