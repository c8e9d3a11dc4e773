"""An application whose queue an engine runs: its module, its mail, and the engine's own processes."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer
from tests.conftest import message

__all__ = ["Shop", "until"]

_POSTMASTER = """\
import bouncekit

postmaster = bouncekit.Postmaster(
    store={store!r}, retry="queue", worker="external", relays={{"main": {relay!r}}}
)
"""


@dataclass
class Shop:
    """`shop.py` in a folder: a postmaster with an external worker, and behind it what the engine needs."""

    folder: Path
    server: ScriptedServer
    store: str

    def write(self, rest: str) -> None:
        code = _POSTMASTER.format(store=self.store, relay=self.server.url) + dedent(rest)
        (self.folder / "shop.py").write_text(code, "utf-8")

    def submit(self, *recipients: str) -> None:
        """Store a message to each of them, as another process than the one that sends."""
        relays = {"main": self.server.url}
        with Postmaster(store=self.store, retry="queue", worker="external", relays=relays) as postmaster:
            client = postmaster.client("main")
            for recipient in recipients:
                client.submit(message(recipient))

    def received(self) -> Counter[str]:
        """How often the server took mail for each recipient."""
        return Counter(recipient for mail in self.server.messages for recipient in mail.recipients)

    @contextmanager
    def running(self, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A process of the engine, with `shop` to import; what it said is in `engine.log`."""
        environ = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        with (self.folder / "engine.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self.folder, env=environ, stdout=log, stderr=log
            )
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def log(self) -> str:
        return (self.folder / "engine.log").read_text("utf-8", "replace")


def until(true: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait for it; whether it came true."""
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return found
