"""`bouncekit doctor`: whether everything that bouncekit needs here is there, and what to do where it is not."""

from collections import Counter

import click

from bouncekit.cli.output import show_json, show_line, show_table
from bouncekit.cli.settings import json_option, policy_option, store_option

__all__ = ["verb"]


@click.command()
@click.option("--relay", metavar="URL", help="Also greet this relay; else BOUNCEKIT_RELAY, if set.")
@click.option("--insecure-tls", is_flag=True, help="Take any certificate of the relay.")
@policy_option
@store_option
@json_option("one JSON document: ok, and checks with name, level, found, advice")
def verb(relay: str | None, insecure_tls: bool, policy: str | None, store: str | None, as_json: bool) -> int:
    """Check the installation, the configuration, the policy, the store and the relay.

    Each check is ok, warn or fail, with what to do. Exit code 1 when one fails. No message is sent.
    """
    from bouncekit.cli.checks import Level, checkup

    checks = list(checkup(relay=relay, policy=policy, store=store, insecure_tls=insecure_tls))
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
