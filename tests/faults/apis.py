"""Every way to hand a message over: what it takes, and how it is sent."""

import asyncio
import smtplib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from email.policy import SMTP as RFC5322
from pathlib import Path

import bouncekit
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, ScriptedServer

__all__ = ["APIS", "Api"]

Hand = Callable[[ScriptedServer, Postmaster, str, Sequence[str], bytes], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One of them. It returns the report of the send, or raises."""

    name: str
    send: Hand
    lmtp: bool = False
    queues: bool = False

    def __str__(self) -> str:
        return self.name

    @contextmanager
    def postmaster(self, server: ScriptedServer, folder: Path) -> Iterator[Postmaster]:
        settings: dict[str, object] = {}
        if self.queues:
            settings = {"retry": "queue", "worker": "external", "relays": {"main": server.url}}
            settings["store"] = f"sqlite:///{folder / 'bounces.db'}"
        with Postmaster(clock=ManualClock(), **settings) as postmaster:  # type: ignore[arg-type]
            yield postmaster


def _message(content: bytes) -> Message:
    return message_from_bytes(content, policy=RFC5322)


def _bytes(server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes) -> object:
    with postmaster.smtp(server.host, server.port) as smtp:
        return smtp.sendmail(sender, to, content)


def _text(server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes) -> object:
    with postmaster.smtp(server.host, server.port) as smtp:
        return smtp.sendmail(sender, to, content.decode("ascii"))


def _object(server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes) -> object:
    with postmaster.smtp(server.host, server.port) as smtp:
        return smtp.send_message(_message(content), sender, to)


def _plain(server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes) -> object:
    with bouncekit.SMTP(server.host, server.port) as smtp:
        return smtp.sendmail(sender, to, content)


def _client(server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes) -> object:
    with postmaster.client(server.url) as client:
        return client.send(_message(content), sender=sender, recipients=to)


def _client_bytes(
    server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes
) -> object:
    with postmaster.client(server.url, chunking=True) as client:
        return client.sendmail(sender, to, content)


def _wrapped(server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes) -> object:
    with smtplib.SMTP(server.host, server.port) as plain:
        return bouncekit.wrap(plain, postmaster).sendmail(sender, to, content)


def _installed(
    server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes
) -> object:
    with bouncekit.install(postmaster), smtplib.SMTP(server.host, server.port) as smtp:
        return smtp.sendmail(sender, to, content)


def _lmtp(server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes) -> object:
    with postmaster.lmtp(server.host, server.port) as lmtp:
        return lmtp.sendmail(sender, to, content)


def _async(server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes) -> object:
    async def send() -> object:
        async with bouncekit.AsyncClient(server.url, postmaster=postmaster) as client:
            return await client.send(_message(content), sender=sender, recipients=to)

    return asyncio.run(send())


def _submitted(
    server: ScriptedServer, postmaster: Postmaster, sender: str, to: Sequence[str], content: bytes
) -> object:
    with postmaster.client("main") as client:
        report = client.submit(_message(content), sender=sender, recipients=to)
    postmaster.worker().run_due()
    return report


APIS = (
    Api(name="SMTP.sendmail, bytes", send=_bytes),
    Api(name="SMTP.sendmail, str", send=_text),
    Api(name="SMTP.send_message", send=_object),
    Api(name="SMTP without a postmaster", send=_plain),
    Api(name="Client.send", send=_client),
    Api(name="Client.sendmail, BDAT", send=_client_bytes),
    Api(name="AsyncClient.send", send=_async),
    Api(name="submit and worker", send=_submitted, queues=True),
    Api(name="wrap", send=_wrapped),
    Api(name="install", send=_installed),
    Api(name="LMTP.sendmail", send=_lmtp, lmtp=True),
)
