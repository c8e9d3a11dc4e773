"""Random servers against every way to send: what they took is held against what everybody was told.

A server answers by chance, well or badly, and breaks off where it likes. What waits is sent by a worker until nobody
does. Then nobody may be lost, have a second copy that was not marked as possible, or be suppressed for another's fault.
"""

import random
import smtplib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from email.message import EmailMessage
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bouncekit import Client, Event
from bouncekit.outside.builtin import open_policy
from bouncekit.policy.policy import Policy
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Closing, Cut, Dropped, Kept, ManualClock, ScriptedServer, Usual
from bouncekit.testing.answers import Answer
from bouncekit.testing.records import Received
from bouncekit.testing.script import Cues
from tests.wires import AwaitedClient

_POLICY = """
policy: 1
extends: default
throttles: {relays: {main: {rate: 20/1s, at_once: 3}}}
rules:
- {id: pausing, when: {category: rate_limited}, do: retry, wait: 10m, pause: {for: 5m}}
- {id: slowing, when: {category: system_error, permanent: false}, do: retry, wait: 10m, slow: {by: 2}}
"""
_LATER = ("421 4.3.2 Closing", "221 2.0.0 Bye")
_ANYWHERE: list[Answer] = [
    Cut("fin"),
    Cut("rst"),
    Cut("fin", after=b"25"),
    *map(Closing, _LATER),
    *_LATER,
    "451 4.3.0 Local error",
]
_ANSWERS: dict[str, list[Answer]] = {
    "CONNECT": [Cut("fin"), "421 4.3.2 Busy", "554 5.3.2 Not now"],
    "EHLO": [Cut("rst"), "421 4.3.2 Busy"],
    "MAIL": [*_ANYWHERE, "450 4.7.1 Too much mail from you"],
    "RCPT": [*_ANYWHERE, "452 4.5.3 Too many recipients", "452 4.2.2 Over quota", "450 4.2.0 Greylisted"],
    "DATA": [*_ANYWHERE, "554 5.7.1 No valid recipients"],
    "BODY": [Cut("fin"), Closing("421 4.3.2 Closing")],
    "END_OF_DATA": [*_ANYWHERE, Kept(Cut("fin")), Kept(Cut("rst", after=b"25")), Dropped(Cut("fin"))],
    "RSET": [Cut("fin"), "421 4.3.2 Closing"],
}


class ByChance(Cues):
    """Answers as it is asked, but now and then; nobody whose name is bad has a mailbox."""

    def __init__(self, seed: int, share: float) -> None:
        super().__init__({})
        self._random, self._share = random.Random(seed), share

    def next(self, stage: str, address: str = "") -> Answer:
        if stage in _ANSWERS and self._random.random() < self._share:
            return self._random.choice(_ANSWERS[stage])
        return "550 5.1.1 No such user" if stage == "RCPT" and address.startswith("bad") else Usual()


def letters(chance: random.Random, count: int) -> Iterator[EmailMessage]:
    """Messages to between one and five people each, of whom few are bad."""
    for number in range(count):
        people = [f"{'bad' if chance.random() < 0.05 else 'jo'}{number}-{one}" for one in range(chance.randint(1, 5))]
        made = EmailMessage()
        made["From"], made["Subject"] = "shop@example.org", str(number)
        made["To"] = ", ".join(f"{person}@example.com" for person in people)
        made["X-Bouncekit-Class"] = chance.choice(["transactional", "bulk"])
        made.set_content("Good day.\n" * chance.choice([1, 20_000 if number % 20 == 0 else 1]))
        yield made


def one_by_one(client: Any, messages: Iterator[EmailMessage]) -> None:
    for message in messages:
        with suppress(smtplib.SMTPException, OSError):  # the events tell all of it
            client.send(message)


def in_a_stream(client: Any, messages: Iterator[EmailMessage]) -> None:
    with closing(client.send_all(messages)) as reports:
        for _ in reports:
            pass


def many(client: Any, messages: Iterator[EmailMessage]) -> None:
    client.send_many(messages)


def submitted(client: Any, messages: Iterator[EmailMessage]) -> None:
    for message in messages:
        client.submit(message)


def work(postmaster: Postmaster, clock: ManualClock) -> None:
    """Until nobody waits; what is begun and never settled is found when its lease ends."""
    worker, start = postmaster.worker(), clock.now()
    nothing = Postmaster().office.store.depth(start)
    while postmaster.office.store.depth(clock.now()) != nothing:
        worker.run_due()
        clock.move(timedelta(minutes=20))
        assert clock.now() - start < timedelta(days=20), postmaster.office.store.depth(clock.now())


def check(heard: list[Event], asked: set[str], taken: list[Received]) -> Counter[str]:
    """Hold what was taken against what was told; how many recipients came to which end."""
    copies = Counter(one for message in taken for one in message.recipients)
    ends: dict[str, list[Any]] = {one: [] for one in asked}
    marked: set[str] = set()
    for event in heard:
        if event.recipient is None or event.settlement is None or event.type.value != event.settlement.action.value:
            continue
        if event.settlement.possible_duplicate:
            marked.add(event.recipient)
        if event.settlement.is_final:
            ends[event.recipient].append(event.settlement)
    for recipient, found in ends.items():
        told = [one.action.value for one in found]
        assert len(told) == 1, f"{recipient}: {told}"
        number = copies[recipient]
        assert number <= 1 or recipient in marked, f"{recipient}: {number} copies, and not marked"
        assert number or told != ["delivered"], f"{recipient}: told to be delivered, and is not"
        assert not number or told == ["delivered"] or recipient in marked, f"{recipient}: has it, told {told}"
    return Counter(found[0].action.value for found in ends.values())


def run(folder: Path, *, seed: int, count: int, kind: Any, send: Any, share: float, **how: Any) -> Counter[str]:
    """Send so many messages in one way, see them through, and check."""
    chance, clock = random.Random(seed), ManualClock()
    extensions = ["ENHANCEDSTATUSCODES", "8BITMIME", *how.get("offers", ())]
    lmtp = bool(how.get("lmtp"))
    with (
        ScriptedServer(extensions=extensions, lmtp=lmtp) as main,
        ScriptedServer(extensions=extensions, lmtp=lmtp) as spare,
    ):
        main._cues, spare._cues = ByChance(seed, share), ByChance(seed + 1, share)
        relay = {"url": main.url, **({"fallback": "spare"} if how.get("fallback") else {})}
        with Postmaster(
            store=f"sqlite:///{folder / f'{seed}.db'}",
            policy=how.get("policy", "default"),
            clock=clock,
            retry="queue",
            worker="external",
            relays={"main": relay, "spare": spare.url},
        ) as postmaster:
            heard: list[Event] = []
            postmaster.on()(heard.append)
            messages = list(letters(chance, count))
            with kind("main", postmaster=postmaster, timeout=5, **how.get("options", {})) as client:
                send(client, iter(messages))
            work(postmaster, clock)
            listed = {one.address or "" for one in postmaster.suppressions}
    assert main.errors == spare.errors == ()
    assert all(one.startswith("bad") for one in listed), listed
    asked = {one for message in messages for one in message["To"].split(", ")}
    return check(heard, asked, [*main.messages, *spare.messages])


WAYS = {
    "lock-step": {"options": {"lock_step": True}},
    "pipelined": {"offers": ("PIPELINING",)},
    "bdat": {"offers": ("PIPELINING", "CHUNKING"), "options": {"chunking": True}},
    "lmtp": {"offers": ("PIPELINING",), "lmtp": True},
    "few at once": {"offers": ("PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=3")},
    "fallback": {"offers": ("PIPELINING",), "fallback": True},
    "throttled": {"offers": ("PIPELINING",), "fallback": True, "throttled": True},
}


@pytest.fixture(scope="module")
def throttled(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    file = tmp_path_factory.mktemp("policy") / "own.yaml"
    file.write_text(_POLICY, "utf-8")
    return open_policy(file)


@pytest.mark.parametrize(
    ("kind", "send"),
    [*product([Client, AwaitedClient], [one_by_one, in_a_stream, many]), (Client, submitted)],
)
@pytest.mark.parametrize("way", WAYS)
def test_nobody_is_lost_or_has_an_unmarked_copy(
    tmp_path: Path, throttled: Policy, way: str, kind: Any, send: Any
) -> None:
    how = dict(WAYS[way])
    if how.pop("throttled", False):
        how["policy"] = throttled
    seed = sum(map(ord, f"{way}{kind.__name__}{send.__name__}"))
    ends = run(tmp_path, seed=seed, count=5, kind=kind, send=send, share=0.08, **how)
    assert ends["delivered"]
