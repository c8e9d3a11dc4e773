"""A page with something on it, and a browser without a screen."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.web import application
from tests.conftest import message

EVIL = "<script>alert(1)</script>"
SCRIPT = {
    "RCPT": {
        "full@example.com": f'552 5.2.2 Mailbox is full {EVIL} " onload="x',
        "gone@example.com": "550 5.1.1 No such user",
        "later@example.com": "452 4.2.2 Over quota",
    }
}
LOCAL = ("127.0.0.1", 50_000)
STRANGER = ("203.0.113.9", 50_000)
_TOKEN = re.compile(r'name="token" value="([\w-]+)"')


class Browser:
    """Asks for pages, and sends forms with the token of the page that it saw last."""

    def __init__(self, app: Any, *, client: tuple[str, int] = LOCAL, base: str = "http://localhost") -> None:
        self.client = TestClient(app, base_url=base, client=client, follow_redirects=False)
        self.token = ""

    def get(self, path: str, **settings: Any) -> Any:
        return self._seen(self.client.get(path, **settings))

    def post(self, path: str, fields: dict[str, Any] | None = None, **settings: Any) -> Any:
        if not self.token:
            self.get("/recipients")
        return self._seen(self.client.post(path, data={"token": self.token, **(fields or {})}, **settings))

    def send(self, path: str, fields: dict[str, Any] | None = None, **settings: Any) -> Any:
        """Send a form, and go where it leads."""
        answer = self.post(path, fields, **settings)
        assert answer.status_code == 303, answer.text
        return self.get(answer.headers["location"])

    def log_in(self, name: str, password: str) -> Any:
        self.get("/log-in")
        return self.post("/log-in", {"name": name, "password": password})

    def _seen(self, answer: Response) -> Response:
        if found := _TOKEN.search(answer.text):  # type: ignore[attr-defined]
            self.token = found[1]
        return answer


@pytest.fixture
def kept(make_postmaster: Callable[..., Postmaster], serve: Callable[..., ScriptedServer]) -> Postmaster:
    """A postmaster who has sent a message to four, three of whom were refused."""
    server = serve(SCRIPT)
    postmaster = make_postmaster(store=MemoryStore(), retry="queue", worker="external", relays={"main": server.url})
    with postmaster.client("main") as client:
        client.send(message("ann@example.com", "full@example.com", "gone@example.com", "later@example.com"))
    return postmaster


@pytest.fixture
def browse(kept: Postmaster) -> Callable[..., Browser]:
    """Open the pages with these settings."""

    def browse(*, client: tuple[str, int] = LOCAL, base: str = "http://localhost", **settings: Any) -> Browser:
        return Browser(application(kept, count_seconds=30, **settings), client=client, base=base)

    return browse


@pytest.fixture
def owner(browse: Callable[..., Browser]) -> Browser:
    """Somebody at this machine who may change something."""
    return browse(changes=True, local_name="asha")


@pytest.fixture
def reader(browse: Callable[..., Browser]) -> Browser:
    """Somebody at this machine who may look."""
    return browse()


@pytest.fixture
def later(clock: ManualClock) -> Callable[[timedelta], None]:
    return clock.move
