"""What several test modules share."""

from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent


@pytest.fixture
def top() -> Path:
    """The project itself. Read it; write to a copy."""
    return TOP
