"""ONNX weights made to run on OpenVINO, by way of the folder that ultralytics knows."""

from __future__ import annotations

from pathlib import Path

from blurline.errors import BlurlineError

SUFFIX = "_openvino_model"
_METADATA = ("task", "stride", "names", "batch", "imgsz", "channels", "args", "end2end")


def convert(weights: Path, folder: Path) -> Path:
    """Write an ``*_openvino_model`` folder for an ``.onnx`` file that ultralytics exported, or that looks as if.

    Parameters
    ----------
    weights
        The file, already verified: it is parsed.
    folder
        Where to put the new folder.

    Returns
    -------
    Path
        The new folder. Its weights stay float32: what they are computed in is chosen when they are loaded.

    Raises
    ------
    BlurlineError
        When OpenVINO is not installed, the weights are of another kind, or cannot be converted.
    """
    if weights.suffix != ".onnx":
        raise BlurlineError(f"{weights.name}: engine openvino takes .onnx weights or an OpenVINO folder: export them")
    try:
        import openvino
    except ImportError:
        raise BlurlineError("engine openvino: OpenVINO is not installed: `uv sync --extra openvino`") from None
    import onnx
    import yaml

    try:
        loaded = onnx.load(str(weights), load_external_data=False)
        metadata = {entry.key: entry.value for entry in loaded.metadata_props}
        model = openvino.convert_model(weights)
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise BlurlineError(f"{weights.name}: OpenVINO cannot read it ({type(error).__name__}: {why})") from error
    target = folder / f"{weights.stem}{SUFFIX}"
    target.mkdir()
    openvino.save_model(model, target / "model.xml", compress_to_fp16=False)
    kept = {name: yaml.safe_load(metadata[name]) for name in _METADATA if name in metadata}
    (target / "metadata.yaml").write_text(yaml.safe_dump(kept), encoding="utf-8")
    return target
