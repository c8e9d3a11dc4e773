"""What the tests of the Django integration share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

pytest.importorskip("django", reason="python -m pip install 'bouncekit[django]'")

from bouncekit.testing import ScriptedServer

from .project import OURS, changed

Change = Callable[..., None]


@pytest.fixture
def change() -> Iterator[Change]:
    """Change settings for the length of a test: `change(server, BOUNCEKIT={...}, options={...})`."""
    with ExitStack() as stack:

        def do(server: ScriptedServer | None = None, backend: str = OURS, **others: Any) -> None:
            stack.enter_context(changed(backend, server, **{"BOUNCEKIT": {}, **others}))

        yield do
