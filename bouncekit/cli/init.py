"""`bouncekit init`: a policy and a configuration to begin with, and what goes where in the application that is here."""

import re
import tomllib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.output import show_json, show_line
from bouncekit.cli.settings import json_option
from bouncekit.outside.drafts import drafted
from bouncekit.words.errors import ConfigurationError

if TYPE_CHECKING:
    from bouncekit.outside.relay import Relay

__all__ = ["verb"]

_BEGINNINGS = files("bouncekit.cli") / "beginnings"
_PRIVATE = "bouncekit.toml"  # a relay has a password
_WRITTEN = ("bounces.yaml", _PRIVATE)
_PLAIN = "plain"
_NEXT = "bouncekit doctor"
_RELAYS = 'main = "${relay}"'
_REQUIREMENTS = ("pyproject.toml", "setup.cfg", "setup.py", "Pipfile", "requirements*.txt", "requirements/*.txt")
_MAX_BYTES = 1024 * 1024
_URL = re.compile(r"[a-z+]+:[^\s\"\\]*")  # what may stand in quotes in TOML and Python
_NAME = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")


def _frameworks() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = tomllib.loads((_BEGINNINGS / "frameworks.toml").read_text("utf-8"))
    return found


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option(
    "--framework",
    type=click.Choice(["auto", *_frameworks()]),
    default="auto",
    show_default="what is found in the folder",
    help="Whose settings to show.",
)
@click.option("--policy", metavar="NAME", default="transactional", show_default=True, help="What the policy extends.")
@click.option("--store", metavar="URL", default="sqlite:///bounces.db", show_default=True, help="Where it remembers.")
@click.option("--relay", metavar="URL", default="smtp://localhost:25", show_default=True, help="Where mail goes.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option("--show", is_flag=True, help="Write nothing; only show what goes where.")
@json_option("one JSON document: written, framework, into, text")
def verb(
    folder: Path, framework: str, policy: str, store: str, relay: str, force: bool, show: bool, as_json: bool
) -> None:
    """Write bounces.yaml and bouncekit.toml, with comments, and show what goes where in your application.

    \b
    bouncekit init
    bouncekit init --framework django --relay smtp://mail.example.org:587
    """
    server = _check(policy, store, relay)
    name = _found(folder) if framework == "auto" else framework
    meant = _frameworks()[name]
    given = {"policy": policy, "store": store, "relay": relay}
    given |= {"host": server.host or "localhost", "port": str(server.port)}
    given["relays"] = _filled(meant.get("relays", _RELAYS), given)
    texts = {folder / name: _filled((_BEGINNINGS / name).read_text("utf-8"), given) for name in _WRITTEN}
    written = [] if show else _write(folder, texts, force=force)
    into, text = meant["into"], _filled(_text(meant), given).strip()
    if as_json:
        show_json({"written": written, "framework": name, "into": into, "text": text})
        return
    for path in written:
        show_line(f"wrote {path}")
    if written:
        show_line()
    show_line(f"{into}{'' if name == _PLAIN else f' ({name})'}:")
    for line in ("", *text.splitlines(), ""):
        show_line(f"    {line}".rstrip())
    show_line(f"then: {meant.get('next', _NEXT)}")


def _write(folder: Path, texts: Mapping[Path, str], *, force: bool) -> list[str]:
    """The paths of what was written; raises ConfigurationError where something is there that nobody wants replaced."""
    if not force and (there := [str(path) for path in texts if path.exists()]):
        told = "--force replaces them, --show only says what goes where"
        raise ConfigurationError(f"{' and '.join(there)}: there already; {told}")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with drafted(path, is_secret=path.name == _PRIVATE) as file:
            file.write(text.encode())
    return list(map(str, texts))


def _check(policy: str, store: str, relay: str) -> "Relay":
    """The relay; raises ConfigurationError where what would be written could not be read."""
    from bouncekit.outside.builtin import policy_names
    from bouncekit.outside.relay import Relay

    if policy not in policy_names():
        raise ConfigurationError(f"--policy: {policy!a} is none of {', '.join(policy_names())}")
    if not _URL.fullmatch(store):
        raise ConfigurationError(f"--store: {store!a} is no URL of a store, such as sqlite:///bounces.db")
    server = Relay.parse(relay)
    if not _URL.fullmatch(relay):
        raise ConfigurationError("--relay: signs such as quotes and spaces are %-escaped in a URL")
    return server


def _text(framework: Mapping[str, Any]) -> str:
    """What goes into the application, for the version of the framework that is installed; else for the newest."""
    text: str = framework["text"]
    older = framework.get("older")
    if older is None:
        return text
    try:
        installed = version(framework["package"])
    except PackageNotFoundError:
        return text
    is_older = _numbers(installed) < _numbers(older["than"])
    return str(older["text"]) if is_older else text


def _numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version; 6.1a1 counts as 6.1."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def _filled(text: str, given: dict[str, str]) -> str:
    return Template(text).substitute(given)


def _found(folder: Path) -> str:
    """The framework whose sign is there."""
    required = _required(folder)
    for name, framework in _frameworks().items():
        if framework.get("package") in required or (folder / framework.get("file", "-")).is_file():
            return name
    return _PLAIN


def _required(folder: Path) -> frozenset[str]:
    """The words of its files of requirements; names of packages are among them."""
    words: set[str] = set()
    for pattern in _REQUIREMENTS:
        for path in sorted(folder.glob(pattern)):
            with path.open("rb") as file:
                words.update(_NAME.findall(file.read(_MAX_BYTES).decode("utf-8", "replace").lower()))
    return frozenset(words)
