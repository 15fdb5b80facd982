"""The typed model of params.yaml: every key, its default, its unit and its check."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from blurline import presets
from blurline.errors import BlurlineError

FILE = "params.yaml"

Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SourceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Dataset(_Group):
    """What the release's card says."""

    name: Annotated[str, Field(min_length=1)]
    version: str = "0.1.0"
    licence: str = ""
    creators: list[str] = []
    description: str = ""


class Download(_Group):
    """Fetching the source bytes."""

    max_bytes: Annotated[int, Field(gt=0, description="bytes")] = 100_000_000
    max_pixels: Annotated[int, Field(gt=0, description="width × height")] = 200_000_000
    max_redirects: Annotated[int, Field(ge=0, le=50)] = 5
    honour_opt_out: bool = True
    allow_private_hosts: bool = False
    max_failure_rate: Share = 0.5
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    backoff: Annotated[float, Field(ge=0, description="seconds")] = 1.0
    max_retry_after: Annotated[float, Field(ge=0, description="seconds")] = 60.0
    connect_timeout: Annotated[float, Field(gt=0, description="seconds")] = 10.0
    timeout: Annotated[float, Field(gt=0, description="seconds")] = 30.0
    total_timeout: Annotated[float, Field(gt=0, description="seconds")] = 300.0
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 64
    per_host: Annotated[int, Field(ge=1)] = 16
    user_agent: Annotated[str, Field(pattern=r"^[ -~]+$")] = "blurline (privacy-aware image data sets)"
    threads: Annotated[int, Field(ge=1)] = 2


Pixels = Annotated[int, Field(ge=32, le=16384)]


_BY_PRESET: Any = None  # the default of a key that a preset sets: never seen, as `Detect` fills it in before it checks


def _or_preset(schema: dict[str, Any]) -> None:
    """Allow null in the JSON schema of a key that a preset sets."""
    kept = {name: schema.pop(name) for name in ("title", "description", "default") if name in schema}
    value = dict(schema)
    schema.clear()
    schema.update(anyOf=[value, {"type": "null"}], **kept)


BUILT_IN = "centerface"
"""The weights that need no file."""


class Model(NamedTuple):
    """A detector to run: its weights, and what to look for with them.

    `key` is where it stands in params.yaml; `looks` the sizes of the image that it sees.
    """

    key: str
    weights: str
    sha256: str
    classes: list[str]
    image_sizes: list[int]
    flips: list[int]

    @property
    def file_name(self) -> str:
        """The name of the weights below data/weights. ultralytics chooses its engine by that name."""
        if self.weights == BUILT_IN:
            return f"{BUILT_IN}.onnx"
        path = urlsplit(self.weights).path if "://" in self.weights else self.weights
        return path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def name(self) -> str:
        """What boxes call the detector: the file's name without suffix."""
        return PurePosixPath(self.file_name).stem


class FurtherDetector(_Group):
    """Another detector beside the first: its boxes are united with the others' at merge."""

    weights: Annotated[str, Field(min_length=1)]
    sha256: Sha256
    classes: list[str] = []
    image_sizes: Annotated[list[Pixels], Field(min_length=1, max_length=8)] | None = None


class Detect(_Group):
    """Finding faces."""

    preset: Literal["fast", "balanced", "thorough"] = "balanced"
    weights: Annotated[str, Field(min_length=1)]
    sha256: Sha256
    classes: list[str] = []
    also: list[FurtherDetector] = []
    engine: Literal["auto", "openvino"] = "auto"
    device: Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)] = "cpu"
    precision: Literal["f32", "f16", "bf16"] = "f32"
    image_sizes: Annotated[list[Pixels], Field(min_length=1, max_length=8, json_schema_extra=_or_preset)] = _BY_PRESET
    flips: Annotated[list[Pixels], Field(json_schema_extra=_or_preset)] = _BY_PRESET
    full_size: Annotated[bool, Field(json_schema_extra=_or_preset)] = _BY_PRESET
    turned: bool = False
    tile: Annotated[int, Field(ge=320, le=16384, description="pixels")] = 2560
    nms_iou: Annotated[float, Field(gt=0, lt=1)] = 0.4
    candidate: Annotated[float, Field(gt=0, le=1, json_schema_extra=_or_preset)] = _BY_PRESET
    confidence: Annotated[float, Field(ge=0, le=1, json_schema_extra=_or_preset)] = _BY_PRESET
    confidence_of: dict[str, Share] = {}
    threads: Annotated[int, Field(ge=1)] = 1
    batch: Annotated[int, Field(ge=1)] = 8

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name = given.get("preset", "balanced")
        preset = dict(presets.PRESETS.get(name, {})) if isinstance(name, str) else {}
        sizes = given.get("image_sizes")
        if preset and isinstance(sizes, list):
            preset["flips"] = [size for size in preset["flips"] if size in sizes]
        return given | {name: value for name, value in preset.items() if given.get(name) is None}

    @model_validator(mode="after")
    def _check_thresholds(self) -> "Detect":
        own = {f"confidence_of.{name}": value for name, value in self.confidence_of.items()}
        for key, confidence in {"confidence": self.confidence, **own}.items():
            if confidence < self.candidate:
                raise ValueError(f"{key} is below candidate: boxes between the two would never be stored")
        if unknown := sorted(set(self.flips) - set(self.image_sizes)):
            raise ValueError(f"flips: {unknown[0]} is not one of image_sizes")
        return self

    @model_validator(mode="after")
    def _check_names(self) -> "Detect":
        names = [model.name for model in self.models()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two detectors are called {twice[0]}: give their weights other file names")
        if unknown := sorted(self.confidence_of.keys() - names):
            raise ValueError(f"confidence_of: there is no detector {unknown[0]}, only {', '.join(names)}")
        return self

    def confidence_for(self, detector: str) -> float:
        """The score from which a box of this detector is blurred unless reviewers reject it."""
        return self.confidence_of.get(detector, self.confidence)

    @property
    def gpus(self) -> int:
        """How many GPUs a job needs, for the scheduler."""
        on_cpu = self.device.lower().startswith(("cpu", "intel"))
        return 0 if on_cpu else self.device.count(",") + 1

    @property
    def memory_mb(self) -> int:
        """What a job may need: libraries, and for each thread and detector a look of the largest size.

        docs/detection.md has the measured figures: some 320 bytes for each pixel that CenterFace sees.
        """
        largest = max(size for model in self.models() for size in model.image_sizes)
        side = min(self.tile, max(largest, self.tile if self.full_size else 0))
        return 1000 + round(320e-6 * side * side) * self.threads * len(self.models())

    def models(self) -> list[Model]:
        """The detectors to run, the first one first."""
        first = Model("detect", self.weights, self.sha256, self.classes, self.image_sizes, self.flips)
        return [first] + [
            Model(
                f"detect.also[{at}]",
                one.weights,
                one.sha256,
                one.classes,
                one.image_sizes or self.image_sizes,
                self.flips if one.image_sizes is None else [],
            )
            for at, one in enumerate(self.also)
        ]


class Review(_Group):
    """Merging what people decided."""

    match_iou: Annotated[float, Field(gt=0, le=1)] = 0.5
    reject_votes: Annotated[int, Field(ge=1)] = 2
    window: Share = 0.1
    required: bool = False


Method = Literal["gaussian", "mosaic", "solid", "imagenet2021"]
Strength = Annotated[float, Field(ge=0.05, le=2, description="less leaves faces recognisable")]
Cells = Annotated[int, Field(ge=1, le=8, description="more leave faces recognisable")]
Colour = Annotated[
    str, Field(pattern="^(mean|#[0-9a-fA-F]{6})$", description="mean, or #rrggbb"), AfterValidator(str.lower)
]
Shape = Literal["box", "ellipse"]
Extent = Annotated[float, Field(ge=0, le=2)]


class ClassBlur(_Group):
    """Keys of `Blur` that are others for one class; null: as for the rest."""

    method: Method | None = None
    strength: Strength | None = None
    cells: Cells | None = None
    colour: Colour | None = None
    shape: Shape | None = None
    margin: Extent | None = None
    feather: Extent | None = None

    def set_keys(self) -> dict[str, Any]:
        """The keys that are others."""
        return self.model_dump(exclude_none=True)


class Blur(_Group):
    """Making faces unrecognisable; lengths are shares of the face's longer side."""

    method: Method = "gaussian"
    strength: Strength = 0.3
    cells: Cells = 3
    colour: Colour = "mean"
    shape: Shape = "box"
    margin: Extent = 0.1
    feather: Extent = 0.1
    classes: dict[str, ClassBlur] = {}
    metadata: Literal["strip", "keep-safe"] = "keep-safe"

    @model_validator(mode="after")
    def _check_together(self) -> "Blur":
        own = self.model_dump(exclude={"classes", "metadata"})
        styles = {f"classes.{label}: ": own | one.set_keys() for label, one in self.classes.items()}
        for where, style in {"": own, **styles}.items():
            if style["shape"] == "ellipse" and style["margin"] < 0.1:
                raise ValueError(f"{where}an ellipse with a margin under 0.1 leaves parts of faces clear")
            if self.classes and style["method"] == "imagenet2021":
                raise ValueError(f"{where}imagenet2021 is one formula for all boxes: with it, classes must be {{}}")
        return self


class Recheck(_Group):
    """Looking at the released images."""

    enabled: bool = True


class Release(_Group):
    """What is published."""

    public_columns: list[str] = []


class Params(_Group):
    """The whole of params.yaml."""

    dataset: Dataset
    sources: list[SourceName]
    shard_size: Annotated[int, Field(ge=1, le=100_000)] = 1000
    download: Download = Download()
    detect: Detect
    review: Review = Review()
    blur: Blur = Blur()
    recheck: Recheck = Recheck()
    release: Release = Release()

    @model_validator(mode="after")
    def _no_source_twice(self) -> "Params":
        twice = sorted({name for name in self.sources if self.sources.count(name) > 1})
        if twice:
            raise ValueError(f"sources: {', '.join(twice)} is listed twice")
        if "retries" in self.sources:
            raise ValueError("sources: retries is the name of another file in data/sources: rename the manifest")
        return self

    def pick(self, paths: tuple[str, ...]) -> dict[str, Any]:
        """The values at dotted paths ("blur.margin", or a whole group: "dataset") as plain JSON data."""
        everything = self.model_dump(mode="json")
        return {path: _at(everything, path) for path in paths}


def _at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree[name]
    return tree


def load(root: Path) -> Params:
    """Read and check params.yaml.

    Raises
    ------
    BlurlineError
        Naming the file, the line and the key, and what is allowed there.
    """
    return parse(read_text(root))


def read_text(root: Path) -> str:
    """The text of params.yaml."""
    try:
        return (root / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BlurlineError(f"{FILE}: not found in {root.resolve()}: run this in the project's top folder") from None
    except UnicodeDecodeError as error:
        raise BlurlineError(f"{FILE}: not UTF-8 text ({error.reason}): save it as UTF-8") from None


def parse(text: str) -> Params:
    """Check the text of a params.yaml (see `load`)."""
    try:
        tree = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise BlurlineError(
            f"{FILE}{line}: not valid YAML ({getattr(error, 'problem', error)}): mend the line"
        ) from None
    if not isinstance(tree, dict) or node is None:
        raise BlurlineError(f"{FILE}: expected keys such as dataset, sources, detect: start from the demo's file")
    duplicate = _duplicate_key(node)
    if duplicate:
        raise BlurlineError(f"{FILE}:{duplicate[1]}: {duplicate[0]}: set twice: keep one of them")
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise BlurlineError(_first_problem(error, node)) from None


def refuse_overrides(root: Path, config: Mapping[str, Any]) -> None:
    """Refuse a Snakemake config that is not exactly params.yaml.

    Raises
    ------
    BlurlineError
        Naming the first key that `--config` or `--configfile` changed.
    """
    mine = yaml.safe_load(read_text(root))
    for path, value in _leaves(config):
        try:
            same = _at(mine, path) == value
        except (KeyError, TypeError):
            same = False
        if not same:
            raise BlurlineError(
                f"--config: {path}: differs from {FILE}, the only source of params: "
                f"edit {FILE}, or try a value with `dvc exp run -S {path}={value}`"
            )


def place(root: Path, path: str) -> str:
    """Where a key stands, as errors say it: "params.yaml:<line>"."""
    node = yaml.compose(read_text(root), Loader=yaml.SafeLoader)
    return f"{FILE}:{_line(node, list(path.split('.')))}" if node else FILE


def _leaves(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if not isinstance(tree, Mapping):
        return [(prefix, tree)]
    return [
        leaf for name, value in tree.items() for leaf in _leaves(value, f"{prefix}.{name}" if prefix else str(name))
    ]


def _duplicate_key(node: yaml.Node, prefix: str = "") -> tuple[str, int] | None:
    """YAML readers keep the last of two equal keys silently; we do not."""
    if not isinstance(node, yaml.MappingNode):
        return None
    seen: set[str] = set()
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        if path in seen:
            return path, key.start_mark.line + 1
        seen.add(path)
        found = _duplicate_key(value, f"{path}.")
        if found:
            return found
    return None


def _first_problem(error: ValidationError, node: yaml.Node) -> str:
    """One line for the first of pydantic's complaints: file, line, key, problem, remedy."""
    # A misspelt key is also a missing one: the misspelling says more.
    problem = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    location = [part for part in problem["loc"] if part != "[key]"]
    path = ".".join(str(part) for part in location)
    line = _line(node, location)
    where = f"{FILE}:{line}: {path}: " if path else f"{FILE}: "
    if problem["type"] == "extra_forbidden":
        return f"{where}unknown key: {_suggestion(location)}"
    if problem["type"] == "missing":
        return f"{where}missing: add it"
    message = problem["msg"].removeprefix("Value error, ")
    value = "" if isinstance(problem["input"], dict) else f" (it is {problem['input']!r})"
    return f"{where}{message[0].lower()}{message[1:]}{value}: mend it"


def _suggestion(location: list[Any]) -> str:
    import difflib

    model: Any = Params
    for name in location[:-1]:
        known_fields = getattr(model, "model_fields", {})
        # An item of a list, or a value of a mapping whose keys are anybody's.
        model = known_fields[name].annotation if name in known_fields else get_args(model)[-1]
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def _line(node: yaml.Node, location: list[Any]) -> int:
    """The line (from 1) of a key path, or of the deepest part of it that exists."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    node, line = value, key.start_mark.line + 1
                    break
            else:
                return line
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
