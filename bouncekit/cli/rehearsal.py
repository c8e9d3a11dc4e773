"""A rehearsal: real messages to a mail server that misbehaves by script, and what bouncekit made of each answer.

Nothing here knows the results: the verdicts are those that the policy gave, the copies are those that the server
counted. `CAST` says what must come out, and `Rehearsal.checks` whether it did.
"""

import smtplib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from email.message import EmailMessage

from bouncekit.clients.client import Client
from bouncekit.delivery.events import Event
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Settlement
from bouncekit.meaning.classification import Classification
from bouncekit.notify import Notification
from bouncekit.outside.builtin import open_policy
from bouncekit.policy.policy import Disposition, Policy, SessionDisposition
from bouncekit.policy.rule import Circumstances
from bouncekit.policy.suppression import Suppression
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Closing, Script, ScriptedServer, Usual
from bouncekit.words.envelope import Recipient
from bouncekit.words.status import Action

__all__ = ["CAST", "ROLE", "SCENES", "Check", "Line", "Part", "Rehearsal", "Scene", "rehearse"]

ROLE = "recipient"  # the one channel that is set up

_SHOP = "shop@example.com"
_MOST_RECIPIENTS = 3  # that the server takes in one transaction


_WISHED = {True: "asked for", False: "unasked"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One recipient's part: what the server answers, and what must come of it."""

    codes: tuple[int, ...]
    action: Action
    suppressed: bool = False
    notified: bool = False

    @property
    def copies(self) -> int:
        return 1 if self.action is Action.DELIVERED else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One message. `dropped_before`: what the server says, unasked, before it; `afresh`: by a client of its own."""

    title: str
    to: tuple[str, ...]
    size_bytes: int = 200
    dropped_before: str | None = None
    afresh: bool = False


CAST = {
    "ada@example.com": Part(codes=(250,), action=Action.DELIVERED),
    "full@example.com": Part(codes=(552,), action=Action.FAILED, suppressed=True, notified=True),
    "busy@example.com": Part(codes=(452,), action=Action.DELAYED),
    "gone@example.com": Part(codes=(550,), action=Action.FAILED, suppressed=True),
    "bob@example.com": Part(codes=(250,), action=Action.DELIVERED),
    "cleo@example.com": Part(codes=(250,), action=Action.DELIVERED),
    "dora@example.com": Part(codes=(452, 250), action=Action.DELIVERED),
    "emil@example.com": Part(codes=(552,), action=Action.FAILED),
    "finn@example.com": Part(codes=(421, 250), action=Action.DELIVERED),
    "gina@example.com": Part(codes=(221, 250), action=Action.DELIVERED),
}
_SCRIPT: Script = {
    "MAIL": [Usual(), Usual(), "552 5.3.4 Message size exceeds fixed limit"],  # and SIZE does not say so beforehand
    "RCPT": {
        "full@example.com": "552 5.2.2 Mailbox is full",
        "busy@example.com": "452 4.2.2 Over quota, try later",
        "gone@example.com": "550 5.1.1 User unknown",
        "finn@example.com": [Closing("421 4.3.2 Shutting down")],
    },
}
SCENES = (
    Scene(
        title=f"seven recipients, of which the server takes {_MOST_RECIPIENTS} at a time",
        to=tuple(CAST)[:7],
    ),
    Scene(title="a message that is larger than the server allows", to=("emil@example.com",), size_bytes=25_000),
    Scene(title="the server shuts down in mid-session", to=("finn@example.com",)),
    Scene(
        title="the server has closed the idle connection",
        to=("gina@example.com",),
        dropped_before="221 2.0.0 Idle for too long",
    ),
    Scene(title="once more to the full mailbox", to=("full@example.com",), afresh=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One answer about one recipient, what it means and what came of it."""

    scene: int
    recipient: str
    said: str
    category: str | None
    scope: str | None
    verdict: Disposition | SessionDisposition | Settlement

    @property
    def rule(self) -> str:
        return self.verdict.rule or ""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must have come out, whether it did, and what was found."""

    claim: str
    holds: bool
    found: str


@dataclass(slots=True, kw_only=True)
class Rehearsal:
    """All that happened."""

    url: str = ""
    lines: list[Line] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    notices: list[Notification] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    suppressions: tuple[Suppression, ...] = ()
    copies: dict[str, int] = field(default_factory=dict)
    connections: list[int] = field(default_factory=list)  # that each scene needed
    unplayed: tuple[str, ...] = ()
    errors: tuple[Exception, ...] = ()

    def of(self, type_: str) -> list[Event]:
        """The events of a type."""
        return [event for event in self.events if event.type.value == type_]

    def checks(self) -> Iterator[Check]:
        """What must have come out, and whether it did."""
        ended = {one.recipient: one.action for report in self.reports[:-1] for one in report.recipients}
        yield _check("each recipient ended as the replies demand", ended, {who: p.action for who, p in CAST.items()})
        codes = {who: " ".join(line.said[:3] for line in self.lines if line.recipient == who).strip() for who in CAST}
        met = {who: " ".join(map(str, part.codes)) for who, part in CAST.items()}
        yield _check("each of 221, 421, 452, 550 and 552 was met", codes, met)
        copies = {who: part.copies for who, part in CAST.items()}
        yield _check("each accepted recipient has one copy, the others none", self.copies, copies)
        dead = sorted(who for who, part in CAST.items() if part.suppressed)
        listed = sorted(one.address or "" for one in self.suppressions)
        yield _check("the full and the unknown mailbox are suppressed, nobody else", listed, dead)
        told = [event.recipient for event in self.of("notified")]
        full = [who for who, part in CAST.items() if part.notified]
        yield _check("the full mailbox's owner was told another way, once", told, full)
        yield _check("the second message to it was skipped", _actions(self.reports[-1]), [Action.SUPPRESSED])
        yield _check("... before any connection was made", self.connections[-1], 0)
        closed = [f"{event.details['code']} {_WISHED[event.details['expected']]}" for event in self.of("closed")]
        ends = ["421 unasked", "221 unasked", "221 asked for"]
        yield _check("two sessions ended unasked, the last one after our QUIT", closed, ends)
        yield _check("the server has nothing of its script left, and no error", [*self.unplayed, *self.errors], [])


class _Watched(Policy):
    """A policy that notes each of its verdicts."""

    notes: list[tuple[Classification, Disposition | SessionDisposition]]

    def decide(self, classification: Classification, recipient: Recipient, circumstances: Circumstances) -> Disposition:
        disposition = Policy.decide(self, classification, recipient, circumstances)
        self.notes.append((classification, disposition))
        return disposition

    def decide_session(self, classification: Classification, *, reconnects: int = 0) -> SessionDisposition:
        disposition = Policy.decide_session(self, classification, reconnects=reconnects)
        self.notes.append((classification, disposition))
        return disposition


def rehearse(policy: str | Policy = "default") -> Rehearsal:
    """Play all scenes and note what happened."""
    noted = Rehearsal()
    watched = _watched(open_policy(policy))
    channels = {ROLE: noted.notices.append} if ROLE in watched.channels else {}
    with ExitStack() as stack:
        server = stack.enter_context(ScriptedServer(_SCRIPT, max_recipients=_MOST_RECIPIENTS))
        postmaster = stack.enter_context(Postmaster(policy=watched, channels=channels))
        postmaster.on()(noted.events.append)
        client = stack.enter_context(postmaster.client(server.url, timeout=5))
        noted.url = server.url
        for number, scene in enumerate(SCENES, 1):
            if scene.dropped_before:
                server.say_unasked(scene.dropped_before, close=True)
            before, watched.notes[:] = len(server.sessions), []
            if scene.afresh:
                with postmaster.client(server.url, timeout=5) as another:
                    report = _sent(another, _message(scene, number))
            else:
                report = _sent(client, _message(scene, number))
            noted.reports.append(report)
            noted.connections.append(len(server.sessions) - before)
            noted.lines += _lines(number, report, watched.notes)
        client.close()
        server.wait_closed()
        noted.suppressions = tuple(postmaster.suppressions)
        noted.copies = {who: server.copies(who) for who in CAST}
        noted.unplayed, noted.errors = server.unplayed, server.errors
    return noted


def _watched(policy: Policy) -> _Watched:
    watched = _Watched(**{one.name: getattr(policy, one.name) for one in fields(policy)})
    object.__setattr__(watched, "notes", [])
    return watched


def _message(scene: Scene, number: int) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = _SHOP, ", ".join(scene.to), f"Message {number}"
    message.set_content("\n".join(["Good day."] + ["-" * 70] * (scene.size_bytes // 72)))
    return message


def _sent(client: Client, message: EmailMessage) -> Report:
    """The report, whether or not smtplib would have raised."""
    try:
        return client.send(message)
    except smtplib.SMTPException as error:
        report: Report = error.report  # type: ignore[attr-defined]  # whatever a send raises carries it
        return report


def _lines(
    number: int, report: Report, notes: Sequence[tuple[Classification, Disposition | SessionDisposition]]
) -> Iterator[Line]:
    """For each recipient the verdicts as they were given; the last one as it was settled."""
    for one in report.recipients:
        final = Line(
            scene=number,
            recipient=one.recipient,
            said=str(one.reply) if one.reply else "",
            category=one.category and one.category.value,
            scope=one.scope and one.scope.value,
            verdict=one,
        )
        for classification, verdict in notes:
            if classification.status.recipient == one.recipient and classification.status.reply != one.reply:
                yield replace(
                    final,
                    said=str(classification.status.reply),
                    category=classification.category.value,
                    scope=classification.scope and classification.scope.value,
                    verdict=verdict,
                )
        yield final


def _actions(report: Report) -> list[Action]:
    return [one.action for one in report.recipients]


def _check(claim: str, found: object, wanted: object) -> Check:
    return Check(
        claim, found == wanted, _shown(found) if found == wanted else f"{_shown(found)} and not {_shown(wanted)}"
    )


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{str(key).partition('@')[0]} {_shown(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "nothing"
    return str(value)
