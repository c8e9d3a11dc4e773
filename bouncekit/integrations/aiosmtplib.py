"""aiosmtplib's client, dressed: connected and logged in by aiosmtplib, every send by the policy of a postmaster.

    async with bouncekit.integrations.aiosmtplib.SMTP(hostname="relay", port=587, postmaster=postmaster) as smtp:
        errors, text = await smtp.send_message(message)

For the time of a transaction the line is ours, with strict reading, deadlines and the look before the dot. It is never
dialled again, since aiosmtplib opened it; `bouncekit.AsyncClient` comes back, and pipelines.
"""

import asyncio
import smtplib
from collections.abc import Iterable, Iterator
from email.message import Message
from typing import Any, ClassVar, cast

import bouncekit.clients.smtp
from bouncekit.clients.adopt import Installation
from bouncekit.clients.aiooffice import AsyncOffice, Errand
from bouncekit.clients.aiosession import AsyncCarrying
from bouncekit.clients.smtp import HasOffice
from bouncekit.clients.smtperrors import StoreUnavailable, told, with_report
from bouncekit.delivery.report import Report
from bouncekit.desk.office import Office
from bouncekit.outside.relay import Outlet
from bouncekit.protocol.conversation import Conversation
from bouncekit.transports.streams import StreamWire
from bouncekit.words.errors import MissingExtra

try:
    import aiosmtplib
    import aiosmtplib.api
    import aiosmtplib.smtp
    from aiosmtplib.typing import Default
except ImportError as error:
    raise MissingExtra("aiosmtplib", error.name or "aiosmtplib", "sends through aiosmtplib") from error

__all__ = ["SMTP", "Sent", "install"]

_SMTP = aiosmtplib.SMTP  # as it was before anybody replaced it


class Sent(tuple[dict[str, aiosmtplib.SMTPResponse], str]):
    """What aiosmtplib returns, the refused recipients and the server's last words, and `.report` beside it."""

    report: Report

    @classmethod
    def of(cls, report: Report) -> "Sent":
        """The result of a report."""
        refused = {address: _response(code, text) for address, (code, text) in report.items()}
        last = next((str(one.reply.text) for one in report.delivered if one.reply is not None), "")
        sent = cls((refused, last))
        sent.report = report
        return sent


class SMTP(_SMTP):
    """A `aiosmtplib.SMTP` whose `sendmail` and `send_message` obey a postmaster's policy.

    They return and raise what aiosmtplib does, with `.report` on it. A send that is cancelled has its end all the same,
    as with `bouncekit.AsyncClient`.

    Args:
        postmaster: whose policy, store and events.
        message_class, tenant, stream, test: labels of what is sent here.
        options: aiosmtplib's.

    Raises:
        TypeError: there is no postmaster.
    """

    default_postmaster: ClassVar[HasOffice | None] = None

    def __init__(
        self,
        *,
        postmaster: HasOffice | None = None,
        message_class: str | None = None,
        tenant: str = "",
        stream: str = "",
        test: bool = False,
        **options: Any,
    ) -> None:
        postmaster = postmaster or self.default_postmaster
        if postmaster is None:
            raise TypeError("SMTP(postmaster=...) is needed: without one use aiosmtplib.SMTP")
        self._office = postmaster.office
        self._has_sent = self._is_composing = False
        self._desk = bouncekit.clients.smtp.SMTP(
            local_hostname="localhost",  # of which nothing is said; asking for our own could take its time
            postmaster=postmaster,
            message_class=message_class,
            tenant=tenant,
            stream=stream,
            test=test,
        )
        super().__init__(**options)

    async def sendmail(
        self,
        sender: str,
        recipients: str | Iterable[str],
        message: str | bytes,
        /,
        *,
        mail_options: Iterable[str] | None = None,
        rcpt_options: Iterable[str] | None = None,
        timeout: Any = Default.token,
    ) -> Sent:
        """Send a message; see `aiosmtplib.SMTP.sendmail`."""
        self._is_composing = False
        host, port = str(self.hostname or "localhost"), int(self.port or 0)
        self._desk.relay = self._office.relay_at(host, port)
        delivery = self._desk.take(sender, recipients, message, tuple(mail_options or ()), tuple(rcpt_options or ()))
        if self._sendmail_lock is None:
            self._sendmail_lock = asyncio.Lock()
        async with self._sendmail_lock:
            driver = AsyncOffice(self._office)
            errand = driver.errand()
            session = _Adopted(self, self._office, host, self.timeout if timeout is Default.token else timeout)
            course = self._office.course(delivery, Outlet(self._desk.relay or f"{host}:{port}"))

            async def transact(step: Any) -> Any:
                return await session.transact(step, errand)

            try:
                report = await driver.carry_out(delivery, course, transact, errand)
                self._has_sent = True
            finally:
                session.give_back()
        try:
            return Sent.of(told(delivery, report, session.trouble, sender))
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise with_report(_as_aiosmtplib_says(error), report) from error

    async def send_message(self, message: Message, /, **options: Any) -> Sent:
        """Send a message to the recipients in its headers, or to those given; see `aiosmtplib.SMTP.send_message`."""
        if isinstance(people := options.get("recipients"), Iterator):
            options["recipients"] = list(people)  # aiosmtplib goes through them twice
        self._is_composing = True
        try:
            return cast(Sent, await super().send_message(message, **options))  # it is what `sendmail` has returned
        finally:
            self._is_composing = False

    @property
    def is_ehlo_or_helo_needed(self) -> bool:
        """Whether nobody has said EHLO; not while `send_message` composes: the send does it, and reports."""
        return not self._is_composing and super().is_ehlo_or_helo_needed

    def supports_extension(self, extension: str, /) -> bool:
        """Whether the server offers an extension; who needs SMTPUTF8 is composed for, and the send asks."""
        return (self._is_composing and extension.lower() == "smtputf8") or super().supports_extension(extension)

    async def quit(self, *, timeout: Any = Default.token) -> aiosmtplib.SMTPResponse:
        """Say QUIT and close. After a send no answer to it is an error: nothing that was settled can change."""
        try:
            return await super().quit(timeout=timeout)
        except aiosmtplib.SMTPException as error:
            if not self._has_sent:
                raise
            self.close()
            return aiosmtplib.SMTPResponse(-1, str(error))


def install(postmaster: HasOffice) -> Installation:
    """Replace `aiosmtplib.SMTP` in this process, and what `aiosmtplib.send` uses: every send obeys the policy.

    No call site changes. Code that imported the class before keeps the one it has.

    Raises:
        TypeError: what is given is no postmaster.
    """
    if not hasattr(postmaster, "office"):
        raise TypeError(f"{type(postmaster).__name__} is no bouncekit.Postmaster")
    dressed = type("SMTP", (SMTP,), {"default_postmaster": postmaster, "__doc__": SMTP.__doc__})
    return Installation((module, "SMTP", dressed) for module in (aiosmtplib, aiosmtplib.api, aiosmtplib.smtp))


class _Adopted(AsyncCarrying):
    """A session on the line of an aiosmtplib client, which gets it back."""

    def __init__(self, client: SMTP, office: Office, host: str, timeout: float | None) -> None:
        self.office = office
        self._client = client
        self._host = host
        self._timeout = timeout

    @property
    def _may_dial(self) -> bool:
        return False

    async def _made_ready(self, errand: Errand) -> Conversation:
        client = self._client
        if self._wire is None:
            if not client.is_connected or client.transport is None or client.protocol is None:
                raise smtplib.SMTPServerDisconnected("please run connect() first")
            try:
                await client._ehlo_or_helo_if_needed()
            except aiosmtplib.SMTPHeloError as error:
                raise smtplib.SMTPHeloError(error.code, error.message) from error
            self._wire = wire = StreamWire()
            wire.line.timeout = self._timeout
            wire.line.reader.feed(bytes(client.protocol._buffer))
            wire.connection_made(client.transport)
            client.transport.set_protocol(wire)
            self.does_esmtp, self.esmtp_features = client.supports_esmtp, dict(client.esmtp_extensions)
        return self._wire.line

    async def hang_up(self, errand: Errand) -> None:
        """It is not ours to end."""

    def give_back(self) -> None:
        """Let aiosmtplib have its line again, or know that it is gone."""
        client, wire, self._wire = self._client, self._wire, None
        if wire is not None and not wire.is_over and client.protocol is not None and client.transport is not None:
            client.transport.set_protocol(client.protocol)
        elif wire is not None or self._was_dropped:
            client.close()


def _as_aiosmtplib_says(error: Exception) -> Exception:
    """smtplib's exception in aiosmtplib's terms."""
    match error:
        case StoreUnavailable() | aiosmtplib.SMTPException():
            return error
        case smtplib.SMTPRecipientsRefused():
            refused = [
                aiosmtplib.SMTPRecipientRefused(code, _text(text), address)
                for address, (code, text) in error.recipients.items()
            ]
            return aiosmtplib.SMTPRecipientsRefused(refused)
        case smtplib.SMTPSenderRefused():
            return aiosmtplib.SMTPSenderRefused(error.smtp_code, _text(error.smtp_error), error.sender)
        case smtplib.SMTPDataError():
            return aiosmtplib.SMTPDataError(error.smtp_code, _text(error.smtp_error))
        case smtplib.SMTPHeloError():
            return aiosmtplib.SMTPHeloError(error.smtp_code, _text(error.smtp_error))
        case smtplib.SMTPServerDisconnected():
            return aiosmtplib.SMTPServerDisconnected(str(error))
        case smtplib.SMTPNotSupportedError():
            return aiosmtplib.SMTPNotSupported(str(error))
        case smtplib.SMTPResponseException():
            return aiosmtplib.SMTPResponseException(error.smtp_code, _text(error.smtp_error))
        case _:
            return error


def _response(code: int, text: bytes) -> aiosmtplib.SMTPResponse:
    return aiosmtplib.SMTPResponse(code, _text(text))


def _text(text: bytes | str) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "backslashreplace")
