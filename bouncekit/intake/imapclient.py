"""A connection to an IMAP server: always in TLS, and with bounds to what an answer may bring."""

import imaplib
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bouncekit.intake.absorbing import MAX_MAIL_BYTES
from bouncekit.intake.imapaccount import ImapAccount

if TYPE_CHECKING:
    from imap_tools import BaseMailBox

__all__ = ["connect"]

_TIMEOUT = 60.0  # seconds, for a part of an answer
_MAX_ANSWER = MAX_MAIL_BYTES + 16 * 1024 * 1024  # octets, to one command; the list of a million mails has 8 MB


def connect(account: ImapAccount) -> "BaseMailBox":
    """A greeted connection of imap-tools; nobody has logged in.

    Raises:
        OSError, imaplib.IMAP4.error: nobody answers, or not in TLS that can be trusted.
    """
    from imap_tools import MailBox, MailBoxStartTls

    context = ssl.create_default_context(cafile=account.ca_file)

    class TlsBox(MailBox):
        def _get_mailbox_client(self) -> imaplib.IMAP4:
            return _Tls(account.host, account.port, ssl_context=context, timeout=_TIMEOUT)

    class StartTlsBox(MailBoxStartTls):
        def _get_mailbox_client(self) -> imaplib.IMAP4:
            client = _Clear(account.host, account.port, timeout=_TIMEOUT)
            try:
                client.starttls(context)
            except BaseException:
                with suppress(OSError):
                    client.shutdown()
                raise
            return client

    return TlsBox() if account.scheme == "imaps" else StartTlsBox()


class _Bounded(imaplib.IMAP4):
    """Counts what the answer to one command brings: neither a literal nor a flood of lines can fill the memory."""

    _left = _MAX_ANSWER

    def _command(self, *arguments: Any) -> Any:
        self._left = _MAX_ANSWER
        return super()._command(*arguments)  # type: ignore[misc]  # typeshed has no private names

    def read(self, size: int) -> bytes:
        self._spend(size)
        return super().read(size)

    def readline(self) -> bytes:
        line = super().readline()
        self._spend(len(line))
        return line

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise self.abort("an answer that is too long")


class _Clear(_Bounded):
    """For STARTTLS."""


class _Tls(_Bounded, imaplib.IMAP4_SSL):
    """TLS from the first byte."""
