"""Test traffic goes over the wire, and moves no counter and no list: whatever a server says to it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.notify import Notification
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, ScriptedServer

from .conftest import message
from .test_returns import complaint, dsn

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]

DAY = timedelta(days=1)
OWN = """\
policy: 1
extends: default
guard: {at_least: 9}
budget: {at_least: 2, warn: {bounces: 10%, complaints: 10%}, slow: {bounces: 20%}, holds: transactional}
rules:
- {id: often, when: {category: mailbox_full, permanent: false, seen: {times: 2, within: 9d}}, do: fail}
"""
REPLIES = {
    "well@example.com": "250 2.1.5 Ok",
    "full@example.com": "552 5.2.2 Mailbox full",
    "later@example.com": "452 4.2.2 Over quota",
    "nobody@example.com": "550 5.1.1 No such user",
    "nobody2@example.com": "550 5.1.1 No such user",
    "nobody3@example.com": "550 5.1.1 No such user",
    "bad@example.com": "501 5.1.3 Bad recipient address syntax",
    "grey@example.com": "451 4.7.1 Greylisted, try again in 300 seconds",
    "fast@example.com": "450 4.7.1 Too much mail from 192.0.2.1",
    "listed@example.com": "550 5.7.1 Your host is listed at a blocklist",
    "shut@example.com": "421 4.7.0 Try again later, closing connection",
}
HISTORY = frozenset(
    {"outbox", "outcomes", "cursors", "messages", "attempts", "recipients", "arrivals", "sqlite_sequence"}
)


@pytest.fixture
def desk(make_postmaster: Make, tmp_path: Path) -> Callable[..., Postmaster]:
    def make(server: ScriptedServer, **settings: Any) -> Postmaster:
        (tmp_path / "own.yaml").write_text(OWN, "utf-8")
        given = {"policy": tmp_path / "own.yaml", "store": f"sqlite:///{tmp_path / 'b.db'}", "retry": "queue"}
        return make_postmaster(**{**given, "worker": "external", "relays": {"main": server.url}, **settings})

    return make


def kept(tmp_path: Path) -> dict[str, list[Any]]:
    """All that a store keeps besides what happened and what waits: counters, lists and states, of whatever kind."""
    with closing(sqlite3.connect(tmp_path / "b.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: sorted(database.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for name in tables
            if name not in HISTORY
        }


def send(postmaster: Postmaster, recipient: str, *, test: bool, by_header: bool = False) -> None:
    made = message(recipient)
    if by_header:
        made["X-Bouncekit-Test"] = "yes" if test else "no"
    with postmaster.client("main", test=test and not by_header) as client:
        client.submit(made)
    postmaster.worker().run_due()


@pytest.mark.parametrize("by_header", [False, True], ids=["argument", "header"])
def test_nothing_that_a_server_says_to_test_traffic_is_kept(
    serve: Serve, desk: Make, clock: ManualClock, tmp_path: Path, *, by_header: bool
) -> None:
    postmaster = desk(serve({"RCPT": REPLIES}))
    nothing = kept(tmp_path)
    for _ in range(3):
        for recipient in REPLIES:
            send(postmaster, recipient, test=True, by_header=by_header)
            assert kept(tmp_path) == nothing
            assert postmaster.office.gate.states() == {}
        clock.move(DAY)
    assert not postmaster.office.store.tally(since=clock.now() - 9 * DAY, until=clock.now())
    assert all(event.occasion.labels.test for event in postmaster.heard if event.recipient)  # type: ignore[attr-defined]


def test_the_same_mail_moves_all_of_it_where_it_is_no_test(
    serve: Serve, desk: Make, clock: ManualClock, tmp_path: Path
) -> None:
    """So that the test above would see it."""
    postmaster = desk(serve({"RCPT": REPLIES}))
    for recipient in REPLIES:
        send(postmaster, recipient, test=False)
        clock.move(timedelta(minutes=1))
    moved = {name for name, rows in kept(tmp_path).items() if rows}
    assert {"suppressions", "strikes", "counters", "audit", "flows", "budgets"} <= moved
    assert moved == kept(tmp_path).keys(), "a table that no mail here moves is not looked at"


def test_test_traffic_is_no_probe(serve: Serve, desk: Make, clock: ManualClock, tmp_path: Path) -> None:
    server = serve({"RCPT": {"full@example.com": ["552 5.2.2 Mailbox full"]}})
    postmaster = desk(server)
    send(postmaster, "full@example.com", test=False)
    before = kept(tmp_path)
    send(postmaster, "full@example.com", test=True)
    assert server.copies("full@example.com") == 0, "the list binds it as it binds all mail"
    clock.move(8 * DAY)
    send(postmaster, "full@example.com", test=True)
    assert (server.copies("full@example.com"), kept(tmp_path)) == (1, before), "it went, and lifted nothing"
    send(postmaster, "full@example.com", test=False)
    assert server.copies("full@example.com") == 2
    assert not kept(tmp_path)["suppressions"], "the probe was still to be had"


def test_a_probe_that_is_under_way_is_not_given_free_by_test_traffic(tmp_path: Path) -> None:
    from bouncekit.delivery.steps import LookUp
    from bouncekit.stores.memory import MemoryStore
    from bouncekit.stores.sqlite import SqliteStore

    from .building import ANN, NOW, Labels, delivery_to, expired
    from .contract.queueing import new_id, outcome
    from .contract.stores import put

    for store in (MemoryStore(), SqliteStore(tmp_path / "b.db")):
        with store:
            put(store, expired(ANN))
            first, second = (LookUp(labels=Labels(), keys=(ANN,), claim=new_id()) for _ in range(2))
            assert store.look_up(first, NOW).probes == {ANN}
            test = delivery_to(ANN, id=first.claim, test=True)
            store.record(outcome(test, new_id(), delayed=[ANN]))
            assert store.look_up(second, NOW).probes == frozenset()
            store.record(outcome(delivery_to(ANN, id=first.claim), new_id(), delayed=[ANN]))
            assert store.look_up(second, NOW).probes == {ANN}


def test_test_traffic_is_no_trial_of_a_relay_that_was_paused(serve: Serve, desk: Make, clock: ManualClock) -> None:
    server = serve({"MAIL": ["421 4.7.0 Try again later, closing connection"]})
    postmaster = desk(server)
    send(postmaster, "ann@example.com", test=False)
    clock.move(timedelta(minutes=10))
    (paused,) = postmaster.office.gate.states().values()
    with postmaster.client("main", test=True) as client:
        report = client.send(message("bob@example.com"))
    assert report.delayed[0].rule == "held-up"
    assert list(postmaster.office.gate.states().values()) == [paused]
    send(postmaster, "cy@example.com", test=False)
    assert server.copies("cy@example.com") == 1, "the trial is real mail's"


def test_test_traffic_pauses_no_relay_that_another_takes_the_place_of(serve: Serve, desk: Make) -> None:
    from bouncekit.testing import refusing_port

    with refusing_port() as port:
        server = serve()
        away = {"main": f"smtp://127.0.0.1:{port}", "other": server.url}
        postmaster = desk(server, relays=away)
        with postmaster.client("main", test=True, fallback="other") as client:
            client.send(message("ann@example.com"))
        assert server.copies("ann@example.com") == 1
        assert postmaster.office.gate.states() == {}


def test_test_traffic_tells_no_channel_and_is_no_number_of_a_shadow(
    serve: Serve, make_postmaster: Make, tmp_path: Path
) -> None:
    other = "policy: 1\nextends: default\nrules: [{id: mine, when: {category: user_unknown}, do: hold}]\n"
    (tmp_path / "other.yaml").write_text(other, "utf-8")
    told: list[Notification] = []
    postmaster = make_postmaster(channels={"operations": told.append}, shadow=tmp_path / "other.yaml")
    server = serve({"RCPT": REPLIES})
    for is_test in (True, False):
        with postmaster.smtp(server.host, server.port, test=is_test) as smtp:
            smtp.sendmail(
                "shop@example.org", ["well@example.com", "listed@example.com", "nobody@example.com"], "Hi\r\n"
            )
        differed = postmaster.heard.of("shadow_differed")  # type: ignore[attr-defined]
        assert len(told) == len(differed) == (0 if is_test else 1)


def test_what_comes_back_of_test_traffic_is_told_and_counts_nowhere(
    serve: Serve, desk: Make, clock: ManualClock, tmp_path: Path
) -> None:
    server = serve()
    postmaster = desk(server)
    send(postmaster, "ann@example.com", test=True)
    send(postmaster, "bob@example.com", test=True)
    nothing = kept(tmp_path)
    postmaster.absorb(dsn(server.messages[0], "ann@example.com"))
    postmaster.absorb(complaint(server.messages[1], "bob@example.com"))
    told = [*postmaster.heard.of("failed"), *postmaster.heard.of("complained")]  # type: ignore[attr-defined]
    assert [(event.recipient, event.occasion.labels.test) for event in told] == [
        ("ann@example.com", True),
        ("bob@example.com", True),
    ]
    assert kept(tmp_path) == nothing
