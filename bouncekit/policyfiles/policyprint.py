"""A policy as a file would say it: the whole of it, with what it extends, in the order in which rules are tried."""

import re
from dataclasses import fields
from datetime import timedelta
from typing import Any

import yaml

from bouncekit.meaning.meaning import Meaning
from bouncekit.policy.budget import Bound, Budget
from bouncekit.policy.lane import Pace, Pause, Slow, Throttle, Throttles
from bouncekit.policy.policy import MessageClass, Policy
from bouncekit.policy.rule import Example, Limit, Notice, Range, Rule, Seen, SessionFate, SessionRule
from bouncekit.policy.schedule import Hints, Obey, Schedule, show_duration
from bouncekit.policy.suppression import Ladder
from bouncekit.words.phrase import Phrase

__all__ = ["rule_data", "settings_data", "show_policy"]

_NUMBER = re.compile(r"[1-9]\d{0,8}", re.ASCII).fullmatch  # loads as the same text, and needs no quotes

_USUAL_CONFIRM = Ladder(name="", provisional=None).confirm_after


def show_policy(policy: Policy) -> str:
    """The whole policy as YAML, in the order in which rules are tried; it loads to an equal policy."""
    head = {"policy": 1, **settings_data(policy)}
    lines = [f"# {_comment(policy.name)}, {policy.hash}", _dump({name: value for name, value in head.items() if value})]
    for name, rules in (("sessions", policy.sessions), ("rules", policy.rules)):
        if rules:
            lines.append(f"{name}:")
            lines += (f"# {_comment(rule.where)}\n{_dump([rule_data(rule, policy)])}" for rule in rules)
    return "\n".join(line.rstrip("\n") for line in lines) + "\n"


def settings_data(policy: Policy) -> dict[str, Any]:
    """What holds in a policy besides its rules, by the keys of a file; also what is so by default."""
    return {
        "meaning": _shown_meaning(policy.meaning),
        "channels": _shown_channels(policy),
        "templates": {name: {"subject": one.subject, "text": one.text} for name, one in policy.templates.items()},
        "schedules": {name: _shown_schedule(one) for name, one in policy.schedules.items()},
        "classes": _shown_classes(policy),
        "class_header": policy.class_marks.naming,
        "ladders": {name: _shown_ladder(one) for name, one in policy.ladders.items()},
        "guard": _all_fields(policy.guard),
        "hints": _shown_hints(policy.hints),
        "throttles": _shown_throttles(policy.throttles),
        "budget": _shown_budget(policy.budget),
        "keep": {name: "forever" if one is None else one for name, one in _all_fields(policy.keep).items()},
    }


def _shown_meaning(meaning: Meaning) -> Any:
    """The names of the files of rules, as a policy in the same folder names them."""
    own, community = ([file.name or file.file for file in files] for files in (meaning.own, meaning.community))
    return {"own": own, "community": community} if own and community else {"community": community} if community else own


def rule_data(rule: Rule | SessionRule, policy: Policy) -> dict[str, Any]:
    """A rule by the keys of a file, without those that are as they are by default."""
    shown: dict[str, Any] = {"id": rule.id}
    if when := _shown_fields(rule.when):
        shown["when"] = when
    shown["do"] = str(rule.do)
    if isinstance(rule, SessionRule):
        if rule.do is SessionFate.RECONNECT:
            shown["at_most"] = rule.at_most
    else:
        if rule.wait is not None:
            shown["wait"] = _shown_wait(rule.wait, policy)
        if rule.learn is not None:
            shown["learn"] = _shown_fields(rule.learn) or show_duration(rule.learn.at_most)
        if rule.suppress is not None:
            shown["suppress"] = rule.suppress.name
        if rule.notify:
            notices = [_shown_notice(notice) for notice in rule.notify]
            shown["notify"] = notices[0] if len(notices) == 1 else notices
        if rule.slow is not None:
            shown["slow"] = _shown_slow(rule.slow)
        if rule.pause is not None:
            shown["pause"] = _shown_pause(rule.pause)
    if rule.examples:
        shown["examples"] = [_shown(example) for example in rule.examples]
    return shown


def _shown_slow(slow: Slow) -> Any:
    """What the pace is divided by, or all that is said of it."""
    shown = _shown_fields(slow)
    return _shown(slow.by) if shown.keys() <= {"by"} else shown


def _shown_pause(pause: Pause) -> Any:
    """How long, or all that is said of it."""
    shown = _shown_fields(pause)
    length = shown.pop("length")
    if "then" in shown:
        shown["then"] = f"{pause.then:.0%}"
    return {"for": length, **shown} if shown else length


def _shown_hints(hints: Hints) -> Any:
    """Which of them are obeyed, and the bounds that this has."""
    shown = _all_fields(hints)
    return shown if hints.obey is Obey.ALWAYS else {name: one for name, one in shown.items() if name != "at_least"}


def _shown_throttles(throttles: Throttles) -> dict[str, dict[str, Any]]:
    named = {"relays": throttles.relays, "providers": throttles.providers}
    return {kind: {name: _shown_throttle(one) for name, one in by.items()} for kind, by in named.items() if by}


def _shown_throttle(throttle: Throttle) -> dict[str, Any]:
    return {
        name: _shown_pace(value) if isinstance(value, Pace) else value
        for name in ("rate", "recipients", "at_once")
        if (value := getattr(throttle, name)) is not None
    }


def _shown_budget(budget: Budget | None) -> dict[str, Any]:
    if budget is None:
        return {}
    bounds = {name: _shown_bound(bound) for name in ("warn", "slow", "stop") if (bound := getattr(budget, name))}
    shown = _shown_fields(budget) | bounds
    return shown | ({"rate": _shown_pace(budget.rate)} if "rate" in shown else {})


def _shown_bound(bound: Bound) -> dict[str, str]:
    named = {"bounces": bound.bounces, "complaints": bound.complaints}
    return {name: f"{round(most * 100, 4):g}%" for name, most in named.items() if most is not None}


def _shown_pace(pace: Pace) -> str:
    return f"{pace.number}/{show_duration(pace.within)}"


def _shown_channels(policy: Policy) -> Any:
    if not policy.limits:
        return list(policy.channels)
    return {name: _shown_limit(policy.limits.get(name)) for name in policy.channels}


def _shown_limit(limit: Limit | None) -> dict[str, str]:
    if limit is None:
        return {}
    shown = {"limit": f"{limit.times}/{show_duration(limit.within)}"}
    return {**shown, "per": "recipient"} if limit.per_recipient else shown


def _shown_notice(notice: Notice) -> Any:
    """A channel's name, or what is said of this notice; the limit is the channel's."""
    shown = {"channel": notice.channel}
    shown |= {} if notice.digest is None else {"digest": show_duration(notice.digest)}
    shown |= {} if notice.template is None else {"template": notice.template.name}
    return notice.channel if len(shown) == 1 else shown


def _shown_schedule(schedule: Schedule) -> Any:
    if schedule.at_most is None:
        return _shown(schedule.waits)
    grows = {"times": _shown(schedule.grow), "at_most": show_duration(schedule.at_most)}
    return {"first": _shown(schedule.waits), **grows}


def _shown_classes(policy: Policy) -> dict[str, Any]:
    """The classes; those that are known by headers first, in the order in which these are looked for."""
    first = [name for name, _ in policy.class_marks.classes]
    names = dict.fromkeys((*first, *policy.classes) if len(first) > 1 else policy.classes)
    return {name: _shown_class(policy.classes[name], policy) for name in names}


def _shown_class(one: MessageClass, policy: Policy) -> dict[str, Any]:
    shown: dict[str, Any] = {"deadline": show_duration(one.deadline)}
    shown |= {} if one.wait is None else {"wait": _shown_wait(one.wait, policy)}
    shown |= {} if one.tries_late else {"late": "fail"}
    shown["unknown"] = "resend" if one.resend_unknown else "fail"
    shown |= {"ignores": _shown(one.ignores)} if one.ignores else {}
    marks = dict(policy.class_marks.classes).get(one.name, ())
    shown |= {"headers": _shown(tuple(map(str, marks)))} if marks else {}
    return shown | ({"default": True} if one.name == policy.default_class else {})


def _shown_wait(wait: Schedule, policy: Policy) -> Any:
    """A schedule by its name, or written out where it has none in this policy."""
    return wait.name if policy.schedules.get(wait.name) == wait else _shown_schedule(wait)


def _shown_ladder(ladder: Ladder) -> dict[str, Any]:
    shown = {} if ladder.provisional is None else {"provisional": show_duration(ladder.provisional)}
    confirmed = tuple("forever" if one is None else show_duration(one) for one in ladder.confirmed)
    if ladder.provisional is not None or ladder.confirm_after != _USUAL_CONFIRM:
        shown["confirm_after"] = show_duration(ladder.confirm_after)
    return {**shown, "confirmed": _shown(confirmed)}


def _shown_fields(value: object) -> dict[str, Any]:
    """The fields of a value that are not as they are by default."""
    given = {one.name: (getattr(value, one.name), one.default) for one in fields(value)}  # type: ignore[arg-type]  # a dataclass
    return {name: _shown(stated) for name, (stated, default) in given.items() if stated != default}


def _all_fields(value: object) -> dict[str, Any]:
    """All fields of a value, also those that are as they are by default."""
    return {one.name: _shown(getattr(value, one.name)) for one in fields(value)}  # type: ignore[arg-type]  # likewise


def _shown(value: object) -> Any:
    """A value as the file writes it, the shorter way where there is one."""
    match value:
        case Range(at_least=int() as number, at_most=most) if number == most:
            return number
        case Example():
            fields_ = _shown_fields(value)
            return next(iter(fields_.values())) if len(fields_) == 1 else fields_
        case Range() | Seen():
            return _shown_fields(value)
        case timedelta():
            return show_duration(value)
        case Phrase():
            return value.text
        case frozenset():
            return _shown(tuple(sorted(value)))
        case tuple():
            return _shown(value[0]) if len(value) == 1 else [_shown(one) for one in value]
        case float() if value.is_integer():
            return int(value)
        case str():
            return int(value) if _NUMBER(value) else str(value)
        case _:
            return value


def _dump(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=None, width=118)


def _comment(text: str) -> str:
    return text if text.isprintable() else ascii(text)
