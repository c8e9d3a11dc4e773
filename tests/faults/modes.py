"""The ways to send that go through the table: a line for each."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import bouncekit
from bouncekit.postmaster.postmaster import Postmaster

from .table import POINTS, Cell

__all__ = ["MODES", "OTHERS", "PASSWORD", "SENDER", "USER", "Errand", "Mode"]

SENDER, USER, PASSWORD = "shop@example.org", "shop", "canary-password"
_HARMLESS = ("8BITMIME", "SIZE", "ENHANCEDSTATUSCODES")
_PIPELINES = (*_HARMLESS, "PIPELINING")

Send = Callable[[Sequence[str], bytes], object]  # returns or raises what the client does


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Where to send, and with what."""

    host: str
    port: int
    tls: ssl.SSLContext | None  # then with STARTTLS and a login
    postmaster: Postmaster
    timeout: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A client in its documented idiom, and the server that it is to meet.

    `once` lets the server misbehave in its first session only. `redials` says that the client may open another one.
    `without` are points and cells that do not exist here. `always` are the points that every run of the suite tries;
    with BOUNCEKIT_FAULTS=all it tries all. One that `reports` says what became of each recipient; of the others the
    code in an exception is taken for what it says.
    """

    name: str
    open: Callable[[Errand], AbstractContextManager[Send]]
    extensions: tuple[str, ...] = _HARMLESS
    lmtp: bool = False
    once: bool = False
    redials: bool = True
    without: frozenset[str] = frozenset()
    always: frozenset[str] = frozenset()
    reports: bool = True

    def has(self, cell: Cell) -> bool:
        """Whether the cell can happen to this client."""
        return self.without.isdisjoint({cell.point.name, str(cell)})

    def __str__(self) -> str:
        return self.name


@contextmanager
def _drop_in(kind: Callable[..., smtplib.SMTP], errand: Errand, **options: object) -> Iterator[Send]:
    if errand.timeout is not None:
        options["timeout"] = errand.timeout
    with kind(errand.host, errand.port, **options) as connection:
        if errand.tls is not None:
            connection.starttls(context=errand.tls)
            connection.login(USER, PASSWORD)
        yield lambda recipients, content: connection.sendmail(SENDER, recipients, content)


def _plain(errand: Errand) -> AbstractContextManager[Send]:
    return _drop_in(bouncekit.SMTP, errand)


def _dressed(errand: Errand) -> AbstractContextManager[Send]:
    return _drop_in(errand.postmaster.smtp, errand)


def _lmtp(errand: Errand) -> AbstractContextManager[Send]:
    return _drop_in(errand.postmaster.lmtp, errand)


def _client(**options: object) -> Callable[[Errand], AbstractContextManager[Send]]:
    @contextmanager
    def open_(errand: Errand) -> Iterator[Send]:
        with errand.postmaster.client(_url(errand), tls_context=errand.tls, **options) as client:
            yield lambda recipients, content: client.sendmail(SENDER, recipients, content)

    return open_


@contextmanager
def _async(errand: Errand) -> Iterator[Send]:
    with asyncio.Runner() as runner:
        client = bouncekit.AsyncClient(_url(errand), postmaster=errand.postmaster, tls_context=errand.tls)
        try:
            yield lambda recipients, content: runner.run(client.sendmail(SENDER, recipients, content))
        finally:
            runner.run(client.close())


def _url(errand: Errand) -> str:
    if errand.tls is None:
        return f"smtp://{errand.host}:{errand.port}"
    return f"smtp+tls://{USER}:{PASSWORD}@{errand.host}:{errand.port}"


@contextmanager
def _smtplib_before_quit(errand: Errand) -> Iterator[Send]:
    """The result is taken before QUIT, and what QUIT says is ignored: nobody writes it so, and it is fairer."""
    inside = _drop_in(smtplib.SMTP, errand)
    send = inside.__enter__()
    try:
        yield send
    finally:
        with suppress(smtplib.SMTPException, OSError):
            inside.__exit__(None, None, None)


@contextmanager
def _aiosmtplib(errand: Errand) -> Iterator[Send]:
    import aiosmtplib

    options: dict[str, object] = {"start_tls": False}
    if errand.tls is not None:
        options = {"start_tls": True, "tls_context": errand.tls, "username": USER, "password": PASSWORD}
    with asyncio.Runner() as runner:
        client = aiosmtplib.SMTP(hostname=errand.host, port=errand.port, timeout=errand.timeout, **options)  # type: ignore[arg-type]
        runner.run(client.__aenter__())
        try:
            yield lambda recipients, content: runner.run(client.sendmail(SENDER, recipients, content))
        finally:
            runner.run(client.__aexit__(None, None, None))


# Without DATA there is no 354, by which alone a client that pipelines can tell that a reply was one too many.
_NOT_CHUNKED = ("DATA", "MAIL/extra_ok", "MAIL/extra_5xx", "RCPT/extra_ok", "RCPT/extra_5xx")

_TRANSACTION = frozenset({"MAIL", "RCPT", "DATA", "body", "dot", "dot, TLS"})

MODES = (
    Mode(name="SMTP", open=_dressed, always=frozenset(POINTS)),
    Mode(name="drop-in", open=_plain, redials=False),
    Mode(name="pipelined", open=_client(), extensions=_PIPELINES, always=_TRANSACTION),
    Mode(name="redialled", open=_client(), extensions=_PIPELINES, once=True),
    Mode(
        name="chunked",
        open=_client(chunking=True),
        extensions=(*_PIPELINES, "CHUNKING"),
        without=frozenset(_NOT_CHUNKED),
    ),
    Mode(name="LMTP", open=_lmtp, lmtp=True, always=_TRANSACTION),
    Mode(name="async", open=_async, extensions=_PIPELINES, always=frozenset(POINTS)),
)
OTHERS = (
    Mode(name="smtplib", open=lambda errand: _drop_in(smtplib.SMTP, errand), redials=False, reports=False),
    Mode(name="smtplib, QUIT ignored", open=_smtplib_before_quit, redials=False, reports=False),
    Mode(name="aiosmtplib", open=_aiosmtplib, redials=False, reports=False),
)
