"""The rules of the classifier: facts about servers, read from TOML, each with its source and examples."""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TypeVar

from bouncekit.meaning.classification import Category, Scope, Step, scope_of
from bouncekit.meaning.meaning import Meaning
from bouncekit.meaning.vocabulary import Near, Vocabulary
from bouncekit.words.errors import Finding, RuleError
from bouncekit.words.phrase import Phrase
from bouncekit.words.reply import Reply, Stage

__all__ = ["ORDER", "Rule", "RuleExample", "is_about_replies", "load_rules"]

_E = TypeVar("_E", bound=StrEnum)
_Pattern = Callable[[str], re.Match[str] | None]

# The files in the order of judgement, and the step that each is a part of.
_FILES = {
    "providers.toml": Step.PROVIDER,
    "decision_table.toml": Step.TABLE,
    "enhanced.toml": Step.ENHANCED,
    "text_first.toml": Step.TEXT,
    "text_pace.toml": Step.TEXT,
    "text_sender.toml": Step.TEXT,
    "text_message.toml": Step.TEXT,
    "text_mailbox.toml": Step.TEXT,
    "text_address.toml": Step.TEXT,
    "text_server.toml": Step.TEXT,
    "subjects.toml": Step.SUBJECT,
    "codes.toml": Step.CODE,
    "digits.toml": Step.DIGIT,
}
_PLACE = {file: place for place, file in enumerate(_FILES)}
_WORDS = "words.toml"  # words for all files, no rules
# What names its cause is taken at its word; what only narrows it down is a guess. A rule may say otherwise.
_CERTAIN = frozenset({Step.OWN, Step.COMMUNITY, Step.PROVIDER, Step.TABLE, Step.ENHANCED, Step.TEXT})
# The order of the steps.
ORDER = {step: place for place, step in enumerate((Step.OWN, Step.COMMUNITY, *_FILES.values()))}
_CODE_PATTERN = re.compile("[1-5x][0-9x]{2}").fullmatch
_ENHANCED_PATTERN = re.compile(r"none|[245x]\.(?:x|\d{1,3})\.(?:x|\d{1,3}(?:-\d{1,3})?)").fullmatch
_NOTHING = Meaning()
_TABLES = frozenset({"rule", "hosts", "words"})
_EXAMPLE_KEYS = frozenset({"reply", "stage", "accepted", "individual", "provider"})
_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)").search
_HEADER = re.compile(r"[ \t]*\[+[ \t]*(\w+)[ \t]*\]").match
_IS_POLICY = re.compile(r"[ \t]*policy[ \t]*=").match

MAX_TEXT = 1024 * 1024
MAX_LINES = 20_000
MAX_DOTS = 64  # in one line: tomllib keeps every prefix of a dotted key
MAX_RULES = 2_000  # in one file
MAX_FINDINGS = 100  # more than anybody mends before the next try
_MAX_MESSAGE = 500


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
    code or X.0.0, which says nothing. `text`: one of the phrases; `unless`: none of them. `{box} {full}` is a phrase of
    word sets, which [words] of any file names. `about` is no condition: a text that is a sentence, and speaks of none
    of these, leaves it open whom to blame. `accepted` bounds the recipients accepted before the reply. `permanent` None
    leaves it to the digit. `where` is file:line.
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
    text: tuple[Phrase | Near, ...] = ()
    unless: tuple[Phrase | Near, ...] = ()
    about: tuple[Phrase | Near, ...] = ()
    examples: tuple[RuleExample, ...] = ()
    where: str = ""


def load_rules(files: Iterable[tuple[str, str]], added: Meaning = _NOTHING) -> tuple[Rule, ...]:
    """The rules of some files, given as pairs of name and text, in the order of judgement.

    A file is named after its step, and one of the text after what it is about. Those that are added have any name. The
    owner's go before all others, and their [hosts] and [words] are added to the rest. A community's come behind the
    owner's and before the rest; what they name stays apart, so that nobody else's rule changes by it.

    Raises:
        RuleError: with every mistake in every file.
    """
    findings: list[Finding] = []
    contents = [_Content.read(*file, findings) for file in sorted(files, key=_place_of)]
    contents += [_Content.read(one.file, one.text, findings, Step.OWN) for one in added.own]
    community = [_Content.read(one.file, one.text, findings, Step.COMMUNITY) for one in added.community]
    words, hosts = (_together(key, contents, findings) for key in ("words", "hosts"))
    for content in community:
        _keep_apart(content, words, hosts, findings)
    vocabulary = Vocabulary(words)
    rules = [rule for content in contents + community for rule in content.rules(vocabulary, hosts, findings)]
    first: dict[str, Rule] = {}
    for rule in rules:
        if first.setdefault(rule.id, rule) is not rule:
            file, _, line = rule.where.rpartition(":")
            message = f"a second rule {rule.id!r}; the first is at {first[rule.id].where}"
            findings.append(Finding(file, int(line), None, message))
    if findings:
        rest = [Finding(findings[0].file, None, None, "and more mistakes")] if len(findings) > MAX_FINDINGS else []
        raise RuleError(findings[:MAX_FINDINGS] + rest)
    return tuple(sorted(rules, key=lambda rule: ORDER[rule.step]))


def is_about_replies(text: str) -> bool:
    """Whether a TOML text is a file of rules about replies, and no policy: one says so, and has no such headers.

    >>> is_about_replies('[[rule]]\\nid = "gate-closed"'), is_about_replies('policy = 1\\n[[rule]]')
    (True, False)
    """
    lines = text.split("\n")
    headers = [(at, header[1]) for at, header in enumerate(map(_HEADER, lines)) if header]
    first = headers[0][0] if headers else len(lines)
    return not any(map(_IS_POLICY, lines[:first])) and any(name in _TABLES for _, name in headers)


def _place_of(file: tuple[str, str]) -> int:
    """Where a file stands in the order of judgement."""
    return _PLACE.get(file[0].rpartition("/")[2], len(_PLACE))


def _keep_apart(
    content: "_Content", words: dict[str, list[str]], hosts: dict[str, list[str]], findings: list[Finding]
) -> None:
    """Add what a community's file names, unless it would change what others' rules match."""
    known = {host.lower(): name for name, members in hosts.items() for host in members}
    for key, taken in (("words", words), ("hosts", hosts)):
        for name, members in content.lists(key, findings).items():
            if name in taken:
                why = f"{name!r} is there already; a community's file gives its own a name that nobody else has"
                findings.append(content.finding(f"[{key}] {why}", key))
            for host in members if key == "hosts" else ():
                if whose := next((end for end in known if f".{host.lower()}".endswith(f".{end}")), None):
                    message = f"[hosts] {host!r} belongs to {known[whose]!r}; provider = {known[whose]!r} is about it"
                    findings.append(content.finding(message, key))
            taken.setdefault(name, members)


def _together(key: str, contents: Iterable["_Content"], findings: list[Finding]) -> dict[str, list[str]]:
    """The lists of a table of every file: what stands in two under one name is added up."""
    lists: dict[str, list[str]] = {}
    for content in contents:
        for name, members in content.lists(key, findings).items():
            lists.setdefault(name, []).extend(members)
    return lists


@dataclass(frozen=True, slots=True)
class _Content:
    """A file on its way to rules."""

    file: str
    text: str
    table: Mapping[str, object]
    step: Step | None

    @classmethod
    def read(cls, file: str, text: str, findings: list[Finding], step: Step | None = None) -> "_Content":
        step = step or _FILES.get(file.rpartition("/")[2])
        if too_large := _too_large(file, text):
            findings.append(too_large)
            return cls(file, "", {}, step)
        try:
            return cls(file, text, tomllib.loads(text), step)
        except RecursionError:
            findings.append(Finding(file, None, None, "nested too deep; no part of a rule is"))
            return cls(file, "", {}, step)
        except tomllib.TOMLDecodeError as error:
            place = _TOML_PLACE(str(error))
            line, column = (int(place[1]), int(place[2])) if place else (None, None)
            findings.append(Finding(file, line, column, f"no TOML: {error}"))
            return cls(file, "", {}, step)

    def rules(self, words: Vocabulary, hosts: Mapping[str, Sequence[str]], findings: list[Finding]) -> Iterator[Rule]:
        tables, step = self.table.get("rule", []), self.step
        if step is None and (tables or self.file.rpartition("/")[2] != _WORDS):
            known = ", ".join(_FILES)
            findings.append(Finding(self.file, None, None, f"no such step of judgement; one of {known}, or {_WORDS}"))
            return
        for unknown in sorted(self.table.keys() - _TABLES):
            message = f"unknown {unknown!a}; a file has [[rule]], [hosts] and [words]"
            findings.append(self.finding(message, unknown))
        lines = [at for at, line in enumerate(self.text.split("\n"), 1) if line.split("#")[0].strip() == "[[rule]]"]
        if not isinstance(tables, list) or len(lines) != len(tables):
            findings.append(Finding(self.file, None, None, "every rule stands under a line [[rule]] of its own"))
            return
        if len(tables) > MAX_RULES:
            findings.append(
                Finding(self.file, lines[MAX_RULES], None, f"more than {MAX_RULES} rules; make it two files")
            )
            return
        for table, line in zip(tables, lines, strict=True):
            if step and (rule := _Reader(self.file, line, table, findings, words).rule(step, hosts)):
                yield rule

    def lists(self, key: str, findings: list[Finding]) -> dict[str, list[str]]:
        """A table of lists of texts: [hosts] or [words]."""
        table = self.table.get(key, {})
        good = {
            name: texts
            for name, texts in (table.items() if isinstance(table, dict) else ())
            if isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        }
        if not isinstance(table, dict) or good.keys() != table.keys():
            findings.append(self.finding(f"[{key}] has lists of texts, each under its name", key))
        return good

    def finding(self, message: str, key: str) -> Finding:
        """A mistake in a table, at the line of its header."""
        lines = enumerate(self.text.split("\n"), 1)
        line = next((at for at, line in lines if (header := _HEADER(line)) and header[1] == key), None)
        return Finding(self.file, line, None, message[:_MAX_MESSAGE])


def _too_large(file: str, text: str) -> Finding | None:
    """A text that it would cost too much to read."""
    if len(text) > MAX_TEXT:
        return Finding(file, None, None, f"more than {MAX_TEXT} characters; make it two files")
    for line, written in enumerate(text.split("\n"), 1):
        if written.count(".") > MAX_DOTS:
            return Finding(file, line, None, f"more than {MAX_DOTS} dots in one line; break it up")
        if line > MAX_LINES:
            return Finding(file, line, None, f"more than {MAX_LINES} lines; make it two files")
    return None


class _Reader:
    """One `[[rule]]` table on its way to a Rule; what is wrong with it goes to `findings`."""

    def __init__(
        self, file: str, line: int, table: Mapping[str, object], findings: list[Finding], words: Vocabulary
    ) -> None:
        self.file = file
        self.line = line
        self.table = table
        self.findings = findings
        self.words = words
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
            about=self.phrases("about"),
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
        self.findings.append(Finding(self.file, self.line, None, message[:_MAX_MESSAGE]))

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

    def phrases(self, key: str) -> tuple[Phrase | Near, ...]:
        made: list[Phrase | Near] = []
        for value in self.strings(key):
            try:
                made.append(self.words.near(value) if "{" in value else Phrase(value))
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
            one = _Reader(self.file, self.line, table, self.findings, self.words)
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
