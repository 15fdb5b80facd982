"""Bad input: one clear line each, which names file, line or key and says what to do, before any work starts."""

import re
from pathlib import Path

import pytest

from blurline import params, plan, sources
from blurline.errors import BlurlineError

SHA = "a" * 64
PARAMS = f"""\
dataset:
  name: test
sources: [one]
shard_size: 2
detect:
  weights: centerface
  sha256: {SHA}
"""
MANIFEST = "image_id,url\na.jpg,x/a.jpg\nb.jpg,x/b.jpg\nc.jpg,x/c.jpg\n"
REVIEW = "image_id,action,reviewer,decided_at,x1,y1,x2,y2\na.jpg,add,ann,2026-01-01,1,2,3,4\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data/sources").mkdir(parents=True)
    (tmp_path / "data/review").mkdir()
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "data/sources/one.csv").write_text(MANIFEST)
    (tmp_path / "data/review/ann.csv").write_text(REVIEW)
    return tmp_path


def test_the_good_input_is_good(project: Path) -> None:
    assert plan.load(project).shards == ("one-00000", "one-00001")


CASES = [
    # file, text to replace, replacement, the whole line that the user gets
    ("params.yaml", "shard_size: 2", "shard_sise: 2", "params.yaml:4: shard_sise: unknown key: did you mean shard_size?"),
    ("params.yaml", "weights:", "wights:", "params.yaml:6: detect.wights: unknown key: did you mean weights?"),
    ("params.yaml", "shard_size: 2", "shard_size: two", "params.yaml:4: shard_size: input should be a valid integer (it is 'two'): mend it"),
    ("params.yaml", "shard_size: 2", "shard_size: 0", "params.yaml:4: shard_size: input should be greater than or equal to 1 (it is 0): mend it"),
    ("params.yaml", "shard_size: 2", "shard_size: true", "params.yaml:4: shard_size: input should be a valid integer (it is True): mend it"),
    ("params.yaml", "  name: test", "  name: [", "params.yaml:4: not valid YAML (expected ',' or ']', but got '<scalar>'): mend the line"),
    ("params.yaml", PARAMS, "", "params.yaml: expected keys such as dataset, sources, detect: start from the demo's file"),
    ("params.yaml", "dataset:\n  name: test\n", "", "params.yaml:1: dataset: missing: add it"),
    ("params.yaml", f"  sha256: {SHA}\n", "", "params.yaml:5: detect.sha256: missing: add it"),
    ("params.yaml", SHA, "abc", r"params.yaml:7: detect.sha256: string should match pattern '\^\[0-9a-f\]\{64\}\$' (it is 'abc'): mend it"),
    ("params.yaml", "sources: [one]", "sources: []", "params.yaml:3: sources: no source is listed: `blurline import PATH…` writes a manifest and lists it"),
    ("params.yaml", "sources: [one]", "sources: [one, one]", "params.yaml: sources: one is listed twice: mend it"),
    ("params.yaml", "sources: [one]", "sources: [One]", r"params.yaml:3: sources.0: string should match pattern '\^\[a-z0-9\]\[a-z0-9_-\]\*\$' (it is 'One'): mend it"),
    ("params.yaml", "sources: [one]", "sources: [two]", "data/sources/two.csv: not found, but params.yaml lists two under sources: write it, or take the name off the list"),
    ("params.yaml", "shard_size: 2", "shard_size: 2\nshard_size: 3", "params.yaml:5: shard_size: set twice: keep one of them"),
    ("params.yaml", "detect:", "detect:\n  candidate: 0.9", "params.yaml:5: detect: confidence is below candidate: boxes between the two would never be stored: mend it"),
    ("params.yaml", "detect:", "detect:\n  preset: quick", "params.yaml:6: detect.preset: input should be 'fast', 'balanced' or 'thorough' (it is 'quick'): mend it"),
    ("params.yaml", "detect:", "detect:\n  preset: [fast]", "params.yaml:6: detect.preset: input should be 'fast', 'balanced' or 'thorough' (it is ['fast']): mend it"),
    ("params.yaml", "detect:", "detect:\n  image_sizes: []", "params.yaml:6: detect.image_sizes: list should have at least 1 item after validation, not 0 (it is []): mend it"),
    ("params.yaml", "detect:", "detect:\n  image_sizes: [16]", "params.yaml:6: detect.image_sizes.0: input should be greater than or equal to 32 (it is 16): mend it"),
    ("params.yaml", "detect:", "detect:\n  flips: [800]", "params.yaml:5: detect: flips: 800 is not one of image_sizes: mend it"),
    ("params.yaml", "detect:", "detect:\n  confidence_of: {plates: 0.5}", "params.yaml:5: detect: confidence_of: there is no detector plates, only centerface: mend it"),
    ("params.yaml", "detect:", "detect:\n  confidence_of: {centerface: 0.01}", "params.yaml:5: detect: confidence_of.centerface is below candidate: boxes between the two would never be stored: mend it"),
    ("params.yaml", "detect:", f"detect:\n  also: [{{weights: a/x.pt, sha256: {SHA}}}, {{weights: b/x.onnx, sha256: {SHA}}}]", "params.yaml:5: detect: two detectors are called x: give their weights other file names: mend it"),
    ("params.yaml", "detect:", f"detect:\n  also: [{{wieghts: x.pt, sha256: {SHA}}}]", "params.yaml:6: detect.also.0.wieghts: unknown key: did you mean weights?"),
    ("params.yaml", "shard_size: 2", "blur: {method: pixelate}", "params.yaml:4: blur.method: input should be 'gaussian', 'mosaic', 'solid' or 'imagenet2021' (it is 'pixelate'): mend it"),
    ("params.yaml", "shard_size: 2", "blur: {classes: {plate: {metod: solid}}}", "params.yaml:4: blur.classes.plate.metod: unknown key: did you mean method?"),
    ("params.yaml", "shard_size: 2", "blur: {classes: {plate: {strength: 0.01}}}", "params.yaml:4: blur.classes.plate.strength: input should be greater than or equal to 0.05 (it is 0.01): mend it"),
    ("params.yaml", "shard_size: 2", "blur: {cells: 9}", "params.yaml:4: blur.cells: input should be less than or equal to 8 (it is 9): mend it"),
    ("params.yaml", "shard_size: 2", "blur: {colour: red}", "params.yaml:4: blur.colour: string should match pattern '^(mean|#[0-9a-fA-F]{6})$' (it is 'red'): mend it"),
    ("params.yaml", "shard_size: 2", "blur: {shape: ellipse, margin: 0.05}", "params.yaml:4: blur: an ellipse with a margin under 0.1 leaves parts of faces clear: mend it"),
    ("params.yaml", "shard_size: 2", "blur: {shape: ellipse, classes: {plate: {margin: 0.0}}}", "params.yaml:4: blur: classes.plate: an ellipse with a margin under 0.1 leaves parts of faces clear: mend it"),
    ("params.yaml", "shard_size: 2", "blur: {classes: {plate: {method: imagenet2021}}}", "params.yaml:4: blur: classes.plate: imagenet2021 is one formula for all boxes: with it, classes must be {}: mend it"),
    ("params.yaml", "shard_size: 2", "release: {public_columns: [class]}", "params.yaml: release.public_columns: no manifest has a column 'class' to publish: there are sha256, url"),
    ("data/sources/one.csv", "image_id", "image", "data/sources/one.csv:1: column image_id is missing: add it (there are: image, url)"),
    ("data/sources/one.csv", "image_id,url", "image_id,uri", "data/sources/one.csv:1: column url is missing: add it (there are: image_id, uri)"),
    ("data/sources/one.csv", "image_id,url", "url,url", "data/sources/one.csv:1: column url stands twice: keep one of them"),
    ("data/sources/one.csv", "c.jpg,", "a.jpg,", "data/sources/one.csv:4: image_id 'a.jpg' stands twice: an id names one image"),
    ("data/sources/one.csv", "b.jpg,", "../b.jpg,", "data/sources/one.csv:3: image_id '../b.jpg' is no plain relative path: no leading or double /, no . or .. parts, no backslashes"),
    ("data/sources/one.csv", "b.jpg,", "/b.jpg,", "data/sources/one.csv:3: image_id '/b.jpg' is no plain relative path: no leading or double /, no . or .. parts, no backslashes"),
    ("data/sources/one.csv", "b.jpg,", "x/./b.jpg,", "data/sources/one.csv:3: image_id 'x/./b.jpg' is no plain relative path: no leading or double /, no . or .. parts, no backslashes"),
    ("data/sources/one.csv", "b.jpg,", r"x\b.jpg,", r"data/sources/one.csv:3: image_id 'x\\b.jpg' is no plain relative path: no leading or double /, no . or .. parts, no backslashes"),
    ("data/sources/one.csv", "b.jpg,x/b.jpg", ",x/b.jpg", "data/sources/one.csv:3: image_id is empty: give every image a unique relative path"),
    ("data/sources/one.csv", "x/b.jpg", "", "data/sources/one.csv:3: url is empty: say where 'b.jpg' comes from"),
    ("data/sources/one.csv", "x/b.jpg", "gopher://x/b.jpg", "data/sources/one.csv:3: url 'gopher://x/b.jpg' has an unknown scheme: use http://, https://, file://, package://, tar://, zip://, s3://, gs:// or another that fsspec knows, or a path"),
    ("data/sources/one.csv", "x/b.jpg", "tar://b.jpg", "data/sources/one.csv:3: url 'tar://…': not the url of a member of an archive: write tar://<member>::<path of the archive>, up to 3 archives deep"),
    ("data/sources/one.csv", "x/b.jpg", "zip://::x.zip", "data/sources/one.csv:3: url 'zip://::x.zip': not the url of a member of an archive: write tar://<member>::<path of the archive>, up to 3 archives deep"),
    ("data/sources/one.csv", "x/b.jpg", "tar://a::tar://b::tar://c::tar://d::x.tar", "data/sources/one.csv:3: url 'tar://a::tar://b::tar://c::tar://d::x.tar': archives nested too deeply: write tar://<member>::<path of the archive>, up to 3 archives deep"),
    ("data/sources/one.csv", "x/b.jpg", "zip://b.jpg::https://x/y.zip", "data/sources/one.csv:3: url 'zip://b.jpg::https://x/y.zip': an archive is read where it lies, and https:// is not on this machine: fetch the archive, and use its path or a file:// url"),
    ("data/sources/one.csv", MANIFEST, "image_id,url,sha256\na.jpg,a.jpg,12\n", "data/sources/one.csv:2: sha256 '12': want 64 hex digits"),
    ("data/sources/one.csv", "c.jpg,", "a.png,", "data/sources/one.csv:4: image_id 'a.png' and 'a.jpg' (data/sources/one.csv:2) would be one sample 'a' of a shard: rename one of them"),
    ("data/sources/one.csv", MANIFEST, "image_id,url\n", "data/sources: no image is listed: add rows to one"),
    ("data/sources/one.csv", "b.jpg,x", "b.jpg ,x", "data/sources/one.csv:3: image_id 'b.jpg ' begins or ends with a space: take it away"),
    ("data/sources/one.csv", "x/b.jpg", "x/b.jpg ", "data/sources/one.csv:3: url 'x/b.jpg ' begins or ends with a space: take it away"),
    ("params.yaml", "shard_size: 2", "blur: {strength: 0.01}", "params.yaml:4: blur.strength: input should be greater than or equal to 0.05 (it is 0.01): mend it"),
    ("params.yaml", "shard_size: 2", "release: {public_columns: [action]}", "params.yaml: release.public_columns: 'action' is a column of every release already: rename it in the manifest, or take it off the list"),
    ("data/review/ann.csv", "2026-01-01", "0001-01-01T00:00:00+14:00", "data/review/ann.csv:2: decided_at: want an ISO 8601 time such as 2026-01-31T12:00:00+00:00 (it is '0001-01-01T00:00:00+14:00')"),
    ("data/review/ann.csv", ",add,ann,2026-01-01,1,2,3,4", ",accept,ann,2026-01-01,,,,", "data/review/ann.csv:2: accept needs a box: fill in x1, y1, x2, y2"),
    ("data/review/ann.csv", "action", "act", "data/review/ann.csv:1: column action is missing: the first line names the columns"),
    ("data/review/ann.csv", "x1,", "left,", "data/review/ann.csv:1: unknown column left: known are image_id, sha256, action, frame, label, box_id, x1, y1, x2, y2, reviewer, decided_at, note"),
    ("data/review/ann.csv", ",add,", ",ad,", "data/review/ann.csv:2: action: input should be 'accept', 'reject', 'add', 'adjust', 'clear', 'exclude' or 'erase' (it is 'ad')"),
    ("data/review/ann.csv", "2026-01-01", "yesterday", "data/review/ann.csv:2: decided_at: want an ISO 8601 time such as 2026-01-31T12:00:00+00:00 (it is 'yesterday')"),
    ("data/review/ann.csv", ",ann,", ",,", "data/review/ann.csv:2: reviewer: string should have at least 1 character (it is '')"),
    ("data/review/ann.csv", "1,2,3,4", ",,,", "data/review/ann.csv:2: add needs a box: fill in x1, y1, x2, y2"),
    ("data/review/ann.csv", "1,2,3,4", "1,2,,", "data/review/ann.csv:2: x1, y1, x2, y2 go together: fill in all four or none"),
    ("data/review/ann.csv", "1,2,3,4", "3,2,1,4", "data/review/ann.csv:2: the box is empty: x2 must be over x1 and y2 over y1"),
    ("data/review/ann.csv", "1,2,3,4", "-1,2,3,4", "data/review/ann.csv:2: x1: input should be greater than or equal to 0 (it is '-1')"),
    ("data/review/ann.csv", "1,2,3,4", "1,2,3", "data/review/ann.csv:2: not as many fields as the header has: mend the line"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "line"), CASES, ids=[f"{c[0]} {c[2][:30]!r}" for c in CASES])
def test_bad_input(project: Path, file: str, old: str, new: str, line: str) -> None:
    path = project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BlurlineError) as caught:
        plan.load(project)
    assert str(caught.value) == re.sub(r"\\([\^\[\]{}$*])", r"\1", line)


def test_an_image_id_in_two_sources(project: Path) -> None:
    (project / "params.yaml").write_text(PARAMS.replace("[one]", "[one, two]"))
    (project / "data/sources/two.csv").write_text("image_id,url\nnew.jpg,y\nb.jpg,y\n")
    with pytest.raises(BlurlineError, match=r"two.csv:3: image_id 'b.jpg' is also in data/sources/one.csv:3: an id"):
        plan.load(project)


@pytest.mark.parametrize("name", ["ann.CSV", "more/ann.csv", "ann.csv.d/x.csv"])
def test_decisions_that_would_not_be_read(project: Path, name: str) -> None:
    path = project / "data/review" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(REVIEW)
    with pytest.raises(BlurlineError, match=f"data/review/{name}: would not be read: decisions are files data/review/"):
        plan.load(project)


def test_what_editors_and_spreadsheets_do_is_understood(project: Path) -> None:
    before = {at: job.key for at, job in plan.load(project).jobs.items()}
    for name in ("data/sources/one.csv", "data/review/ann.csv"):
        text = (project / name).read_text()
        (project / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    assert {at: job.key for at, job in plan.load(project).jobs.items()} == before
    pinned = MANIFEST.replace("url\n", "url,sha256\n").replace(".jpg\n", f".jpg,{'AB' * 32}\n")
    (project / "data/sources/one.csv").write_text(pinned)
    plan.load(project)
    (project / "params.yaml").write_text(PARAMS + "  device: 0\n")
    assert plan.load(project).params.detect.device == "0"


def test_no_params_file(tmp_path: Path) -> None:
    with pytest.raises(BlurlineError, match=r"params.yaml: not found in .*: run this in the project's top folder"):
        params.load(tmp_path)


def test_config_overrides_are_refused(project: Path) -> None:
    import yaml

    config = yaml.safe_load(PARAMS)
    params.refuse_overrides(project, config)
    config["detect"]["confidence"] = 0.4
    with pytest.raises(BlurlineError, match=r"--config: detect.confidence: .* `dvc exp run -S detect.confidence=0.4`"):
        params.refuse_overrides(project, config)


def test_decisions_about_no_image_are_named(project: Path) -> None:
    path = project / "data/review/ann.csv"
    path.write_text(REVIEW + "d.jpg,exclude,ann,2026-01-01,,,,\n")
    with pytest.raises(BlurlineError) as caught:
        plan.load(project)
    assert str(caught.value) == (
        "data/review/ann.csv:3: image_id 'd.jpg' is in no manifest of data/sources: did you mean c.jpg?"
    )
    # A source that was taken off the list leaves its decisions behind.
    (project / "data/sources/old.csv").write_text("image_id,url\nd.jpg,x\n")
    plan.load(project)


BOXES = "image_id,x1,y1,x2,y2\na.jpg,1,2,3,4\n"
ANNOTATIONS = [
    # text to replace, replacement, the whole line that the user gets
    ("x1,", "left,", "data/annotations/coco.csv:1: column x1 is missing: the first line names the columns"),
    ("x1,", "x1,score,", "data/annotations/coco.csv:1: unknown column score: known are image_id, frame, label, x1, y1, x2, y2"),
    ("x1,", "y1,", "data/annotations/coco.csv:1: column y1 stands twice: keep one of them"),
    ("1,2,3,4", "1,2,1,4", "data/annotations/coco.csv:2: the box is empty: x2 must be over x1 and y2 over y1"),
    ("1,2,3,4", "1,2,3.5,4", "data/annotations/coco.csv:2: x2 '3.5': want whole pixels"),
    ("1,2,3,4", "1,2,3,12345678901", "data/annotations/coco.csv:2: y2 '12345678901': want whole pixels"),
    ("1,2,3,4", "1,2,,4", "data/annotations/coco.csv:2: x2 '': want whole pixels"),
    ("a.jpg", "", "data/annotations/coco.csv:2: image_id is empty: say which image the box is in"),
    ("a.jpg", "aa.jpg", "data/annotations/coco.csv:2: image_id 'aa.jpg' is in no manifest of data/sources: did you mean a.jpg?"),
    ("a.jpg", "nothing/like/it", "data/annotations/coco.csv:2: image_id 'nothing/like/it' is in no manifest of data/sources: mend it, or take the line away"),
    (BOXES, "image_id,x1,y1,x2,y2,frame\na.jpg,1,2,3,4,\na.jpg,1,2,3,4,-2\n", "data/annotations/coco.csv:3: frame '-2': want the number of a frame, from 0 on, or nothing for all frames"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line"), ANNOTATIONS, ids=[c[2][27:60] for c in ANNOTATIONS])
def test_bad_annotations(project: Path, old: str, new: str, line: str) -> None:
    path = project / "data/annotations/coco.csv"
    path.parent.mkdir()
    path.write_text(BOXES)
    plan.load(project)
    path.write_text(BOXES.replace(old, new, 1))
    with pytest.raises(BlurlineError) as caught:
        plan.load(project)
    assert str(caught.value) == line


@pytest.mark.parametrize("name", ["x.CSV", "more/x.csv", "instances.json"])
def test_annotations_that_would_not_be_read(project: Path, name: str) -> None:
    path = project / "data/annotations" / name
    path.parent.mkdir(parents=True)
    path.write_text(BOXES)
    with pytest.raises(
        BlurlineError, match=f"data/annotations/{name}: would not be read: `blurline import-annotations"
    ):
        plan.load(project)


def test_gold_is_never_read(project: Path) -> None:
    (project / "data/review/gold").mkdir()
    (project / "data/review/gold/gold.csv").write_text("nonsense")
    plan.load(project)


@pytest.mark.parametrize(
    ("image_id", "member"),
    [
        ("a.jpg", "a.jpg"),
        ("v1.2/a.b.JPEG", "v1.2/a%2Eb.JPEG"),
        ("a", "a.png"),
        ("a.v2", "a%2Ev2.png"),
        ("50%.jpg", "50%25.jpg"),
    ],
)
def test_members_are_one_webdataset_sample_each(image_id: str, member: str) -> None:
    assert sources.member(image_id, ".png") == member
    name = member.rpartition("/")[2]
    assert name.count(".") == 1
