"""Amazon SES: what its notices say, and that no JSON does any harm."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.bounces.incoming import Incoming, Kind
from bouncekit.bounces.sesnotice import read_ses_notice


def read(notice: Any) -> Incoming | None:
    return read_ses_notice(json.dumps(notice))


def bounce(kind: str, **recipient: Any) -> dict[str, Any]:
    told = [{"emailAddress": "jo@example.com", **recipient}]
    return {
        "notificationType": "Bounce",
        "bounce": {"bounceType": kind, "bounceSubType": "MailboxFull", "bouncedRecipients": told},
        "mail": {"source": "shop@example.org", "commonHeaders": {"messageId": "<order-7@example.org>"}},
    }


def test_a_bounce_is_what_its_diagnostic_says() -> None:
    mail = read(bounce("Permanent", action="failed", status="5.1.1", diagnosticCode="smtp; 550 5.1.1 unknown"))
    assert mail is not None
    (one,) = mail.recipients
    assert (mail.kind, mail.message_id, mail.return_path) == (Kind.BOUNCE, "<order-7@example.org>", "shop@example.org")
    assert (one.recipient, one.action, str(one.reply), str(one.status)) == (
        "jo@example.com",
        "failed",
        "550 5.1.1 unknown",
        "5.1.1",
    )


def test_a_bounce_without_one_is_what_its_type_says() -> None:
    mail = read(bounce("Transient"))
    assert mail is not None
    assert (mail.kind, mail.recipients[0].diagnostic) == (Kind.BOUNCE, "Transient MailboxFull")


@pytest.mark.parametrize("name", ["notificationType", "eventType"])
def test_a_delivery_is_a_success_under_either_name(name: str) -> None:
    mail = read({name: "Delivery", "delivery": {"recipients": ["jo@example.com"], "smtpResponse": "250 ok"}})
    assert mail is not None
    assert (mail.kind, mail.recipients[0].action) == (Kind.SUCCESS, "delivered")


def test_a_delay_is_no_bounce() -> None:
    told = [{"emailAddress": "jo@example.com", "status": "4.4.1", "diagnosticCode": "smtp; 421 4.4.1 later"}]
    mail = read({"eventType": "DeliveryDelay", "deliveryDelay": {"delayedRecipients": told}})
    assert mail is not None
    assert (mail.kind, mail.recipients[0].action) == (Kind.DELAY, "delayed")


@pytest.mark.parametrize("text", ["", "Hello", "{", "[]", "{}", '{"notificationType": "Lunch"}', '{"Message": "x"}'])
def test_what_is_no_notice_is_none(text: str) -> None:
    assert read_ses_notice(text) is None


NAMES = """
notificationType eventType bounce complaint delivery deliveryDelay bouncedRecipients complainedRecipients recipients
delayedRecipients emailAddress status diagnosticCode mail commonHeaders messageId reportingMTA Message Bounce Complaint
Delivery DeliveryDelay
""".split()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(NAMES) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
)


@given(VALUES, st.sampled_from(["Bounce", "Complaint", "Delivery", "DeliveryDelay"]))
def test_any_json_is_read(value: Any, kind: str) -> None:
    part = {"Bounce": "bounce", "Complaint": "complaint", "Delivery": "delivery"}.get(kind, "deliveryDelay")
    read(value)
    read({"notificationType": kind, part: value, "mail": value})
