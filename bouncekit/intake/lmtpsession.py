"""One session of an LMTP server (RFC 2033): lines in, replies out, no socket.

    LHLO -> MAIL -> RCPT ... -> DATA -> the mail -> one reply for each RCPT that was taken, in their order

PIPELINING is a must and ENHANCEDSTATUSCODES and 8BITMIME a should of RFC 2033 5; SMTPUTF8 (RFC 6531) brings reports
about addresses that have it. Anything is taken for any recipient: what it proves is decided elsewhere.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bouncekit.intake.absorbing import MAX_MAIL_BYTES
from bouncekit.protocol.refusal import Refused, require

__all__ = ["CLOSING", "TIMED_OUT", "LmtpSession"]

MAX_RECIPIENTS = 100  # of one mail; RFC 5321 4.5.3.1.8 asks for this many
MAX_FAULTS = 20  # commands that are none, in one session
MAX_IDLE_COMMANDS = 1000  # of which none brings a mail
MAX_ADDRESS = 320  # octets; RFC 5321 4.5.3.1.3 has 256

CLOSING = "421 4.3.2 Closing, try again"
TIMED_OUT = "421 4.4.2 Nothing came for too long"
_TOO_MANY = "421 4.7.0 Too many commands that bring no mail"

_PATH = re.compile(r'(FROM|TO):[ ]?<((?:"(?:\\.|[^"\\])*"|[^">\s])*)>(.*)', re.IGNORECASE | re.DOTALL).fullmatch
_PARAMETERS = ("SIZE", "BODY", "SMTPUTF8")  # of MAIL
_EXTENSIONS = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", f"SIZE {MAX_MAIL_BYTES}", "SMTPUTF8")

# Takes a mail for its recipients; a reply for each.
Take = Callable[[bytes, Sequence[str]], Sequence[str]]


@dataclass(slots=True)
class LmtpSession:
    """The state of a session. `name` is the server's; `wants_data` and `is_over` say what the server does next."""

    name: str
    take: Take
    wants_data: bool = False
    is_over: bool = False
    _has_greeted: bool = False
    _has_sender: bool = False
    _recipients: list[str] = field(default_factory=list)
    _faults: int = 0
    _idle: int = 0

    def greeting(self) -> str:
        """What is said first."""
        return f"220 {self.name} LMTP bouncekit"

    def obey(self, line: bytes) -> str:
        """The reply to one command, without its line's end; lines of a reply are separated by a line feed."""
        self._idle += 1
        if self._idle > MAX_IDLE_COMMANDS:
            return self.end(_TOO_MANY)
        try:
            verb, _, argument = _text(line).partition(" ")
            if verb.upper() not in _VERBS:
                raise Refused("500 5.5.1 Command not known; this is LMTP")
            return _VERBS[verb.upper()](self, argument.strip())
        except Refused as refused:
            self._faults += 1
            return self.end(_TOO_MANY) if self._faults > MAX_FAULTS else str(refused)

    def take_data(self, content: bytes | None) -> list[str]:
        """The replies to the final dot; None is a mail that was too long."""
        recipients = tuple(self._recipients)
        self._reset()
        self._idle = 0
        if content is None:
            return [f"552 5.3.4 Longer than {MAX_MAIL_BYTES} octets"] * len(recipients)
        return list(self.take(content, recipients))

    def end(self, reply: str) -> str:
        """The last reply of the session."""
        self.is_over = True
        return reply

    def _lhlo(self, argument: str) -> str:
        require(argument, "501 5.5.4 Say your name too")
        self._reset()
        self._has_greeted = True
        return "\n".join((f"250 {self.name}", *(f"250 {extension}" for extension in _EXTENSIONS)))

    def _mail(self, argument: str) -> str:
        require(self._has_greeted, "503 5.5.1 LHLO comes first")
        require(not self._has_sender, "503 5.5.1 One MAIL at a time")
        _, options = _path("FROM", argument)
        for name, _, value in (option.upper().partition("=") for option in options):
            require(name in _PARAMETERS, f"555 5.5.4 Not offered here; of MAIL: {', '.join(_PARAMETERS)}")
            if name == "SIZE":
                require(value.isdecimal() and len(value) <= 20, "501 5.5.4 SIZE is a number")
                require(int(value) <= MAX_MAIL_BYTES, f"552 5.3.4 Longer than {MAX_MAIL_BYTES} octets")
        self._has_sender = True
        return "250 2.1.0 Ok"

    def _rcpt(self, argument: str) -> str:
        require(self._has_sender, "503 5.5.1 MAIL comes first")
        recipient, options = _path("TO", argument)
        require(recipient, "501 5.1.3 A recipient has an address")
        require(not options, "555 5.5.4 No parameter of RCPT is offered here")
        if len(self._recipients) >= MAX_RECIPIENTS:
            return "452 4.5.3 Too many recipients"
        self._recipients.append(recipient)
        return "250 2.1.5 Ok"

    def _data(self, argument: str) -> str:
        require(not argument, "501 5.5.4 DATA takes no argument")
        require(self._has_sender, "503 5.5.1 MAIL comes first")
        require(self._recipients, "503 5.5.1 No recipient was taken")  # RFC 2033 4.2
        self.wants_data = True
        return "354 End with <CR><LF>.<CR><LF>"

    def _rset(self, argument: str) -> str:
        self._reset()
        return "250 2.0.0 Ok"

    def _noop(self, argument: str) -> str:
        return "250 2.0.0 Ok"

    def _vrfy(self, argument: str) -> str:
        return "252 2.5.2 Send it"

    def _quit(self, argument: str) -> str:
        return self.end("221 2.0.0 Bye")

    def _reset(self) -> None:
        self.wants_data = self._has_sender = False
        self._recipients.clear()


_VERBS: dict[str, Callable[[LmtpSession, str], str]] = {
    "LHLO": LmtpSession._lhlo,
    "MAIL": LmtpSession._mail,
    "RCPT": LmtpSession._rcpt,
    "DATA": LmtpSession._data,
    "RSET": LmtpSession._rset,
    "NOOP": LmtpSession._noop,
    "VRFY": LmtpSession._vrfy,
    "QUIT": LmtpSession._quit,
}


def _text(line: bytes) -> str:
    if b"\r" in line or b"\n" in line or b"\0" in line:
        raise Refused("500 5.5.2 A CR, LF or NUL stands alone in the line")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Refused("500 5.5.2 Not UTF-8") from None


def _path(keyword: str, argument: str) -> tuple[str, list[str]]:
    found = _PATH(argument)
    if not found or found[1].upper() != keyword or len(found[2].encode()) > MAX_ADDRESS:
        raise Refused(f"501 5.5.4 Syntax: {keyword}:<address>")
    return found[2], found[3].split()
