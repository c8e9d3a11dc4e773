"""`send --each`: a message for each row, results as they come, and going on where a run was stopped."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bouncekit.testing import Cut, Delay, Kept, ScriptedServer

from .conftest import ROOT, Run

Serve = Callable[..., ScriptedServer]
MESSAGE = b"From: shop@example.org\nTo: $name <$recipient>\nSubject: Hi\nX-Bouncekit-Class: bulk\n\nDear $name, $$5\n"
PEOPLE = "recipient,name\nada@example.com,Ada\nfull@example.com,Full\neve@example.com,Eve\n"
FULL = {"RCPT": {"full@example.com": "552 5.2.2 <full@example.com>: Mailbox is full \x1b[2J"}}


@pytest.fixture
def each(run: Run, folder: Path) -> Callable[..., Any]:
    """Send the message to each row of `people`."""
    (folder / "hello.eml").write_bytes(MESSAGE)
    (folder / "people.csv").write_text(PEOPLE)

    def each(server: ScriptedServer, *options: object, **given: Any) -> Any:
        return run("send", "hello.eml", "--each", "people.csv", "--relay", server.url, *options, **given)

    return each


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_each_row_gets_its_own_message(each: Any, serve: Serve) -> None:
    server = serve()
    result = each(server)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output == "3 of 3 delivered\n"
    by_recipient = {one.recipients: one for one in server.messages}
    assert len(by_recipient) == len(server.messages) == 3
    (ada,) = (one.data for people, one in by_recipient.items() if people == ("ada@example.com",))
    assert b"To: Ada <ada@example.com>\r\n" in ada
    assert ada.endswith(b"Dear Ada, $5\r\n")
    assert b"X-Bouncekit" not in ada


def test_a_row_that_ends_before_a_field_that_the_message_names_is_not_sent(
    each: Any, serve: Serve, folder: Path
) -> None:
    server = serve()
    (folder / "people.csv").write_text("recipient,name,note\nada@example.com,Ada\nbob@example.com\n")
    result = each(server)
    assert (result.exit_code, len(server.messages)) == (1, 1)
    assert "people.csv:3: no field 'name', which the message names" in result.stderr


def test_results_come_as_lines_of_json_and_then_the_counts(each: Any, serve: Serve) -> None:
    result = each(serve(FULL), "--json")
    *told, counts = lines(result.output)
    assert result.exit_code == 1
    assert {one["line"]: one["action"] for one in told} == {2: "delivered", 3: "failed", 4: "delivered"}
    (full,) = (one for one in told if one["line"] == 3)
    assert (full["recipient"], full["code"], full["category"]) == ("full@example.com", 552, "mailbox_full")
    assert counts == {"rows": 3, "delivered": 2, "failed": 1}


def test_people_read_what_went_wrong_by_line_and_by_reason(each: Any, serve: Serve) -> None:
    output = each(serve(FULL)).output
    assert output.splitlines()[-1] == "2 of 3 delivered; 1 failed"
    assert any(line.split() == ["failed", "mailbox_full", "1"] for line in output.splitlines())
    (row,) = (line for line in output.splitlines() if "full@example.com" in line)
    assert row.split()[:3] == ["3", "full@example.com", "failed"]
    assert "\x1b" not in output


def test_a_row_that_cannot_be_sent_is_told_with_its_line_and_the_others_go_out(
    each: Any, serve: Serve, folder: Path
) -> None:
    server = serve()
    (folder / "people.csv").write_text(
        'recipient,name\nada@example.com,Ada\n,Nobody\nbob@example.com,"two\nlines"\nx,y,z\nnot an address,X\n'
        "b@example.com> SIZE=1,B\neve@example.com,Eve\n"
    )
    result = each(server)
    assert result.exit_code == 1
    assert sorted(one.recipients for one in server.messages) == [("ada@example.com",), ("eve@example.com",)]
    told = result.stderr.splitlines()
    assert [line.split(":")[:2] for line in told] == [["people.csv", str(line)] for line in (3, 4, 6, 7, 8)]
    assert result.output.splitlines()[-1] == "2 of 7 delivered; 5 faults"


def test_rows_of_json_and_from_standard_input(each: Any, run: Run, serve: Serve) -> None:
    server = serve()
    rows = '{"email": "ada@example.com", "name": "Ada"}\nnonsense\n{"email": "b@example.com", "name": 7}\n'
    result = run("send", "hello.eml", "--each", "-", "--relay", server.url, input=rows)
    assert result.exit_code == 1
    assert result.stderr.startswith("standard input:2: no JSON")
    assert server.copies("ada@example.com") == server.copies("b@example.com") == 1


def test_a_message_that_names_nothing_goes_out_byte_for_byte(each: Any, serve: Serve, folder: Path) -> None:
    server = serve()
    content = b"From: me@example.com\r\nTo: all@example.com\r\nMessage-ID: <1@x>\r\nX-Signed:  a  b\r\n\r\n.\r\nHi\r\n"
    (folder / "hello.eml").write_bytes(b"Bcc: boss@example.com\r\n" + content)
    assert each(server).exit_code == 0
    assert {one.data for one in server.messages} == {content}
    assert {one.sender for one in server.messages} == {"me@example.com"}


@pytest.mark.parametrize(("asked", "least"), [(1, 1), (3, 2)])
def test_it_uses_so_many_connections_and_no_more(each: Any, serve: Serve, folder: Path, asked: int, least: int) -> None:
    server = serve({"END_OF_DATA": Delay(0.05)})
    (folder / "people.csv").write_text("recipient,name\n" + "".join(f"u{n}@example.com,U{n}\n" for n in range(24)))
    assert each(server, "--concurrency", asked).exit_code == 0
    assert least <= len(server.sessions) <= asked


def test_delayed_rows_are_kept_in_the_queue_where_there_is_one(each: Any, serve: Serve, run: Run) -> None:
    server = serve({"RCPT": {"full@example.com": "452 4.2.2 Over quota"}})
    each(server, "--store", "sqlite:///b.db", "--retry", "queue", "--resume", "done.jsonl")
    assert "full@example.com" in run("queue", "list", "--store", "sqlite:///b.db").output
    again = each(server, "--store", "sqlite:///b.db", "--retry", "queue", "--resume", "done.jsonl")
    assert again.output.splitlines()[-1] == "0 of 3 delivered; 3 done before"


# -- going on


def test_a_second_run_sends_only_what_is_not_done(each: Any, serve: Serve) -> None:
    server = serve({"RCPT": {"full@example.com": ["452 4.2.2 Over quota"]}})
    assert each(server, "--resume", "done.jsonl").exit_code == 1
    second = each(server, "--resume", "done.jsonl")
    assert (second.exit_code, second.output) == (0, "1 of 3 delivered; 2 done before\n")
    third = each(server, "--resume", "done.jsonl", "--json")
    assert lines(third.output) == [{"rows": 3, "done before": 3}]
    assert Counter(one.recipients[0] for one in server.messages).most_common()[0][1] == 1


def test_a_changed_row_is_another_one_unless_its_key_names_it(each: Any, serve: Serve, folder: Path) -> None:
    server = serve()
    for options in (), ("--key", "recipient"):
        file = f"done{len(options)}.jsonl"
        (folder / "people.csv").write_text("recipient,name\nada@example.com,Ada\n")
        each(server, "--resume", file, *options)
        (folder / "people.csv").write_text("recipient,name\nada@example.com,Ada L.\n")
        each(server, "--resume", file, *options)
    assert server.copies("ada@example.com") == 2 + 1


def test_the_same_row_twice_goes_once(each: Any, serve: Serve, folder: Path) -> None:
    server = serve()
    (folder / "people.csv").write_text("recipient,name\n" + "ada@example.com,Ada\n" * 5)
    each(server, "--resume", "done.jsonl")
    assert server.copies("ada@example.com") == 1


def test_what_was_begun_and_has_no_outcome_is_unknown_and_not_sent_again(each: Any, serve: Serve, folder: Path) -> None:
    server = serve()
    each(server, "--resume", "done.jsonl")
    begun = [line for line in (folder / "done.jsonl").read_text().splitlines() if "begun" in line]
    (folder / "done.jsonl").write_text("\n".join(begun) + '\n{"key": "to')
    *told, counts = lines(each(server, "--resume", "done.jsonl", "--json").output)
    assert [one["action"] for one in told] == ["unknown"] * 3
    assert counts == {"rows": 3, "unknown": 3}
    assert len(server.messages) == 3
    *told, _ = lines(each(server, "--resume", "done.jsonl", "--resend-unknown", "--json").output)
    assert [(one["action"], one["possible_duplicate"]) for one in told] == [("delivered", True)] * 3
    assert each(server, "--resume", "done.jsonl").output == "0 of 3 delivered; 3 done before\n"


def test_a_lost_reply_to_the_dot_is_not_sent_again_either(each: Any, serve: Serve) -> None:
    server = serve({"END_OF_DATA": [Kept(Cut())]})
    each(server, "--resume", "done.jsonl", "--concurrency", 1)
    *told, _ = lines(each(server, "--resume", "done.jsonl", "--json").output)
    assert [one["action"] for one in told] == ["unknown"]
    assert len(server.messages) == 3


def test_a_file_of_something_else_is_left_alone(each: Any, serve: Serve, folder: Path) -> None:
    server = serve()
    for content in (PEOPLE, '{"a": 1}\n', PEOPLE.rstrip()):
        (folder / "other").write_text(content)
        result = each(server, "--resume", "other")
        assert (result.exit_code, (folder / "other").read_text()) == (2, content)
        assert "--resume other:1: not written by `send --each`" in result.stderr
    assert server.messages == ()


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_two_runs_with_one_file_do_not_both_send(each: Any, serve: Serve, folder: Path) -> None:
    import fcntl

    server = serve()
    with (folder / "done.jsonl").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        result = each(server, "--resume", "done.jsonl")
    assert (result.exit_code, server.messages) == (2, ())
    assert "another run is at it" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_who_is_stopped_goes_on_without_a_second_copy(
    each: Any, serve: Serve, folder: Path, number: signal.Signals
) -> None:
    (folder / "people.csv").write_text("recipient,name\n" + "".join(f"u{n}@example.com,U{n}\n" for n in range(60)))
    server = serve({"END_OF_DATA": Delay(0.02)})
    command = [sys.executable, "-m", "bouncekit", "send", "hello.eml", "--each", "people.csv", "--relay", server.url]
    command += ["--resume", "done.jsonl", "--concurrency", "2"]
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        while len(server.messages) < 10:
            assert process.poll() is None
        process.send_signal(number)
        process.wait(30)
    if number is signal.SIGINT:
        assert process.returncode == 130
    *_, counts = lines(each(server, "--resume", "done.jsonl", "--json").output)
    copies = Counter(one.recipients[0] for one in server.messages)
    assert max(copies.values()) == 1
    assert len(copies) + counts.get("unknown", 0) >= 60
    assert (number is signal.SIGKILL) or (len(copies) == 60 and "unknown" not in counts)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("hello.eml", "--resume", "x"), "--resume, --key and --resend-unknown are for --each"),
        (("hello.eml", "--each", "people.csv", "--to", "a@b.c"), "the rows name the recipients: leave --to out"),
        (("-", "--each", "-"), "standard input cannot be the message and the rows"),
        (("hello.eml", "--each", "people.csv", "--key", "x"), "--key and --resend-unknown go with --resume"),
        (("hello.eml", "--each", "nowhere.csv"), "nowhere.csv: No such file"),
        (("dollar.eml", "--each", "people.csv"), "dollar.eml: text/plain part: '$5': this $ begins no name"),
    ],
)
def test_what_cannot_be_begun_is_exit_code_2(
    run: Run, each: Any, folder: Path, arguments: tuple[str, ...], error: str
) -> None:
    (folder / "dollar.eml").write_bytes(b"From: me@example.com\n\n$5")
    result = run("send", *arguments, "--relay", "smtp://localhost:1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert error in result.stderr
