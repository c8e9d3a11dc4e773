"""`bouncekit forget ADDRESS`: erase somebody who asks for it, and still never write to him."""

import click

from bouncekit.cli.output import show_json, show_line, show_table
from bouncekit.cli.settings import by_option, configured, json_option, open_postmaster, store_option

__all__ = ["verb"]

_PARTS = {
    "dropped": "messages in the queue, dropped",
    "suppressions": "entries of the suppression list",
    "changes": "changes of that list",
    "events": "events",
    "outcomes": "outcomes",
    "strikes": "strikes",
    "messages": "messages that were kept",
}


@click.command()
@click.argument("address")
@by_option
@store_option
@json_option("one JSON document: pseudonym, complete, and how much was found where")
def verb(address: str, by: str, store: str | None, as_json: bool) -> int:
    """Erase ADDRESS from the store: queue, events, outcomes, audit and list, of every tenant.

    \b
    bouncekit forget bob@example.com --store sqlite:///bounces.db

    A pseudonym stays on the list, so that nobody writes to him; it needs the secret of `hash_keys`. Exit code 1 when
    something has to be done again later: it says what.
    """
    with open_postmaster(configured(store=store), needs_store=True, makes_store=False) as postmaster:
        done = postmaster.forget(address, by=by)
    erased = done.erased
    numbers = {name: getattr(erased, name, done.dropped) for name in _PARTS}
    if as_json:
        unfinished = {"sending": done.sending, "shared": erased.shared, "clean": erased.is_clean}
        show_json({"pseudonym": done.pseudonym, "complete": done.is_complete, **numbers, **unfinished})
        return 0 if done.is_complete else 1
    found = [(what, numbers[name]) for name, what in _PARTS.items() if numbers[name]]
    if found:
        show_table(("erased", ""), found)
    show_line(f"stays suppressed as {done.pseudonym}")
    if done.sending:
        show_line(f"{done.sending:,} messages to him are being sent right now: do it again in a quarter of an hour")
    if erased.shared:
        show_line(f"{erased.shared:,} queued messages name him in their text, and others wait for them: again then")
    if not erased.is_clean:
        show_line("others read the store just now, so a copy is left in its log: do it again")
    return 0 if done.is_complete else 1
