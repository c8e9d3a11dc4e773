"""The demo: it shows what happened, it happened as it should, and it would say so if it had not."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bouncekit.cli import main
from bouncekit.cli.rehearsal import CAST, Rehearsal, rehearse
from bouncekit.outside.builtin import open_policy
from bouncekit.policy.rule import Fate

ROOT = Path(__file__).parents[1]


def demo(*options: str) -> Result:
    return CliRunner().invoke(main, ["demo", *options], catch_exceptions=False)


@pytest.fixture(scope="module")
def shown() -> str:
    result = demo()
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    result = demo("--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


@pytest.fixture(scope="module")
def rehearsal() -> Rehearsal:
    return rehearse()


def test_it_fits_on_two_screens_and_has_no_colour_outside_of_a_terminal(shown: str) -> None:
    lines = shown.splitlines()
    assert len(lines) <= 2 * 50
    assert max(map(len, lines)) <= 120
    assert "\x1b" not in shown


def test_it_shows_each_reply_with_its_meaning_and_what_was_done(shown: str) -> None:
    for recipient, words in {
        "full@example.com": ("552 5.2.2", "mailbox_full", "recipient"),
        "busy@example.com": ("452 4.2.2", "mailbox_full"),
        "dora@example.com": ("452 4.5.3", "too_many_recipients"),
        "emil@example.com": ("552 5.3.4", "message_too_big"),
        "gone@example.com": ("550 5.1.1", "user_unknown"),
    }.items():
        name = recipient.removesuffix("@example.com")
        row = next(line for line in shown.splitlines() if f"  {name} " in line and words[0] in line)
        assert all(word in row for word in words)


def test_it_names_every_face_of_the_task(shown: str) -> None:
    for word in ("delivered", "delayed", "suppressed", "notified", "closed", "reconnected", "452", "552", "221", "421"):
        assert word in shown


def test_it_ends_with_what_to_do_next(shown: str) -> None:
    assert shown.splitlines()[-1].endswith("application: bouncekit init")


def test_json_is_the_events_and_then_the_summary(documents: list[dict[str, Any]]) -> None:
    *events, summary = documents
    assert all(event["specversion"] == "1.0" for event in events)
    assert summary["ok"] is True
    assert [check for check in summary["checks"] if not check["ok"]] == []
    count = Counter(event["type"] for event in events)
    assert count == {
        "delivered": 6,
        "delayed": 1,
        "failed": 3,
        "suppression_added": 2,
        "notified": 1,
        "not_notified": 1,  # of the large message: no channel `owner` is set up
        "closed": 3,
        "reconnected": 2,
        "suppressed": 1,
    }


def test_json_tells_what_each_reply_led_to(documents: list[dict[str, Any]]) -> None:
    lines = {(line["recipient"], line["said"][:3]): line for line in documents[-1]["lines"]}
    assert lines["dora@example.com", "452"]["rule"] == "too-many-recipients"
    assert lines["full@example.com", "552"]["rule"] == "mailbox-full"
    assert lines["emil@example.com", "552"]["scope"] == "message"
    assert lines["gina@example.com", "221"]["did"] == "reconnected, sent again"
    assert all(line["where"] for line in lines.values() if line["category"] and line["did"] != "suppressed, skipped")


def test_each_accepted_recipient_has_exactly_one_copy(rehearsal: Rehearsal) -> None:
    assert rehearsal.copies == {who: part.copies for who, part in CAST.items()}
    assert sum(rehearsal.copies.values()) == 6


def test_the_notice_goes_to_the_full_mailbox_s_owner_once(rehearsal: Rehearsal) -> None:
    (notice,) = rehearsal.notices
    assert (notice.channel, notice.recipient) == ("recipient", "full@example.com")


def test_the_second_message_to_the_full_mailbox_makes_no_connection(rehearsal: Rehearsal) -> None:
    assert rehearsal.connections == [1, 0, 1, 1, 0]


def test_the_last_connection_ends_as_we_asked(rehearsal: Rehearsal) -> None:
    last = rehearsal.events[-1]
    assert (last.type, last.details["expected"], last.details["code"]) == ("closed", True, 221)


def test_another_policy_makes_it_say_what_is_not_as_it_should_be() -> None:
    policy = open_policy("default")
    harmless = replace(policy, rules=tuple(replace(rule, suppress=None, notify=()) for rule in policy.rules))
    failed = [check.claim for check in rehearse(harmless).checks() if not check.holds]
    assert any(claim.endswith("are suppressed, nobody else") for claim in failed)
    assert any("was told another way" in claim for claim in failed)
    never = replace(policy, sessions=(), rules=tuple(replace(rule, do=Fate.FAIL) for rule in policy.rules))
    failed = [check.claim for check in rehearse(never).checks() if not check.holds]
    assert any("has one copy" in claim for claim in failed)


def test_a_failed_check_is_exit_code_1_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = open_policy("default")
    monkeypatch.setattr("bouncekit.cli.rehearsal.open_policy", lambda _: replace(policy, sessions=()))
    result = demo()
    assert result.exit_code == 1
    assert "FAILED" in result.output
    assert json.loads(demo("--json").output.splitlines()[-1])["ok"] is False


def test_as_a_process_it_is_done_within_five_seconds_of_work_wherever_it_runs(tmp_path: Path) -> None:
    (tmp_path / "bouncekit.toml").write_text("policy = 'nowhere'\n")  # the demo reads no configuration
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "bouncekit", "demo"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    spent = os.times()
    assert sum(spent[2:4]) - sum(before[2:4]) < 5  # of the processor, by children: others may be at work
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bouncekit.toml"]


@pytest.mark.parametrize("width", [80, 120])
def test_in_a_terminal_no_line_is_wider_than_it(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr("bouncekit.cli.demo.terminal_width", lambda: width)
    assert max(map(len, demo().output.splitlines())) <= width
