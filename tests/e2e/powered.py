"""A process for `strace`: it submits and sends, and notes in `acknowledged` what it was told. See `test_powercut`.

python -m tests.e2e.powered FOLDER RELAY MESSAGES SYNCHRONOUS
"""

import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

from bouncekit.delivery.events import Event
from bouncekit.postmaster.postmaster import Postmaster
from tests.conftest import message

_FOLDED_AT = 40  # pages of the log, instead of a thousand: it is written back, and begun anew, many times
_WORKS = 3  # messages to one turn of the worker


def main(folder: Path, relay: str, messages: int, synchronous: str) -> None:
    _have_logs_folded(synchronous)
    file = os.open(folder / "acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def acknowledge(line: str) -> None:
        os.write(file, f"{line}\n".encode())

    def tell(event: Event) -> None:
        acknowledge(f"told {event.id}")

    store = f"sqlite:///{folder / 'bounces.db'}"
    with Postmaster(store=store, retry="queue", worker="external", relays={"main": relay}) as postmaster:
        postmaster.on()(tell)
        worker = postmaster.worker()
        with postmaster.client("main") as client:
            for number in range(messages):
                for one in client.submit(message(f"r{number}@example.com", f"nobody{number}@example.com")).recipients:
                    acknowledge(f"submitted {one.recipient}")
                if number % _WORKS == 0:
                    worker.run_due()


def _have_logs_folded(synchronous: str) -> None:
    connect = sqlite3.connect

    class Folding(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            return super().execute(statement.replace("synchronous = FULL", f"synchronous = {synchronous}"), *parameters)

    def opened(*given: Any, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*given, **{"factory": Folding, **more})
        connection.execute(f"PRAGMA wal_autocheckpoint = {_FOLDED_AT}")
        return connection

    sqlite3.connect = opened


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
