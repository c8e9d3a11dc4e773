"""What a policy file may say: the grammar as pydantic models, and the JSON Schema that editors read.

A file arrives as texts (`bouncekit.policytext`); each type here reads one of them and, where it cannot, says what
would be right. The models hold what `bouncekit.policy` is built from: their fields have its names and its values.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any, Literal, TypeVar, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import core_schema

from bouncekit.classification import Category, Scope, scope_of
from bouncekit.phrase import Phrase
from bouncekit.policy import Example, Fate, Notice, Range, Seen, SessionFate
from bouncekit.policytext import quoted
from bouncekit.reply import Cause, Reply, Stage
from bouncekit.schedule import parse_duration

__all__ = [
    "ClassText",
    "ConditionText",
    "GuardText",
    "LadderText",
    "PolicyText",
    "RuleText",
    "ScheduleText",
    "Section",
    "SessionRuleText",
    "nearest",
    "policy_schema",
]

MAX_RULES = 2_000
MAX_ITEMS = 200  # of any other list
MAX_NUMBER = 1_000_000
MAX_DURATION = timedelta(days=3650)  # a date beyond the year 9999 is none

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*").fullmatch
_RULE_ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*").fullmatch
_CODE = re.compile(r"[2-5][0-9x][0-9x]").fullmatch
_ENHANCED = re.compile(r"[245x]\.(?:0|[1-9]\d{0,2}|x)\.(?:0|[1-9]\d{0,2}|x)", re.ASCII).fullmatch
_WHOLE = re.compile(r"\d{1,7}", re.ASCII).fullmatch
_DECIMAL = re.compile(r"\d{1,7}(?:\.\d{1,6})?", re.ASCII).fullmatch
_DURATION_PATTERN = r"^\d{1,9}(\.\d{1,6})?(ms|[smhdw])$"
_CODE_PATTERN = r"^[2-5][0-9xX][0-9xX]$"
_NAME_PATTERN = r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$"

# What verdicts and suppressions call themselves where no rule decided.
_TAKEN_IDS = frozenset(
    {"no-rule-matched", "no-session-rule-matched", "resend-unknown", "leave-unknown", "refused-here"}
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
    return f"one of {listed}" if known else "there is none"


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
    return "fate of a session" if kind is SessionFate else kind.__name__.lower()


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
_LASTING_SCHEMA = WithJsonSchema({"anyOf": [{"const": "forever"}, {"type": "string", "pattern": _DURATION_PATTERN}]})

Name = Annotated[str, PlainValidator(_name), _says(pattern=_NAME_PATTERN, maxLength=64)]
RuleId = Annotated[str, PlainValidator(_rule_id), _says(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", maxLength=64)]
Text = Annotated[str, PlainValidator(_text), _says(minLength=1, maxLength=255)]
Code = Annotated[str, PlainValidator(_code), _CODE_SCHEMA]
Enhanced = Annotated[str, PlainValidator(_enhanced), _says(pattern=r"^[245xX]\.(\d{1,3}|[xX])\.(\d{1,3}|[xX])$")]
Duration = Annotated[timedelta, PlainValidator(_duration), _says(pattern=_DURATION_PATTERN)]
Lasting = Annotated[timedelta | None, PlainValidator(_lasting), _LASTING_SCHEMA]
PhraseText = Annotated[Phrase, PlainValidator(_phrase), _says(minLength=1, maxLength=255)]
Flag = Annotated[bool, PlainValidator(_flag), _says(type_="boolean")]
Positive = Annotated[int, PlainValidator(_whole(1)), _says(type_="integer", minimum=1, maximum=MAX_NUMBER)]
Natural = Annotated[int, PlainValidator(_whole(0)), _says(type_="integer", minimum=0, maximum=MAX_NUMBER)]
Reconnects = Annotated[int, PlainValidator(_whole(1, 10)), _says(type_="integer", minimum=1, maximum=10)]
Factor = Annotated[float, PlainValidator(_factor), _says(type_="number", exclusiveMinimum=1, maximum=100)]
ReplyText = Annotated[str, PlainValidator(_reply), _says(minLength=1, maxLength=4096)]
StageWord = Annotated[Stage, PlainValidator(_word(Stage)), _enum(Stage)]
CategoryWord = Annotated[Category, PlainValidator(_word(Category)), _enum(Category)]
ScopeWord = Annotated[Scope, PlainValidator(_word(Scope)), _enum(Scope)]
CauseWord = Annotated[Cause, PlainValidator(_word(Cause)), _enum(Cause)]
FateWord = Annotated[Fate, PlainValidator(_word(Fate)), _enum(Fate)]
SessionFateWord = Annotated[SessionFate, PlainValidator(_word(SessionFate)), _enum(SessionFate)]
ScheduleName = Annotated[str, PlainValidator(_known("schedule")), _says(pattern=_NAME_PATTERN)]
LadderName = Annotated[str, PlainValidator(_known("ladder")), _says(pattern=_NAME_PATTERN)]
ChannelName = Annotated[str, PlainValidator(_known("channel")), _says(pattern=_NAME_PATTERN)]
ClassName = Annotated[str, PlainValidator(_known("class")), _says(pattern=_NAME_PATTERN)]


# -- lists, and shorter ways to write a value


@dataclass(frozen=True, slots=True, eq=False)
class _Short:
    """A shorter way to write a value: how it becomes the long one, and what an editor takes for it."""

    expand: Callable[[Any], object]
    schema: Mapping[str, object] | None = None  # None: the schema of one item of a list
    of: tuple[type, ...] = (str,)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: self.expand(value) if isinstance(value, self.of) else value, handler(source)
        )

    def __get_pydantic_json_schema__(self, core: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        full = handler(core)
        return {"anyOf": [self.schema if self.schema is not None else full["items"], full]}


T = TypeVar("T")
_ONE = _Short(lambda value: [value], of=(str, dict))
_BOUND = Field(max_length=MAX_ITEMS, min_length=1)
Maybe = Union[T, SkipJsonSchema[None]]  # noqa: UP007 - a key that may be left out; null is not a way to do so
Many = Annotated[list[T], _BOUND, AfterValidator(tuple), _ONE]  # one value or a list of them
AnyOf = Annotated[list[T], _BOUND, AfterValidator(frozenset), _ONE]  # the same, where the order says nothing


class Section(BaseModel):
    """A mapping in the file: no other keys than these."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def given(self) -> dict[str, Any]:
        """The values that the file states."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class ScheduleText(Section):
    """Waits between attempts: one duration, a list of which the last repeats, or one that grows."""

    first: Many[Duration] = Field(description="The wait after the first attempt; or a list, the last of which repeats.")
    times: Maybe[Factor] = Field(None, description="What the last wait grows by, each time.")
    at_most: Maybe[Duration] = Field(None, description="What no wait grows beyond.")

    @model_validator(mode="after")
    def _grows_within_bounds(self) -> "ScheduleText":
        if (self.times is None) is not (self.at_most is None):
            raise ValueError("times and at_most go together: {first: 5m, times: 2, at_most: 4h}")
        return self


_DURATIONS = {"type": "string", "pattern": _DURATION_PATTERN}
Waits = Annotated[
    ScheduleText,
    _Short(
        lambda value: {"first": value},
        {"anyOf": [_DURATIONS, {"type": "array", "items": _DURATIONS, "minItems": 1, "maxItems": MAX_ITEMS}]},
        of=(str, list),
    ),
]


def _kind_of_wait(value: object) -> str:
    return "name" if isinstance(value, str) and not value[:1].isdigit() else "waits"


Wait = Annotated[
    Annotated[ScheduleName, Tag("name")] | Annotated[Waits, Tag("waits")],
    Discriminator(_kind_of_wait),
]


class RangeText(Section):
    """A whole number, or bounds for it."""

    at_least: Maybe[Natural] = None
    at_most: Maybe[Natural] = None

    @model_validator(mode="after")
    def _has_room(self) -> "RangeText":
        if self.at_least is None and self.at_most is None:
            raise ValueError("no bound; write a number, or {at_least: 1}, or {at_least: 1, at_most: 9}")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"no number is at least {self.at_least} and at most {self.at_most}")
        return self


Numbers = Annotated[
    RangeText,
    AfterValidator(lambda text: Range(**text.given())),
    _Short(lambda value: {"at_least": value, "at_most": value}, {"type": "integer", "minimum": 0}),
]


class SeenText(Section):
    """How often the recipient had a verdict of this category, one a day, the present one included."""

    times: Positive
    within: Duration


SeenOften = Annotated[SeenText, AfterValidator(lambda text: Seen(**text.given()))]


class SessionConditionText(Section):
    """When a rule about a session applies: every key that is given must match, one of its values is enough."""

    code: Maybe[Many[Code]] = Field(None, description="Reply codes; x stands for any digit: 5xx.")
    enhanced: Maybe[Many[Enhanced]] = Field(None, description="Enhanced status codes; x stands for any number: x.2.2.")
    stage: Maybe[AnyOf[StageWord]] = Field(None, description="The command that the reply answers.")
    category: Maybe[AnyOf[CategoryWord]] = Field(None, description="What the reply means.")
    scope: Maybe[AnyOf[ScopeWord]] = Field(None, description="Whose fault it is.")
    cause: Maybe[AnyOf[CauseWord]] = Field(None, description="Why there was no reply.")
    remote_mta: Maybe[Many[Text]] = Field(None, description="The server's name; * stands for anything.")
    text: Maybe[Many[PhraseText]] = Field(
        None, description="Phrases: whole words in any case, * for any run of words, # for a number. In quotes."
    )
    permanent: Maybe[Flag] = Field(None, description="The judgement, not the digit.")
    certain: Maybe[Flag] = Field(None, description="Whether the reply has no second reading.")
    accepted: Maybe[Numbers] = Field(
        None, description="How many recipients of the transaction were accepted before this reply."
    )


class ConditionText(SessionConditionText):
    """When a rule about a recipient applies: every key that is given must match, one of its values is enough."""

    provider: Maybe[AnyOf[Text]] = Field(None, description="The provider that the classifier knows the server by.")
    domain: Maybe[Many[Text]] = Field(None, description="The recipient's domain; * stands for anything.")
    message_class: Maybe[AnyOf[ClassName]] = Field(None, description="The message's class.")
    expired: Maybe[Flag] = Field(None, description="Whether the class's deadline leaves no other try.")
    attempts: Maybe[Numbers] = Field(None, description="Attempts so far, the present one included.")
    seen: Maybe[SeenOften] = Field(
        None, description="How many days within a time had a verdict of this category, today included."
    )


class NoticeText(Section):
    """A channel to tell; with a digest, at most one notice in that time."""

    channel: ChannelName
    digest: Maybe[Duration] = None


class ExampleText(Section):
    """A reply that this rule must decide, and what else was so at that time."""

    reply: ReplyText = Field(description="As the server writes it: '552 5.2.2 Mailbox full'. For no reply: its cause.")
    stage: StageWord = Stage.RCPT
    accepted: Natural = 0
    individual: Flag = True
    attempts: Positive = 1
    seen: Positive = 1
    expired: Flag = False
    message_class: Maybe[ClassName] = None
    domain: Text = "example.com"
    remote_mta: Maybe[Text] = None
    provider: Maybe[Text] = None


Notices = Many[
    Annotated[
        NoticeText,
        AfterValidator(lambda text: Notice(**text.given())),
        _Short(lambda value: {"channel": value}, {"type": "string", "pattern": _NAME_PATTERN}),
    ]
]
Examples = Many[
    Annotated[
        ExampleText,
        AfterValidator(lambda text: Example(**text.given())),
        _Short(lambda value: {"reply": value}, {"type": "string", "minLength": 1}),
    ]
]


class RuleText(Section):
    """A rule about one recipient that was not delivered; the first that matches decides."""

    id: RuleId = Field(description="Its name in events, reports and evidence; that of a base rule replaces it.")
    when: Maybe[ConditionText] = Field(None, description="When it applies; always, where this is left out.")
    do: FateWord = Field(description="What becomes of the recipient.")
    wait: Maybe[Wait] = Field(None, description="With retry: a schedule; else the first one.")
    suppress: Maybe[LadderName] = Field(None, description="With fail: the ladder to suppress it by.")
    notify: Maybe[Notices] = Field(None, description="Channels to tell.")
    examples: Maybe[Examples] = Field(None, description="Replies that this rule must decide; `policy test` runs them.")


class SessionRuleText(Section):
    """A rule about a connection that ended; the first that matches decides."""

    id: RuleId = Field(description="Its name in events; that of a base rule replaces it.")
    when: Maybe[SessionConditionText] = Field(None, description="When it applies; always, if left out.")
    do: SessionFateWord = Field(description="What becomes of the connection.")
    at_most: Maybe[Reconnects] = Field(None, description="With reconnect: how often for one message.")
    examples: Maybe[Examples] = Field(None, description="Replies that this rule must decide.")


def _about_recipients(category: Category) -> Category:
    if scope_of(category) is not Scope.RECIPIENT:
        raise ValueError(f"no suppression is ever about {category}: it is not about the recipient")
    return category


class ClassText(Section):
    """A kind of mail."""

    deadline: Duration = Field(description="How long a message is tried.")
    unknown: Literal["resend", "fail"] = Field(
        "fail", description="The reply to the final dot never came: risk a duplicate (resend) or a loss (fail)."
    )
    ignores: Maybe[AnyOf[Annotated[CategoryWord, AfterValidator(_about_recipients)]]] = Field(
        None, description="Suppressions of these categories do not bind it."
    )
    default: Flag = Field(False, description="The class of messages that name none.")


class LadderText(Section):
    """How long a suppression lasts, rung by rung."""

    provisional: Maybe[Duration] = Field(
        None, description="After the first verdict; left out, the first one confirms at once."
    )
    confirm_after: Duration = Field(
        timedelta(hours=72), description="How long after the first verdict another one confirms it."
    )
    confirmed: Many[Lasting] = Field(description="After each confirmation; the last repeats. `forever` is for good.")


class GuardText(Section):
    """When a mass of equal refusals holds new suppressions back."""

    at_least: Positive = Field(100, description="Refusals with one fingerprint,")
    within: Duration = Field(timedelta(minutes=10), description="within this time,")
    times_usual: Factor = Field(5.0, description="and so many times the provider's usual rate.")


def _grammar(value: object) -> int:
    if value != "1":
        raise ValueError(f"{quoted(value)}: this bouncekit reads grammar 1; write policy: 1")
    return 1


class PolicyText(Section):
    """A bouncekit policy: what becomes of each recipient whom a server refused."""

    policy: Annotated[int, PlainValidator(_grammar), WithJsonSchema({"const": 1})] = Field(
        description="The version of this grammar."
    )
    extends: Maybe[Text] = Field(
        None, description="A policy whose rules are tried after these; the same id or name replaces."
    )
    channels: Maybe[Many[Name]] = Field(None, description="Roles to tell; the application says what each one is.")
    schedules: dict[Name, Waits] = Field({}, max_length=MAX_ITEMS, description="Waits between attempts, by name.")
    classes: dict[Name, ClassText] = Field(
        {}, max_length=MAX_ITEMS, description="Kinds of mail, by name; one of them is the default."
    )
    ladders: dict[Name, LadderText] = Field(
        {}, max_length=MAX_ITEMS, description="How long suppressions last, by name."
    )
    guard: Maybe[GuardText] = None
    sessions: list[SessionRuleText] = Field([], description="Rules about connections.", max_length=MAX_RULES)
    rules: list[RuleText] = Field([], description="Rules about recipients.", max_length=MAX_RULES)
    schema_: Maybe[Text] = Field(None, alias="$schema", description="For editors; not read.")


def policy_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a policy file; `policies/policy.schema.json` is this."""
    schema = _plain(PolicyText.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "bouncekit policy"}


def _plain(schema: Any) -> Any:
    """A schema without what pydantic adds on its own account, and the same from every version of pydantic."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if len(only := schema.get("allOf", ())) == 1:  # pydantic before 2.9, around a reference
        schema = {**{word: value for word, value in schema.items() if word != "allOf"}, **only[0]}
    return {
        word: {name: _plain(one) for name, one in value.items()} if word in _NAMED else _plain(value)
        for word, value in schema.items()
        if word not in ("title", "default", "propertyNames")
    }


_NAMED = ("$defs", "properties", "patternProperties")  # their keys are names, no words of JSON Schema
