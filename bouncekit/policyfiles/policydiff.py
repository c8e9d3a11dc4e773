"""Where two policies differ: rule by rule, setting by setting, and in what they make of typical replies."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from bouncekit.meaning.classification import Classify
from bouncekit.policy.lane import in_words
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Example, Rule, SessionRule
from bouncekit.policy.schedule import show_duration
from bouncekit.policyfiles.policyprint import rule_data, settings_data
from bouncekit.policyfiles.policytrial import NOW, decided, status_of_example

__all__ = ["FaceChange", "How", "RuleChange", "SettingChange", "faces", "rule_changes", "setting_changes"]


class How(StrEnum):
    """What became of a rule."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"  # it says the same, and is tried before or behind others than it was


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One rule. `keys` has for each key that changed what it was and what it is; None where it was not there."""

    how: How
    section: str
    rule: str
    where: str
    keys: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting that is no rule: what it was and what it is; None where it was not there."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class FaceChange:
    """A typical reply that ends otherwise. `when` is "", or says that it is the last try."""

    example: Example
    when: str
    old: str
    new: str
    old_rule: str
    new_rule: str


def rule_changes(old: Policy, new: Policy) -> Iterator[RuleChange]:
    """The rules that are not the same, those about sessions first, in the order of the new policy."""
    yield from _changes("sessions", old.sessions, new.sessions, old, new)
    yield from _changes("rules", old.rules, new.rules, old, new)


def setting_changes(old: Policy, new: Policy) -> Iterator[SettingChange]:
    """The settings that are not the same: `schedules.hours`, `classes.bulk`, `guard`."""
    before, after = settings_data(old), settings_data(new)
    for name in dict.fromkeys((*before, *after)):
        one, other = before.get(name) or None, after.get(name) or None
        if isinstance(one, dict | None) and isinstance(other, dict | None):
            for key in dict.fromkeys((*(one or ()), *(other or ()))):
                if (was := (one or {}).get(key)) != (is_ := (other or {}).get(key)):
                    yield SettingChange(f"{name}.{key}", was, is_)
        elif one != other:
            yield SettingChange(name, one, other)


def faces(
    old: tuple[Policy, Classify], new: tuple[Policy, Classify], examples: Iterable[Example]
) -> Iterator[FaceChange]:
    """The examples that end otherwise: at the first try, and when the deadline leaves no other."""
    for example in dict.fromkeys(examples):
        for expired, when in ((False, ""), (True, "at the deadline")):
            asked = replace(example, expired=expired)
            (one, by), (other, by_other) = (_face(*side, asked) for side in (old, new))
            if one != other:
                yield FaceChange(example, when, one, other, by, by_other)


def _changes(
    section: str,
    old_rules: Sequence[Rule | SessionRule],
    new_rules: Sequence[Rule | SessionRule],
    old: Policy,
    new: Policy,
) -> Iterator[RuleChange]:
    before = {rule.id: rule_data(rule, old) for rule in old_rules}
    after = {rule.id: rule_data(rule, new) for rule in new_rules}
    kept = [name for name in before if name in after]
    stays = _longest_in_order(kept, list(after))
    for rule in new_rules:
        was, is_ = before.get(rule.id), after[rule.id]
        if was is None:
            yield RuleChange(How.ADDED, section, rule.id, rule.where, _keys({}, is_))
        elif keys := _keys(was, is_):
            yield RuleChange(How.CHANGED, section, rule.id, rule.where, keys)
        elif rule.id not in stays:
            yield RuleChange(How.MOVED, section, rule.id, rule.where, {})
    for rule in old_rules:
        if rule.id not in after:
            yield RuleChange(How.REMOVED, section, rule.id, rule.where, _keys(before[rule.id], {}))


def _keys(was: Mapping[str, Any], is_: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [name for name in dict.fromkeys((*was, *is_)) if name not in ("id", "examples")]
    return {name: (was.get(name), is_.get(name)) for name in names if was.get(name) != is_.get(name)}


def _longest_in_order(names: Sequence[str], order: Sequence[str]) -> frozenset[str]:
    """The most of the names that stand in this order too: the others were moved."""
    places = {name: place for place, name in enumerate(order)}
    ends: list[list[str]] = []  # of each length the chain whose last place is the first
    for name in names:
        length = sum(places[chain[-1]] < places[name] for chain in ends)
        chain = [*(ends[length - 1] if length else []), name]
        ends[length : length + 1] = [chain]
    return frozenset(ends[-1]) if ends else frozenset()


def _face(policy: Policy, classify: Classify, example: Example) -> tuple[str, str]:
    """What somebody would notice of a verdict, and the rule that gave it."""
    done = decided(policy, example, classify(status_of_example(example)))
    parts = [f"{done.fate} in {show_duration(done.retry_at - NOW)}" if done.retry_at else str(done.fate)]
    if done.ladder is not None:
        first = done.ladder.provisional or done.ladder.confirmed[0]
        parts.append(f"suppress for {show_duration(first) if first else 'good'}")
    parts += [f"notify {notice.channel}" for notice in done.notices]
    parts += [in_words(done.measure)] if done.measure is not None else []
    return ", ".join(parts), done.rule
