"""Budgets with real servers and stores: bulk mail of a bad stream goes slowly or waits, all else goes, none is lost."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from smtplib import SMTPRecipientsRefused
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bouncekit.clients.aio import AsyncClient
from bouncekit.delivery.events import Event, EventType, Occasion, event_of
from bouncekit.delivery.steps import Record
from bouncekit.desk.ledger import Ledger
from bouncekit.desk.notices import Notices
from bouncekit.desk.treasurer import Treasurer, balances
from bouncekit.notify import Notification
from bouncekit.outside.builtin import open_policy
from bouncekit.policy.budget import Bound, Budget, Level, Spent, Stream, level_of
from bouncekit.policy.policy import Policy
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import StoreError
from bouncekit.words.status import Action

from .building import ANN, delivery_to
from .conftest import message
from .postgresql import new_schema
from .test_returns import complaint, dsn

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]

NEWS = Stream("", "news")
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
HEAD = "policy: 1\nextends: default\nclasses: {bulk: {deadline: 30d}}\n"
STRICT = (
    "{at_least: 10, warn: {bounces: 10%, complaints: 10%}, slow: {bounces: 30%}, stop: {bounces: 50%},"
    " rate: 6/m, holds: bulk, notify: operations}"
)


@pytest.fixture
def server(serve: Serve) -> ScriptedServer:
    """A server that knows nobody whose name begins with x."""
    return serve({"RCPT": {f"x{number}@example.com": "550 5.1.1 No such user" for number in range(100)}})


@pytest.fixture
def make(make_postmaster: Make, tmp_path: Path, server: ScriptedServer) -> Make:
    def make(budget: str = STRICT, **settings: Any) -> Postmaster:
        own = tmp_path / "own.yaml"
        own.write_text(f"{HEAD}guard: {{at_least: 1000000}}\nbudget: {budget}\n", "utf-8")
        return make_postmaster(**{"policy": own, "relays": {"main": server.url}, **settings})

    return make


def queueing(make: Make, tmp_path: Path, **settings: Any) -> Postmaster:
    store = f"sqlite:///{tmp_path / 'b.db'}"
    return make(**{"store": store, "retry": "queue", "worker": "external", **settings})


def send(postmaster: Postmaster, *names: str, stream: str = "news", kind: str = "bulk", **labels: Any) -> Any:
    """The last report of a message to each of these; who is refused is no error here."""
    report = None
    with postmaster.client("main", stream=stream, message_class=kind, **labels) as client:
        for name in names:
            try:
                report = client.send(message(f"{name}@example.com"))
            except SMTPRecipientsRefused as error:
                report = error.report  # type: ignore[attr-defined]
    return report


def spoil(postmaster: Postmaster, clock: ManualClock, *, good: int, bad: int, first: int = 0, **labels: Any) -> None:
    """Send to so many, then let what is known of it grow old."""
    names = [*(f"ok{number}" for number in range(good)), *(f"x{first + number}" for number in range(bad))]
    send(postmaster, *names, **labels)
    clock.move(11 * SECOND)


def is_stopped(postmaster: Postmaster) -> bool:
    """Whether bulk mail of the stream waits."""
    (one,) = send(postmaster, "jo").recipients
    return one.rule == "held-up" and "stream news is paused" in str(one.reply)


def left(postmaster: Postmaster, clock: ManualClock) -> int:
    """How many wait in the queue, due or not."""
    depth = postmaster.office.store.depth(clock.now())
    return depth.due + depth.waiting + depth.held + depth.leased


def budget_events(postmaster: Postmaster) -> list[str]:
    return [one["type"] for _, one in postmaster.office.store.events() if one["type"].startswith("budget_")]


def test_a_stream_within_its_budget_is_left_alone(make: Make, clock: ManualClock) -> None:
    postmaster = make()
    spoil(postmaster, clock, good=9, bad=0)
    spoil(postmaster, clock, good=1, bad=2)  # two may be chance
    assert send(postmaster, "jo").delivered
    assert budget_events(postmaster) == []
    assert postmaster.budget("news").spent == Spent(13, 2, 0)


def test_levels_are_told_once_each_and_to_the_channels(make: Make, clock: ManualClock) -> None:
    heard: list[Notification] = []
    postmaster = make(channels={"operations": heard.append})
    spoil(postmaster, clock, good=17, bad=3)
    for _ in range(5):
        send(postmaster, "jo")
        clock.move(11 * SECOND)
    assert budget_events(postmaster) == ["budget_warned"]
    (event,) = postmaster.heard.of("budget_warned")  # type: ignore[attr-defined]
    assert (event.occasion.labels.stream, event.details["before"], event.details["why"]) == (
        "news",
        "within",
        "bounces",
    )
    assert (event.details["sent"], event.details["bounced"], event.details["bounce_rate"]) == (20, 3, 0.15)
    (notice,) = heard
    assert notice.recipient == ""
    assert notice.subject == "Stream news brings many bounces or complaints"
    assert "20 sent to, 3 bounced for a bad address (15.0%), 0 complained (0.00%)" in notice.text
    assert postmaster.heard.types.count("notified") == 1  # type: ignore[attr-defined]


def test_a_channel_that_is_not_set_up_is_told_as_such(make: Make, clock: ManualClock) -> None:
    postmaster = make()
    spoil(postmaster, clock, good=17, bad=3)
    send(postmaster, "jo")
    (event,) = postmaster.heard.of("not_notified")  # type: ignore[attr-defined]
    assert (event.recipient, event.details["channel"]) == (None, "operations")


def test_a_notice_goes_by_mail_too(make: Make, clock: ManualClock, server: ScriptedServer) -> None:
    postmaster = make(channels={"operations": "mailto:ops@example.org"})
    spoil(postmaster, clock, good=17, bad=3)
    send(postmaster, "jo")
    (notice,) = [one for one in server.messages if one.recipients == ("ops@example.org",)]
    assert b"Stream news brings many bounces" in notice.data


def test_what_is_stopped_is_reported_as_delayed_and_not_a_byte_is_sent(
    make: Make, clock: ManualClock, server: ScriptedServer
) -> None:
    postmaster = make()
    spoil(postmaster, clock, good=10, bad=10)
    before = len(server.messages)
    with (
        postmaster.client("main", stream="news", message_class="bulk") as client,
        pytest.raises(SMTPRecipientsRefused, match=r"stream news is paused until .*50\.0% of 20 bounced") as caught,
    ):
        client.send(message("jo@example.com"))
    (held,) = caught.value.report.recipients  # type: ignore[attr-defined]
    assert (held.action, held.rule, held.attempts) == (Action.DELAYED, "held-up", 0)
    assert held.retry_at >= clock.now() + 30 * MINUTE
    assert len(server.messages) == before
    assert budget_events(postmaster) == ["budget_stopped"]


def test_other_classes_other_streams_and_other_tenants_go_on(
    make: Make, clock: ManualClock, server: ScriptedServer
) -> None:
    postmaster = make()
    spoil(postmaster, clock, good=10, bad=10)
    assert send(postmaster, "code", kind="security").delivered
    assert send(postmaster, "receipt", kind="transactional").delivered
    assert send(postmaster, "jo", stream="other").delivered
    assert send(postmaster, "jo", stream="").delivered
    assert send(postmaster, "jo", tenant="acme").delivered
    assert send(postmaster, "jo", test=True).delivered
    assert len(server.messages) == 16


def test_the_asynchronous_client_and_whole_lists_are_held_as_well(
    make: Make, clock: ManualClock, server: ScriptedServer
) -> None:
    postmaster = make()
    spoil(postmaster, clock, good=10, bad=10)

    async def sent() -> Action:
        async with AsyncClient("main", postmaster=postmaster, stream="news", message_class="bulk") as client:
            with pytest.raises(SMTPRecipientsRefused) as caught:
                await client.send(message("jo@example.com"))
        return caught.value.report.recipients[0].action  # type: ignore[attr-defined,no-any-return]

    assert asyncio.run(sent()) is Action.DELAYED
    with postmaster.client("main", stream="news") as client:
        classes = ["bulk", "security", "bulk", "security"]
        messages = [message(f"jo{number}@example.com") for number in range(4)]
        for one, kind in zip(messages, classes, strict=True):
            one["X-Bouncekit-Class"] = kind
        actions = [report.recipients[0].action for report in client.send_all(messages)]
    assert actions == [Action.DELAYED, Action.DELIVERED, Action.DELAYED, Action.DELIVERED]
    assert len(server.messages) == 12


def test_test_traffic_spends_nothing(make: Make, clock: ManualClock) -> None:
    postmaster = make()
    spoil(postmaster, clock, good=10, bad=10, test=True)
    assert postmaster.budget("news").spent == Spent()
    assert send(postmaster, "jo").delivered


def test_queued_mail_of_a_stopped_stream_waits_and_all_of_it_arrives(
    make: Make, clock: ManualClock, server: ScriptedServer, tmp_path: Path
) -> None:
    postmaster = queueing(make, tmp_path)
    spoil(postmaster, clock, good=10, bad=10)
    people = [f"jo{number}" for number in range(8)]
    for name in people:
        assert send(postmaster, name).delayed[0].kept
    with postmaster.client("main", stream="news", message_class="security") as client:
        client.submit(message("code@example.com"))
    worker = postmaster.worker()
    worker.run_due()
    assert [one.recipients for one in server.messages[10:]] == [("code@example.com",)]
    clock.move(3 * DAY)
    worker.run_due()
    assert left(postmaster, clock) == 8
    clock.move(5 * DAY)  # the bounces are no more of the last seven days
    for _ in range(3):
        worker.run_due()
        clock.move(HOUR)
    assert sorted(one.recipients[0] for one in server.messages[11:]) == sorted(f"{name}@example.com" for name in people)
    assert budget_events(postmaster) == ["budget_stopped", "budget_recovered"]
    assert not [event for event in postmaster.heard.of("failed") if event.recipient.startswith("jo")]  # type: ignore[attr-defined]


def test_a_hand_lets_a_stream_go_on_and_its_counts_begin_anew(make: Make, clock: ManualClock, tmp_path: Path) -> None:
    postmaster = queueing(make, tmp_path)
    spoil(postmaster, clock, good=10, bad=10)
    assert send(postmaster, "jo").delayed
    assert postmaster.budget("news").level is Level.STOPPED
    assert postmaster.resume("news", by="ops")
    assert not postmaster.resume("news", by="ops")
    assert (postmaster.budget("news").level, postmaster.budget("news").spent) == (Level.WITHIN, Spent())
    assert send(postmaster, "ann").delivered
    (event,) = postmaster.heard.of("budget_recovered")  # type: ignore[attr-defined]
    assert (event.details["by"], event.details["before"], event.details["bounced"]) == ("ops", "stopped", 10)


def test_what_is_slowed_goes_at_its_pace_and_the_rest_at_once(
    make: Make, clock: ManualClock, server: ScriptedServer, tmp_path: Path
) -> None:
    postmaster = queueing(make, tmp_path, budget="{at_least: 10, slow: {bounces: 10%}, rate: 6/m, holds: bulk}")
    spoil(postmaster, clock, good=10, bad=5)
    people = [f"jo{number}" for number in range(12)]
    with postmaster.client("main", stream="news", message_class="bulk") as client:
        for name in people:
            client.submit(message(f"{name}@example.com"))
    with postmaster.client("main", stream="other", message_class="bulk") as client:
        client.submit(message("other@example.com"))
    worker, start = postmaster.worker(), clock.now()
    arrived: list[float] = []
    while left(postmaster, clock):
        worker.run_due()
        arrived += [(clock.now() - start).total_seconds()] * (len(server.messages) - 10 - len(arrived))
        clock.move(SECOND)
        assert clock.now() - start < HOUR
    assert len(server.messages) == 23
    assert budget_events(postmaster) == ["budget_slowed"]
    assert 100 <= arrived[-1] <= 180  # twelve of six a minute


@pytest.mark.parametrize("rate", ["6/m", "60/m", "600/m"])
def test_no_other_mail_waits_while_a_worker_sleeps_for_a_slowed_stream(
    make: Make, clock: ManualClock, server: ScriptedServer, tmp_path: Path, rate: str
) -> None:
    postmaster = queueing(make, tmp_path, budget=f"{{at_least: 10, slow: {{bounces: 10%}}, rate: {rate}, holds: bulk}}")
    spoil(postmaster, clock, good=10, bad=5)
    with postmaster.client("main", stream="news", message_class="bulk") as client:
        for number in range(30):
            client.submit(message(f"jo{number}@example.com"))
    clock.move(SECOND)
    with postmaster.client("main", stream="news", message_class="security") as client:
        client.submit(message("code@example.com"))
    postmaster.on("delivered")(lambda event: arrived.append((event.recipient, clock.now())))
    arrived: list[tuple[str | None, Any]] = []
    worker, start = postmaster.worker(), clock.now()
    worker.run_due()
    assert dict(arrived)["code@example.com"] == start
    while left(postmaster, clock):
        clock.move(SECOND)
        worker.run_due()
        assert clock.now() - start < HOUR
    assert len(arrived) == 31


def test_a_stream_comes_back_level_by_level(make: Make, clock: ManualClock) -> None:
    postmaster = make()
    spoil(postmaster, clock, good=6, bad=10)
    assert is_stopped(postmaster)
    for good, level in ((17, "slowed"), (17, "warned"), (90, "within")):
        spoil(postmaster, clock, good=good, bad=0, kind="transactional")
        send(postmaster, "jo", kind="transactional")
        assert postmaster.budget("news").level.value == level
    assert budget_events(postmaster) == ["budget_stopped", "budget_slowed", "budget_warned", "budget_recovered"]


def test_complaints_are_a_rate_of_their_own(make: Make, clock: ManualClock, server: ScriptedServer) -> None:
    postmaster = make(bounces="bounce@example.org", bounce_keys=["a secret that is long enough"])
    send(postmaster, *(f"ok{number}" for number in range(20)))
    for number in range(3):
        clock.move(11 * SECOND)
        postmaster.absorb(complaint(server.messages[number], f"ok{number}@example.com"))
    assert postmaster.budget("news").spent == Spent(20, 0, 3)
    assert budget_events(postmaster) == ["budget_warned"]
    (event,) = postmaster.heard.of("budget_warned")  # type: ignore[attr-defined]
    assert event.details["why"] == "complaints"


def test_what_the_guard_holds_is_given_back(make: Make, clock: ManualClock, tmp_path: Path) -> None:
    own = tmp_path / "guarded.yaml"
    own.write_text(f"{HEAD}guard: {{at_least: 20}}\nbudget: {STRICT}\n", "utf-8")
    for store in ("sqlite:///:memory:", f"sqlite:///{tmp_path / 'b.db'}"):
        postmaster = make(policy=own, store=store)
        send(postmaster, *(f"ok{number}" for number in range(60)))
        send(postmaster, *(f"x{number}" for number in range(30)), kind="transactional")
        assert postmaster.heard.types.count("guard_tripped") == 1  # type: ignore[attr-defined]
        assert postmaster.budget("news").spent.bounced == 0
        clock.move(11 * SECOND)
        assert send(postmaster, "jo").delivered


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgresql"])
def test_what_is_given_back_behind_a_resume_hides_no_later_bounce(
    make: Make, serve: Serve, clock: ManualClock, tmp_path: Path, kind: str
) -> None:
    own = tmp_path / "guarded.yaml"
    own.write_text(f"{HEAD}guard: {{at_least: 20}}\nbudget: {STRICT}\n", "utf-8")
    gone = {f"x{number}@example.com": "550 5.1.1 No such user" for number in range(40)}
    moved = {f"y{number}@example.com": "550 5.1.1 Nobody lives here any longer" for number in range(5)}
    server = serve({"RCPT": gone | moved})
    with new_store(kind, tmp_path) as store:
        postmaster = make(policy=own, store=store, relays={"main": server.url})
        spoil(postmaster, clock, good=60, bad=10, kind="transactional")
        send(postmaster, "jo", kind="transactional")
        assert postmaster.resume("news", by="ops")
        send(postmaster, *(f"x{number}" for number in range(10, 40)), kind="transactional")
        assert postmaster.heard.types.count("guard_tripped") == 1  # type: ignore[attr-defined]
        clock.move(2 * HOUR)
        send(postmaster, *(f"y{number}" for number in range(5)), kind="transactional")
        assert postmaster.budget("news").spent.bounced == 5
        assert [one.spent.bounced for one in balances(postmaster.office.store, None, clock.now()).values()] == [5]


@contextmanager
def new_store(kind: str, folder: Path) -> Iterator[str]:
    if kind == "postgresql":
        with new_schema() as url:
            yield url
    else:
        yield "sqlite:///:memory:" if kind == "memory" else f"sqlite:///{folder / 'shared.db'}"


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgresql"])
@pytest.mark.parametrize("news", [dsn, complaint])
def test_news_of_mail_that_was_sent_before_a_resume_takes_nothing_from_the_new_budget(
    make: Make, server: ScriptedServer, clock: ManualClock, tmp_path: Path, kind: str, news: Callable[..., bytes]
) -> None:
    book = "{at_least: 10, stop: {bounces: 50%, complaints: 50%}, holds: bulk}"
    with new_store(kind, tmp_path) as url:
        postmaster = make(book, store=url)
        spoil(postmaster, clock, good=12, bad=12)
        assert is_stopped(postmaster)
        assert postmaster.resume("news", by="ops")
        clock.move(5 * MINUTE)
        send(postmaster, *(f"later{number}" for number in range(12)))
        for number in range(12):
            postmaster.absorb(news(server.messages[number], f"ok{number}@example.com"))
        assert postmaster.budget("news").spent == Spent(12, 0, 0)
        clock.move(11 * SECOND)
        assert not is_stopped(postmaster)
        for number in range(7):
            postmaster.absorb(news(server.messages[12 + number], f"later{number}@example.com"))
        assert sum(postmaster.budget("news").spent[1:]) == 7
        clock.move(11 * SECOND)
        assert is_stopped(postmaster)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_that_share_a_store_share_the_level_and_one_tells_it(
    make: Make, clock: ManualClock, tmp_path: Path, kind: str
) -> None:
    with new_store(kind, tmp_path) as url:
        book = "{at_least: 10, stop: {bounces: 50%}, holds: bulk}"
        one, other = make(book, store=url), make(book, store=url)
        spoil(one, clock, good=10, bad=5)
        spoil(other, clock, good=0, bad=5, first=50)
        for postmaster in (other, one):
            assert is_stopped(postmaster)
        told = [event for each in (one, other) for event in each.heard.of("budget_stopped")]  # type: ignore[attr-defined]
        assert len(told) == len(budget_events(one)) == 1
        third = make(book, store=url)  # as behind a restart
        assert is_stopped(third)
        assert len(budget_events(third)) == 1
        for each in (one, other, third):
            each.close()


class Failing(MemoryStore):
    """A store that knows nothing about budgets when asked."""

    fails = False

    def spent(self, **asked: Any) -> Any:
        if self.fails:
            raise StoreError("the disk has gone")
        return super().spent(**asked)


def test_where_the_store_does_not_say_what_was_known_holds_on(
    make: Make, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Failing()
    postmaster = make(store=store)
    store.fails = True
    assert send(postmaster, "jo").delivered
    store.fails = False
    clock.move(11 * SECOND)
    spoil(postmaster, clock, good=10, bad=12)
    assert is_stopped(postmaster)
    store.fails = True
    clock.move(11 * SECOND)
    assert is_stopped(postmaster)
    assert "the disk has gone" in caplog.text


def test_the_store_is_asked_once_in_ten_seconds(make: Make, clock: ManualClock) -> None:
    asked = []

    class Counting(MemoryStore):
        def spent(self, **question: Any) -> Any:
            asked.append(question)
            return super().spent(**question)

    postmaster = make(store=Counting())
    send(postmaster, *(f"ok{number}" for number in range(50)))
    assert len(asked) == 1
    clock.move(11 * SECOND)
    send(postmaster, "jo")
    assert len(asked) == 2


@pytest.mark.parametrize("hours", [1, 24, 24 * 365])
@pytest.mark.parametrize("restarts", [False, True])
def test_what_a_clock_counted_that_was_set_back_since_counts_no_longer_than_all_else(
    make: Make, clock: ManualClock, tmp_path: Path, hours: int, *, restarts: bool
) -> None:
    """A process that was there sees it from an hour on; one that was not, from two, as much as machines may differ."""
    url = f"sqlite:///{tmp_path / 'own.db'}"
    budget = STRICT.replace("{", "{within: 1d, ", 1)
    postmaster = make(budget, store=url)
    ahead = timedelta(hours=max(hours, 2) if restarts else hours)
    clock.move(ahead)
    spoil(postmaster, clock, good=10, bad=10)
    clock.move(-ahead)
    if restarts:
        postmaster.close()
        postmaster = make(budget, store=url)
    assert is_stopped(postmaster), "it was a bad list whatever time it was"
    clock.move(25 * HOUR)
    assert not is_stopped(postmaster)
    assert postmaster.budget("news").spent.bounced == 0
    clock.move(timedelta(hours=hours))
    assert postmaster.budget("news").spent.bounced == 0, "nor is it found again later"


@pytest.mark.parametrize("name", ["", "-", "a/b", "%", "nul\0", "\udcff", "stra\u00dfe", "x" * 255])
def test_whatever_a_stream_is_called_it_is_held_alone(make: Make, clock: ManualClock, name: str) -> None:
    postmaster = make()
    spoil(postmaster, clock, good=2, bad=10, stream=name, tenant="a")
    treasurer = postmaster.office.treasurer
    labels = Labels(message_class="bulk", tenant="a", stream=name)
    lane = treasurer.lane(labels)
    assert lane is not None
    assert treasurer.held(lane, clock.now()) is not None
    others = (
        replace(labels, tenant=""),
        replace(labels, stream=f"{name}."),
        replace(labels, tenant="", stream=f"a/{name}"),
    )
    assert [treasurer.lane(other) for other in others] == [None, None, None]


def test_a_policy_on_trial_beside_counts_nothing_twice(make: Make, clock: ManualClock) -> None:
    postmaster = make(shadow="bulk")
    spoil(postmaster, clock, good=10, bad=10)
    assert postmaster.budget("news").spent == Spent(20, 10, 0)
    assert is_stopped(postmaster)


def test_a_policy_without_a_budget_holds_nobody_any_more(make: Make, clock: ManualClock, tmp_path: Path) -> None:
    postmaster = make()
    spoil(postmaster, clock, good=10, bad=10)
    assert is_stopped(postmaster)
    assert not postmaster.office.gate.is_free
    postmaster.reload("default")
    assert postmaster.office.gate.is_free
    assert send(postmaster, "jo").delivered


def test_what_an_old_policy_made_of_a_stream_is_not_kept_once_another_holds(make: Make, clock: ManualClock) -> None:
    meanwhile: list[Callable[[], object]] = []

    class Asked(MemoryStore):
        def spent(self, **question: Any) -> Any:
            found = super().spent(**question)
            if meanwhile:
                meanwhile.pop()()
            return found

    postmaster = make(store=Asked())
    spoil(postmaster, clock, good=10, bad=10)
    meanwhile.append(lambda: postmaster.reload("default"))
    treasurer = postmaster.office.treasurer
    treasurer.look(Labels(stream="news"))
    assert not meanwhile
    assert treasurer.holds_nobody


def test_a_budget_that_goes_between_two_looks_at_it_fails_no_send(make: Make, clock: ManualClock) -> None:
    postmaster = make()
    spoil(postmaster, clock, good=10, bad=5)
    treasurer = postmaster.office.treasurer
    lane = treasurer.lane(Labels(stream="news", message_class="bulk"))
    assert lane is not None

    class Reloaded(Treasurer):
        """Of which another thread takes the budget away behind each look."""

        @property
        def _budget(self) -> Budget | None:
            found: Budget | None = self.__dict__.pop("at_first", None)
            return found

        @_budget.setter
        def _budget(self, budget: Budget | None) -> None:
            self.__dict__["at_first"] = budget

    reloaded = Reloaded(postmaster.policy, treasurer._ledger, treasurer._notices, clock)
    reloaded._lanes[lane] = NEWS
    assert reloaded.throttle(lane).rate is not None
    assert reloaded.throttle(lane).rate is None


# -- by a model


MODEL = Budget(
    within=6 * HOUR,
    at_least=100,
    warn=Bound(bounces=0.02, complaints=0.01),
    slow=Bound(bounces=0.05),
    stop=Bound(bounces=0.1, complaints=0.05),
    holds=frozenset({"bulk"}),
)
STREAMS = [Stream("", "news"), Stream("acme", "news"), Stream()]
BULK = "bulk"


def _policy() -> Policy:
    return replace(open_policy("default"), budget=MODEL)


class Machine(RuleBasedStateMachine):
    """Two treasurers over one store, against lists of what was spent when."""

    @initialize()
    def begin(self) -> None:
        self.clock, self.store = ManualClock(), MemoryStore()
        self.told: list[Event] = []
        self.both = []
        for _ in range(2):
            ledger = Ledger(self.store, self.clock)
            ledger.bus.on(self.told.append)
            self.both.append(Treasurer(_policy(), ledger, Notices({}, ledger.tell), self.clock))
        self.history: dict[Stream, list[tuple[Any, Spent]]] = {stream: [] for stream in STREAMS}
        self.levels = dict.fromkeys(STREAMS, Level.WITHIN)
        self.looked: dict[tuple[int, Stream], Any] = {}
        self.expected: list[tuple[Stream, EventType]] = []

    @rule(
        stream=st.sampled_from(STREAMS),
        sent=st.integers(0, 200),
        bad=st.integers(0, 30),
        complained=st.integers(0, 4),
    )
    def spend(self, stream: Stream, sent: int, bad: int, complained: int) -> None:
        spent = Spent(sent + bad, bad, complained)
        labels = Labels(tenant=stream.tenant, stream=stream.name)
        occasion = Occasion(attempt_id=self.clock.new_id(), at=self.clock.now(), labels=labels)
        event = event_of(EventType.CLOSED, occasion)
        self.store.record(Record(delivery=delivery_to(ANN), occasion=occasion, events=(event,), spent=spent))
        self.history[stream].append((self.clock.now(), spent))

    @rule(minutes=st.sampled_from([0.05, 1, 59, 60, 200]))
    def wait(self, minutes: float) -> None:
        self.clock.move(minutes * MINUTE)

    @rule(stream=st.sampled_from(STREAMS), which=st.integers(0, 1), kind=st.sampled_from(["bulk", "security"]))
    def ask(self, stream: Stream, which: int, kind: str) -> None:
        now, treasurer = self.clock.now(), self.both[which]
        lane = treasurer.lane(Labels(tenant=stream.tenant, stream=stream.name, message_class=kind))
        known = self.looked.get((which, stream))
        if known is None or not known[0] <= now < known[0] + 10 * SECOND:
            level = level_of(MODEL, self.spent(stream), self.levels[stream])
            if level is not self.levels[stream]:
                self.expected.append((stream, TYPES[level]))
            self.levels[stream] = level
            self.looked[which, stream] = known = (now, level)
        level = known[1]
        assert (lane is not None) == (kind == BULK and level in (Level.SLOWED, Level.STOPPED))
        if lane is not None:
            held = treasurer.held(lane, now)
            assert (held is not None) == (level is Level.STOPPED)
            assert held is None or held.until > now
            assert treasurer.throttle(lane).rate == MODEL.rate

    @precondition(lambda self: any(level is not Level.WITHIN for level in self.levels.values()))
    @rule(stream=st.sampled_from(STREAMS), which=st.integers(0, 1))
    def resume(self, stream: Stream, which: int) -> None:
        done = self.both[which].resume(stream, by="ops")
        assert done == (self.levels[stream] is not Level.WITHIN)
        if done:
            self.expected.append((stream, EventType.BUDGET_RECOVERED))
            self.levels[stream], self.history[stream] = Level.WITHIN, []
            self.looked[which, stream] = (self.clock.now(), Level.WITHIN)

    def spent(self, stream: Stream) -> Spent:
        """Of the hour in which the window begins, and behind it."""
        since = (self.clock.now() - MODEL.within).replace(minute=0, second=0, microsecond=0)
        found = [spent for at, spent in self.history[stream] if at >= since]
        return Spent(*map(sum, zip(*found, strict=True))) if found else Spent()

    @invariant()
    def nobody_hears_of_a_level_twice_or_not_at_all(self) -> None:
        told = [one for _, one in self.store.events(limit=10_000) if one["type"].startswith("budget_")]
        found = [(Stream(one["data"]["tenant"], one["data"]["stream"]), one["type"]) for one in told]
        assert found == [(stream, type_.value) for stream, type_ in self.expected]

    @invariant()
    def the_store_knows_the_level_that_was_told(self) -> None:
        kept = self.store.levels()
        for stream, level in self.levels.items():
            assert (kept[stream].level if stream in kept else Level.WITHIN) is level


TYPES = {
    Level.WITHIN: EventType.BUDGET_RECOVERED,
    Level.WARNED: EventType.BUDGET_WARNED,
    Level.SLOWED: EventType.BUDGET_SLOWED,
    Level.STOPPED: EventType.BUDGET_STOPPED,
}
TestBudgets = Machine.TestCase
TestBudgets.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
