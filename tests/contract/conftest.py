"""Each store in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bouncekit.stores import Store

from .stores import STORES


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with STORES[request.param](tmp_path) as opened:
        yield opened
