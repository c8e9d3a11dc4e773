"""Addresses: what reaches the wire, what is refused with its reason, and the key of a suppression."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bouncekit.words.address import Address, a_label, domain_of, parse_address, suppression_key, wire_addresses
from bouncekit.words.envelope import Recipient
from bouncekit.words.errors import AddressError

LONGEST_LOCAL = "l" * 64
LONGEST_DOMAIN = ".".join(["d" * 63, "d" * 63, "d" * 61])


# -- what is accepted


@pytest.mark.parametrize(
    ("text", "wire", "domain"),
    [
        ("jo@example.com", "jo@example.com", "example.com"),
        ("Jo@Example.COM", "Jo@Example.COM", "example.com"),
        ("<jo@example.com>", "jo@example.com", "example.com"),
        ("  jo@example.com ", "jo@example.com", "example.com"),
        ("Jo Doe <jo@example.com>", "jo@example.com", "example.com"),
        ('"Doe, Jo" <jo@example.com>', "jo@example.com", "example.com"),
        ('"a \\" <b>" <jo@example.com>', "jo@example.com", "example.com"),
        ("ada@example.org <jo@example.com>", "jo@example.com", "example.com"),
        ("Jo Müller <jo@example.com>", "jo@example.com", "example.com"),
        ("jo+shop.1_2-3@sub.example.com", "jo+shop.1_2-3@sub.example.com", "sub.example.com"),
        ("!#$%&'*+/=?^_`{|}~-@example.com", "!#$%&'*+/=?^_`{|}~-@example.com", "example.com"),
        ("a..b.@docomo.example.jp", "a..b.@docomo.example.jp", "docomo.example.jp"),
        ("jo@host", "jo@host", "host"),
        ("jo@my_host.example.com", "jo@my_host.example.com", "my_host.example.com"),
        ("postmaster", "postmaster", ""),
        ("<Postmaster>", "Postmaster", ""),
        ('"jo doe"@example.com', '"jo doe"@example.com', "example.com"),
        ('"jo@home"@example.com', '"jo@home"@example.com', "example.com"),
        ('<"a\\"b\\\\"@example.com>', '"a\\"b\\\\"@example.com', "example.com"),
        ('""@example.com', '""@example.com', "example.com"),
        ("jo@[192.0.2.1]", "jo@[192.0.2.1]", "[192.0.2.1]"),
        ("jo@[IPv6:2001:DB8::1]", "jo@[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"),
        (f"{LONGEST_LOCAL}@{LONGEST_DOMAIN}", f"{LONGEST_LOCAL}@{LONGEST_DOMAIN}", LONGEST_DOMAIN),
    ],
)
def test_an_address_goes_to_the_wire_as_it_was_written(text: str, wire: str, domain: str) -> None:
    assert parse_address(text) == Address(wire, domain, False)


@pytest.mark.parametrize(
    ("text", "domain"),
    [("jürgen@example.com", "example.com"), ("jo@Bücher.Example", "bücher.example"), ("用户@例子.广告", "例子.广告")],
)
def test_an_address_beyond_ascii_needs_smtputf8(text: str, domain: str) -> None:
    assert parse_address(text) == Address(text, domain, True)


@pytest.mark.parametrize("text", ["", " ", "<>", "Mail System <>"])
def test_the_empty_address_is_the_null_return_path(text: str) -> None:
    assert parse_address(text) == Address("", "", False)


# -- what is refused


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("jo@example.com\r\nRCPT TO:<eve@example.com>", "'\\r' is not allowed in an address"),
        ("jo@example.com\n", "'\\n' is not allowed"),
        ("\njo@example.com", "'\\n' is not allowed"),
        ("jo\x00@example.com", "'\\x00' is not allowed"),
        ("jo\x1b[2J@example.com", "'\\x1b' is not allowed"),
        ("jo\t@example.com", "'\\t' is not allowed"),
        ("jo\x7f@example.com", "'\\x7f' is not allowed"),
        ("jo\x85@example.com", "'\\x85' is not allowed"),
        ("jo\u2028@example.com", "'\\u2028' is not allowed"),
        ("jo\u2029@example.com", "'\\u2029' is not allowed"),
        ("jo\ud800@example.com", "'\\ud800' is not allowed"),
        ("jo\udcff@example.com", "'\\udcff' is not allowed"),
        ('"jo\r\n"@example.com', "'\\r' is not allowed"),
        ("Jo\r\nBcc: eve <jo@example.com>", "'\\r' is not allowed"),
        ("jo@example.com> SIZE=1", "'>' and what follows is no part of an address"),
        ("<jo@example.com> NOTIFY=NEVER", "'>' and what follows is no part of an address"),
        ("<jo@example.com><eve@example.com>", "'>' and what follows is no part of an address"),
        ("jo@example.com>", "'<' is missing"),
        ("<jo@example.com", "'>' is missing"),
        ("Jo <jo@example.com", "'>' is missing"),
        ("<<jo@example.com>", "'<' is not allowed in a local part"),
        ("jo@example.com SIZE=1", "no domain"),
        ("jo @example.com", "' ' is not allowed in a local part"),
        ("< jo@example.com >", "' ' is not allowed in a local part"),
        ("not an address", "' ' is not allowed in a local part"),
        ("jo\u00a0@example.com", "'\\xa0' is not allowed in a local part"),
        ("jo@example.com, eve@example.com", "is not allowed in a local part"),
        ("jo@example.com,eve@example.com", "is not allowed in a local part"),
        ("jo@example.com;eve@example.com", "is not allowed in a local part"),
        ("Jo <jo@example.com>, eve@example.com", "'>' and what follows"),
        ("jo@example.com, Eve <eve@example.com>", "more than one address"),
        ("jo@example.com@example.org", "'@' is not allowed in a local part"),
        ("<jo@example.com@example.org>", "'@' is not allowed in a local part"),
        ("@relay.example,@b:jo@example.com", "is not allowed in a local part"),
        ("friends: jo@example.com;", "is not allowed in a local part"),
        ("jo(comment)@example.com", "'(' is not allowed in a local part"),
        ("jo\\ doe@example.com", "is not allowed in a local part"),
        ('jo"doe"@example.com', "is not allowed in a local part"),
        ('"jo"doe@example.com', "quoted local part"),
        ('"jo@example.com', "quoted local part"),
        ('"jö"@example.com', "quoted local part"),
        ('"jo> SIZE=1"@example.com', "quoted local part"),
        ('"jo\\>"@example.com', "quoted local part"),
        ('"<jo"@example.com', "quoted local part"),
        ("@example.com", "the local part before the @ is missing"),
        ("jo@", "the domain after the @ is missing"),
        ("jo@.example.com", "'.example.com' is no domain"),
        ("jo@example..com", "'example..com' is no domain"),
        ("<jo@example..com>", "'example..com' is no domain"),
        ("jo@-example.com", "'-example.com' is no domain"),
        ("jo@exam ple.com", "'exam ple.com' is no domain"),
        ("jo@(comment)example.com", "is no domain"),
        ("jo@[192.0.2]", "is no domain"),
        ("jo@[192.0.2.1", "is no domain"),
        ("jo@[x400:192.0.2.1]", "is no domain"),
        ("jo@[192.0.2.1]x", "is no domain"),
        ("jo@[١٩٢.0.2.1]", "is no domain"),
        (f"x{LONGEST_LOCAL}@example.com", "the local part is longer than 64 octets"),
        ("ü" * 33 + "@example.com", "the local part is longer than 64 octets"),
        (f"{LONGEST_LOCAL}@x{LONGEST_DOMAIN}", "the address is longer than 254 octets"),
        ("jo@" + "d" * 100_000, "the address is longer than 254 octets"),
    ],
)
def test_what_is_no_single_mailbox_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert why in caught.value.why
    assert caught.value.address == text
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


HOSTILE = ["\r", "\n", "\x00", "\t", " ", "<", ">", '"', "\\", "@", ",", ";", ":", "(", ")", "[", "]", ".", "-"]
pieces = st.sampled_from([*HOSTILE, "a", "b", "é", "例", "\u2028", "\x85", "\ud800", "\udfff", "\u202e", "=", "SIZE"])
hostile = st.lists(pieces, max_size=14).map("".join) | st.text(max_size=60)


def has_unquoted(wire: str, forbidden: str) -> bool:
    """Whether one of these stands outside of a quoted string, as the servers read one (RFC 5321 4.1.2)."""
    quoted = escaped = False
    for character in wire:
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character in forbidden and not quoted:
            return True
    return quoted


@given(hostile)
@example('"a> SIZE=1"@b.c')
@example('"a\\" b@c.d')
@example('a"b c"@d')
def test_whatever_goes_in_what_comes_out_can_smuggle_nothing(text: str) -> None:
    for written in (text, f"<{text}>", f"{text}@example.com", f"jo@{text}", f'"{text}"@example.com', f"Jo <{text}>"):
        try:
            address = parse_address(written)
        except AddressError:
            continue
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in address.wire)
        assert not set(address.wire) & set("<>\u2028\u2029")
        assert not has_unquoted(address.wire, " ,;")
        assert len(address.wire.encode()) <= 254
        assert address.needs_utf8 is not address.wire.isascii()
        assert parse_address(address.wire) == address


# -- several


def test_one_bad_address_is_refused_alone_and_the_others_go_on_in_order() -> None:
    usable, refused = wire_addresses(["ada@example.com", "b ad@example.com", "", "bob@example.com", "x@\ud800"])
    assert [address.wire for address in usable] == ["ada@example.com", "bob@example.com"]
    assert [error.address for error in refused] == ["b ad@example.com", "", "x@\ud800"]
    assert "return path" in refused[1].why


def test_each_exact_wire_form_goes_out_once() -> None:
    usable, refused = wire_addresses(
        ["ada@example.com", "Ada <ada@example.com>", "Ada@example.com", "ada@EXAMPLE.com", "ada@example.com"]
    )
    assert [address.wire for address in usable] == ["ada@example.com", "Ada@example.com", "ada@EXAMPLE.com"]
    assert refused == ()


def test_every_refused_address_has_its_own_reason_however_long() -> None:
    long = ["a" * 200 + "@example.com", "a" * 200 + "@example.org"]
    _, refused = wire_addresses([*long, *long])
    assert [error.address for error in refused] == long


@given(st.lists(hostile, max_size=5))
def test_each_of_many_is_either_usable_or_refused(texts: list[str]) -> None:
    usable, refused = wire_addresses(texts)
    kept = {address.wire for address in usable}
    for text in texts:
        try:
            assert (wire := parse_address(text).wire) in kept or wire == ""
        except AddressError:
            assert text in {error.address for error in refused}


# -- keys


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("Jo@Example.COM", "jo@example.com"),
        ("J.O+shop@example.com", "j.o+shop@example.com"),
        ("J.O+shop@gmail.com", "jo@gmail.com"),
        ("J.O+shop+more@GoogleMail.com", "jo@gmail.com"),
        ("j.o+shop@outlook.com", "j.o@outlook.com"),
        ("j.o+shop@hotmail.com", "j.o@hotmail.com"),
        ("j.o+shop@icloud.com", "j.o@icloud.com"),
        ("j.o+shop@sub.gmail.com", "j.o+shop@sub.gmail.com"),
        ("+shop@gmail.com", "+shop@gmail.com"),
        ("jo@example.com.", "jo@example.com"),
        ("jo@faß.de", "jo@xn--fa-hia.de"),
        ("jo@fass.de", "jo@fass.de"),
        ("jo@BÜCHER.example", "jo@xn--bcher-kva.example"),
        ("jo@xn--bcher-kva.example", "jo@xn--bcher-kva.example"),
        ("JÜRGEN@example.com", "jürgen@example.com"),
        ("STRASSE@example.com", "strasse@example.com"),
        ("straße@example.com", "straße@example.com"),
        ('"Jo Doe@home"@Example.com', '"jo doe@home"@example.com'),
        ("jo@[IPv6:2001:DB8::1]", "jo@[ipv6:2001:db8::1]"),
        ("Postmaster", "postmaster"),
        ("", ""),
    ],
)
def test_the_key_is_the_mailbox_however_it_was_written(address: str, key: str) -> None:
    assert suppression_key(address) == key


@given(st.from_regex(r"[a-zA-Z.+0-9-]{1,20}@(gmail|outlook|example)\.(com|de)", fullmatch=True))
def test_a_key_is_its_own_key(address: str) -> None:
    assert suppression_key(suppression_key(address)) == suppression_key(address)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('"jo"@x.example', "jo@x.example"),
        ('"j\\o"@x.example', "jo@x.example"),
        ("jo\u0308@x.example", "j\u00f6@x.example"),
    ],
)
def test_two_spellings_of_one_mailbox_have_one_key(one: str, other: str) -> None:
    assert suppression_key(one) == suppression_key(other)


@given(hostile)
def test_any_accepted_address_has_a_key(text: str) -> None:
    try:
        address = parse_address(text)
    except AddressError:
        return
    assert bool(suppression_key(address.wire)) is bool(address.wire)
    assert Recipient.of(address).key == suppression_key(address.wire)


@pytest.mark.parametrize(
    "domain", ["ex＠mple", "例" * 300, "ü" * 60 + ".de", "\u202e.com", "ü\ud800", "ü..de", "\u3002ü"]
)
def test_a_domain_without_an_a_label_stays_as_it_is(domain: str) -> None:
    assert a_label(domain) == domain


@given(st.text(max_size=80))
def test_any_domain_is_an_a_label_or_stays_in_lower_case(domain: str) -> None:
    label = a_label(domain)
    assert label.isascii() or label == domain.lower().rstrip(".")


def test_the_domain_of_an_address_is_in_a_labels() -> None:
    assert domain_of("Jo@Bücher.Example") == "xn--bcher-kva.example"
    assert domain_of("postmaster") == ""
    assert domain_of('"a@b"@Example.com') == "example.com"
