"""Erasing a person: what is left of events, outcomes and the audit when nobody may read out of them who it was.

An address becomes a pseudonym wherever it stands. What a server said about a mailbox may quote it in any way, or its
owner's name, so of replies about it only the codes are left. Event ids are hashes of the address too, and are renamed.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from bouncekit.policy.suppression import Suppression
from bouncekit.words.pseudonym import Pseudonyms
from bouncekit.words.reply import Reply

__all__ = ["Erased", "Erasing", "Erasure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How much an erasure found; all zero where nothing was left. `shared` are queued messages that others wait for.

    `is_clean` says that no copy is left in free space of the store's files; False where others read them just then.
    """

    suppressions: int = 0
    changes: int = 0
    events: int = 0
    outcomes: int = 0
    strikes: int = 0
    messages: int = 0
    shared: int = 0
    is_clean: bool = True


@dataclass(frozen=True)
class Erasure:
    """Whom to erase: the suppression key, every spelling of the address that is known, the messages that name him."""

    key: str
    names: Pseudonyms
    spellings: frozenset[str]
    messages: frozenset[str] = frozenset()

    def with_spellings(self, more: Iterable[str | None]) -> "Erasure":
        """The same, by more spellings."""
        return replace(self, spellings=self.spellings | {one for one in more if one})

    @cached_property
    def pseudonym(self) -> str:
        """What stands for the mailbox from now on."""
        return self.names.of(self.key)

    def renamed(self, event_id: str) -> str:
        """The new id of an event, which nobody can guess the address from; the same each time."""
        return self.names.of(f"event {event_id}").rpartition("-")[2]

    def text(self, text: str) -> str:
        """The text with the pseudonym for the address."""
        return self._pattern.sub(self.pseudonym, text)

    def event(self, text: str, *, is_about: bool) -> str | None:
        """An event's JSON without the person, None where it has none of it; `is_about` one that is about him."""
        found = json.loads(text)
        erased = self._walked(found)
        if is_about:
            erased["id"] = self.renamed(erased["id"])
            _strip_replies(erased.get("data") or {})
        return None if erased == found else json.dumps(erased, separators=(",", ":"))

    def suppression(self, one: Suppression) -> Suppression:
        """An entry of the list under the pseudonym."""
        evidence = replace(one.evidence, reply=_codes(one.evidence.reply), message_id=None)
        return replace(one, key=self.pseudonym, address=None, evidence=evidence)

    @property
    def needles(self) -> tuple[str, ...]:
        """What to look for in lower-case JSON."""
        return tuple(sorted({json.dumps(one.lower())[1:-1] for one in self.spellings}))

    @cached_property
    def _pattern(self) -> "re.Pattern[str]":
        spelled = "|".join(re.escape(one) for one in sorted(self.spellings, key=lambda one: (-len(one), one)))
        return re.compile(rf"(?<![\w.+-])(?:{spelled})(?![\w-])", re.IGNORECASE)

    def _walked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._walked(one) for one in value]
        if isinstance(value, dict):
            return {name: self._walked(one) for name, one in value.items()}
        return value


class Erasing(Protocol):
    """The part of a store that forgets people."""

    def tenants_of(self, key: str) -> frozenset[str]:
        """The tenants of whom the store knows something about a mailbox."""

    def overwrite_deleted(self) -> None:
        """Leave, from now on, no copy of what is deleted in the files' free space, as far as the database can."""

    def erase(self, erasure: Erasure) -> Erased:
        """Take a person out of everything but the queue, of every tenant: at once, then out of the files' free space.

        What stands under the plain key is taken off the list; what stands under the pseudonym stays. The messages that
        name him go as far as nobody waits for them.
        """


def _strip_replies(data: dict[str, Any]) -> None:
    """Leave the codes of what a server said."""
    if data.get("reply"):
        data["reply"] = _codes(data["reply"])
    suppression = data.get("suppression") or {}
    if (evidence := suppression.get("evidence") or {}).get("reply"):
        evidence["reply"] = _codes(evidence["reply"])


def _codes(text: str) -> str:
    """Reply code and enhanced code of a reply, "" where it is none."""
    try:
        reply = Reply.parse(text)
    except ValueError:
        return ""
    return f"{reply.code} {reply.enhanced}" if reply.enhanced else str(reply.code)
