"""weights: put the detector's weights into data/weights, SHA-256 checked at both ends."""

import shutil
from pathlib import Path

from blurline.detectors.hashing import weights_digest
from blurline.errors import BlurlineError
from blurline.fetch import FetchFailed, fetch, urls
from blurline.job import Job
from blurline.params import BUILT_IN, Model

ALGORITHM_VERSION = 1
FOLDER = "weights"
PARAMS = ("detect.weights", "detect.sha256", "detect.also")
READS = ()

MAX_BYTES = 10_000_000_000


def run(job: Job) -> None:
    """Write the weights named in params.yaml.

    Raises
    ------
    BlurlineError
        When they are not there, or their SHA-256 is not the one beside them.
    """
    with job.output() as output:
        for model in job.params.detect.models():
            place(model, job.root, output.path(model.file_name), job.params.download.timeout)


def place(model: Model, root: Path, target: Path, timeout: float) -> None:
    """Write the weights of one detector to a path (see `run`)."""
    _fetch(model, root, target, timeout)
    found = weights_digest(target)
    if found != model.sha256:
        raise BlurlineError(
            f"params.yaml: {model.key}.sha256: {urls.shown(model.weights)} has SHA-256 {found}, not {model.sha256}: "
            "use the weights you meant, or write that hash if you trust them (a .pt file can run code)"
        )


def _fetch(model: Model, root: Path, target: Path, timeout: float) -> None:
    weights = model.weights
    if weights == BUILT_IN:
        from blurline.detectors import centerface

        target.write_bytes(centerface.build(centerface.source()))
    elif "://" in weights:
        try:
            target.write_bytes(fetch(weights, root, max_bytes=MAX_BYTES, timeout=timeout))
        except FetchFailed as error:
            raise BlurlineError(f"params.yaml: {model.key}.weights: {urls.shown(weights)}: {error.reason}") from None
    else:
        path = root / Path(weights).expanduser()
        if path.is_dir():
            shutil.copytree(path, target)
        elif path.is_file():
            shutil.copyfile(path, target)
        else:
            raise BlurlineError(
                f"params.yaml: {model.key}.weights: {weights}: not found: "
                f"name {BUILT_IN}, a file or folder, or a URL of ultralytics weights"
            )
