"""How a session begins, without I/O: EHLO, STARTTLS, the login (RFC 5321 4.1.1.1, RFC 2033, RFC 3207, RFC 4954).

Besides the steps of a conversation it asks for START_TLS: shake hands, and go on under TLS with a clean reader. What
fails there is thrown in, and is not caught. All that a server has said in clear is forgotten behind it.
"""

import base64
import hmac
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from bouncekit.protocol.conversation import LOOK, Conversation
from bouncekit.protocol.transaction import CLOSES, Command, Commands
from bouncekit.words.reply import Cause, NoReply, Reply, Stage

__all__ = ["START_TLS", "Manner", "NotOpened", "Opened", "StartTls", "Tls", "extensions_of", "opening"]

_PREFERRED = ("CRAM-MD5", "PLAIN", "LOGIN")  # smtplib's order
_LOGGED_IN = (235, 503)  # 503: already authenticated


class Tls(StrEnum):
    """Whether STARTTLS is used."""

    NEVER = "never"
    OFFERED = "offered"  # where the server offers it
    REQUIRED = "required"  # nothing is sent without


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a client wants its sessions to begin. The password is in no repr."""

    own_name: str  # of this machine, for EHLO
    lmtp: bool = False
    tls: Tls = Tls.OFFERED
    user: str | None = None
    password: str = field(default="", repr=False)
    hint: str = ""  # for who finds TLS required and not offered


@dataclass(frozen=True, slots=True)
class Opened:
    """A session in which mail may be sent: what the server offers, names in lower case; None after HELO."""

    extensions: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class NotOpened:
    """A session in which none may: where it failed, and by which answer."""

    stage: Stage
    answer: Reply | NoReply


class StartTls(NamedTuple):
    """Shake hands."""


START_TLS = StartTls()
Opening = Generator[Any, Any, Opened | NotOpened]


def opening(line: Conversation, manner: Manner) -> Opening:
    """Bring a session that was greeted to where mail may be sent.

    Raises:
        ValueError: our own name is none.
        UnicodeEncodeError: user or password are beyond ASCII, which no login here can say.
        OSError: what START_TLS raised.
    """
    opened = yield from _hello(line, manner)
    if isinstance(opened, NotOpened):
        return opened
    offers_tls = "starttls" in (opened.extensions or {})
    if manner.tls is Tls.REQUIRED and not line.is_tls and not offers_tls:
        return NotOpened(Stage.STARTTLS, NoReply(Cause.TLS, f"the relay offers no STARTTLS{manner.hint}"))
    if manner.tls is not Tls.NEVER and not line.is_tls and offers_tls:
        failed = yield from _start_tls(line)
        if failed is not None:
            return failed
        opened = yield from _hello(line, manner)
        if isinstance(opened, NotOpened):
            return opened
    if manner.user is not None:
        failed = yield from _login(line, opened.extensions or {}, manner.user, manner.password)
        if failed is not None:
            return failed
    return opened


def extensions_of(reply: Reply) -> dict[str, str]:
    r"""What a reply to EHLO offers: parameters by name in lower case.

    >>> extensions_of(Reply(250, b"mx.example.com\nSIZE 1000\nAUTH=LOGIN\nAUTH PLAIN"))
    {'size': '1000', 'auth': 'LOGIN PLAIN'}
    """
    found: dict[str, str] = {}
    for line in reply.raw.decode("latin-1").split("\n")[1:]:
        name, _, parameters = line.replace("=", " ", 1).partition(" ") if line[:5].upper() == "AUTH=" else _split(line)
        if name:
            before = f"{found[name.lower()]} " if name.upper() == "AUTH" and "auth" in found else ""
            found[name.lower()] = before + parameters.strip()
    return found


def _split(line: str) -> tuple[str, str, str]:
    return line.strip().partition(" ")


def _hello(line: Conversation, manner: Manner) -> Opening:
    """EHLO, else HELO, which an old server understands; LHLO has nothing to fall back to."""
    if not (manner.own_name.isascii() and manner.own_name.isprintable() and " " not in manner.own_name):
        raise ValueError(f"{manner.own_name!a} is no name for EHLO")
    verb = "lhlo" if manner.lmtp else "ehlo"
    answer = yield from _ask(line, Stage.EHLO, f"{verb} {manner.own_name}")
    if isinstance(answer, Reply) and answer.is_success and answer.code not in CLOSES:
        return Opened(extensions_of(answer))
    if manner.lmtp or isinstance(answer, NoReply) or answer.code in CLOSES:
        return NotOpened(Stage.EHLO, answer)
    answer = yield from _ask(line, Stage.EHLO, f"helo {manner.own_name}")
    if isinstance(answer, Reply) and answer.is_success and answer.code not in CLOSES:
        return Opened(None)
    return NotOpened(Stage.EHLO, answer)


def _start_tls(line: Conversation) -> Generator[Any, Any, NotOpened | None]:
    answer = yield from _ask(line, Stage.STARTTLS, "STARTTLS")
    if not (isinstance(answer, Reply) and answer.code == 220):
        return NotOpened(Stage.STARTTLS, answer)
    came = yield LOOK
    if came or not line.reader.is_clean:
        # Bytes that came in clear must not be taken for what is said under TLS (CVE-2011-0411 and its family).
        why = "the server spoke in clear behind its reply to STARTTLS"
        return NotOpened(Stage.STARTTLS, NoReply(Cause.PROTOCOL, why))
    yield START_TLS
    return None


def _login(
    line: Conversation, extensions: Mapping[str, str], user: str, password: str
) -> Generator[Any, Any, NotOpened | None]:
    """Log in by the first mechanism that the server offers and takes."""
    offered = extensions.get("auth", "").upper().split()
    answer: Reply | NoReply = NoReply(Cause.LOCAL, "the server offers no login that we know")
    for mechanism in _PREFERRED:
        if mechanism not in offered:
            continue
        tried = yield from _MECHANISMS[mechanism](line, user, password)
        if tried is None:
            continue
        answer = tried
        if isinstance(answer, Reply) and answer.code in _LOGGED_IN:
            return None
        if isinstance(answer, NoReply) or answer.code in CLOSES:
            break
    return NotOpened(Stage.AUTH, answer)


_Login = Generator[Any, Any, Reply | NoReply | None]


def _plain(line: Conversation, user: str, password: str) -> _Login:
    """RFC 4616."""
    return (yield from _ask(line, Stage.AUTH, f"AUTH PLAIN {_encoded(f'{chr(0)}{user}{chr(0)}{password}')}"))


def _login_login(line: Conversation, user: str, password: str) -> _Login:
    """User and password, each behind a prompt that nobody reads (draft-murchison-sasl-login)."""
    answer = yield from _ask(line, Stage.AUTH, "AUTH LOGIN")
    for said in (_encoded(user), _encoded(password)):
        if not (isinstance(answer, Reply) and answer.code == 334):
            break
        answer = yield from _ask(line, Stage.AUTH, said)
    return answer


def _cram_md5(line: Conversation, user: str, password: str) -> _Login:
    """RFC 2195; None where this Python has no MD5, or the challenge is none."""
    password.encode("ascii")
    try:
        hmac.new(b"", b"", "md5")
    except ValueError:
        return None
    answer = yield from _ask(line, Stage.AUTH, "AUTH CRAM-MD5")
    if not (isinstance(answer, Reply) and answer.code == 334):
        return answer
    try:
        challenge = base64.b64decode(answer.raw)
    except ValueError:
        return (yield from _ask(line, Stage.AUTH, "*"))
    digest = hmac.new(password.encode("ascii"), challenge, "md5").hexdigest()
    return (yield from _ask(line, Stage.AUTH, _encoded(f"{user} {digest}")))


_MECHANISMS: Mapping[str, Callable[[Conversation, str, str], _Login]] = {
    "CRAM-MD5": _cram_md5,
    "PLAIN": _plain,
    "LOGIN": _login_login,
}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("ascii")).decode("ascii")


def _ask(line: Conversation, stage: Stage, command: str) -> Generator[Any, Any, Reply | NoReply]:
    """Send one command and read its reply."""
    (answer,) = yield from line.exchange(Commands((Command(stage, f"{command}\r\n".encode("ascii")),)))
    return answer
