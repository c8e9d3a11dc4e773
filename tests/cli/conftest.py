"""A command line in an empty folder, without any configuration."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner, Result

from bouncekit.cli import main

Run: TypeAlias = Callable[..., Result]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BOUNCEKIT_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Call a verb in this process; what is no error of bouncekit's is raised."""

    def call(*arguments: object, input: str | bytes | None = None) -> Result:  # noqa: A002 - click's own word
        return CliRunner().invoke(main, [str(one) for one in arguments], input=input, catch_exceptions=False)

    return call


@pytest.fixture
def process(folder: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Call a verb in a process of its own."""

    def call(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("environ", {})}
        return subprocess.run(
            [sys.executable, "-m", "bouncekit", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=environ,
            cwd=folder,
            check=False,
            **options,
        )

    return call
