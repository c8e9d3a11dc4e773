"""Where a webhook may go: no way of writing an address, and no answer of DNS, leads into our own network."""

import ipaddress
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.sinks.protocol import NotTaken
from bouncekit.sinks.target import Target, forbidden, resolve
from bouncekit.words.errors import ConfigurationError

# Forms of addresses that lead inside, or nowhere, as attackers have used them.
INSIDE = """
127.0.0.1 127.1 127.0.1 0 0.0.0.0 2130706433 0x7f000001 0x7f.0.0.1 0177.0.0.1 017700000001 127.0.0.1.
10.0.0.1 172.16.0.1 192.168.0.1 100.64.0.1 100.100.100.200 169.254.169.254 192.0.0.192 168.63.129.16 198.18.0.1
224.0.0.1 255.255.255.255 240.0.0.1
[::] [::1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b:1::a00:1] [2002:7f00:1::]
[2001:0:7f00:1::] [fd00:ec2::254] [fe80::1] [fec0::1] [ff02::1] [2001:db8::1] [100::1] [5f00::1]
localhost localhost. LOCALHOST
""".split()
# URLs that are read in two ways, or lead to other protocols.
TWO_FACED = """
http://example.com/ ftp://example.com/ file:///etc/passwd gopher://example.com/ //example.com/ example.com/hook
https:///hook https://user@example.com/ https://user:secret@example.com/ https://example.com@127.0.0.1/
https://127.0.0.1#@example.com/ https://example.com\\@127.0.0.1/ https://example.com/#x https://example.com:x/
https://example.com:25/ https://example.com:22/ https://example.com:0/ https://example.com:99999/
https://[::1 https://[fe80::1%25eth0]/ https://ex%61mple.com/ https://exämple.com/ https://１２７.0.0.1/
https://127。0.0.1/ https://-example.com/ https://example..com/
""".split()
TWO_FACED += [
    "https://exa mple.com/",
    "https://exa\tmple.com/",
    "https://example.com/\r\nX-Evil: 1",
    "https://example.com/\0",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "64:ff9b::808:808"]


@pytest.mark.parametrize("host", INSIDE)
def test_no_form_of_an_address_leads_inside(host: str) -> None:
    """By the table, whatever the resolver of this system makes of it."""
    with pytest.raises((ConfigurationError, NotTaken)):
        Target.parse(f"https://{host}/hook").addresses()


def test_there_are_at_least_34_such_forms() -> None:
    assert len(set(INSIDE)) >= 34


@pytest.mark.parametrize("url", TWO_FACED)
def test_a_url_that_could_be_read_in_two_ways_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Target.parse(url)


@pytest.mark.parametrize("answer", [host.strip("[]") for host in INSIDE if ":" in host or host.count(".") == 3])
def test_no_answer_of_dns_leads_inside_not_even_among_good_ones(answer: str) -> None:
    target = Target.parse("https://crm.example.com/hook")
    for answers in ([answer], ["8.8.8.8", answer], [answer, "8.8.8.8"]):
        with pytest.raises(NotTaken):
            target.addresses(lambda host, port, answers=answers: answers)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_may_be_connected_to(address: str) -> None:
    assert forbidden(address) is None
    assert list(Target.parse("https://crm.example.com/").addresses(lambda host, port: [address])) == [address]
    host = f"[{address}]" if ":" in address else address
    assert list(Target.parse(f"https://{host}/").addresses()) == [address]


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "100.64.0.1", "::1", "fd12::1", "64:ff9b::a00:1"]
)
def test_a_private_one_may_be_where_the_owner_says_so(address: str) -> None:
    assert forbidden(address) is not None
    assert forbidden(address, allow_private=True) is None


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "0.0.0.0", "224.0.0.1", "fe80::1", "ff02::1", "192.0.0.192", "fe80::1%eth0"]
)
def test_metadata_and_multicast_may_not_even_then(address: str) -> None:
    assert forbidden(address, allow_private=True) is not None


def test_a_port_of_another_protocol_is_none_but_a_high_one_is() -> None:
    assert Target.parse("https://crm.example.com:8443/x").port == 8443
    with pytest.raises(ConfigurationError, match="port 25 is another protocol's"):
        Target.parse("https://crm.example.com:25/")


@given(st.integers(0, 2**32 - 1))
def test_what_python_calls_private_or_reserved_is_never_let_through(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    if address.is_private or address.is_multicast or address.is_reserved or address.is_loopback:
        assert forbidden(str(address)) is not None
        assert forbidden(f"::ffff:{address}") is not None
        assert forbidden(f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}") is not None


@given(st.integers(0, 2**128 - 1))
def test_of_ipv6_only_what_is_handed_out_is_let_through(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    if forbidden(str(address)) is None:
        assert (
            address in ipaddress.ip_network("2000::/3") or address.ipv4_mapped or str(address).startswith("64:ff9b::")
        )


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_a_configuration_error(text: str) -> None:
    for url in (text, f"https://{text}", f"https://example.com/{text}"):
        with suppress(ConfigurationError):
            target = Target.parse(url)
            assert target.path.isascii()
            assert " " not in target.path


def test_the_path_is_no_part_of_what_is_shown() -> None:
    target = Target.parse("https://crm.example.com/hook/t0ken?key=s3cret")
    assert target.path == "/hook/t0ken?key=s3cret"
    assert "t0ken" not in f"{target} {target!r}"
    with pytest.raises(ConfigurationError) as raised:
        Target.parse("https://user:s3cret@example.com/t0ken")
    assert "s3cret" not in str(raised.value)
    assert "t0ken" not in str(raised.value)


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [None][over.wait(20) :])
    with pytest.raises(TimeoutError, match=r"no address of crm\.example\.com within 0\.05 s"):
        resolve("crm.example.com", 443, seconds=0.05)
    over.set()


def test_a_name_without_an_address_comes_again_later() -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolvers: list[Callable[[str, int], list[str]]] = [nobody, lambda host, port: []]
    for one in resolvers:
        with pytest.raises(NotTaken):
            Target.parse("https://crm.example.com/").addresses(one)
