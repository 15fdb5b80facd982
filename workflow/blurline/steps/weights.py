"""weights: put the detector's weights into data/weights, SHA-256 checked at both ends."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit

from blurline.detectors.hashing import weights_digest
from blurline.errors import BlurlineError
from blurline.fetch import FetchFailed, fetch, urls
from blurline.job import Job

ALGORITHM_VERSION = 1
FOLDER = "weights"
PARAMS = ("detect.weights", "detect.sha256")
READS = ()

BUILT_IN = "centerface"
MAX_BYTES = 10_000_000_000


def file_name(weights: str) -> str:
    """The name below data/weights of what `detect.weights` names. ultralytics chooses its engine by that name."""
    if weights == BUILT_IN:
        return f"{BUILT_IN}.onnx"
    path = urlsplit(weights).path if "://" in weights else weights
    return path.rstrip("/").rsplit("/", 1)[-1]


def run(job: Job) -> None:
    """Write the weights named in params.yaml.

    Raises
    ------
    BlurlineError
        When they are not there, or their SHA-256 is not `detect.sha256`.
    """
    wanted = job.params.detect
    with job.output() as output:
        target = output.path(file_name(wanted.weights))
        _place(wanted.weights, job.root, target, job.params.download.timeout)
        found = weights_digest(target)
        if found != wanted.sha256:
            raise BlurlineError(
                f"params.yaml: detect.sha256: {urls.shown(wanted.weights)} has SHA-256 {found}, not {wanted.sha256}: "
                "use the weights you meant, or write that hash if you trust them (a .pt file can run code)"
            )


def _place(weights: str, root: Path, target: Path, timeout: float) -> None:
    if weights == BUILT_IN:
        from blurline.detectors import centerface

        target.write_bytes(centerface.build(centerface.source()))
    elif "://" in weights:
        try:
            target.write_bytes(fetch(weights, root, max_bytes=MAX_BYTES, timeout=timeout))
        except FetchFailed as error:
            raise BlurlineError(f"params.yaml: detect.weights: {urls.shown(weights)}: {error.reason}") from None
    else:
        path = root / Path(weights).expanduser()
        if path.is_dir():
            shutil.copytree(path, target)
        elif path.is_file():
            shutil.copyfile(path, target)
        else:
            raise BlurlineError(
                f"params.yaml: detect.weights: {weights}: not found: "
                f"name {BUILT_IN}, a file or folder, or a URL of ultralytics weights"
            )
