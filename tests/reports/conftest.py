"""A postmaster with a week of mail behind him."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from bouncekit.policy.suppression import Evidence, Standing
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.reports.digest import Digest, digest
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock, ScriptedServer
from tests.building import suppression
from tests.conftest import message
from tests.contract.stores import put

EVIL = "<script>alert(1)</script>"
HINDI, RUSSIAN, ARABIC = "मेलबॉक्स भरा है", "Почтовый ящик не найден", "صندوق البريد ممتلئ"
WEEK, HOUR = timedelta(days=7), timedelta(hours=1)
SCRIPT = {
    "RCPT": {
        "full@example.com": f'552 5.2.2 Mailbox is full {EVIL} " onload="x',
        "gone@example.com": "550 5.1.1 No such user",
        "later@example.org": "452 4.2.2 Over quota",
        "hindi@example.com": f"552 5.2.2 {HINDI}",
        "russian@example.com": f"550 5.1.1 {RUSSIAN}",
        "arabic@example.com": f"552 5.2.2 {ARABIC}",
    }
}


@pytest.fixture(scope="package")
def sent() -> Iterator[Postmaster]:
    """Somebody who has sent a little every five hours for eight days, the last of it a minute ago.

    In the last two days three servers said something new; the guard holds two suppressions; no channel is set up.
    """
    clock = ManualClock()
    with (
        ScriptedServer(SCRIPT) as server,
        Postmaster(
            store=MemoryStore(), clock=clock, retry="queue", worker="external", relays={"main": server.url}
        ) as postmaster,
        postmaster.client("main", stream="news") as news,
        postmaster.client("main") as client,
    ):
        for number in range(40):
            if number == 32:
                client.send(message(*(f"{who}@example.com" for who in ("ann", "hindi", "russian", "arabic"))))
            client.send(message(f"user{number}@example.com", "gone@example.com" if number % 4 else "u@example.org"))
            news.send(message("ann@example.com", "full@example.com", "later@example.org"))
            clock.move(5 * HOUR if number < 39 else timedelta(minutes=1))
        evidence = Evidence(reply="550 5.1.1 A bad hour", fingerprint="bad")
        for address in ("cy@example.com", "di@example.com"):
            held = suppression(address, standing=Standing.HELD, evidence=evidence, expires_at=None)
            put(postmaster.office.store, held)
        yield postmaster


@pytest.fixture(scope="package")
def week(sent: Postmaster) -> Digest:
    return digest(sent.office, WEEK)
