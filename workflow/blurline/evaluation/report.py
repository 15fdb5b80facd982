"""An evaluation as people and tools read it: metrics, a curve, a table and a picture."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from blurline.evaluation.scores import COVERED, FALSE_IOU, MATCH_IOU, SIZES, Evaluation

METRICS, CURVE, PICTURE, TABLE, DVC = "metrics.json", "curve.csv", "curves.png", "README.md", "dvc.yaml"
_DVC = f"""\
# Lets `dvc metrics` and `dvc plots` show what `blurline evaluate` found.
metrics:
- {METRICS}
plots:
- {CURVE}:
    x: false_boxes_per_image
    y: [coverage_from_12, coverage_all]
    title: Faces covered, and the false boxes that it costs
"""
_NAMES = {
    "all": "all",
    "from_12": "12 and more",
    "under_8": "under 8",
    "8_to_12": "8 to 12",
    "12_to_20": "12 to 20",
    "20_to_40": "20 to 40",
    "from_40": "40 and more",
}


def metrics(found: Evaluation, confidence: float, candidate: float) -> dict[str, Any]:
    """The figures at the two thresholds, as plain JSON data; None where there are no faces to tell of."""
    curve = found.curve
    at, low = curve.at(confidence), curve.at(candidate)
    return {
        "images": found.images,
        "faces": found.faces,
        "confidence": confidence,
        "candidate": candidate,
        "coverage": {name: _rounded(curve.coverage[name][at]) for name in SIZES},
        "false_boxes_per_image": _rounded(curve.false_boxes[at]),
        "area_outside": _rounded(curve.outside[at]),
        "candidate_coverage": {name: _rounded(curve.coverage[name][low]) for name in SIZES},
        "candidates_per_image_that_are_false": _rounded(curve.false_boxes[low]),
        "recall": {name: _rounded(curve.recall[name][at]) for name in SIZES},
        "precision": _rounded(curve.precision[at]),
        "average_precision": {name: _rounded(found.average_precision[name]) for name in SIZES},
    }


def write(folder: Path, figures: dict[str, Any], found: Evaluation, about: str) -> None:
    """Write the files of an evaluation; `about` says in a line of Markdown what was evaluated."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / CURVE, curve_csv(found).encode())
    _replace(folder / PICTURE, picture(figures, found))
    _replace(folder / TABLE, table(figures, about).encode())
    _replace(folder / DVC, _DVC.encode())
    _replace(folder / METRICS, (json.dumps(figures, indent=1) + "\n").encode())


def curve_csv(found: Evaluation) -> str:
    """Every hundredth of a threshold, one row each, from the highest to the lowest."""
    curve = found.curve
    columns = {
        "threshold": curve.thresholds,
        "false_boxes_per_image": curve.false_boxes,
        "area_outside": curve.outside,
        "precision": curve.precision,
        **{f"coverage_{name}": curve.coverage[name] for name in SIZES},
        **{f"recall_{name}": curve.recall[name] for name in SIZES},
    }
    stream = io.StringIO()
    lines = csv.writer(stream, lineterminator="\n")
    lines.writerow(columns)
    for at in range(0, 1000, 10):
        lines.writerow(_blank(column[at]) for column in columns.values())
    return stream.getvalue()


def table(figures: dict[str, Any], about: str) -> str:
    """The figures as Markdown."""
    rows = [
        f"| {_NAMES[name]} | {figures['faces'][name]:,} | {_percent(figures['coverage'][name])} | "
        f"{_percent(figures['candidate_coverage'][name])} | {_percent(figures['recall'][name])} | "
        f"{_percent(figures['average_precision'][name])} |"
        for name in SIZES
    ]
    return f"""# How well faces are found

{about}

| shorter side, pixels | faces | covered | covered by candidates | recall | average precision |
| --- | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

At `detect.confidence` {figures["confidence"]}, over {figures["images"]:,} images, without review:

| false boxes per image | area blurred outside faces, relative to theirs | precision |
| ---: | ---: | ---: |
| {_number(figures["false_boxes_per_image"])} | {_number(figures["area_outside"])} | {_percent(figures["precision"])} |

*Covered*: {COVERED:.0%} or more of an annotated face lie inside one region that is blurred, margin included.
*Covered by candidates*: the same at `detect.candidate` {figures["candidate"]}, what reviewers can confirm.
*False*: an overlap (IoU) under {FALSE_IOU} with every annotation.
*Recall*, *precision*, *average precision*: at an IoU of {MATCH_IOU}.

![curves]({PICTURE})
"""


def picture(figures: dict[str, Any], found: Evaluation) -> bytes:
    """The curves as a PNG, the same bytes for the same figures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curve = found.curve
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    cost, sizes, exact = figure.subplots(1, 3)
    at = curve.at(figures["confidence"])
    for name in ("from_12", "all"):
        (line,) = cost.plot(curve.false_boxes, curve.coverage[name], label=f"faces: {_NAMES[name]}")
        cost.plot(curve.false_boxes[at], curve.coverage[name][at], "o", color=line.get_color())
    cost.set(xlabel="false boxes per image", ylabel="coverage", title="what coverage costs", ylim=(0, 1.02))
    cost.set_xscale("symlog", linthresh=0.1)
    cost.set_xlim(left=0)
    for name in SIZES:
        if found.faces[name] and name not in ("all", "from_12"):
            sizes.plot(curve.thresholds, curve.coverage[name], label=f"{_NAMES[name]} px")
            exact.plot(curve.recall[name], curve.precision, label=f"{_NAMES[name]} px")
    for threshold, style in ((figures["confidence"], "-"), (figures["candidate"], ":")):
        sizes.axvline(threshold, color="grey", linewidth=1, linestyle=style)
    sizes.set(xlabel="threshold", ylabel="coverage", title="by size of face", ylim=(0, 1.02), xlim=(0, 1))
    exact.set(xlabel="recall", ylabel="precision, all sizes", title="at an IoU of 0.5", ylim=(0, 1.02), xlim=(0, 1))
    for axes in (cost, sizes, exact):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    stream = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _replace(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.write_bytes(data)
    unfinished.replace(path)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)


def _blank(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
