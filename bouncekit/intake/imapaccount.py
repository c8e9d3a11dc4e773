"""An IMAP account as a URL (RFC 5092, in part); its password comes from elsewhere.

imaps://bounce@imap.example.org          TLS from the first byte, port 993
imap://bounce@imap.example.org           STARTTLS, always, port 143
imaps://bounce@example.org@imap.example.org:1993
"""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bouncekit.words.errors import ConfigurationError

__all__ = ["ImapAccount"]

_PORTS = {"imaps": 993, "imap": 143}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapAccount:
    """Where mailboxes are, and who may look into them. The password is in no repr.

    >>> ImapAccount.parse("imaps://bounce@imap.example.org", "secret")
    ImapAccount(scheme='imaps', host='imap.example.org', port=993, user='bounce', ca_file=None)
    """

    scheme: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    ca_file: Path | None = None  # PEM; None: those of the system

    @classmethod
    def parse(cls, url: str, password: str | None, *, ca_file: Path | None = None) -> "ImapAccount":
        """Raises ConfigurationError; its message never holds a password."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ConfigurationError("a mailbox's URL that cannot be read; write imaps://user@host") from None
        if parts.scheme not in _PORTS or not host or not parts.username:
            raise ConfigurationError("no mailbox's URL; write imaps://user@host, or imap://user@host for STARTTLS")
        if parts.password is not None:
            raise ConfigurationError(
                f"{parts.scheme}://{parts.username}@{host}: a password in a URL is seen by everybody (ps); "
                "set BOUNCEKIT_MAILBOX_PASSWORD, or write mailbox_password = ... into bouncekit.toml"
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigurationError(f"{parts.scheme}://{host}: a mailbox's URL ends behind the port; see --folder")
        user = unquote(parts.username)
        if not password:
            raise ConfigurationError(
                f"{parts.scheme}://{user}@{host}: no password: set BOUNCEKIT_MAILBOX_PASSWORD, "
                "or write mailbox_password = ... into bouncekit.toml"
            )
        if not user.isprintable() or any(ord(character) < 32 for character in password):
            raise ConfigurationError(f"{parts.scheme}://{host}: a control character in user or password")
        port = port or _PORTS[parts.scheme]
        return cls(scheme=parts.scheme, host=host, port=port, user=user, password=password, ca_file=ca_file)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.user}@{self.host}:{self.port}"
