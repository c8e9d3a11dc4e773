"""`queue resend`: what was refused for good, once more."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer
from tests.building import ANN, BOB, CY
from tests.conftest import message

from .conftest import Run

STORE = ("--store", "sqlite:///b.db")
SPAM = "550 5.7.1 Spam\x1b[2J"
KEEPING = "policy: 1\nextends: default\nkeep: {messages: 3d}\n"


@pytest.fixture
def sent(folder: Path, serve: Callable[..., ScriptedServer]) -> Callable[..., str]:
    """Send a message through the queue, to a server that refuses everybody but ANN; its id."""
    server = serve({"RCPT": {BOB: SPAM, CY: SPAM}})
    (folder / "keeping.yaml").write_text(KEEPING)

    def send(*recipients: str, policy: str = "keeping.yaml") -> str:
        settings: dict[str, Any] = {"retry": "queue", "worker": "external", "relays": {"main": server.url}}
        ids: list[str] = []
        with Postmaster(store="sqlite:///b.db", policy=policy, **settings) as postmaster:
            postmaster.on("queued")(lambda event: ids.append(event.occasion.delivery_id or ""))
            with postmaster.client("main") as client:
                client.submit(message(*recipients))
            postmaster.worker().run_due()
        return ids[0]

    return send


def waiting(run: Run) -> list[str]:
    return [one["recipient"] for one in _queued(run)]


def _queued(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("queue", "list", "--json", *STORE).output.splitlines()]


def test_a_dry_run_shows_to_whom_and_what_was_said(run: Run, sent: Callable[..., str]) -> None:
    id_ = sent(ANN, BOB, CY)
    shown = run("queue", "resend", id_[:20], "--dry-run", *STORE)
    assert (shown.exit_code, "would be queued again: 2 recipients" in shown.output) == (0, True)
    assert BOB in shown.output
    assert "550 5.7.1 Spam" in shown.output
    assert "\x1b" not in shown.output
    assert waiting(run) == []


def test_it_asks_and_takes_no_for_an_answer(run: Run, sent: Callable[..., str]) -> None:
    id_ = sent(BOB)
    assert run("queue", "resend", id_, *STORE, input="n\n").exit_code == 1
    assert run("queue", "resend", id_, *STORE).exit_code == 2, "nobody is there"
    assert waiting(run) == []
    assert run("queue", "resend", id_, *STORE, input="y\n").exit_code == 0
    assert waiting(run) == [BOB]


def test_once_and_who_did_it_is_told(run: Run, sent: Callable[..., str]) -> None:
    id_ = sent(BOB, CY)
    first = json.loads(run("queue", "resend", id_, "--recipient", BOB, "--yes", "--by", "ops", "--json", *STORE).output)
    assert (first["queued"], first["possible_duplicates"], first["dry_run"], first["left"]) == (1, 0, False, {})
    second = run("queue", "resend", "--since", "1h", "--yes", "--json", *STORE)
    assert json.loads(second.output)["left"] == {"repeated": 1}
    third = run("queue", "resend", id_, "--yes", *STORE)
    assert (third.exit_code, third.output) == (1, "nobody to send to again\n2 were sent it again before\n")
    assert sorted(waiting(run)) == [BOB, CY]
    told = [
        json.loads(line) for line in run("events", "query", "--type", "queued", "--json", *STORE).output.splitlines()
    ]
    assert [one["data"].get("by") for one in told if one["subject"] == BOB] == [None, "ops"]
    assert [one["data"].get("repeats") for one in told if one["subject"] == BOB] == [None, id_]


def test_whom_a_hand_dropped_and_who_is_suppressed_still_is_counted(
    run: Run, sent: Callable[..., str], folder: Path
) -> None:
    id_ = sent(BOB, CY)
    run("suppressions", "add", BOB, *STORE)
    found = json.loads(run("queue", "resend", id_, "--dry-run", "--json", *STORE).output)
    assert (found["queued"], found["suppressed"]) == (2, 1)
    told = run("queue", "resend", id_, "--yes", *STORE).output
    assert "queued again: 2 recipients, 1 of them suppressed still; a worker sends it to those whom no" in told
    (again,) = (one["message"] for one in _queued(run) if one["recipient"] == CY)
    assert run("queue", "drop", again, "--yes", *STORE).exit_code == 0
    dropped = run("queue", "resend", again, "--dry-run", *STORE)
    assert (dropped.exit_code, dropped.output) == (
        1,
        "nobody to send to again\n1 wait for it, or a hand took them out of the queue\n",
    )


def test_what_is_not_kept_is_said_with_what_would_keep_it(run: Run, sent: Callable[..., str]) -> None:
    sent(BOB, policy="default")
    shown = run("queue", "resend", "--since", "1h", "--dry-run", *STORE)
    assert shown.exit_code == 1
    assert "1 cannot be: the message is not kept, as `keep: {messages: 7d}`" in shown.output


def test_somebody_has_to_say_what_is_meant(run: Run, sent: Callable[..., str]) -> None:
    id_, other = sent(BOB), sent(CY)
    assert "send what again?" in run("queue", "resend", "--yes", *STORE).output
    assert run("queue", "resend", "", "--yes", *STORE).exit_code == 2
    both = next(number for number in range(33) if id_[:number] != other[:number]) - 1
    assert "is the beginning of several messages" in run("queue", "resend", id_[:both], "--yes", *STORE).output
    assert run("queue", "resend", "no-such-message", "--yes", *STORE).exit_code == 1
    assert run("queue", "resend", "--recipient", "a\nb", "--yes", *STORE).exit_code == 2
