"""`explain`: a code, and a whole reply, in English and in Hindi, for terminals of any width."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from bouncekit.words.columns import display_width

from .conftest import Run


def widest(output: str) -> int:
    return max(
        display_width(line) + sum(unicodedata.category(one) == "Mc" for one in line) for line in output.splitlines()
    )


@pytest.mark.parametrize(
    ("lang", "headings"),
    [
        ("en", ("Description", "When you see it", "How to fix")),
        ("hi", ("विवरण", "जब आप इसे देखें", "कैसे ठीक करें")),
    ],
)
@pytest.mark.parametrize("columns", ["80", "60"])
def test_a_code_is_shown_under_the_headings_of_its_language(
    run: Run, monkeypatch: pytest.MonkeyPatch, lang: str, headings: tuple[str, ...], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    result = run("explain", "552", "--lang", lang)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [heading for heading in headings if not any(line.startswith(heading) for line in lines)] == []
    assert widest(result.output) <= int(columns)


def test_below_seventy_columns_a_heading_stands_above_its_text(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert "\nHow to fix\n  " in run("explain", "552").output
    monkeypatch.setenv("COLUMNS", "80")
    assert "\nHow to fix       Full" in run("explain", "552").output


def test_a_whole_reply_needs_no_quotes(run: Run) -> None:
    result = run("explain", "552", "5.2.2", "Mailbox", "full")
    assert result.output == run("explain", "552 5.2.2 Mailbox full").output
    assert "mailbox-full (default.yaml:" in result.output


def test_json_has_cards_verdict_and_what_the_policy_does(run: Run) -> None:
    answer = json.loads(run("explain", "452 4.5.3 Too many", "--accepted", 3, "--lang", "hi", "--json").output)
    assert [card["code"] for card in answer["cards"]] == ["452", "4.5.3"]
    assert answer["verdict"]["category"] == "too_many_recipients"
    assert answer["recipient"]["do"] == "split"
    assert answer["recipient"]["where"].startswith("default.yaml:")
    assert (answer["lang"], answer["stage"], answer["accepted"], answer["session"]) == ("hi", "RCPT", 3, None)


def test_json_of_a_code_alone_has_no_verdict(run: Run) -> None:
    answer = json.loads(run("explain", "421", "--json").output)
    assert answer["verdict"] is answer["recipient"] is answer["session"] is answer["policy"] is None
    assert answer["cards"][0]["stages"] is None
    assert json.loads(run("explain", "421 x", "--json").output)["session"]["do"] == "reconnect"


def test_the_policy_is_the_one_that_is_named_else_the_configured_one(run: Run, folder: Path) -> None:
    (folder / "mine.yaml").write_text(
        "policy: 1\nextends: default\nrules:\n  - {id: mine, when: {code: 452}, do: hold, examples: 452 full}\n"
    )
    assert "mine (mine.yaml:4)" in run("explain", "452 4.2.2 full", "--policy", "mine.yaml").output
    (folder / "bouncekit.toml").write_text('policy = "mine.yaml"\n')
    assert "until somebody releases it" in " ".join(run("explain", "452 4.2.2 full").output.split())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("full",), "'full' is no code; one looks like 552 or 5.2.2, a whole reply like '552 5.2.2 Mailbox full'"),
        (("X.2.2",), "'X.2.2' has no class; give 4.2.2 or 5.2.2"),
        (("552 full", "--stage", "LUNCH"), "'LUNCH' is no stage; one of CONNECT, "),
        (("552", "--lang", "fr"), "Invalid value for '--lang': 'fr' is not one of 'en', 'hi'."),
        (("552 full", "--policy", "nowhere"), "no shipped policy 'nowhere'; "),
        ((), "Missing argument 'CODE|REPLY'."),
    ],
)
def test_what_is_no_code_is_one_line_and_exit_code_2(run: Run, arguments: tuple[str, ...], error: str) -> None:
    result = run("explain", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"bouncekit: error: {error}")
    assert result.stderr.count("\n") == 1


def test_a_terminal_without_devanagari_gets_escapes(process: Callable[..., object]) -> None:
    done = process("explain", "552", "--lang", "hi", environ={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, "")  # type: ignore[attr-defined]
    assert r"\u0935" in done.stdout  # type: ignore[attr-defined]


def test_ones_own_rules_decide_what_a_reply_means_and_the_policy_what_is_done(run: Run, folder: Path) -> None:
    (folder / "mine.toml").write_text(
        '[[rule]]\nid = "mine"\nsource = "a test"\ntext = "closed gate"\ncategory = "mailbox_full"\n'
        'examples = ["550 Closed gate"]\n'
    )
    (folder / "mine.yaml").write_text("policy: 1\nextends: default\nmeaning: mine.toml\n")
    for options in (("--policy", "mine.yaml"), ("--rules", "mine.toml")):
        told = json.loads(run("explain", "550 5.1.1 Closed gate", *options, "--json").output)
        assert (told["verdict"]["category"], told["verdict"]["where"]) == ("mailbox_full", "mine.toml:1")
        assert told["recipient"]["rule"] == "mailbox-full"
        assert "mine (mine.toml:1)" in run("explain", "550 5.1.1 Closed gate", *options).output


def test_the_card_of_a_code_needs_no_policy(run: Run, folder: Path) -> None:
    (folder / "wrong.yaml").write_text("policy: 2\n")
    assert run("explain", "552", "--policy", "wrong.yaml").exit_code == 0
    assert run("explain", "552 full", "--policy", "wrong.yaml").exit_code == 2


def test_a_bare_code_needs_no_configuration(run: Run, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text('polcy = "nonsense"\n')
    for code in ("552", "5.2.2"):
        assert run("explain", code).exit_code == 0
    assert run("explain", "552 Mailbox full").exit_code == 2
