"""The client on an event loop: what only it can do, and get wrong. What it shares is tested with the blocking one."""

import asyncio
import smtplib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme

from bouncekit import AsyncClient, ConfigurationError, Event, StoreUnavailable
from bouncekit.clients.aiooffice import Errand
from bouncekit.clients.aiosession import AsyncCarrying
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import LookedUp
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.protocol.conversation import Send
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import Closing, Delay, Kept, ScriptedServer, Silence, refusing_port
from bouncekit.transports.streams import StreamWire
from bouncekit.words.errors import StoreError

from .conftest import Heard, message

Serve = Callable[..., ScriptedServer]
SENDER, ADA, BOB, BAD = (f"{name}@example.com" for name in ("shop", "ada", "bob", "bad"))
BODY = "Subject: Hello\r\n\r\nGood day.\r\n"


def actions(report: Report) -> list[str]:
    return [one.action.value for one in report.recipients]


def said(server: ScriptedServer) -> str:
    """The last command that the server has heard."""
    sessions = server.sessions
    commands = sessions[-1].commands if sessions else ()
    return commands[-1].upper() if commands else ""


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds, while the loop goes on."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


# -- connections


def test_a_message_is_sent_and_everybody_has_an_outcome(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {BAD: "550 5.1.1 No such user"}})

    async def main() -> Report:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            return await client.send(message(ADA, BAD))

    report = asyncio.run(main())
    assert actions(report) == ["delivered", "failed"]
    assert list(report) == [BAD]
    assert server.wait_closed()
    assert server.sessions[0].commands[-1] == "quit"


@pytest.mark.parametrize("connections", [1, 3])
def test_tasks_share_no_more_connections_than_there_may_be(
    serve: Serve, postmaster: Postmaster, connections: int
) -> None:
    server = serve()
    people = [f"user{number}@example.com" for number in range(30)]

    async def main() -> None:
        async with AsyncClient(server.url, postmaster=postmaster, connections=connections) as client:
            await asyncio.gather(*(client.send(message(person)) for person in people))

    asyncio.run(main())
    assert len(server.sessions) == connections
    assert [server.copies(person) for person in people] == [1] * 30


def test_while_one_send_waits_for_its_server_others_go_on(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {BOB: Delay(0.5, "250 Ok")}})

    async def main() -> list[str]:
        order: list[str] = []
        async with AsyncClient(server.url, postmaster=postmaster, connections=2) as client:

            async def send(person: str) -> None:
                await client.send(message(person))
                order.append(person)

            await asyncio.gather(send(BOB), send(ADA))
        return order

    assert asyncio.run(main()) == [ADA, BOB]


def test_a_client_may_be_used_on_one_loop_after_the_other(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    client = AsyncClient(server.url, postmaster=postmaster)

    async def main(person: str) -> None:
        async with client:
            assert await client.send(message(person)) == {}

    for person in (ADA, BOB):
        asyncio.run(main(person))
    assert (server.copies(ADA), server.copies(BOB)) == (1, 1)


def test_a_connection_that_the_server_closed_meanwhile_is_dialled_again(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    server = serve()

    async def main() -> Report:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            await client.send(message(ADA))
            server.drop_all("fin")
            return await client.send(message(BOB))

    assert actions(asyncio.run(main())) == ["delivered"]
    assert heard.types.count("reconnected") == 1


def test_a_421_at_the_greeting_is_tried_again(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"CONNECT": [Closing("421 4.3.2 Busy")]})

    async def main() -> Report:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            return await client.send(message(ADA))

    assert actions(asyncio.run(main())) == ["delivered"]
    assert len(server.sessions) == 2


def test_a_relay_that_nobody_listens_at_raises_what_the_blocking_client_raises(postmaster: Postmaster) -> None:
    with refusing_port() as port:
        client = AsyncClient(f"smtp://127.0.0.1:{port}", postmaster=postmaster)
        with pytest.raises((ConnectionRefusedError, smtplib.SMTPException)) as raised:
            asyncio.run(client.send(message(ADA)))
    (one,) = raised.value.report.recipients  # type: ignore[union-attr]
    assert (one.action, one.stage, one.category) == ("delayed", "CONNECT", "network_error")


@pytest.mark.parametrize("scheme", ["smtp", "smtp+tls", "smtps"])
def test_a_login_goes_over_verified_tls(serve: Serve, postmaster: Postmaster, scheme: str) -> None:
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(ours)
    server = serve(tls=theirs, implicit_tls=scheme == "smtps", users={"jo": "secret"}, auth_needs_tls=True)
    url = f"{scheme}://jo:secret@{server.host}:{server.port}"

    async def main() -> Report:
        async with AsyncClient(url, postmaster=postmaster, tls_context=ours) as client:
            return await client.send(message(ADA))

    assert actions(asyncio.run(main())) == ["delivered"]
    assert server.sessions[0].tls
    with pytest.raises((ssl.SSLError, smtplib.SMTPException)) as raised:
        asyncio.run(AsyncClient(url, postmaster=postmaster).send(message(BOB)))
    assert [one.category for one in raised.value.report.recipients] == ["tls_failure"]  # type: ignore[union-attr]


def test_a_login_never_travels_in_clear(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(users={"jo": "secret"})
    client = AsyncClient(f"smtp://jo:secret@{server.host}:{server.port}", postmaster=postmaster)
    with pytest.raises(smtplib.SMTPNotSupportedError):
        asyncio.run(client.send(message(ADA)))
    assert not any(b"AUTH" in session.raw.upper() for session in server.sessions)


@pytest.mark.parametrize(("url", "connections"), [("smtp://localhost", 0), ("mx:", 0), ("relay", 1)])
def test_what_it_cannot_send_through_is_said_when_it_is_made(
    postmaster: Postmaster, url: str, connections: int
) -> None:
    with pytest.raises(ConfigurationError):
        AsyncClient(url, postmaster=postmaster, connections=connections)


# -- a send that is cancelled


async def _cancelled_when(sending: "asyncio.Task[Report]", condition: Callable[[], object]) -> Report:
    """The report that goes with the cancellation."""
    await until(condition)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await sending
    assert sending.cancelled()
    report: Report = raised.value.report  # type: ignore[attr-defined]
    return report


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_a_send_that_is_cancelled_before_the_dot_delays_everybody_and_leaves_the_line(
    serve: Serve, postmaster: Postmaster, heard: Heard, stage: str
) -> None:
    server = serve({stage: [Silence()]}, extensions=("SIZE",))

    async def main() -> Report:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            sending = asyncio.create_task(client.sendmail(SENDER, [ADA, BOB], BODY))
            report = await _cancelled_when(sending, lambda: said(server).startswith(stage))
            assert actions(await client.sendmail(SENDER, [ADA], BODY)) == ["delivered"]
        return report

    report = asyncio.run(main())
    assert actions(report) == ["delayed", "delayed"]
    assert heard.types.count("delayed") == 2
    assert len(server.sessions) == 2
    assert server.copies(ADA) == 1


def test_a_send_that_is_cancelled_behind_the_dot_is_unknown(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"END_OF_DATA": [Kept(Silence())]})

    async def main() -> Report:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            sending = asyncio.create_task(client.sendmail(SENDER, [ADA], BODY))
            return await _cancelled_when(sending, lambda: server.messages)

    assert actions(asyncio.run(main())) == ["unknown"]
    assert server.copies(ADA) == 1


class _AtItsDot(AsyncCarrying):
    """A session in which all but the dot has gone out."""

    _may_dial = False
    hang_up = _made_ready = None  # type: ignore[assignment]

    def __init__(self, wire: StreamWire) -> None:
        self._wire = wire

    def transacting(self, step: Any, *, follows: bool = False) -> Any:
        try:
            yield Send(b".\r\n", 5.0)
        except OSError:
            return "not sent"
        return "sent"


def test_a_dot_that_goes_out_at_the_moment_of_a_cancellation_is_sent() -> None:
    async def main() -> None:
        loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
        with theirs:
            ours.setblocking(False)
            room = 0
            with suppress(BlockingIOError):
                while True:
                    room += ours.send(bytes(1000))
            _, wire = await loop.create_connection(StreamWire, sock=ours)
            errand = Errand(None)  # type: ignore[arg-type]
            sending = asyncio.create_task(_AtItsDot(wire).transact(None, errand))  # type: ignore[arg-type]
            await until(lambda: not wire.has_sent_all)
            while room:
                room -= len(theirs.recv(room))
            loop.call_later(0, sending.cancel)  # timers come behind what the kernel has room for
            assert await sending == "sent"
            assert errand.cancelled is not None
            assert theirs.recv(10) == b".\r\n"

    asyncio.run(main())


def test_a_time_out_around_a_send_is_a_time_out(serve: Serve, postmaster: Postmaster, heard: Heard) -> None:
    server = serve({"RCPT": Silence()})

    async def main() -> None:
        async with AsyncClient(server.url, postmaster=postmaster) as client, asyncio.timeout(0.2):
            await client.sendmail(SENDER, [ADA], BODY)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert heard.types.count("delayed") == 1


def test_a_send_that_is_cancelled_while_it_waits_for_its_turn_has_sent_nothing(
    serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"RCPT": {BOB: Delay(0.3, "250 Ok")}})

    async def main() -> None:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            first = asyncio.create_task(client.send(message(BOB)))
            second = asyncio.create_task(client.send(message(ADA)))
            await until(lambda: server.sessions)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert await first == {}

    asyncio.run(main())
    assert (server.copies(ADA), server.copies(BOB)) == (0, 1)


def test_what_is_left_of_a_message_when_it_is_cancelled_between_two_transactions_stays_in_the_queue(
    serve: Serve, make_postmaster: Callable[..., Postmaster], tmp_path: Path
) -> None:
    slow = Delay(0.5, "250 Ok")  # so that the second is in line before the first has its second transaction
    server = serve({"RCPT": {ADA: slow, BAD: slow}}, extensions=["LIMITS RCPTMAX=1"])
    postmaster = make_postmaster(
        store=f"sqlite:///{tmp_path}/bounces.db", retry="queue", worker="external", relays={"main": server.url}
    )

    async def main() -> Report:
        async with AsyncClient("main", postmaster=postmaster) as client:
            first = asyncio.create_task(client.send(message(ADA, BOB)))
            await until(lambda: server.sessions)
            second = asyncio.create_task(client.send(message(BAD)))
            report = await _cancelled_when(first, lambda: BAD.upper() in said(server))
            await second
            return report

    report = asyncio.run(main())
    assert [(one.action.value, one.kept) for one in report.recipients] == [("delivered", False), ("delayed", True)]
    assert postmaster.office.store.depth(postmaster.office.clock.now()).waiting == 1
    assert [server.copies(one) for one in (ADA, BOB)] == [1, 0]


@pytest.mark.parametrize(("answer", "kept"), [(Silence(), 0), (Kept(Silence()), 1)])
def test_a_durable_send_that_is_cancelled_stays_in_the_queue_or_is_known_to_be_unknown(
    serve: Serve, make_postmaster: Callable[..., Postmaster], tmp_path: Path, answer: object, kept: int
) -> None:
    server = serve({"END_OF_DATA" if kept else "RCPT": [answer]})
    postmaster = make_postmaster(
        store=f"sqlite:///{tmp_path}/bounces.db", retry="queue", worker="external", relays={"main": server.url}
    )

    async def main() -> Report:
        async with AsyncClient("main", postmaster=postmaster) as client:
            sending = asyncio.create_task(client.sendmail(SENDER, [ADA], BODY))
            return await _cancelled_when(sending, lambda: server.messages or (not kept and "RCPT" in said(server)))

    (one,) = asyncio.run(main()).recipients
    assert server.copies(ADA) == kept
    assert (one.action.value, one.kept) == ("unknown" if kept else "delayed", True)


# -- retry and the queue


def test_it_waits_and_sends_again_as_long_as_patience_lasts(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    server = serve({"RCPT": ["451 4.3.0 Later"]})
    postmaster = make_postmaster(retry="wait", patience=timedelta(days=1))

    async def main() -> Report:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            return await client.send(message(ADA))

    assert actions(asyncio.run(main())) == ["delivered"]


def test_what_is_submitted_waits_for_a_worker(
    serve: Serve, make_postmaster: Callable[..., Postmaster], tmp_path: Path
) -> None:
    server = serve()
    postmaster = make_postmaster(
        store=f"sqlite:///{tmp_path}/bounces.db", retry="queue", worker="external", relays={"main": server.url}
    )

    async def main() -> Report:
        async with AsyncClient("main", postmaster=postmaster) as client:
            return await client.submit(message(ADA))

    assert [one.kept for one in asyncio.run(main()).delayed] == [True]
    assert server.sessions == ()
    postmaster.worker().run_due()
    assert server.copies(ADA) == 1


# -- the store, subscribers


class SlowStore(MemoryStore):
    """Answers when the loop has turned for a while, and says in which thread it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_in: list[str] = []
        self.has_turned = threading.Event()

    def look_up(self, *arguments: object, **options: object) -> LookedUp:
        self.asked_in.append(threading.current_thread().name)
        assert self.has_turned.wait(30), "the loop stands still"
        return super().look_up(*arguments, **options)  # type: ignore[arg-type]


def test_a_store_that_takes_its_time_does_not_stop_the_loop(
    serve: Serve, make_postmaster: Callable[..., Postmaster], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, store = serve(), SlowStore()
    postmaster = make_postmaster(store=store, check_domains=False)
    monkeypatch.setattr(type(postmaster.office), "may_block", True)  # as with any store but the one in memory

    async def main() -> None:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            sending = asyncio.create_task(client.send(message(ADA)))
            while not store.asked_in:
                await asyncio.sleep(0.01)
            for _ in range(10):
                await asyncio.sleep(0)
            store.has_turned.set()
            await sending

    asyncio.run(main())
    assert all(name.startswith("bouncekit-async") for name in store.asked_in)


class DeadStore(MemoryStore):
    def look_up(self, *arguments: object, **options: object) -> LookedUp:
        raise StoreError("the disk is gone")


def test_a_store_that_does_not_answer_sends_nothing(serve: Serve, make_postmaster: Callable[..., Postmaster]) -> None:
    server = serve()
    client = AsyncClient(server.url, postmaster=make_postmaster(store=DeadStore()))
    with pytest.raises(StoreUnavailable) as raised:
        asyncio.run(client.send(message(ADA)))
    assert actions(raised.value.report) == ["delayed"]
    assert server.sessions == ()


def test_an_asynchronous_subscriber_hears_on_the_applications_own_loop(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    loops: list[asyncio.AbstractEventLoop] = []

    @postmaster.on("delivered")
    async def hear(event: Event) -> None:
        await asyncio.sleep(0.01)
        loops.append(asyncio.get_running_loop())

    async def main() -> None:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            for number in range(3):
                await client.send(message(f"user{number}@example.com"))
        assert loops == [asyncio.get_running_loop()] * 3  # the end of the client waits for them

    asyncio.run(main())


# -- many messages


def letters(count: int) -> list[EmailMessage]:
    return [message(f"user{number}@example.com", subject=str(number)) for number in range(count)]


def test_a_stream_may_be_given_as_an_asynchronous_generator(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()

    async def each() -> AsyncIterator[EmailMessage]:
        for letter in letters(5):
            await asyncio.sleep(0)
            yield letter

    async def main() -> list[Report]:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            return [report async for report in client.send_all(each())]

    assert [actions(report) for report in asyncio.run(main())] == [["delivered"]] * 5


def test_many_messages_are_sent_over_all_connections_and_results_come_one_by_one(
    serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"RCPT": {"user7@example.com": "550 5.1.1 No such user"}})
    results: dict[str, list[str]] = {}

    async def hear(letter: EmailMessage, report: Report) -> None:
        await asyncio.sleep(0)
        results[letter["Subject"]] = actions(report)

    async def main() -> Counter[str]:
        async with AsyncClient(server.url, postmaster=postmaster, connections=4) as client:
            return await client.send_many(letters(60), on_result=hear)

    tally = asyncio.run(main())
    assert tally == {"delivered": 59, "failed": 1}
    assert len(results) == 60
    assert results["7"] == ["failed"]
    assert len(server.sessions) == 4


def test_no_more_letters_are_taken_than_are_under_way(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    taken = answered = furthest = 0

    async def each() -> AsyncIterator[EmailMessage]:
        nonlocal taken, furthest
        for letter in letters(100):
            taken += 1
            furthest = max(furthest, taken - answered)
            yield letter

    def hear(letter: object, report: Report) -> None:
        nonlocal answered
        answered += 1

    async def main() -> None:
        async with AsyncClient(server.url, postmaster=postmaster, connections=2) as client:
            await client.send_many(each(), on_result=hear)

    asyncio.run(main())
    assert answered == 100
    assert furthest <= 8


def test_others_get_a_connection_while_many_messages_go_out(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()

    async def main() -> int:
        done = 0

        def hear(letter: object, report: Report) -> None:
            nonlocal done
            done += 1

        async with AsyncClient(server.url, postmaster=postmaster) as client:
            many = asyncio.create_task(client.send_many(letters(300), on_result=hear))
            await until(lambda: done)
            await client.send(message(ADA))
            before = done
            await many
        return before

    assert asyncio.run(main()) < 300
    assert server.copies(ADA) == 1


def test_what_a_callback_raises_ends_the_bulk_and_harms_no_connection(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()

    def hear(letter: object, report: Report) -> None:
        raise LookupError("the application's own trouble")

    async def main() -> None:
        async with AsyncClient(server.url, postmaster=postmaster, connections=2) as client:
            with pytest.raises(LookupError):
                await client.send_many(letters(50), on_result=hear)
            assert await client.send(message(ADA)) == {}

    asyncio.run(main())
    assert len(server.messages) < 50
    assert server.copies(ADA) == 1


def test_a_bulk_that_is_cancelled_tells_what_came_of_the_message_under_way(
    serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"END_OF_DATA": [Kept(Delay(30))]})
    results: list[str] = []

    async def main() -> None:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            sending = client.send_many(letters(9), on_result=lambda letter, report: results.extend(actions(report)))
            many = asyncio.create_task(sending)
            await until(lambda: server.messages)
            many.cancel()
            with pytest.raises(asyncio.CancelledError):
                await many

    asyncio.run(main())
    assert results == ["unknown"]


async def _in_a_stream(client: AsyncClient) -> None:
    async for _ in client.send_all(letters(2)):
        await client.send(message(ADA))


async def _in_a_callback(client: AsyncClient) -> None:
    await client.send_many(letters(2), on_result=lambda letter, report: client.send(message(ADA)))


async def _in_tasks_of_a_callback(client: AsyncClient) -> None:
    async def hear(letter: object, report: Report) -> None:
        await asyncio.gather(*(asyncio.wait_for(client.send(message(who)), 5) for who in (ADA, BOB)))

    await client.send_many(letters(2), on_result=hear)


async def _between_letters(client: AsyncClient) -> None:
    async def each() -> AsyncIterator[EmailMessage]:
        for letter in letters(2):
            yield letter
            await client.send(message(ADA))

    await client.send_many(each())


async def _in_the_midst_of_a_message(client: AsyncClient) -> None:
    async def each() -> AsyncIterator[EmailMessage]:
        for letter in letters(2):
            await client.send(message(ADA))
            yield letter

    async for _ in client.send_all(each()):
        pass


@pytest.mark.parametrize(
    "sends",
    [_in_a_stream, _in_a_callback, _in_tasks_of_a_callback, _between_letters, _in_the_midst_of_a_message],
    ids=lambda one: one.__name__,
)
def test_who_has_the_only_connection_does_not_wait_for_himself(
    serve: Serve, postmaster: Postmaster, sends: Callable[[AsyncClient], Any]
) -> None:
    server = serve()

    async def main() -> None:
        async with asyncio.timeout(10), AsyncClient(server.url, postmaster=postmaster) as client:
            await sends(client)

    asyncio.run(main())
    assert server.copies(ADA) == 2
    assert [server.copies(f"user{number}@example.com") for number in range(2)] == [1, 1]
    assert server.wait_closed()
    assert {session.commands[-1] for session in server.sessions} == {"quit"}
    assert len(server.sessions) <= 3, "one more for each time that the only one is taken, not for each message"
