"""The files of cards: from TOML to values, with every text in every language."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from bouncekit.codes.card import Language

__all__ = ["FiledCard", "FiledPair", "Words", "read_cards", "read_pairs", "read_words"]

# Kind of word, then its name: words["heading"]["fix"].
Words: TypeAlias = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CardText:
    """One language of a card. `origin` says who uses a code that no standard assigns; `fix_4` is for class 4 alone."""

    name: str
    description: str
    when: str
    fix: str = ""
    fix_2: str = ""
    fix_4: str = ""
    fix_5: str = ""
    origin: str = ""

    def advice(self, class_: int) -> str:
        """How to fix it, where the first digit is this one; empty where there is nothing to do."""
        own = {2: self.fix_2, 4: self.fix_4, 5: self.fix_5}.get(class_, "")
        return " ".join(filter(None, (self.fix, own)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FiledCard:
    """A card as its file has it, in all languages."""

    code: str
    texts: Mapping[Language, CardText]
    stages: tuple[str, ...] | None = None
    classes: tuple[int, ...] = ()
    basic: tuple[str, ...] = ()
    source: str = ""
    provider: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairText:
    """One language of a pair."""

    difference: str
    which: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FiledPair:
    """A pair as its file has it, in all languages."""

    codes: frozenset[str]
    texts: Mapping[Language, PairText]


def read_cards(text: str) -> tuple[FiledCard, ...]:
    """The `[[card]]` tables of a file.

    Raises:
        ValueError: something is missing, or has no meaning; the message names the card.
    """
    return tuple(_made(FiledCard, CardText, table, table.get("code")) for table in tomllib.loads(text)["card"])


def read_pairs(text: str) -> tuple[FiledPair, ...]:
    """The `[[pair]]` tables of a file.

    Raises:
        ValueError: something is missing, or has no meaning; the message names the pair.
    """
    tables: Sequence[dict[str, Any]] = tomllib.loads(text)["pair"]
    return tuple(
        _made(FiledPair, PairText, {**table, "codes": frozenset(table["codes"])}, table["codes"]) for table in tables
    )


def read_words(text: str) -> Mapping[Language, Words]:
    """The words around the cards, by language, kind and name."""
    content = tomllib.loads(text)
    return MappingProxyType({Language(name): MappingProxyType(kinds) for name, kinds in content.items()})


def _made(kind: type[Any], text_kind: type[Any], table: Mapping[str, Any], name: object) -> Any:
    """A value out of a table: its tables are languages, its lists are tuples."""
    try:
        texts = {language: text_kind(**table[language.value]) for language in Language}
        rest = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in table.items()
            if key not in set(Language)
        }
        return kind(texts=MappingProxyType(texts), **rest)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name}: {error}") from error
