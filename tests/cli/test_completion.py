"""`completion`: what a shell completes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bouncekit.cli import VERBS
from bouncekit.delivery.events import EventType
from bouncekit.outside.builtin import policy_names

from .conftest import ROOT, Run

BASH = shutil.which("bash")
Complete = Callable[..., list[str]]


@pytest.fixture
def complete(folder: Path) -> Complete:
    """What bash puts for the last of these words, by the script that we print."""
    if BASH is None:
        pytest.skip("there is no bash here")
    command = folder / "bouncekit"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m bouncekit "$@"\n')
    command.chmod(0o755)

    def complete(*words: str) -> list[str]:
        script = (
            "source <(bouncekit completion bash)\n"
            'compopt() { printf "compopt %s %s\\n" "$@"; }\n'  # which only works while somebody presses TAB
            'COMP_WORDS=(bouncekit "$@"); COMP_CWORD=$#\n'
            "$(complete -p bouncekit | sed 's/.*-F \\([^ ]*\\).*/\\1/') bouncekit\n"
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            [str(BASH), "--norc", "-c", script, "bash", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        )
        assert done.stderr == ""
        return done.stdout.split("\n")[:-1]

    return complete


def test_bash_completes_verbs(complete: Complete) -> None:
    assert complete("") == list(VERBS)
    assert complete("su") == ["suppressions"]
    assert complete("queue", "re") == ["resend", "retry"]


def test_bash_completes_options_and_what_they_take(complete: Complete) -> None:
    assert "--recipient" in complete("events", "--re")
    assert complete("events", "--type", "suppress") == [one for one in EventType if one.startswith("suppress")]
    assert complete("queue", "list", "--state", "") == ["due", "waiting", "held", "sending", "abandoned"]
    assert complete("report", "--by", "d") == ["domain"]


def test_bash_completes_policies_and_their_files(complete: Complete) -> None:
    assert complete("policy", "show", "") == ["compopt -o default", *policy_names()]
    assert complete("send", "--policy", "bu") == ["compopt -o default", "bulk"]
    assert complete("policy", "test", "mine") == ["compopt -o default", ""]


def test_a_verb_that_is_none_is_no_crash(complete: Complete) -> None:
    assert complete("clasify", "wh") == ["why"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_BOUNCEKIT_COMPLETE={shell}_complete" in result.output
    found = json.loads(run("completion", shell, "--json").output)
    assert (found["shell"], found["script"].strip()) == (shell, result.output.strip())


def test_another_shell_is_exit_code_2(run: Run) -> None:
    result = run("completion", "tcsh")
    assert (result.exit_code, "'bash', 'zsh', 'fish'" in result.stderr) == (2, True)


def test_the_names_of_verbs_load_no_verb() -> None:
    code = (
        "import os, sys; from bouncekit.cli import main\n"
        "os.environ |= {'_BOUNCEKIT_COMPLETE': 'zsh_complete', 'COMP_WORDS': 'bouncekit ', 'COMP_CWORD': '1'}\n"
        "try: main([])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith('bouncekit.cli.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "classify" in done.stdout
