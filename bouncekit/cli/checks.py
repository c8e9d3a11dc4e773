"""What `bouncekit doctor` finds of installation, configuration and policy, and what to do where it will not do."""

import platform
import sqlite3
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bouncekit.meaning.classification import Step
from bouncekit.policy.policy import Policy
from bouncekit.policy.schedule import Retry
from bouncekit.postmaster.config import Config
from bouncekit.words.errors import BouncekitError, Finding
from bouncekit.words.measures import counted

__all__ = ["Check", "Level", "failed", "machine", "policy", "retry", "rules", "settings", "sources"]

_DEPENDENCIES = ("click", "dnspython", "idna", "pydantic", "pyyaml", "structlog", "tenacity")
_EXTRAS = {"rich": ("cli", "colour in the terminal"), "apprise": ("notify", "channels by apprise URL")}
_OLDEST_PYTHON = (3, 11)
_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
_MEMORY = "sqlite:///:memory:"
# What the other checks look at: a postmaster that is made without them shows what is wrong with the rest.
_LOOKED_AT: Mapping[str, Any] = {
    "policy": "default",
    "rules": (),
    "community_rules": (),
    "channels": {},
    "relays": {},
    "sinks": {},
    "store": None,
    "cache": None,
    "retry": "never",
    "worker": "external",
}


class Level(StrEnum):
    """How much a check matters."""

    OK = "ok"
    WARN = "warn"  # works, but look at it
    FAIL = "fail"  # does not work


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, and what to do about it where it is not ok."""

    name: str
    level: Level
    found: str
    advice: str = ""


def failed(name: str, error: Exception, advice: str = "") -> Check:
    """What an error says. Where there is no better advice: in ours, what would be right stands behind the semicolon."""
    if advice:
        return Check(name, Level.FAIL, str(error), advice)
    found, _, own = str(error).partition("; ")
    return Check(name, Level.FAIL, found, own or "correct it")


# -- the installation


def machine() -> Iterator[Check]:
    """Python and what is installed in it."""
    python = Level.OK if sys.version_info >= _OLDEST_PYTHON else Level.FAIL
    yield Check("python", python, platform.python_version(), "" if python is Level.OK else "bouncekit needs 3.11")
    sqlite = Level.OK if sqlite3.sqlite_version_info >= _OLDEST_SQLITE else Level.FAIL
    oldest = ".".join(map(str, _OLDEST_SQLITE))
    yield Check("sqlite", sqlite, sqlite3.sqlite_version, "" if sqlite is Level.OK else f"the store needs {oldest}")
    for package in _DEPENDENCIES:
        found = _version(package)
        advice = "" if found else f"python -m pip install {package}"
        yield Check(package, Level.OK if found else Level.FAIL, found or "not installed", advice)
    for package, (extra, purpose) in _EXTRAS.items():
        found = _version(package)
        advice = "" if found else f"for {purpose}: python -m pip install 'bouncekit[{extra}]'"
        yield Check(f"{package} (optional)", Level.OK, found or "not installed", advice)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# -- what the owner wrote


def sources(config: Config) -> Check:
    """Where his settings stand."""
    places = sorted(set(config.sources.values()))
    return Check("configuration", Level.OK, ", ".join(places) or "none: the defaults hold")


def settings(config: Config) -> Iterator[Check]:
    """What is wrong with secrets, return paths and the like, for which a process would not start; else nothing."""
    from bouncekit.postmaster.postmaster import Postmaster

    try:
        Postmaster(**{**config.for_postmaster(), **_LOOKED_AT}).close()
    except (BouncekitError, OSError) as error:
        yield failed("settings", error)


def retry(way: Retry, patience: timedelta, *, store: object, relays: Collection[str]) -> Check:
    """Who tries again, and whether he has what that takes. `store` None, or the URL of memory, keeps nothing."""
    if way is Retry.WAIT:
        return Check("retry", Level.OK, f"wait, for at most {patience}")
    if way is Retry.NEVER:
        return Check("retry", Level.OK, "never: the application tries again what was delayed")
    if store in (None, _MEMORY):
        advice = "store = 'sqlite:///bounces.db' in bouncekit.toml, or BOUNCEKIT_STORE"
        return Check("retry", Level.FAIL, "queue, and no store that could keep the mail", advice)
    if not relays:
        advice = "[relays] main = 'smtp://localhost:25' in bouncekit.toml, or --app package.module:postmaster"
        return Check("retry", Level.FAIL, "queue, and no relay through which a worker could send", advice)
    return Check("retry", Level.OK, f"queue, through {', '.join(relays)}")


def policy(given: str | Policy, channels: Mapping[str, object], place: Callable[[str], str]) -> Iterator[Check]:
    """A policy, by name, path or itself, and the channels of its roles; `place` says where one is set up."""
    from bouncekit.outside.builtin import open_policy

    try:
        opened = open_policy(given)
    except (BouncekitError, OSError) as error:
        yield _unreadable(error, f"bouncekit policy check {given}")
        return
    found = f"{opened.name}: {counted(len(opened.rules), 'rule')}, {len(opened.sessions)} about sessions"
    yield Check("policy", Level.OK, found)
    yield _examples(opened, given if isinstance(given, str) else opened.name)
    for role in sorted(channels):
        yield _channel(role, opened, channels, place)
    if missing := sorted(set(opened.channels).difference(channels)):
        yield _missing(missing)


def rules(own: Sequence[str], community: Sequence[str]) -> Iterator[Check]:
    """The files of rules about replies that the configuration names; nothing where it names none."""
    from bouncekit.outside.builtin import open_rules

    files = (*own, *community)
    if not files:
        return
    try:
        judging = open_rules(*own, community=community)
    except (BouncekitError, OSError) as error:
        yield _unreadable(error, f"bouncekit policy check {' '.join(files)}", name="rules")
        return
    count = sum(rule.step in (Step.OWN, Step.COMMUNITY) for rule in judging.rules)
    yield Check("rules", Level.OK, f"{', '.join(files)}: {count} before the shipped ones")


def _unreadable(error: Exception, advice: str, name: str = "policy") -> Check:
    """How many mistakes there are, and the first of them: the others would fill the screen."""
    findings: tuple[Finding, ...] = getattr(error, "findings", ())
    if not findings:
        return failed(name, error, "" if "; " in str(error) else "put the file there, or name another")
    many = f"{len(findings)} mistakes, the first: " if len(findings) > 1 else ""
    return Check(name, Level.FAIL, f"{many}{findings[0]}", f"see them all: {advice}")


def _examples(opened: Policy, name: str) -> Check:
    from bouncekit.outside.builtin import classifier_with
    from bouncekit.policyfiles.policytrial import run_examples

    results = run_examples(opened, classifier_with(opened.meaning).classify)
    wrong = sum(not result.ok for result in results)
    if not wrong:
        return Check("policy's examples", Level.OK, f"all {len(results)} are decided as they say")
    advice = f"bouncekit policy test {name}"
    return Check("policy's examples", Level.FAIL, f"{wrong} of {len(results)} are decided otherwise", advice)


def _channel(role: str, opened: Policy, channels: Mapping[str, object], place: Callable[[str], str]) -> Check:
    from bouncekit.notify import channel

    name = f"channel {role}"
    if role not in opened.channels:
        known = ", ".join(opened.channels) or "none"
        return Check(name, Level.FAIL, "the policy has no such channel", f"rename it; the policy has: {known}")
    try:
        channel(channels[role])
    except (BouncekitError, OSError) as error:
        return failed(name, error, "write 'mailto:ops@example.com' or an apprise URL")
    return Check(name, Level.OK, f"set up in {place(role)}")


def _missing(roles: Sequence[str]) -> Check:
    """Those whom nobody reaches: in one line, since it is one thing to do."""
    advice = f"[channels] {roles[0]} = 'mailto:...' in bouncekit.toml, or channels={{...}} in the code"
    return Check("channels", Level.WARN, f"{', '.join(roles)}: not set up, their notices are events only", advice)
