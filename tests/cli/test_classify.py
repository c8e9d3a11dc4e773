"""`classify`: one reply, and many."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run

KEYS = {"category", "scope", "permanent", "certain", "rule", "where", "step", "blocklist", "wait_hint"}


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_one_reply_is_told_in_words(run: Run) -> None:
    result = run("classify", "552 5.2.2 Mailbox full")
    told = dict(line.split("  ", 1) for line in result.output.splitlines())
    assert result.exit_code == 0
    assert told["category"].strip() == "mailbox_full"
    assert told["which means"].strip() == "the mailbox is full"
    assert told["scope"].strip() == "recipient"
    assert told["permanent"].strip() == "yes"
    assert ".toml:" in told["where"]


def test_one_reply_is_one_json_document(run: Run) -> None:
    answer = json.loads(run("classify", "552 5.3.4 Too big", "--stage", "MAIL", "--accepted", 2, "--json").output)
    assert answer.keys() == KEYS | {"reply", "stage", "accepted", "remote_mta", "provider"}
    assert (answer["category"], answer["scope"], answer["stage"]) == ("message_too_big", "message", "MAIL")


def test_a_text_that_quotes_a_reply_is_answered_with_what_was_read(run: Run) -> None:
    text = "host mx.example.com said: 552 5.2.2 Full (in reply to end of DATA command)"
    answer = json.loads(run("classify", text, "--json").output)
    assert (answer["reply"], answer["read_as"], answer["stage"]) == (text, "552 5.2.2 Full", "END_OF_DATA")
    assert "read_at" not in answer  # the stage says it
    told = run("classify", text).output
    assert "read as      552 5.2.2 Full\n" in told
    at_rcpt = json.loads(run("classify", text, "--stage", "RCPT", "--json").output)
    assert (at_rcpt["stage"], at_rcpt["category"]) == ("RCPT", "mailbox_full")


def test_json_lines_say_what_was_read_where_a_text_only_quotes_a_reply(run: Run) -> None:
    texts = ["552 5.2.2 Full", "mx said: 250 2.0.0 Ok", "5.1.1 user unknown", "mailbox is full", "connection refused"]
    asked = "".join(json.dumps({"reply": text}) + "\n" for text in texts)
    answers = lines(run("classify", "--jsonl", input=asked).output)
    assert [answer["reply"] for answer in answers] == texts
    assert [answer.get("read_as") for answer in answers] == [
        None,
        "250 2.0.0 Ok",
        "no reply (5.1.1)",
        "no reply",
        "no reply (refused: connection refused)",
    ]
    assert [answer.get("read_at") for answer in answers] == [None, *["RCPT"] * 4]
    assert [answer["certain"] for answer in answers[2:]] == [False] * 3
    assert [answer["category"] for answer in answers[2:]] == ["user_unknown", "mailbox_full", "network_error"]


@pytest.mark.parametrize(
    ("options", "category"),
    [(("--accepted", 5), "too_many_recipients"), (("--accepted", 0), "system_full")],
)
def test_the_count_of_accepted_recipients_changes_the_meaning(
    run: Run, options: tuple[object, ...], category: str
) -> None:
    answer = json.loads(run("classify", "452 Requested action not taken", "--json", *options).output)
    assert answer["category"] == category


@pytest.mark.parametrize(("stage", "category"), [("RCPT", "mailbox_full"), ("end-of-data", "message_too_big")])
def test_the_stage_changes_the_meaning(run: Run, stage: str, category: str) -> None:
    options = ("--stage", stage, "--accepted", 2, "--json")
    assert json.loads(run("classify", "552 Requested action aborted", *options).output)["category"] == category


RULES = """[[rule]]
id = "%s"
source = "our gateway"
text = "closed gate"
category = "%s"
examples = ["550 Closed gate"]
"""


@pytest.fixture
def rules(folder: Path) -> Path:
    (folder / "mine.toml").write_text(RULES % ("mine", "relay_denied"))
    (folder / "policys.toml").write_text(RULES % ("policys", "policy"))
    (folder / "mine.yaml").write_text("policy: 1\nextends: default\nmeaning: policys.toml\n")
    return folder


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (("--rules", "mine.toml"), "mine.toml:1"),
        (("--policy", "mine.yaml"), "policys.toml:1"),
        (("--policy", "mine.yaml", "--rules", "mine.toml"), "mine.toml:1"),
        (("--rules", "policys.toml", "--rules", "mine.toml"), "policys.toml:1"),
    ],
)
def test_ones_own_rules_decide_and_the_verdict_says_in_which_line(
    run: Run, rules: Path, options: tuple[str, ...], where: str
) -> None:
    answer = json.loads(run("classify", "550 5.1.1 Closed gate", "--json", *options).output)
    assert (answer["step"], answer["where"]) == ("own", where)
    (answer,) = lines(run("classify", "--jsonl", *options, input='{"reply": "550 5.1.1 Closed gate"}\n').output)
    assert (answer["step"], answer["where"]) == ("own", where)


@pytest.mark.parametrize(
    ("setting", "where"),
    [('policy = "mine.yaml"', "policys.toml"), ('rules = ["mine.toml"]', "mine.toml")],
)
def test_rules_of_the_configuration_decide_unless_others_are_given(
    run: Run, rules: Path, setting: str, where: str
) -> None:
    (rules / "bouncekit.toml").write_text(setting)
    assert json.loads(run("classify", "550 Closed gate", "--json").output)["where"] == f"{where}:1"
    (rules / "bouncekit.toml").write_text('rules = ["policys.toml"]')
    assert json.loads(run("classify", "550 Closed gate", "--json", "--rules", "mine.toml").output)["rule"] == "mine"


def test_a_mistake_in_ones_own_rules_is_wrong_configuration(run: Run, rules: Path) -> None:
    (rules / "mine.toml").write_text(RULES % ("mine", "relay_refused"))
    result = run("classify", "550 Closed gate", "--rules", "mine.toml")
    assert result.exit_code == 2
    assert result.stderr.startswith("bouncekit: error: mine.toml:1: no category 'relay_refused'; one of ")
    assert run("classify", "550 Closed gate", "--rules", "nowhere.toml").exit_code == 2


def test_json_lines_come_back_in_order_with_all_that_they_held(run: Run) -> None:
    asked = [
        {"reply": "552 5.2.2 Mailbox full", "stage": "RCPT", "id": 7},
        {"reply": "550 5.1.1 User unknown", "remote_mta": "mx.example.com", "mine": {"a": [1]}},
        {"reply": "451 4.7.1 Greylisted", "stage": "", "accepted": None, "provider": None, "enhanced": None},
        {"reply": "552 full", "enhanced": "5.2.2", "individual": False},
    ]
    result = run("classify", "--jsonl", input="".join(json.dumps(one) + "\n" for one in asked))
    answers = lines(result.output)
    assert result.exit_code == 0
    assert [{key: answer[key] for key in one} for one, answer in zip(asked, answers, strict=True)] == asked
    assert [answer["category"] for answer in answers] == ["mailbox_full", "user_unknown", "greylisted", "mailbox_full"]
    assert all(answer.keys() >= KEYS for answer in answers)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("no json", "no JSON: Expecting value at column 1"),
        ("[1]", "a line is an object, such as "),
        ("{}", "does not start with a reply code"),
        ('{"reply": 552}', "reply: a text is needed"),
        ('{"reply": "999"}', "'999' does not start with a reply code"),
        ('{"reply": "552 x", "stage": "LUNCH"}', "'LUNCH' is no stage"),
        ('{"reply": "552 x", "accepted": -1}', "accepted: a whole number from 0 is needed"),
        ('{"reply": "552 x", "accepted": true}', "accepted: a whole number from 0 is needed"),
        ('{"reply": "552 x", "accepted": "2"}', "accepted: a whole number from 0 is needed"),
        ('{"reply": "552 x", "individual": "no"}', "individual: true or false is needed"),
        ('{"reply": "552 x", "enhanced": "five"}', "'five' is no enhanced status code"),
        ('{"reply": "' + "x" * 1_200_000 + '"}', "a line over 1048576 bytes"),
        ("[" * 100_000, "recursion"),
        ("9" * 5000, "Exceeds the limit"),
        ("\xff", "utf-8"),
    ],
)
def test_a_bad_line_is_an_error_with_its_number_and_nothing_else_is_lost(run: Run, bad: str, why: str) -> None:
    good = b'{"reply": "552 5.2.2 Mailbox full"}\n'
    result = run("classify", "--jsonl", input=b"\n" + good + bad.encode("latin-1") + b"\n" + good)
    first, error, last = lines(result.stdout)
    assert result.exit_code == 1
    assert result.stderr == ""
    assert first["category"] == last["category"] == "mailbox_full"
    assert error.keys() == {"error", "line"}
    assert error["line"] == 3
    assert why in error["error"]
    assert len(error["error"]) <= 500


def test_a_last_line_without_its_end_counts(run: Run) -> None:
    assert len(lines(run("classify", "--jsonl", input='{"reply": "552 5.2.2 Mailbox full"}').output)) == 1


def test_no_line_is_no_error(run: Run) -> None:
    result = run("classify", "--jsonl", input="")
    assert (result.exit_code, result.output) == (0, "")


def test_a_thousand_lines_take_less_than_a_second(run: Run) -> None:
    asked = "".join(json.dumps({"reply": f"550 5.1.1 <user{n}@example.com>: User unknown"}) + "\n" for n in range(1000))
    run("classify", "552 5.2.2 x")
    start = time.process_time()
    assert len(run("classify", "--jsonl", input=asked).output.splitlines()) == 1000
    assert time.process_time() - start < 1


def test_what_a_server_wrote_cannot_touch_the_terminal(run: Run) -> None:
    hostile = "552 5.2.2 \x1b[2J\x9b full"
    assert "\x1b" not in run("classify", hostile).output
    assert "\x9b" not in run("classify", hostile).output
    assert run("classify", hostile, "--json").output.isascii()


def test_a_reply_needs_no_quotes(run: Run) -> None:
    assert run("classify", "552", "5.2.2", "Mailbox", "full").output == run("classify", "552 5.2.2 Mailbox full").output


@pytest.mark.parametrize("reply", ["250 2.0.0 Ok", "354 Go on"])
def test_a_reply_that_agrees_is_told_as_no_refusal(run: Run, reply: str) -> None:
    assert "which means  no refusal" in run("classify", reply).output


def test_a_wait_that_the_reply_asks_for_is_told_with_its_unit(run: Run) -> None:
    assert "wait hint    300 seconds" in run("classify", "452 4.7.1 try again in 300 seconds").output
