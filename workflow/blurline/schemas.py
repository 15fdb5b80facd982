"""JSON schemas of params.yaml and of the rows of the CSV inputs, generated from the models that check them."""

import json
from pathlib import Path

from pydantic import BaseModel

from blurline.annotations import AnnotationRow
from blurline.decisions import Decision
from blurline.params import Params
from blurline.sources import ManifestRow

MODELS: dict[str, type[BaseModel]] = {
    "params.schema.json": Params,
    "sources.schema.json": ManifestRow,
    "review.schema.json": Decision,
    "annotations.schema.json": AnnotationRow,
}


def texts() -> dict[str, str]:
    """File name → text of each schema."""
    return {
        name: json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n" for name, model in MODELS.items()
    }


def write(folder: Path) -> None:
    """Write the schemas; a test fails while those in git are others."""
    for name, text in texts().items():
        (folder / name).write_text(text, encoding="utf-8")
