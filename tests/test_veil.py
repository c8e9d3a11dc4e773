"""Pseudonyms in the place of addresses: one for each mailbox, the same each time, and nothing that quotes them."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.delivery.events import Event, EventType, Occasion, event_id, events_of
from bouncekit.delivery.settlement import Settlement
from bouncekit.stores.veil.veil import Veil
from bouncekit.words.pseudonym import Pseudonyms, is_pseudonym
from bouncekit.words.reply import Cause, NoReply, Reply
from bouncekit.words.status import Action
from tests.building import ANN, NOW, suppression

OLD, NEW = b"a secret of sixteen bytes", b"another secret of some length"
VEIL = Veil(Pseudonyms([OLD]))
OCCASION = Occasion(attempt_id="1" * 32, at=NOW, message_id="<ann@example.com.7@example.org>", delivery_id="2" * 32)
REPLY = Reply.parse("550 5.1.1 <Ann@Example.com>: Ann Miller has left us")


def failed(address: str = ANN) -> Settlement:
    return Settlement(
        recipient=address, action=Action.FAILED, reply=REPLY, key=ANN, suppression=suppression(ANN), attempts=1
    )


@pytest.mark.parametrize("address", [ANN, "ANN@example.com", '"ann"@example.com'])
def test_every_spelling_of_a_mailbox_is_called_by_its_pseudonym(address: str) -> None:
    called = VEIL.called(address)
    assert is_pseudonym(called)
    assert called.startswith(VEIL.name(ANN))
    assert called == VEIL.called(address)
    assert (called == VEIL.name(ANN)) == (address == ANN)


def test_what_is_a_pseudonym_already_or_nobody_stays() -> None:
    name = VEIL.name(ANN)
    assert VEIL.name(name) == VEIL.called(name) == name
    assert VEIL.names(name) == (name,)
    assert (VEIL.name(""), VEIL.called(""), VEIL.names("")) == ("", "", ("",))


@given(st.text(max_size=80))
def test_whatever_was_given_for_an_address_has_a_name_without_it(text: str) -> None:
    called = VEIL.called(text)
    assert called == text if not text or is_pseudonym(text) else is_pseudonym(called)


def test_a_mailbox_is_found_by_every_secret_and_by_its_address() -> None:
    both = Veil(Pseudonyms([NEW, OLD]))
    assert both.names(ANN) == (Veil(Pseudonyms([NEW])).name(ANN), VEIL.name(ANN), ANN)


def test_no_event_of_an_outcome_has_the_address_or_the_text_of_the_server() -> None:
    for event in events_of(failed("Ann@Example.com"), OCCASION):
        told = json.dumps(VEIL.event(replace(event, details={"why": "Ann@Example.com left", "more": 3})).to_dict())
        assert "ann@" not in told.lower()
        assert "Miller" not in told
        assert '"reply": "550 5.1.1"' in told
        assert VEIL.called("Ann@Example.com") in told


def test_an_event_has_the_id_that_it_would_have_were_the_name_the_address() -> None:
    (told, added) = events_of(failed(), OCCASION)
    assert VEIL.event(told).id == event_id(OCCASION.attempt_id, VEIL.name(ANN), EventType.FAILED)
    assert VEIL.event(added).id == event_id(OCCASION.attempt_id, VEIL.name(ANN), EventType.SUPPRESSION_ADDED)
    notice = replace(told, id=event_id(OCCASION.attempt_id, ANN, "notified:owner"), type=EventType.NOTIFIED)
    assert VEIL.event(notice).id not in (notice.id, VEIL.event(replace(notice, id="0" * 32)).id)
    assert VEIL.event(notice) == VEIL.event(notice)


def test_an_event_about_nobody_keeps_its_id_and_of_a_quoted_reply_the_codes() -> None:
    event = Event(
        id="3" * 32, type=EventType.GUARD_TRIPPED, occasion=OCCASION, details={"reply": str(REPLY), "code": 550}
    )
    assert VEIL.event(event) == replace(event, details={"reply": "550 5.1.1", "code": 550})


def test_where_no_reply_came_the_cause_is_left() -> None:
    lost = replace(failed(), reply=NoReply(Cause.LOST, f"{ANN} is in somebody else's hands"))
    assert VEIL.settlement(lost).reply == NoReply(Cause.LOST)


def test_an_entry_rests_on_what_names_nobody() -> None:
    entry = suppression(ANN)
    entry = replace(entry, evidence=replace(entry.evidence, reply=str(REPLY), message_id=f"<{ANN}>", rule="nobody"))
    hidden = VEIL.suppression(entry)
    assert (hidden.key, hidden.address) == (VEIL.name(ANN), None)
    assert (hidden.evidence.reply, hidden.evidence.message_id, hidden.evidence.rule) == ("550 5.1.1", None, "nobody")
    assert replace(hidden, key=entry.key, address=entry.address, evidence=entry.evidence) == entry
