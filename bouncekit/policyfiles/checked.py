"""A policy that is being looked into, with what several checks want to know of it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Condition, Fate, Rule, SessionRule
from bouncekit.policyfiles.policyfile import Source
from bouncekit.policyfiles.policyspace import Box, Space

__all__ = ["Checked", "Rules", "at_its_place", "decides_always", "does_the_same"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one kind in the order in which they are tried, and the cases that each of them takes."""

    section: str
    rules: Sequence[Rule | SessionRule]
    boxes: Mapping[str, Box]


@dataclass(frozen=True, slots=True)
class Checked:
    """One policy under the eyes of the linter. `providers` are the names by which servers' owners are known."""

    source: Source
    providers: Collection[str] = ()
    space: Space = field(init=False)
    recipients: Rules = field(init=False)
    sessions: Rules = field(init=False)

    def __post_init__(self) -> None:
        rules, sessions = self.policy.rules, self.policy.sessions
        conditions = [*(rule.when for rule in rules), *(rule.when for rule in sessions)]
        object.__setattr__(self, "space", Space(conditions, tuple(self.policy.classes)))
        object.__setattr__(self, "recipients", self._kind("rules", rules))
        object.__setattr__(self, "sessions", self._kind("sessions", sessions))

    def _kind(self, section: str, rules: Sequence[Rule | SessionRule]) -> Rules:
        return Rules(section, rules, {rule.id: self.space.box(rule.when) for rule in rules})

    @property
    def policy(self) -> Policy:
        return self.source.policy

    def own(self) -> Iterator[Rule]:
        """The rules about recipients that stand in the owner's file."""
        return (rule for rule in self.policy.rules if self.source.is_own("rules", rule.id))

    def own_names(self, section: str) -> Iterator[str]:
        """The names of schedules, classes and the like that stand there."""
        return (name for name in getattr(self.policy, section) if self.source.is_own(section, name))

    def own_of(self, kind: Rules) -> Iterator[tuple[Rule | SessionRule, Sequence[Rule | SessionRule]]]:
        """The rules of a kind that stand there, each with all that go before it."""
        return (
            (rule, kind.rules[:place])
            for place, rule in enumerate(kind.rules)
            if self.source.is_own(kind.section, rule.id)
        )


def decides_always(rule: Rule | SessionRule) -> bool:
    """Whether it decides wherever it matches: a split and a lone repeat are asked for only where they can help."""
    return rule.do not in (Fate.SPLIT, Fate.ALONE)


def does_the_same(one: Rule | SessionRule, other: Rule | SessionRule) -> bool:
    """Whether nothing but id, condition and examples tells them apart."""
    apart = {"id": "", "when": Condition(), "examples": (), "where": ""}
    return replace(one, **apart) == replace(other, **apart)  # type: ignore[arg-type]  # fields of either


def at_its_place(rule: Rule | SessionRule) -> str:
    """Where a rule stands, behind its name."""
    return f" ({rule.where})" if rule.where else ""
