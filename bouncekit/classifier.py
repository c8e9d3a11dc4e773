"""What a status means: rules read from TOML, of which the first that applies decides.

The order of judgement is the order of `Step`: a provider's own dialect, the faces of 221, 421, 452 and 552, the full
enhanced code, a phrase, the enhanced code's subject, the basic code with its stage, the first digit (RFC 5321 4.2).
A file of rules is named after its step; inside a file the order of the rules holds.

Scope comes before blame. Before RCPT no reply is about a recipient: rules that blame one do not apply there. After
the data, a reply to several recipients at once may be about one of them, and nobody knows which: the category stays,
the scope is None and `certain` is False, so that a policy can try them alone and nobody is suppressed.
"""

import re
import tomllib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, TypeVar

from bouncekit.classification import Category, Classification, Scope, Step, scope_of
from bouncekit.errors import Finding, RuleError
from bouncekit.phrase import Phrase, Words
from bouncekit.reply import Cause, EnhancedStatusCode, NoReply, Reply, Stage
from bouncekit.status import Action, RecipientStatus

__all__ = ["Classifier", "Rule", "RuleExample", "load_rules"]

_E = TypeVar("_E", bound=StrEnum)
_Pattern = Callable[[str], re.Match[str] | None]

_FILES = {
    "providers.toml": Step.PROVIDER,
    "decision_table.toml": Step.TABLE,
    "enhanced.toml": Step.ENHANCED,
    "text.toml": Step.TEXT,
    "subjects.toml": Step.SUBJECT,
    "codes.toml": Step.CODE,
    "digits.toml": Step.DIGIT,
}
_ORDER = {step: place for place, step in enumerate(_FILES.values())}
# What names its cause is taken at its word; what only narrows it down is a guess. A rule may say otherwise.
_CERTAIN = frozenset({Step.PROVIDER, Step.TABLE, Step.ENHANCED, Step.TEXT})
_GENERIC = frozenset({Step.SUBJECT, Step.CODE, Step.DIGIT})
_IMPERSONAL = frozenset(
    {Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH, Stage.MAIL, Stage.RSET, Stage.QUIT, Stage.IDLE}
)
_CAUSES = {
    Cause.REFUSED: Category.NETWORK_ERROR,
    Cause.LOST: Category.NETWORK_ERROR,
    Cause.TIMED_OUT: Category.NETWORK_ERROR,
    Cause.DNS: Category.NETWORK_ERROR,
    Cause.UNSOLICITED: Category.NETWORK_ERROR,
    Cause.TLS: Category.TLS_FAILURE,
    Cause.PROTOCOL: Category.PROTOCOL_ERROR,
    Cause.LOCAL: Category.INVALID_ADDRESS,
}
_UNITS = {
    unit: seconds
    for seconds, units in {
        1: "s sec secs second seconds sekunde sekunden seconde secondes segundos",
        60: "min mins minute minutes minuten minutos",
        3600: "h hr hrs hour hours stunde stunden heure heures horas",
        86400: "day days tag tagen jour jours",
    }.items()
    for unit in units.split()
}
_WAIT_CUES = frozenset(
    {"again", "retry", "wait", "back", "greylisted", "greylisting", "deferred", "erneut", "réessayer"}
)
_WAIT_REACH = 5  # words between "try again" and its number
_LONGEST_WAIT = 86400  # seconds
_MEMORY = 2048  # judgements remembered, each with at most _SHORT bytes of text
_SHORT = 1024
_READ = 4096  # characters of a text that are read at all
_MOST_QUOTED = 4  # enhanced codes inside a text that are looked at
_QUOTED = re.compile(r"(?<![\d.])([45])\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)").finditer
_CODE_PATTERN = re.compile("[1-5x][0-9x]{2}").fullmatch
_ENHANCED_PATTERN = re.compile(r"none|[245x]\.(?:x|\d{1,3})\.(?:x|\d{1,3}(?:-\d{1,3})?)").fullmatch
_EXAMPLE_KEYS = frozenset({"reply", "stage", "accepted", "individual", "provider"})
_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)").search


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleExample:
    """A reply that a rule must decide; the tests run it."""

    reply: str
    stage: Stage
    accepted: int = 0
    individual: bool = True
    provider: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: what must hold, what it then means, who says so.

    In `code` and `enhanced`, x stands for any digit or number, `606-649` for a span of details, `none` for no enhanced
    code or X.0.0, which says nothing. `text`: one of the phrases; `unless`: none of them. `accepted` bounds the
    recipients accepted before the reply. `permanent` None leaves it to the digit. `where` is file:line.
    """

    id: str
    source: str
    step: Step
    category: Category
    scope: Scope | None
    permanent: bool | None = None
    certain: bool = False
    code: tuple[str, ...] = ()
    enhanced: tuple[str, ...] = ()
    stage: tuple[Stage, ...] = ()
    accepted: tuple[int, int | None] = (0, None)
    individual: bool | None = None
    provider: str | None = None
    hosts: tuple[str, ...] = ()
    text: tuple[Phrase, ...] = ()
    unless: tuple[Phrase, ...] = ()
    examples: tuple[RuleExample, ...] = ()
    where: str = ""

    def applies(self, case: "_Case") -> bool:
        """Whether all holds that does not depend on the text."""
        least, most = self.accepted
        return (
            (not self.code or any(_same_code(pattern, case.code) for pattern in self.code))
            and (not self.enhanced or any(_same_enhanced(pattern, case.enhanced) for pattern in self.enhanced))
            and (not self.stage or case.stage in self.stage)
            and (self.provider is None or self.provider == case.provider)
            and (self.individual is None or self.individual is case.individual)
            and least <= case.accepted
            and (most is None or case.accepted <= most)
            and (self.scope is not Scope.RECIPIENT or case.stage not in _IMPERSONAL)
        )


class _Case(NamedTuple):
    """What a judgement depends on besides the text."""

    code: int
    enhanced: EnhancedStatusCode | None
    stage: Stage
    accepted: int
    individual: bool
    provider: str | None


class _Plan(NamedTuple):
    """The rules for one case: which of them apply if their text does, and the first that needs no text."""

    mask: bytes
    default: int


class _Verdict(NamedTuple):
    category: Category
    scope: Scope | None
    permanent: bool
    certain: bool
    step: Step
    rule: str
    where: str = ""
    wait_hint: timedelta | None = None


class Classifier:
    """Says what a status means, by rules. Safe to share between threads; memory and time are bounded on any text.

    Raises:
        RuleError: the rules leave some reply without a verdict.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: _ORDER[rule.step]))
        self._cuts = sorted({bound for rule in self.rules for bound in _cuts(rule)})
        self._hosts = {host: rule.provider for rule in self.rules for host in rule.hosts}
        self._phrases = _index(self.rules)
        self._plan = lru_cache(maxsize=1024)(self._make_plan)
        self._remembered = lru_cache(maxsize=_MEMORY)(self._judge)
        self._provider = lru_cache(maxsize=1024)(self._provider_of)
        self._check_complete()

    def classify(self, status: RecipientStatus, *, provider: str | None = None) -> Classification:
        """What a status means and whose fault it is.

        `provider` names whose dialect the server speaks; without it the name of the remote MTA tells.
        """
        verdict = self._verdict(status, provider)
        return Classification(
            status=status,
            category=verdict.category,
            scope=verdict.scope,
            permanent=verdict.permanent,
            certain=verdict.certain,
            step=verdict.step,
            rule=verdict.rule,
            where=verdict.where,
            wait_hint=verdict.wait_hint,
        )

    def _verdict(self, status: RecipientStatus, provider: str | None) -> _Verdict:
        reply, stage = status.reply, status.stage
        if isinstance(reply, NoReply):
            if reply.reply is None:
                return _without_reply(reply.cause)
            reply, stage = reply.reply, Stage.IDLE
        if provider is None and status.remote_mta:
            provider = self._provider(status.remote_mta[:255])
        accepted = bisect_right(self._cuts, status.accepted)
        final = status.action is Action.FAILED if reply is None else None
        judge = self._judge if reply is not None and len(reply.raw) > _SHORT else self._remembered
        return judge(reply, status.status, stage, accepted, status.individual, provider, final)

    def _judge(
        self,
        reply: Reply | None,
        stated: EnhancedStatusCode | None,
        stage: Stage,
        accepted: int,
        individual: bool,
        provider: str | None,
        final: bool | None,
    ) -> _Verdict:
        enhanced = (reply.enhanced if reply else None) or stated
        code = reply.code if reply else _no_code(enhanced, final)
        case = _Case(code, enhanced, stage, self._cuts[accepted - 1] if accepted else 0, individual, provider)
        words = Words(_without_addresses(reply.text[:_READ]) if reply else "")
        rule, quoted = self._first(case, words), False
        if rule.step in _GENERIC and reply is not None:
            better = self._by_quoted_code(case, words, reply.text[:_READ])
            rule, quoted = (better, True) if better else (rule, False)
        permanent = rule.permanent if rule.permanent is not None else code >= 500
        unclear = rule.scope is Scope.RECIPIENT and not individual
        return _Verdict(
            category=rule.category,
            scope=None if unclear else rule.scope,
            permanent=permanent,
            certain=rule.certain and not unclear and not quoted,
            step=rule.step,
            rule=rule.id,
            where=rule.where,
            wait_hint=None if permanent else _wait_hint(words),
        )

    def _first(self, case: _Case, words: Words) -> Rule:
        """The first rule that applies: phrases are looked up by their rarest word, so most are never tried."""
        mask, best = self._plan(case)
        if not any(mask):
            return self.rules[best]
        said = words.spaced.split()
        for word in self._phrases.keys() & said:
            for place, phrase in self._phrases[word]:
                if place >= best:
                    break
                if mask[place] and phrase.matches(words) and not _any(self.rules[place].unless, words):
                    best = place
        return self.rules[best]

    def _by_quoted_code(self, case: _Case, words: Words, text: str) -> Rule | None:
        """The rule for an enhanced code that stands inside the text: "... host mx said: 550 5.1.1 ..."."""
        for found in islice(_QUOTED(text), _MOST_QUOTED):
            enhanced = EnhancedStatusCode(*map(int, found.groups()))
            if enhanced.class_ == case.code // 100 and enhanced != case.enhanced:
                rule = self._first(case._replace(enhanced=enhanced), words)
                if rule.step not in _GENERIC:
                    return rule
        return None

    def _make_plan(self, case: _Case) -> _Plan:
        mask = bytearray(len(self.rules))
        for place, rule in enumerate(self.rules):
            if rule.applies(case):
                if not rule.text:
                    return _Plan(bytes(mask), place)
                mask[place] = 1
        raise RuleError([Finding("rules", None, None, f"no rule for {case.code} at {case.stage}; one for xxx decides")])

    def _provider_of(self, remote_mta: str) -> str | None:
        """The provider whose host this is, by the longest known end of its name."""
        labels = re.split(r"[\s(\[:]", remote_mta.strip().lower(), maxsplit=1)[0].rstrip(".").split(".")
        ends = (".".join(labels[start:]) for start in range(len(labels)))
        return next((self._hosts[end] for end in ends if end in self._hosts), None)

    def _check_complete(self) -> None:
        for stage in Stage:
            for code in (199, 299, 399, 499, 599):
                self._make_plan(_Case(code, None, stage, 0, True, None))


def load_rules(files: Iterable[tuple[str, str]]) -> tuple[Rule, ...]:
    """The rules of some files, given as pairs of name and text, in the order of judgement.

    Raises:
        RuleError: with every mistake in every file.
    """
    findings: list[Finding] = []
    rules: list[Rule] = []
    for name, text in files:
        rules += _load_file(name, text, findings)
    first: dict[str, Rule] = {}
    for rule in rules:
        if first.setdefault(rule.id, rule) is not rule:
            file, _, line = rule.where.rpartition(":")
            message = f"a second rule {rule.id!r}; the first is at {first[rule.id].where}"
            findings.append(Finding(file, int(line), None, message))
    if findings:
        raise RuleError(findings)
    return tuple(sorted(rules, key=lambda rule: _ORDER[rule.step]))


def _load_file(name: str, text: str, findings: list[Finding]) -> Iterable[Rule]:
    step = _FILES.get(name.rpartition("/")[2])
    if step is None:
        findings.append(Finding(name, None, None, f"no such step of judgement; one of {', '.join(_FILES)}"))
        return
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _TOML_PLACE(str(error))
        line, column = (int(place[1]), int(place[2])) if place else (None, None)
        findings.append(Finding(name, line, column, f"no TOML: {error}"))
        return
    if unknown := content.keys() - {"rule", "hosts"}:
        findings.append(
            Finding(name, None, None, f"unknown {', '.join(sorted(unknown))}; a file has [[rule]] and [hosts]")
        )
    tables = content.get("rule", [])
    hosts = content.get("hosts", {})
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.split("#")[0].strip() == "[[rule]]"]
    if not isinstance(tables, list) or len(lines) != len(tables):
        findings.append(Finding(name, None, None, "every rule stands under a line [[rule]] of its own"))
        return
    for table, line in zip(tables, lines, strict=True):
        if rule := _Reader(name, line, table, findings).rule(step, hosts):
            yield rule


class _Reader:
    """One `[[rule]]` table on its way to a Rule; what is wrong with it goes to `findings`."""

    def __init__(self, file: str, line: int, table: Mapping[str, object], findings: list[Finding]) -> None:
        self.file = file
        self.line = line
        self.table = table
        self.findings = findings
        self.before = len(findings)

    def rule(self, step: Step, hosts: Mapping[str, Sequence[str]]) -> Rule | None:
        category = self.one_of("category", Category) or Category.UNKNOWN
        certain, provider = self.flag("certain"), self.string("provider") or None
        stage, accepted = self.each_of("stage", Stage), self.bounds("accepted", self.table.get("accepted", {}))
        rule = Rule(
            id=self.string("id"),
            source=self.string("source"),
            step=step,
            category=category,
            scope=self.one_of("scope", Scope) if "scope" in self.table else scope_of(category),
            permanent=self.flag("permanent"),
            certain=step in _CERTAIN if certain is None else certain,
            code=self.patterns("code", _CODE_PATTERN, "452, 45x or 5xx"),
            enhanced=self.patterns("enhanced", _ENHANCED_PATTERN, "x.2.2, 5.7.x, 5.7.606-649 or none"),
            stage=stage,
            accepted=accepted,
            individual=self.flag("individual"),
            provider=provider,
            hosts=tuple(hosts.get(provider or "", ())),
            text=self.phrases("text"),
            unless=self.phrases("unless"),
            examples=self.examples(stage, accepted[0], provider),
            where=f"{self.file}:{self.line}",
        )
        self.check(rule)
        return rule if len(self.findings) == self.before else None

    def check(self, rule: Rule) -> None:
        """What a rule must have, and must not."""
        for key in ("id", "source", "category", "examples"):
            if not self.table.get(key):
                self.wrong(f"no {key}")
        if not self.table.keys() & {"code", "enhanced", "stage", "text", "provider"}:
            self.wrong("no condition; give code, enhanced, stage, text or provider")
        if rule.provider and not rule.hosts:
            self.wrong(f"provider {rule.provider!r} has no line in [hosts]")
        keys = {field.name for field in fields(Rule)} - {"step", "hosts", "where"}
        if unknown := sorted(self.table.keys() - keys):
            self.wrong(f"unknown key {', '.join(unknown)}; one of {', '.join(sorted(keys))}")

    def wrong(self, message: str) -> None:
        self.findings.append(Finding(self.file, self.line, None, message))

    def string(self, key: str) -> str:
        value = self.table.get(key, "")
        if isinstance(value, str):
            return value
        self.wrong(f"{key} must be a text, not {value!r}")
        return ""

    def flag(self, key: str) -> bool | None:
        value = self.table.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.wrong(f"{key} must be true or false, not {value!r}")
        return None

    def strings(self, key: str) -> list[str]:
        value = self.table.get(key, [])
        values: list[object] = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            self.wrong(f"{key} must be a text or a list of texts, not {value!r}")
        return [one for one in values if isinstance(one, str)]

    def one_of(self, key: str, kind: type[_E]) -> _E | None:
        found = self.each_of(key, kind)
        return found[0] if found else None

    def each_of(self, key: str, kind: type[_E]) -> tuple[_E, ...]:
        members = {member.value: member for member in kind}
        values = self.strings(key)
        for value in values:
            if value not in members:
                self.wrong(f"no {key} {value!r}; one of {', '.join(members)}")
        return tuple(members[value] for value in values if value in members)

    def patterns(self, key: str, pattern: _Pattern, looks: str) -> tuple[str, ...]:
        values = self.strings(key)
        for value in values:
            if not pattern(value):
                self.wrong(f"{key} {value!r} is no pattern; one looks like {looks}")
        return tuple(value for value in values if pattern(value))

    def phrases(self, key: str) -> tuple[Phrase, ...]:
        made = []
        for value in self.strings(key):
            try:
                made.append(Phrase(value))
            except ValueError as error:
                self.wrong(f"{key}: {error}")
        return tuple(made)

    def bounds(self, key: str, value: object) -> tuple[int, int | None]:
        """`accepted = 0`, or `accepted = {at_least = 1, at_most = 99}`."""
        if isinstance(value, int) and not isinstance(value, bool):
            return value, value
        if isinstance(value, dict) and value.keys() <= {"at_least", "at_most"}:
            least, most = value.get("at_least", 0), value.get("at_most")
            if isinstance(least, int) and isinstance(most, int | None):
                return least, most
        self.wrong(f"{key} must be a number or {{at_least = 1, at_most = 99}}, not {value!r}")
        return 0, None

    def examples(self, stage: tuple[Stage, ...], accepted: int, provider: str | None) -> tuple[RuleExample, ...]:
        """Replies, or tables where more than the reply matters; what is not given is as the rule wants it."""
        usual = stage[0] if stage and Stage.RCPT not in stage else Stage.RCPT
        value = self.table.get("examples", [])
        tables = [
            {"reply": one} if isinstance(one, str) else one for one in (value if isinstance(value, list) else [value])
        ]
        made = []
        for table in tables:
            if not isinstance(table, dict) or not table.keys() <= _EXAMPLE_KEYS:
                self.wrong(f"example {table!r} is no reply and no table of {', '.join(sorted(_EXAMPLE_KEYS))}")
                continue
            one = _Reader(self.file, self.line, table, self.findings)
            made.append(
                RuleExample(
                    reply=one.reply(),
                    stage=one.one_of("stage", Stage) or usual,
                    accepted=one.bounds("accepted", table.get("accepted", accepted))[0],
                    individual=one.flag("individual") is not False,
                    provider=one.string("provider") or provider,
                )
            )
        return tuple(made)

    def reply(self) -> str:
        text = self.string("reply")
        try:
            Reply.parse(text)
        except ValueError as error:
            self.wrong(f"example: {error}")
        return text


def _cuts(rule: Rule) -> Iterable[int]:
    """Where counts of accepted recipients begin to differ for a rule."""
    least, most = rule.accepted
    yield least
    if most is not None:
        yield most + 1


def _index(rules: Sequence[Rule]) -> dict[str, list[tuple[int, Phrase]]]:
    """Every phrase under the rarest of its words, with its rule's place, in the order of the rules."""
    phrases = [(place, phrase) for place, rule in enumerate(rules) for phrase in rule.text]
    common = Counter(word for _, phrase in phrases for word in set(phrase.words))
    index: dict[str, list[tuple[int, Phrase]]] = {}
    for place, phrase in phrases:
        index.setdefault(min(phrase.words, key=lambda word: (common[word], -len(word))), []).append((place, phrase))
    return index


def _any(phrases: tuple[Phrase, ...], words: Words) -> bool:
    return any(phrase.matches(words) for phrase in phrases)


def _same_code(pattern: str, code: int) -> bool:
    return all(want in ("x", have) for want, have in zip(pattern, f"{code:03}", strict=False))


def _same_enhanced(pattern: str, enhanced: EnhancedStatusCode | None) -> bool:
    if pattern == "none":
        return enhanced is None or enhanced[1:] == (0, 0)
    return enhanced is not None and all(map(_same_part, pattern.split("."), enhanced))


def _same_part(pattern: str, part: int) -> bool:
    least, _, most = pattern.partition("-")
    return pattern == "x" or int(least) <= part <= int(most or least)


def _no_code(enhanced: EnhancedStatusCode | None, final: bool | None) -> int:
    """A number nobody assigned, with the right digit, for a report that states no reply code."""
    return enhanced.class_ * 100 + 99 if enhanced else 599 if final else 499


def _without_reply(cause: Cause) -> _Verdict:
    """Only what we refused ourselves is about the recipient; everything else may be tried again (RFC 5321 3.8)."""
    category, local = _CAUSES[cause], cause is Cause.LOCAL
    return _Verdict(
        category, scope_of(category), local, local, Step.NO_REPLY, f"no-reply-{cause.value.replace('_', '-')}"
    )


def _without_addresses(text: str) -> str:
    """The text without local parts: <mailbox-full@example.com> is a name and says nothing. Domains stay."""
    if "@" not in text:
        return text
    return " ".join(token.rpartition("@")[2] for token in text.split())


def _wait_hint(words: Words) -> timedelta | None:
    """The wait that a text asks for, 1 second to 24 hours: "try again in 5 minutes", "come back in 00:05:00"."""
    said = words.spaced.split()
    if _WAIT_CUES.isdisjoint(said):
        return None
    cue = -_WAIT_REACH - 1
    for place, word in enumerate(said):
        if word in _WAIT_CUES:
            cue = place
        elif word[:1].isdecimal() and word.isascii() and place - cue <= _WAIT_REACH:
            seconds = _seconds(word, said[place + 1 : place + 3])
            if seconds is not None:
                return timedelta(seconds=min(max(seconds, 1), _LONGEST_WAIT))
    return None


def _seconds(word: str, after: list[str]) -> int | None:
    """`300 seconds`, `300s`, or hours, minutes and seconds."""
    number = word.rstrip("abcdefghijklmnopqrstuvwxyz")
    if not number.isdecimal() or len(number) > 9:
        return None
    unit = word[len(number) :] or (after[0] if after else "")
    if unit in _UNITS:
        return int(number) * _UNITS[unit]
    clock = [number, *after]
    if len(clock) == 3 and all(len(part) == 2 and part.isascii() and part.isdecimal() for part in clock):
        return int(clock[0]) * 3600 + int(clock[1]) * 60 + int(clock[2])
    return None
