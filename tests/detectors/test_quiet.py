"""Nothing phones home, installs anything, or touches the user's files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Audit hooks see every attempt, also one whose error is swallowed, in every thread.
WATCHED = """
import json, sys
seen = []
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"):
        seen.append([event, str(args)])
        raise OSError("no network here")
    if event in ("subprocess.Popen", "os.exec", "os.system", "os.posix_spawn") and any(
        word in str(args) for word in ("pip", "uv")
    ):
        seen.append([event, str(args)])
        raise OSError("no installs here")
sys.addaudithook(watch)
"""
DETECT = """
from pathlib import Path
import numpy as np
from blurline.detectors.hashing import weights_digest
from blurline.detectors.yolo import Detector, Looks
heavy = [name for name in ("torch", "ultralytics", "onnx", "onnxruntime", "cv2") if name in sys.modules]
weights = Path(sys.argv[1])
detector = Detector(weights, weights_digest(weights), looks=Looks((64,)), candidate=0.1, nms_iou=0.4,
                    classes=None, engine="auto", device="cpu", precision="f32", threads=1, batch=1)
answers = list(detector.detect([np.zeros((64, 64, 3), np.uint8)] * 2))
from ultralytics.utils.checks import check_requirements
installed = check_requirements("no-such-package-for-blurline")
from ultralytics.utils import SETTINGS, events
compiler = "torch._dynamo" in sys.modules
print(json.dumps({"seen": seen, "heavy": heavy, "compiler": compiler, "answers": answers, "sync": SETTINGS["sync"],
                  "enabled": bool(events.events.enabled), "installed": installed}, default=str))
"""
PLAIN = """
import ultralytics
print(json.dumps({"seen": seen}))
"""


def run(code: str, home: Path, *arguments: object, trace: bool = False) -> dict[str, Any]:
    home.mkdir(exist_ok=True)
    (home / "work").mkdir()
    gone = ("YOLO_", "PYTEST", "OMP_", "ORT_", "CI", "GITHUB_")  # those that switch reports off by themselves too
    environment = {name: value for name, value in os.environ.items() if not name.startswith(gone)}
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "TMPDIR": str(home / "tmp")}
    (home / "tmp").mkdir()
    tracer = ["strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(home / "trace")] if trace else []
    done = subprocess.run(
        [*tracer, sys.executable, "-c", WATCHED + code, *map(str, arguments)],
        cwd=home / "work",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("model", ["face_model", "torch_model"])
def test_importing_and_predicting_is_silent(model: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    home = tmp_path / "home"
    settings = home / ".config/Ultralytics/settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"sync": true}')
    answer = run(DETECT, home, request.getfixturevalue(model))
    assert answer["seen"] == []
    assert answer["heavy"] == []
    assert not answer["compiler"]  # torch's compiler takes longer to import than torch, and is not used
    assert len(answer["answers"]) == 2
    assert not answer["sync"] and not answer["enabled"] and not answer["installed"]
    assert settings.read_text() == '{"sync": true}'
    assert sorted(path.name for path in settings.parent.iterdir()) == ["settings.json"]
    assert list((home / "work").iterdir()) == []
    # The settings and the copy of the weights are gone, and onnxruntime has left no identifier of this machine.
    assert [path for path in home.rglob("*") if path.is_file()] == [settings]
    assert not list((home / "tmp").glob("blurline*"))


def test_the_watch_would_see_it(tmp_path: Path) -> None:
    assert run(PLAIN, tmp_path / "home")["seen"]


def strace_works() -> bool:
    try:
        return subprocess.run(["strace", "-f", "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not strace_works(), reason="strace cannot trace here")
def test_native_code_is_silent_too(face_model: Path, tmp_path: Path) -> None:
    run(DETECT, tmp_path / "home", face_model, trace=True)
    # Without ORT_DISABLE_TELEMETRY, onnxruntime looks up mobile.events.data.microsoft.com at once.
    assert "AF_INET" not in (tmp_path / "home/trace").read_text()


def test_an_onnxruntime_that_reports_is_refused(tmp_path: Path) -> None:
    code = """
sys.modules["onnxruntime"] = sys  # stands in: the real one would report
from blurline.detectors import quiet
from blurline.errors import BlurlineError
try:
    quiet.ultralytics()
except BlurlineError as error:
    print(json.dumps({"error": str(error)}))
"""
    assert "before its telemetry was off" in run(code, tmp_path / "home")["error"]


def test_an_ultralytics_that_is_online_is_refused(tmp_path: Path) -> None:
    code = """
seen.append("kept quiet")
import ultralytics
from blurline.detectors import quiet
from blurline.errors import BlurlineError
try:
    quiet.ultralytics()
except BlurlineError as error:
    print(json.dumps({"error": str(error)}))
"""
    assert "before its network access was off" in run(code, tmp_path / "home")["error"]
