"""`why`: the history of an address."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bouncekit.postmaster import Postmaster
from bouncekit.testing import ScriptedServer
from tests.conftest import message

from .conftest import Run

STORE = ("--store", "sqlite:///b.db")
WHO = "full@example.com"


@pytest.fixture
def history(run: Run, folder: Path, serve: Callable[..., ScriptedServer]) -> ScriptedServer:
    """Delivered, then full, then skipped."""
    server = serve({"RCPT": {WHO: ["250 2.1.5 Ok", "552 5.2.2 Mailbox is full \x1b[2J"]}})
    (folder / "mail.eml").write_bytes(b"From: shop@example.com\nTo: full@example.com\n\nHello\n")
    for _ in range(3):
        run("send", "mail.eml", "--relay", server.url, *STORE)
    return server


@pytest.mark.usefixtures("history")
def test_the_timeline_is_newest_first_with_reply_and_rule(run: Run) -> None:
    result = run("why", "Full@Example.COM", *STORE)
    verdict, empty, head, *rows = result.output.splitlines()
    assert result.exit_code == 0
    assert verdict.startswith("Full@Example.COM: mail is held back until 2")
    assert "mailbox_full, provisional, by rule mailbox-full" in verdict
    assert (empty, head.split()) == ("", ["TIME", "EVENT", "WHAT", "WAS", "SAID", "RULE"])
    events = [row.split()[2] for row in rows]
    assert events[0] == "suppressed"
    assert events[-1] == "delivered"
    assert {"failed", "suppression_added"} <= set(events)
    (failed,) = (row for row in rows if " failed " in row)
    assert "552 5.2.2 Mailbox is full" in failed
    assert "mailbox-full (default.yaml:" in failed
    assert "\x1b" not in result.output


@pytest.mark.usefixtures("history")
def test_json_is_one_document(run: Run) -> None:
    found = json.loads(run("why", WHO, "--json", *STORE).output)
    assert (found["address"], found["suppressed"]) == (WHO, True)
    assert found["suppression"]["category"] == "mailbox_full"
    assert found["events"][0]["type"] == "suppressed"
    assert len(json.loads(run("why", WHO, "--json", "--limit", 1, *STORE).output)["events"]) == 1


@pytest.mark.usefixtures("history")
def test_a_lifted_suppression_lets_mail_out(run: Run) -> None:
    run("suppressions", "remove", WHO, *STORE)
    result = run("why", WHO, *STORE)
    assert result.output.splitlines()[0] == f"{WHO}: mail goes out"
    assert "suppression_lifted" in result.output


def test_an_ended_suppression_says_that_it_was(run: Run, folder: Path) -> None:
    run("suppressions", "add", WHO, "--for", "0s", *STORE)
    assert run("why", WHO, *STORE).output.startswith(f"{WHO}: mail goes out again; it was held back until 2")


@pytest.mark.usefixtures("history")
def test_nothing_known_is_exit_code_1(run: Run) -> None:
    result = run("why", "ada@example.com", *STORE)
    assert (result.exit_code, result.output) == (1, "ada@example.com: nothing is known about it\n")


def test_a_store_that_is_not_there_is_exit_code_2(run: Run, folder: Path) -> None:
    assert run("why", WHO, *STORE).exit_code == 2
    assert not (folder / "b.db").exists()


def test_no_address_is_exit_code_2(run: Run, folder: Path) -> None:
    assert run("why", "", *STORE).stderr == "bouncekit: error: no address\n"


def test_what_waits_without_a_reply_says_only_when_it_is_due(run: Run, folder: Path) -> None:
    with (
        Postmaster(
            store=f"sqlite:///{folder / 'b.db'}",
            retry="queue",
            worker="external",
            relays={"main": "smtp://127.0.0.1:2525"},
        ) as postmaster,
        postmaster.client("main") as client,
    ):
        client.submit(message(WHO))
    row = run("why", WHO, *STORE).output.splitlines()[-1]
    assert row.split("  ")[2].strip().startswith("next try at 2")


@pytest.mark.usefixtures("history")
def test_the_rule_that_suppressed_stands_as_a_rule_does(run: Run) -> None:
    (row, *_) = (line for line in run("why", WHO, *STORE).output.splitlines() if " suppressed " in line)
    assert row.endswith("  mailbox-full")
