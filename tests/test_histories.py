"""Months in the life of one mailbox, message by message, through an office whose clock is moved by hand."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Outcome, Transact
from bouncekit.desk.furnishing import open_office
from bouncekit.desk.office import Office
from bouncekit.protocol.transaction import transaction
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock
from bouncekit.words.status import Action

from .building import delivery_to, run

DAY = timedelta(days=1)
JO = "jo@example.com"
UNKNOWN, FULL, FULL_NOW = "550 5.1.1 No such user", "552 5.2.2 Mailbox full", "452 4.2.2 Over quota"


class Life:
    """Sends to one mailbox; `said(day)` is what its server answers to RCPT on that day, None that it takes mail."""

    def __init__(self, policy: str, said: Callable[[float], str | None]) -> None:
        self.clock = ManualClock(datetime(2026, 1, 1, 12, tzinfo=UTC))
        self.office: Office = open_office(policy=policy, store=MemoryStore(), clock=self.clock)
        self.start = self.clock.now()
        self.said = said
        self.numbers = count()
        self.asked: list[float] = []  # the days on which the server was asked

    @property
    def day(self) -> float:
        return (self.clock.now() - self.start) / DAY

    def send(self, **labels: str) -> Settlement:
        number = next(self.numbers)
        settled: Settlement = self.office.drive(delivery_to(JO, id=f"d{number}", **labels), self._transact).recipients[
            0
        ]
        return settled

    def daily(self, days: int, **labels: str) -> list[Settlement]:
        """One message a day."""
        sent = []
        for _ in range(days):
            sent.append(self.send(**labels))
            self.clock.move(DAY)
        return sent

    def _transact(self, step: Transact) -> Outcome:
        self.asked.append(self.day)
        result = run(transaction(step.envelope, {}), lambda key: self.said(self.day) if key == JO else None)
        return Outcome(attempt_id=f"a{next(self.numbers)}", now=self.clock.now(), statuses=result.statuses)


@pytest.mark.parametrize(
    ("policy", "days"),
    [("default", [0, 7, 37, 217]), ("bulk", [0, 7, 37, 217]), ("strict", [0, 14, 194])],
)
def test_a_dead_address_is_asked_a_handful_of_times_in_three_years(policy: str, days: list[float]) -> None:
    life = Life(policy, lambda day: UNKNOWN)
    life.daily(1000)
    assert life.asked == days


def test_a_mailbox_that_is_emptied_gets_mail_again_behind_its_term() -> None:
    life = Life("default", lambda day: FULL if day < 3 else None)
    actions = [one.action for one in life.daily(10)]
    assert actions == [Action.FAILED, *[Action.SUPPRESSED] * 6, *[Action.DELIVERED] * 3]


def test_a_success_begins_the_ladder_anew() -> None:
    life = Life("default", lambda day: UNKNOWN if day % 40 == 0 else None)
    caused = [one.suppression for one in life.daily(200) if one.action is Action.FAILED]
    assert [one and one.rung for one in caused] == [0] * 5


def test_an_evening_on_which_a_provider_knows_nobody_costs_a_week_and_confirms_nothing() -> None:
    life = Life("default", lambda day: UNKNOWN if 0 <= day < 0.28 or 1 <= day < 1.1 else None)
    sent = life.daily(9)
    assert [one.action for one in sent].count(Action.DELIVERED) == 2
    assert life.office.store.suppression(JO) is None


def test_codes_that_a_full_mailbox_does_not_bind_neither_confirm_nor_prolong_what_is_confirmed() -> None:
    life = Life("default", lambda day: FULL)
    life.daily(30, message_class="security")
    standing = life.office.store.suppression(JO)
    assert standing is not None
    assert (standing.rung, standing.expires_at) == (1, life.start + 33 * DAY)


def test_an_application_that_sends_anew_each_day_to_a_full_mailbox_is_told_after_ten() -> None:
    life = Life("default", lambda day: FULL_NOW)
    sent = life.daily(12)
    assert [one.action for one in sent] == [*[Action.DELAYED] * 9, Action.FAILED, *[Action.SUPPRESSED] * 2]


def test_ten_tries_on_one_day_are_one_strike() -> None:
    life = Life("bulk", lambda day: FULL_NOW)
    assert {life.send().action for _ in range(10)} == {Action.DELAYED}


def test_an_impossible_address_is_asked_once_in_a_month_however_much_is_sent() -> None:
    life = Life("default", lambda day: "501 5.1.3 Bad recipient address syntax")
    for _ in range(100):
        life.send()
        life.clock.move(DAY / 10)
    assert life.asked == [0]
