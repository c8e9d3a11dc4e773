"""`bouncekit worker`: send what is queued, until somebody stops it; several may work on one store."""

from typing import TYPE_CHECKING

import click

from bouncekit.cli.application import app_option, opened
from bouncekit.cli.output import show_json, show_line
from bouncekit.cli.settings import json_option, policy_option, store_option
from bouncekit.cli.stopping import stopped_by_signal, woken_by_hangup
from bouncekit.cli.waiting import in_words
from bouncekit.words.errors import ConfigurationError

if TYPE_CHECKING:
    from bouncekit.delivery.events import Event
    from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["verb"]

_TICK_SECONDS = 1.0
_STOP_SECONDS = 660.0  # a server may take ten minutes for the dot (RFC 5321 4.5.3.2.6)


@click.command()
@app_option
@click.option("--concurrency", type=click.IntRange(1, 100), help="Send so many messages at the same time.")
@policy_option
@store_option
@json_option("the events of this process, one JSON document a line")
def verb(app: str | None, concurrency: int | None, policy: str | None, store: str | None, as_json: bool) -> int:
    """Send what is queued when it is due, and forward events to the sinks, until stopped.

    \b
    bouncekit worker --store sqlite:///bounces.db
    bouncekit worker --app shop.mail:postmaster --concurrency 4

    Relays and sinks are those of the application's postmaster (--app package.module:postmaster), else of the
    configuration; without a relay it only forwards.
    SIGTERM and Ctrl-C let the messages under way be finished and give the others back; a second one ends at once.
    SIGHUP reads the policy and its rules again; where they are faulty, those from before hold on. With watch_policy in
    the configuration so does a change of their files.
    """
    with (
        opened(app, policy=policy, store=store, with_sinks=True) as postmaster,
        stopped_by_signal() as stop,
        woken_by_hangup() as again,
    ):
        only_forwards = bool(postmaster.forwarding.sinks) and not postmaster.office.relays
        worker = None if only_forwards else postmaster.worker(concurrency=concurrency)
        if as_json:
            postmaster.on()(lambda event: show_json(event.to_dict()))
        else:
            postmaster.on("policy_loaded", "policy_refused")(_tell_of_policy)
        click.echo(_what_there_is(postmaster), err=as_json)
        if worker is not None:
            worker.start()
        postmaster.forwarding.start()
        while not stop.wait(_TICK_SECONDS):
            if again.is_set():
                again.clear()
                _reload(postmaster)
            postmaster.office.law.look()
        click.echo("bouncekit worker: stopping; the messages under way are finished", err=as_json)
        return 0 if worker is None or worker.stop(_STOP_SECONDS) else 1


def _reload(postmaster: "Postmaster") -> None:
    """What is wrong is told by an event, which is printed."""
    try:
        if not postmaster.reload(by="SIGHUP"):
            click.echo("bouncekit worker: the policy is the same as before", err=True)
    except ConfigurationError:
        return


def _tell_of_policy(event: "Event") -> None:
    details, policy = event.details, f"{event.occasion.policy} ({event.occasion.policy_hash[:8]})"
    if event.type == "policy_loaded":
        show_line(f"bouncekit worker: policy {policy} holds from now on, by {details['by']}")
    else:
        show_line(f"bouncekit worker: the policy is faulty, {policy} holds on: {details['why']}")


def _what_there_is(postmaster: "Postmaster") -> str:
    office = postmaster.office
    now = office.clock.now()
    sinks = ", ".join(sink.name for sink in postmaster.forwarding.sinks)
    parts = (
        f"through {', '.join(office.relays)}; {in_words(office.store.depth(now), now)}" if office.relays else "",
        f"events to {sinks}" if sinks else "",
    )
    return f"bouncekit worker: {'; '.join(filter(None, parts))}"
