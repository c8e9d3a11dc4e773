"""Sends that other code makes: a connection somebody else opened, or every smtplib connection of the process."""

import smtplib
import threading
from collections.abc import Iterable
from dataclasses import replace
from types import ModuleType, TracebackType

from bouncekit.clients.smtp import LMTP, SMTP, SMTP_SSL, Composing, HasOffice
from bouncekit.desk.office import Office
from bouncekit.protocol.commandlines import DsnRequest
from bouncekit.transports.blocking import without_delay
from bouncekit.words.envelope import Labels
from bouncekit.words.reply import ReplyReader

__all__ = ["Installation", "install", "wrap"]

_NAMES: dict[str, type[SMTP]] = {"SMTP": SMTP, "SMTP_SSL": SMTP_SSL, "LMTP": LMTP}


def wrap(
    connection: smtplib.SMTP,
    postmaster: HasOffice,
    *,
    message_class: str | None = None,
    tenant: str = "",
    stream: str = "",
    test: bool = False,
) -> SMTP:
    """Dress an open connection: what comes back sends through the postmaster's policy.

    Both objects share one connection; close either. It is never dialled again, since somebody else knows how.

    Raises:
        TypeError: the connection is not a `smtplib.SMTP`.
        ConfigurationError: the postmaster queues, and knows no relay where this connection goes.
    """
    if not isinstance(connection, smtplib.SMTP | _ORIGINAL):
        raise TypeError(f"{type(connection).__name__} is no smtplib.SMTP, SMTP_SSL or LMTP connection")
    kind = next(dressed for plain, dressed in _DRESSES if isinstance(connection, plain))
    dressed = kind.__new__(kind)
    dressed.__dict__ = connection.__dict__
    if not isinstance(connection, SMTP):
        dressed._reader = ReplyReader()
        dressed._turn = threading.RLock()
        dressed._composing = Composing()
        dressed._reader.feed(_already_read(connection))
        dressed._dialled = None
        dressed.conduct = replace(dressed.conduct, dsn=DsnRequest())
        if connection.sock is not None:
            without_delay(connection.sock)
    dressed.office = postmaster.office
    dressed.relay = _relay_of(connection, postmaster.office)
    dressed.labels = postmaster.office.check(
        Labels(message_class=message_class, tenant=tenant, stream=stream, test=test)
    )
    return dressed


class Installation:
    """A library's classes, replaced; `undo()` puts back what stood there before. Also a context manager."""

    def __init__(self, places: Iterable[tuple[ModuleType, str, type]]) -> None:
        places = tuple(places)
        self._replaced = [(module, name, getattr(module, name)) for module, name, _ in places]
        for module, name, kind in places:
            setattr(module, name, kind)

    def undo(self) -> None:
        """Put the classes back. A second call does nothing."""
        while self._replaced:
            setattr(*self._replaced.pop())

    def __enter__(self) -> "Installation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()


def install(postmaster: HasOffice) -> Installation:
    """Replace `smtplib.SMTP`, `SMTP_SSL` and `LMTP` in this process: every send through them obeys the policy.

    No call site changes. Code that imported a class from smtplib before keeps the one it has.

    Raises:
        TypeError: what is given is no postmaster.
    """
    if not hasattr(postmaster, "office"):
        raise TypeError(f"{type(postmaster).__name__} is no bouncekit.Postmaster")
    return Installation(
        (smtplib, name, type(name, (kind,), {"default_postmaster": postmaster, "__doc__": kind.__doc__}))
        for name, kind in _NAMES.items()
    )


_ORIGINAL = smtplib.SMTP
_DRESSES: tuple[tuple[type[smtplib.SMTP], type[SMTP]], ...] = (
    (smtplib.LMTP, LMTP),
    (smtplib.SMTP_SSL, SMTP_SSL),
    (smtplib.SMTP, SMTP),
)


def _relay_of(connection: smtplib.SMTP, office: Office) -> str | None:
    if connection.sock is None:
        return None  # it is asked for when somebody connects
    address = connection.sock.getpeername()
    host, port = address[:2] if isinstance(address, tuple) else (address, 0)  # a Unix socket of LMTP
    return office.relay_at(getattr(connection, "_host", "") or str(host), port)


def _already_read(connection: smtplib.SMTP) -> bytes:
    """Bytes that smtplib's buffered file has taken from the socket and given to nobody."""
    file, sock = connection.file, connection.sock
    connection.file = None
    if file is None or sock is None:
        return b""
    own = sock.gettimeout()
    sock.settimeout(0)
    try:
        left = bytes(file.peek(1))
        return bytes(file.read1(len(left))) if left else b""
    except OSError:
        return b""
    finally:
        sock.settimeout(own)
