"""What a store that keeps no addresses is given: the same values, with a pseudonym wherever an address would stand.

A mailbox has one pseudonym, under which all is found that is known of it. A recipient is called by that of his mailbox,
with a few letters more where his address is another spelling of it. What a server said may quote the address in any
way, so of replies only the codes are left; and an event's id, which is a hash of the address, is made from the name.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bouncekit.delivery.events import Event, event_id
from bouncekit.delivery.settlement import Settlement
from bouncekit.policy.suppression import Suppression
from bouncekit.words.address import suppression_key
from bouncekit.words.pseudonym import Pseudonyms, is_pseudonym
from bouncekit.words.reply import NoReply, Reply

__all__ = ["Veil", "unquoted"]

_SPELLED_LETTERS = 8
_QUOTED = "reply"  # the detail of an event that quotes a server


class Veil:
    """Puts pseudonyms in the place of addresses. What has none of them comes out as it went in.

    >>> veil = Veil(Pseudonyms([b"a secret of sixteen bytes"]))
    >>> veil.name("jo@example.com")
    '#0ad761b5-2d97297d41a8a606e76c3975fbc460cb'
    >>> veil.called("Jo@example.com").removeprefix(veil.name("jo@example.com"))
    '.7485644d'
    """

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms

    def name(self, key: str) -> str:
        """The pseudonym of a suppression key."""
        return key if not key or is_pseudonym(key) else self._pseudonyms.of(key)

    def names(self, key: str) -> tuple[str, ...]:
        """Under what a mailbox may be found: its pseudonyms, and then as a store knew it that kept addresses once."""
        return (key,) if not key or is_pseudonym(key) else (*self._pseudonyms.all_of(key), key)

    def called(self, address: str) -> str:
        """What a recipient is called."""
        if not address or is_pseudonym(address):
            return address
        key = suppression_key(address)
        name = self.name(key)
        return name if address == key else f"{name}.{self._pseudonyms.of(address)[-_SPELLED_LETTERS:]}"

    def suppression(self, one: Suppression, name: str | None = None) -> Suppression:
        """An entry of the list, under a name; None is the mailbox's."""
        return replace(unquoted(one), key=self.name(one.key) if name is None else name, address=None)

    def settlement(self, one: Settlement, name: str | None = None) -> Settlement:
        """An outcome. What it lifts is named as it stands on the list."""
        name = self.name(one.key) if name is None else name
        return replace(
            one,
            recipient=self.called(one.recipient),
            key=name,
            reply=_bare(one.reply),
            suppression=one.suppression and self.suppression(one.suppression, name),
        )

    def event(self, event: Event, name: str | None = None) -> Event:
        """An event, in whose texts no spelling of the address is left that is known."""
        recipient, occasion = event.recipient, event.occasion
        settlement, suppression = event.settlement, event.suppression
        keys = (settlement and settlement.key, suppression and suppression.key)
        addresses = (recipient, suppression and suppression.address, *keys)
        spelled = frozenset(one.lower() for one in addresses if one and not is_pseudonym(one))
        called = recipient and self.called(recipient)
        return replace(
            event,
            id=self._id(event, called),
            recipient=called,
            occasion=replace(occasion, message_id=_without(spelled, occasion.message_id, called)),
            settlement=settlement and self.settlement(settlement, name),
            suppression=suppression and self.suppression(suppression, name),
            details={
                key: _codes(str(value)) if key == _QUOTED and value else _without(spelled, value, called)
                for key, value in event.details.items()
            },
        )

    def _id(self, event: Event, called: str | None) -> str:
        """The id that the event would have, were this the address."""
        attempt, suppression = event.occasion.attempt_id, event.suppression
        address = event.recipient or (suppression and suppression.key)
        if not address or is_pseudonym(address):
            return event.id
        if event.id == event_id(attempt, event.recipient, event.type):
            return event_id(attempt, called, event.type)
        return self._pseudonyms.of(f"event {event.id}").rpartition("-")[2]


def _replaced(spelled: frozenset[str], text: str, called: str) -> str:
    lower = text.lower()
    found = [one for one in spelled if one in lower]
    if not found:  # nearly always: the pattern is dear to make
        return text
    longest_first = "|".join(re.escape(one) for one in sorted(found, key=len, reverse=True))
    return re.sub(longest_first, called, text, flags=re.IGNORECASE)


def _bare(reply: Reply | NoReply | None) -> Reply | NoReply | None:
    if isinstance(reply, Reply):
        return Reply(reply.code, str(reply.enhanced or "").encode())
    return reply and NoReply(reply.cause)


def _codes(text: str) -> str:
    """Reply code and enhanced code of a reply, "" where it is none."""
    try:
        reply = _bare(Reply.parse(text))
    except ValueError:
        return ""
    return str(reply)


def unquoted(one: Suppression) -> Suppression:
    """An entry that rests on what names nobody: the codes of a reply, and the rules."""
    return replace(one, evidence=replace(one.evidence, reply=_codes(one.evidence.reply), message_id=None))


def _without(spelled: frozenset[str], value: Any, called: str | None) -> Any:
    """A value, of whatever it is made, with the name for the address, which is spelled so in lower case."""
    if isinstance(value, str):
        return _replaced(spelled, value, called or "")
    if isinstance(value, Mapping):
        return {name: _without(spelled, one, called) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without(spelled, one, called) for one in value]
    return value
