"""The frame of the command line: help, errors in one line, exit codes, quiet pipes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import pytest

from bouncekit import __version__
from bouncekit.cli import VERBS, main
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ScriptedServer

from .conftest import ROOT, Run

Process = Callable[..., "subprocess.CompletedProcess[str]"]


def commands() -> list[tuple[str, click.Command]]:
    """Every verb, and the verbs of verbs."""
    found = []
    for name in VERBS:
        verb: click.Command = import_module(f"bouncekit.cli.{name}").verb
        inner = verb.commands.items() if isinstance(verb, click.Group) else [("", verb)]
        found += [(f"{name} {word}".strip(), command) for word, command in inner]
    return found


def test_version_is_the_package_s(run: Run) -> None:
    assert run("--version").output == f"bouncekit {__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_verb(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    assert [verb for verb in VERBS if f"\n  {verb} " not in result.output] == []


def test_help_and_version_load_no_verb() -> None:
    code = (
        "import sys; from bouncekit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith('bouncekit.cli.')"
        " or name in ('smtplib', 'sqlite3', 'yaml', 'pydantic', 'tenacity', 'rich')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"


# What each verb may load of all that is heavy; those behind it have all that it has.
_SENDING = "asyncio dns rich starlette jinja2 structlog apprise uvicorn psycopg redis imap_tools"
_JUDGING = f"{_SENDING} tenacity"
_LOOKING = f"{_JUDGING} pydantic yaml"
_STARTS = (
    ("explain 552", f"{_LOOKING} sqlite3 smtplib ssl bouncekit.desk.office"),
    ("classify 552", f"{_LOOKING} sqlite3 smtplib ssl bouncekit.desk.office"),
    ("suppressions list --store sqlite:///b.db", _LOOKING),
    ("suppressions export - --store sqlite:///b.db", _LOOKING),
    ("why bob@example.com --store sqlite:///b.db", _JUDGING),
    ("queue list --store sqlite:///b.db", _JUDGING),
    ("send m.eml --relay {relay} --store sqlite:///b.db", _SENDING),
)


def test_an_ordinary_verb_loads_no_library_that_it_has_no_use_for(
    folder: Path, serve: Callable[..., ScriptedServer]
) -> None:
    SqliteStore(folder / "b.db").close()
    starts = [(arguments.format(relay=serve().url), heavy) for arguments, heavy in _STARTS]
    (folder / "m.eml").write_text("From: a@example.com\nTo: b@example.com\n\nHi\n")
    code = (
        "import sys; from bouncekit.cli import main\n"
        f"for arguments, heavy in {starts!r}:\n"
        "    try: main(arguments.split())\n"
        "    except SystemExit as end: code = end.code\n"
        "    print(arguments, sorted(set(heavy.split()) & sys.modules.keys()), code in (None, 0, 1), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr.splitlines() == [f"{arguments} [] True" for arguments, _ in starts]


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_verb_takes_json_and_says_what_it_prints(name: str, command: click.Command) -> None:
    option = next(one for one in command.params if one.name == "as_json")
    assert isinstance(option, click.Option)
    assert option.help
    assert option.help.startswith("Print ")


@pytest.mark.parametrize(("name", "command"), commands())
def test_every_verb_explains_itself(run: Run, name: str, command: click.Command) -> None:
    result = run(*name.split(), "--help")
    assert result.exit_code == 0
    assert command.get_short_help_str()


@pytest.mark.parametrize("name", sorted(VERBS.keys() - {"demo"}))
def test_every_verb_has_an_example_in_its_help_that_its_options_allow(run: Run, name: str) -> None:
    verb = main.get_command(click.Context(main), name)
    assert verb is not None
    leaves = verb.commands if isinstance(verb, click.Group) else {"": verb}
    helps = [verb.help or "", *(leaf.help or "" for leaf in leaves.values())]
    examples = [line.strip() for text in helps for line in text.splitlines() if f"bouncekit {name}" in line]
    assert examples
    known = {option for leaf in (verb, *leaves.values()) for one in leaf.params for option in one.opts}
    assert {word for line in examples for word in line.split() if word.startswith("--")} <= known


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("clasify",), "no verb 'clasify'; did you mean 'classify'?"),
        (("xyzzy",), f"no verb 'xyzzy'; one of {', '.join(VERBS)}"),
        (("classify",), "give one reply, or --jsonl and lines on standard input"),
        (("classify", "552 5.2.2 full", "--stage", "LUNCH"), "'LUNCH' is no stage; one of CONNECT, "),
        (("classify", "605"), "'605' does not start with a reply code; "),
        (("why", "jo@example.com"), "no store, so nothing is remembered: give --store "),
        (("suppressions", "list"), "no store, so nothing is remembered: give --store "),
        (("queue", "list"), "no store, so nothing is remembered: give --store "),
        (("events", "--follow"), "no store, so nothing is remembered: give --store "),
        (("report",), "no store, so nothing is remembered: give --store "),
        (("suppressions", "list", "--store", "mysql://x"), "store='mysql://...': no such store"),
        (
            ("suppressions", "add", "jo@x.example", "--for", "soon", "--store", "sqlite:///b.db"),
            "Invalid value for '--for'",
        ),
        (
            ("suppressions", "add", "jo@x.example", "--for", "999999999w", "--store", "sqlite:///b.db"),
            "Invalid value for",
        ),
        (("suppressions", "add", "jo@x.example", "--for", "101w0", "--store", "sqlite:///b.db"), "Invalid value for"),
        (("suppressions", "add", "jo@@x>", "--store", "sqlite:///b.db"), "'jo@@x>': "),
        (("send", "nowhere.eml", "--relay", "smtp://127.0.0.1:1"), "nowhere.eml: No such file or directory"),
        (("policy", "show", "nowhere"), "no shipped policy 'nowhere'; "),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(run: Run, arguments: tuple[str, ...], error: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"bouncekit: error: {error}")
    assert result.stderr.count("\n") == 1


def test_a_wrong_configuration_is_one_line_and_exit_code_2(run: Run, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text('stroe = "sqlite:///b.db"\n')
    result = run("suppressions", "list")
    assert result.exit_code == 2
    assert result.stderr == "bouncekit: error: bouncekit.toml: unknown key 'stroe'; did you mean 'store'?\n"


def test_an_error_never_repaints_the_terminal_nor_shows_a_password(run: Run) -> None:
    result = run("send", "\x1b[2J", "--relay", "smtp://jo:hunter2@x")
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr
    assert "hunter2" not in run("suppressions", "list", "--store", "postgresql://jo:hunter2@x/y").stderr


def test_python_m_bouncekit_is_the_same_command(process: Process) -> None:
    done = process("classify", "552 5.2.2 Mailbox full", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["category"] == "mailbox_full"


@pytest.mark.parametrize("lines", [1, 50_000])
def test_a_reader_that_leaves_is_no_error(folder: Path, lines: int) -> None:
    asked = folder / "asked.jsonl"
    asked.write_text('{"reply": "552 5.2.2 Mailbox full"}\n' * lines)
    command = [sys.executable, "-m", "bouncekit", "classify", "--jsonl"]
    with (
        asked.open("rb") as questions,
        subprocess.Popen(
            command, stdin=questions, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
        ) as verb,
    ):
        assert verb.stdout
        assert verb.stderr
        verb.stdout.close()
        assert verb.stderr.read() == ""


def test_what_the_terminal_cannot_show_is_escaped(process: Process) -> None:
    done = process(
        "classify",
        "552 5.2.2 größe \u0939",
        environ={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
        encoding="latin-1",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert r"größe \u0939" in done.stdout


VALUES = {"--type": "failed", "--recipient": "ada@example.com", "--since": "2h", "--limit": "5"}


@pytest.mark.parametrize(
    ("verb", "inner", "option"),
    [
        pytest.param(name, next(iter(group.commands)), option, id=f"{name} {option.opts[0]}")
        for name in VERBS
        if isinstance(group := import_module(f"bouncekit.cli.{name}").verb, click.Group)
        for option in group.params
    ],
)
def test_an_option_before_a_verb_of_a_verb_is_refused_and_never_ignored(
    run: Run, verb: str, inner: str, option: click.Option
) -> None:
    name = option.opts[0]
    result = run(verb, name, *([] if option.is_flag else [VALUES.get(name, "x")]), inner)
    assert result.exit_code == 2
    assert result.stderr == f"bouncekit: error: {name} counts for nothing before {inner}: write it behind {inner}\n"


@pytest.mark.parametrize("verb", ["policy", "suppressions", "queue"])
def test_a_verb_of_verbs_alone_is_its_help(run: Run, verb: str) -> None:
    result = run(verb)
    assert (result.exit_code, result.output) == (0, run(verb, "--help").output)


_OF_VERBS = ["intake", "policy", "queue", "sinks", "store", "suppressions"]


@pytest.mark.parametrize("verb", _OF_VERBS)
def test_help_of_a_verb_of_verbs_cuts_no_sentence(run: Run, verb: str) -> None:
    assert "..." not in run(verb, "--help").output.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("classify '552 5.2.2 Mailbox full' >&-", 0),
        ("classify --jsonl <&-", 0),
        ("send - --relay smtp://127.0.0.1:1 <&-", 2),
        ("why jo@example.com 2>&-", 2),
        ("demo >&- 2>&- <&-", 0),
    ],
)
def test_a_stream_that_the_shell_has_closed_is_no_crash(folder: Path, command: str, code: int) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m bouncekit {command}'],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


def test_choices_that_are_missing_stand_on_the_line_of_the_error(run: Run) -> None:
    assert run("completion").stderr.startswith(
        "bouncekit: error: Missing argument '{bash|zsh|fish|man}'. Choose from: bash, zsh, fish, man. See "
    )


def test_an_argument_that_is_missing_is_said_with_where_to_read_on(
    process: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    done = process("policy", "diff")
    assert (done.returncode, done.stderr) == (
        2,
        "bouncekit: error: Missing argument 'OLD'. See bouncekit policy diff --help\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("events",),
        ("events", "query"),
        ("queue", "list"),
        ("queue", "show", "01"),
        ("sinks", "status"),
        ("suppressions", "list"),
        ("suppressions", "show", "jo@example.com"),
    ],
    ids=" ".join,
)
def test_a_faulty_policy_is_no_matter_to_who_only_looks_at_what_was_recorded(
    run: Run, folder: Path, arguments: tuple[str, ...]
) -> None:
    SqliteStore(folder / "b.db").close()
    (folder / "mine.yaml").write_text("policy: 1\nrulez: []\n")
    (folder / "bouncekit.toml").write_text('policy = "mine.yaml"\nstore = "sqlite:///b.db"\n')
    result = run(*arguments)
    assert "rulez" not in result.stderr
    assert result.exit_code in (0, 1)
