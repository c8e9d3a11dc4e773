"""README and docs tell the truth: every Python block runs, every policy loads, every command prints what stands there.

A document's blocks run in order, in one namespace and one empty folder. For every server that they name a scripted one
answers, in which full@example.com has a full mailbox, busy@example.com one that is full for now, and gone@example.com
does not exist: the names that say so to `bouncekit testserver`, too. A block whose first line is a comment with a name
of a file is written to that file.
"""

import doctest
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from asyncio import BaseEventLoop
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from django.conf import empty as django_unset_value
from django.conf import settings as django_settings
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from bouncekit.cli import main
from bouncekit.integrations.django.project import close as close_django
from bouncekit.meaning.rulefile import Rule
from bouncekit.outside.builtin import classifier, open_policy, policy_text, schedules
from bouncekit.outside.provider import _PROVIDERS
from bouncekit.policyfiles.policyfile import read_policy
from bouncekit.testing import Script, ScriptedServer
from bouncekit.transports import streams
from bouncekit.transports.reaching import reach

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "policies").glob("*.md")),
]
# Languages whose blocks a test looks into; `text` is for pictures and for what cannot be run.
LANGUAGES = {"python", "console", "yaml", "toml", "json", "text"}

SCRIPT: Script = {
    "RCPT": {
        "full@example.com": "552 5.2.2 Mailbox full",
        "busy@example.com": "452 4.2.2 Over quota",
        "gone@example.com": "550 5.1.1 No such user",
    }
}
_FILE_NAME = re.compile(r"# (\w[\w.-]*\.(?:yaml|toml|py|json))\n")
_NOT_RUN = re.compile(r"\s*(?:\w+=\S+ )*(?:python -m (?:pip|venv|pytest|tests)|git|ruff|apt-get|\.ci/run)\b")
_OURS_ALONE = re.compile(r"bouncekit (?!.*--app)[^|&;<>$`(){}*?~#\\]+")  # no word of it is the shell's
_PLAINLY = {"COLUMNS": "120", "NO_COLOR": "1"}
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> ScriptedServer:
    """The server that answers under every name."""
    connect = socket.create_connection
    with ScriptedServer(SCRIPT) as server:

        def instead(host: str, port: int) -> tuple[str, int]:
            own = host == "127.0.0.1"  # a server that the document started itself
            return (host, port) if own else (server.host, server.port)

        def to_the_scripted_one(address: tuple[str, int], *arguments: Any, **options: Any) -> socket.socket:
            return connect(instead(*address), *arguments, **options)

        async def reached(host: str, port: int) -> socket.socket:
            return await reach(*instead(host, port))

        async def on_a_loop(loop: Any, protocol: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
            place = (host, port) if host is None else instead(host, port)
            return await create(loop, protocol, *place, **options)

        create = BaseEventLoop.create_connection
        monkeypatch.setattr(socket, "create_connection", to_the_scripted_one)
        monkeypatch.setattr(streams, "reach", reached)
        monkeypatch.setattr(BaseEventLoop, "create_connection", on_a_loop)
        yield server


@pytest.fixture
def django_unset() -> Iterator[None]:
    """A page about Django begins without settings, whatever other tests of this process have set."""
    before, django_settings._wrapped = django_settings._wrapped, django_unset_value
    close_django()
    yield
    close_django()
    django_settings._wrapped = before


@pytest.mark.usefixtures("django_unset")
@pytest.mark.parametrize("path", DOCUMENTS, ids=names(DOCUMENTS))
def test_every_block_of_a_document_is_true(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relay: ScriptedServer
) -> None:
    monkeypatch.chdir(tmp_path)
    parsers = (
        PythonCodeBlockParser(doctest_optionflags=_FLAGS),
        CodeBlockParser(language="yaml", evaluator=_policy),
        CodeBlockParser(language="toml", evaluator=_written),
        CodeBlockParser(language="json", evaluator=lambda example: json.loads(example.parsed) and None),
        CodeBlockParser(language="console", evaluator=_commands(relay)),
    )
    document = Document.parse(str(path), *parsers)
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("path", DOCUMENTS, ids=names(DOCUMENTS))
def test_no_block_hides_from_the_test_above(path: Path) -> None:
    fences = re.findall(r"^ *```(.*)$", path.read_text("utf-8"), re.MULTILINE)[::2]
    assert [language for language in fences if language not in LANGUAGES] == []


def test_the_policy_page_has_every_provider() -> None:
    page = (ROOT / "docs" / "reference" / "policy.md").read_text("utf-8")
    rows = re.findall(r"^\| .*`check_domains`[^|]* \| (.+) \|$", page, re.MULTILINE)
    by_host, by_domain = (set(re.findall(r"`(\w+)`", row)) for row in rows)
    assert by_host == set(classifier()._hosts.values())
    assert by_domain == set(_PROVIDERS.values()) - by_host


def test_the_rules_page_has_every_key_of_a_rule() -> None:
    page = (ROOT / "docs" / "reference" / "rules.md").read_text("utf-8")
    described = set(re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE))
    assert {field.name for field in fields(Rule)} - {"step", "hosts", "where"} <= described


def _written(example: Example) -> None:
    if named := _FILE_NAME.match(example.parsed):
        Path(named[1]).write_text(example.parsed, "utf-8")


def _policy(example: Example) -> None:
    _written(example)
    if named := _FILE_NAME.match(example.parsed):
        open_policy(named[1])
    else:
        read_policy("block.yaml", example.parsed, resolve=policy_text, known=schedules)


def _commands(relay: ScriptedServer) -> Callable[[Example], str | None]:
    """Run the commands of a block; what follows one in the block is what it prints."""

    def evaluate(example: Example) -> str | None:
        wrong = [
            f"$ {command}\n--- the document\n{shown}--- printed\n{printed}"
            for command, shown in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n?)*)", example.parsed, re.MULTILINE)
            if not _NOT_RUN.match(command)
            for printed, code in [_run(command, relay)]
            if not (_same(shown, printed) if shown.strip() else code == 0)
        ]
        return "\n".join(wrong) or None

    return evaluate


def _same(shown: str, printed: str) -> bool:
    return doctest.OutputChecker().check_output(shown.strip() + "\n", printed.strip() + "\n", _FLAGS)


def _run(command: str, relay: ScriptedServer) -> tuple[str, int]:
    """What a command prints, and its exit code. One of ours alone runs here, which spares the start of a process."""
    command = command.replace("localhost:2525", f"{relay.host}:{relay.port}")
    if _OURS_ALONE.fullmatch(command):
        settings = {"env": _PLAINLY, "prog_name": "bouncekit", "catch_exceptions": False}
        result = CliRunner().invoke(main, shlex.split(command)[1:], **settings)
        return result.output, result.exit_code
    shell = (
        f'bouncekit() {{ "{sys.executable}" -m bouncekit "$@"; }}; python() {{ "{sys.executable}" "$@"; }}; {command}'
    )
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        ["bash", "-c", shell],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path, **_PLAINLY},
    )
    return done.stdout, done.returncode
