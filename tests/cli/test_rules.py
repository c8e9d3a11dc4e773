"""`rules suggest`: rules for what no rule understood, out of a store or a file."""

import json
from pathlib import Path
from typing import Any

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer
from tests.conftest import message

from .conftest import Run

STORE = ("--store", "sqlite:///b.db")
REPLIES = [
    {"reply": "550 Bad karma", "remote_mta": "mx.partner.example", "at": "2026-11-01T00:00:00Z"},
    {"reply": "550 Bad karma", "remote_mta": "mx.partner.example", "at": "2026-11-03T00:00:00Z"},
    {"reply": "554 5.7.1 <ann@example.net>: zorp gate 4711 refused", "stage": "END_OF_DATA"},
    {"reply": "550 5.1.1 No such user"},
    {"reply": "450"},
]


@pytest.fixture
def replies(folder: Path) -> None:
    (folder / "replies.jsonl").write_text("".join(json.dumps(one) + "\n" for one in REPLIES))


@pytest.mark.usefixtures("replies")
def test_what_it_prints_passes_check_and_test_as_it_is(run: Run, folder: Path) -> None:
    result = run("rules", "suggest", "--replies", "replies.jsonl")
    assert result.exit_code == 0
    (folder / "suggested.toml").write_text(result.output)
    assert run("policy", "check", "suggested.toml").output == "suggested.toml: ok\n"
    tried = run("policy", "test", "suggested.toml")
    assert (tried.exit_code, tried.output) == (0, "suggested.toml: 2 of 2 examples are decided as they say\n")
    assert result.output.startswith("# No rule understood the words of 4 of 5 replies (80.0%).\n")
    assert "# 2 times, 2026-11-01 to 2026-11-03; by server: partner.example 2\n" in result.output
    assert "ann@example.net" not in result.output


@pytest.mark.usefixtures("replies")
def test_a_policy_takes_it_and_decides_by_it(run: Run, folder: Path) -> None:
    (folder / "suggested.toml").write_text(run("rules", "suggest", "--replies", "replies.jsonl").output)
    (folder / "own.yaml").write_text("policy: 1\nextends: default\nmeaning: suggested.toml\n")
    assert run("policy", "check", "own.yaml").output == "own.yaml: ok\n"
    assert run("policy", "test", "own.yaml").exit_code == 0
    found = json.loads(run("classify", "550 Bad karma", "--policy", "own.yaml", "--json").output)
    assert (found["step"], found["category"], found["certain"]) == ("own", "unknown", False)
    again = run("rules", "suggest", "--replies", "replies.jsonl", "--policy", "own.yaml")
    assert again.exit_code == 1
    assert again.output.endswith("# There is nothing to suggest.\n")


@pytest.mark.usefixtures("replies")
def test_as_json_it_has_every_kind_with_its_rule_and_the_file(run: Run) -> None:
    found = json.loads(run("rules", "suggest", "--replies", "replies.jsonl", "--json").output)
    assert (found["replies"], found["unmatched"], found["wordless"]) == (5, 4, 1)
    first, second = found["kinds"]
    assert (first["count"], first["providers"], first["rule"]["text"]) == (2, {"partner.example": 2}, "bad karma")
    assert second["rule"]["category"] == second["category"] == "policy"
    assert found["toml"] == run("rules", "suggest", "--replies", "replies.jsonl").output


def test_out_of_a_store_only_what_is_recent_and_no_test(run: Run, folder: Path) -> None:
    with (
        ScriptedServer({"RCPT": {"jo@example.com": "550 Bad karma", "ann@example.com": "550 zorp blip"}}) as server,
        Postmaster(store=f"sqlite:///{folder / 'b.db'}") as postmaster,
    ):
        for who, is_test in (("jo@example.com", False), ("ann@example.com", True)):
            with postmaster.client(server.url, test=is_test) as client, pytest.raises(Exception, match="550"):
                client.send(message(who))
    found = json.loads(run("rules", "suggest", "--json", *STORE).output)
    assert [one["example"] for one in found["kinds"]] == ["550 Bad karma"]
    nothing = run("rules", "suggest", "--since", "0s", *STORE)
    assert (nothing.exit_code, "of 0 replies" in nothing.output) == (1, True)


def test_events_as_json_lines_are_read_too(run: Run, folder: Path) -> None:
    with (
        ScriptedServer({"RCPT": {"jo@example.com": "550 Bad karma"}}) as server,
        Postmaster(store=f"sqlite:///{folder / 'b.db'}") as postmaster,
        postmaster.client(server.url) as client,
        pytest.raises(Exception, match="550"),
    ):
        client.send(message("jo@example.com"))
    events = run("events", "--json", *STORE).output
    result = run("rules", "suggest", "--replies", "-", input=events)
    assert 'text = "bad karma"' in result.output


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("no json", "replies.jsonl:1: "),
        ("[1]", "replies.jsonl:1: no object"),
        ('{"reply": "hello"}', "replies.jsonl:1: "),
        ('{"reply": 5}', "replies.jsonl:1: reply: a text is needed"),
    ],
)
def test_a_line_that_is_none_is_exit_code_2_with_its_number(run: Run, folder: Path, line: str, why: str) -> None:
    (folder / "replies.jsonl").write_text(f"{line}\n")
    result = run("rules", "suggest", "--replies", "replies.jsonl")
    assert result.exit_code == 2
    assert why in result.stderr


def test_the_report_has_the_share(run: Run, folder: Path) -> None:
    replies = {"jo@example.com": "550 Bad karma", "ann@example.com": "550 5.1.1 No such user"}
    with (
        ScriptedServer({"RCPT": replies}) as server,
        Postmaster(store=f"sqlite:///{folder / 'b.db'}") as postmaster,
    ):
        for who in ("jo@example.com", "ann@example.com"):
            with postmaster.client(server.url) as client, pytest.raises(Exception, match="550"):
                client.send(message(who))
    result = run("report", *STORE)
    assert "not understood: 1 of 2 refusals, 50.0%\nrules for them: bouncekit rules suggest\n" in result.output
    report: Any = json.loads(run("report", "--json", *STORE).output)
    assert report["replies"] == {"refused": 2, "unmatched": 1}


def test_a_kind_whose_words_another_takes_goes_before_it(run: Run, folder: Path) -> None:
    lines = [*3 * ["550 zorp 1 blap"], "550 zorp blip blap", "550 zorp 2 blip 3 blap"]
    (folder / "replies.jsonl").write_text("".join(json.dumps({"reply": one}) + "\n" for one in lines))
    result = run("rules", "suggest", "--replies", "replies.jsonl")
    (folder / "suggested.toml").write_text(result.output)
    assert run("policy", "test", "suggested.toml").output.startswith("suggested.toml: 3 of 3 ")


def test_of_a_long_reply_no_more_is_kept_than_an_event_has(run: Run, folder: Path) -> None:
    (folder / "long.jsonl").write_text(json.dumps({"reply": "550 " + "bad karma " * 50_000}) + "\n")
    (kind,) = json.loads(run("rules", "suggest", "--replies", "long.jsonl", "--json").output)["kinds"]
    assert (kind["count"], len(kind["example"]) <= 2048) == (1, True)
