"""What one value of a policy file may be: a text that becomes a duration, a code, a word, or says what would be right.

Each type here reads one text for pydantic, and tells editors what it takes. How they stand together is `policyshape`'s.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from itertools import islice
from typing import Annotated, TypeGuard

from pydantic import PlainValidator, ValidationInfo, WithJsonSchema

from bouncekit.meaning.classification import Category, Scope
from bouncekit.policy.budget import LONGEST
from bouncekit.policy.lane import LONGEST_PAUSE, LaneKind, Pace
from bouncekit.policy.rule import Fate, SeenBy, SessionFate
from bouncekit.policy.schedule import Obey, parse_duration
from bouncekit.policy.template import PLACEHOLDERS, placeholders
from bouncekit.policyfiles.policytree import quoted
from bouncekit.protocol.classmark import HeaderMark, is_header_name
from bouncekit.words.phrase import Phrase
from bouncekit.words.reply import Cause, Reply, Stage

__all__ = [
    "DURATION_PATTERN",
    "MAX_ITEMS",
    "MAX_RULES",
    "MAX_RULE_FILES",
    "NAME_PATTERN",
    "BudgetSpan",
    "CategoryWord",
    "CauseWord",
    "ChannelName",
    "ClassName",
    "Code",
    "Duration",
    "Enhanced",
    "Factor",
    "FateWord",
    "Flag",
    "LadderName",
    "LaneWord",
    "Lasting",
    "MarkText",
    "Name",
    "NamingHeader",
    "Natural",
    "ObeyWord",
    "PaceText",
    "PauseLength",
    "Percent",
    "PhraseText",
    "Positive",
    "Rate",
    "Reconnects",
    "ReplyText",
    "RuleFileName",
    "RuleId",
    "ScheduleName",
    "ScopeWord",
    "SeenByWord",
    "SessionFateWord",
    "Share",
    "Span",
    "StageWord",
    "Subject",
    "TemplateName",
    "Text",
    "Wording",
    "is_rule_file",
    "nearest",
]

MAX_RULES = 2_000
MAX_RULE_FILES = 20  # each is read
MAX_ITEMS = 200  # of any other list
MAX_NUMBER = 1_000_000
MAX_DURATION = timedelta(days=3650)  # a date beyond the year 9999 is none
_LEAST_PAUSE = timedelta(seconds=5)  # a shorter one is over before another process has heard of it

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*").fullmatch
_RULE_ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*").fullmatch
_CODE = re.compile(r"[2-5][0-9x][0-9x]").fullmatch
_ENHANCED = re.compile(r"[245x]\.(?:0|[1-9]\d{0,2}|x)\.(?:0|[1-9]\d{0,2}|x)", re.ASCII).fullmatch
_WHOLE = re.compile(r"\d{1,7}", re.ASCII).fullmatch
_PERCENT = re.compile(r"\d{1,3}%", re.ASCII).fullmatch
_RATE_OF = re.compile(r"\d{1,3}(?:\.\d{1,4})?%", re.ASCII).fullmatch
_DECIMAL = re.compile(r"\d{1,7}(?:\.\d{1,6})?", re.ASCII).fullmatch
DURATION_PATTERN = r"^\d{1,9}(\.\d{1,6})?(ms|[smhdw])$"
_RATE_PATTERN = r"^\d{1,7}/(\d{1,9}(\.\d{1,6})?)?(ms|[smhdw])$"
_CODE_PATTERN = r"^[2-5][0-9xX][0-9xX]$"
NAME_PATTERN = r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$"

# What verdicts and suppressions call themselves where no rule decided.
_TAKEN_IDS = frozenset(
    {"no-rule-matched", "no-session-rule-matched", "resend-unknown", "leave-unknown", "refused-here", "held-up"}
)


def nearest(word: object, words: Iterable[str]) -> str:
    """What would be right: the word that was likely meant, and all there are.

    >>> nearest("retyr", ["retry", "fail"])
    "did you mean 'retry'? There are retry, fail"
    """
    known = [str(one) for one in islice(words, MAX_ITEMS)]
    folded = {one.lower(): one for one in known}
    close = get_close_matches(str(word)[:40].lower(), folded, n=1)
    listed = ", ".join(known[:40]) + (", ..." if len(known) > 40 else "")
    if close:
        return f"did you mean {folded[close[0]]!r}? There are {listed}"
    return f"one of {listed}" if known else "there is none; write one, or extends: default"


# -- one text each


def _text(value: object, *, longest: int = 255) -> str:
    """A text of one line."""
    if not isinstance(value, str):
        raise ValueError("a text is expected here, not a list or a mapping")
    if not value:
        raise ValueError("the value is missing; leave the key out where there is none")
    if len(value) > longest:
        raise ValueError(f"longer than {longest} characters")
    if not value.replace("\t", " ").isprintable():
        raise ValueError(f"{quoted(value)} has a control character in it; write plain text")
    return value


def _name(value: object) -> str:
    if len(text := _text(value)) > 64 or not _NAME(text):
        raise ValueError(f"{quoted(text)} is no name; write words in lower case with - or _ between them")
    return text


def _rule_id(value: object) -> str:
    if len(text := _text(value)) > 64 or not _RULE_ID(text):
        raise ValueError(f"{quoted(text)} is no rule id; write words in lower case with - between them: mailbox-full")
    if text in _TAKEN_IDS:
        raise ValueError(f"{quoted(text)} is what bouncekit writes where no rule decided; choose another id")
    return text


def is_rule_file(value: object) -> TypeGuard[str]:
    """Whether it may be the name of a file of rules about replies."""
    try:
        return bool(_rule_file(value))
    except ValueError:
        return False


def _rule_file(value: object) -> str:
    """A file in the folder of the policy, or below it."""
    if not (text := _text(value)).endswith(".toml"):
        raise ValueError(f"{quoted(text)} is no file of rules about replies; one ends in .toml")
    if set(text) & set("\\:") or text.startswith("/") or ".." in text.split("/"):
        raise ValueError(
            f"{quoted(text)}: a policy names files in its own folder and below it: mine.toml, rules/mine.toml"
        )
    return text


def _code(value: object) -> str:
    if not _CODE(text := _text(value).lower()):
        raise ValueError(
            f"{quoted(value)}: a reply code has three digits, the first 2 to 5; or write a pattern such as 5xx"
        )
    return text


def _enhanced(value: object) -> str:
    if not _ENHANCED(text := _text(value).lower()):
        raise ValueError(
            f"{quoted(value)}: an enhanced status code looks like 5.2.2, a pattern like x.2.2 (RFC 3463 2)"
        )
    return text


def _duration(value: object) -> timedelta:
    duration = parse_duration(_text(value, longest=60))
    if not timedelta(seconds=1) <= duration <= MAX_DURATION:
        raise ValueError(f"{quoted(value)} is not between 1s and {MAX_DURATION.days}d")
    return duration


def _span(value: object) -> timedelta:
    """A duration that may be none at all."""
    return timedelta() if value in ("0s", "0m", "0h", "0d", "0w") else _duration(value)


def _lasting(value: object) -> timedelta | None:
    return None if value == "forever" else _duration(value)


def _phrase(value: object) -> Phrase:
    return Phrase(_text(value))


def _flag(value: object) -> bool:
    if value not in ("true", "false"):
        raise ValueError(f"{quoted(value)}: write true or false")
    return value == "true"


def _whole(least: int, most: int = MAX_NUMBER) -> Callable[[object], int]:
    def read(value: object) -> int:
        if not _WHOLE(text := _text(value)) or not least <= int(text) <= most:
            raise ValueError(f"{quoted(text)}: write a whole number from {least} to {most}")
        return int(text)

    return read


def _factor(value: object) -> float:
    if not _DECIMAL(text := _text(value)) or not 1 < float(text) <= 100:
        raise ValueError(f"{quoted(text)}: write a number above 1 and up to 100")
    return float(text)


def _rate(value: object) -> tuple[int, timedelta]:
    """So many within a time: 20/h, 5/15m."""
    times, slash, within = _text(value, longest=60).partition("/")
    try:
        if not slash:
            raise ValueError
        return _whole(1)(times), _duration(within if within[:1].isdigit() else f"1{within}")
    except ValueError:
        raise ValueError(f"{quoted(value)}: write how many in which time: 20/h, 5/15m, 1/d") from None


def _pause(value: object) -> timedelta:
    if (duration := _duration(value)) < _LEAST_PAUSE or duration > LONGEST_PAUSE:
        raise ValueError(f"{quoted(value)} is not between {_LEAST_PAUSE.seconds}s and {LONGEST_PAUSE.days}d")
    return duration


def _budget_span(value: object) -> timedelta:
    if not timedelta(hours=1) <= (duration := _duration(value)) <= LONGEST:
        raise ValueError(f"{quoted(value)} is not between 1h and {LONGEST.days}d")
    return duration


def _share(value: object) -> float:
    """A part of the whole: 10%."""
    if not _PERCENT(text := _text(value)) or not 1 <= int(text[:-1]) <= 100:
        raise ValueError(f"{quoted(text)}: write a share from 1% to 100%")
    return int(text[:-1]) / 100


def _percent(value: object) -> float:
    """A rate: 5%, 0.1%."""
    if not _RATE_OF(text := _text(value)) or not 0 < float(text[:-1]) <= 100:
        raise ValueError(f"{quoted(text)}: write a rate above 0% and up to 100%, such as 5% or 0.1%")
    return float(text[:-1]) / 100


def _worded(longest: int, *, lines: bool) -> Callable[[object], str]:
    """A text with placeholders in it, on one line or on several."""

    def read(value: object) -> str:
        one_line = value.rstrip("\n").replace("\n", " ") if lines and isinstance(value, str) else value
        _text(one_line, longest=longest)
        for name in placeholders(str(value)):
            if name not in PLACEHOLDERS:
                raise ValueError(f"unknown placeholder {quoted('$' + name)}: {nearest(name, PLACEHOLDERS)}")
        return str(value)

    return read


def _mark(value: object) -> HeaderMark:
    return HeaderMark.parse(_text(value))


def _naming_header(value: object) -> str:
    """A header that may be taken out of a message: nothing that its readers need begins so."""
    if not is_header_name(text := _text(value)) or not text.lower().startswith("x-") or len(text) < 3:
        raise ValueError(f"{quoted(text)}: it is taken out of the message, so it begins with X-, such as X-Mail-Kind")
    return text


def _reply(value: object) -> str:
    """A reply, or the cause of there being none."""
    if not isinstance(value, str) or len(value) > 4096:
        raise ValueError("an example is the text of one reply, up to 4096 characters")
    if value not in set(Cause):
        try:
            Reply.parse(value)
        except ValueError as error:
            raise ValueError(f"{error}; or, for no reply, one of {', '.join(Cause)}") from None
    return value


def _word(kind: type[StrEnum]) -> Callable[[object], StrEnum]:
    """A member of a closed set, by its value."""

    def read(value: object) -> StrEnum:
        text = _text(value)
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"unknown {_called(kind)} {quoted(text)}: {nearest(text, kind)}") from None

    return read


def _called(kind: type[StrEnum]) -> str:
    return _CALLED.get(kind) or kind.__name__.lower()


_CALLED: Mapping[type[StrEnum], str] = {SessionFate: "fate of a session", SeenBy: "subject", Obey: "way to obey"}
_WAYS = (LaneKind.RELAY, LaneKind.PROVIDER)  # that a reply can slow or pause


def _way(value: object) -> LaneKind:
    if (text := _text(value)) not in _WAYS:
        raise ValueError(f"unknown lane {quoted(text)}: {nearest(text, _WAYS)}")
    return LaneKind(text)


def _known(kind: str) -> Callable[[object, ValidationInfo], str]:
    """A name that the file, or one that it extends, has given to something of that kind."""

    def read(value: object, info: ValidationInfo) -> str:
        text = _text(value)
        names = (info.context or {}).get(kind)
        if names is not None and text not in names:
            raise ValueError(f"unknown {kind} {quoted(text)}: {nearest(text, names)}")
        return text

    return read


def _says(*, pattern: str | None = None, type_: str = "string", **more: object) -> WithJsonSchema:
    return WithJsonSchema({"type": type_, **({"pattern": pattern} if pattern else {}), **more})


def _enum(kind: type[StrEnum]) -> WithJsonSchema:
    return WithJsonSchema({"enum": [str(member) for member in kind]})


_CODE_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "integer", "minimum": 200, "maximum": 599}, {"type": "string", "pattern": _CODE_PATTERN}]}
)
_LASTING_SCHEMA = WithJsonSchema({"anyOf": [{"const": "forever"}, {"type": "string", "pattern": DURATION_PATTERN}]})

Name = Annotated[str, PlainValidator(_name), _says(pattern=NAME_PATTERN, maxLength=64)]
RuleFileName = Annotated[str, PlainValidator(_rule_file), _says(pattern=r"^[^/\\:][^\\:]*\.toml$", maxLength=255)]
RuleId = Annotated[str, PlainValidator(_rule_id), _says(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", maxLength=64)]
Text = Annotated[str, PlainValidator(_text), _says(minLength=1, maxLength=255)]
Code = Annotated[str, PlainValidator(_code), _CODE_SCHEMA]
Enhanced = Annotated[str, PlainValidator(_enhanced), _says(pattern=r"^[245xX]\.(\d{1,3}|[xX])\.(\d{1,3}|[xX])$")]
Duration = Annotated[timedelta, PlainValidator(_duration), _says(pattern=DURATION_PATTERN)]
Span = Annotated[timedelta, PlainValidator(_span), _says(pattern=DURATION_PATTERN)]
Lasting = Annotated[timedelta | None, PlainValidator(_lasting), _LASTING_SCHEMA]
PhraseText = Annotated[Phrase, PlainValidator(_phrase), _says(minLength=1, maxLength=255)]
Flag = Annotated[bool, PlainValidator(_flag), _says(type_="boolean")]
Positive = Annotated[int, PlainValidator(_whole(1)), _says(type_="integer", minimum=1, maximum=MAX_NUMBER)]
Natural = Annotated[int, PlainValidator(_whole(0)), _says(type_="integer", minimum=0, maximum=MAX_NUMBER)]
Reconnects = Annotated[int, PlainValidator(_whole(1, 10)), _says(type_="integer", minimum=1, maximum=10)]
Factor = Annotated[float, PlainValidator(_factor), _says(type_="number", exclusiveMinimum=1, maximum=100)]
ReplyText = Annotated[str, PlainValidator(_reply), _says(minLength=1, maxLength=4096)]
Rate = Annotated[tuple[int, timedelta], PlainValidator(_rate), _says(pattern=_RATE_PATTERN)]
PaceText = Annotated[Pace, PlainValidator(lambda value: Pace(*_rate(value))), _says(pattern=_RATE_PATTERN)]
BudgetSpan = Annotated[timedelta, PlainValidator(_budget_span), _says(pattern=DURATION_PATTERN)]
PauseLength = Annotated[timedelta, PlainValidator(_pause), _says(pattern=DURATION_PATTERN)]
Share = Annotated[float, PlainValidator(_share), _says(pattern=r"^\d{1,3}%$")]
MarkText = Annotated[HeaderMark, PlainValidator(_mark), _says(minLength=1, maxLength=255)]
NamingHeader = Annotated[str, PlainValidator(_naming_header), _says(pattern=r"^[Xx]-[!-9;-~]+$", maxLength=64)]
SeenByWord = Annotated[SeenBy, PlainValidator(_word(SeenBy)), _enum(SeenBy)]
ObeyWord = Annotated[Obey, PlainValidator(_word(Obey)), _enum(Obey)]
LaneWord = Annotated[LaneKind, PlainValidator(_way), WithJsonSchema({"enum": [str(one) for one in _WAYS]})]
Percent = Annotated[float, PlainValidator(_percent), _says(pattern=r"^\d{1,3}(\.\d{1,4})?%$")]
Subject = Annotated[str, PlainValidator(_worded(200, lines=False)), _says(minLength=1, maxLength=200)]
Wording = Annotated[str, PlainValidator(_worded(10_000, lines=True)), _says(minLength=1, maxLength=10_000)]
StageWord = Annotated[Stage, PlainValidator(_word(Stage)), _enum(Stage)]
CategoryWord = Annotated[Category, PlainValidator(_word(Category)), _enum(Category)]
ScopeWord = Annotated[Scope, PlainValidator(_word(Scope)), _enum(Scope)]
CauseWord = Annotated[Cause, PlainValidator(_word(Cause)), _enum(Cause)]
FateWord = Annotated[Fate, PlainValidator(_word(Fate)), _enum(Fate)]
SessionFateWord = Annotated[SessionFate, PlainValidator(_word(SessionFate)), _enum(SessionFate)]
ScheduleName = Annotated[str, PlainValidator(_known("schedule")), _says(pattern=NAME_PATTERN)]
LadderName = Annotated[str, PlainValidator(_known("ladder")), _says(pattern=NAME_PATTERN)]
ChannelName = Annotated[str, PlainValidator(_known("channel")), _says(pattern=NAME_PATTERN)]
TemplateName = Annotated[str, PlainValidator(_known("template")), _says(pattern=NAME_PATTERN)]
ClassName = Annotated[str, PlainValidator(_known("class")), _says(pattern=NAME_PATTERN)]
