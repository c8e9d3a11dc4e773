"""What a policy file may say of the waits between attempts: a duration, a list, phases, or waits that grow."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from bouncekit.policy.schedule import Phase, waits_of
from bouncekit.policyfiles.policyshape import BOUND, Maybe, Section, Short
from bouncekit.policyfiles.policyvalue import DURATION_PATTERN, Duration, Factor, Name, ScheduleName, Text

__all__ = ["KnownSchedulesText", "ScheduleText", "Wait", "Waits"]


class SchedulePhaseText(Section):
    """One wait, or one that grows, until so long after the first attempt."""

    first: Duration = Field(description="The wait, again and again.")
    times: Maybe[Factor] = Field(None, description="What it grows by, each time.")
    until: Duration = Field(description="So long after the first attempt the next entry of the list begins.")


def _waits(steps: list[timedelta | SchedulePhaseText]) -> tuple[timedelta, ...]:
    return waits_of(
        Phase(step.first, step.until, step.times or 1.0) if isinstance(step, SchedulePhaseText) else step
        for step in steps
    )


def _checked(steps: list[timedelta | SchedulePhaseText]) -> list[timedelta | SchedulePhaseText]:
    _waits(steps)
    return steps


_ONE_WAIT = Short(lambda value: [value], {"type": "string", "pattern": DURATION_PATTERN})
Step = Annotated[
    Annotated[Duration, Tag("wait")] | Annotated[SchedulePhaseText, Tag("phase")],
    Discriminator(lambda value: "phase" if isinstance(value, dict) else "wait"),
]


class ScheduleText(Section):
    """Waits between attempts: one duration, a list of which the last repeats, or one that grows."""

    first: Annotated[list[Step], BOUND, AfterValidator(_checked), _ONE_WAIT] = Field(
        description="The wait after the first attempt; or a list of waits and phases, the last wait of which repeats."
    )
    times: Maybe[Factor] = Field(None, description="What the last wait grows by, each time.")
    at_most: Maybe[Duration] = Field(None, description="What no wait grows beyond.")

    @property
    def waits(self) -> tuple[timedelta, ...]:
        """Every single wait."""
        return _waits(self.first)

    @model_validator(mode="after")
    def _grows_within_bounds(self) -> "ScheduleText":
        if (self.times is None) is not (self.at_most is None):
            raise ValueError("times and at_most go together: {first: 5m, times: 2, at_most: 4h}")
        if self.at_most is not None and self.at_most < self.waits[-1]:
            raise ValueError("at_most is shorter than the wait that grows: {first: 5m, times: 2, at_most: 4h}")
        return self


Waits = Annotated[ScheduleText, Short(lambda value: {"first": value}, "first", of=(str, list))]


class KnownScheduleText(Section):
    """A schedule that comes with bouncekit."""

    waits: Waits
    gives_up: Maybe[Duration] = None
    doc: Text
    source: Text


class KnownSchedulesText(Section):
    """The file of the schedules that come with bouncekit."""

    schedules: dict[Name, KnownScheduleText]


def _kind_of_wait(value: object) -> str:
    return "name" if isinstance(value, str) and not value[:1].isdigit() else "waits"


Wait = Annotated[
    Annotated[ScheduleName, Tag("name")] | Annotated[Waits, Tag("waits")],
    Discriminator(_kind_of_wait),
]
