"""Whether a provider refuses so many alike that it has a bad hour, and its word about one mailbox is worth nothing.

A bad hour and a bad list look the same at first. What tells them apart is what this provider's servers usually say to
this sender: a mass is many refusals alike in a short time, and a multiple of the usual share. All of it is counted at
the end of a host's name, since whoever took a message was never classified, and both must be counted at one place.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from bouncekit.words.quick import quick
from bouncekit.words.status import RecipientStatus

__all__ = [
    "REACH",
    "USUAL_GUARD",
    "USUAL_TIME",
    "Answers",
    "Count",
    "Guard",
    "Held",
    "Mass",
    "Pattern",
    "fingerprint",
    "masked_words",
    "provider_at",
    "reach",
    "trips",
    "usual",
]

REACH = 6  # times the guard's window: how long a mass goes on behind its last sign, and how far back it is held
USUAL_TIME = timedelta(days=30)  # before yesterday, from which the usual share is known

_LONGEST_TEXT = 2048
_MOST_WORDS = 64
_LONGEST_WORD = 24  # anything longer is an id, a host or a link
_LONGEST_HOST = 255
_SIGN = re.compile(r"[\d@./\\_+]").search
_APART = str.maketrans(dict.fromkeys("<>()[]{}\"'`=:;,|", " "))

# Second-level labels under which a registry of a country sells names: example.co.uk, example.com.br.
_REGISTRIES = frozenset("ac co com edu gob gov ne net nom or org".split())
_SAME = {"googlemail.com": "google.com"}  # MX hosts of one provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """When a mass of equal refusals holds new suppressions back.

    At least so many with one fingerprint within this time, or six times it, and so many times more for each other
    answer than is usual at that provider. `at_least` is also what a bad hour can cost that is too small to be seen.
    """

    at_least: int = 20
    within: timedelta = timedelta(minutes=10)
    times_usual: float = 5.0


USUAL_GUARD = Guard()


class Count(NamedTuple):
    """Refusals among answers; an answer is a reply that settled a recipient: taken, or refused for good."""

    refusals: int = 0
    answers: int = 0


_ASSUMED = Count(2, 100)  # the usual share of a provider that we have not written to; ordinary lists have 0.5 to 2 %
_LEAST = Count(4, 1000)  # no usual share is less: a list that was never so clean must not look like a bad hour
_MANY_DAYS, _MANY_ANSWERS = 3, 500  # so many days with so many answers each, and the worst day is known too
# Beyond the worst day: that part of the guard's times, that multiple of its number, and so many standard deviations.
_OF_THE_TIMES, _TIMES_THE_NUMBER, _DEVIATIONS = 0.4, 3, 5.0


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of refusal, at one provider's servers; it stands for a text that nobody has to keep."""

    provider: str
    fingerprint: str


@quick
@dataclass(frozen=True, slots=True)
class Answers:
    """What one outcome adds to the counts at a provider: so many answers, of them refusals by their fingerprints."""

    provider: str
    number: int
    refusals: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """Suppressions to be held: those by refusals of this pattern whose first verdict is not older than `since`."""

    pattern: Pattern
    since: datetime
    event_id: str


@dataclass(frozen=True, slots=True)
class Mass:
    """How often a pattern was seen of late, and what is usual at its provider.

    `recent` has two counts, of the guard's window and of `REACH` times it: a sender of little has no mass in ten
    minutes. `days` has one for each day before yesterday, of *all* refusals that suppress: a provider that words its
    reply anew has not become worse. `goes_on` says that the guard has tripped within `REACH` windows.
    """

    recent: tuple[Count, ...] = ()
    days: tuple[Count, ...] = ()
    goes_on: bool = False

    def plus(self, refusals: int, answers: int) -> "Mass":
        """The mass with what is just happening."""
        recent = self.recent or (Count(),)
        return Mass(
            tuple(Count(one.refusals + refusals, one.answers + answers) for one in recent), self.days, self.goes_on
        )


def trips(guard: Guard, mass: Mass) -> bool:
    """Whether these refusals are a mass: enough of them, and many times more than usual for each other answer.

    Counted against the other answers and not against all: where a fifth is refused on any day, five times the share
    would be everybody, and the guard could never trip.

    Where there is mail on most days, and so the worst of them is known, twice that one is a mass too, of three times as
    many: no list gets so much worse within the hour.
    """
    common, worst = usual(mass.days), _worst(mass.days)
    return any(
        one.refusals >= guard.at_least
        and (_exceeds(one, common, guard.times_usual) or (worst is not None and _stands_out(guard, one, worst)))
        for one in mass.recent
    )


def usual(days: Iterable[Count]) -> Count:
    """The share that half of all answers were given under, or more; of days that are weighed by their answers.

    A median and no mean: the hours of an outage must not become what is usual, so that it cannot come again on the next
    day; and a list that is always bad must, once it is known for that. Where little is known, the ordinary is assumed.
    """
    known = sorted((*days, _ASSUMED), key=_share)
    half, passed = sum(one.answers for one in known) / 2, 0
    for one in known:
        passed += one.answers
        if passed >= half:
            return max(one, _LEAST, key=_share)
    raise AssertionError("the assumed day is always there")


def reach(guard: Guard) -> timedelta:
    """How long a mass goes on behind its last sign, and how far back from its first one suppressions are held."""
    return guard.within * REACH


def fingerprint(status: RecipientStatus, provider: str) -> str:
    """Sixteen digits that are the same for replies that differ in addresses, numbers, names and ids alone."""
    enhanced = status.enhanced
    parts = (provider, str(status.code or ""), str(enhanced or ""), *masked_words(status.text, status.recipient))
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def provider_at(remote_mta: str | None, recipient: str) -> str:
    """Whose servers answered, by the registrable end of the host's name; the recipient's domain where it has no name.

    >>> provider_at("gmail-smtp-in.l.google.com", "jo@gmail.com"), provider_at("192.0.2.1", "jo@mail.example.co.uk")
    ('google.com', 'example.co.uk')
    """
    return _provider(remote_mta, recipient.rpartition("@")[2])


@lru_cache(maxsize=4096)
def _provider(remote_mta: str | None, domain: str) -> str:
    return _end(remote_mta or "") or _end(domain) or domain.lower()


def _end(host: str) -> str:
    """The registrable end of a host's name, near enough: "" for an address, a socket or a bare name."""
    labels = host[:_LONGEST_HOST].lower().rstrip(".").split(".")
    if len(labels) < 2 or labels[-1].isdigit() or any(sign in host for sign in ":[/"):
        return ""
    is_sold_deeper = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _REGISTRIES
    end = ".".join(labels[-3:] if is_sold_deeper else labels[-2:])
    return _SAME.get(end, end)


def _share(count: Count) -> float:
    return count.refusals / count.answers if count.answers else 0.0


def _exceeds(count: Count, common: Count, times: float) -> bool:
    """Whether there are so many times more refusals for each other answer than is common; without any division."""
    others, usual_others = max(count.answers - count.refusals, 0), common.answers - common.refusals
    return count.refusals * usual_others >= times * common.refusals * others


def _worst(days: Iterable[Count]) -> Count | None:
    """The largest share of any day; None where too few are known, and one of them may well be topped."""
    known = [one for one in days if one.answers >= _MANY_ANSWERS]
    return max((*known, _LEAST), key=_share) if len(known) >= _MANY_DAYS else None


def _stands_out(guard: Guard, count: Count, worst: Count) -> bool:
    """Whether there are many more refusals than on the worst day, and by no chance."""
    expected = _share(worst) * count.answers
    return (
        count.refusals >= _TIMES_THE_NUMBER * guard.at_least
        and _exceeds(count, worst, _OF_THE_TIMES * guard.times_usual)
        and count.refusals - expected >= _DEVIATIONS * expected**0.5
    )


def masked_words(text: str, recipient: str) -> list[str]:
    """The words of a reply with all that changes from one to the next as #, which stands for a run of such."""
    own = {recipient.lower(), *recipient.lower().split("@")}
    words: list[str] = []
    for chunk in text[:_LONGEST_TEXT].translate(_APART).split(maxsplit=_MOST_WORDS)[:_MOST_WORDS]:
        word = chunk.strip(".-!?*#")
        if not word:
            continue
        shown = "#" if _varies(word) or word.lower() in own else word.lower()
        if shown != "#" or words[-1:] != ["#"]:
            words.append(shown)
    return words


def _varies(word: str) -> bool:
    """Whether a word is an address, a number, a host, a link or an id: none is one of a language's words."""
    if len(word) > _LONGEST_WORD or _SIGN(word):
        return True
    return word.isascii() and not (word.islower() or word.isupper() or word.istitle())
