"""check_domains: who cannot be reached is known before a send, and nobody fails for what DNS could not say."""

from collections.abc import Callable
from pathlib import Path
from smtplib import SMTPException

import pytest

from bouncekit.clients.smtperrors import RecipientsSuppressed
from bouncekit.outside.mx import Resolver
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, ScriptedServer
from tests import dnszone
from tests.dnszone import Trouble, ZoneServer

from .conftest import message

zone = dnszone.zone

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]


@pytest.fixture
def checking(zone: ZoneServer, clock: ManualClock, make_postmaster: Make) -> Callable[..., Postmaster]:
    zone.add(
        "example.com. 300 IN MX 10 mx.example.com.",
        "mx.example.com. 300 IN A 192.0.2.1",
        "null.example. 300 IN MX 0 .",
    )
    zone.trouble("broken.example", Trouble.SERVFAIL)
    zone.trouble("silent.example", Trouble.SILENT)

    def make(**settings: object) -> Postmaster:
        resolver = Resolver(nameservers=[zone.host], port=zone.port, timeout=1.0, lifetime=3.0, clock=clock)
        return make_postmaster(check_domains=resolver, **settings)

    return make


def test_who_cannot_be_reached_is_not_tried_and_the_others_are(serve: Serve, checking: Make) -> None:
    server = serve()
    postmaster = checking()
    to = ("ada@example.com", "bob@nowhere.example", "cy@null.example", "di@broken.example", "ed@silent.example")
    with postmaster.client(server.url) as client:
        report = client.send(message(*to))
    assert [one.action.value for one in report.recipients] == [
        "delivered",
        "failed",
        "failed",
        "delivered",
        "delivered",
    ]
    assert {one.category.value for one in report.failed if one.category} == {"bad_domain"}
    (received,) = server.messages
    assert set(received.recipients) == {"ada@example.com", "di@broken.example", "ed@silent.example"}
    assert "bob@nowhere.example" in postmaster.suppressions
    assert "cy@null.example" in postmaster.suppressions
    assert "di@broken.example" not in postmaster.suppressions


def test_if_nobody_can_be_reached_nothing_is_dialled(serve: Serve, checking: Make) -> None:
    server = serve()
    with checking().client(server.url) as client, pytest.raises(RecipientsSuppressed) as raised:
        client.send(message("bob@nowhere.example"))
    assert not server.sessions
    assert raised.value.report.failed[0].recipient == "bob@nowhere.example"  # type: ignore[attr-defined]
    assert "no domain nowhere.example" in str(raised.value)


def test_a_rule_for_a_provider_holds_for_a_domain_that_it_hosts(
    serve: Serve, checking: Make, zone: ZoneServer, tmp_path: Path
) -> None:
    zone.add(
        "hosted.example. 300 IN MX 10 aspmx.l.google.com.",
        "aspmx.l.google.com. 300 IN A 192.0.2.2",
    )
    (tmp_path / "slow.yaml").write_text(
        "policy: 1\nextends: default\nrules:\n"
        "  - {id: slow-gmail, when: {provider: gmail, permanent: false}, do: retry, wait: 3h}\n"
    )
    server = serve({"RCPT": "451 4.3.0 Later"})
    with checking(policy=tmp_path / "slow.yaml").client(server.url) as client, pytest.raises(SMTPException) as raised:
        client.send(message("ada@hosted.example", "bob@example.com"))
    rules = [one.rule for one in raised.value.report.recipients]  # type: ignore[attr-defined]
    assert rules == ["slow-gmail", "temporary"]


def test_dns_is_asked_once_and_nobody_asks_where_it_is_not_wanted(
    serve: Serve, checking: Make, make_postmaster: Make, zone: ZoneServer
) -> None:
    server = serve()
    with make_postmaster().client(server.url) as client:
        client.send(message("ada@example.com"))
    assert zone.asked == []
    with checking().client(server.url) as client:
        client.send(message("ada@example.com"))
        first = len(zone.asked)
        client.send(message("ada@example.com", "bob@example.com"))
    assert 0 < first == len(zone.asked)


def test_a_domain_that_takes_no_mail_is_confirmed_at_once_and_one_that_is_not_there_is_not(
    serve: Serve, checking: Make
) -> None:
    postmaster = checking()
    with postmaster.client(serve().url) as client, pytest.raises(RecipientsSuppressed):
        client.send(message("bob@nowhere.example", "cy@null.example"))
    standing = {one.address: one.standing.value for one in postmaster.suppressions}
    assert standing == {"bob@nowhere.example": "provisional", "cy@null.example": "confirmed"}
