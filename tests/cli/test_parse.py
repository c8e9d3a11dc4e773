"""`parse`: what bounce mails say, a line a recipient."""

import json
import mailbox
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Run

BOUNCES = ROOT / "tests" / "data" / "bounces"
REPORTS = ROOT / "tests" / "data" / "dsn"


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_each_recipient_has_a_line(run: Run) -> None:
    result = run("parse", REPORTS / "exim-multi.1.eml", "--jsonl")
    told = lines(result.output)
    assert result.exit_code == 0
    assert [(one["recipient"], one["action"], one["reply_code"], one["category"]) for one in told] == [
        ("full@relay.test", "failed", "552", "mailbox_full"),
        ("unknown@relay.test", "failed", "550", "user_unknown"),
        ("blocked@relay.test", "failed", "554", "policy"),
    ]
    assert {one["file"] for one in told} == {str(REPORTS / "exim-multi.1.eml")}
    assert {one["message_id"] for one in told} == {"<orig-eximmulti@app.lab.test>"}
    assert told[0].items() >= {"status": "5.2.2", "scope": "recipient", "permanent": True}.items()
    assert all(one["rule"] for one in told)


@pytest.mark.parametrize(
    ("file", "category", "scope", "kind"),
    [
        ("vacation-en.eml", "auto_reply", "recipient", "auto_reply"),
        ("person.eml", "unknown", None, "other"),
        ("mdn.eml", "auto_reply", "recipient", "disposition"),
    ],
)
def test_a_mail_that_is_no_bounce_has_one_line_without_an_action(
    run: Run, file: str, category: str, scope: str | None, kind: str
) -> None:
    (told,) = lines(run("parse", BOUNCES / file, "--jsonl").output)
    assert (told["recipient"], told["action"]) == (None, None)
    assert (told["category"], told["scope"], told["kind"]) == (category, scope, kind)


def test_a_complaint_names_who_complains_and_nothing_failed(run: Run) -> None:
    (told,) = lines(run("parse", BOUNCES / "ses-complaint.eml", "--jsonl").output)
    assert (told["recipient"], told["action"], told["category"]) == ("jo@example.com", None, "complaint")


def test_a_bounce_that_names_nobody_is_still_a_bounce(run: Run) -> None:
    (told,) = lines(run("parse", BOUNCES / "contact-only.eml", "--jsonl").output)
    assert (told["recipient"], told["action"], told["category"]) == (None, "failed", "unknown")


def test_a_report_of_success_has_no_category(run: Run) -> None:
    (told,) = lines(run("parse", REPORTS / "postfix-success-relay.1.eml", "--jsonl").output)
    assert (told["action"], told["category"], told["rule"]) == ("delivered", None, None)


def test_standard_input_is_a_mail(run: Run) -> None:
    (told,) = lines(run("parse", "-", "--jsonl", input=(BOUNCES / "gmx.eml").read_bytes()).output)
    assert (told["file"], told["recipient"], told["category"]) == ("-", "jo@example.com", "mailbox_full")


def test_a_folder_is_all_mails_in_it_but_hidden_ones(run: Run, folder: Path) -> None:
    box = mailbox.Maildir(folder / "box")
    box.add((BOUNCES / "gmx.eml").read_bytes())
    (folder / "box" / "cur" / "b.eml").write_bytes((BOUNCES / "xmail.eml").read_bytes())
    (folder / "box" / "tmp" / "c.eml").write_bytes((BOUNCES / "xmail.eml").read_bytes())
    (folder / "box" / ".uidl").write_text("1")
    told = lines(run("parse", "box", "--jsonl").output)
    assert [Path(one["file"]).parent.name for one in told] == ["cur", "new"]


def test_an_mbox_is_its_mails_by_number(run: Run, folder: Path) -> None:
    box = mailbox.mbox(folder / "mails.mbox")
    for name in ("gmx.eml", "xmail.eml", "qmail.eml"):
        box.add((BOUNCES / name).read_bytes())
    box.close()
    told = lines(run("parse", "mails.mbox", "--jsonl").output)
    assert [one["file"] for one in told] == ["mails.mbox#1", "mails.mbox#2", "mails.mbox#3", "mails.mbox#3"]
    assert [one["reader"] for one in told] == ["exim", "xmail", "qmail", "qmail"]


def test_a_file_that_cannot_be_read_is_an_error_and_the_others_are_read(run: Run) -> None:
    result = run("parse", "nowhere.eml", BOUNCES / "gmx.eml", "--jsonl")
    error, told = lines(result.output)
    assert result.exit_code == 1
    assert error == {"file": "nowhere.eml", "error": "No such file or directory"}
    assert told["recipient"] == "jo@example.com"
    shown = run("parse", "nowhere.eml", BOUNCES / "gmx.eml")
    assert shown.exit_code == 1
    assert shown.stderr == "bouncekit: error: nowhere.eml: No such file or directory\n"
    assert "jo@example.com" in shown.stdout


def test_a_policy_says_what_it_would_do(run: Run) -> None:
    full, delayed, vacation = (
        lines(run("parse", path, "--jsonl", "--policy", "default").output)[0]
        for path in (BOUNCES / "gmx.eml", BOUNCES / "exim-delay.eml", BOUNCES / "vacation-en.eml")
    )
    assert (full["do"], full["decided_by"], full["suppress"]) == ("fail", "mailbox-full", "mailbox")
    assert (delayed["do"], delayed["suppress"]) == ("wait", None)
    assert (vacation["do"], vacation["suppress"]) == (None, None)


def test_a_mail_that_a_server_gave_up_on_is_not_tried_again(run: Run) -> None:
    (told,) = lines(run("parse", REPORTS / "exim-remote452-delay.2.eml", "--jsonl", "--policy", "default").output)
    assert (told["action"], told["permanent"], told["do"]) == ("failed", False, "fail")


def test_for_people_it_is_a_table(run: Run) -> None:
    head, *rows = run("parse", BOUNCES / "qmail.eml").output.splitlines()
    assert head.split() == ["FILE", "RECIPIENT", "ACTION", "STATUS", "CODE", "CATEGORY", "SCOPE", "FINAL", "RULE"]
    assert [row.split()[1] for row in rows] == ["jo@example.com", "ann@example.net"]


def test_what_a_mail_says_cannot_touch_the_terminal(run: Run) -> None:
    raw = b"Return-Path: <>\nFrom: MAILER-DAEMON@x\nSubject: Undeliverable\n\njo@example.com: 550 \x1b[2J\x9bfull\n"
    assert "\x1b" not in run("parse", "-", input=raw).output
    assert run("parse", "-", "--jsonl", input=raw).output.isascii()


def test_without_a_file_it_says_how_it_is_called(run: Run) -> None:
    result = run("parse")
    assert result.exit_code == 2
    assert "FILE" in result.stderr
