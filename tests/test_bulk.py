"""Many messages over several connections: batches, back pressure, results, and what ends it. Of both clients."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from email.message import EmailMessage
from typing import Any

import pytest

from bouncekit import Client, ConfigurationError, Report, StoreUnavailable
from bouncekit.clients.bulk import BATCH
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import Cut, Delay, Kept, ScriptedServer, Usual
from bouncekit.words.errors import StoreError

from .conftest import message
from .wires import AwaitedClient

Serve = Callable[..., ScriptedServer]
SendMany = Callable[..., Any]
SENDER = "shop@example.org"
CONTENT = b"Subject: Hello\r\n\r\nGood day.\r\n"


@pytest.fixture(params=[Client, AwaitedClient])
def client_of(request: pytest.FixtureRequest) -> Callable[..., AbstractContextManager[Client]]:
    """Makes clients of either kind, with up to four connections."""

    def make(server: ScriptedServer, postmaster: Postmaster) -> AbstractContextManager[Client]:
        more = {"connections": 4} if request.param is AwaitedClient else {}
        return request.param(server.url, postmaster=postmaster, **more)  # type: ignore[no-any-return]

    return make


def letters(count: int) -> Iterator[EmailMessage]:
    return (message(f"user{number}@example.com", subject=str(number)) for number in range(count))


def test_every_message_has_its_result_and_the_tally_counts_recipients(
    serve: Serve, postmaster: Postmaster, client_of: SendMany
) -> None:
    server = serve({"RCPT": {"user7@example.com": "550 5.1.1 No such user", "user8@example.com": "451 4.3.0 Later"}})
    results: dict[str, str] = {}

    def hear(letter: EmailMessage, report: Report) -> None:
        assert report.recipients[0].recipient == letter["To"]
        results[letter["Subject"]] = report.recipients[0].action.value

    with client_of(server, postmaster) as client:
        tally = client.send_many(letters(80), on_result=hear)
    assert tally == {"delivered": 78, "failed": 1, "delayed": 1}
    assert len(results) == 80
    assert (results["7"], results["8"]) == ("failed", "delayed")
    assert 1 < len(server.sessions) <= 4
    assert {server.copies(f"user{number}@example.com") for number in range(80)} == {0, 1}


def test_one_message_goes_to_any_number_of_recipients_a_hundred_at_a_time(
    serve: Serve, postmaster: Postmaster, client_of: SendMany
) -> None:
    server = serve()
    people = [f"user{number}@example.com" for number in range(250)]
    given = [
        message(*people),
        (message("list@example.com", subject="to others"), (f"x.{one}" for one in people)),
        (SENDER, (f"y.{one}" for one in people), CONTENT),
    ]
    sizes: list[int] = []
    with client_of(server, postmaster) as client:
        tally = client.send_many(given, on_result=lambda letter, report: sizes.append(len(report.recipients)))
    assert tally == {"delivered": 750}
    assert sorted(sizes) == [50, 50, 50] + [BATCH] * 6
    assert all(server.copies(f"{prefix}{one}") == 1 for prefix in ("", "x.", "y.") for one in people)


def test_who_is_named_twice_in_a_list_gets_one_copy(serve: Serve, postmaster: Postmaster, client_of: SendMany) -> None:
    server = serve()
    people = [*(f"user{number}@example.com" for number in range(150)), "user7@example.com", "Jo <user8@example.com>"]
    given = [(message("list@example.com"), iter(people)), (SENDER, (f"y.{one}" for one in people[:-1]), CONTENT)]
    with client_of(server, postmaster) as client:
        assert client.send_many(given) == {"delivered": 300}
    assert all(
        server.copies(f"{prefix}user{number}@example.com") == 1 for prefix in ("", "y.") for number in range(150)
    )


def test_an_endless_list_is_never_read_ahead_of_what_is_under_way(
    serve: Serve, postmaster: Postmaster, client_of: SendMany
) -> None:
    server = serve()
    ahead = itertools.count()
    under_way = furthest = 0
    lock = threading.Lock()

    def each() -> Iterator[EmailMessage]:
        nonlocal under_way, furthest
        for letter in letters(120):
            next(ahead)
            with lock:
                under_way += 1
                furthest = max(furthest, under_way)
            yield letter

    def hear(letter: EmailMessage, report: Report) -> None:
        nonlocal under_way
        with lock:
            under_way -= 1

    with client_of(server, postmaster) as client:
        client.send_many(each(), on_result=hear)
    assert under_way == 0
    assert furthest <= 20


def test_a_line_that_is_cut_in_the_midst_costs_nobody_a_message(
    serve: Serve, postmaster: Postmaster, client_of: SendMany
) -> None:
    server = serve({"RCPT": [Cut("fin")]})
    with client_of(server, postmaster) as client:
        tally = client.send_many(letters(40))
    assert tally == {"delivered": 40}
    assert [server.copies(f"user{number}@example.com") for number in range(40)] == [1] * 40


def test_what_the_list_raises_is_raised_when_what_is_under_way_has_its_end(
    serve: Serve, postmaster: Postmaster, client_of: SendMany
) -> None:
    server = serve()

    def each() -> Iterator[EmailMessage]:
        yield from letters(10)
        raise LookupError("the list is broken")

    with client_of(server, postmaster) as client, pytest.raises(LookupError, match="the list is broken"):
        client.send_many(each())
    assert all(server.copies(f"user{number}@example.com") <= 1 for number in range(10))


def test_what_is_raised_for_one_result_cuts_no_other_message_and_its_result_is_told(
    serve: Serve, postmaster: Postmaster, client_of: SendMany
) -> None:
    server = serve({"END_OF_DATA": [Usual(), Kept(Delay(0.5))]})  # the second of the first two takes its time
    results: list[str] = []

    def hear(letter: EmailMessage, report: Report) -> None:
        results.extend(one.action.value for one in report.recipients)
        if len(results) == 1:
            raise LookupError("the application's own trouble")

    with client_of(server, postmaster) as client, pytest.raises(LookupError):
        client.send_many(letters(2), on_result=hear)
    assert results == ["delivered"] * len(server.messages)


class FailingStore(MemoryStore):
    """Answers so often, then no more."""

    left = 20

    def look_up(self, *arguments: object, **options: object) -> Any:
        type(self).left -= 1
        if self.left < 0:
            raise StoreError("the disk is gone")
        return super().look_up(*arguments, **options)  # type: ignore[arg-type]


def test_a_store_that_fails_in_the_midst_ends_it(
    serve: Serve, make_postmaster: Callable[..., Postmaster], client_of: SendMany, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    monkeypatch.setattr(FailingStore, "left", 20)
    with client_of(server, make_postmaster(store=FailingStore())) as client, pytest.raises(StoreUnavailable):
        client.send_many(letters(200))
    assert len(server.messages) <= 20


def test_the_blocking_one_reads_and_reports_in_the_calling_thread(serve: Serve, postmaster: Postmaster) -> None:
    server, threads = serve(), set()

    def each() -> Iterator[EmailMessage]:
        for letter in letters(20):
            threads.add(threading.current_thread())
            yield letter

    with Client(server.url, postmaster=postmaster) as client:
        client.send_many(each(), on_result=lambda letter, report: threads.add(threading.current_thread()))
        with pytest.raises(ConfigurationError):
            client.send_many([], concurrency=0)
    assert threads == {threading.current_thread()}
    assert not [one for one in threading.enumerate() if one.name.startswith("bouncekit-bulk") and not one.daemon]
