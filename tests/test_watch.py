"""What the guard sees of one transaction: what it asks, what it doubts, what it counts and tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from bouncekit.delivery.events import EventType
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import LookedUp, LookUp, Record
from bouncekit.history.retelling import retold
from bouncekit.policy.guard import Count, Guard, Mass, Pattern
from bouncekit.policy.rule import Notice
from bouncekit.policy.suppression import Evidence, Standing, Suppression
from bouncekit.words.reply import Cause, NoReply
from bouncekit.words.status import Action

from .building import ANN, BOB, CY, NOW, POLICY, RULES, Driver, delivery_to, expired, suppression

FULL, NOBODY, FULL_NOW = "552 5.2.2 mailbox full", "550 5.1.1 no such user", "452 4.2.2 over quota"
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WATCHING = replace(POLICY, guard=Guard(at_least=20, within=10 * MINUTE, times_usual=5))
MASS = Mass(recent=(Count(100, 120), Count(100, 120)), days=(Count(15, 1000),))
QUIET = Mass(recent=(Count(1, 120), Count(2, 600)), days=(Count(15, 1000),))


@dataclass
class Watched(Driver):
    """A driver whose store knows of one mass, of everything that is asked."""

    mass: Mass = QUIET
    masses: Mapping[str, Mass] = field(default_factory=dict)

    def answer(self, step: object) -> Any:
        answer = super().answer(step)
        if isinstance(step, LookUp):
            assert isinstance(answer, LookedUp)
            return replace(answer, masses=dict.fromkeys(step.fingerprints, self.mass))
        return answer


def drive(*addresses: str, says: str = NOBODY, **settings: Any) -> Watched:
    """A message to these addresses, all of which are answered the same."""
    labels = {name: settings.pop(name) for name in ("test", "message_class") if name in settings}
    driver = Watched(answers=[dict.fromkeys(addresses, says)], **settings)
    driver.drive(delivery_to(*addresses, **labels), WATCHING)
    return driver


def record_of(driver: Driver) -> Record:
    (record,) = driver.records
    return record


def settled(driver: Driver) -> Settlement:
    (settlement,) = driver.settlements
    return settlement


# -- what is asked


def test_a_delivery_that_succeeds_asks_nothing_and_counts_its_answers() -> None:
    driver = Watched()
    driver.drive(delivery_to(ANN, BOB), WATCHING)
    assert len(driver.of(LookUp)) == 1
    (answers,) = record_of(driver).answers
    assert (answers.provider, answers.number, answers.refusals) == ("example.com", 2, ())


def test_a_refusal_that_may_suppress_is_asked_about_once_with_the_guards_window() -> None:
    driver = drive(ANN, BOB)
    _, question = driver.of(LookUp)
    assert question.begun
    assert question.within == 10 * MINUTE
    (pattern,) = question.fingerprints
    assert pattern == Pattern("example.com", driver.settlements[0].fingerprint or "")


@pytest.mark.parametrize("says", ["451 4.3.0 later", "550 5.7.1 blocked", "554 5.7.1 spam"])
def test_what_no_rule_suppresses_for_is_not_asked_about(says: str) -> None:
    driver = drive(ANN, says=says)
    assert len(driver.of(LookUp)) == 1
    assert driver.settlements[0].fingerprint is None


def test_test_traffic_is_not_asked_about_nor_counted() -> None:
    driver = drive(ANN, test=True, mass=MASS)
    assert len(driver.of(LookUp)) == 1
    record = record_of(driver)
    assert (record.answers, record.held, settled(driver).doubted) == ((), (), False)


# -- what a mass does


def test_without_a_mass_a_verdict_suppresses_and_keeps_its_fingerprint() -> None:
    driver = drive(ANN)
    caused = settled(driver).suppression
    assert caused is not None
    assert caused.standing is Standing.PROVISIONAL
    assert caused.evidence.fingerprint == settled(driver).fingerprint
    assert record_of(driver).held == ()
    assert driver.types(ANN) == [EventType.FAILED, EventType.SUPPRESSION_ADDED]


def test_in_a_mass_the_recipient_still_fails_and_the_suppression_is_held() -> None:
    driver = drive(ANN, mass=MASS)
    one = settled(driver)
    assert one.suppression is not None
    assert (one.action, one.doubted, one.suppression.standing) == (Action.FAILED, True, Standing.HELD)
    assert not one.suppression.binds(NOW)
    assert driver.types(ANN) == [EventType.FAILED]  # nobody copies a suppression that binds nobody
    assert record_of(driver).strikes == ()


def test_the_mass_of_the_last_hour_is_held_with_it_and_told_once() -> None:
    record = record_of(drive(ANN, BOB, mass=MASS))
    (held,) = record.held
    assert held.since == NOW - 60 * MINUTE
    (alarm,) = (event for event in record.events if event.type is EventType.GUARD_TRIPPED)
    assert held.event_id == alarm.id
    assert record.events[-1] is alarm
    assert (alarm.recipient, alarm.details["refusals"], alarm.details["answers"]) == (None, 102, 122)
    assert retold(alarm.to_dict()).details == alarm.details


def test_processes_that_see_the_same_mass_begin_tell_the_same_event() -> None:
    one, other = (drive(who, mass=MASS, now=NOW + wait).events[-1] for who, wait in ((ANN, 0 * DAY), (BOB, MINUTE)))
    assert one.id == other.id
    assert one.id != drive(ANN, mass=MASS, now=NOW + DAY).events[-1].id


def test_a_mass_that_goes_on_is_held_and_told_no_more() -> None:
    record = record_of(drive(ANN, mass=replace(MASS, goes_on=True)))
    assert len(record.held) == 1
    assert [event.type for event in record.events] == [EventType.FAILED]


def test_its_last_sign_is_not_renewed_by_ordinary_refusals() -> None:
    driver = drive(ANN, mass=replace(QUIET, goes_on=True))
    assert settled(driver).doubted
    assert record_of(driver).held == ()


def test_a_message_to_many_is_a_mass_by_itself() -> None:
    many = [f"u{number}@example.com" for number in range(30)]
    driver = drive(*many, mass=Mass())
    assert all(one.doubted for one in driver.settlements)
    assert not any(one.doubted for one in drive(*many[:19], mass=Mass()).settlements)


def test_a_store_that_does_not_answer_is_no_mass() -> None:
    class Silent(Driver):
        def answer(self, step: object) -> Any:
            return LookedUp(now=NOW) if isinstance(step, LookUp) else super().answer(step)

    driver = Silent(answers=[{ANN: NOBODY}])
    driver.drive(delivery_to(ANN), WATCHING)
    assert not settled(driver).doubted


def test_the_recipient_is_not_told_and_others_are() -> None:
    notices = (Notice("recipient"), Notice("operations"))
    telling = replace(RULES[2], notify=notices)
    assert telling.id == "full"
    policy = replace(WATCHING, rules=(telling, *RULES))
    for mass, told in ((QUIET, notices), (MASS, notices[1:])):
        driver = Watched(answers=[{ANN: FULL}], mass=mass)
        driver.drive(delivery_to(ANN), policy)
        assert settled(driver).notices == told


@pytest.mark.parametrize("standing", [Standing.PROVISIONAL, Standing.CONFIRMED])
def test_a_probe_that_fails_in_a_mass_climbs_no_rung(standing: Standing) -> None:
    driver = drive(ANN, says=FULL, mass=MASS, suppressions=[expired(ANN, standing=standing)], probes=frozenset({ANN}))
    assert (settled(driver).action, settled(driver).suppression) == (Action.FAILED, None)


def test_what_is_held_begins_as_provisional_once_the_mass_is_over() -> None:
    held = suppression(ANN, standing=Standing.HELD, evidence=Evidence(fingerprint="f"))
    caused = settled(drive(ANN, says=FULL, suppressions=[held])).suppression
    assert caused is not None
    assert (caused.standing, caused.rung, caused.since) == (Standing.PROVISIONAL, 0, NOW)


# -- what is counted


def counted(driver: Driver) -> list[tuple[int, int]]:
    """Answers and refusals, as each record counts them."""
    return [
        (one.number, sum(number for _, number in one.refusals)) for record in driver.records for one in record.answers
    ]


def test_a_delay_is_no_answer_yet() -> None:
    assert counted(drive(ANN, says=FULL_NOW)) == []


def test_no_reply_is_no_answer() -> None:
    driver = Watched(answers=[{ANN: NoReply(Cause.LOCAL, "no such host")}])
    driver.drive(delivery_to(ANN), WATCHING)
    assert counted(driver) == []


def test_a_refusal_for_another_reason_is_an_answer_and_no_refusal() -> None:
    assert counted(drive(ANN, says="554 5.7.1 spam")) == [(1, 0)]


def test_one_mailbox_in_two_spellings_counts_once() -> None:
    assert counted(drive("jo+a@gmail.com", "j.o@gmail.com")) == [(1, 1)]


def before(**changes: Any) -> Suppression:
    """What stands for ANN from an earlier refusal, and does not bind."""
    fingerprint = drive(ANN, says=FULL).settlements[0].fingerprint
    start = {"standing": Standing.HELD, "evidence": Evidence(fingerprint=fingerprint), "since": NOW - 20 * MINUTE}
    return suppression(ANN, **{**start, "changed_at": NOW - 20 * MINUTE, **changes})


@pytest.mark.parametrize(
    ("changes", "is_news"),
    [
        ({}, True),
        ({"changed_at": NOW - 9 * MINUTE}, False),  # the same mailbox, again
        ({"changed_at": NOW - 9 * MINUTE, "evidence": Evidence(fingerprint="other")}, True),
        ({"since": NOW - 4 * DAY}, False),  # found dead days ago
        ({"since": NOW - 4 * DAY, "evidence": Evidence()}, False),
    ],
)
def test_a_mailbox_that_is_known_to_refuse_is_no_news(changes: dict[str, Any], is_news: bool) -> None:
    assert counted(drive(ANN, says=FULL, suppressions=[before(**changes)])) == ([(1, 1)] if is_news else [])


def test_known_dead_mailboxes_are_no_mass_however_many() -> None:
    many = [f"u{number}@example.com" for number in range(30)]
    known = [suppression(one, standing=Standing.HELD, since=NOW - 4 * DAY) for one in many]
    driver = drive(*many, says=FULL, mass=Mass(), suppressions=known)
    assert not any(one.doubted for one in driver.settlements)


def test_events_show_what_was_doubted() -> None:
    driver = drive(ANN, CY, mass=MASS)
    told = driver.events[0].to_dict()
    assert told["data"]["doubted"] is True
    assert told["data"]["fingerprint"] == told["data"]["suppression"]["evidence"]["fingerprint"]
    assert retold(told).settlement == replace(driver.settlements[0], suppression=None, key="")
    assert retold(told).suppression == driver.settlements[0].suppression
    older = {**told, "data": {key: told["data"][key] for key in told["data"].keys() - {"doubted", "fingerprint"}}}
    again = retold(older).settlement
    assert again is not None
    assert (again.doubted, again.fingerprint) == (False, None)
