"""`why`: the history of an address."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bouncekit.postmaster.postmaster import Postmaster
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


def moments(output: str) -> dict[str, list[str]]:
    """What is told of each moment, by its event."""
    found: dict[str, list[str]] = {}
    lines = output.partition("What happened, newest first\n")[2].splitlines()
    for line in lines:
        if not line.startswith(" "):
            told = found.setdefault(line.split("  ")[-1], [])
        else:
            told.append(line.strip())
    return found


@pytest.mark.usefixtures("history")
def test_the_answer_comes_first_then_what_comes_next_and_what_to_do_then_all_that_happened(run: Run) -> None:
    result = run("why", "Full@Example.COM", *STORE)
    output = result.output
    assert result.exit_code == 0
    assert output.startswith("Full@Example.COM: mail is held back until 2")
    assert "(mailbox_full, provisional, by rule mailbox-full)" in " ".join(output.split())
    headings = ["What comes next", "What to do", "What happened, newest first"]
    assert [line for line in output.splitlines() if line in headings] == headings
    assert "the next message goes out as its probe" in " ".join(output.split())
    assert "5.2.2 Mailbox full" in output
    assert list(moments(output)) == ["suppressed", "not_notified", "suppression_added", "failed", "delivered"]


@pytest.mark.usefixtures("history")
def test_an_outcome_is_told_with_reply_meaning_and_rule(run: Run) -> None:
    output = run("why", WHO, *STORE).output
    told = dict(line.split(maxsplit=1) for line in moments(output)["failed"] if not line.startswith("("))
    assert told["RCPT"].startswith("552 5.2.2 Mailbox is full")
    assert told["message"].endswith("attempt 1")
    assert told["means"].startswith("mailbox_full, about the recipient, permanent, certain")
    assert told["decided"].startswith("fail by mailbox-full (default.yaml:")
    assert moments(output)["not_notified"][0] == "channel  recipient: no channel 'recipient' is set up"
    assert "\x1b" not in output


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


def test_what_waits_without_a_reply_says_when_it_is_due_and_when_it_is_given_up(run: Run, folder: Path) -> None:
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
    output = " ".join(run("why", WHO, *STORE).output.split())
    assert "the first attempt of message <" in output
    assert "is due, through relay main" in output
    assert "(in 3d 23h) message <" in output
    assert "is given up: 4d after it was queued (class transactional)" in output


@pytest.mark.usefixtures("history")
def test_whoever_suppressed_is_told_with_what_was_skipped(run: Run) -> None:
    assert moments(run("why", WHO, *STORE).output)["suppressed"][-1] == "by       rule mailbox-full"


@pytest.mark.usefixtures("history")
def test_less_is_told_where_less_is_asked_for(run: Run) -> None:
    output = run("why", WHO, "--limit", 1, *STORE).output
    assert list(moments(output)) == ["suppressed", "and more before that: --limit, --since"]
    assert moments(run("why", WHO, "--since", "0s", *STORE).output) == {}


@pytest.mark.usefixtures("history")
def test_advice_comes_in_hindi_too(run: Run) -> None:
    output = run("why", WHO, "--lang", "hi", *STORE).output
    assert "5.2.2 मेलबॉक्स भरा है" in output


@pytest.mark.usefixtures("history")
def test_a_class_that_is_held_back_by_less_goes_out(run: Run) -> None:
    output = run("why", WHO, "--class", "security", *STORE).output
    assert " ".join(output.split()).startswith(f"{WHO}: mail of this kind goes out; other mail is held back until 2")


def test_of_another_tenant_it_says_whose(run: Run, folder: Path, serve: Callable[..., ScriptedServer]) -> None:
    with (
        Postmaster(store=f"sqlite:///{folder / 'b.db'}") as postmaster,
        postmaster.client(serve().url, tenant="acme") as client,
    ):
        client.send(message(WHO))
    result = run("why", WHO, *STORE)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "there is something of other tenants, to be seen with --tenant: acme"
    assert run("why", WHO, "--tenant", "acme", *STORE).output.startswith(f"{WHO}: mail goes out\n")


@pytest.mark.parametrize("columns", ["50", "60", "100"])
@pytest.mark.usefixtures("history")
def test_it_fits_the_terminal(run: Run, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = run("why", WHO, *STORE).output.splitlines()
    assert max(map(len, lines)) <= max(int(columns), 46)  # a time and its event, or a heading, stay on one line


def test_a_hostile_address_and_a_hostile_reason_show_as_their_escapes(run: Run, folder: Path) -> None:
    run("suppressions", "add", "x\u202ey@example.com", "--reason", "\x1b[2Jcleared", *STORE)
    output = run("why", "x\u202ey@example.com", *STORE).output
    assert "\\x1b[2Jcleared" in output
    assert not {"\x1b", "\u202e"} & set(output)
