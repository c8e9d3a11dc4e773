"""One cell tried for real: what the client says became of each recipient, beside what the server has seen."""

import re
import smtplib
import ssl
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial

import pytest
import trustme

from bouncekit.clients import aiosession, dialling
from bouncekit.delivery.events import Event
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Settlement
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.protocol import conversation
from bouncekit.testing import ManualClock, ScriptedServer, Session, deaf_port, refusing_port
from bouncekit.words.status import Action

from .modes import PASSWORD, USER, Errand, Mode
from .table import DEADLINE_SECONDS, RECIPIENTS, SECOND, Cell

__all__ = ["MESSAGE_ID", "Trial", "hurried", "run_cells", "try_cell"]

HANGS_SECONDS = 45.0  # whoever is not back by then, while no other deadline is below 60 s, does not come back
MEMORY_BYTES = 16 * 1024 * 1024  # that the server could get rid of, the kernel's buffers on both sides included
MESSAGE_ID = "<of-this-message@example.org>"
_SMALL = f"Subject: Hi\r\nMessage-ID: {MESSAGE_ID}\r\n\r\nGood day.\r\n".encode()
_LARGE = _SMALL + (b"x" * 70 + b"\r\n.dot\r\n") * 100_000
_LETTERS = {Action.DELIVERED: "D", Action.DELAYED: "T", Action.FAILED: "F", Action.UNKNOWN: "A"}
_COUNTS = re.compile(r"^([2-5]\d\d)(?: |$)", re.MULTILINE).search
_PATH = re.compile(r"<(.*)>").search


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one cell."""

    cell: Cell
    mode: Mode
    outcomes: Mapping[str, str]  # of the first message: D, T, F, A, or U for a recipient of whom nothing is said
    second: Mapping[str, str]  # of the next one on the same connection, where there was one
    errors: Sequence[BaseException]
    sessions: Sequence[Session]
    accepted: Mapping[str, int]  # copies that the server has taken for each recipient
    message_ids: frozenset[str]  # of the first message, as it arrived
    seconds: float
    hangs: bool
    settlements: Sequence[Settlement] = ()
    events: Sequence[Event] = ()
    suppressed: frozenset[str] = frozenset()
    shown: str = ""  # every log line, exception text, traceback and repr

    @property
    def sent_bytes(self) -> int:
        """How much the server could get rid of in one session."""
        return max((session.sent_bytes for session in self.sessions), default=0)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the cell is not passed; nothing where it is."""
        expected = self.cell.expected(once=self.mode.once, lmtp=self.mode.lmtp, redials=self.mode.redials)
        found = {self._fault(recipient, expected[recipient]) for recipient in RECIPIENTS} - {None}
        if self.hangs:
            found = {"HANG"}
        if self.sent_bytes > MEMORY_BYTES:
            found.add("MEMORY")
        if any(not _is_documented(error) for error in self.errors):
            found.add("FOREIGN")
        return tuple(sorted(filter(None, found)))

    def _fault(self, recipient: str, expected: str) -> str | None:
        outcome, accepted = self.outcomes.get(recipient, "U"), self.accepted.get(recipient, 0)
        if accepted > 1 or (outcome == "T" and (accepted or ("T" not in expected and "F" not in expected))):
            return "DUPLICATE"  # or an invitation to make one
        if outcome == "D":
            return None if accepted else "FALSE_OK"
        if outcome in expected:
            return None
        if outcome == "U":
            return "UNKNOWN"
        if outcome == "F":
            return None if self.refused(recipient) else "FALSE_FAIL"
        return "LOST_INFO" if "F" in expected else "MISMATCH"

    def refused(self, recipient: str) -> bool:
        """Whether the server has refused this recipient for good, alone or together with the others."""
        return any(recipient in _refused(session, lmtp=self.mode.lmtp) for session in self.sessions)


def _is_documented(error: BaseException) -> bool:
    return isinstance(error, smtplib.SMTPException | OSError) or type(error).__module__.startswith("aiosmtplib.")


def _refused(session: Session, *, lmtp: bool) -> frozenset[str]:
    """Whom a session refused for good, by its transcript."""
    accepted: list[str] = []
    refused: set[str] = set()
    dots = 0
    for command, reply in session.transcript:
        found = _COUNTS(reply)
        code = int(found[1]) if found else 0
        match command[:4].upper():
            case "RCPT" if path := _PATH(command):
                (refused.add if code >= 500 else accepted.append)(path[1])
            case ".":
                whose = accepted[dots : dots + 1] if lmtp else accepted
                dots += 1
                refused.update(whose if code >= 500 else ())
            case "DATA" | "MAIL" | "" | "EHLO" | "AUTH" | "STAR" if code >= 500:
                refused.update(RECIPIENTS)
    return frozenset(refused)


# -- the outcome, as a careful reader of the documentation takes it


def _letters(answer: object, recipients: Sequence[str], *, sent: bool) -> Mapping[str, str]:
    report = answer if isinstance(answer, Report) else getattr(answer, "report", None)
    if report is not None:
        return {one.recipient: "A" if one.possible_duplicate else _LETTERS[one.action] for one in report.recipients}
    if isinstance(answer, BaseException):
        return _letters_of_error(answer, recipients, sent=sent)
    refused = answer[0] if isinstance(answer, tuple) else answer
    return {one: _by_code(refused[one][0]) if one in refused else "D" for one in recipients}  # type: ignore[operator,index]


def _letters_of_error(error: BaseException, recipients: Sequence[str], *, sent: bool) -> Mapping[str, str]:
    said = getattr(error, "recipients", None)
    if isinstance(said, dict):  # smtplib's SMTPRecipientsRefused
        return {one: _by_code(said[one][0]) for one in recipients if one in said}
    if isinstance(said, list):  # aiosmtplib's
        return {one.recipient: _by_code(one.code) for one in said}
    code = getattr(error, "smtp_code", getattr(error, "code", None))
    if sent and isinstance(code, int):
        return dict.fromkeys(recipients, _by_code(code))
    return dict.fromkeys(recipients, "T")  # nothing was sent, or the line was lost: whoever reads that tries again


def _by_code(code: int) -> str:
    return "F" if 500 <= code < 600 else "T"  # an odd one: a sane caller tries again


# -- one trial


@dataclass(slots=True)
class _Course:
    """What a client did, message by message."""

    answers: list[object] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)
        self.shown += [*traceback.format_exception(error), str(error)]


def try_cell(
    cell: Cell, mode: Mode, *, again: bool = False, timeout: float | None = None, hangs_after: float = HANGS_SECONDS
) -> Trial:
    """Send to a server that misbehaves so; with `again` a second message on the same connection."""
    clock, course, start = ManualClock(), _Course(), time.monotonic()
    events: list[Event] = []
    with ExitStack() as stack:
        postmaster = stack.enter_context(Postmaster(clock=clock))
        postmaster.on()(events.append)
        server, port = stack.enter_context(_serving(cell, mode))
        stack.callback(server.stop)
        errand = Errand(
            host=server.host,
            port=port,
            tls=_client_tls() if cell.point.tls else None,
            postmaster=postmaster,
            timeout=timeout,
        )
        with ThreadPoolExecutor(1) as alone:
            done = alone.submit(_go, cell, mode, errand, course, again=again)
            try:
                done.result(hangs_after)
                hangs = False
            except TimeoutError:
                hangs = True
                server.stop()  # which sets it free
        seconds = time.monotonic() - start
        server.wait_closed(0.3)  # what is still on its way counts too
        suppressed = frozenset(str(one.address) for one in postmaster.suppressions)
        taken = server.messages
        if server.errors:
            raise server.errors[0]
        return Trial(
            cell=cell,
            mode=mode,
            outcomes=_of(course, 0, RECIPIENTS, believes=not mode.reports),
            second=_of(course, 1, SECOND, believes=not mode.reports) if again else {},
            errors=course.errors,
            sessions=server.sessions,
            accepted={one: server.copies(one) for one in (*RECIPIENTS, *SECOND)},
            message_ids=frozenset(_message_id(one.data) for one in taken),
            seconds=seconds,
            hangs=hangs,
            settlements=[one for event in events if (one := event.settlement)],
            events=events,
            suppressed=suppressed,
            shown="\n".join(course.shown),
        )


def _of(course: _Course, number: int, recipients: Sequence[str], *, believes: bool) -> Mapping[str, str]:
    """What became of a message; of one that was never handed in, nothing but that it was not sent."""
    if number < len(course.answers):
        return _letters(course.answers[number], recipients, sent=True)
    return _letters(course.errors[-1], recipients, sent=believes) if course.errors else {}


def _go(cell: Cell, mode: Mode, errand: Errand, course: _Course, *, again: bool) -> None:
    content = _LARGE if cell.point.name == "body" else _SMALL
    try:
        with mode.open(errand) as send:
            for recipients in (RECIPIENTS, SECOND) if again else (RECIPIENTS,):
                try:
                    answer = send(recipients, content)
                except Exception as error:
                    course.failed(error)
                    answer = error
                course.answers.append(answer)
                if not again and isinstance(answer, Exception):
                    raise answer
    except Exception as error:
        if not course.answers or error is not course.answers[-1]:
            course.failed(error)
            if len(course.answers) == 1:  # what was reported, before the end of the connection raised
                course.answers[0] = error if not isinstance(course.answers[0], Report) else course.answers[0]


def _message_id(data: bytes) -> str:
    found = re.search(rb"^Message-ID: (.*)\r$", data, re.MULTILINE)
    return found[1].decode() if found else ""


@contextmanager
def _serving(cell: Cell, mode: Mode) -> Iterator[tuple[ScriptedServer, int]]:
    """A server with the fault, and the port to dial."""
    name = str(cell)
    settings: dict[str, object] = {"extensions": mode.extensions, "lmtp": mode.lmtp}
    if cell.point.tls and name != "STARTTLS/stripped":
        settings |= {"tls": _untrusted_tls() if name == "TLS/untrusted" else _server_tls(), "auth_needs_tls": True}
    if cell.point.tls:
        settings["users"] = {USER: PASSWORD}
    with ExitStack() as stack:
        script = cell.script(once=mode.once, lmtp=mode.lmtp)
        server = stack.enter_context(ScriptedServer(script, **settings))  # type: ignore[arg-type]
        nobodys = {"connect/refused": refusing_port, "connect/blackhole": deaf_port}.get(name)
        yield server, stack.enter_context(nobodys()) if nobodys else server.port


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


@cache
def _server_tls() -> ssl.SSLContext:
    return _certified(_authority())


@cache
def _untrusted_tls() -> ssl.SSLContext:
    return _certified(trustme.CA())


def _certified(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@cache
def _client_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    return context


# -- many trials


@contextmanager
def hurried(cell: Cell) -> Iterator[None]:
    """Deadlines of a moment where the cell's fault is; all others stay at a minute and more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(conversation.DEADLINES, cell.point.deadline, DEADLINE_SECONDS)
        if cell.point.name == "body":
            patch.setattr(conversation, "BLOCK_SECONDS", DEADLINE_SECONDS)
        if cell.point.name == "connect":
            for module in (dialling, aiosession):
                patch.setattr(module, "CONNECT_SECONDS", DEADLINE_SECONDS)
        yield


def run_cells(
    pairs: Sequence[tuple[Cell, Mode]],
    *,
    again: bool = False,
    timeout: float | None = None,
    hangs_after: float = HANGS_SECONDS,
) -> Mapping[tuple[str, str], Trial]:
    """Try many at once; those that wait for a deadline have to be of one point."""
    _server_tls(), _untrusted_tls(), _client_tls()  # made once, before threads ask for them
    with ExitStack() as stack:
        if waiting := next((cell for cell, _ in pairs if cell.fault.waits), None):
            stack.enter_context(hurried(waiting))
        pool = stack.enter_context(ThreadPoolExecutor(40 if waiting else 8))
        try_one = partial(try_cell, again=again, timeout=timeout, hangs_after=hangs_after)
        trials = list(pool.map(lambda pair: try_one(*pair), pairs))
    return {(trial.mode.name, str(trial.cell)): trial for trial in trials}
