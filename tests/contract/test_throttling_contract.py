"""What every store keeps of lanes: compare and set, whole, for all who share it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest

from bouncekit.policy.lane import Lane, LaneKind, Pause
from bouncekit.policy.throttle import FREE, Flow, Hold
from bouncekit.stores.throttling import flow_of, flow_text
from tests.building import NOW

from .stores import new_id

MAIN, GMAIL = Lane(LaneKind.RELAY, "main"), Lane(LaneKind.PROVIDER, "gmail")
PAUSED = Flow(
    pace=2.5,
    before=10.0,
    changed_at=NOW,
    slowed_at=NOW,
    pause=Pause(length=timedelta(minutes=5), trickle=2, then=0.25, of=LaneKind.PROVIDER),
    paused_until=NOW + timedelta(minutes=5),
    length=timedelta(minutes=5),
    passed=1,
    holds=(Hold("one", NOW + timedelta(minutes=15)), Hold("two", NOW + timedelta(minutes=15), is_trial=True)),
    free_at=NOW,
    recipients_at=NOW,
    why="421 4.7.0 later (rule come-back-later) \udcff",
)


def test_nothing_is_kept_of_a_lane_that_nobody_slowed(store: Any) -> None:
    assert store.flows() == {}


def test_a_state_comes_back_as_it_was(store: Any) -> None:
    assert store.swap_flow(MAIN, None, PAUSED, token="t1")
    assert store.swap_flow(GMAIL, None, Flow(pace=0.5), token="t2")
    found = store.flows()
    assert found[MAIN].token == "t1"
    assert found[MAIN].flow == replace(PAUSED, why="421 4.7.0 later (rule come-back-later) \\udcff")
    assert (found[GMAIL].token, found[GMAIL].flow) == ("t2", Flow(pace=0.5))


def test_who_has_read_an_older_state_changes_nothing(store: Any) -> None:
    store.swap_flow(MAIN, None, PAUSED, token="t1")
    assert not store.swap_flow(MAIN, None, FREE, token="t2")
    assert not store.swap_flow(MAIN, "t0", FREE, token="t2")
    assert store.swap_flow(MAIN, "t1", Flow(pace=1.0), token="t2")
    assert store.flows()[MAIN].flow == Flow(pace=1.0)


def test_a_lane_that_is_free_again_leaves_nothing_behind(store: Any) -> None:
    store.swap_flow(MAIN, None, PAUSED, token="t1")
    assert not store.swap_flow(MAIN, "t0", None, token="t2")
    assert store.swap_flow(MAIN, "t1", None, token="t2")
    assert store.flows() == {}


def test_of_many_at_the_same_time_one_changes_it(store: Any) -> None:
    store.swap_flow(MAIN, None, PAUSED, token="t1")
    begin, won = Barrier(6), []

    def swap() -> None:
        token = new_id()
        begin.wait()
        if store.swap_flow(MAIN, "t1", FREE, token=token):
            won.append(token)

    threads = [Thread(target=swap) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.flows()[MAIN].token] == won


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", flow_text(PAUSED).replace("2.5", '"x"'), flow_text(PAUSED).replace("2.5", "-1")]
)
def test_what_cannot_be_read_back_holds_nobody_up(text: str) -> None:
    assert flow_of(text) == FREE


def mistreated() -> Iterator[str]:
    whole = flow_text(PAUSED)
    yield from (whole[:at] for at in range(0, len(whole), 7))


def test_half_a_state_is_none() -> None:
    assert {flow_of(text) for text in mistreated()} == {FREE}
