"""What `queue list` and `doctor` say of relays and providers to which mail goes slowly, or not at all."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bouncekit.cli.lanes import in_short, lines
from bouncekit.policy.lane import Lane, LaneKind, Pause
from bouncekit.policy.throttle import FREE, Flow
from bouncekit.stores.sqlite import SqliteStore

from .conftest import Run, checks

STORE = ("--store", "sqlite:///b.db")
MINUTE = timedelta(minutes=1)
MAIN, GMAIL = Lane(LaneKind.RELAY, "main"), Lane(LaneKind.PROVIDER, "gmail")
SAID = "421 4.7.0 Try again later (rule come-back-later)"


def paused(until: datetime) -> Flow:
    return Flow(paused_until=until, pause=Pause(length=5 * MINUTE), why=SAID)


@pytest.fixture
def slowed(tmp_path: Path, now: datetime) -> None:
    with SqliteStore(tmp_path / "b.db") as store:
        store.swap_flow(MAIN, None, paused(now + 90 * MINUTE), token="a")
        store.swap_flow(GMAIL, None, Flow(pace=0.5, changed_at=now, why="450 slower"), token="b")


def test_a_lane_is_told_in_a_few_words(now: datetime) -> None:
    assert in_short(FREE, now) is None
    assert in_short(paused(now + 90 * MINUTE), now) == "is paused for 1h 30m more"
    assert in_short(paused(now - MINUTE), now) == "was paused, and is on trial"
    assert in_short(Flow(pace=0.5), now) == "takes 30 messages a minute for now"
    assert list(lines({MAIN: paused(now + MINUTE), GMAIL: FREE}, now)) == [f"relay main is paused for 1m more: {SAID}"]


@pytest.mark.usefixtures("slowed")
def test_the_queue_shows_what_is_slow_or_paused_and_why(run: Run) -> None:
    shown = run("queue", "list", *STORE).output.splitlines()
    assert [line for line in shown if line.startswith("provider gmail takes 30 messages a minute for now: 450 slower")]
    assert [line for line in shown if line.startswith("relay main is paused for 1h") and line.endswith(SAID)]


@pytest.mark.usefixtures("slowed")
def test_doctor_warns_of_it(run: Run) -> None:
    found = checks(run("doctor", "--json", *STORE).output)
    assert found["relay main"]["level"] == "warn"
    assert SAID in found["relay main"]["advice"]
    assert found["provider gmail"]["found"] == "takes 30 messages a minute for now"
