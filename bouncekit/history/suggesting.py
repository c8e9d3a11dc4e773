"""Replies that no rule understood, put together by what they say, and a rule to begin with for each kind of them.

A kind is what the guard's fingerprint is: the same code and the same words, whatever addresses, numbers, hosts and ids
stand between them. A suggested rule asks for the code and for words of the text, and says no more than the code says:
what a text means is a human's to find out. It never blames a recipient because of words that nobody has judged.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from typing import TypeVar

from bouncekit.delivery.events import show_time
from bouncekit.meaning.classification import Category, Classification, Classify, Scope, Step, scope_of
from bouncekit.meaning.rulefile import Rule
from bouncekit.policy.guard import fingerprint, masked_words, provider_at
from bouncekit.words.measures import counted
from bouncekit.words.phrase import cut
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.showing import readdressed
from bouncekit.words.status import RecipientStatus

__all__ = ["Alike", "Gathering", "Kind", "Suggestion", "Understood", "most_frequent", "rule_file", "understood_by"]

_Alike = TypeVar("_Alike", bound="Alike")

_MOST_KINDS = 20_000
_MOST_PROVIDERS = 100  # counted apart, of one kind
_MOST_TEXT = 400  # characters of an example; what is longer is none
_MOST_DOTS = 40  # a file of rules takes no line with more than 64
_MOST_WORDS = 8  # of a phrase
_FEWEST_WORDS = 2  # fewer say nothing: "Error", "Rejected"
_MEMORY = 16_384
_BY_WORDS = frozenset({Step.OWN, Step.COMMUNITY, Step.PROVIDER, Step.TEXT})
_WITHOUT_CODES = re.compile(r"[\s#:<(-]*(?:[245][0-9]{2}[\s:-]+)?(?:#?[245]\.[0-9]{1,3}\.[0-9]{1,3})?[\s:>)-]*").match
_ANYBODY = "jo@example.com"


class Understood(StrEnum):
    """By what a reply was understood."""

    WORDS = "words"  # a rule about its words, the owner's or a provider's; nothing is missing
    ENHANCED = "enhanced"  # its enhanced status code, and of its words nothing
    CODE = "code"  # its reply code with the stage, or the subject of the enhanced code
    DIGIT = "digit"  # its first digit: not at all


_BY_FILE = {"digits.toml": Understood.DIGIT, "codes.toml": Understood.CODE, "subjects.toml": Understood.CODE}


def understood_by(classified_by: str | None) -> Understood:
    """The same of a recorded outcome, as near as the rule tells that classified it: one about a code hides no words.

    >>> understood_by("digit-5 (rules/digits.toml:13)").value, understood_by("552-mailbox-full (my.toml:2)").value
    ('digit', 'words')
    """
    file = (classified_by or "").rpartition("(")[2].rpartition(":")[0].rpartition("/")[2]
    return _BY_FILE.get(file, Understood.WORDS)


@dataclass(slots=True, kw_only=True)
class Alike:
    """Replies alike: how many, of whose servers, from when to when. `example` is one of them."""

    fingerprint: str
    example: str
    count: int = 0
    providers: Counter[str] = field(default_factory=Counter)
    first_at: datetime | None = None
    last_at: datetime | None = None

    def add(self, provider: str, at: datetime | None) -> None:
        """One more."""
        self.count += 1
        if provider in self.providers or len(self.providers) < _MOST_PROVIDERS:
            self.providers[provider] += 1
        if at is not None:
            self.first_at = min(at, self.first_at or at)
            self.last_at = max(at, self.last_at or at)

    def to_dict(self) -> dict[str, object]:
        """As JSON takes it."""
        return {
            "fingerprint": self.fingerprint,
            "count": self.count,
            "providers": dict(self.providers.most_common()),
            "first_at": show_time(self.first_at) if self.first_at else None,
            "last_at": show_time(self.last_at) if self.last_at else None,
            "example": self.example,
        }


@dataclass(slots=True, kw_only=True)
class Kind(Alike):
    """Those that no rule understood. `example` is the newest."""

    by: Understood
    verdict: Classification
    words: tuple[str, ...]

    @property
    def decided_by(self) -> str:
        """The rule that decided, with its file:line."""
        return f"{self.verdict.rule} ({self.verdict.where})" if self.verdict.where else self.verdict.rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A rule to begin with. `category` is what the code says, and nothing that would suppress by words alone."""

    id: str
    kind: Kind
    phrase: str
    code: str
    enhanced: str
    category: Category
    stage: Stage
    example: str


class Gathering:
    """Replies on their way to suggestions: `add` them one by one, then read. Bounded, however many there are.

    Args:
        rules: of the classifier.
        classify: what it says about a status.
        provider_of: whose host replied.
    """

    def __init__(
        self, rules: Iterable[Rule], classify: Classify, provider_of: Callable[[str], str | None] = lambda host: None
    ) -> None:
        self.understood: Counter[Understood] = Counter()
        self.kinds: dict[str, Kind] = {}
        self.wordless = 0  # not understood, with a code and no words to go by
        self.left_out = 0  # of further kinds, beyond 20,000
        self._about_words = {rule.id for rule in rules if rule.text or rule.step in _BY_WORDS}
        self._classify = classify
        self._provider_of = provider_of
        self._judged = lru_cache(maxsize=_MEMORY)(self._judge)

    @property
    def total(self) -> int:
        """How many replies there were."""
        return self.understood.total()

    @property
    def unmatched(self) -> int:
        """How many of them no rule understood."""
        return self.total - self.understood[Understood.WORDS]

    def add(self, status: RecipientStatus, recipient: str = "", at: datetime | None = None) -> None:
        """One more reply; what is none counts nothing."""
        if not isinstance(status.reply, Reply) or status.reply.code < 400:
            return
        by, verdict = self._judged(replace(status, recipient="", remote_mta=None), self._host(status))
        self.understood[by] += 1
        if by is Understood.WORDS:
            return
        status = replace(status, recipient=recipient)
        words = tuple(masked_words(status.text, recipient))
        if not any(word != "#" for word in words):
            self.wordless += 1
            return
        kind = self._kind(status, by, verdict, words)
        if kind is not None:
            host = status.remote_mta or ""
            kind.add(self._provider_of(host) or provider_at(host, recipient) or "unknown", at)

    def suggestions(self, limit: int) -> Iterator[Suggestion]:
        """A rule for each of the most frequent kinds that have words enough."""
        for kind in self.largest(limit):
            if (one := _suggested(kind)) is not None:
                yield one

    def largest(self, limit: int) -> list[Kind]:
        """The most frequent kinds."""
        return most_frequent(self.kinds.values(), limit)

    def _host(self, status: RecipientStatus) -> str | None:
        """Only as much of the host as a dialect hangs on, so that what was judged once is remembered."""
        return status.remote_mta if self._provider_of(status.remote_mta or "") else None

    def _judge(self, status: RecipientStatus, host: str | None) -> tuple[Understood, Classification]:
        status = replace(status, remote_mta=host)
        verdict = self._classify(status)
        if verdict.rule in self._about_words or self._has_known_words(status):
            return Understood.WORDS, verdict
        if verdict.step is Step.DIGIT:
            return Understood.DIGIT, verdict
        return (Understood.CODE if verdict.step in (Step.CODE, Step.SUBJECT) else Understood.ENHANCED), verdict

    def _has_known_words(self, status: RecipientStatus) -> bool:
        """Whether a rule would understand the words, were there no code: a code that goes first hides that."""
        reply = status.reply
        assert isinstance(reply, Reply)
        text = reply.text[_end_of_codes(reply.text) :]
        bare = replace(status, reply=Reply(reply.code // 100 * 100 + 99, text.encode()), status=None)
        alone = replace(status, reply=Reply(reply.code, text.encode()), status=None)
        return any(self._classify(one).rule in self._about_words for one in (bare, alone))

    def _kind(
        self, status: RecipientStatus, by: Understood, verdict: Classification, words: tuple[str, ...]
    ) -> Kind | None:
        name = fingerprint(status, "")
        if name not in self.kinds and len(self.kinds) >= _MOST_KINDS:
            self.left_out += 1
            return None
        example = " ".join(str(status.reply).split())
        new = Kind(fingerprint=name, example=example, by=by, verdict=verdict, words=words)
        kind = self.kinds.setdefault(name, new)
        kind.example = example
        return kind


def most_frequent(kinds: Iterable[_Alike], limit: int) -> list[_Alike]:
    """So many of them, the most frequent first; in an order that does not hang on when they came."""
    return sorted(kinds, key=lambda kind: (-kind.count, kind.fingerprint))[: max(limit, 0)]


def rule_file(suggestions: Sequence[Suggestion], heading: Sequence[str] = ()) -> str:
    """A file of rules, as `policy check` and `policy test` take it, with all that is known as comments."""
    lines = [f"# {_plain(line)}".rstrip() for line in heading]
    for one in suggestions:
        lines += ["", *(f"# {_plain(line)}" for line in _known(one.kind)), *_table(one)]
    return "\n".join(lines) + "\n"


def _suggested(kind: Kind) -> Suggestion | None:
    """None where there are too few words, or an example that no file of rules takes."""
    phrase, reply = _phrase(kind.words), kind.verdict.status.reply
    example = readdressed(kind.example, lambda _: _ANYBODY)
    if phrase is None or len(example) > _MOST_TEXT or example.count(".") > _MOST_DOTS:
        return None
    assert isinstance(reply, Reply)
    enhanced = kind.verdict.status.enhanced
    return Suggestion(
        id=f"suggested-{kind.fingerprint[:8]}",
        kind=kind,
        phrase=phrase,
        code=str(reply.code),
        enhanced=str(enhanced) if enhanced and any(enhanced[1:]) else "none",
        category=_category(kind),
        stage=kind.verdict.status.stage,
        example=example,
    )


def _category(kind: Kind) -> Category:
    """What the code says. That the recipient is to blame only an enhanced code says, and no word against it."""
    blames = scope_of(kind.verdict.category) is Scope.RECIPIENT
    is_said = kind.by is Understood.ENHANCED and kind.verdict.scope is Scope.RECIPIENT
    return Category.UNKNOWN if blames and not is_said else kind.verdict.category


def _phrase(words: Sequence[str]) -> str | None:
    """Words that always stand there, between what varies; the longest run of them where there are many."""
    runs = [
        [part for word in run for part in cut(word)]
        for varies, run in groupby(words, lambda word: word == "#")
        if not varies
    ]
    runs = [run for run in runs if run]
    if sum(map(len, runs)) > _MOST_WORDS:
        runs = [max(runs, key=len)[:_MOST_WORDS]]
    return " * ".join(map(" ".join, runs)) if sum(map(len, runs)) >= _FEWEST_WORDS else None


def _known(kind: Kind) -> Iterator[str]:
    """What a human wants to know who judges a kind."""
    whose = ", ".join(f"{name} {number:,}" for name, number in kind.providers.most_common(5))
    span = ""
    if kind.first_at is not None and kind.last_at is not None:
        span = f", {kind.first_at:%Y-%m-%d} to {kind.last_at:%Y-%m-%d}"
    yield f"{counted(kind.count, 'time')}{span}; by server: {whose}"
    yield f"Understood so far: only the {_MEANT[kind.by]}, by {kind.decided_by}: {kind.verdict.category}"
    yield "A SUGGESTION: ask what it means, then write category, source and an id of your own, and take certain out"


_MEANT = {
    Understood.ENHANCED: "enhanced status code",
    Understood.CODE: "reply code",
    Understood.DIGIT: "first digit",
}


def _table(one: Suggestion) -> Iterator[str]:
    yield "[[rule]]"
    yield f"id = {_toml(one.id)}"
    source = f"suggested from {counted(one.kind.count, 'reply', 'replies')}; nobody has judged it yet"
    yield f"source = {_toml(source)}"
    yield f"code = {_toml(one.code)}"
    yield f"enhanced = {_toml(one.enhanced)}"
    yield f"text = {_toml(one.phrase)}"
    yield f"category = {_toml(one.category.value)}"
    yield "certain = false"
    example = _toml(one.example)
    if one.stage is not Stage.RCPT:
        example = f"{{ reply = {example}, stage = {_toml(one.stage.value)} }}"
    yield f"examples = [{example}]"


def _end_of_codes(text: str) -> int:
    found = _WITHOUT_CODES(text)
    return found.end() if found else 0


def _plain(text: str) -> str:
    """On one line of a comment, which TOML lets hold no control characters."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def _toml(text: str) -> str:
    """A basic string of TOML."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    number = ord(character)
    if 0xD800 <= number <= 0xDFFF:
        return "?"  # a lone surrogate, which no text file holds
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
