"""What a delivery asks of the outside, step by step, and what it is answered: frozen values, no I/O."""

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bouncekit.delivery.events import Event, Occasion
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Delivered, Settlement
from bouncekit.delivery.tallied import Number, Sum
from bouncekit.meaning.classification import Category, Scope
from bouncekit.policy.budget import Spent
from bouncekit.policy.guard import Answers, Held, Mass, Pattern
from bouncekit.policy.lane import Lane, Road
from bouncekit.policy.rule import Window
from bouncekit.policy.suppression import Suppression
from bouncekit.policy.throttle import Held as HeldUp
from bouncekit.policy.throttle import News
from bouncekit.words.envelope import Envelope, Labels, Recipient
from bouncekit.words.errors import AddressError
from bouncekit.words.quick import quick
from bouncekit.words.reply import NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus, Taken

__all__ = [
    "Amended",
    "Answer",
    "Delivery",
    "LookUp",
    "LookedUp",
    "Outcome",
    "Record",
    "SessionEnd",
    "Step",
    "Steps",
    "Strike",
    "Transact",
    "Wait",
    "strikes_of",
]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message and those recipients that are not settled yet. `id` is ours: 128 bits, ordered by time.

    `refused` are addresses that must not reach the wire; `given` maps a wire address to what the caller wrote.
    `relay` names the relay through which a worker sends what is left; None: nobody keeps it. `lease` is the claim under
    which its recipients were taken out of the queue; None: it comes from the application. `called` maps a wire address
    to what outcomes and events call the recipient, where that is another name.
    """

    id: str
    envelope: Envelope
    recipients: tuple[Recipient, ...]
    labels: Labels = Labels()
    refused: tuple[AddressError, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    relay: str | None = None
    lease: str | None = None
    called: Mapping[str, str] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """Ask the store: suppressions under these keys, counters.

    `claim` is the id of a delivery that wants to be the probe of each suppression that has expired; "" where none does.
    `recipients` are those of a send to come: where that is wanted, DNS is asked about them.
    Behind a refusal that may suppress, also how many alike there are: `fingerprints`, in the guard's window `within`.
    `sums` are questions about what else was counted.
    `begun` says that a server has been spoken to. A store that fails then must not end the delivery, whose outcomes
    would be lost: answer that nothing is known.
    """

    labels: Labels
    recipients: tuple[Recipient, ...] = ()
    keys: tuple[str, ...] = ()
    claim: str = ""
    windows: tuple[tuple[str, Window], ...] = ()
    sums: tuple[Sum, ...] = ()
    fingerprints: tuple[Pattern, ...] = ()
    within: timedelta = timedelta()
    begun: bool = False


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class LookedUp:
    """The store's answer at `now`: also expired suppressions; `probes` are the keys whose probe was granted to us.

    `undeliverable` are those of the recipients of whom DNS says that no mail can reach them, by address; `attempt_id`
    then names the attempt that nobody has to make. `providers` says whose servers take a domain's mail. `road` are the
    lanes that lead to the recipients of a send to come, None: as before; `held` those that may not be taken now.
    """

    now: datetime
    attempt_id: str = ""
    undeliverable: Mapping[str, RecipientStatus] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    suppressions: Mapping[str, Suppression] = field(default_factory=dict)
    probes: frozenset[str] = frozenset()
    counters: Mapping[tuple[str, Window], int] = field(default_factory=dict)
    sums: Mapping[Sum, int] = field(default_factory=dict)
    masses: Mapping[Pattern, Mass] = field(default_factory=dict)
    road: Road | None = None
    held: Mapping[Lane, HeldUp] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Transact:
    """Run one SMTP or LMTP transaction; `reconnect` says that the session before it ended and may be opened again.

    `recipients` are those of the envelope, as far as they have come. A delivery that names a relay wants the attempt
    remembered as begun before its dot (`queue.Begun`). `through` names the relay that takes the place of the
    session's own, which is paused; "" where none does.
    """

    delivery: Delivery
    envelope: Envelope
    recipients: tuple[Recipient, ...] = ()
    reconnect: bool = False
    through: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """How a session ended, and at which stage."""

    stage: Stage
    reply: Reply | NoReply


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a transaction brought: a status for each recipient of its envelope, or for the first of them.

    Those behind were not asked about: the server takes no more at once (RFC 9422). `ended` is set where the server
    ended the session; `can_redial` says whether the driver could open it again. `lost_replies` says that a pipelined
    group was not answered, and that the next session will be in lock-step. `through` names the relay that carried it in
    place of the session's own.
    """

    attempt_id: str
    now: datetime
    statuses: Sequence[RecipientStatus]
    ended: SessionEnd | None = None
    can_redial: bool = False
    lost_replies: bool = False
    remote_mta: str | None = None
    through: str = ""

    @property
    def never_began(self) -> bool:
        """Whether not even a session could be opened, with all that comes before the first message."""
        return (
            len(self.statuses) > 0
            and not isinstance(self.statuses, Taken)
            and all(one.action is Action.DELAYED and one.stage.is_opening for one in self.statuses)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A verdict about a recipient, for thresholds: one a message, and one a day counts."""

    key: str
    category: Category


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Remember all of this in one transaction, or none of it; `cleared` are keys whose strikes a success ends.

    `answers` are added to the counts of the guard. `held` are suppressions, also older ones, that it holds from now on.
    `numbers` are added to whatever else is counted.
    `spent` is added to what the stream has spent of its budget; None where the policy has none.
    `news` is what was heard on the lanes.
    `keep` is how long a queued message stays once nobody waits for it.
    Answer what of it turned out otherwise, None where nothing has.
    """

    delivery: Delivery
    occasion: Occasion
    settlements: Sequence[Settlement] = ()
    recipients: Sequence[Recipient] = ()
    strikes: tuple[Strike, ...] = ()
    cleared: tuple[str, ...] = ()
    answers: tuple[Answers, ...] = ()
    numbers: tuple[tuple[Number, int], ...] = ()
    spent: Spent | None = None
    news: tuple[News, ...] = ()
    held: tuple[Held, ...] = ()
    events: Sequence[Event] = ()
    keep: timedelta = timedelta()

    @property
    def keeps_somebody(self) -> bool:
        """Whether by it somebody waits in the queue."""
        return not isinstance(self.settlements, Delivered) and any(one.kept for one in self.settlements)

    def changed(self, change: Callable[[Settlement], Settlement]) -> "Record":
        """The same, with its settlements changed, and in its events too."""
        return replace(
            self,
            settlements=tuple(map(change, self.settlements)),
            events=tuple(
                replace(event, settlement=change(event.settlement)) if event.settlement else event
                for event in self.events
            ),
        )

    def come_late(self, recipients: Collection[str]) -> "Record":
        """The same, by which these may have the message twice."""
        return self.changed(Amended(possible_duplicates=frozenset(recipients)).settlement) if recipients else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Amended:
    """What of a Record turned out otherwise: who is not kept in the queue, and who may get the message twice."""

    unkept: frozenset[str] = frozenset()
    possible_duplicates: frozenset[str] = frozenset()

    def settlement(self, one: Settlement) -> Settlement:
        """A settlement of it, as it turned out."""
        return replace(
            one,
            kept=one.kept and one.recipient not in self.unkept,
            possible_duplicate=one.possible_duplicate or one.recipient in self.possible_duplicates,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing is due before `until`. Answer True when it is, False to leave `delivery` as it stands."""

    until: datetime
    delivery: Delivery


Step = LookUp | Transact | Record | Wait
Answer = LookedUp | Outcome | Amended | bool | None
Steps = Generator[Step, Answer, Report]


def strikes_of(settlements: Iterable[Settlement], alive: Set[str]) -> Iterable[Strike]:
    """A strike for each mailbox that was itself the fault: one, however many spellings of it this message had."""
    return dict.fromkeys(
        Strike(key=one.key, category=one.category)
        for one in settlements
        if one.category is not None
        and one.scope is Scope.RECIPIENT
        and one.individual
        and one.stage is not None  # somebody was asked
        and not one.doubted
        and one.key
        and one.key not in alive
    )
