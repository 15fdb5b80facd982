"""What each way to blur leaves of a face, and what it takes from the picture. Prints a table, and can draw it.

Faces: the hundred of scikit-image's sample of LFW, those that the detector finds in the pictures of installed packages,
and those of a folder of annotated images if one is named. There is one photograph of each person, so others are made
of it: turned, moved, scaled, lit otherwise, with smooth shadows and noise. That is kinder to the attacker than life, so
only the order of the figures means something. Then:

detail      `residual_detail`: 1 for an untouched face, 0 when nothing is left.
matched     The attacker knows who may be in the picture, has ten such photographs of each, blurs them in the same way
            (the parrot attack), and learns to tell them apart: eigenfaces, whitened by what differs within a person.
            Share of new photographs for which the right person comes first.
recovered   The attacker knows method and strength, and undoes them: Wiener and Richardson-Lucy deconvolution of a
            Gaussian, bicubic interpolation of a mosaic. Correlation of the Laplacians with the original's, at 32 × 32
            pixels: 1 for the original, 0 for one colour; of the best attack on average.
found       Share of faces in whole pictures in which the detector (preset fast) still sees a face.
change      Mean absolute change over whole pictures, in levels of 255, relative to that of the first solid row.
area        Share of the pictures' pixels that may change.

    uv run python -m benchmarks.obfuscation
    uv run python -m benchmarks.obfuscation --images FOLDER --annotations FILE --draw docs/pictures/blur-tradeoff.png
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, laplace
from skimage.restoration import richardson_lucy, wiener

from blurline import params as params_file
from blurline.boxes import Box
from blurline.detectors import centerface, ensemble, quiet
from blurline.detectors.yolo import Detector, Failure
from blurline.evaluation import annotated
from blurline.evaluation.annotated import Choice
from blurline.images import decode
from blurline.images.decode import Limits
from blurline.images.obfuscate import BlurStyle, Region, Target, obfuscate, residual_detail, touched
from blurline.params import Blur, Params
from blurline.steps.blur import style_of
from tests.workflow.project import TOP

PACKAGED = (
    ("ultralytics", "assets/bus.jpg"),
    ("ultralytics", "assets/zidane.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("skimage", "data/astronaut.png"),
)
FACE, CONTEXT, GRID = 100, 50, 32  # pixels: a face's longer side, what is kept around it, the attacker's view
TRAINING, PROBES = 10, 3  # photographs of a person that the attacker learns from, and new ones
RECOVERED = 40  # faces to deconvolve
FIELD = 12.0  # levels, of each of the smooth fields by which photographs of a person differ
SMALLEST = 24  # pixels, of faces to attack


@dataclass(frozen=True)
class Face:
    """A face of 100 pixels with its surroundings: uint8 (H, W), and its box in them."""

    pixels: np.ndarray
    box: Box


@dataclass(frozen=True)
class Way:
    """A way to blur; `beside`: the face is one of 40 pixels, beside one of 300."""

    name: str
    style: BlurStyle | None
    beside: bool = False

    def apply(self, face: Face) -> tuple[Face, Region | None]:
        if self.style is None:
            return face, None
        if not self.beside:
            pixels, (region,) = obfuscate(face.pixels, [Target(*face.box)], self.style)
            return Face(pixels, face.box), region
        height, width = (round(side * 0.4) for side in face.pixels.shape)
        small = np.asarray(Image.fromarray(face.pixels).resize((width, height), Image.Resampling.LANCZOS))
        wide = np.pad(small, ((0, 0), (0, 40)), mode="edge")
        box = Box(*(round(v * 0.4) for v in face.box))
        pixels, regions = obfuscate(wide, [Target(*box), Target(width + 39, -100, width + 339, 200)], self.style)
        (region,) = (one for one in regions if one.x1 < width)
        return Face(np.ascontiguousarray(pixels[:, :width]), box), region


@dataclass(frozen=True)
class Row:
    """The figures of a way."""

    way: Way
    detail: float
    matched: float
    recovered: float
    found: float
    change: float
    area: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=Path)
    options.add_argument("--annotations", type=Path)
    options.add_argument("--draw", type=Path)
    chosen = options.parse_args()
    quiet.ultralytics()
    # The preset fast stands for the detectors of others.
    params = params_file.parse(params_file.read_text(TOP).replace("preset: balanced", "preset: fast"))
    finder = detector(params)
    pictures = packaged(finder, params)
    if chosen.images:
        pictures += from_folder(chosen.images, chosen.annotations, params)
    faces = [*lfw(), *(face for picture, boxes in pictures for face in cut(picture, boxes))]
    number = sum(len(boxes) for _, boxes in pictures)
    print(f"{len(faces)} faces to attack, of which 100 of LFW; {number} faces in {len(pictures)} whole pictures\n")
    random = np.random.default_rng(7)
    album = [[another(face, random) for _ in range(TRAINING + PROBES)] for face in faces]
    rows = []
    for way in ways():
        print(way.name, file=sys.stderr)
        figures = detail(way, faces), matched(way, album), recovered(way, faces)
        rows.append(Row(way, *figures, *whole(way, pictures, finder, params.detect.confidence)))
    solid = next(row.change for row in rows if row.way.style and row.way.style.method == "solid")
    print(f"By chance, {1 / len(faces):.1%} would be matched.\n")
    print("| | detail | matched | recovered | found | change | area |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        attacks = f"{row.detail:.3f} | {row.matched:.0%} | {row.recovered:.2f}"
        costs = f"{row.found:.0%} | {row.change / solid:.2f} | {row.area:.1%}"
        print(f"| {row.way.name} | {attacks} | {' | | ' if row.way.beside else costs} |")
    if chosen.draw:
        draw(rows, 1 / len(faces), solid, chosen.draw)


def ways() -> list[Way]:
    base = style_of(Blur())
    mosaic, solid = replace(base, method="mosaic"), replace(base, method="solid")
    published = replace(base, method="imagenet2021")
    return [
        Way("untouched", None),
        *(Way(f"gaussian {s}", replace(base, strength=s)) for s in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)),
        Way(f"gaussian {base.strength}, ellipse", replace(base, shape="ellipse")),
        *(Way(f"mosaic {cells}", replace(mosaic, cells=cells)) for cells in (8, 6, 5, 4, 3, 2)),
        Way("solid", solid),
        Way("solid, ellipse", replace(solid, shape="ellipse")),
        Way("imagenet2021", published),
        Way("imagenet2021, 40 px beside 300 px", published, beside=True),
        Way(f"gaussian {base.strength}, 40 px beside 300 px", base, beside=True),
    ]


# Faces

Picture = tuple[np.ndarray, list[Box]]


def lfw() -> list[Face]:
    """Faces of 25 pixels, enlarged; what is around them is mirrored."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    table = np.load(Path(spec.origin).parent / "data/lfw_subset.npy")[:100]
    faces = []
    for one in table:
        large = Image.fromarray((one * 255).astype(np.uint8)).resize((FACE, FACE), Image.Resampling.BICUBIC)
        faces.append(Face(np.pad(np.asarray(large), CONTEXT, mode="reflect"), box_of(FACE, FACE)))
    return faces


def packaged(finder: Detector, params: Params) -> list[Picture]:
    limits = Limits(params.download.max_bytes, params.download.max_pixels)
    pictures = []
    for package, path in PACKAGED:
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        pixels = decode.decode_rgb((Path(spec.origin).parent / path).read_bytes(), limits)
        pictures.append((pixels, find(finder, pixels, params.detect.confidence)))
    return pictures


def from_folder(folder: Path, annotations: Path, params: Params) -> list[Picture]:
    limits = Limits(params.download.max_bytes, params.download.max_pixels)
    drawn, _ = annotated.read(folder, annotations, Choice(), limits)
    return [
        (decode.decode_rgb((folder / path).read_bytes(), limits), [Box(*map(int, box)) for box in one.faces])
        for path, one in drawn.items()
    ]


def cut(picture: np.ndarray, boxes: Iterable[Box]) -> list[Face]:
    """The faces of a picture that are not too small, each brought to 100 pixels, with what is around it."""
    grey = np.pad(np.asarray(Image.fromarray(picture).convert("L")), 400, mode="reflect")
    faces = []
    for x1, y1, x2, y2 in boxes:
        side = max(x2 - x1, y2 - y1)
        if side < SMALLEST:
            continue
        around = round(CONTEXT * side / FACE)
        crop = grey[y1 + 400 - around : y2 + 400 + around, x1 + 400 - around : x2 + 400 + around]
        width, height = (round(FACE * length / side) for length in (x2 - x1, y2 - y1))
        size = (width + 2 * CONTEXT, height + 2 * CONTEXT)
        pixels = np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BICUBIC))
        faces.append(Face(pixels, box_of(width, height)))
    return faces


def box_of(width: int, height: int) -> Box:
    return Box(CONTEXT, CONTEXT, CONTEXT + width, CONTEXT + height)


def another(face: Face, random: np.random.Generator) -> Face:
    """Another photograph of the same person, or what has to pass for one."""
    height, width = face.pixels.shape
    turn, scale = np.deg2rad(random.normal(0, 7)), np.exp(random.normal(0, 0.07))
    dx, dy = random.normal(0, 0.05 * FACE, 2)
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    cx, cy = width / 2, height / 2
    matrix = (a, b, cx - a * cx - b * cy + dx, -b, a, cy + b * cx - a * cy + dy)
    moved = np.asarray(
        Image.fromarray(face.pixels).transform(
            (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
        )
    )
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 + random.uniform(-0.4, 0.4) * xs + random.uniform(-0.4, 0.4) * ys
    lit = 255 * (moved / 255) ** np.exp(random.normal(0, 0.3)) * light * np.exp(random.normal(0, 0.2))
    # Expression, hair and shadows: smooth fields, as strong as the differences between faces of one kind.
    fields = [gaussian_filter(random.normal(0, 1, moved.shape), width) for width in (6, 12, 24)]
    other = sum(FIELD * field / field.std() for field in fields)
    noisy = lit + other + random.normal(0, 5, moved.shape)
    return Face(np.clip(noisy, 0, 255).astype(np.uint8), face.box)


# Attacks


def detail(way: Way, faces: Sequence[Face]) -> float:
    return float(np.mean([abs(residual_detail(view(face), view(way.apply(face)[0]))) for face in faces]))


def matched(way: Way, album: Sequence[Sequence[Face]]) -> float:
    """Share of persons found again by who has blurred their photographs in the same way."""
    vectors = np.array([[vector(way, face) for face in person] for person in album])
    gallery, probes = vectors[:, :TRAINING], vectors[:, TRAINING:]
    return max(by_correlation(gallery, probes), by_discriminants(gallery, probes))


def vector(way: Way, face: Face) -> np.ndarray:
    """What the attacker sees: 32 × 32 grey pixels out of a JPEG, brightness and contrast set to a standard."""
    seen = view(jpeg(way.apply(face)[0]))
    small = np.asarray(Image.fromarray(seen).convert("F").resize((GRID, GRID), Image.Resampling.BILINEAR))
    flat = small.ravel().astype(np.float64)
    flat -= flat.mean()
    vector: np.ndarray = flat / max(float(np.linalg.norm(flat)), 1e-9)
    return vector


def by_correlation(gallery: np.ndarray, probes: np.ndarray) -> float:
    """The person with the photograph that correlates best. Shapes (persons, photographs, 1024)."""
    scores = np.einsum("pid,qjd->piqj", probes, gallery).max(axis=3)
    return first(scores)


def by_discriminants(gallery: np.ndarray, probes: np.ndarray) -> float:
    """Eigenfaces, whitened by the covariance within persons: a linear discriminant analysis."""
    size = gallery.shape[2]
    mean = gallery.reshape(-1, size).mean(axis=0)
    _, _, axes = np.linalg.svd(gallery.reshape(-1, size) - mean, full_matrices=False)
    best = 0.0
    for components in (20, 60, 120):
        axis = axes[:components].T
        known, new = (gallery - mean) @ axis, (probes - mean) @ axis
        centres = known.mean(axis=1)
        within = (known - centres[:, None]).reshape(-1, known.shape[2])
        covariance = within.T @ within / len(within)
        covariance += np.eye(len(covariance)) * (1e-3 * np.trace(covariance) / len(covariance) + 1e-12)
        white = np.linalg.cholesky(np.linalg.inv(covariance))
        a, b = new @ white, centres @ white
        distance = (a**2).sum(axis=2)[:, :, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        best = max(best, first(-distance))
    return best


def first(scores: np.ndarray) -> float:
    """Share of probes whose own person has the best score. Shape (persons, probes, persons)."""
    # Where all are equal, as after one colour, nobody is found.
    spread = scores.max(axis=2) - np.median(scores, axis=2)
    right = scores.argmax(axis=2) == np.arange(len(scores))[:, None]
    return float((right & (spread > 1e-9)).mean())


def recovered(way: Way, faces: Sequence[Face]) -> float:
    """The best attack's correlation of Laplacians, on average."""
    tries: dict[str, list[float]] = {}
    for face in faces[:: max(1, len(faces) // RECOVERED)]:
        hidden, region = way.apply(face)
        seen = jpeg(hidden)
        target = small_laplacian(view(face))
        for name, guess in guesses(seen, region):
            tries.setdefault(name, []).append(correlation(target, small_laplacian(view(Face(guess, seen.box)))))
    return max(float(np.mean(values)) for values in tries.values())


def guesses(face: Face, region: Region | None) -> Iterable[tuple[str, np.ndarray]]:
    yield "as it is", face.pixels.astype(np.float64)
    if region is None:
        return
    if region.sigma is not None:
        picture = face.pixels / 255
        points = gaussian_kernel(region.sigma, min(picture.shape))
        for balance in (1e-4, 1e-3, 1e-2):
            yield f"wiener {balance}", wiener(picture, points, balance) * 255
        for rounds in (10, 40):
            yield f"richardson-lucy {rounds}", richardson_lucy(picture, points, rounds) * 255
    if region.cell is not None:
        x1, y1, x2, y2 = region.core
        columns, rows = max(1, (x2 - x1) // region.cell), max(1, (y2 - y1) // region.cell)
        core = Image.fromarray(face.pixels[y1:y2, x1:x2]).convert("F")
        averages = core.resize((columns, rows), Image.Resampling.BOX)
        result = face.pixels.astype(np.float64)
        result[y1:y2, x1:x2] = np.asarray(averages.resize((x2 - x1, y2 - y1), Image.Resampling.BICUBIC))
        yield "bicubic", result


def gaussian_kernel(sigma: float, room: int) -> np.ndarray:
    """A Gaussian's weights, no wider than the picture."""
    half = min(round(2.5 * sigma), (room - 1) // 2)
    at = np.arange(-half, half + 1)
    line = np.exp(-(at**2) / (2 * sigma**2))
    kernel: np.ndarray = np.outer(line, line) / line.sum() ** 2
    return kernel


def small_laplacian(crop: np.ndarray) -> np.ndarray:
    small = Image.fromarray(crop.astype(np.float32)).resize((GRID, GRID), Image.Resampling.BILINEAR)
    edges: np.ndarray = laplace(np.asarray(small, dtype=np.float64))[1:-1, 1:-1]
    return edges


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one - one.mean(), other - other.mean()
    power = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / power if power > 1e-6 else 0.0


def view(face: Face) -> np.ndarray:
    return np.ascontiguousarray(face.pixels[face.box.y1 : face.box.y2, face.box.x1 : face.box.x2])


def jpeg(face: Face) -> Face:
    buffer = io.BytesIO()
    Image.fromarray(face.pixels).save(buffer, "JPEG", quality=85)
    return Face(np.asarray(Image.open(buffer)), face.box)


# Whole pictures


def whole(way: Way, pictures: Sequence[Picture], finder: Detector, confidence: float) -> tuple[float, float, float]:
    """Faces still found, mean change, area: over all pictures alike."""
    found, changes, areas = [], [], []
    for pixels, boxes in pictures:
        after, regions = (
            (pixels, []) if way.style is None else obfuscate(pixels, [Target(*b) for b in boxes], way.style)
        )
        changes.append(float(np.abs(after.astype(np.int16) - pixels).mean()))
        areas.append(float(touched(regions, pixels.shape[1], pixels.shape[0]).mean()))
        seen = find(finder, after, confidence)
        found += [any(box.iou(one) > 0.3 for one in seen) for box in boxes]
    return float(np.mean(found)), float(np.mean(changes)), float(np.mean(areas))


def detector(params: Params) -> Detector:
    folder = Path(tempfile.mkdtemp())
    (folder / "centerface.onnx").write_bytes(centerface.build(centerface.source()))
    (found,) = ensemble.load(params.detect, folder, threads=2).values()
    return found


def find(finder: Detector, pixels: np.ndarray, confidence: float) -> list[Box]:
    (found,) = finder.detect(iter([pixels]))
    assert not isinstance(found, Failure)
    return [Box(one.x1, one.y1, one.x2, one.y2) for one in found if one.score >= confidence]


def draw(rows: Sequence[Row], chance: float, solid: float, path: Path) -> None:
    """What an attacker gets against what the picture loses."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, sides = pyplot.subplots(1, 2, figsize=(10, 4), sharex=True, layout="constrained")
    for axes, name, ceiling in zip(sides, ("matched", "recovered"), (chance, 0.0), strict=True):
        for method, marker in (("gaussian", "o-"), ("mosaic", "s-"), ("solid", "D"), ("imagenet2021", "^")):
            group = [
                row
                for row in rows
                if row.way.style
                and row.way.style.method == method
                and not row.way.beside
                and row.way.style.shape == "box"
            ]
            xs, ys = [row.change / solid for row in group], [getattr(row, name) for row in group]
            axes.plot(xs, ys, marker, label=method, markersize=5)
            for x, y, row in zip(xs, ys, group, strict=True):
                label = row.way.name.removeprefix(method).strip()
                axes.annotate(label, (x, y), textcoords="offset points", xytext=(5, 4), fontsize=8)
        axes.axhline(ceiling, color="grey", linestyle=":", linewidth=1)
        axes.set_xlabel("change of the picture, relative to one colour")
        axes.set_ylabel(name)
        axes.set_ylim(-0.03, 1.03)
    sides[0].legend()
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
