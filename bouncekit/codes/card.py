"""What is written about a code: its card in one language, and what sets two codes apart (RFC 5321 4.2, RFC 3463)."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Card", "Language", "Pair"]


class Language(StrEnum):
    """What the cards are written in."""

    ENGLISH = "en"
    HINDI = "hi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One code, explained in one language.

    `code` is as it was asked for, `pattern` as the card is filed: `x.2.2` for any class, `5.7.606-649` for a span,
    `5xx` or `x.2.x` where no card is about this very code. `class_name` and `subject` are what its digits say.

    `stages` are the commands that it answers: None for any, empty where no server says it and relays write it into
    their reports. Of an enhanced code, `basic` are the reply codes that it goes with (RFC 5248): 552, 5xx for any of a
    kind; empty where the registry names none. A card with a `provider` is about its dialect alone.
    """

    code: str
    pattern: str
    language: Language
    name: str
    class_name: str
    subject: str
    description: str
    when: str
    fix: str
    source: str
    stages: tuple[str, ...] | None = None
    basic: tuple[str, ...] = ()
    provider: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the card is about this code, and not about everything that begins so."""
        return not self.pattern.endswith("x")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What sets two codes apart. `is_written`: somebody wrote it, else it was put together from the two cards."""

    difference: str
    which: str
    is_written: bool
