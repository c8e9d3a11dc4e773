"""`logging.handlers.SMTPHandler`, dressed: what the log mails obeys the policy of a postmaster.

handler = bouncekit.integrations.logging.SMTPHandler(
    ("relay", 25), "shop@example.org", ["ops@example.org"], "The shop has trouble", postmaster=postmaster
)
"""

import logging
import logging.handlers
from email.message import EmailMessage
from email.utils import localtime
from typing import Any

from bouncekit.clients.smtp import SMTP, HasOffice

__all__ = ["SMTPHandler"]

_OURS = "bouncekit"
_PORT = 25


class SMTPHandler(logging.handlers.SMTPHandler):
    """A `logging.handlers.SMTPHandler` whose mails obey a policy: who is suppressed gets none, what is delayed waits.

    It mails no record of bouncekit's own, nor what a subscriber logs while one of its mails is sent: a mail about a
    mail that failed would fail too, and be about itself.

    Args:
        arguments, options: as there.
        postmaster: whose policy, store and events.
        message_class, tenant, stream, test: labels of these mails.
    """

    def __init__(
        self,
        *arguments: Any,
        postmaster: HasOffice,
        message_class: str | None = None,
        tenant: str = "",
        stream: str = "",
        test: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.addFilter(_is_of_others)
        self._postmaster = postmaster
        self._is_mailing = False  # under the handler's lock: who comes then is in the same thread
        self._labels: dict[str, Any] = {
            "message_class": message_class,
            "tenant": tenant,
            "stream": stream,
            "test": test,
        }

    def emit(self, record: logging.LogRecord) -> None:
        """Mail a record. What is raised goes to `handleError`, as ever."""
        if self._is_mailing:
            return
        self._is_mailing = True
        try:
            self._send(self._message(record))
        except Exception:  # noqa: BLE001 - as every handler of logging does
            self.handleError(record)
        finally:
            self._is_mailing = False

    def _message(self, record: logging.LogRecord) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self.fromaddr
        message["To"] = ",".join(self.toaddrs)
        message["Subject"] = self.getSubject(record)
        message["Date"] = localtime()
        message.set_content(self.format(record))
        return message

    def _send(self, message: EmailMessage) -> None:
        session = SMTP(timeout=self.timeout, postmaster=self._postmaster, **self._labels)
        host, port = self.mailhost, self.mailport or _PORT
        relay = self._postmaster.office.relay_at(host, port)
        session.dial_when_needed(host, port, (lambda: self._log_in(session),), relay=relay)
        with session:
            session.send_message(message)

    def _log_in(self, session: SMTP) -> None:
        """TLS and login, which the standard library's handler has only together."""
        if not self.username:
            return
        if self.secure is not None:
            session.ehlo()
            session.starttls(*self.secure)
            session.ehlo()
        session.login(self.username, self.password)


def _is_of_others(record: logging.LogRecord) -> bool:
    """Whether it is no record of bouncekit's own."""
    return record.name != _OURS and not record.name.startswith(f"{_OURS}.")
