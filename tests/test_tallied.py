"""What is counted besides strikes: verdicts about domains and the like, and how long a provider's greylist takes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.delivery import delivery
from bouncekit.delivery.steps import LookedUp, LookUp, Outcome, Record
from bouncekit.delivery.tallied import Count, Number, Scene, Sum, greylisted_at, waited
from bouncekit.history.retold import told
from bouncekit.meaning.classification import Category
from bouncekit.policy.lane import Lane, LaneKind, Road
from bouncekit.policy.policy import MessageClass
from bouncekit.policy.rule import Condition, Fate, Learn, Rule, Seen, SeenBy, Window
from bouncekit.policy.schedule import Schedule
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import Store
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.testing.answers import Answer
from bouncekit.testing.script import Cues
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Recipient
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

from .building import ANN, NOW, POLICY, Labels, classify, delivery_to, with_rules
from .conftest import message
from .contract.queueing import outcome
from .contract.stores import new_id

Make = Callable[..., Postmaster]
Serve = Callable[..., ScriptedServer]

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
GREY = "451 4.7.1 Greylisted, please come back"


def said(reply: str, recipient: str = ANN, **changes: Any) -> Any:
    status = RecipientStatus(
        recipient=recipient, action=Action.DELAYED, stage=Stage.RCPT, reply=Reply.parse(reply), **changes
    )
    verdict = classify(status)
    return replace(verdict, category=Category.GREYLISTED) if reply == GREY else verdict


def seen(by: SeenBy, times: int = 3) -> Rule:
    return Rule(id=f"of-{by}", when=Condition(seen=Seen(times, timedelta(hours=1), by)), do=Fate.HOLD)


@pytest.mark.parametrize(
    ("by", "subject"),
    [
        (SeenBy.DOMAIN, "example.com"),
        (SeenBy.PROVIDER, "example.net"),
        (SeenBy.SENDER, "shop@example.org"),
        (SeenBy.RELAY, "main"),
    ],
)
def test_a_threshold_may_be_about_others_than_the_recipient(by: SeenBy, subject: str) -> None:
    scene = Scene(with_rules(seen(by)), "Shop@example.org", "main")
    verdict = said("451 4.3.0 Busy", "ann@EXAMPLE.com", remote_mta="mx1.example.net")
    number = Number(Count.VERDICTS, f"{by}:system_error:{subject}")
    window = Window(Category.SYSTEM_ERROR, timedelta(hours=1), by)
    assert scene.asked(verdict).sums == {window: Sum(number, timedelta(hours=1))}
    assert scene.counted([verdict, verdict]) == [(number, 1), (number, 1)]
    assert scene.asked(verdict).counted({Sum(number, timedelta(hours=1)): 7}) == {window: 7}


def test_a_policy_that_asks_for_nothing_has_nothing_counted() -> None:
    scene = Scene(POLICY, "shop@example.org", "main")
    assert scene.counted([said("451 4.3.0 Busy")]) == []
    assert not tuple(scene.asked(said("451 4.3.0 Busy")).all_sums)


def test_a_threshold_about_a_relay_is_about_the_one_that_had_the_mail() -> None:
    road = Road(relay=Lane(LaneKind.RELAY, "main"))
    steps = delivery.deliver(delivery_to(ANN), classify=classify, policy=with_rules(seen(SeenBy.RELAY)), road=road)
    next(steps)
    steps.send(LookedUp(now=NOW))
    asked = steps.send(Outcome(attempt_id="a1", now=NOW, statuses=(said("451 4.3.0 Busy").status,), through="spare"))
    record = steps.send(LookedUp(now=NOW))
    assert isinstance(asked, LookUp)
    assert isinstance(record, Record)
    assert [one.number for one in asked.sums] == [number for number, _ in record.numbers]
    assert [number.subject for number, _ in record.numbers] == ["relay:system_error:spare"]


# -- greylisting


def test_a_greylist_is_timed_from_its_first_reply_as_long_as_nothing_else_comes_between() -> None:
    ann = Recipient.of(parse_address(ANN))
    first = greylisted_at(ann, said(GREY), NOW)
    assert first == NOW
    again = replace(ann, attempts=1, greylisted_at=first)
    assert greylisted_at(again, said(GREY), NOW + 5 * MINUTE) == NOW
    assert greylisted_at(again, said("451 4.3.0 Busy"), NOW) is None
    assert greylisted_at(replace(ann, attempts=1), said(GREY), NOW) is None, "something else came first"


def test_only_a_first_retry_that_was_too_early_teaches_anything() -> None:
    """So no wait that was learnt makes itself longer and longer."""
    taken = RecipientStatus(
        recipient=ANN, action=Action.DELIVERED, stage=Stage.END_OF_DATA, reply=Reply.parse("250 Ok")
    )
    ann = replace(Recipient.of(parse_address(ANN)), attempts=2, greylisted_at=NOW)
    assert waited(ann, taken, NOW + 5 * MINUTE) == []
    learnt = waited(replace(ann, attempts=3), taken, NOW + 15 * MINUTE)
    assert learnt == [
        (Number(Count.GREYLISTED, "example.com"), 1),
        (Number(Count.GREYLIST_SECONDS, "example.com"), 900),
    ]
    assert waited(replace(ann, attempts=3), taken, NOW - MINUTE) == [], "a clock was set back"
    assert waited(replace(ann, attempts=3, greylisted_at=None), taken, NOW + MINUTE) == []


GREYLIST = Schedule("greylist", (5 * MINUTE, 10 * MINUTE))


@pytest.mark.parametrize(
    ("learned", "attempts", "wait"),
    [
        (None, 1, 5),
        (timedelta(minutes=15), 1, 15),
        (timedelta(seconds=1), 1, 2),
        (timedelta(days=9), 1, 30),
        (timedelta(minutes=15), 2, 10),
    ],
)
def test_what_was_learnt_is_the_first_wait_within_bounds(learned: timedelta | None, attempts: int, wait: int) -> None:
    from .test_policy import at, recipient

    rule = Rule(id="grey", do=Fate.RETRY, wait=GREYLIST, learn=Learn(at_least=2 * MINUTE, at_most=30 * MINUTE))
    done = with_rules(rule).decide(said(GREY), recipient(attempts=attempts), at(learned=learned))
    assert done.retry_at == NOW + wait * MINUTE


@pytest.mark.parametrize(("deadline", "wait"), [(40, 30), (30, 27), (20, 18), (6, 5.4), (5.2, 5)])
def test_a_greylist_that_takes_longer_than_the_deadline_costs_nobody_his_try(deadline: float, wait: float) -> None:
    from .test_policy import at, recipient

    rule = Rule(id="grey", do=Fate.RETRY, wait=GREYLIST, learn=Learn(at_least=2 * MINUTE, at_most=30 * MINUTE))
    hasty = replace(with_rules(rule), classes={"code": MessageClass(name="code", deadline=deadline * MINUTE)})
    done = replace(hasty, default_class="code").decide(said(GREY), recipient(), at(learned=timedelta(hours=3)))
    assert (done.fate, done.retry_at) == (Fate.RETRY, NOW + wait * MINUTE)


# -- in a store


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "b.db") as opened:
        yield opened


def add(store: Store, number: Number, many: int, at: datetime = NOW) -> Record:
    record = replace(outcome(delivery_to(ANN, id=new_id()), new_id(), done=[ANN], at=at), numbers=((number, many),))
    store.record(record)
    return record


def test_a_sum_has_what_was_counted_within_its_time(store: Store) -> None:
    number, other = Number(Count.VERDICTS, "domain:policy:a.example"), Number(Count.VERDICTS, "domain:policy:b.example")
    twice = add(store, number, 3, NOW - 2 * timedelta(hours=1))
    store.record(twice)
    add(store, number, 4, NOW - 10 * MINUTE)
    add(store, other, 9)
    sums = (Sum(number, timedelta(hours=1)), Sum(number, DAY), Sum(Number(Count.GREYLISTED, "x"), DAY))
    found = store.look_up(LookUp(labels=Labels(), sums=sums), NOW).sums
    assert [found[one] for one in sums] == [4, 7, 0]


# -- with a server


class Greylisting(Cues):
    """Takes nobody before so long after his first try."""

    def __init__(self, clock: ManualClock, wants: timedelta) -> None:
        super().__init__({})
        self.clock, self.wants = clock, wants
        self.first: dict[str, datetime] = {}
        self.tries = 0

    def next(self, stage: str, address: str = "") -> Answer:
        if stage == "RCPT":
            self.tries += 1
            if self.clock.now() - self.first.setdefault(address, self.clock.now()) < self.wants:
                return GREY
        return super().next(stage, address)


@pytest.fixture(params=["memory", "sqlite"])
def desk(request: pytest.FixtureRequest, make_postmaster: Make, tmp_path: Path) -> Make:
    store = "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'b.db'}"

    def make(server: ScriptedServer, text: str = "", **settings: Any) -> Postmaster:
        (tmp_path / "own.yaml").write_text(f"policy: 1\nextends: default\n{text}", "utf-8")
        own = {"policy": tmp_path / "own.yaml", "store": store, "retry": "queue", "worker": "external"}
        return make_postmaster(**{**own, "relays": {"main": server.url}, **settings})

    return make


def deliver(postmaster: Postmaster, clock: ManualClock, recipient: str, *, test: bool = False) -> timedelta:
    """Send a message to its end; how long that took."""
    start = clock.now()
    with postmaster.client("main") as client:
        client.submit(message(recipient), test=test)
    while list(postmaster.office.store.queued()):
        postmaster.worker().run_due()
        clock.move(MINUTE / 2)
    return clock.now() - start


def test_who_was_greylisted_before_is_not_asked_too_early_again(serve: Serve, desk: Make, clock: ManualClock) -> None:
    server = serve()
    server._cues = greylist = Greylisting(clock, 12 * MINUTE)
    postmaster = desk(server)
    deliver(postmaster, clock, "test@example.com", test=True)
    tries = {}
    for name in ("ann", "bob", "cy"):
        greylist.tries = 0
        assert deliver(postmaster, clock, f"{name}@example.com") < 20 * MINUTE
        tries[name] = greylist.tries
    assert tries == {"ann": 3, "bob": 2, "cy": 2}, "and nothing is learnt from test traffic"
    (moment,) = (one for one in postmaster.history("cy@example.com").moments if one.what == "delayed")
    assert moment.event is not None
    assert moment.event.to_dict()["data"]["learned_seconds"] > 700
    assert ": greylisting there has taken 1" in dict(told(moment))["next try"]
    clock.move(31 * DAY)
    greylist.tries = 0
    deliver(postmaster, clock, "di@example.com")
    assert greylist.tries == 3, "it is found out anew"


def test_a_domain_that_refuses_often_is_held_and_others_and_tests_are_not(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    server = serve({"RCPT": {"*": "550 5.7.1 Not welcome here"}})
    rules = """\
rules:
- {id: not-welcome, when: {category: policy, seen: {times: 3, within: 1h, by: domain}}, do: hold}
- {id: once, when: {category: policy}, do: fail}
"""
    postmaster = desk(server, rules)

    def decided(recipient: str, *, test: bool = False) -> str:
        with postmaster.client("main") as client:
            client.submit(message(recipient), test=test)
        postmaster.worker().run_due()
        events = [one for one in postmaster.heard if one.recipient == recipient]  # type: ignore[attr-defined]
        return str(events[-1].rule)

    assert [decided(f"jo{number}@a.example", test=True) for number in range(4)] == ["once"] * 4
    assert [decided(f"ann{number}@a.example") for number in range(4)] == ["once", "once", *["not-welcome"] * 2]
    assert decided("bob@b.example") == "once"
    clock.move(timedelta(hours=2))
    assert decided("cy@a.example") == "once"
    assert not list(postmaster.suppressions)
