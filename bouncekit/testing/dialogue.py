"""One session of a scripted server: SMTP (RFC 5321) or LMTP (RFC 2033), and the script wherever it has an answer.

The order at each command: what is out of sequence or malformed is refused as a correct server refuses it, without a
look into the script; then the script may answer; then the session goes on by the code of that answer. BDAT (RFC 3030)
takes counted bytes from the buffer and joins DATA at `_end_of_data`.
"""

import base64
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bouncekit.protocol.refusal import Refused, require
from bouncekit.testing.answers import After, Closing, Silence, Usual, acts, counts, keeps, parts, wire
from bouncekit.testing.connection import Connection
from bouncekit.testing.records import Received
from bouncekit.testing.script import Cues

__all__ = ["Dialogue", "Settings"]

NAME = "mx.test"

_PATH = re.compile(r'(FROM|TO):\s*<((?:"(?:\\.|[^"\\])*"|[^">])*)>(.*)', re.IGNORECASE | re.DOTALL).fullmatch
_SIZE = re.compile(r"SIZE=(\d+)", re.IGNORECASE).fullmatch
_ENHANCED = re.compile(r"(?<=^\d\d\d )[245]\.\d+\.\d+ ")

# The extension that a parameter of MAIL or RCPT belongs to; without it the parameter is unknown (RFC 5321 4.1.1.11).
_EXTENSION_OF = {
    "AUTH": "AUTH",  # RFC 4954 5
    "BODY": "8BITMIME",  # RFC 6152
    "BY": "DELIVERBY",  # RFC 2852
    "ENVID": "DSN",  # RFC 3461 4
    "HOLDFOR": "FUTURERELEASE",  # RFC 4865
    "HOLDUNTIL": "FUTURERELEASE",
    "MT-PRIORITY": "MT-PRIORITY",  # RFC 6710
    "NOTIFY": "DSN",
    "ORCPT": "DSN",
    "REQUIRETLS": "REQUIRETLS",  # RFC 8689
    "RET": "DSN",
    "SIZE": "SIZE",  # RFC 1870
    "SMTPUTF8": "SMTPUTF8",  # RFC 6531
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What kind of server it is; ScriptedServer explains each field."""

    lmtp: bool
    extensions: tuple[str, ...]
    tls: ssl.SSLContext | None
    implicit_tls: bool
    users: Mapping[str, str] | None
    auth_needs_tls: bool
    max_recipients: int | None
    size_limit: int | None
    idle_timeout: float | None


@dataclass(slots=True)
class _Transaction:
    sender: str
    mail_options: tuple[str, ...]
    recipients: list[str] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)


class Dialogue:
    """The state of one session. `take` is called with each message before its reply goes out."""

    def __init__(
        self, connection: Connection, cues: Cues, settings: Settings, take: Callable[[Received], None]
    ) -> None:
        self._connection = connection
        self._cues = cues
        self._settings = settings
        self._take = take
        self._turned_away = False  # by the greeting
        self._greeted = False
        self._user: str | None = None
        self._transaction: _Transaction | None = None
        hello = {"LHLO": self._ehlo} if settings.lmtp else {"EHLO": self._ehlo, "HELO": self._helo}
        self._verbs: dict[str, Callable[[str], None]] = {
            **hello,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            "QUIT": self._quit,
        }

    def run(self) -> None:
        """Speaks until the session is over, which is an Ended or an OSError."""
        self._connection.begin(b"")
        if self._settings.implicit_tls:
            self._shake_hands()
        code = self._answer("CONNECT", f"220 {NAME} {'LMTP' if self._settings.lmtp else 'ESMTP'} ready")
        self._turned_away = code is None or code >= 400
        while True:
            try:
                line = self._connection.line(self._settings.idle_timeout)
            except TimeoutError:
                self._idle()
            else:
                self._obey(line)

    # -- the frame

    def _obey(self, line: bytes) -> None:
        verb, _, argument = line.decode("utf-8", "surrogateescape").partition(" ")
        verb = verb.upper()
        try:
            if b"\r" in line or b"\n" in line:
                raise Refused("500 5.5.2 A CR or LF stands alone in the line")
            if verb not in self._verbs:
                raise Refused("500 5.5.1 Command not known")
            if self._turned_away and verb != "QUIT":
                raise Refused("503 5.5.1 No service here, only QUIT")  # RFC 5321 3.1
            self._verbs[verb](argument.strip())
        except Refused as refused:
            self._connection.send(self._wire(str(refused)))

    def _answer(self, stage: str, usual: str, address: str = "") -> int | None:
        """Plays what the script or else the server has to say; returns the code that counts."""
        answer = self._cues.next(stage, address)
        reply = self._wire(usual)
        self._connection.play(acts(answer, reply))
        return counts(answer, reply)

    def _wire(self, reply: str) -> bytes:
        return wire(reply if self._offers("ENHANCEDSTATUSCODES") else _ENHANCED.sub("", reply))

    def _idle(self) -> None:
        answer = self._cues.next("IDLE")
        if isinstance(answer, Usual):
            answer = Closing(f"421 4.4.2 {NAME} Error: timeout exceeded")
        self._connection.begin(b"")
        self._connection.play(acts(answer, b""))

    # -- the session

    def _ehlo(self, argument: str) -> None:
        self._hello("EHLO", argument, "\n".join((f"250 {NAME}", *self._extensions())))

    def _helo(self, argument: str) -> None:
        self._hello("HELO", argument, f"250 {NAME}")

    def _hello(self, stage: str, argument: str, usual: str) -> None:
        require(argument, "501 5.5.4 Say your name too")
        if _is_yes(self._answer(stage, usual)):
            self._greeted = True
            self._transaction = None  # RFC 5321 4.1.4

    def _extensions(self) -> tuple[str, ...]:
        settings, connection = self._settings, self._connection
        limited = settings.size_limit is not None
        offered = [name for name in settings.extensions if not (limited and name.split()[0].upper() == "SIZE")]
        if limited:
            offered.append(f"SIZE {settings.size_limit}")
        if settings.tls and not connection.tls:
            offered.append("STARTTLS")
        if settings.users is not None and (connection.tls or not settings.auth_needs_tls):
            offered.append("AUTH PLAIN LOGIN")
        return tuple(offered)

    def _offers(self, keyword: str) -> bool:
        return any(extension.split()[0].upper() == keyword for extension in self._extensions())

    def _starttls(self, argument: str) -> None:
        require(not self._connection.tls, "503 5.5.1 TLS is on already")
        require(not argument, "501 5.5.4 STARTTLS takes no argument")
        usual = "220 2.0.0 Ready to start TLS" if self._settings.tls else "502 5.5.1 No TLS here"
        if self._answer("STARTTLS", usual) == 220:
            self._shake_hands()
            self._greeted, self._user, self._transaction = False, None, None  # RFC 3207 4.2

    def _shake_hands(self) -> None:
        context, answer = self._settings.tls, self._cues.next("TLS")
        self._connection.play(acts(answer, b""))
        if context is None or not any(isinstance(part, Usual) for part in parts(answer)):
            self._connection.play([Silence()])  # which is the end
        else:
            self._connection.start_tls(context)

    def _auth(self, argument: str) -> None:
        require(self._settings.users is not None, "503 5.5.1 AUTH is not offered")
        require(self._offers("AUTH"), "538 5.7.11 Encryption is required for AUTH")
        require(self._greeted and self._user is None and self._transaction is None, "503 5.5.1 Not now")
        user, password = self._credentials(argument)
        right = self._settings.users is not None and self._settings.users.get(user) == password
        usual = "235 2.7.0 Welcome" if right else "535 5.7.8 Authentication credentials invalid"
        if self._answer("AUTH", usual) == 235:
            self._user = user

    def _credentials(self, argument: str) -> tuple[str, str]:
        mechanism, _, initial = argument.partition(" ")
        match mechanism.upper():
            case "PLAIN":  # RFC 4616
                _, _, rest = self._ask("", initial).partition("\0")
                user, _, password = rest.partition("\0")
                return user, password
            case "LOGIN":
                return self._ask("Username:", initial), self._ask("Password:")
            case _:
                raise Refused("504 5.5.4 Only PLAIN and LOGIN")

    def _ask(self, challenge: str, initial: str = "") -> str:
        """The client's word, decoded; it may have come with the command."""
        if not initial:
            self._connection.send(b"334 " + base64.b64encode(challenge.encode()) + b"\r\n")
            initial = self._connection.line().decode("utf-8", "replace")
        require(initial != "*", "501 5.7.0 As you wish")
        try:
            return base64.b64decode("" if initial == "=" else initial, validate=True).decode()
        except ValueError:
            raise Refused("501 5.5.2 That is no base64 of UTF-8") from None

    # -- the transaction

    def _mail(self, argument: str) -> None:
        require(self._greeted, "503 5.5.1 Say hello first")
        require(self._settings.users is None or self._user is not None, "530 5.7.0 Authentication required")
        require(self._transaction is None, "503 5.5.1 Nested MAIL command")
        sender, options = self._path("FROM", argument)
        require(sender.isascii() or "SMTPUTF8" in map(str.upper, options), "553 5.6.7 SMTPUTF8 is needed")
        size = next((int(found[1]) for found in map(_SIZE, options) if found), 0)
        if _is_yes(self._answer("MAIL", self._too_big(size) or "250 2.1.0 Ok", sender)):
            self._transaction = _Transaction(sender, options)

    def _rcpt(self, argument: str) -> None:
        transaction, most = self._transaction, self._settings.max_recipients
        if transaction is None:
            raise Refused("503 5.5.1 Need MAIL first")
        recipient, _ = self._path("TO", argument)
        require(recipient, "501 5.1.3 A recipient has an address")
        utf8 = "SMTPUTF8" in map(str.upper, transaction.mail_options)
        require(recipient.isascii() or utf8, "553 5.6.7 SMTPUTF8 is needed")
        full = most is not None and len(transaction.recipients) >= most
        usual = "452 4.5.3 Too many recipients" if full else "250 2.1.5 Ok"
        if _is_yes(self._answer("RCPT", usual, recipient)):
            transaction.recipients.append(recipient)

    def _path(self, keyword: str, argument: str) -> tuple[str, tuple[str, ...]]:
        found = _PATH(argument)
        if not found or found[1].upper() != keyword:
            raise Refused(f"501 5.5.4 Syntax: {keyword}:<address>")
        options = tuple(found[3].split())
        for name in (option.partition("=")[0].upper() for option in options):
            require(self._offers(_EXTENSION_OF.get(name, "")), f"555 5.5.4 Parameter {name} not known here")
        return found[2], options

    def _data(self, argument: str) -> None:
        require(not argument, "501 5.5.4 DATA takes no argument")
        if self._transaction is None:
            raise Refused("503 5.5.1 Need MAIL and RCPT first")
        require(not self._transaction.chunks, "503 5.5.1 DATA behind BDAT")  # RFC 3030 2
        require(self._transaction.recipients, "554 5.5.1 No valid recipients")
        if self._answer("DATA", "354 End data with <CR><LF>.<CR><LF>") == 354:
            self._end_of_data(self._transaction, self._body())

    def _bdat(self, argument: str) -> None:
        """One chunk, which is read whatever becomes of it; it is answered by END_OF_DATA if it is the last."""
        require(self._offers("CHUNKING"), "500 5.5.1 Command not known")
        size, _, last = argument.upper().partition(" ")
        require(size.isascii() and size.isdecimal() and last in ("", "LAST"), "501 5.5.4 Syntax: BDAT size [LAST]")
        chunk = self._read(lambda buffer: int(size) if len(buffer) >= int(size) else -1)
        if self._transaction is None:
            raise Refused("503 5.5.1 Need MAIL and RCPT first")
        require(self._transaction.recipients, "554 5.5.1 No valid recipients")
        self._transaction.chunks.append(chunk)
        if last:
            self._end_of_data(self._transaction, b"".join(self._transaction.chunks))
        else:
            self._connection.send(self._wire("250 2.0.0 Chunk taken"))

    def _body(self) -> bytes:
        """Reads to CRLF.CRLF and nothing else; takes the stuffed dots away (RFC 5321 4.5.2)."""
        self._connection.buffer[:0] = b"\r\n"  # the end of the line before: a dot may come first
        looked = 0

        def end(buffer: bytearray) -> int:
            nonlocal looked
            if (found := buffer.find(b"\r\n.\r\n", looked)) >= 0:
                return found + 5
            looked = max(0, len(buffer) - 4)
            return -1

        return self._read(end, ahead=2)[:-3].replace(b"\r\n.", b"\r\n")[2:]

    def _read(self, end_of: Callable[[bytearray], int], *, ahead: int = 0) -> bytes:
        """Reads on until `end_of` the buffer is known, with what the script has at BODY. `ahead` bytes are our own."""
        connection, buffer = self._connection, self._connection.buffer
        fault = self._cues.next("BODY")
        fault_at = (fault.size_bytes if isinstance(fault, After) else 0) + ahead
        played = False
        while True:
            if not played and len(buffer) >= fault_at:
                played = True
                connection.play(acts(fault, b""))
            if (end := end_of(buffer)) >= 0:
                break
            connection.fill(most=None if played else fault_at - len(buffer))
        taken = bytes(buffer[:end])
        del buffer[:end]
        connection.pace = None
        return taken

    def _end_of_data(self, transaction: _Transaction, data: bytes) -> None:
        """One reply, or in LMTP one for each recipient, with the message taken before the first of them goes out."""
        self._transaction = None
        recipients = tuple(transaction.recipients)
        asked = recipients if self._settings.lmtp else ("",)
        usual = self._wire(self._too_big(len(data)) or "250 2.0.0 Ok: taken")
        answers = [self._cues.next("END_OF_DATA", recipient) for recipient in asked]
        kept = [recipient for recipient, answer in zip(asked, answers, strict=True) if keeps(answer, usual)]
        if kept:
            options = transaction.mail_options
            kept_for = tuple(kept) if self._settings.lmtp else recipients
            self._take(Received(sender=transaction.sender, recipients=kept_for, data=data, mail_options=options))
        for answer in answers:
            self._connection.begin(b".")
            self._connection.play(acts(answer, usual))

    def _too_big(self, size: int) -> str | None:
        most = self._settings.size_limit
        return "552 5.3.4 Message size exceeds fixed limit" if most is not None and size > most else None

    # -- the rest

    def _rset(self, argument: str) -> None:
        if _is_yes(self._answer("RSET", "250 2.0.0 Ok")):
            self._transaction = None

    def _noop(self, argument: str) -> None:
        self._answer("NOOP", "250 2.0.0 Ok")

    def _vrfy(self, argument: str) -> None:
        raise Refused("252 2.5.2 Send some mail, I will try")

    def _quit(self, argument: str) -> None:
        self._answer("QUIT", "221 2.0.0 Bye")
        self._connection.end("fin")


def _is_yes(code: int | None) -> bool:
    return code is not None and code // 100 == 2
