"""The checks of `bouncekit doctor`: what is here, whether it will do, and what to do where it will not."""

import os
import platform
import smtplib
import sqlite3
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bouncekit.cli.settings import sqlite_path
from bouncekit.client import Relay
from bouncekit.config import Config
from bouncekit.errors import BouncekitError, ConfigurationError, Finding
from bouncekit.policy import Policy

__all__ = ["Check", "Level", "checkup"]

_DEPENDENCIES = ("click", "dnspython", "idna", "pydantic", "pyyaml", "structlog", "tenacity")
_EXTRAS = {"rich": ("cli", "colour in the terminal"), "apprise": ("notify", "channels by apprise URL")}
_OLDEST_PYTHON = (3, 11)
_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
_RELAY_SECONDS = 15.0
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class Level(StrEnum):
    """How much a check matters."""

    OK = "ok"
    WARN = "warn"  # works, but look at it
    FAIL = "fail"  # does not work


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, and what to do about it."""

    name: str
    level: Level
    found: str
    advice: str = ""


def checkup(*, relay: str | None, policy: str | None, store: str | None, insecure_tls: bool) -> Iterator[Check]:
    """All checks, in the order in which they should be mended."""
    yield from _machine()
    try:
        config = Config.read().with_options(relay=relay, policy=policy, store=store)
    except ConfigurationError as error:
        yield Check("configuration", Level.FAIL, str(error), "correct it; until then the rest cannot be checked")
        return
    yield _sources(config)
    yield _attempt("retry", lambda: _retry(config))
    yield from _policy(config)
    yield _attempt("store", lambda: _store(config))
    if config.relay is not None:
        yield from _relay(config.relay, insecure_tls=insecure_tls)


def _attempt(name: str, check: Callable[[], Check]) -> Check:
    """A check; what it raises is a failure."""
    try:
        return check()
    except (BouncekitError, OSError, sqlite3.Error) as error:
        return Check(name, Level.FAIL, f"{error}")


# -- the installation


def _machine() -> Iterator[Check]:
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


def _sources(config: Config) -> Check:
    places = sorted(set(config.sources.values()))
    return Check("configuration", Level.OK, ", ".join(places) or "none: the defaults hold")


def _retry(config: Config) -> Check:
    """What a postmaster makes of these settings; it raises for one that it does not have."""
    from bouncekit.office import open_office

    office = open_office(retry=config.retry, patience=config.patience, on_store_failure=config.on_store_failure)
    found = f"{office.retry}, for at most {config.patience}" if office.retry == "wait" else f"{office.retry}"
    return Check("retry", Level.OK, found)


def _policy(config: Config) -> Iterator[Check]:
    from bouncekit.builtin import open_policy

    try:
        policy = open_policy(config.policy)
    except BouncekitError as error:
        yield Check("policy", Level.FAIL, _first_of(error), f"bouncekit policy check {config.policy}")
        return
    yield Check("policy", Level.OK, f"{policy.name}: {len(policy.rules)} rules, {len(policy.sessions)} about sessions")
    yield _examples(config, policy)
    for role in sorted({*policy.channels, *config.channels}):
        yield _channel(config, policy, role)


def _first_of(error: BouncekitError) -> str:
    """The first of many mistakes: the others would fill the screen."""
    findings: tuple[Finding, ...] = getattr(error, "findings", ())
    return f"{findings[0]} (and {len(findings) - 1} more)" if len(findings) > 1 else str(error)


def _examples(config: Config, policy: Policy) -> Check:
    from bouncekit.builtin import classify
    from bouncekit.policytrial import run_examples

    results = run_examples(policy, classify)
    failed = sum(not result.ok for result in results)
    if not failed:
        return Check("policy's examples", Level.OK, f"all {len(results)} are decided as they say")
    advice = f"bouncekit policy test {config.policy}"
    return Check("policy's examples", Level.FAIL, f"{failed} of {len(results)} are decided otherwise", advice)


def _channel(config: Config, policy: Policy, role: str) -> Check:
    from bouncekit.notify import channel

    name = f"channel {role}"
    if role not in policy.channels:
        known = ", ".join(policy.channels) or "none"
        return Check(name, Level.FAIL, "the policy has no such channel", f"rename it; the policy has: {known}")
    if role not in config.channels:
        advice = f"[channels] {role} = 'mailto:...' in bouncekit.toml, or channels={{...}} in the code"
        return Check(name, Level.WARN, "not set up: its notices are events only", advice)
    try:
        channel(config.for_postmaster()["channels"][role])
    except (BouncekitError, OSError) as error:
        return Check(name, Level.FAIL, str(error))
    return Check(name, Level.OK, f"set up in {config.sources[f'channels.{role}']}")


# -- the store


def _store(config: Config) -> Check:
    from bouncekit.stores import open_store

    if config.store is None:
        advice = "store = 'sqlite:///bounces.db' in bouncekit.toml, or BOUNCEKIT_STORE"
        return Check("store", Level.WARN, "none: suppressions are forgotten when the process ends", advice)
    path = sqlite_path(config.store)
    if path is None or path.exists():
        open_store(config.store).close()
        return _writable(path) if path else Check("store", Level.OK, "in memory")
    if os.access(path.parent, os.W_OK | os.X_OK):
        return Check("store", Level.OK, f"{path}: not there yet, the first use makes it")
    return Check("store", Level.FAIL, f"{path}: not there, and cannot be made", f"a folder {path.parent} to write in")


def _writable(path: Path) -> Check:
    """Whether a transaction can be begun and written, which is then rolled back."""
    from bouncekit.stores.schema import newest_version

    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE written_by_the_doctor (x)")
        connection.execute("ROLLBACK")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (number,) = connection.execute("SELECT count(*) FROM suppressions").fetchone()
    found = f"{path}: sound, writable, schema {version} of {newest_version()}, {number} suppressions"
    return Check("store", Level.OK, found)


# -- the relay


def _relay(url: str, *, insecure_tls: bool) -> Iterator[Check]:
    """Greet it, put TLS on, log in; what fails ends it."""
    from bouncekit.smtp import LMTP, SMTP, SMTP_SSL

    try:
        relay = Relay.parse(url)
    except ConfigurationError as error:
        yield Check("relay", Level.FAIL, str(error), "correct its URL")
        return
    context = _context(insecure=insecure_tls)
    place = f"{relay.scheme}://{relay.host}:{relay.port}"
    try:
        match relay.scheme:
            case "smtps":
                smtp: SMTP = SMTP_SSL(relay.host, relay.port, timeout=_RELAY_SECONDS, context=context)
            case "lmtp":
                smtp = LMTP(relay.host, relay.port, timeout=_RELAY_SECONDS)
            case _:
                smtp = SMTP(relay.host, relay.port, timeout=_RELAY_SECONDS)
    except ssl.SSLError as error:
        yield _bad_certificate(error)
        return
    except (BouncekitError, OSError, smtplib.SMTPException) as error:
        yield Check("relay", Level.FAIL, f"{place}: {error}", "is it running, and is this its host and port?")
        return
    try:
        yield from _dialogue(smtp, relay, place, context)
    except ssl.SSLError as error:
        yield _bad_certificate(error)
    except smtplib.SMTPAuthenticationError as error:
        yield Check("relay login", Level.FAIL, f"{error.smtp_code} {error.smtp_error!r}", "user and password?")
    except (OSError, smtplib.SMTPException) as error:
        yield Check("relay", Level.FAIL, str(error))
    finally:
        smtp.close()


def _dialogue(smtp: smtplib.SMTP, relay: Relay, place: str, context: ssl.SSLContext) -> Iterator[Check]:
    smtp.ehlo_or_helo_if_needed()
    yield Check("relay", Level.OK, f"{place} greets; it offers {', '.join(sorted(smtp.esmtp_features)) or 'nothing'}")
    is_safe = isinstance(smtp.sock, ssl.SSLSocket)
    if not is_safe and smtp.has_extn("starttls"):
        smtp.starttls(context=context)
        smtp.ehlo_or_helo_if_needed()
        is_safe = True
    yield _tls(relay, context, is_safe=is_safe)
    if relay.user is not None and is_safe:
        smtp.login(relay.user, relay.password or "")
        yield Check("relay login", Level.OK, f"as {relay.user}")
    smtp.quit()


def _tls(relay: Relay, context: ssl.SSLContext, *, is_safe: bool) -> Check:
    if is_safe and context.verify_mode is ssl.CERT_NONE:
        return Check("relay TLS", Level.WARN, "encrypted; nobody verified the certificate", "drop --insecure-tls")
    if is_safe:
        return Check("relay TLS", Level.OK, "encrypted, certificate verified")
    if relay.scheme == "smtp+tls" or relay.user is not None:
        return Check("relay TLS", Level.FAIL, "the relay offers no STARTTLS", "no login and no smtp+tls without it")
    if relay.host in _LOCAL_HOSTS:
        return Check("relay TLS", Level.OK, "in clear, on this machine")
    return Check("relay TLS", Level.WARN, "in clear: whoever is between here and there reads along", "turn on STARTTLS")


def _bad_certificate(error: ssl.SSLError) -> Check:
    why = getattr(error, "verify_message", "") or error.reason or str(error)
    return Check(
        "relay TLS", Level.FAIL, f"TLS failed: {why}", "a certificate for this host name; a private CA: SSL_CERT_FILE"
    )


def _context(*, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
