"""Strikes, ladders and probes over months, in whatever order things happen; by a model that counts days by hand."""

import smtplib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bouncekit.delivery.settlement import Settlement
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.testing.answers import Answer
from bouncekit.testing.script import Cues

from .conftest import message

DAY = timedelta(days=1)
OWN = """\
policy: 1
extends: default
ladders:
  mailbox: {provisional: 7d, confirm_after: 72h, confirmed: [30d, 60d]}
guard: {at_least: 1000000}
rules:
- id: full-day-after-day
  when: {category: mailbox_full, permanent: false, seen: {times: 3, within: 10d}}
  do: fail
  suppress: mailbox
"""
GOOD, BAD = "good@example.com", "bad@example.com"
FULL, FULL_NOW = "552 5.2.2 Mailbox full", "452 4.2.2 Over quota"
# What servers say that is no fault of any mailbox.
OTHERS = ("550 5.7.1 Your host is listed at a blocklist", "451 4.3.0 Busy", "552 5.3.4 Message too big")


class Moody(Cues):
    """Says to RCPT what it was told to say of that address, and counts who asked."""

    def __init__(self) -> None:
        super().__init__({})
        self.says: dict[str, str] = {}
        self.asked = 0

    def next(self, stage: str, address: str = "") -> Answer:
        if stage != "RCPT":
            return super().next(stage, address)
        self.asked += 1
        return self.says.get(address) or super().next(stage, address)


@dataclass
class Mailbox:
    """What the model knows: the days with a strike, and how far up the ladder the mailbox stands."""

    strikes: dict[date, datetime] = field(default_factory=dict)
    since: datetime | None = None
    rung: int = 0
    until: datetime | None = None
    probed_until: datetime | None = None  # a probe that was put off waits until then

    def binds(self, now: datetime) -> bool:
        is_probed = self.probed_until is not None and now < self.probed_until
        return self.until is not None and (now < self.until or is_probed)

    def clear(self) -> None:
        self.strikes, self.since, self.rung, self.until, self.probed_until = {}, None, 0, None, None

    def put_off(self, now: datetime, retry_at: datetime | None) -> None:
        assert retry_at is not None
        self.probed_until = min(retry_at, now + DAY)

    def strike(self, now: datetime) -> int:
        """How many days of the last ten had one, today included."""
        before = sum(day < now.date() and at >= now - 10 * DAY for day, at in self.strikes.items())
        self.strikes[now.date()] = now
        return before + 1

    def climb(self, now: datetime) -> None:
        self.probed_until = None
        if self.since is None:
            self.since, self.rung, self.until = now, 0, now + 7 * DAY
            return
        assert self.until is not None
        is_over = now >= self.until
        if is_over and (self.rung or now - self.since >= timedelta(hours=72)):
            self.rung += 1
        if is_over:
            self.until = now + (7 * DAY, 30 * DAY, 60 * DAY)[min(self.rung, 2)]


class Thresholds(RuleBasedStateMachine):
    """A mailbox that is full on some days, one that is always well, and mail to both."""

    store: ClassVar[str] = "sqlite:///:memory:"

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(TemporaryDirectory()))
        (folder / "own.yaml").write_text(OWN, "utf-8")
        self.server = self.stack.enter_context(ScriptedServer())
        self.server._cues = self.moody = Moody()
        self.clock = ManualClock()
        self.postmaster = self.stack.enter_context(
            Postmaster(policy=folder / "own.yaml", store=self.store.format(folder), clock=self.clock)
        )
        self.clients = [self.stack.enter_context(self.postmaster.client(self.server.url)) for _ in range(3)]
        self.bad = Mailbox()
        self.refused: Settlement

    def send(self, *recipients: str, client: int = 0, message_class: str | None = None, test: bool = False) -> None:
        for recipient in recipients:
            try:
                self.clients[client].send(message(recipient), message_class=message_class, test=test)
            except smtplib.SMTPException as error:
                self.refused = error.report.recipients[0]  # type: ignore[attr-defined]

    def standing(self) -> Suppression | None:
        return self.postmaster.office.store.suppression(BAD)

    @rule(hours=st.sampled_from([1, 5, 24, 24, 80, 8 * 24, 31 * 24, 61 * 24]))
    def wait(self, hours: int) -> None:
        self.clock.move(timedelta(hours=hours))

    @rule(reply=st.sampled_from([FULL, FULL, FULL_NOW, FULL_NOW, FULL_NOW, ""]))
    def mail(self, reply: str) -> None:
        now = self.clock.now()
        was_bound = self.bad.binds(now)
        self.moody.says, self.moody.asked = {BAD: reply}, 0
        self.send(BAD)
        assert self.moody.asked == (0 if was_bound else 1)
        if was_bound:
            return
        if not reply:
            self.bad.clear()
            return
        days = self.bad.strike(now)
        if reply == FULL or days >= 3:
            self.bad.climb(now)
        elif self.bad.until is not None:
            self.bad.put_off(now, self.refused.retry_at)

    @rule(days=st.integers(1, 4), hours=st.sampled_from([12, 24, 36]))
    def full_for_days(self, days: int, hours: int) -> None:
        for _ in range(days):
            self.mail(FULL_NOW)
            self.clock.move(timedelta(hours=hours))

    @rule(replies=st.lists(st.sampled_from(OTHERS), min_size=1, max_size=3), many=st.booleans())
    def trouble_of_ours(self, replies: list[str], *, many: bool) -> None:
        for reply in replies:
            self.moody.says = {GOOD: reply}
            self.send(*[GOOD] * (1 + many))

    @rule(reply=st.sampled_from([FULL, FULL_NOW]))
    def test_traffic(self, reply: str) -> None:
        self.moody.says = {BAD: reply, GOOD: reply}
        self.send(BAD, GOOD, test=True)

    @rule()
    def code(self) -> None:
        """A code is not held back by a full mailbox; that it arrives shows that there is room."""
        self.moody.says, self.moody.asked = {}, 0
        self.send(BAD, message_class="security")
        assert self.moody.asked == 1
        self.bad.clear()

    @rule()
    def many_at_once(self) -> None:
        """Many workers, and one of them is the probe."""
        if self.bad.until is None or self.bad.binds(self.clock.now()):
            return
        self.moody.says, self.moody.asked = {BAD: FULL}, 0
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda number: self.send(BAD, client=number), range(3)))
        assert self.moody.asked == 1
        self.bad.strike(self.clock.now())
        self.bad.climb(self.clock.now())

    @invariant()
    def the_list_is_what_the_model_says(self) -> None:
        found = self.standing()
        if self.bad.until is None:
            assert found is None
            return
        assert found is not None
        assert (found.since, found.rung, found.expires_at) == (self.bad.since, self.bad.rung, self.bad.until)
        assert found.standing is (Standing.CONFIRMED if self.bad.rung else Standing.PROVISIONAL)

    @invariant()
    def whose_server_has_trouble_with_us_is_never_on_the_list(self) -> None:
        assert {one.key for one in self.postmaster.suppressions} <= {BAD}

    def teardown(self) -> None:
        self.stack.close()


class ThresholdsInSqlite(Thresholds):
    store = "sqlite:///{}/bounces.db"


_SOME = settings(max_examples=10, stateful_step_count=25, deadline=None)
TestThresholdsInMemory = Thresholds.TestCase
TestThresholdsInMemory.settings = _SOME
TestThresholdsInSqlite = ThresholdsInSqlite.TestCase
TestThresholdsInSqlite.settings = _SOME
