"""Celery with a real broker: its beat says when, its workers send, every recipient once."""

from collections.abc import Iterator

import pytest

from tests.valkey import Valkey

from .engine import Shop, until

pytest.importorskip("celery", reason="python -m pip install 'celery[redis]'")

APPLICATION = """
    from celery import Celery

    from bouncekit.integrations.celery import tick

    app = Celery("shop", broker={broker!r})
    run_due = tick(app, postmaster, every=0.5)
"""


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.close()


def test_a_beat_and_two_workers_send_to_every_recipient_once(shop: Shop, valkey: Valkey) -> None:
    shop.write(APPLICATION.format(broker=valkey.url))
    recipients = [f"r{number}@example.com" for number in range(60)]
    shop.submit(*recipients[:40])
    beat = ("--beat", "--schedule", str(shop.folder / "beat"), "--concurrency=2", "--loglevel=WARNING")
    with shop.running("celery", "-A", "shop:app", "worker", *beat):
        assert until(lambda: len(shop.received()) == 40), shop.log()
        shop.submit(*recipients[40:])
        assert until(lambda: len(shop.received()) == 60), shop.log()
    assert set(shop.received().values()) == {1}
    assert "Error" not in shop.log()


def test_the_task_waits_no_longer_than_until_the_next_one(shop: Shop, valkey: Valkey) -> None:
    """Workers that were away find no heap of ticks when they come back."""
    from celery import Celery

    from bouncekit.integrations.celery import tick
    from bouncekit.postmaster.postmaster import Postmaster

    app = Celery("shop", broker=valkey.url)
    with Postmaster(store=shop.store, retry="queue", worker="external", relays={"main": shop.server.url}) as postmaster:
        task = tick(app, postmaster, every=7)
    app.finalize()
    (entry,) = app.conf.beat_schedule.values()
    assert (entry["task"], entry["schedule"], entry["options"]["expires"]) == (task.name, 7, 7)
    assert task.ignore_result
