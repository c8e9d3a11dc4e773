"""`bouncekit testserver`: a mail server for development, which takes mail, shows it, and misbehaves as it is told."""

import email
import email.policy
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bouncekit.cli.output import show_json, show_line
from bouncekit.cli.settings import json_option
from bouncekit.cli.stopping import stopped_by_signal
from bouncekit.delivery.events import show_time
from bouncekit.intake.aside import for_its_owner
from bouncekit.words.errors import UNREADABLE, ConfigurationError
from bouncekit.words.showing import printable

if TYPE_CHECKING:
    from bouncekit.testing.answers import Answer
    from bouncekit.testing.records import Received
    from bouncekit.testing.script import Script
    from bouncekit.testing.server import ScriptedServer

__all__ = ["verb"]

_PORT = 2525
_KEEP = 1000
_TICK_SECONDS = 0.5
_MAX_SHOWN = 200


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, show_default=True, help="0: any that is free.")
@click.option("--script", type=click.Path(dir_okay=False), metavar="FILE", help="Answers by stage and recipient.")
@click.option("--lmtp", is_flag=True, help="Speak LMTP.")
@click.option("--no-chaos", is_flag=True, help="Let the names of recipients mean nothing.")
@click.option("--max-recipients", type=click.IntRange(min=1), metavar="N", help="452 4.5.3 to those above.")
@click.option("--size-limit", type=click.IntRange(min=1), default=33_554_432, show_default=True, metavar="BYTES")
@click.option("--save", type=click.Path(file_okay=False), metavar="FOLDER", help="Write each message there, as .eml.")
@json_option("JSON lines, one for each message and each odd answer")
def verb(
    port: int,
    script: str | None,
    lmtp: bool,
    no_chaos: bool,
    max_recipients: int | None,
    size_limit: int,
    save: str | None,
    as_json: bool,
) -> int:
    """Run a mail server on 127.0.0.1 for development: it delivers nothing, shows what came, and misbehaves on request.

    \b
    bouncekit testserver
    bouncekit testserver --script answers.yaml --save mails

    The name of a recipient says what becomes of the mail: full@ 552, busy@ 452, gone@ 550, greylist@ 451 once, slow@,
    silent@, drop@, shutdown@ 421; at the final dot spam@ 554, big@ 552, later@ 451, lost@ (taken, and never said so).
    452-4.2.2@ and data-554@ are any reply. A script goes before. Ctrl-C or SIGTERM ends it, with a count.
    """
    from bouncekit.testing.chaos import Chaos
    from bouncekit.testing.script import Cues
    from bouncekit.testing.server import ScriptedServer

    desk = _Desk(Path(save) if save else None, as_json=as_json)
    answers = _read(script, lmtp=lmtp) if script else {}
    cues = Cues(answers, lmtp=lmtp) if no_chaos else Chaos(answers, lmtp=lmtp, on_answer=desk.answered)
    server = ScriptedServer(
        cues,
        lmtp=lmtp,
        port=port,
        max_recipients=max_recipients,
        size_limit=size_limit,
        keep=_KEEP,
        on_message=desk.took,
    )
    with stopped_by_signal() as stop, _listening(server, port):
        click.echo(f"bouncekit testserver: listening at {server.url}", err=as_json)
        while not stop.wait(_TICK_SECONDS):
            pass
    click.echo(f"bouncekit testserver: {desk.summary()}", err=as_json)
    for error in server.errors:
        click.echo(f"bouncekit testserver: a fault of its own: {error!r}", err=True)
    return 1 if server.errors else 0


@contextmanager
def _listening(server: "ScriptedServer", port: int) -> Iterator[None]:
    try:
        server.start()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise ConfigurationError(f"cannot listen at 127.0.0.1 port {port}: {why}; --port 0 takes a free one") from error
    try:
        yield
    finally:
        server.stop()


def _read(script: str, *, lmtp: bool) -> "Script":
    from bouncekit.testing.scriptfile import read_script

    try:
        return read_script(script, Path(script).read_text("utf-8"), lmtp=lmtp)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{script}: {error}") from error


class _Desk:
    """Shows and saves what comes, from many sessions at once, one at a time."""

    def __init__(self, folder: Path | None, *, as_json: bool) -> None:
        self._folder = folder
        self._as_json = as_json
        self._lock = threading.Lock()
        self._count = 0
        self._answers: Counter[str] = Counter()
        if folder is not None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def took(self, message: "Received") -> None:
        """A message that the server has taken."""
        with self._lock:
            self._count += 1
            if self._folder is not None:
                with open(self._folder / f"{self._count:06}.eml", "wb", opener=for_its_owner) as file:
                    file.write(message.data)
            self._show_message(message)

    def answered(self, stage: str, recipient: str, answer: "Answer") -> None:
        """An answer that is not the usual one."""
        from bouncekit.testing.scriptfile import words_of

        said = words_of(answer)
        with self._lock:
            self._answers[said.split(" ")[0].partition("(")[0]] += 1
            if self._as_json:
                show_json({"at": _now(), "what": "answer", "stage": stage, "recipient": recipient, "answer": said})
            else:
                show_line("  ".join(filter(None, (stage.lower(), _shown(recipient), _shown(said)))))

    def summary(self) -> str:
        """What came, in a line."""
        odd = ", ".join(f"{count} x {said}" for said, count in sorted(self._answers.items()))
        messages = "1 message" if self._count == 1 else f"{self._count} messages"
        return f"{messages} taken" + (f"; odd answers: {odd}" if odd else "")

    def _show_message(self, message: "Received") -> None:
        subject = _subject(message.data)
        if self._as_json:
            show_json(
                {
                    "at": _now(),
                    "what": "message",
                    "number": self._count,
                    "sender": message.sender,
                    "recipients": list(message.recipients),
                    "subject": subject,
                    "size_bytes": len(message.data),
                }
            )
            return
        way = f"{_shown(message.sender or '<>')} -> {_shown(', '.join(message.recipients))}"
        show_line(f"{self._count}  {way}  {_shown(subject)}  {len(message.data)} bytes")


def _subject(data: bytes) -> str:
    """The subject of a message that may be anything at all."""
    try:
        parsed = email.message_from_bytes(data, policy=email.policy.default)
        return str(parsed["Subject"] or "")
    except UNREADABLE:
        return ""


def _shown(text: str) -> str:
    return printable(text, limit=_MAX_SHOWN)


def _now() -> str:
    return show_time(datetime.now(UTC))
