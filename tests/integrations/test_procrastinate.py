"""procrastinate on a real PostgreSQL, which has the queue too: its workers send, every recipient once."""

import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from bouncekit.testing import ScriptedServer, Silence
from tests.postgresql import new_schema, server_url

from .engine import Shop, until

pytest.importorskip("procrastinate", reason="python -m pip install procrastinate")

APPLICATION = """
    import procrastinate

    from bouncekit.integrations.procrastinate import tick

    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo={engine!r}),
        worker_defaults={{"update_heartbeat_interval": 0.2, "stalled_worker_timeout": 1}},
    )
    run_due = tick(app, postmaster, cron="* * * * * *", seconds=1)
"""
Serve = Callable[..., ScriptedServer]

WORK = ("procrastinate", "--app", "shop.app", "worker", "--fetch-job-polling-interval", "0.2")


@pytest.fixture
def engine(shop: Shop) -> Iterator[str]:
    """A database that has the engine's tables; the shop's own are beside them."""
    with new_schema() as store:
        server, schema = server_url(), store.rpartition("schema=")[2]
        url = f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{schema}"
        shop.store = store
        shop.write(APPLICATION.format(engine=url))
        with shop.running("procrastinate", "--app", "shop.app", "schema", "--apply") as process:
            assert process.wait(30) == 0, shop.log()
        yield url


def jobs(engine: str) -> Counter[str]:
    """How many ticks there are in each state."""
    import psycopg

    with psycopg.connect(engine) as connection:
        found = connection.execute("SELECT status::text, count(*) FROM procrastinate_jobs GROUP BY 1").fetchall()
    return Counter(dict(found))


def test_two_workers_send_to_every_recipient_once(shop: Shop, engine: str) -> None:
    recipients = [f"r{number}@example.com" for number in range(60)]
    shop.submit(*recipients[:40])
    with shop.running(*WORK), shop.running(*WORK):
        assert until(lambda: len(shop.received()) == 40), shop.log()
        shop.submit(*recipients[40:])
        assert until(lambda: len(shop.received()) == 60), shop.log()
    assert set(shop.received().values()) == {1}
    assert jobs(engine)["failed"] == 0, shop.log()


def test_a_tick_whose_worker_was_killed_is_finished_by_the_next_one(shop: Shop, engine: str, serve: Serve) -> None:
    shop.server = serve({"END_OF_DATA": [Silence()]})
    shop.write(APPLICATION.format(engine=engine))
    with shop.running(*WORK) as worker:
        shop.submit("slow@example.com")
        assert until(lambda: any(session.raw.endswith(b"\r\n.\r\n") for session in shop.server.sessions)), shop.log()
        assert jobs(engine)["doing"] >= 1, shop.log()
        worker.kill()
        worker.wait()
    time.sleep(1.5)  # so long its heart must not have beaten
    with shop.running(*WORK):
        shop.submit("next@example.com")
        assert until(lambda: shop.received()["next@example.com"] == 1), shop.log()
        assert until(lambda: jobs(engine)["failed"] >= 1), shop.log()


def test_workers_that_were_away_find_one_tick_and_no_heap(shop: Shop, engine: str) -> None:
    with shop.running(*WORK) as worker:
        assert until(lambda: jobs(engine)["succeeded"] >= 2), shop.log()
        worker.terminate()
        worker.wait(30)
    before = jobs(engine)
    time.sleep(3)
    with shop.running(*WORK):
        assert until(lambda: jobs(engine)["succeeded"] > before["succeeded"]), shop.log()
    assert jobs(engine)["todo"] <= 1
