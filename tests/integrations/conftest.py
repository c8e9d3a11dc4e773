"""What the tests of engines share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bouncekit.testing import ScriptedServer

from .engine import Shop


@pytest.fixture
def shop(tmp_path: Path, serve: Callable[..., ScriptedServer]) -> Shop:
    return Shop(folder=tmp_path, server=serve(), store=f"sqlite:///{tmp_path / 'bounces.db'}")
