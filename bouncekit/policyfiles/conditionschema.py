"""What `when` of a rule may say in a policy file: the grammar of conditions, about a recipient and about a session."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from bouncekit.policy.rule import Range, Seen, SeenBy
from bouncekit.policyfiles.policyshape import AnyOf, Many, Maybe, Section, Short
from bouncekit.policyfiles.policyvalue import (
    CategoryWord,
    CauseWord,
    ClassName,
    Code,
    Duration,
    Enhanced,
    Flag,
    Natural,
    PhraseText,
    Positive,
    ScopeWord,
    SeenByWord,
    StageWord,
    Text,
)

__all__ = ["ConditionText", "SessionConditionText"]

_REMEMBERED = timedelta(days=30)  # of others than the recipient
_MOST_SPANS = 10  # what weighs a thousandth counts no more, and each is a question to the store


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
    Short(lambda value: {"at_least": value, "at_most": value}, {"type": "integer", "minimum": 0}),
]


class SeenText(Section):
    """How often there was a verdict of this category, the present one included; of the recipient, one a day counts."""

    times: Positive
    within: Duration
    by: SeenByWord = Field(SeenBy.RECIPIENT, description="Whose verdicts are counted.")
    half_after: Maybe[Duration] = Field(
        None, description="How old a verdict weighs half; twice as old, a quarter. Else each weighs the same."
    )

    @model_validator(mode="after")
    def _is_remembered(self) -> "SeenText":
        if self.by is not SeenBy.RECIPIENT and self.within > _REMEMBERED:
            raise ValueError(f"verdicts by {self.by} are counted for 30d; write a shorter time")
        if self.half_after is not None and not self.half_after < self.within <= self.half_after * _MOST_SPANS:
            raise ValueError("half_after is shorter than within, and at least a tenth of it")
        return self


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
    sender: Maybe[Many[Text]] = Field(None, description="The return path; * stands for anything: '*@news.example.com'.")
    tenant: Maybe[AnyOf[Text]] = Field(None, description="Whose mail it is.")
    stream: Maybe[AnyOf[Text]] = Field(None, description="Of which stream it is.")
    expired: Maybe[Flag] = Field(None, description="Whether the class's deadline leaves no other try.")
    attempts: Maybe[Numbers] = Field(None, description="Attempts so far, the present one included.")
    seen: Maybe[SeenOften] = Field(
        None, description="How many days within a time had a verdict of this category, today included."
    )
