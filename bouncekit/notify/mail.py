"""A channel by mail, to somebody else than the recipient that bounced (RFC 3834, RFC 6068)."""

import email.policy
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from urllib.parse import parse_qsl, unquote, urlsplit

from bouncekit.notify.notification import Notification
from bouncekit.notify.protocol import NotifyError, Via, alone
from bouncekit.words.address import a_label, parse_address, suppression_key
from bouncekit.words.errors import AddressError, ConfigurationError
from bouncekit.words.showing import printable

__all__ = ["Mail"]

_NAME = "Mail delivery notices"
_MAX_SUBJECT = 200  # characters


class Mail:
    """Notices as mail through the connection in use, from the null return path: nobody answers them.

    Args:
        to: where they go.
        sender: what their From: says. Without it, the sender of the mail that they are about.

    Raises:
        ConfigurationError: an address is none, or needs SMTPUTF8, which nobody can count on.

    >>> Mail.parse("mailto:ops@example.com?from=postmaster@example.com")
    Mail('ops@example.com', sender='postmaster@example.com')
    """

    def __init__(self, to: str, *, sender: str | None = None) -> None:
        self.to = _ascii_address(to)
        self.sender = None if sender is None else _ascii_address(sender)

    @classmethod
    def parse(cls, url: str) -> "Mail":
        """A channel from `mailto:ops@example.com`, with `?from=...` for its From: header."""
        parts = urlsplit(url)
        to = unquote(parts.path)
        if ":" in to:  # perhaps a password: not shown
            raise ConfigurationError("mailto: takes an address; apprise's mailto://user:password@host has two slashes")
        if not to:
            raise ConfigurationError(
                "mailto: names nobody to write to. A notice never goes to the address that bounced: "
                "to reach the recipient in another way, give a function that takes a Notification"
            )
        fields = parse_qsl(parts.query, keep_blank_values=True)
        if unknown := [name for name, _ in fields if name != "from"]:
            raise ConfigurationError(f"mailto: {unknown[0]!r} cannot be set; write mailto:ops@example.com?from=...")
        return cls(to, sender=dict(fields).get("from"))

    def __repr__(self) -> str:
        return f"Mail({self.to!r}, sender={self.sender!r})"

    def send(self, notification: Notification, via: Via | None) -> None:
        """Send the notice.

        Raises:
            NotifyError: it would go to the mailbox that bounced, or there is no connection; or what `via` raises.
        """
        if suppression_key(self.to) == suppression_key(notification.recipient):
            raise NotifyError(f"channel {notification.channel!r} is the mailbox that bounced")
        if via is None:
            raise NotifyError(f"channel {notification.channel!r}: there is no connection to send a mail by")
        with alone(notification):
            via("", self.to, self._render(notification).as_bytes(policy=email.policy.SMTP))

    def _render(self, notification: Notification) -> EmailMessage:
        sender = self.sender or self._sender_of(notification)
        message = EmailMessage()
        message["From"] = f"{_NAME} <{sender}>"
        message["To"] = self.to
        message["Subject"] = printable(notification.subject, limit=_MAX_SUBJECT)
        message["Date"] = format_datetime(notification.event.at)
        message["Message-ID"] = make_msgid(domain=a_label(parse_address(sender).domain) or "localhost")
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834 5: answer neither by hand nor by machine
        message["X-Auto-Response-Suppress"] = "All"  # Exchange's own word for it
        message.set_content(notification.text)
        return message

    def _sender_of(self, notification: Notification) -> str:
        """The sender of the mail in question, whom the relay lets through; else the one who gets the notice."""
        try:
            return _ascii_address(notification.event.occasion.sender or self.to)
        except ConfigurationError:
            return self.to


def _ascii_address(text: str) -> str:
    """An address that any server takes: its domain as A-labels."""
    try:
        address = parse_address(text)
    except AddressError as error:
        raise ConfigurationError(f"mailto: {error}") from None
    local, at, _ = address.wire.rpartition("@")
    if not at:
        raise ConfigurationError(f"mailto: {text!r} is no address; one looks like ops@example.com")
    if not local.isascii():
        raise ConfigurationError(f"mailto: {text!r} can only be reached by SMTPUTF8; give an address in ASCII")
    return f"{local}@{a_label(address.domain)}"
