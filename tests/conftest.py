"""What several test modules share."""

from pathlib import Path

import pytest
import yaml

from blurline.params_merge import DEMO_NAME

TOP = Path(__file__).parent.parent
# In a data set of one's own, what is said of the demo and of upstream's params is not so, and need not be.
needs_the_demo = pytest.mark.skipif(
    yaml.safe_load((TOP / "params.yaml").read_text())["dataset"]["name"] != DEMO_NAME,
    reason="this repository is a data set of its own, without blurline's demo (docs/own-data-set.md)",
)


@pytest.fixture
def top() -> Path:
    """The project itself. Read it; write to a copy."""
    return TOP
