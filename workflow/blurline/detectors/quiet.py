"""The only door to ultralytics and its engines: first, all that would go online, install or remember is shut."""

import atexit
import functools
import importlib
import os
import shutil
import sys
import tempfile
import types
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
    _import_torchvision()
    return module


def _import_torchvision() -> None:
    """Import torchvision without torch's compiler, which nothing here uses and which takes longer than torch itself.

    torchvision.ops.roi_align asks torch._dynamo.utils for one function, called only when features are pooled by
    region. While torchvision is imported, a stand-in says that nothing can be compiled; whoever asks for the compiler
    later gets the true one.
    """
    if "torchvision" in sys.modules or "torch._dynamo" in sys.modules:
        importlib.import_module("torchvision")
        return
    utils = types.ModuleType("torch._dynamo.utils")
    utils.is_compile_supported = lambda device_type: False  # type: ignore[attr-defined]
    stand_ins = {"torch._dynamo": types.ModuleType("torch._dynamo"), "torch._dynamo.utils": utils}
    stand_ins["torch._dynamo"].utils = utils  # type: ignore[attr-defined]
    sys.modules.update(stand_ins)
    try:
        importlib.import_module("torchvision")
    except (ImportError, AttributeError):  # another version, which asks for more
        _forget("torchvision")
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
    importlib.import_module("torchvision")


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]
