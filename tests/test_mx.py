"""DNS, asked of a real name server on loopback; time is a manual clock's."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from bouncekit.meaning.classification import Category, Scope, Step
from bouncekit.outside.builtin import classify
from bouncekit.outside.mailroute import MailHost, MailRoute, RouteVerdict
from bouncekit.outside.mx import Resolver
from bouncekit.outside.provider import provider_of_host
from bouncekit.testing import ManualClock
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.reply import Cause, NoReply, Stage
from bouncekit.words.status import Action
from tests import dnszone
from tests.dnszone import Trouble, ZoneServer

zone = dnszone.zone
ROOT = Path(__file__).parents[1]
MINUTE = timedelta(minutes=1)
VERDICTS = {RouteVerdict.NO_SUCH_DOMAIN, RouteVerdict.NULL_MX, RouteVerdict.NO_ADDRESS}


@pytest.fixture
def make_resolver(zone: ZoneServer, clock: ManualClock) -> Iterator[Callable[..., Resolver]]:
    """Make resolvers that ask the zone server."""
    made: list[Resolver] = []

    def make(**settings: object) -> Resolver:
        start = {"nameservers": [zone.host], "port": zone.port, "timeout": 5.0, "lifetime": 10.0, "clock": clock}
        made.append(Resolver(**{**start, **settings}))  # type: ignore[arg-type]
        return made[-1]

    yield make
    zone.hold.set()
    for one in made:
        one.close()


@pytest.fixture
def resolver(make_resolver: Callable[..., Resolver]) -> Resolver:
    return make_resolver()


def fetching() -> list[threading.Thread]:
    """The threads that ask ahead."""
    return [thread for thread in threading.enumerate() if thread.name == "bouncekit-dns"]


def names(route: MailRoute) -> list[str]:
    return [host.name for host in route.hosts]


# -- the way to a domain


def test_hosts_come_in_the_order_of_their_preference(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add(
        "example.com. 300 IN MX 20 backup.example.com.",
        "example.com. 300 IN MX 5 MX.example.com.",
        "mx.example.com. 300 IN A 192.0.2.1",
    )
    route = resolver.mail_route("Example.COM.")
    assert route.verdict is RouteVerdict.FOUND
    assert route.hosts == (MailHost(5, "mx.example.com"), MailHost(20, "backup.example.com"))
    assert (route.domain, route.implicit, route.detail) == ("example.com", False, "")


def test_equal_preferences_are_shuffled_by_the_caller_and_never_leave_their_place() -> None:
    hosts = (MailHost(5, "first"), *(MailHost(10, f"mx{number}") for number in range(9)), MailHost(20, "last"))
    route = MailRoute(domain="example.com", verdict=RouteVerdict.FOUND, hosts=hosts)
    orders = {route.names(random.Random(seed).shuffle) for seed in range(20)}
    assert len(orders) > 10
    assert {(order[0], order[-1], frozenset(order)) for order in orders} == {("first", "last", frozenset(names(route)))}
    assert route.names() == tuple(names(route))


@pytest.mark.parametrize("address", ["A 192.0.2.1", "AAAA 2001:db8::1"])
def test_a_domain_without_mx_is_its_own_host(zone: ZoneServer, resolver: Resolver, address: str) -> None:
    zone.add(f"example.com. 300 IN {address}")
    route = resolver.mail_route("example.com")
    assert (route.verdict, route.hosts, route.implicit) == (RouteVerdict.FOUND, (MailHost(0, "example.com"),), True)


def test_a_domain_that_does_not_exist_has_no_way(zone: ZoneServer, resolver: Resolver) -> None:
    route = resolver.mail_route("nowhere.example.com")
    assert (route.verdict, route.hosts) == (RouteVerdict.NO_SUCH_DOMAIN, ())
    assert route.detail == "there is no domain nowhere.example.com (NXDOMAIN)"


def test_nxdomain_for_mx_alone_denies_nothing(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("example.com. 300 IN A 192.0.2.1")
    zone.trouble("example.com", Trouble.DENIES_MX)
    assert resolver.mail_route("example.com").verdict is RouteVerdict.FOUND


@pytest.mark.parametrize("preference", [0, 10])
def test_a_null_mx_takes_no_mail_even_with_an_address(zone: ZoneServer, resolver: Resolver, preference: int) -> None:
    zone.add(f"example.com. 300 IN MX {preference} .", "example.com. 300 IN A 192.0.2.1")
    route = resolver.mail_route("example.com")
    assert (route.verdict, route.hosts) == (RouteVerdict.NULL_MX, ())


def test_a_null_mx_beside_another_is_a_mistake_and_no_verdict(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("example.com. 300 IN MX 0 .", "example.com. 300 IN MX 10 mx.example.com.")
    route = resolver.mail_route("example.com")
    assert (route.verdict, names(route)) == (RouteVerdict.FOUND, ["mx.example.com"])


def test_a_domain_that_exists_without_mx_and_address_has_no_address(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("example.com. 300 IN TXT hello")
    assert resolver.mail_route("example.com").verdict is RouteVerdict.NO_ADDRESS


def test_mx_hosts_of_which_none_has_an_address_are_no_way(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add(
        "example.com. 300 IN MX 5 gone.example.com.",
        "example.com. 300 IN MX 10 text.example.com.",
        "text.example.com. 300 IN TXT hello",
        "example.com. 300 IN A 192.0.2.1",
    )
    route = resolver.mail_route("example.com")
    assert (route.verdict, names(route)) == (RouteVerdict.NO_ADDRESS, ["gone.example.com", "text.example.com"])


def test_one_mx_host_with_an_address_is_enough(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add(
        "example.com. 300 IN MX 5 gone.example.com.",
        "example.com. 300 IN MX 10 six.example.com.",
        "six.example.com. 300 IN AAAA 2001:db8::1",
    )
    route = resolver.mail_route("example.com")
    assert (route.verdict, names(route)) == (RouteVerdict.FOUND, ["gone.example.com", "six.example.com"])


def test_mx_hosts_whose_addresses_are_not_known_are_a_way(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("example.com. 300 IN MX 5 gone.example.com.", "example.com. 300 IN MX 10 mx.example.com.")
    zone.trouble("mx.example.com", Trouble.SERVFAIL)
    assert resolver.mail_route("example.com").verdict is RouteVerdict.FOUND


# -- aliases


@pytest.mark.parametrize("trouble", [None, Trouble.ONE_LINK], ids=["whole", "link by link"])
def test_aliases_are_followed(zone: ZoneServer, resolver: Resolver, trouble: Trouble | None) -> None:
    zone.add(
        "example.com. 300 IN CNAME example.net.",
        "example.net. 300 IN CNAME example.org.",
        "example.org. 300 IN MX 5 mx.example.org.",
        "mx.example.org. 300 IN A 192.0.2.1",
    )
    for name in ("example.com", "example.net"):
        zone.trouble(name, trouble)
    route = resolver.mail_route("example.com")
    assert (route.verdict, route.domain, names(route)) == (RouteVerdict.FOUND, "example.com", ["mx.example.org"])


@pytest.mark.parametrize("trouble", [None, Trouble.ONE_LINK], ids=["whole", "link by link"])
def test_aliases_in_a_circle_are_no_verdict(zone: ZoneServer, resolver: Resolver, trouble: Trouble | None) -> None:
    zone.add("example.com. 300 IN CNAME example.net.", "example.net. 300 IN CNAME example.com.")
    zone.trouble("example.com", trouble)
    zone.trouble("example.net", trouble)
    assert resolver.mail_route("example.com").verdict is RouteVerdict.NOT_KNOWN
    assert len(zone.asked) < 20


def test_an_alias_of_what_does_not_exist_is_no_domain(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("example.com. 300 IN CNAME gone.example.net.")
    assert resolver.mail_route("example.com").verdict is RouteVerdict.NO_SUCH_DOMAIN


# -- what says nothing about a domain


@pytest.mark.parametrize(
    "trouble",
    [Trouble.SERVFAIL, Trouble.REFUSED, Trouble.GARBAGE, Trouble.REFERRAL, Trouble.SILENT, Trouble.OTHER_QUESTION],
)
@pytest.mark.parametrize("kind", [None, "MX", "A"], ids=["all", "MX", "A"])
def test_whoever_does_not_answer_has_given_no_verdict(
    zone: ZoneServer, make_resolver: Callable[..., Resolver], trouble: Trouble, kind: str | None
) -> None:
    zone.add("example.com. 300 IN TXT hello")
    zone.trouble("example.com", trouble, kind)
    resolver = make_resolver(timeout=0.1, lifetime=0.2)
    route = resolver.mail_route("example.com")
    assert (route.verdict, route.hosts) == (RouteVerdict.NOT_KNOWN, ())
    assert route.detail
    assert resolver.undeliverable("jo@example.com") is None


def test_nobody_listening_is_no_verdict(zone: ZoneServer, make_resolver: Callable[..., Resolver]) -> None:
    with ZoneServer() as gone:
        port = gone.port
    route = make_resolver(port=port, timeout=0.1, lifetime=0.2).mail_route("example.com")
    assert route.verdict is RouteVerdict.NOT_KNOWN


def test_what_does_not_fit_over_udp_comes_over_tcp(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("example.com. 300 IN MX 5 mx.example.com.", "mx.example.com. 300 IN A 192.0.2.1")
    zone.trouble("example.com", Trouble.TRUNCATED)
    assert names(resolver.mail_route("example.com")) == ["mx.example.com"]
    assert zone.asked[:2] == [("example.com", "MX", "udp"), ("example.com", "MX", "tcp")]


def test_a_machine_without_name_servers_knows_nothing(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
    from dns import resolver as dns_resolver

    def unconfigured(self: object, filename: object) -> None:
        raise dns_resolver.NoResolverConfiguration

    monkeypatch.setattr(dns_resolver.Resolver, "read_resolv_conf", unconfigured)
    monkeypatch.setattr(sys, "platform", "linux")
    route = Resolver(clock=clock).mail_route("example.com")
    assert route.verdict is RouteVerdict.NOT_KNOWN


# -- names


@pytest.mark.parametrize(
    "domain",
    [
        "",
        ".",
        "[192.0.2.1]",
        "[IPv6:2001:db8::1]",
        "192.0.2.1",
        "localhost",
        "printer.local",
        "app.localhost",
        "abc.onion",
        "a..example.com",
        "-a.example.com",
        "a\\.b.example.com",
        "a b.example.com",
        "x" * 64 + ".example.com",
        "x." * 127 + "example.com",
        "\udcff.example.com",
        "☃\n.example.com",
    ],
)
def test_what_public_dns_cannot_know_is_never_asked(zone: ZoneServer, resolver: Resolver, domain: str) -> None:
    assert resolver.mail_route(domain).verdict is RouteVerdict.NOT_KNOWN
    assert resolver.undeliverable(f"jo@{domain}") is None
    assert resolver.prefetch([domain]) == 0
    assert zone.asked == []


def test_a_domain_is_asked_for_in_a_labels(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("xn--bcher-kva.example. 300 IN MX 5 mx.example.com.", "mx.example.com. 300 IN A 192.0.2.1")
    route = resolver.mail_route("Bücher.example")
    assert (route.domain, route.verdict) == ("xn--bcher-kva.example", RouteVerdict.FOUND)


def test_mx_records_that_name_no_host_are_left_out(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add(
        "example.com. 300 IN MX 1 192.0.2.1.",
        "example.com. 300 IN MX 2 bad!name.example.com.",
        "example.com. 300 IN MX 3 localhost.",
        "example.com. 300 IN MX 9 mx.example.com.",
    )
    route = resolver.mail_route("example.com")
    assert names(route) == ["mx.example.com"]
    assert route.verdict is RouteVerdict.FOUND  # somebody meant one of the others


def test_mx_records_of_which_none_names_a_host_are_no_verdict(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("example.com. 300 IN MX 1 192.0.2.1.")
    assert resolver.mail_route("example.com").verdict is RouteVerdict.NOT_KNOWN


def test_a_thousand_mx_records_cost_no_more_than_fifty(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add(*(f"example.com. 300 IN MX {number} mx{number:04}.example.com." for number in range(1000, 0, -1)))
    zone.trouble("example.com", Trouble.TRUNCATED)
    route = resolver.mail_route("example.com")
    assert names(route) == [f"mx{number:04}.example.com" for number in range(1, 51)]
    assert len(zone.asked) < 30


# -- remembering


@pytest.mark.parametrize(("ttl", "minutes"), [(0, 1), (30, 1), (600, 10), (3600, 60), (604_800, 60)])
def test_an_answer_is_remembered_for_its_ttl_within_bounds(
    zone: ZoneServer, resolver: Resolver, clock: ManualClock, ttl: int, minutes: int
) -> None:
    zone.add(f"example.com. {ttl} IN MX 5 mx.example.com.", "mx.example.com. 86400 IN A 192.0.2.1")
    route = resolver.mail_route("example.com")
    assert route.ttl == minutes * MINUTE
    zone.asked.clear()
    clock.move(minutes * MINUTE - timedelta(seconds=1))
    assert resolver.mail_route("EXAMPLE.com") is route
    assert zone.asked == []
    clock.move(timedelta(seconds=1))
    resolver.mail_route("example.com")
    assert zone.asked[0] == ("example.com", "MX", "udp")


def test_a_denial_is_remembered_for_five_minutes_at_most(zone: ZoneServer, resolver: Resolver) -> None:
    assert resolver.mail_route("gone.example.com").ttl == 2 * MINUTE  # as the zone's SOA says
    zone.add("example.com. 86400 IN MX 0 .")
    assert resolver.mail_route("example.com").ttl == 5 * MINUTE


def test_silence_is_remembered_for_half_a_minute(zone: ZoneServer, resolver: Resolver, clock: ManualClock) -> None:
    zone.add("example.com. 300 IN MX 5 mx.example.com.", "mx.example.com. 300 IN A 192.0.2.1")
    zone.trouble("example.com", Trouble.SERVFAIL)
    resolver.mail_route("example.com")
    zone.trouble("example.com", None)
    clock.move(timedelta(seconds=29))
    assert resolver.mail_route("example.com").verdict is RouteVerdict.NOT_KNOWN
    clock.move(timedelta(seconds=1))
    assert resolver.mail_route("example.com").verdict is RouteVerdict.FOUND


def test_a_clock_that_is_set_back_keeps_no_answer_longer(
    zone: ZoneServer, resolver: Resolver, clock: ManualClock
) -> None:
    resolver.mail_route("example.com")
    clock.move(timedelta(days=-30))
    zone.asked.clear()
    resolver.mail_route("example.com")
    assert zone.asked


def test_no_more_is_remembered_than_was_allowed(zone: ZoneServer, make_resolver: Callable[..., Resolver]) -> None:
    resolver = make_resolver(most=2)
    kept = [resolver.mail_route(f"{name}.example") for name in ("one", "two", "three")]
    zone.asked.clear()
    assert [resolver.mail_route(name) for name in ("two.example", "three.example")] == kept[1:]
    assert zone.asked == []
    resolver.mail_route("one.example")
    assert zone.asked


# -- threads


def test_threads_that_want_the_same_ask_the_network_once(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("example.com. 300 IN MX 5 mx.example.com.", "mx.example.com. 300 IN A 192.0.2.1")
    zone.hold.clear()
    with ThreadPoolExecutor(8) as pool:
        wanted = [pool.submit(resolver.mail_route, "example.com") for _ in range(8)]
        assert zone.heard.wait(10)
        zone.hold.set()
        routes = {one.result() for one in wanted}
    assert len(routes) == 1
    assert zone.asked == [("example.com", "MX", "udp"), ("mx.example.com", "A", "udp")]


def test_what_was_fetched_ahead_is_there_for_the_send(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("example.com. 300 IN MX 0 .", "example.net. 300 IN MX 0 .")
    zone.hold.clear()
    assert resolver.prefetch(["example.com", "example.net", "Example.com", "localhost"]) == 2
    workers = fetching()
    assert workers
    zone.hold.set()
    for worker in workers:
        worker.join(10)
    asked = sorted(zone.asked)
    assert asked == [("example.com", "MX", "udp"), ("example.net", "MX", "udp")]
    assert resolver.mail_route("example.com").verdict is RouteVerdict.NULL_MX
    assert resolver.prefetch(["example.com"]) == 0
    assert sorted(zone.asked) == asked


def test_fetching_ahead_is_bounded_and_does_not_block(zone: ZoneServer, resolver: Resolver) -> None:
    zone.hold.clear()
    endless = (f"d{number}.example" for number in iter(int, 1) for number in range(10**9))
    assert resolver.prefetch(endless) == 1000
    assert resolver.prefetch(f"e{number}.example" for number in range(100)) <= 4  # in the places of those under way
    own = fetching()
    assert 1 <= len(own) <= 4
    zone.hold.set()
    resolver.close()
    assert not any(thread.is_alive() for thread in own)


_FORKING = """
import os, sys, time
import dns.resolver  # no program may fork while another of its threads imports
from bouncekit.outside.mx import Resolver

resolver = Resolver(nameservers=["127.0.0.1"], port=int(sys.argv[1]), timeout=20, lifetime=20)
resolver.prefetch(["example.com"])
while not resolver._flights:
    time.sleep(0.001)
child = os.fork()
verdict = resolver.mail_route("example.com").verdict
os.write(1, f"{'child' if child == 0 else 'parent'} {verdict}\\n".encode())  # whole: both write at once
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_in_the_middle_of_a_look_up_leaves_both_sides_able_to_ask(zone: ZoneServer) -> None:
    zone.hold.clear()
    command = [sys.executable, "-W", "ignore", "-c", _FORKING, str(zone.port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        while len(zone.asked) < 2 and process.poll() is None:  # the parent's question, and the child's own
            zone.heard.wait(10)
            zone.heard.clear()
        zone.hold.set()
        said, _ = process.communicate(timeout=60)
    assert sorted(said.splitlines()) == ["child no_such_domain", "parent no_such_domain"]


# -- whose servers


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("aspmx.l.google.com", "gmail"),
        ("ALT1.ASPMX.L.GOOGLE.COM.", "gmail"),
        ("example-com.mail.protection.outlook.com", "microsoft"),
        ("example-com.a1b2.mx.microsoft", "microsoft"),
        ("mta5.am0.yahoodns.net", "yahoo"),
        ("mx01.mail.icloud.com", "icloud"),
        ("mx0a-00000001.pphosted.com", "proofpoint"),
        ("eu-smtp-inbound-1.mimecast.com", "mimecast"),
        ("d1.ess.barracudanetworks.com", "barracuda"),
        ("mxbiz1.qq.com", "qq"),
        ("163mx01.mxmail.netease.com", "netease"),
        ("mx00.ionos.de", "gmx"),
        ("mxs.mail.ru", "mailru"),
        ("mx.yandex.net", "yandex"),
        ("mx.zoho.eu", "zoho"),
        ("in1-smtp.messagingengine.com", "fastmail"),
        ("mail.protonmail.ch", "proton"),
        ("mx1.mail.ovh.net", "ovh"),
        ("inbound-smtp.eu-west-1.amazonaws.com", "amazon"),
        ("ec2-192-0-2-1.compute.amazonaws.com", None),
        ("mx1.hc1-1.iphmx.com", "cisco"),
        ("example.in.tmes.trendmicro.com", "trendmicro"),
        ("mx1.emailsrvr.com", "rackspace"),
        ("mailstore1.secureserver.net", "godaddy"),
        ("notgoogle.com", None),
        ("google.com.example.net", None),
        ("", None),
        ("x." * 5000, None),
    ],
)
def test_a_mail_host_is_known_by_the_end_of_its_name(host: str, provider: str | None) -> None:
    assert provider_of_host(host) == provider


def test_a_hosted_domain_has_the_provider_of_its_servers(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add(
        "example.com. 300 IN MX 20 mx1.emailsrvr.com.",
        "example.com. 300 IN MX 10 aspmx.l.google.com.",
        "example.com. 300 IN MX 10 a.example.com.",
    )
    zone.trouble("aspmx.l.google.com", Trouble.SERVFAIL)
    assert resolver.provider_of("example.com") == "gmail"


def test_a_backup_host_does_not_name_the_provider(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("example.com. 300 IN MX 5 mx.example.com.", "example.com. 300 IN MX 10 mx1.emailsrvr.com.")
    zone.add("mx.example.com. 300 IN A 192.0.2.1")
    assert resolver.provider_of("example.com") is None


def test_a_provider_s_own_domain_needs_no_dns(zone: ZoneServer, resolver: Resolver) -> None:
    assert (resolver.provider_of("gmail.com"), resolver.provider_of("Web.de")) == ("gmail", "gmx")
    assert zone.asked == []


def test_where_dns_does_not_answer_nobody_is_the_provider(zone: ZoneServer, resolver: Resolver) -> None:
    zone.trouble("example.com", Trouble.SERVFAIL)
    assert resolver.provider_of("example.com") is None


# -- before a send


@pytest.mark.parametrize(
    ("record", "cause", "status", "certain"),
    [
        (None, Cause.NO_SUCH_DOMAIN, "5.1.2", True),
        ("MX 0 .", Cause.NULL_MX, "5.1.10", True),
        ("TXT hello", Cause.NO_ADDRESS, "5.4.4", False),
    ],
)
def test_a_domain_without_a_way_is_a_bad_domain_for_good(
    zone: ZoneServer, resolver: Resolver, record: str | None, cause: Cause, status: str, certain: bool
) -> None:
    if record:
        zone.add(f"example.com. 300 IN {record}")
    failed = resolver.undeliverable("Jo@Example.com")
    assert failed is not None
    assert (failed.recipient, failed.action, failed.stage) == ("Jo@Example.com", Action.FAILED, Stage.RCPT)
    assert isinstance(failed.reply, NoReply)
    assert (failed.reply.cause, failed.code, str(failed.enhanced)) == (cause, None, status)
    assert "example.com" in failed.text
    meaning = classify(failed)
    assert (meaning.category, meaning.scope, meaning.permanent) == (Category.BAD_DOMAIN, Scope.RECIPIENT, True)
    assert (meaning.certain, meaning.step, meaning.rule) == (
        certain,
        Step.NO_REPLY,
        f"no-reply-{cause.value.replace('_', '-')}",
    )


def test_the_verdicts_about_a_domain_are_three_and_no_other_fails_anybody(zone: ZoneServer, resolver: Resolver) -> None:
    zone.add("found.example. 300 IN A 192.0.2.1")
    zone.trouble("silent.example", Trouble.SERVFAIL)
    assert resolver.undeliverable("jo@found.example") is None
    assert resolver.undeliverable("jo@silent.example") is None
    assert resolver.undeliverable("postmaster") is None
    assert set(RouteVerdict) - VERDICTS == {RouteVerdict.FOUND, RouteVerdict.NOT_KNOWN}


# -- settings


@pytest.mark.parametrize("nameservers", [[], ["dns.example.com"], "192.0.2.53", ["https://192.0.2.53/dns-query"]])
def test_a_name_server_is_an_address(nameservers: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="write a list of addresses"):
        Resolver(nameservers=nameservers)


@pytest.mark.parametrize("setting", [{"timeout": 0}, {"lifetime": -1}, {"most": 0}, {"timeout": float("nan")}])
def test_a_setting_must_be_above_zero(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="above 0"):
        Resolver(**setting)  # type: ignore[arg-type]
