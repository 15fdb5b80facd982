"""What detect.preset stands for: values of the keys of `detect` that params.yaml leaves null.

docs/detection.md shows how they were chosen, and what each gives and costs.
"""

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {
        "image_sizes": [864],
        "flips": [],
        "full_size": False,
        "candidate": 0.1,
        "confidence": 0.2,
    },
    "balanced": {
        "image_sizes": [1024, 640, 1600, 2048],
        "flips": [],
        "full_size": True,
        "candidate": 0.1,
        "confidence": 0.7,
    },
    "thorough": {
        "image_sizes": [1024, 640, 1600, 2048],
        "flips": [1024, 1600],
        "full_size": True,
        "candidate": 0.1,
        "confidence": 0.7,
    },
}
KEYS = tuple(PRESETS["balanced"])
"""The keys that a preset sets."""
