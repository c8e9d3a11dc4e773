"""From what right files say to the `Policy` that they make together: the owner's first, then those that it extends."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from bouncekit.meaning.meaning import Meaning
from bouncekit.policy.budget import Budget
from bouncekit.policy.guard import Guard
from bouncekit.policy.lane import Throttle, Throttles
from bouncekit.policy.policy import Keep, MessageClass, Policy
from bouncekit.policy.rule import Condition, Fate, Limit, Notice, Rule, SessionRule
from bouncekit.policy.schedule import USUAL_HINTS, Hints, Schedule
from bouncekit.policy.suppression import Ladder
from bouncekit.policy.template import Template
from bouncekit.policyfiles.policyschema import BudgetText, ClassText, LadderText, PolicyText, ThrottleText
from bouncekit.policyfiles.policytree import Tree
from bouncekit.policyfiles.ruleschema import NoticeText, RuleText, SessionRuleText
from bouncekit.policyfiles.schedulefile import build_schedule
from bouncekit.policyfiles.scheduleschema import ScheduleText
from bouncekit.protocol.classmark import ClassMarks

__all__ = ["Part", "build_policy", "default_class"]

RT = TypeVar("RT", RuleText, SessionRuleText)


@dataclass(frozen=True, slots=True)
class Part:
    """What one file says, when it is right."""

    tree: Tree
    says: PolicyText


def build_policy(
    name: str, parts: Sequence[Part], digest: str, used: Mapping[str, Schedule], meaning: Meaning
) -> Policy:
    """The policy that right files make, the owner's first; `used` are known schedules that they name."""
    from_base = [part.says for part in reversed(parts)]
    schedules = {key: build_schedule(key, one) for says in from_base for key, one in says.schedules.items()}
    schedules |= used
    ladders = {key: _ladder(key, one) for says in from_base for key, one in says.ladders.items()}
    classes = {key: _class(key, one, schedules) for says in from_base for key, one in says.classes.items()}
    limits = {key: one for says in from_base for key, one in _limits(says)}
    templates = {key: Template(key, one.subject, one.text) for says in from_base for key, one in says.templates.items()}
    guards = [says.guard for says in from_base if says.guard]
    keep = {key: one for says in from_base if says.keep for key, one in says.keep.given().items()}
    hints = [says.hints for says in from_base if says.hints]
    throttles = [says.throttles for says in from_base if says.throttles]
    budgets = [says.budget for says in from_base if says.budget]
    rules = _merged((part.tree, "rules", part.says.rules) for part in parts)
    sessions = _merged((part.tree, "sessions", part.says.sessions) for part in parts)
    return Policy(
        name=name,
        hash=digest,
        classes=MappingProxyType(classes),
        default_class=default_class(parts) or "",
        class_marks=_class_marks(parts),
        rules=tuple(_rule(text, where, schedules, ladders, _Notices(templates, limits)) for text, where in rules),
        sessions=tuple(SessionRule(**_given(text), where=where) for text, where in sessions),
        schedules=MappingProxyType(schedules),
        ladders=MappingProxyType(ladders),
        channels=tuple(dict.fromkeys(channel for says in from_base for channel in says.channels or ())),
        limits=MappingProxyType(limits),
        templates=MappingProxyType(templates),
        guard=Guard(**guards[-1].given()) if guards else Guard(),
        keep=Keep(**keep),
        hints=Hints(**hints[-1].given()) if hints else USUAL_HINTS,
        throttles=Throttles(
            relays=_throttles(said.relays for said in throttles),
            providers=_throttles(said.providers for said in throttles),
        ),
        budget=_budget(budgets[-1]) if budgets else None,
        meaning=meaning,
    )


def _merged(parts: Iterable[tuple[Tree, str, list[RT]]]) -> list[tuple[RT, str]]:
    """All rules in the order in which they are tried: new ones before the base's, the same id in its place."""
    merged: list[tuple[RT, str]] = []
    for tree, section, texts in reversed(list(parts)):
        own = {text.id: (text, tree.where((section, index))) for index, text in enumerate(texts)}
        base = {text.id for text, _ in merged}
        kept = [own.get(text.id, (text, where)) for text, where in merged]
        merged = [one for rule_id, one in own.items() if rule_id not in base] + kept
    return merged


def default_class(parts: Sequence[Part]) -> str | None:
    """The name of the class that mail has without one; None where no part says."""
    return next((name for part in parts for name, one in part.says.classes.items() if one.default), None)


@dataclass(frozen=True, slots=True)
class _Notices:
    """What the notices of rules refer to by name."""

    templates: Mapping[str, Template]
    limits: Mapping[str, Limit]

    def built(self, text: NoticeText) -> Notice:
        return Notice(
            channel=text.channel,
            digest=text.digest,
            template=None if text.template is None else self.templates[text.template],
            limit=self.limits.get(text.channel),
        )


def _limits(says: PolicyText) -> Iterator[tuple[str, Limit]]:
    if isinstance(says.channels, Mapping):
        for name, channel in says.channels.items():
            if channel.limit is not None:
                yield name, Limit(*channel.limit, per_recipient=channel.per == "recipient")


def _rule(
    text: RuleText,
    where: str,
    schedules: Mapping[str, Schedule],
    ladders: Mapping[str, Ladder],
    notices: _Notices,
) -> Rule:
    given = _given(text)
    if text.notify:
        given["notify"] = tuple(map(notices.built, text.notify))
    if text.do is Fate.RETRY:
        wait = text.wait or next(iter(schedules))
        given["wait"] = _schedule(text.id, wait, schedules)
    if text.suppress is not None:
        given["suppress"] = ladders[text.suppress]
    return Rule(**given, where=where)


def _given(text: RuleText | SessionRuleText) -> dict[str, Any]:
    given = text.given()
    return given | {"when": Condition(**text.when.given() if text.when else {})}


def _schedule(name: str, wait: str | ScheduleText, schedules: Mapping[str, Schedule]) -> Schedule:
    """The schedule of that name, or the one that is written out under this one."""
    return schedules[wait] if isinstance(wait, str) else build_schedule(name, wait)


def _class(name: str, text: ClassText, schedules: Mapping[str, Schedule]) -> MessageClass:
    return MessageClass(
        name=name,
        deadline=text.deadline,
        wait=None if text.wait is None else _schedule(name, text.wait, schedules),
        resend_unknown=text.unknown == "resend",
        tries_late=text.late == "try",
        ignores=frozenset(text.ignores or ()),
    )


def _class_marks(parts: Sequence[Part]) -> ClassMarks:
    """By which headers classes are known: those of the owner's first, and of each class as its last file says."""
    classes = {name: one for part in reversed(parts) for name, one in part.says.classes.items()}
    ordered = dict.fromkeys(name for part in parts for name in part.says.classes)
    return ClassMarks(
        naming=next((part.says.class_header for part in parts if part.says.class_header), None),
        classes=tuple((name, marks) for name in ordered if (marks := tuple(classes[name].headers or ()))),
    )


def _throttles(said: Iterable[Mapping[str, ThrottleText]]) -> Mapping[str, Throttle]:
    return MappingProxyType({name: Throttle(**one.given()) for by_name in said for name, one in by_name.items()})


def _budget(text: BudgetText) -> Budget | None:
    """None where no level is stated: then nothing is counted."""
    budget = Budget(**text.given())
    return budget if any(budget.bounds()) else None


def _ladder(name: str, text: LadderText) -> Ladder:
    return Ladder(
        name=name,
        provisional=text.provisional,
        confirm_after=text.confirm_after,
        confirmed=tuple(text.confirmed),
    )
