"""Events in Anymail's words: no word that it does not have, and each where it belongs."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from smtplib import SMTPException

import pytest

from bouncekit.delivery.events import EventType
from bouncekit.integrations.tracking import TrackingEvent, tracking_event
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Kept, ScriptedServer, Silence

Serve = Callable[..., ScriptedServer]

# django-anymail 13.1, anymail/signals.py: what it normalizes to.
EVENT_TYPES = {"queued", "sent", "rejected", "failed", "bounced", "deferred", "delivered", "complained", "unknown"}
REJECT_REASONS = {"invalid", "bounced", "timed_out", "blocked", "spam", "unsubscribed", "other"}
ATTRIBUTES = (
    "event_type timestamp event_id esp_event click_url description message_id metadata mta_response recipient"
    " reject_reason tags user_agent"
).split()


@pytest.fixture
def told(postmaster: Postmaster) -> list[TrackingEvent]:
    found: list[TrackingEvent] = []

    def hear(event: object) -> None:
        if (event := tracking_event(event)) is not None:  # type: ignore[arg-type]
            found.append(event)

    postmaster.on()(hear)
    return found


def send(postmaster: Postmaster, server: ScriptedServer, *recipients: str, **options: object) -> None:
    with suppress(SMTPException), postmaster.smtp(server.host, server.port, **options) as smtp:
        smtp.sendmail("shop@example.org", recipients, "Message-ID: <1@example.org>\r\n\r\nHello")


@pytest.mark.parametrize(
    ("script", "type_", "reason"),
    [
        ({}, "sent", None),
        ({"RCPT": "452 4.2.2 Over quota"}, "deferred", None),
        ({"RCPT": "550 5.1.1 No such user"}, "bounced", "bounced"),
        ({"RCPT": "552 5.2.2 Mailbox full"}, "bounced", "bounced"),
        ({"RCPT": "553 5.1.3 Bad address syntax"}, "bounced", "invalid"),
        ({"END_OF_DATA": "550 5.7.1 Message rejected as spam"}, "bounced", "spam"),
        ({"END_OF_DATA": "552 5.3.4 Message size exceeds fixed limit"}, "bounced", "other"),
        ({"END_OF_DATA": Kept(Silence())}, "unknown", None),
    ],
)
def test_a_refusal_is_told_with_the_reason_that_anymail_has_for_it(
    serve: Serve, postmaster: Postmaster, told: list[TrackingEvent], script: dict[str, object], type_: str, reason: str
) -> None:
    send(postmaster, serve(script), "jo@example.com", timeout=1.5)
    assert [(one.event_type, one.reject_reason, one.recipient) for one in told] == [(type_, reason, "jo@example.com")]
    assert told[0].message_id == "<1@example.org>"


def test_who_is_suppressed_was_rejected(serve: Serve, postmaster: Postmaster, told: list[TrackingEvent]) -> None:
    postmaster.suppressions.add("jo@example.com", tenant="acme")
    send(postmaster, serve(), "jo@example.com", tenant="acme", message_class="bulk")
    assert [(one.event_type, one.tags, dict(one.metadata)) for one in told] == [
        ("rejected", ("bulk",), {"tenant": "acme"})
    ]


def test_what_no_server_was_asked_about_failed(serve: Serve, postmaster: Postmaster, told: list[TrackingEvent]) -> None:
    send(postmaster, serve(), "no address at all")
    assert [(one.event_type, one.reject_reason) for one in told] == [("failed", "invalid")]


def test_its_words_and_attributes_are_anymails() -> None:
    from bouncekit.integrations import tracking

    assert set(tracking._TYPES.values()) | {"failed"} <= EVENT_TYPES
    assert set(tracking._REASONS.values()) | {"timed_out", "other"} <= REJECT_REASONS
    assert set(ATTRIBUTES) == set(TrackingEvent.__dataclass_fields__)


def test_anymail_itself_has_these_words() -> None:
    """Where it is installed, from its own source."""
    signals = pytest.importorskip("anymail.signals", reason="python -m pip install django-anymail")
    words = {one for name, one in vars(signals.EventType).items() if name.isupper()}
    reasons = {one for name, one in vars(signals.RejectReason).items() if name.isupper()}
    assert words >= EVENT_TYPES
    assert reasons == REJECT_REASONS
    theirs = signals.AnymailTrackingEvent(event_type="sent")
    assert set(vars(theirs)) == set(ATTRIBUTES)


def test_a_session_is_told_in_no_words_of_anymail(postmaster: Postmaster) -> None:
    found: list[object] = []
    postmaster.on("policy_loaded")(found.append)
    postmaster.reload("bulk")
    (event,) = _of(found)
    assert tracking_event(event) is None  # type: ignore[arg-type]


def _of(found: list[object]) -> Iterator[object]:
    return (one for one in found if one.type is EventType.POLICY_LOADED)  # type: ignore[attr-defined]
