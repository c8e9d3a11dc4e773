"""How long a backtest takes: recorded outcomes of many messages, replayed through two policies.

    python -m tests.benchmarks.backtest [--events 100000]

Two thirds of the messages are delivered; the rest meet the replies in the examples of the shipped rules, and what the
default policy made of them stands in a SQLite store and in a file of JSON lines. The last line is of a policy that
looks at verdicts about domains, providers, senders and relays, each by its weight.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bouncekit.cli.backtest import _of_lines, _of_store, judge
from bouncekit.delivery.events import Event, Occasion, events_of
from bouncekit.delivery.settlement import delivered, settle
from bouncekit.history.backtest import Backtest
from bouncekit.outside.builtin import classifier, classify, open_policy
from bouncekit.outside.provider import provider_of_host
from bouncekit.policy.rule import Circumstances
from bouncekit.postmaster.asking import status_of
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Recipient
from bouncekit.words.status import Action, RecipientStatus

_AT_ONCE = 500  # events told in one transaction
_HOSTS = ("gmail-smtp-in.l.google.com", "mta5.am0.yahoodns.net", "mx.example.com", "mx1.example.net")

_SUBJECTS = ("domain", "provider", "sender", "relay")
_OTHERS = "  - {id: of-%s, when: {seen: {times: 200, within: 30d, by: %s, half_after: 5d}}, do: hold}\n"


def events(count: int, *, seed: int = 1) -> Iterator[Event]:
    """So many events of mail, in the order of their times, the last a few minutes ago."""
    chance = random.Random(seed)
    refusals = [
        status_of(one.reply, stage=one.stage, accepted=one.accepted, individual=one.individual)
        for rule in classifier().rules
        for one in rule.examples
    ]
    at = datetime.now(UTC) - timedelta(seconds=count)
    for number in range(count):
        at += timedelta(seconds=1)
        to = Recipient.of(parse_address(f"r{chance.randrange(count // 3)}@d{chance.randrange(500)}.example"))
        to = replace(to, attempts=1, first_attempt_at=at)
        occasion = Occasion(attempt_id=f"a{number}", delivery_id=f"d{number}", message_id=f"<{number}@x>", at=at)
        said = chance.choice(refusals) if chance.random() < 1 / 3 else status_of("250 2.0.0 Ok")
        status = replace(said, recipient=to.address.wire, remote_mta=chance.choice(_HOSTS))
        yield events_of(_settled(status, to, at), occasion)[0]


def _settled(status: RecipientStatus, to: Recipient, at: datetime):  # type: ignore[no-untyped-def]  # a Settlement
    if status.code is not None and status.code < 300:
        return delivered(replace(status, action=Action.DELIVERED), to)
    policy, verdict = open_policy("default"), classify(status)
    done = policy.decide(verdict, to, Circumstances(now=at, counters=dict.fromkeys(policy.counters(verdict), 0)))
    return settle(verdict, done, to, policy=policy, at=at)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    count = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        path, made = Path(folder) / "events.jsonl", list(events(count))
        path.write_text("".join(json.dumps(event.to_dict()) + "\n" for event in made))
        with SqliteStore(Path(folder) / "b.db") as store:
            for start in range(0, count, _AT_ONCE):
                store.tell(made[start : start + _AT_ONCE])
            others = Path(folder) / "others.yaml"
            others.write_text("policy: 1\nextends: default\nrules:\n" + "".join(_OTHERS % (by, by) for by in _SUBJECTS))
            with path.open("rb") as lines:
                for name, source, policy in (
                    ("SQLite", _of_store(store, None), "bulk"),
                    ("JSON lines", _of_lines(lines), "bulk"),
                    ("SQLite, about others", _of_store(store, None), str(others)),
                ):
                    replay = Backtest(judge("default"), judge(policy), provider_of=provider_of_host)
                    began, busy = time.perf_counter(), time.process_time()
                    for told in source:
                        replay.feed(told)
                    took, used = time.perf_counter() - began, time.process_time() - busy
                    found = replay.difference
                    spent = f"{took:.1f} s, {used:.1f} of a core"
                    print(f"{name}: {found.outcomes:,} outcomes in {spent}, {found.changed:,} changed")


if __name__ == "__main__":
    main()
