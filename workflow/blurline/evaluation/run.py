"""The evaluation as people call it: a folder of annotated images in, figures and pictures out."""

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from blurline import params as params_file
from blurline.boxes import Box
from blurline.detectors import ensemble
from blurline.detectors.hashing import weights_digest
from blurline.detectors.yolo import Picture
from blurline.errors import BlurlineError
from blurline.evaluation import annotated, report, scores
from blurline.evaluation.annotated import Choice, Drawn
from blurline.evaluation.scores import Judged
from blurline.images import decode, looks, obfuscate
from blurline.images.decode import Limits, Undecodable
from blurline.images.obfuscate import BlurStyle
from blurline.params import Params
from blurline.steps import blur, detect, merge, weights


def run(
    root: Path,
    images: Path,
    annotations: Path | None,
    output: Path,
    choice: Choice,
    threads: int | None,
    progress: Callable[[int, int], None],
) -> str:
    """Look for faces in annotated images with the params of the project, and write how well that went.

    Parameters
    ----------
    images, annotations, choice
        See `annotated.read`.
    output
        The folder to write to, below `root`.
    threads
        Images looked at at once; by default as many as there are CPU cores.
    progress
        Called with the images looked at, and all there are.

    Returns
    -------
    str
        What to show when it is done.

    Raises
    ------
    BlurlineError
        When something given is wrong, or no image could be looked at.
    """
    params = params_file.load(root)
    limits = Limits(params.download.max_bytes, params.download.max_pixels)
    drawn, absent = annotated.read(images, annotations, choice, limits)
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="blurline-evaluation-") as scratch:
        folder = _weights(root, params, Path(scratch))
        detectors = ensemble.load(params.detect, folder, threads or len(os.sched_getaffinity(0)))
        judged = []
        progress(0, len(drawn))
        for at, one in enumerate(_judged(images, drawn, detectors, params, limits, failed), 1):
            judged.append(one)
            progress(at + len(failed), len(drawn))
    if not judged:
        raise BlurlineError(f"{images}: no image could be looked at ({min(failed.values(), default='')})")
    found = scores.evaluate(judged)
    figures = report.metrics(found, params.detect.confidence, params.detect.candidate)
    notes = _notes(absent, failed)
    about = f"{found.images:,} annotated images of `{images.name}`{_chosen(choice)}, {_looks(params)}.{notes}"
    report.write(root / output, figures, found, about)
    return "\n".join(
        [
            f"{images}: {found.images:,} images, {found.faces['all']:,} faces.{notes}",
            f"  covered: {_percent(figures['coverage']['all'])} of all faces, "
            f"{_percent(figures['coverage']['from_12'])} of those from 12 pixels on; "
            f"by candidates: {_percent(figures['candidate_coverage']['from_12'])}",
            f"  at a cost of {figures['false_boxes_per_image']:.2f} false boxes per image, and "
            f"{_percent(figures['area_outside'])} of the faces' area blurred outside them",
            f"  next: {output / report.TABLE} has the table, {output / report.PICTURE} the curves; `dvc metrics show`",
        ]
    )


def judge(row: Mapping[str, Any], drawn: Drawn, rules: merge.Rules, style: BlurStyle) -> Judged:
    """Put what the detectors found in an image through merge and blur, as if nobody reviewed it.

    Parameters
    ----------
    row
        A row of the detections table.
    """
    faces = merge.merge(dict(row), (), rules)["faces"]
    width, height = row["width"], row["height"]
    boxes = [Box(face["x1"], face["y1"], face["x2"], face["y2"]) for face in faces]
    targets = [obfuscate.Target(*box, face["label"]) for box, face in zip(boxes, faces, strict=True)]
    regions = [obfuscate.plan([target], style, width, height)[0] for target in targets]
    return Judged(
        width=width,
        height=height,
        faces=_clipped(drawn.faces, width, height),
        ignored=_clipped(drawn.ignored, width, height),
        boxes=np.array(boxes, np.int64).reshape(-1, 4),
        scores=np.array([_score(face, rules) for face in faces], np.float64),
        regions=np.array([(one.x1, one.y1, one.x2, one.y2) for one in regions], np.int64).reshape(-1, 4),
    )


def check(image: str, faces: scores.Boxes, width: int, height: int) -> None:
    """Make sure that every annotated face is in its image: others were drawn on a copy of another size.

    Raises
    ------
    BlurlineError
        Naming the first that is not.
    """
    for x1, y1, x2, y2 in faces:
        if x1 < x2 and y1 < y2 and (x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height):
            raise BlurlineError(
                f"{image}: the annotated box {x1}, {y1}, {x2}, {y2} lies outside of the image, which has "
                f"{width}×{height} pixels: were the annotations made on a copy of another size?"
            )


def _score(face: Mapping[str, Any], rules: merge.Rules) -> float:
    """The score on the scale of `detect.confidence`, where the detector has a confidence of its own."""
    score: float = round(face["score"], 3)
    if not rules.confidence_of:
        return score
    moved = score - rules.confidence_of.get(face["detector"], rules.confidence) + rules.confidence
    # What merge blurs is at the threshold or above, whichever of its detectors was sure; the rest is below.
    moved = max(moved, rules.confidence) if face["blur"] else min(moved, rules.confidence - 0.001)
    return round(min(max(moved, 0.001), 1.0), 3)


def _clipped(boxes: scores.Boxes, width: int, height: int) -> scores.Boxes:
    """What lies in the image: nothing else can be found or blurred."""
    inside = np.clip(boxes, 0, [width, height, width, height])
    return inside[(inside[:, 0] < inside[:, 2]) & (inside[:, 1] < inside[:, 3])]


def _judged(
    folder: Path,
    drawn: Mapping[str, Drawn],
    detectors: Mapping[str, Any],
    params: Params,
    limits: Limits,
    failed: dict[str, str],
) -> Iterator[Judged]:
    asked: deque[tuple[str, int, int]] = deque()
    rules, style = merge.Rules.of(params), blur.style_of(params.blur)
    for found in ensemble.look(detectors, _pictures(folder, drawn, limits, asked, failed)):
        path, width, height = asked.popleft()
        row = {"sha256": "", "width": width, "height": height, **detect.outcome("", found)}
        if row["status"] == "ok":
            yield judge(row, drawn[path], rules, style)
        else:
            failed[path] = row["reason"]


def _pictures(
    folder: Path,
    drawn: Mapping[str, Drawn],
    limits: Limits,
    asked: deque[tuple[str, int, int]],
    failed: dict[str, str],
) -> Iterator[Picture]:
    for path, one in drawn.items():
        try:
            decoded = decode.load((folder / path).read_bytes(), limits)
            pixels = looks.for_detection(decoded)
        except Undecodable as error:
            failed[path] = error.reason
            continue
        if decoded.info.frames > 1:
            failed[path] = "several frames are not supported yet"
            continue
        check(path, one.faces, pixels.shape[1], pixels.shape[0])
        asked.append((path, pixels.shape[1], pixels.shape[0]))
        yield Picture(pixels, decoded.oriented)


def _weights(root: Path, params: Params, scratch: Path) -> Path:
    """A folder with the weights: that of the project if they are there, else they are fetched."""
    there = root / "data" / "weights"
    models = params.detect.models()
    if all((there / one.file_name).exists() and weights_digest(there / one.file_name) == one.sha256 for one in models):
        return there
    for one in models:
        weights.place(one, root, scratch / one.file_name, params.download.timeout)
    return scratch


def _looks(params: Params) -> str:
    names = ", ".join(model.name for model in params.detect.models())
    return f"by `{names}` at `detect.preset: {params.detect.preset}`, longest sides {params.detect.image_sizes}"


def _chosen(choice: Choice) -> str:
    part = f", every {choice.every}th of each folder from the {choice.first + 1}. on" if choice.every > 1 else ""
    return part + (f", those like {', '.join(choice.only)}" if choice.only else "")


def _notes(absent: int, failed: Mapping[str, str]) -> str:
    notes = f" {absent:,} annotated images are not in the folder." if absent else ""
    if failed:
        path = min(failed)
        notes += f" {len(failed):,} could not be looked at, such as {path} ({failed[path]})."
    return notes


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"
