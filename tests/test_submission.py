"""From what an application hands over to a delivery: nothing unusable reaches the wire, nothing usable is lost."""

from collections.abc import Callable
from itertools import count
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import Delivery
from bouncekit.delivery.submission import submission
from bouncekit.protocol.classmark import ClassMarks, HeaderMark
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import AddressError

from .building import ANN, BOB, Driver, grows_in_line

SENDER = "shop@example.org"
BODY = "Subject: hi\r\n\r\nhello\r\n"


def ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"id{next(numbers)}"


def submitted(message: str | bytes = BODY, *recipients: str, **settings: object) -> Delivery:
    return submission(SENDER, recipients or (ANN,), message, **settings)  # type: ignore[arg-type]


def wires(delivery: Delivery) -> list[str]:
    return [address.wire for address in delivery.envelope.recipients]


# -- labels and headers


def test_marks_become_labels_and_leave_the_message() -> None:
    marks = (
        "X-Bouncekit-Class: bulk\r\nx-bouncekit-tenant: shop\r\nX-BOUNCEKIT-STREAM: news\r\nX-Bouncekit-Test: Yes\r\n"
    )
    delivery = submitted(f"{marks}Message-ID: <1@x>\r\n{BODY}", new_id=ids())
    assert delivery.labels == Labels(message_class="bulk", tenant="shop", stream="news", test=True)
    assert delivery.envelope.content == f"Message-ID: <1@x>\r\n{BODY}".encode()


def test_a_mark_is_nearer_to_the_message_than_the_label_of_its_connection() -> None:
    given_labels = Labels(message_class="urgent", tenant="shop", stream="news", test=True)
    delivery = submitted(
        f"X-Bouncekit-Class: \r\nX-Bouncekit-Stream: x\r\nX-Bouncekit-Test: no\r\n{BODY}",
        labels=given_labels,
        new_id=ids(),
    )
    assert delivery.labels == Labels(message_class="urgent", tenant="shop", stream="x", test=False)
    assert submitted(labels=given_labels, new_id=ids()).labels == given_labels


def test_the_nearest_word_about_the_class_counts() -> None:
    """A mark of the message, the label of its connection, then what other headers speak for."""
    known = ClassMarks("X-Kind", (("bulk", (HeaderMark("Precedence", "bulk"),)),))
    listed = f"Precedence: bulk\r\n{BODY}"

    def class_of(text: str, label: str | None = None) -> str | None:
        return submitted(text, labels=Labels(message_class=label), new_id=ids(), known=known).labels.message_class

    assert class_of(BODY) is None
    assert class_of(listed) == "bulk"
    assert class_of(listed, "urgent") == "urgent"
    assert class_of(f"X-Kind: code\r\n{listed}", "urgent") == "code"
    assert class_of(f"X-Bouncekit-Class: x\r\n{listed}", "urgent") == "x"
    assert submitted(f"X-Kind: code\r\n{BODY}", known=known).envelope.content.startswith(b"X-Kind"), "not dressed"


@pytest.mark.parametrize(
    "value",
    [b"x" * 60_000, b"a\x1b[2J\0", b"a\xff\xed\xa0\x80", b"=?utf-8?q?a=0D=0AX-B:_c?=", b"a\r\n " * 1000, b"=?x?q?a"],
)
def test_a_hostile_mark_is_one_bounded_line(value: bytes) -> None:
    delivery = submitted(b"X-Bouncekit-Tenant: " + value + b"\r\n" + BODY.encode(), new_id=ids())
    tenant = delivery.labels.tenant
    assert 0 < len(tenant) <= 255
    assert not set("\r\n") & set(tenant)
    tenant.encode()
    assert b"Bouncekit" not in delivery.envelope.content


def test_a_mark_in_the_body_stays_where_it_is() -> None:
    delivery = submitted(f"{BODY}\r\nX-Bouncekit-Class: bulk\r\n", new_id=ids())
    assert delivery.labels == Labels()
    assert b"X-Bouncekit-Class: bulk" in delivery.envelope.content


def test_without_new_id_not_a_byte_changes_but_the_line_ends() -> None:
    delivery = submitted(b"X-Bouncekit-Class: bulk\nSubject: hi\r\n\rhello")
    assert delivery.envelope.content == b"X-Bouncekit-Class: bulk\r\nSubject: hi\r\n\r\nhello"
    assert (delivery.labels, delivery.id, delivery.envelope.message_id) == (Labels(), "", None)


def test_a_missing_message_id_is_added_with_the_domain_of_the_sender() -> None:
    delivery = submitted(new_id=ids())
    assert delivery.envelope.message_id == "<id1@example.org>"
    assert delivery.envelope.content == b"Message-ID: <id1@example.org>\r\n" + BODY.encode()
    assert delivery.id == "id2"


def test_a_message_id_that_is_there_is_kept() -> None:
    message = f"MESSAGE-id:\r\n <own@x>\r\n{BODY}"
    delivery = submitted(message, new_id=ids())
    assert (delivery.envelope.message_id, delivery.envelope.content) == ("<own@x>", message.encode())


@pytest.mark.parametrize(
    ("sender", "domain"),
    [
        ("", "localhost"),
        ("root", "localhost"),
        ("jo@b\xfccher.example", "xn--bcher-kva.example"),
        ("jo@\xfc\u0301-\u200d.example", "localhost"),  # no A-label exists for it
    ],
)
def test_a_message_id_is_ascii_whatever_the_sender(sender: str, domain: str) -> None:
    delivery = submission(sender, ANN, BODY, mail_options=["SMTPUTF8"], new_id=ids())
    assert delivery.envelope.message_id == f"<id1@{domain}>"


# -- recipients


def test_one_string_is_one_recipient() -> None:
    assert wires(submission(SENDER, ANN, BODY)) == [ANN]


def test_an_unusable_address_is_refused_alone() -> None:
    delivery = submitted(BODY, ANN, "jo@example.com> SIZE=1", BOB, "a\r\nDATA@x", "")
    assert wires(delivery) == [ANN, BOB]
    assert [one.address.wire for one in delivery.recipients] == [ANN, BOB]
    assert [refusal.address for refusal in delivery.refused] == ["jo@example.com> SIZE=1", "a\r\nDATA@x", ""]


def test_a_sender_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(AddressError, match="not allowed"):
        submission("shop@example.org\r\nDATA", ANN, BODY)


def test_the_same_wire_address_is_sent_to_once_and_case_and_tags_are_no_sameness() -> None:
    spellings = (ANN, f"Ann <{ANN}>", "Ann@example.com", "ann+x@example.com", ANN)
    delivery = submitted(BODY, *spellings)
    assert wires(delivery) == [ANN, "Ann@example.com", "ann+x@example.com"]
    assert [one.key for one in delivery.recipients] == [ANN, ANN, "ann+x@example.com"]


@pytest.mark.parametrize(
    ("written", "refused_on_the_wire"),
    [(ANN, ANN), (f"Ann <{ANN}>", ANN), ("J\xf6 <jo@b\xfccher.example>", "jo@xn--bcher-kva.example")],
)
def test_the_report_has_the_key_that_the_caller_wrote(written: str, refused_on_the_wire: str) -> None:
    delivery = submitted(BODY, written, BOB)
    report = Driver([{refused_on_the_wire: "550 5.1.1 no"}]).drive(delivery)
    assert dict(report) == {written: (550, b"5.1.1 no")}


@pytest.mark.parametrize("written", ["bad address@x", " jo@example.com> X ", "a" * 300 + "@x.com", "j\xf6@x.com", ""])
def test_an_address_refused_here_has_the_key_that_the_caller_wrote(written: str) -> None:
    report = Driver().drive(submitted(BODY, ANN, written))
    assert [code for code, _ in report.values()] == [-1]
    assert list(report) == [written]


def test_plain_addresses_need_no_map_of_spellings() -> None:
    assert submitted(BODY, ANN, BOB).given == {}
    assert submitted(BODY, ANN, BOB, ANN).given == {}


def test_ten_thousand_recipients_take_time_in_line_with_their_number() -> None:
    def seconds(number: int) -> float:
        texts = [f"U{one} <u{one}@example.com>" for one in range(number)]
        started = process_time()
        assert len(submission(SENDER, texts, BODY).recipients) == number
        return process_time() - started

    assert grows_in_line(seconds)


# -- beyond ASCII


def test_without_smtputf8_a_domain_travels_as_a_labels() -> None:
    delivery = submission("jo@b\xfccher.example", ["ann@b\xfccher.example", "ann@xn--bcher-kva.example"], BODY)
    assert delivery.envelope.sender.wire == "jo@xn--bcher-kva.example"
    assert wires(delivery) == ["ann@xn--bcher-kva.example"]
    assert not delivery.envelope.recipients[0].needs_utf8


def test_without_smtputf8_a_local_part_beyond_ascii_is_refused_alone() -> None:
    delivery = submitted(BODY, "j\xf6@example.com", "j\xf6", ANN)
    assert wires(delivery) == [ANN]
    assert [refusal.address for refusal in delivery.refused] == ["j\xf6@example.com", "j\xf6"]
    assert all("SMTPUTF8" in refusal.why for refusal in delivery.refused)


def test_without_smtputf8_a_sender_beyond_ascii_raises_what_smtplib_raises() -> None:
    with pytest.raises(UnicodeEncodeError):
        submission("j\xf6@example.org", ANN, BODY)


@pytest.mark.parametrize("option", ["SMTPUTF8", "smtputf8"])
def test_with_smtputf8_addresses_travel_as_they_are(option: str) -> None:
    delivery = submission("j\xf6@b\xfccher.example", "\xe4nn@b\xfccher.example", BODY, mail_options=[option])
    assert delivery.envelope.sender.wire == "j\xf6@b\xfccher.example"
    assert wires(delivery) == ["\xe4nn@b\xfccher.example"]
    assert delivery.envelope.mail_options == (option,)
    assert delivery.recipients[0].key == "\xe4nn@xn--bcher-kva.example"


# -- options


@pytest.mark.parametrize("options", ["mail_options", "rcpt_options"])
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_an_option_with_a_line_end_is_refused_before_anything_is_sent(options: str, end: str) -> None:
    with pytest.raises(ValueError, match="newline"):
        submitted(**{options: ["NOTIFY=NEVER", f"SIZE=1{end}DATA"]})


def test_options_go_with_the_envelope() -> None:
    envelope = submitted(mail_options=["BODY=8BITMIME"], rcpt_options=["NOTIFY=NEVER"]).envelope
    assert (envelope.mail_options, envelope.rcpt_options) == (("BODY=8BITMIME",), ("NOTIFY=NEVER",))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.just(ANN), max_size=6))
def test_every_text_that_was_handed_over_is_sent_to_or_refused(texts: list[str]) -> None:
    delivery = submission(SENDER, texts, BODY, new_id=ids())
    report: Report = Driver().drive(delivery)
    assert len(report.recipients) == len(delivery.recipients) + len(delivery.refused)
    assert set(report) <= set(texts)
    for address in delivery.envelope.recipients:
        assert not set("\r\n<> \0") & set(address.wire.replace('"', ""))
        address.wire.encode("ascii")
    assert bool(texts) == bool(report.recipients)
