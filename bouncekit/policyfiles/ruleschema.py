"""What one rule of a policy file may say: its measures, its notices and its examples, and the rule as a whole."""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from bouncekit.policy.lane import Pause, Slow
from bouncekit.policy.rule import Example, Learn
from bouncekit.policyfiles.conditionschema import ConditionText, SessionConditionText
from bouncekit.policyfiles.policyshape import Many, Maybe, Section, Short
from bouncekit.policyfiles.policyvalue import (
    DURATION_PATTERN,
    NAME_PATTERN,
    ChannelName,
    ClassName,
    Duration,
    Factor,
    FateWord,
    Flag,
    LadderName,
    LaneWord,
    Natural,
    PauseLength,
    Positive,
    Reconnects,
    ReplyText,
    RuleId,
    SessionFateWord,
    Share,
    StageWord,
    TemplateName,
    Text,
)
from bouncekit.policyfiles.scheduleschema import Wait
from bouncekit.words.reply import Stage

__all__ = ["ExampleText", "NoticeText", "RuleText", "SessionRuleText"]


class NoticeText(Section):
    """A channel to tell."""

    channel: ChannelName = Field(description="The role to tell.")
    digest: Maybe[Duration] = Field(None, description="At most one notice in that time, which sums up the rest.")
    template: Maybe[TemplateName] = Field(None, description="The words of the notice.")


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
    tenant: Text = ""
    stream: Text = ""
    sender: Text = ""
    domain: Text = "example.com"
    remote_mta: Maybe[Text] = None
    provider: Maybe[Text] = None


Notices = Many[
    Annotated[
        NoticeText,
        Short(lambda value: {"channel": value}, {"type": "string", "pattern": NAME_PATTERN}),
    ]
]
Examples = Many[
    Annotated[
        ExampleText,
        AfterValidator(lambda text: Example(**text.given())),
        Short(lambda value: {"reply": value}, {"type": "string", "minLength": 1}),
    ]
]


class SlowText(Section):
    """Mail goes that way more slowly."""

    by: Maybe[Factor] = Field(None, description="The pace is divided by this; 2.")
    recover: Maybe[Duration] = Field(None, description="In each such time a tenth of the old pace comes back; 1m.")
    of: Maybe[LaneWord] = Field(None, description="What is slowed; else whoever replied.")


class PauseText(Section):
    """No mail goes that way for a time."""

    length: PauseLength = Field(alias="for", description="How long; twice as long when the trial behind it fails,")
    at_most: Maybe[PauseLength] = Field(None, description="and never longer than this; 2h.")
    trickle: Maybe[Reconnects] = Field(None, description="So many messages at a time are the trial; 1.")
    then: Maybe[Share] = Field(None, description="Behind it mail goes on at this share of the old pace; 10%.")
    recover: Maybe[Duration] = Field(None, description="In each such time a tenth of the old pace comes back; 1m.")
    of: Maybe[LaneWord] = Field(None, description="What is paused; else whoever replied.")


def _pause(text: PauseText) -> Pause:
    pause = Pause(**text.given())
    if "at_most" not in text.model_fields_set:
        return replace(pause, at_most=max(pause.at_most, pause.length))
    if pause.at_most < pause.length:
        raise ValueError("at_most is shorter than the pause itself")
    return pause


Slower = Annotated[
    SlowText,
    AfterValidator(lambda text: Slow(**text.given())),
    Short(lambda value: {"by": value}, {"type": "number", "exclusiveMinimum": 1, "maximum": 100}),
]
Paused = Annotated[
    PauseText,
    AfterValidator(_pause),
    Short(lambda value: {"for": value}, {"type": "string", "pattern": DURATION_PATTERN}),
]


class LearnText(Section):
    """The first wait is what greylisting of that provider has taken of late, within bounds."""

    at_least: Duration = Field(timedelta(minutes=1), description="No wait is shorter;")
    at_most: Duration = Field(timedelta(hours=1), description="and none is longer.")

    @model_validator(mode="after")
    def _has_room(self) -> "LearnText":
        if self.at_least > self.at_most:
            raise ValueError("at_most is shorter than at_least")
        return self


Learning = Annotated[
    LearnText,
    AfterValidator(lambda text: Learn(**text.given())),
    Short(lambda value: {"at_most": value}, {"type": "string", "pattern": DURATION_PATTERN}),
]


class RuleText(Section):
    """A rule about one recipient that was not delivered; the first that matches decides."""

    id: RuleId = Field(description="Its name in events, reports and evidence; that of a base rule replaces it.")
    when: Maybe[ConditionText] = Field(None, description="When it applies; always, where this is left out.")
    do: FateWord = Field(description="What becomes of the recipient.")
    wait: Maybe[Wait] = Field(None, description="With retry: a schedule; else the first one.")
    learn: Maybe[Learning] = Field(None, description="With retry, of what is greylisted: come back when it is over.")
    suppress: Maybe[LadderName] = Field(None, description="With fail: the ladder to suppress it by.")
    notify: Maybe[Notices] = Field(None, description="Channels to tell.")
    slow: Maybe[Slower] = Field(None, description="Slow all mail that goes this way: what its pace is divided by.")
    pause: Maybe[Paused] = Field(None, description="Pause all mail that goes this way: for how long.")
    examples: Maybe[Examples] = Field(None, description="Replies that this rule must decide; `policy test` runs them.")


class SessionRuleText(Section):
    """A rule about a connection that ended; the first that matches decides."""

    id: RuleId = Field(description="Its name in events; that of a base rule replaces it.")
    when: Maybe[SessionConditionText] = Field(None, description="When it applies; always, if left out.")
    do: SessionFateWord = Field(description="What becomes of the connection.")
    at_most: Maybe[Reconnects] = Field(None, description="With reconnect: how often for one message.")
    examples: Maybe[Examples] = Field(None, description="Replies that this rule must decide.")
