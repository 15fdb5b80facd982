"""The only door to ultralytics and its engines: first, all that would go online, install or remember is shut."""

import atexit
import functools
import importlib
import os
import shutil
import sys
import tempfile
from typing import Any

from blurline.errors import BlurlineError

# Each is read while its package is imported, and never again.
_ENVIRONMENT = {
    # onnxruntime has reported to Microsoft from Linux too since 1.29 (its pull request 27379), from native threads
    # that no Python hook sees. With this it sends nothing and writes no device identifier.
    "ORT_DISABLE_TELEMETRY": "1",
    # ultralytics 8.4.190, utils/__init__.py:
    "YOLO_OFFLINE": "true",  # is_online() is then False: no look-ups, no downloads, no analytics
    "YOLO_AUTOINSTALL": "false",  # check_requirements() then starts no pip or uv
    "YOLO_VERBOSE": "false",  # errors only: what else it says, we check
}
# Settings that would report or upload. Most concern training; switched off all the same.
_SETTINGS_OFF = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")


@functools.cache
def ultralytics() -> Any:
    """Import ultralytics so that it and its engines stay offline, install nothing and leave the user's files alone.

    Its settings go to a new private folder, one per process, so that parallel processes never meet there; the folder
    is removed at exit. torchvision is imported too: ultralytics' NMS picks its implementation by whether it is there.

    Returns
    -------
    module
        ``ultralytics``.

    Raises
    ------
    BlurlineError
        When something else imported ultralytics or onnxruntime before, with access to the network or to pip.
    """
    if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
        raise BlurlineError(
            "onnxruntime was imported before its telemetry was off: "
            "set ORT_DISABLE_TELEMETRY=1, or import it only after blurline.detectors.quiet.ultralytics()"
        )
    if "ultralytics" not in sys.modules:
        os.environ.update(_ENVIRONMENT)
        folder = tempfile.mkdtemp(prefix="blurline-ultralytics-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = folder
        os.environ.pop("ULTRALYTICS_API_KEY", None)
    module = importlib.import_module("ultralytics")
    utils = importlib.import_module("ultralytics.utils")
    if utils.ONLINE or utils.AUTOINSTALL:
        raise BlurlineError(
            "ultralytics was imported before its network access was off: "
            "import it only through blurline.detectors.quiet"
        )
    for name in _SETTINGS_OFF:
        dict.__setitem__(utils.SETTINGS, name, False)  # in memory: the file might be the user's own
    importlib.import_module("ultralytics.utils.events").events.enabled = False
    # select_device() sets torch to this many threads, for the whole process where MKL is concerned; see engine.py.
    torch_utils: Any = importlib.import_module("ultralytics.utils.torch_utils")
    torch_utils.NUM_THREADS = 1
    importlib.import_module("torchvision")
    return module
