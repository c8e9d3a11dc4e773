"""One request as a page sees it, and what a page answers: values on both sides, so that pages are plain functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from tempfile import SpooledTemporaryFile
from typing import Any, TypeAlias, TypeVar

from starlette.responses import Response

from bouncekit.desk.office import Office
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.reports.counts import Counts
from bouncekit.web.access import User
from bouncekit.web.keeping import Trials, Uploads
from bouncekit.web.sealing import Seal
from bouncekit.words.address import parse_address
from bouncekit.words.errors import AddressError

__all__ = ["Go", "House", "NotAsked", "Page", "View", "Visit"]

_E = TypeVar("_E", bound=StrEnum)
_MOST_TEXT = 320  # characters of what somebody types; an address has no more


class NotAsked(ValueError):
    """What was asked for cannot be; the message is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What all requests share."""

    postmaster: Postmaster
    seal: Seal
    counts: Counts
    trials: Trials
    uploads: Uploads

    @property
    def office(self) -> Office:
        return self.postmaster.office


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A template with its values."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Go:
    """To another page, where `said` is shown: what a change answers, so that no reload makes it twice."""

    path: str
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One request. `query` and `form` are hostile: they are read by the methods below, which bound them."""

    house: House
    user: User
    now: datetime
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    types: tuple[str, ...] = ()  # of events, several of which may be asked for
    file: "SpooledTemporaryFile[bytes] | None" = None
    file_name: str = ""
    session: str = ""

    @property
    def asked(self) -> Mapping[str, str]:
        """The form of a change, else the query."""
        return self.form or self.query

    def text(self, name: str, *, most: int = _MOST_TEXT) -> str:
        """A line of text, without what surrounds it; empty where there is none.

        Raises:
            NotAsked: it is too long, or holds what nobody can type.
        """
        text = self.asked.get(name, "").strip()
        if len(text) > most:
            raise NotAsked(f"{name}: {len(text):,} characters, and {most:,} are enough")
        if not all(character.isprintable() for character in text):
            raise NotAsked(f"{name}: no line ends or control characters, please")
        return text

    def address(self, name: str) -> str:
        """A mail address.

        Raises:
            NotAsked: it is none.
        """
        text = self.text(name)
        try:
            wire = parse_address(text).wire
        except AddressError as error:
            raise NotAsked(f"no address: {error.why}") from None
        if not wire:
            raise NotAsked("no address")
        return text

    def sealed(self, name: str) -> str | None:
        """What stands sealed in the query or the path; None where nothing does.

        Raises:
            NotAsked: it is not ours, or from before a restart.
        """
        sealed = self.path.get(name) or self.asked.get(name)
        if not sealed:
            return None
        opened = self.house.seal.open(sealed)
        if opened is None:
            raise NotAsked("this link is from before a restart of the page: look for it again")
        return opened

    def one_of(self, name: str, kinds: type[_E]) -> _E | None:
        """A member of an enum; None where none was asked for.

        Raises:
            NotAsked: it is none.
        """
        text = self.asked.get(name, "")
        if not text:
            return None
        try:
            return kinds(text)
        except ValueError:
            raise NotAsked(f"{name}: {text[:40]!a} is none of {', '.join(kinds)}") from None

    def number(self, name: str, default: int, *, least: int = 0, most: int = 2**62) -> int:
        """A whole number within its bounds.

        Raises:
            NotAsked: it is none.
        """
        text = self.asked.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
            raise NotAsked(f"{name}: a number from {least:,} to {most:,}")
        return int(text)

    def is_ticked(self, name: str) -> bool:
        """Whether a box is."""
        return bool(self.asked.get(name))


View: TypeAlias = Callable[[Visit], Page | Go | Response]
