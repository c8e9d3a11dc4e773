"""What a policy file may say: the grammar as pydantic models, and the JSON Schema that editors read.

A file arrives as texts (`policytext`), and `policyvalue` reads each of them. The models hold what
`bouncekit.policy.policy` is built from: their fields have its names and its values.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema, model_validator

from bouncekit.meaning.classification import Category, Scope, scope_of
from bouncekit.policy.budget import Bound
from bouncekit.policy.lane import Pace
from bouncekit.policy.schedule import USUAL_HINTS, Obey
from bouncekit.policyfiles.policyshape import AnyOf, Many, Maybe, RuleFiles, Section, Short
from bouncekit.policyfiles.policytree import quoted
from bouncekit.policyfiles.policyvalue import (
    MAX_ITEMS,
    MAX_RULES,
    BudgetSpan,
    CategoryWord,
    ChannelName,
    ClassName,
    Duration,
    Factor,
    Flag,
    Lasting,
    MarkText,
    Name,
    NamingHeader,
    ObeyWord,
    PaceText,
    Percent,
    Positive,
    Rate,
    Span,
    Subject,
    Text,
    Wording,
)
from bouncekit.policyfiles.ruleschema import RuleText, SessionRuleText
from bouncekit.policyfiles.scheduleschema import Wait, Waits

__all__ = [
    "BudgetText",
    "ChannelText",
    "ClassText",
    "GuardText",
    "KeepText",
    "LadderText",
    "PolicyText",
    "TemplateText",
    "ThrottleText",
    "policy_schema",
]


def _about_recipients(category: Category) -> Category:
    if scope_of(category) is not Scope.RECIPIENT:
        raise ValueError(f"no suppression is ever about {category}: it is not about the recipient")
    return category


class ClassText(Section):
    """A kind of mail."""

    deadline: Duration = Field(description="How long a message is tried.")
    wait: Maybe[Wait] = Field(None, description="The waits between its attempts, where those of a rule are longer.")
    late: Literal["try", "fail"] = Field(
        "try", description="What could not be tried within the deadline: try it once more, or fail without a try."
    )
    unknown: Literal["resend", "fail"] = Field(
        "fail", description="The reply to the final dot never came: risk a duplicate (resend) or a loss (fail)."
    )
    ignores: Maybe[AnyOf[Annotated[CategoryWord, AfterValidator(_about_recipients)]]] = Field(
        None, description="Suppressions of these categories do not bind it."
    )
    headers: Maybe[Many[MarkText]] = Field(
        None, description="Mail with one of these is of this class: a name, or a name and value, 'Precedence: bulk'."
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


class ChannelText(Section):
    """A role to tell, and how often at most."""

    limit: Maybe[Rate] = Field(None, description="How many notices in which time: 20/h. What is more is told later.")
    per: Literal["channel", "recipient"] = Field(
        "channel", description="Whether the limit is for all of its notices, or for those about one recipient."
    )


Channels = Annotated[
    Annotated[Many[Name], Tag("names")] | Annotated[dict[Name, ChannelText], Field(max_length=MAX_ITEMS), Tag("roles")],
    Discriminator(lambda value: "roles" if isinstance(value, dict) else "names"),
]


class TemplateText(Section):
    """How a notice is worded; $name stands for what is told, $$ for a dollar."""

    subject: Subject = Field(description="One line.")
    text: Wording = Field(description="A few lines.")


class GuardText(Section):
    """When a mass of equal refusals holds new suppressions back."""

    at_least: Positive = Field(20, description="Refusals with one fingerprint,")
    within: Duration = Field(timedelta(minutes=10), description="within this time, or six times it,")
    times_usual: Factor = Field(5.0, description="and so many times more than is usual at the provider.")


class KeepText(Section):
    """How long the store keeps what is over."""

    messages: Span = Field(timedelta(), description="A queued message when its last recipient is settled; 0d: not.")
    events: Lasting = Field(timedelta(days=180), description="Events and outcomes. `forever` is for good.")


class HintsText(Section):
    """What becomes of a wait that a reply asks for: "try again in 5 minutes"."""

    obey: ObeyWord = Field(
        Obey.LONGER, description="Hints longer than our own wait, always also shorter ones, or none."
    )
    at_least: Duration = Field(timedelta(minutes=1), description="With always: no hint makes a wait shorter than this.")
    at_most: Duration = Field(
        timedelta(days=1), description="No hint counts for more than this, which is 1d at the most."
    )

    @model_validator(mode="after")
    def _has_room(self) -> "HintsText":
        if self.at_most > USUAL_HINTS.at_most:
            raise ValueError("at_most is longer than a day, and no hint is taken for more")
        if "at_least" in self.model_fields_set and self.obey is not Obey.ALWAYS:
            raise ValueError("at_least goes with obey: always only; otherwise no hint shortens a wait")
        if self.obey is Obey.ALWAYS and self.at_least > self.at_most:
            raise ValueError("at_most is shorter than at_least")
        return self


class ThrottleText(Section):
    """The most that may go to one relay or provider."""

    rate: Maybe[PaceText] = Field(None, description="Messages in a time: 600/m.")
    recipients: Maybe[PaceText] = Field(None, description="Recipients in a time: 2000/m.")
    at_once: Maybe[Positive] = Field(None, description="Messages that are being sent at the same time.")


class ThrottlesText(Section):
    """How fast mail may go; `any` is for each that has no limit of its own."""

    relays: dict[Text, ThrottleText] = Field({}, max_length=MAX_ITEMS, description="By the name of a relay.")
    providers: dict[Text, ThrottleText] = Field({}, max_length=MAX_ITEMS, description="By the name of a provider.")


class BoundText(Section):
    """The rates at which a level begins; one of them is enough."""

    bounces: Maybe[Percent] = Field(None, description="Bad addresses among those who were sent to: 5%.")
    complaints: Maybe[Percent] = Field(None, description="Complaints for each who was sent to: 0.1%.")


def _bound(text: BoundText) -> Bound:
    if text.bounces is None and text.complaints is None:
        raise ValueError("no rate; write {bounces: 5%}, {complaints: 0.1%}, or both")
    return Bound(**text.given())


Bounds = Annotated[BoundText, AfterValidator(_bound)]


class BudgetText(Section):
    """How many bounces and complaints a stream of mail may bring; {} for any number."""

    within: BudgetSpan = Field(timedelta(days=7), description="The time that rates are counted over, 1h to 30d.")
    at_least: Positive = Field(1000, description="Recipients in that time; of fewer, rates say nothing.")
    warn: Maybe[Bounds] = Field(None, description="When it is told.")
    slow: Maybe[Bounds] = Field(None, description="When mail of the classes in `holds` goes at `rate` only.")
    stop: Maybe[Bounds] = Field(None, description="When mail of these classes waits.")
    rate: PaceText = Field(Pace(60, timedelta(minutes=1)), description="Messages in a time, at the level slow: 60/m.")
    holds: Maybe[AnyOf[ClassName]] = Field(None, description="Classes that are slowed and stopped; others always go.")
    notify: Maybe[Many[ChannelName]] = Field(None, description="Channels that hear of each level.")

    @model_validator(mode="after")
    def _means_something(self) -> "BudgetText":
        if (self.slow or self.stop) and not self.holds:
            raise ValueError("slow and stop need the classes that they hold: holds: bulk")
        if "recipient" in (self.notify or ()):
            raise ValueError("a budget is about no recipient; notify another channel")
        for name in ("bounces", "complaints"):
            rising = [most for bound in (self.warn, self.slow, self.stop) if bound and (most := getattr(bound, name))]
            if rising != sorted(rising):
                raise ValueError(f"{name}: warn comes first, then slow, then stop; let them rise")
        return self


class MeaningText(Section):
    """Files of rules that say what replies mean; they go before the shipped ones."""

    own: Maybe[RuleFiles] = Field(None, description="The owner's own; they are tried first.")
    community: Maybe[RuleFiles] = Field(None, description="Those of others, tried behind the owner's.")


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
    meaning: Maybe[Annotated[MeaningText, Short(lambda value: {"own": value}, "own", of=(str, list))]] = Field(
        None, description="Files of rules that say what replies mean: the owner's own, or also those of others."
    )
    channels: Maybe[Channels] = Field(None, description="Roles to tell; the application says what each one is.")
    templates: dict[Name, TemplateText] = Field({}, max_length=MAX_ITEMS, description="Words of notices, by name.")
    schedules: dict[Name, Waits] = Field({}, max_length=MAX_ITEMS, description="Waits between attempts, by name.")
    classes: dict[Name, ClassText] = Field(
        {}, max_length=MAX_ITEMS, description="Kinds of mail, by name; one of them is the default."
    )
    class_header: Maybe[NamingHeader] = Field(
        None, description="A header that names a message's class, besides X-Bouncekit-Class; it is not sent."
    )
    ladders: dict[Name, LadderText] = Field(
        {}, max_length=MAX_ITEMS, description="How long suppressions last, by name."
    )
    guard: Maybe[GuardText] = None
    keep: Maybe[KeepText] = None
    hints: Maybe[Annotated[HintsText, Short(lambda value: {"obey": value}, {"enum": [str(one) for one in Obey]})]] = (
        Field(None, description="Waits that replies ask for: whether they are obeyed, and within which bounds.")
    )
    throttles: Maybe[ThrottlesText] = None
    budget: Maybe[BudgetText] = None
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
