"""A mail that came back, opened as far as somebody asks: its parts, its text, the message inside, who is who in it."""

import re
from collections.abc import Iterable, Iterator, Set
from functools import cached_property
from itertools import islice

from bouncekit.bounces.bouncetext import Notice, is_failure, split_returned
from bouncekit.bounces.dsn import mailbox
from bouncekit.bounces.mimepart import Headers, Part, read_headers, read_part

__all__ = ["OpenedMail"]

MAX_TEXT = 64 * 1024
MAX_X_HEADERS = 64

_RETURNED_TYPES = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers", "text/rfc822"}
)
_ANSWERS = ("re:", "aw:", "sv:", "antw:", "fw:", "fwd:", "wg:", "tr:", "rv:", "回复", "转发", "答复")
_DAEMONS = (
    "mailer-daemon", "mailerdaemon", "mail-daemon", "postmaster", "post_master", "maildaemon", "mdaemon", "bounce",
    "mail delivery", "mail.delivery", "delivery subsystem", "mail system", "microsoft outlook", "microsoftexchange",
    "ndr administrator", "system administrator", "systemadministrator", "systemadministrateur",
)  # fmt: skip
_OF_THE_HOUSE = frozenset({"postmaster", "mailer-daemon", "abuse", "hostmaster", "helpdesk", "support"})
_QUOTED_TO = re.compile(r"^[ \t]*(?:RCPT )?To[ \t]*:[ \t]*(.*)$", re.MULTILINE | re.IGNORECASE).findall
_ADDRESSES = re.compile(r"[^\s<>\"',;:()\[\]]{1,64}@[^\s<>\"',;:()\[\]]{1,255}").findall


class OpenedMail:
    """One mail. `sent_to` are the addresses that the message in question went to, where that is known."""

    def __init__(self, content: bytes, sent_to: Iterable[str] = ()) -> None:
        self.content = content
        root = read_part(content)
        self.parts = tuple(root.walk())
        self.headers = root.headers
        self._types = frozenset([part.content_type for part in self.parts])
        self.sent_to = {address.lower(): address for address in sent_to}

    def first(self, types: Set[str]) -> Part | None:
        """The first part of one of these types."""
        if self._types.isdisjoint(types):
            return None
        return next((part for part in self.parts if part.content_type in types), None)

    @cached_property
    def subject(self) -> str:
        return self.headers.text("subject")

    @property
    def text(self) -> str:
        """What is written to the reader, without the returned message."""
        return self._halves[0]

    @cached_property
    def notice(self) -> Notice:
        return Notice(self.text)

    @cached_property
    def returned(self) -> Headers:
        """The header of the message that came back."""
        if part := self.first(_RETURNED_TYPES):
            return read_headers(part.content[:MAX_TEXT])
        return read_headers(self._halves[1].encode("utf-8", "replace"))

    @cached_property
    def failed(self) -> tuple[str, ...]:
        """The addresses of X-Failed-Recipients, which Exim and Gmail write."""
        listed = ",".join(self.headers.all("x-failed-recipients")[:50]).split(",")
        return tuple(address for address in map(mailbox, listed[:1000]) if address)

    @cached_property
    def is_from_daemon(self) -> bool:
        """Whether it says that a mail system wrote it: the null return path, or its name."""
        path = self.headers.get("return-path").strip().lower()
        sender = f"{self.headers.text('from')} {path}".lower()
        return path in ("<>", "<null>") or any(name in sender for name in _DAEMONS)

    @property
    def is_an_answer(self) -> bool:
        """Whether a person writes about a bounce, quoting it."""
        return self.subject.lower().lstrip().startswith(_ANSWERS) and not self.is_from_daemon

    @property
    def speaks_of_failure(self) -> bool:
        """Whether sender, subject and text speak of mail that failed, two of them together: one may be anybody's."""
        by_subject = is_failure(self.subject)
        if self.is_from_daemon:
            return by_subject or is_failure(self.text)
        return by_subject and is_failure(self.text) and len(self.returned) > 1

    def is_somebody_else(self, address: str) -> bool:
        """Whether an address is that of a writer or a reader, or one to ask for help, and nobody has sent to it."""
        folded = address.lower()
        return folded not in self._meant and (folded in self._own or folded.partition("@")[0] in _OF_THE_HOUSE)

    @property
    def only_recipient(self) -> str | None:
        """The one address that the returned message was for; None where there are several, or none, or a list."""
        values = [self.returned.get(name) for name in ("x-envelope-to", "to", "cc", "bcc")]
        if not any(values):
            values = _QUOTED_TO(self.text)
        found = {address.lower(): address for value in values for address in _ADDRESSES(value[:2000])}
        if len(found) != 1 or next(iter(found)) in self.returned.get("list-post").lower():
            return None
        return mailbox(next(iter(found.values())))

    @property
    def x_headers(self) -> dict[str, str]:
        """The X- fields of the returned message, names in lower case."""
        return dict(islice(self.returned.items("x-"), MAX_X_HEADERS))

    @property
    def delivered_to(self) -> tuple[str, ...]:
        """The addresses that this mail itself was sent to, the surest first."""
        names = ("x-original-to", "delivered-to", "envelope-to", "x-envelope-to", "to")
        texts = [text for name in names for value in self.headers.all(name)[:20] for text in _ADDRESSES(value[:2000])]
        known = {address.lower(): address for address in map(mailbox, reversed(texts)) if address}
        return tuple(known.values())[::-1]

    @cached_property
    def _halves(self) -> tuple[str, str]:
        return split_returned("\n".join(_texts(self.parts))[:MAX_TEXT])

    @cached_property
    def _meant(self) -> set[str]:
        return _in_fields(self.returned, "to", "cc") | self.sent_to.keys()

    @cached_property
    def _own(self) -> set[str]:
        return _in_fields(self.headers, "to", "from", "delivered-to") | _in_fields(self.returned, "from", "return-path")


def _texts(parts: Iterable[Part]) -> Iterator[str]:
    """The texts for people: plain ones, else those in HTML."""
    leaves = [part for part in parts if not part.parts]
    plain = [part for part in leaves if part.content_type == "text/plain" or part.content_type.startswith("multipart/")]
    for part in plain or [part for part in leaves if part.content_type == "text/html"]:
        yield part.text


def _in_fields(headers: Headers, *names: str) -> set[str]:
    return {address.lower() for name in names for address in _ADDRESSES(headers.get(name)[:2000])}
