"""A channel by apprise: Slack, Teams, SMS, push and a hundred more, each given as one URL."""

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from bouncekit.notify.notification import Notification
from bouncekit.notify.protocol import NotifyError, Via, alone
from bouncekit.words.address import suppression_key
from bouncekit.words.errors import ConfigurationError, MissingExtra
from bouncekit.words.showing import printable

__all__ = ["Push"]

_DELIMITERS = re.compile(r"[/:@?&=#,;+]+")
_SHORTEST_SECRET = 3  # shorter parts stand in every sentence
_BY_MAIL = ("mailto", "mailtos")
_TALKERS = ("apprise", "urllib3.connectionpool")  # whose lines of log may hold the URL


class Push:
    """Notices to whatever an apprise URL names.

    Tokens and passwords stand anywhere in such a URL, in the host's place too, so nothing of it but the scheme is
    ever shown: not in the repr, not in an error, not in what apprise logs while a notice is sent.

    Raises:
        MissingExtra: apprise is not installed.
        ConfigurationError: apprise does not take the URL.
    """

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ImportError:
            raise MissingExtra("notify", "apprise", "channels by apprise URL") from None
        self._scheme = url.partition("://")[0]
        self._secrets = _parts(url)
        self._service = apprise.Apprise()
        with _discreetly(_Said(self._secrets, is_silent=True)):  # its own mask of a URL leaves ends of the password
            is_taken = self._service.add(url)
        if not is_taken:
            raise ConfigurationError(
                f"{self._scheme}://***: apprise does not take this URL; "
                "https://appriseit.com/services/ shows how each one looks"
            )

        services: tuple[Any, ...] = tuple(self._service)
        self._mailboxes = frozenset(_mailboxes(services))
        if self._scheme.lower() in _BY_MAIL:
            for service in services:
                service.headers["Auto-Submitted"] = "auto-generated"  # RFC 3834 5

    def __repr__(self) -> str:
        return f"Push('{self._scheme}://***')"

    def send(self, notification: Notification, via: Via | None) -> None:
        """Send the notice; takes as long as the service does, with apprise's own timeouts of a few seconds.

        Raises:
            NotifyError: the service did not take it, or it would mail to the mailbox that bounced.
        """
        if suppression_key(notification.recipient) in self._mailboxes:
            raise NotifyError(f"channel {notification.channel!r} is the mailbox that bounced")
        with alone(notification), _discreetly(_Said(self._secrets)) as said:
            is_sent = self._service.notify(
                title=notification.subject,
                body=notification.text,
                notify_type="warning",
                body_format="text",  # so that apprise escapes it where a service reads markup
            )
        if not is_sent:
            raise NotifyError(f"channel {notification.channel!r}: {self._scheme}:// did not take the notice{said.last}")


@dataclass(slots=True)
class _Said:
    """What may not be said while apprise works, and what it complained of."""

    secrets: tuple[str, ...]
    is_silent: bool = False
    complaints: list[str] = field(default_factory=list)

    @property
    def last(self) -> str:
        """The last complaint, to put behind an error's text."""
        return f" ({printable(self.complaints[-1], limit=200)})" if self.complaints else ""


_said: ContextVar[_Said | None] = ContextVar("bouncekit_push_said", default=None)


class _Discretion(logging.Filter):
    """Lets through warnings without the parts of the URL, and nothing below them."""

    def filter(self, record: logging.LogRecord) -> bool:
        said = _said.get()
        if said is None:
            return True
        if said.is_silent or record.levelno < logging.WARNING:
            return False
        text = record.getMessage()
        for secret in said.secrets:
            text = text.replace(secret, "***")
        record.msg, record.args, record.exc_info, record.exc_text = printable(text), (), None, None
        said.complaints.append(text)
        return True


_discretion = _Discretion()


@contextmanager
def _discreetly(said: _Said) -> Iterator[_Said]:
    for name in _TALKERS:
        logging.getLogger(name).addFilter(_discretion)  # a logger keeps the same filter only once
    token = _said.set(said)
    try:
        yield said
    finally:
        _said.reset(token)


def _mailboxes(services: Iterable[Any]) -> Iterator[str]:
    """The keys of the mailboxes that apprise mails to: each of its services for mail names them in one of two forms."""
    for service in services:
        for target in getattr(service, "targets", None) or ():
            address = target[-1] if isinstance(target, tuple) else target
            if isinstance(address, str) and "@" in address:
                yield suppression_key(address)


def _parts(url: str) -> tuple[str, ...]:
    """Whatever in a URL may be secret, as written and unquoted, the longest first."""
    rest = url.partition("://")[2]
    parts = {rest, *_DELIMITERS.split(rest)}
    parts |= {unquote(part) for part in parts}
    return tuple(sorted((part for part in parts if len(part) >= _SHORTEST_SECRET), key=len, reverse=True))
