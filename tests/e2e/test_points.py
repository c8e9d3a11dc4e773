"""Whatever the last thing was that a process did: each point of its work in turn is where it dies."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, ScriptedServer
from tests.conftest import message

from .points import DIED, HOUR, Script, hear, start_mortal
from .workers import EXIT_SECONDS, Work

ADA, BOB, CY, DEE, EVE = (f"{name}@example.com" for name in ("ada", "bob", "cy", "dee", "eve"))
REPLIES = {"RCPT": {BOB: ["451 4.7.1 Greylisted, try again later"], CY: "550 5.1.1 No such user"}}
POINTS = {f"{when}_{what}" for when in ("before", "after") for what in ("commit", "write", "dot", "heard")}


@dataclass(frozen=True, kw_only=True)
class Left:
    """What is there once a worker that nobody kills has done the rest."""

    copies: Counter[str]
    events: list[dict[str, object]]
    refused: int  # how often the server was asked about somebody whom it does not have

    def types_of(self, recipient: str) -> list[object]:
        return [event["type"] for event in self.events if event["subject"] == recipient]

    def is_marked(self, recipient: str) -> bool:
        return any(
            event["type"] == "delivered" and event["subject"] == recipient and event["data"]["possible_duplicate"]  # type: ignore[index]
            for event in self.events
        )


@pytest.mark.timeout(600)
def test_at_whatever_point_a_process_dies_nobody_is_lost_nor_gets_two_unmarked(
    tmp_path: Path, serve: Callable[..., ScriptedServer]
) -> None:
    died: list[str] = []
    for number in range(1, 1000):
        folder = tmp_path / str(number)
        folder.mkdir()
        server = serve(REPLIES)
        script = _script(folder, server)
        process = start_mortal(script, number)
        process.join(EXIT_SECONDS)
        _check(script, _rest(script, server))
        if process.exitcode == 0:
            break
        assert process.exitcode == DIED, f"point {number}: it ended with {process.exitcode}"
        died += script.noted("died")
        server.stop()
    print(f"{len(died)} points: {dict(Counter(died))}")
    assert process.exitcode == 0, "it never came to the end"
    assert set(died) == POINTS


def _script(folder: Path, server: ScriptedServer) -> Script:
    work = Work(store=f"sqlite:///{folder / 'bounces.db'}", relays={"main": server.url})
    return Script(work=work, submitted=[message(ADA)], sent=[message(BOB, DEE), message(CY)], folder=folder)


def _rest(script: Script, server: ScriptedServer) -> Left:
    """What a worker makes of it that comes a few hours later, and what the subscriber hears then."""
    clock = ManualClock()
    clock.move(6 * HOUR)
    with script.work.postmaster(clock=clock) as postmaster:
        hear(postmaster, script)
        worker = postmaster.worker()
        for _ in range(4):
            worker.run_due()
            clock.move(6 * HOUR)
        assert not list(postmaster.office.store.queued())
        postmaster.office.ledger.outbox.read_all()
        _send_anew(postmaster)
        events = [event for _, event in postmaster.office.store.events()]
    copies = Counter(recipient for received in server.messages for recipient in received.recipients)
    asked = [exchange.command for session in server.sessions for exchange in session.transcript]
    return Left(copies=copies, events=events, refused=sum(CY in command for command in asked))


def _send_anew(postmaster: Postmaster) -> None:
    """The store is whole, and can be used."""
    postmaster.suppressions.add(EVE)
    assert EVE in postmaster.suppressions
    postmaster.office.store.check()  # type: ignore[attr-defined]


def _check(script: Script, left: Left) -> None:
    where = f"died {script.noted('died')}"
    acknowledged = set(script.noted("acknowledged"))
    for recipient in (ADA, BOB, DEE):
        delivered, copies = "delivered" in left.types_of(recipient), left.copies[recipient]
        assert delivered == (copies > 0), f"{where}: {recipient} has {copies}, told {left.types_of(recipient)}"
        assert copies > 0 or recipient not in acknowledged, f"{where}: {recipient} was acknowledged, and is lost"
        assert copies < 2 or left.is_marked(recipient), f"{where}: {recipient} has two, and nobody says so"
    assert left.copies.keys() <= {ADA, BOB, DEE}
    if CY in acknowledged:
        assert left.types_of(CY)[:1] == ["failed"], where
    heard = list(dict.fromkeys(script.noted("heard")))
    assert heard == [event["id"] for event in left.events if event["subject"] != EVE], f"{where}: told otherwise"
