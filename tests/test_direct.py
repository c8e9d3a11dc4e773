"""Mail without a relay, with zones of our own and servers on addresses of our own."""

import asyncio
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from bouncekit.clients.aio import AsyncClient
from bouncekit.clients.client import Client
from bouncekit.clients.direct import Direct
from bouncekit.clients.routing import Routing
from bouncekit.outside.mx import Resolver
from bouncekit.policy.lane import Lane, LaneKind, Pause
from bouncekit.policy.throttle import News
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Delay, ManualClock, ScriptedServer, Usual, refusing_port
from bouncekit.testing.answers import Cut
from tests import dnszone
from tests.dnszone import Trouble, ZoneServer

from .conftest import message
from .wires import AwaitedClient

zone = dnszone.zone

Make = Callable[..., Postmaster]


class Hosts:
    """Mail hosts on one port: `up("127.0.0.2", script)` starts one."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        with refusing_port() as port:
            self.port = port

    def up(self, address: str, script: Any = None, **settings: Any) -> ScriptedServer:
        kind = type("Host", (ScriptedServer,), {"host": address})
        started: ScriptedServer = self._stack.enter_context(kind(script, port=self.port, **settings))
        return started


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(stack)


@pytest.fixture(params=[Client, AwaitedClient])
def direct(
    request: pytest.FixtureRequest, zone: ZoneServer, hosts: Hosts, clock: ManualClock, make_postmaster: Make
) -> Callable[..., Client]:
    """A client without a relay, which blocks or is awaited; `postmaster` holds the options of the postmaster."""

    def make(postmaster: dict[str, Any] | None = None, **options: Any) -> Client:
        resolver = Resolver(nameservers=[zone.host], port=zone.port, timeout=5, lifetime=20, clock=clock)
        made = make_postmaster(check_domains=resolver, **(postmaster or {}))
        settings = {"private_addresses": True, "timeout": 30, **options}
        client: Client = request.param(f"mx:{hosts.port}", postmaster=made, **settings)
        return client

    return make


def mx(domain: str, *hosts: tuple[int, str, str]) -> Iterator[str]:
    """The lines of a zone: preference, host and address."""
    for preference, host, address in hosts:
        yield f"{domain}. 300 IN MX {preference} {host}."
        yield f"{host}. 300 IN A {address}"


def action(client: Client, *to: str) -> dict[str, str]:
    try:
        report = client.send(message(*to), recipients=to)
    except (smtplib.SMTPException, OSError) as error:
        report = error.report  # type: ignore[union-attr]
    return {one.recipient: one.action.value for one in report.recipients}


def heard(client: Any) -> Any:
    blocking = client.client._blocking if isinstance(client, AwaitedClient) else client
    return blocking._postmaster.heard


def routing_of(client: Any) -> Routing:
    direct = client.client._blocking.desk if isinstance(client, AwaitedClient) else client._own()
    assert isinstance(direct, Direct)
    return direct.routing


def test_the_most_preferred_host_is_asked_by_its_name(zone: ZoneServer, hosts: Hosts, direct: Any) -> None:
    zone.add(*mx("example.com", (20, "mx2.example.com", "127.0.0.3"), (10, "mx1.example.com", "127.0.0.2")))
    first, second = hosts.up("127.0.0.2"), hosts.up("127.0.0.3")
    with direct() as client:
        (settled,) = client.send(message("ann@example.com")).recipients
    assert (settled.action, settled.remote_mta) == ("delivered", "mx1.example.com")
    assert (first.copies("ann@example.com"), second.sessions) == (1, ())
    assert first.sessions[0].commands[-1].upper() == "QUIT"


def test_hosts_of_one_preference_are_tried_in_any_order(hosts: Hosts, zone: ZoneServer, direct: Any) -> None:
    zone.add(*mx("example.com", *((10, f"mx{n}.example.com", f"127.0.0.{n}") for n in (2, 3))))
    servers = [hosts.up(f"127.0.0.{n}") for n in (2, 3)]
    with direct() as client:
        routing = routing_of(client)
        for order in (list.sort, lambda names: names.sort(reverse=True)):
            routing.shuffle = order
            client.send(message("ann@example.com"))
    assert [server.copies("ann@example.com") for server in servers] == [1, 1]


def test_a_host_that_is_down_leads_to_the_next_and_to_its_second_address(
    hosts: Hosts, zone: ZoneServer, direct: Any
) -> None:
    zone.add(*mx("example.com", (10, "mx1.example.com", "127.0.0.2"), (20, "mx2.example.com", "127.0.0.3")))
    zone.add("mx1.example.com. 300 IN A 127.0.0.4")
    last = hosts.up("127.0.0.4")
    with direct() as client:
        assert action(client, "ann@example.com") == {"ann@example.com": "delivered"}
        assert action(client, "bob@example.com") == {"bob@example.com": "delivered"}
    assert len(last.messages) == 2


@pytest.mark.parametrize(
    "script",
    [
        {"CONNECT": "421 4.3.2 Service shutting down"},
        {"MAIL": "452 4.3.1 Insufficient system storage"},
        {"RCPT": "451 4.3.0 Local error"},
        {"MAIL": Cut()},
    ],
    ids=["421", "452", "451", "lost"],
)
def test_a_server_that_cannot_now_leads_to_the_next(hosts: Hosts, zone: ZoneServer, direct: Any, script: Any) -> None:
    zone.add(*mx("example.com", (10, "mx1.example.com", "127.0.0.2"), (20, "mx2.example.com", "127.0.0.3")))
    first, second = hosts.up("127.0.0.2", script), hosts.up("127.0.0.3")
    with direct() as client:
        assert action(client, "ann@example.com") == {"ann@example.com": "delivered"}
    assert (first.copies("ann@example.com"), second.copies("ann@example.com")) == (0, 1)


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ({"RCPT": "550 5.1.1 No such user"}, "failed"),
        ({"CONNECT": "554 5.7.1 Your host is listed at a blocklist"}, "delayed"),
        ({"CONNECT": "421 4.7.0 Too many connections from your host"}, "delayed"),
        ({"RCPT": "451 4.7.1 Greylisted, come back later"}, "delayed"),
        ({"RCPT": "452 4.2.2 Over quota"}, "delayed"),
        ({"MAIL": "421 4.7.28 Unusual rate of mail"}, "delayed"),
        ({"END_OF_DATA": "451 4.3.0 Local error"}, "delayed"),
        ({"END_OF_DATA": Cut()}, "unknown"),
    ],
)
def test_a_verdict_about_us_or_the_recipient_and_all_from_the_dot_on_goes_to_no_other_host(
    hosts: Hosts, zone: ZoneServer, direct: Any, script: Any, wanted: str
) -> None:
    zone.add(*mx("example.com", (10, "mx1.example.com", "127.0.0.2"), (20, "mx2.example.com", "127.0.0.3")))
    hosts.up("127.0.0.2", script)
    second = hosts.up("127.0.0.3")
    with direct() as client:
        assert action(client, "ann@example.com") == {"ann@example.com": wanted}
    assert second.sessions == ()


def test_recipients_of_each_domain_go_together(hosts: Hosts, zone: ZoneServer, direct: Any) -> None:
    zone.add(
        *mx("example.com", (10, "mx.example.com", "127.0.0.2")), *mx("example.net", (5, "in.example.net", "127.0.0.3"))
    )
    com, net = hosts.up("127.0.0.2", {"RCPT": {"bob@example.com": "550 5.1.1 No such user"}}), hosts.up("127.0.0.3")
    to = ["ann@example.com", "cy@example.net", "bob@example.com", "di@example.net"]
    with direct() as client:
        assert action(client, *to) == dict(zip(to, ["delivered", "delivered", "failed", "delivered"], strict=True))
    assert [one.recipients for one in com.messages] == [("ann@example.com",)]
    assert [one.recipients for one in net.messages] == [("cy@example.net", "di@example.net")]


def test_a_domain_without_mx_is_its_own_host(hosts: Hosts, zone: ZoneServer, direct: Any) -> None:
    zone.add("example.com. 300 IN A 127.0.0.2")
    server = hosts.up("127.0.0.2")
    with direct() as client:
        assert action(client, "ann@example.com") == {"ann@example.com": "delivered"}
    assert server.copies("ann@example.com") == 1


@pytest.mark.parametrize("checks", [True, False], ids=["domains-checked", "not-checked"])
def test_a_domain_that_takes_no_mail_or_does_not_exist_fails(
    zone: ZoneServer, hosts: Hosts, direct: Any, make_postmaster: Make, checks: bool
) -> None:
    zone.add("null.example. 300 IN MX 0 .", "null.example. 300 IN A 127.0.0.2", "some.example. 300 IN A 127.0.0.2")
    server = hosts.up("127.0.0.2")
    client = direct()
    if not checks:
        office = make_postmaster().office
        office._router = client.office.router
        desk = type("Desk", (), {"office": office})()
        client = type(client)(f"mx:{hosts.port}", postmaster=desk, private_addresses=True)
    with client:
        assert action(client, "ann@null.example", "bob@nowhere.example") == {
            "ann@null.example": "failed",
            "bob@nowhere.example": "failed",
        }
        assert {one.category for one in client.office.store.suppressions()} == {"bad_domain"}
    assert server.sessions == ()


def test_where_dns_does_not_answer_everybody_waits(zone: ZoneServer, direct: Any) -> None:
    zone.trouble("example.com", Trouble.SERVFAIL)
    with direct() as client:
        assert action(client, "ann@example.com") == {"ann@example.com": "delayed"}


def test_an_address_literal_is_asked_without_dns(zone: ZoneServer, hosts: Hosts, direct: Any) -> None:
    server = hosts.up("127.0.0.2")
    with direct() as client:
        assert action(client, "ann@[127.0.0.2]") == {"ann@[127.0.0.2]": "delivered"}
    assert server.copies("ann@[127.0.0.2]") == 1
    assert zone.asked == []


def test_mail_that_would_come_back_to_us_fails_and_hosts_behind_us_are_not_asked(
    zone: ZoneServer, hosts: Hosts, direct: Any
) -> None:
    zone.add(*mx("loop.example", (10, "mail.us.example", "127.0.0.2"), (20, "mx.other.example", "127.0.0.3")))
    zone.add(*mx("backup.example", (5, "mx.first.example", "127.0.0.4"), (10, "mail.us.example", "127.0.0.2")))
    us, first = hosts.up("127.0.0.2"), hosts.up("127.0.0.4", {"CONNECT": "421 4.3.2 Busy"})
    with direct(local_hostname="mail.us.example") as client:
        assert action(client, "ann@loop.example", "bob@backup.example") == {
            "ann@loop.example": "failed",
            "bob@backup.example": "delayed",
        }
        assert list(client.office.store.suppressions()) == []  # it is our own doing
    assert us.sessions == ()
    assert first.sessions


def test_a_strangers_mx_leads_no_mail_into_our_own_network(
    zone: ZoneServer, hosts: Hosts, clock: ManualClock, make_postmaster: Make
) -> None:
    zone.add(*mx("example.com", (10, "mx.example.com", "127.0.0.2")))
    server = hosts.up("127.0.0.2")
    resolver = Resolver(nameservers=[zone.host], port=zone.port, timeout=5, lifetime=20, clock=clock)
    with make_postmaster(check_domains=resolver).client(f"mx:{hosts.port}") as client:
        assert action(client, "ann@example.com") == {"ann@example.com": "delayed"}
        assert action(client, "ann@[127.0.0.2]") == {"ann@[127.0.0.2]": "failed"}
        assert list(client.office.store.suppressions()) == []
    assert server.sessions == ()


def test_a_slow_host_does_not_use_up_the_tries_of_the_others(hosts: Hosts, zone: ZoneServer, direct: Any) -> None:
    zone.add(*mx("example.com", (10, "mx1.example.com", "127.0.0.2"), (20, "mx2.example.com", "127.0.0.9")))
    zone.add(*(f"mx1.example.com. 300 IN A 127.0.0.{n}" for n in range(3, 9)))
    last = hosts.up("127.0.0.9")
    with direct() as client:
        assert action(client, "ann@example.com") == {"ann@example.com": "delivered"}
    assert last.copies("ann@example.com") == 1


def test_a_host_whose_greeting_takes_too_long_leads_to_the_next(hosts: Hosts, zone: ZoneServer, direct: Any) -> None:
    zone.add(*mx("example.com", (10, "mx1.example.com", "127.0.0.2"), (20, "mx2.example.com", "127.0.0.3")))
    hosts.up("127.0.0.2", {"CONNECT": Delay(30)})
    second = hosts.up("127.0.0.3")
    with direct(timeout=1.5) as client:
        assert action(client, "ann@example.com") == {"ann@example.com": "delivered"}
    assert second.copies("ann@example.com") == 1


# -- TLS


@pytest.fixture
def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("another.example").configure_cert(context)
    return context


def test_tls_is_used_where_it_is_offered(hosts: Hosts, zone: ZoneServer, direct: Any, server_tls: Any) -> None:
    zone.add(*mx("example.com", (10, "mx.example.com", "127.0.0.2")))
    server = hosts.up("127.0.0.2", tls=server_tls)
    with direct() as client:
        assert action(client, "ann@example.com") == {"ann@example.com": "delivered"}
        assert not [one for one in heard(client) if one.type == "insecure_tls"]
    assert "STARTTLS" in [one.command for one in server.sessions[0].transcript]


@pytest.mark.parametrize("answer", [Cut(), "454 4.7.0 TLS not available"])
@pytest.mark.parametrize("required", [False, True])
def test_where_tls_fails_mail_goes_in_clear_unless_it_is_required(
    hosts: Hosts, zone: ZoneServer, direct: Any, answer: Any, required: bool
) -> None:
    zone.add(*mx("example.com", (10, "mx.example.com", "127.0.0.2")))
    extensions = ("ENHANCEDSTATUSCODES", "STARTTLS")
    server = hosts.up("127.0.0.2", {"STARTTLS": answer}, extensions=extensions)
    with direct(require_tls=required) as client:
        wanted = "delayed" if required else "delivered"
        assert action(client, "ann@example.com") == {"ann@example.com": wanted}
    assert server.copies("ann@example.com") == (not required)


# -- the queue, and the pace of each provider


def test_mail_waits_in_the_queue_for_the_relay_mx(
    hosts: Hosts, zone: ZoneServer, clock: ManualClock, make_postmaster: Make, tmp_path: Path
) -> None:
    zone.add(*mx("example.com", (10, "mx.example.com", "127.0.0.2")))
    server = hosts.up("127.0.0.2", {"RCPT": {"ann@example.com": ["451 4.7.1 Greylisted"]}})
    resolver = Resolver(nameservers=[zone.host], port=zone.port, timeout=5, lifetime=20, clock=clock)
    postmaster = make_postmaster(
        check_domains=resolver,
        store=f"sqlite:///{tmp_path / 'bounces.db'}",
        retry="queue",
        worker="external",
        relays={"mx": {"url": f"mx:{hosts.port}", "private_addresses": True}},
    )
    with postmaster.client("mx") as client:
        report = client.send(message("ann@example.com"))
        assert [one.kept for one in report.recipients] == [True]
    assert postmaster.office.store.queued_relays() == {"mx": 1}
    clock.move(timedelta(hours=1))
    postmaster.worker().run_due()
    assert server.copies("ann@example.com") == 1


def test_a_provider_that_pauses_us_keeps_no_other_providers_mail_back(
    hosts: Hosts, zone: ZoneServer, direct: Any
) -> None:
    for domain in ("one.example", "two.example"):
        zone.add(f"{domain}. 300 IN MX 10 mx.big.example.")
    zone.add("mx.big.example. 300 IN A 127.0.0.2", *mx("other.example", (10, "mx.other.example", "127.0.0.3")))
    big = hosts.up("127.0.0.2", {"MAIL": ["421 4.7.0 Try again later"]})
    other = hosts.up("127.0.0.3")
    with direct() as client:
        assert action(client, "ann@one.example") == {"ann@one.example": "delayed"}
        assert action(client, "bob@two.example", "cy@other.example") == {
            "bob@two.example": "delayed",
            "cy@other.example": "delivered",
        }
        assert list(client.office.gate.states()) == [Lane(LaneKind.PROVIDER, "big.example")]
    assert (len(big.sessions), other.copies("cy@other.example")) == (1, 1)


@pytest.mark.parametrize("kind", [Client, AwaitedClient])
def test_while_it_is_paused_as_a_whole_a_relay_takes_its_place(
    hosts: Hosts, zone: ZoneServer, make_postmaster: Make, kind: Any
) -> None:
    zone.add(*mx("example.com", (10, "mx.example.com", "127.0.0.2")))
    host, spare = hosts.up("127.0.0.2"), hosts.up("127.0.0.3")
    relays = {
        "mx": {"url": f"mx:{hosts.port}", "private_addresses": True, "fallback": "spare"},
        "spare": f"smtp://127.0.0.3:{hosts.port}",
    }
    resolver = Resolver(nameservers=[zone.host], port=zone.port, timeout=5, lifetime=20)
    postmaster = make_postmaster(check_domains=resolver, relays=relays)
    pause = Pause(length=timedelta(minutes=5))
    postmaster.office.gate.heard([News(lane=Lane(LaneKind.RELAY, "mx"), measure=pause)], "")
    with kind("mx", postmaster=postmaster) as client:
        (settled,) = client.send(message("ann@example.com")).recipients
    assert (settled.action, settled.relay) == ("delivered", "spare")
    assert (host.sessions, spare.copies("ann@example.com")) == ((), 1)


@pytest.mark.parametrize("kind", [Client, AwaitedClient])
def test_where_no_host_can_be_reached_a_relay_takes_its_place(
    hosts: Hosts, zone: ZoneServer, make_postmaster: Make, kind: Any
) -> None:
    zone.add(*mx("example.com", (10, "mx.example.com", "127.0.0.2"), (20, "mx2.example.com", "127.0.0.4")))
    spare = hosts.up("127.0.0.3")
    relays = {
        "mx": {"url": f"mx:{hosts.port}", "private_addresses": True, "fallback": "spare"},
        "spare": f"smtp://127.0.0.3:{hosts.port}",
    }
    resolver = Resolver(nameservers=[zone.host], port=zone.port, timeout=5, lifetime=20)
    postmaster = make_postmaster(check_domains=resolver, relays=relays)
    with kind("mx", postmaster=postmaster) as client:
        (settled,) = client.send(message("ann@example.com")).recipients
        assert (settled.action, settled.relay) == ("delivered", "spare")
        report = client.sendmail("shop@example.org", ["bob@nowhere.example", "cy@example.com"], "Subject: Hi\r\n\r\nHi")
        assert [one.action.value for one in report.recipients] == [
            "failed",
            "delivered",
        ]  # who has no host has none there
    assert [spare.copies(f"{who}@example.com") for who in ("ann", "cy")] == [1, 1]


def test_messages_to_one_host_use_one_session_and_its_end_is_no_loss(
    hosts: Hosts, zone: ZoneServer, direct: Any
) -> None:
    zone.add(*mx("example.com", (10, "mx.example.com", "127.0.0.2")))
    server = hosts.up("127.0.0.2", {"MAIL": [Usual(), Usual(), "421 4.4.2 Idle for too long"]})
    with direct() as client:
        for name in ("ann", "bob", "cy"):
            assert action(client, f"{name}@example.com") == {f"{name}@example.com": "delivered"}
    assert [len(one.commands) > 0 for one in server.sessions] == [True, True]
    assert server.copies("cy@example.com") == 1


def test_many_messages_go_to_many_hosts_over_a_few_connections(hosts: Hosts, zone: ZoneServer, direct: Any) -> None:
    zone.add("*.example. 300 IN A 127.0.0.2", *mx("one.example", (10, "mx.one.example", "127.0.0.2")))
    zone.add(*(line for n in range(12) for line in mx(f"d{n}.example", (10, f"mx.d{n}.example", f"127.0.0.{n + 2}"))))
    servers = [hosts.up(f"127.0.0.{n + 2}") for n in range(12)]
    people = [f"user{n}@d{n % 12}.example" for n in range(36)]
    letters = [("shop@example.org", [one], "Subject: Hi\r\n\r\nHi") for one in people]
    with direct() as client:
        assert client.send_many(letters, concurrency=1) == {"delivered": 36}
    assert [sum(server.copies(one) for server in servers) for one in people] == [1] * 36
    assert all(session.commands[-1].upper() == "QUIT" for server in servers for session in server.sessions)


def test_a_send_that_is_cancelled_asks_no_other_host_and_has_its_outcome(
    hosts: Hosts, zone: ZoneServer, clock: ManualClock, make_postmaster: Make
) -> None:
    zone.add(*mx("example.com", (10, "mx1.example.com", "127.0.0.2"), (20, "mx2.example.com", "127.0.0.3")))
    first, second = hosts.up("127.0.0.2", {"RCPT": Delay(30)}), hosts.up("127.0.0.3")
    resolver = Resolver(nameservers=[zone.host], port=zone.port, timeout=5, lifetime=20, clock=clock)

    async def main() -> Any:
        postmaster = make_postmaster(check_domains=resolver)
        async with AsyncClient(f"mx:{hosts.port}", postmaster=postmaster, private_addresses=True) as client:
            sending = asyncio.ensure_future(client.send(message("ann@example.com")))
            while not (first.sessions and "rcpt" in " ".join(first.sessions[0].commands).lower()):
                await asyncio.sleep(0.01)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await sending
            return caught.value

    report = asyncio.run(main()).report
    assert [one.action.value for one in report.recipients] == ["delayed"]
    assert second.sessions == ()


def test_while_dns_is_slow_the_loop_goes_on(hosts: Hosts, zone: ZoneServer, make_postmaster: Make) -> None:
    zone.add(*mx("example.com", (10, "mx.example.com", "127.0.0.2")))
    hosts.up("127.0.0.2")
    office = make_postmaster().office
    office._router = Resolver(nameservers=[zone.host], port=zone.port, timeout=2, lifetime=5)
    zone.hold.clear()

    async def main() -> Any:
        desk = type("Desk", (), {"office": office})()
        async with AsyncClient(f"mx:{hosts.port}", postmaster=desk, private_addresses=True) as client:
            sending = asyncio.ensure_future(client.send(message("ann@example.com")))
            while not zone.heard.is_set():
                await asyncio.sleep(0.01)
            zone.hold.set()
            return await sending

    (settled,) = asyncio.run(main()).recipients
    assert settled.action == "delivered"


def test_the_client_shows_what_it_is() -> None:
    with Client("mx:") as client:
        assert repr(client) == "<Client mx:25>"
