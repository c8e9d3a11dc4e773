"""A message for each row: what is filled in is data, wherever it stands."""

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.lists.mailmerge import MailMerge, texts_of
from bouncekit.words.errors import ConfigurationError

ADA = {"recipient": "ada@example.com", "name": "Ada", "n": "7"}
PLAIN = b"From: shop@example.org\nTo: $name <$recipient>\nSubject: Order $n\nX-A: 1\nX-A: $n\n\nDear ${name}, $$5\n"
BOTH = (
    b"From: shop@example.org\nTo: $recipient\nMIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=x\n\n"
    b"--x\nContent-Type: text/plain; format=flowed\n\nDear $name,\n"
    b"--x\nContent-Type: text/html; charset=iso-8859-1\n\n<p>Gr\xfc\xdfe, $name</p>\n--x--\n"
)


def merge(content: bytes = PLAIN) -> MailMerge:
    return MailMerge(content, "hello.eml")


def read(message: EmailMessage) -> EmailMessage:
    """What somebody reads who gets it."""
    found = message_from_bytes(message.as_bytes(policy=policy.SMTP.clone(utf8=True)), policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def test_names_in_headers_and_text_are_filled_and_all_else_stays_in_its_order() -> None:
    got = read(merge().filled(ADA))
    assert got.items() == [
        ("From", "shop@example.org"),
        ("To", "Ada <ada@example.com>"),
        ("Subject", "Order 7"),
        ("X-A", "1"),
        ("X-A", "7"),
        *[(name, got[name]) for name in ("Content-Type", "Content-Transfer-Encoding", "MIME-Version")],
    ]
    assert got.get_content().rstrip() == "Dear Ada, $5"


def test_in_html_a_value_is_escaped_and_in_text_it_is_not() -> None:
    text, page = read(merge(BOTH).filled({**ADA, "name": "<b>&Söhne"})).iter_parts()
    assert text.get_content().strip() == "Dear <b>&Söhne,"
    assert text["Content-Type"].params["format"] == "flowed"
    assert page.get_content().strip() == "<p>Grüße, &lt;b&gt;&amp;Söhne</p>"


@pytest.mark.parametrize("name", ["x\r\nBcc: eve@example.com", "x\ny", "x\ry"])
def test_no_value_makes_a_header_of_its_own(name: str) -> None:
    with pytest.raises(ValueError, match=r"CR or LF|linefeed"):
        merge().filled({**ADA, "name": name})
    with pytest.raises(ValueError, match=r"CR or LF|linefeed"):
        merge(b"From: a@example.org\nSubject: $name\n\n").filled({**ADA, "name": name})


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=40))
def test_no_name_makes_another_address(name: str) -> None:
    to = merge().filled({**ADA, "name": name})["To"]
    assert [one.addr_spec for one in to.addresses] == ["ada@example.com"]


@pytest.mark.parametrize("recipient", ["", "nobody", "a@b>, c@d", "a@b@c", "a b@example.com"])
def test_what_is_no_address_is_refused_where_it_is_named_in_a_header(recipient: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        merge().filled({**ADA, "recipient": recipient})


def test_an_address_beyond_ascii_stands_in_the_header() -> None:
    assert "grüße@example.com" in read(merge().filled({**ADA, "recipient": "grüße@example.com"}))["To"]


def test_a_row_without_a_field_that_is_named_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match="no field 'n', which the message names"):
        merge().filled({"recipient": "ada@example.com", "name": "Ada"})


def test_a_dollar_that_begins_no_name_is_found_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError, match=r"hello.eml: header Subject: '\$5 only.*a dollar is written \$\$"):
        merge(b"Subject: $5 only\n\nHello\n")
    with pytest.raises(ConfigurationError, match=r"hello.eml: header Message-ID: '\$1@shop"):
        merge(b"Subject: $name\nMessage-ID: <0a$1@shop.example>\n\nHello\n")
    with pytest.raises(ConfigurationError, match=r"hello.eml: text/plain part: '\$5 only"):
        merge(b"Subject: $name\n\n$5 only\n")


def test_a_field_that_does_not_fit_into_a_header_is_named_with_it() -> None:
    with pytest.raises(ValueError, match=r"^header Subject cannot hold \$name: "):
        merge(b"Subject: Dear $name\n\nHello\n").filled({"recipient": "ada@example.com", "name": "Ada\nBcc: x@y"})


def test_a_message_without_a_dollar_is_the_same_for_every_row() -> None:
    assert merge(b"Subject: Hi\n\nHello\n").is_plain
    assert not merge(b"Subject: Hi\n\nHello, that is $$5\n").is_plain
    assert not merge().is_plain


def test_the_key_of_a_row_is_its_own_and_the_message_s() -> None:
    assert merge().key(ADA) == merge().key(dict(reversed(ADA.items())))
    others = [merge().key({**ADA, "n": "8"}), merge().key({**ADA, "n": "", "name": "Ada7"}), merge(BOTH).key(ADA)]
    assert len({merge().key(ADA), *others}) == 4


def test_a_row_without_an_address_says_so_and_one_that_is_none_says_what_would_be_right() -> None:
    with pytest.raises(ValueError, match=r"^no recipient: recipient is empty$"):
        texts_of({"recipient": " ", "name": "Ada"})
    said = r"^header To cannot hold \$name, \$recipient: 'ada' is no address: one has an @"
    with pytest.raises(ValueError, match=said):
        merge().filled({**ADA, "recipient": "ada"})


@pytest.mark.parametrize("column", ["recipient", "To", "E-Mail", "email", "Email address", "EmailAddress"])
def test_the_column_of_addresses_may_be_called_as_lists_call_it(column: str) -> None:
    if column == "E-Mail":
        with pytest.raises(ValueError, match="a column of the name recipient is needed; it has 'E-Mail'"):
            texts_of({column: "ada@example.com"})
        return
    assert texts_of({column: " ada@example.com ", "Points": 7, "Vip": True, "Note": None}) == {
        "_".join(column.split()): "ada@example.com",
        "Points": "7",
        "Vip": "true",
        "Note": "",
        "recipient": "ada@example.com",
    }


@pytest.mark.parametrize("value", [["a"], {"a": 1}, "\udcff"])
def test_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="field 'x' is no"):
        texts_of({"recipient": "ada@example.com", "x": value})
