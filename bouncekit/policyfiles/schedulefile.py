"""The file of known schedules: from text to values, in the words of a policy's own `schedules`."""

from collections.abc import Mapping
from types import MappingProxyType

from bouncekit.policy.schedule import KnownSchedule, Schedule
from bouncekit.policyfiles.policytext import read_tree
from bouncekit.policyfiles.scheduleschema import KnownSchedulesText, ScheduleText

__all__ = ["build_schedule", "load_schedules"]


def load_schedules(name: str, text: str) -> Mapping[str, KnownSchedule]:
    """The schedules of a file, by name and in its order."""
    said = KnownSchedulesText.model_validate(read_tree(name, text).data)
    return MappingProxyType(
        {
            key: KnownSchedule(
                schedule=build_schedule(key, one.waits), doc=one.doc, source=one.source, gives_up=one.gives_up
            )
            for key, one in said.schedules.items()
        }
    )


def build_schedule(name: str, text: ScheduleText) -> Schedule:
    """The schedule that a text of the grammar means."""
    return Schedule(name, text.waits, grow=text.times or 1.0, at_most=text.at_most)
