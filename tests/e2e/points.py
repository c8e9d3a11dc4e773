"""A process that dies at one point of its work: around a commit, around a write to the server, around what is heard.

The points are laid at the seams of the standard library and of a subscriber, so that the product knows nothing of
them; they are counted as the process comes to them, which is the same in every run on the same clock.
"""

import os
import socket
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from multiprocessing.process import BaseProcess
from pathlib import Path
from smtplib import SMTPRecipientsRefused
from typing import Any

from bouncekit.clients.client import Client
from bouncekit.delivery.events import Event
from bouncekit.delivery.report import Report
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock

from .workers import FORKED, Work

__all__ = ["DIED", "HOUR", "Script", "hear", "start_mortal", "walk"]

DIED = 9
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Script:
    """What a process does, and where it notes outside of the store what it was told, and at which point it died."""

    work: Work
    submitted: Sequence[EmailMessage]
    sent: Sequence[EmailMessage]
    folder: Path

    def note(self, name: str, line: str) -> None:
        file = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{line}\n".encode())
        os.close(file)

    def noted(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def start_mortal(script: Script, last: int) -> BaseProcess:
    """A process that goes through a script and dies at this point, counted from 1; with 0 where it comes to the end."""
    process = FORKED.Process(target=_run, args=(script, last), daemon=True)
    process.start()
    return process


def walk(script: Script, clock: ManualClock, at: Callable[[str], None] = lambda name: None) -> None:
    """Submit, send, let a worker send what is due and a subscriber hear of it, twice."""
    with script.work.postmaster(clock=clock) as postmaster:
        hear(postmaster, script, at)
        with postmaster.client("main") as client:
            for message in script.submitted:
                for one in client.submit(message).recipients:
                    script.note("acknowledged", one.recipient)
            for message in script.sent:
                for one in _send(client, message).recipients:
                    script.note("acknowledged" if one.kept or one.is_final else "returned", one.recipient)
        worker = postmaster.worker()
        for _ in range(2):
            worker.run_due()
            postmaster.office.ledger.outbox.read_all()
            clock.move(HOUR)


def hear(postmaster: Postmaster, script: Script, at: Callable[[str], None] = lambda name: None) -> None:
    """Have events noted by a durable subscriber, read by hand."""

    def heard(event: Event) -> None:
        at("before_heard")
        script.note("heard", event.id)
        at("after_heard")

    outbox = postmaster.office.ledger.outbox
    outbox.wake = lambda: None  # type: ignore[method-assign] # a thread would come to its points at another time
    outbox.on("outside", heard, ())


def _send(client: Client, message: EmailMessage) -> Report:
    try:
        return client.send(message)
    except SMTPRecipientsRefused as error:
        report: Report = error.report  # type: ignore[attr-defined]
        return report


def _run(script: Script, last: int) -> None:
    passed = 0

    def at(name: str) -> None:
        nonlocal passed
        passed += 1
        if passed == last:
            script.note("died", name)
            os._exit(DIED)

    _lay(at)
    walk(script, ManualClock(), at)
    os._exit(0)


def _lay(at: Callable[[str], None]) -> None:
    connect, send = sqlite3.connect, socket.socket.send

    class Mortal(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            if statement != "COMMIT":
                return super().execute(statement, *parameters)
            at("before_commit")
            cursor = super().execute(statement, *parameters)
            at("after_commit")
            return cursor

    def mortal_send(sock: socket.socket, data: bytes, *flags: int) -> int:
        name = "dot" if bytes(data) in (b".\r\n", b"\r\n.\r\n") else "write"
        at(f"before_{name}")
        sent = send(sock, data, *flags)
        at(f"after_{name}")
        return sent

    sqlite3.connect = lambda *given, **more: connect(*given, **{"factory": Mortal, **more})  # type: ignore[assignment]
    socket.socket.send = mortal_send  # type: ignore[method-assign,assignment]
