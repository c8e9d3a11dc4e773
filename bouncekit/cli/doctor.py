"""`bouncekit doctor`: whether everything that bouncekit needs here is there, and what to do where it is not."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from bouncekit.cli.application import app_option, opened
from bouncekit.cli.output import show_json, show_line, show_table
from bouncekit.cli.settings import json_option, policy_option, store_option
from bouncekit.words.errors import BouncekitError, ConfigurationError

if TYPE_CHECKING:
    from bouncekit.cli.checks import Check
    from bouncekit.postmaster.config import Config
    from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["verb"]


@click.command()
@app_option
@click.option("--relay", metavar="URL", help="Also greet this relay; else BOUNCEKIT_RELAY, if set.")
@click.option("--insecure-tls", is_flag=True, help="Take any certificate of a relay.")
@policy_option
@store_option
@json_option("one JSON document: ok, and checks with name, level, found, advice")
def verb(
    app: str | None, relay: str | None, insecure_tls: bool, policy: str | None, store: str | None, as_json: bool
) -> int:
    """Check installation, configuration, policy, sinks, store, clock, queue and every relay.

    \b
    bouncekit doctor
    bouncekit doctor --app shop.mail:postmaster
    bouncekit doctor --relay smtp://localhost:25 --json

    With --app package.module:postmaster the application's own are looked at. Each check is ok, warn or fail, with what
    to do. Exit code 1 when one fails. Nothing is sent.
    """
    from bouncekit.cli.checks import Level

    if app and (policy or store):
        raise ConfigurationError("--app brings its own policy and store: leave --policy and --store out")
    checks = list(_checkup(app, relay=relay, policy=policy, store=store, insecure_tls=insecure_tls))
    levels = Counter(check.level for check in checks)
    is_well = not levels[Level.FAIL]
    if as_json:
        shown = [
            {"name": check.name, "level": check.level.value, "found": check.found, "advice": check.advice}
            for check in checks
        ]
        show_json({"ok": is_well, "checks": shown})
    else:
        show_table(
            ("", "check", "found", "what to do"),
            [(check.level.value, check.name, check.found, check.advice) for check in checks],
        )
        show_line()
        show_line(f"{levels[Level.OK]} ok, {levels[Level.WARN]} to look at, {levels[Level.FAIL]} to mend")
    return 0 if is_well else 1


def _checkup(
    app: str | None, *, relay: str | None, policy: str | None, store: str | None, insecure_tls: bool
) -> "Iterator[Check]":
    """All checks, in the order in which they should be mended."""
    from bouncekit.cli.checks import Check, Level, failed, machine
    from bouncekit.postmaster.config import Config

    yield from machine()
    if app is not None:
        with ExitStack() as stack:
            try:
                postmaster = stack.enter_context(opened(app, policy=None, store=None))
            except Exception as error:  # noqa: BLE001 - an application may fail in any way
                told = error if isinstance(error, BouncekitError) else ImportError(f"{type(error).__name__}: {error}")
                yield failed("application", told, "correct it; until then the rest cannot be checked")
                return
            yield Check("application", Level.OK, f"{app} is a postmaster")
            yield from _of_application(postmaster, relay, insecure_tls=insecure_tls)
        return
    try:
        config = Config.read().with_options(relay=relay, policy=policy, store=store)
    except ConfigurationError as error:
        yield failed("configuration", error, "correct it; until then the rest cannot be checked")
        return
    yield from _of_configuration(config, insecure_tls=insecure_tls)


def _of_configuration(config: "Config", *, insecure_tls: bool) -> "Iterator[Check]":
    from bouncekit.cli import checks, sinkchecks
    from bouncekit.cli.relaychecks import relay
    from bouncekit.cli.storechecks import store_and_more
    from bouncekit.outside.clock import SystemClock
    from bouncekit.policy.schedule import Retry

    settings = config.for_postmaster()
    relays, now = settings["relays"], SystemClock().now()
    yield checks.sources(config)
    yield checks.retry(Retry(config.retry), config.patience, store=config.store, relays=relays)
    yield from checks.policy(config.policy, settings["channels"], lambda role: config.sources[f"channels.{role}"])
    yield from checks.rules(config.rules, config.community_rules)
    yield from sinkchecks.configured(config.sinks)
    yield from (wrong := tuple(checks.settings(config)))
    keys = None if wrong else config.hash_keys
    yield from store_and_more(
        config.store, now=now, relays=relays, all_known=bool(config.relays), hash_keys=keys, cache=config.cache
    )
    for name, given in config.relays.items():
        yield from relay(f"relay {name}", given, insecure_tls=insecure_tls)
    if config.relay is not None and config.relay not in config.relays:
        yield from relay("relay", config.relay, insecure_tls=insecure_tls)


def _of_application(postmaster: "Postmaster", given: str | None, *, insecure_tls: bool) -> "Iterator[Check]":
    from bouncekit.cli import checks, sinkchecks
    from bouncekit.cli.relaychecks import relay
    from bouncekit.cli.storechecks import store_and_more
    from bouncekit.stores.memory import MemoryStore

    office = postmaster.office
    relays = office.relays
    store = None if isinstance(office.store, MemoryStore) else office.store
    yield checks.retry(office.retry, office.patience, store=store, relays=relays)
    yield from checks.policy(office.policy, office.notices.channels, lambda role: "the application")
    yield from sinkchecks.configured(postmaster.forwarding.sinks)
    yield from store_and_more(store, now=office.clock.now(), relays=relays, all_known=True)
    for name, one in relays.items():
        yield from relay(f"relay {name}", one, insecure_tls=insecure_tls)
    if given is not None:
        yield from relay("relay", given, insecure_tls=insecure_tls)
