"""What a policy does about verdicts and hardly anybody can want: suppressions, notices, ladders, budgets, names."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from itertools import pairwise
from types import MappingProxyType

from bouncekit.meaning.classification import Category, Scope, scope_of
from bouncekit.policy.rule import Condition
from bouncekit.policy.schedule import Obey, show_duration
from bouncekit.policy.suppression import Ladder
from bouncekit.policyfiles.checked import Checked
from bouncekit.policyfiles.policyquarrel import OF_THE_ADDRESS
from bouncekit.policyfiles.policytree import quoted
from bouncekit.words.errors import Finding

__all__ = ["MEASURE_CHECKS"]

_REMEMBERED = timedelta(days=366)
_THEMSELVES = "recipient"
_LEVELS = ("warn", "slow", "stop")
# docs.aws.amazon.com/ses/latest/dg/reputationdashboardmessages.html, as of 2025
_CLOSED_AT: Mapping[str, float] = MappingProxyType({"bounces": 0.1, "complaints": 0.005})
_ASKS_AGAIN = timedelta(minutes=30)  # what a budget has stopped (bouncekit.desk.treasurer)
_MANY_PROBES = 3  # each is a message to somebody who was said not to be there
_IN_ALL_MAIL = frozenset("date from message-id subject to".split())


# -- what befalls a recipient


def _hasty(checked: Checked) -> Iterator[Finding]:
    for rule in checked.own():
        if rule.suppress is not None and _is_hasty(rule.when):
            message = f"{rule.id} suppresses at the first temporary reply"
            fix = "permanent: true, or how often before: seen: {times: 3, within: 30d}"
            yield checked.source.finding("hasty-suppression", message, fix, "rules", rule.id, "suppress")


def _is_hasty(when: Condition) -> bool:
    """Whether a temporary reply is enough, at the first time."""
    often = when.seen is not None and when.seen.times > 1
    later = when.attempts is not None and (when.attempts.at_least or 0) > 1
    final = when.permanent or when.expired or (when.cause and when.cause <= OF_THE_ADDRESS)
    by_digit = when.permanent is None and {code[0] for code in (*when.code, *when.enhanced)} == {"5"}
    return not (often or later or final or by_digit or when.category == {Category.COMPLAINT})


def _wide(checked: Checked) -> Iterator[Finding]:
    for rule in checked.own():
        when = rule.when
        if rule.suppress is None or when.category or when.scope or (when.cause and when.cause <= OF_THE_ADDRESS):
            continue
        message, fix = f"{rule.id} suppresses whatever the reply is about", "name the categories, or scope: recipient"
        yield checked.source.finding("wide-suppression", message, fix, "rules", rule.id, "suppress")


def _beyond_memory(checked: Checked) -> Iterator[Finding]:
    for rule in checked.own():
        if rule.when.seen is not None and rule.when.seen.within > _REMEMBERED:
            message = f"{show_duration(rule.when.seen.within)} is longer than the store remembers verdicts"
            fix = f"at most {show_duration(_REMEMBERED)}"
            yield checked.source.finding("seen-beyond-memory", message, fix, "rules", rule.id, "when", "seen")


def _told_of_others(checked: Checked) -> Iterator[Finding]:
    for rule in checked.own():
        if any(notice.channel == _THEMSELVES for notice in rule.notify) and _is_of_others(rule.when):
            message = f"{rule.id} tells the recipient of what is not about the recipient"
            fix = "tell operations, or the owner of the mail"
            yield checked.source.finding("tells-recipient", message, fix, "rules", rule.id, "notify")


def _is_of_others(when: Condition) -> bool:
    if when.scope:
        return Scope.RECIPIENT not in when.scope
    return bool(when.category) and all(scope_of(one) not in (Scope.RECIPIENT, None) for one in when.category)


# -- ladders, budget, hints, classes


def _downwards(checked: Checked) -> Iterator[Finding]:
    for name in checked.own_names("ladders"):
        for shorter, longer in _steps_down(checked.policy.ladders[name]):
            message = f"{_lasting(shorter)} comes behind {_lasting(longer)}"
            yield checked.source.finding("ladder-goes-down", message, "longer from rung to rung", "ladders", name)


def _idle_confirm(checked: Checked) -> Iterator[Finding]:
    for name in checked.own_names("ladders"):
        if checked.policy.ladders[name].provisional is None and checked.source.says("ladders", name, "confirm_after"):
            message = "nothing waits for confirm_after: without provisional the first verdict confirms"
            fix = "write provisional, or leave confirm_after out"
            yield checked.source.finding("idle-confirm", message, fix, "ladders", name, "confirm_after")


def _early_probes(checked: Checked) -> Iterator[Finding]:
    for name in checked.own_names("ladders"):
        ladder = checked.policy.ladders[name]
        if ladder.provisional is not None and (probes := ladder.confirm_after // ladder.provisional) > _MANY_PROBES:
            each, after = show_duration(ladder.provisional), show_duration(ladder.confirm_after)
            message = f"a probe every {each}, {probes:,} of them, before one confirms the first verdict behind {after}"
            fix = "a longer provisional, or a shorter confirm_after"
            yield checked.source.finding("early-probes", message, fix, "ladders", name, "provisional")


def _steps_down(ladder: Ladder) -> Iterator[tuple[timedelta | None, timedelta | None]]:
    rungs = [*([ladder.provisional] if ladder.provisional is not None else []), *ladder.confirmed]
    for longer, shorter in pairwise(rungs):
        if shorter is not None and (longer is None or shorter < longer):
            yield shorter, longer


def _lasting(rung: timedelta | None) -> str:
    return "forever" if rung is None else show_duration(rung)


def _late_budget(checked: Checked) -> Iterator[Finding]:
    """Rates of which the first level comes when the relay's provider has closed the account."""
    budget = checked.policy.budget
    stated = [(name, getattr(budget, name)) for name in _LEVELS if budget is not None and getattr(budget, name)]
    for rate, closed in _CLOSED_AT.items():
        level, lowest = next(((name, most) for name, bound in stated if (most := getattr(bound, rate))), ("", 0.0))
        if lowest >= closed and checked.source.is_own("budget", level):
            message = f"nobody hears of {rate} below {lowest * 100:.4g}%"
            fix = f"well below the {closed * 100:g}% at which Amazon SES closes an account"
            yield checked.source.finding("late-budget", message, fix, "budget", level, rate)


def _held_too_long(checked: Checked) -> Iterator[Finding]:
    """Classes whose mail a budget stops, and that are over before it asks again."""
    budget = checked.policy.budget
    if budget is None or budget.stop is None or not checked.source.is_own("budget", "holds"):
        return
    for name in sorted(budget.holds):
        if (deadline := checked.policy.classes[name].deadline) <= _ASKS_AGAIN:
            message = (
                f"what is stopped asks again in {show_duration(_ASKS_AGAIN)},"
                f" and the deadline of {name} is {show_duration(deadline)}: it is never sent"
            )
            yield checked.source.finding("holds-urgent", message, f"take {name} out of holds", "budget", "holds")


def _idle_hints(checked: Checked) -> Iterator[Finding]:
    """Hints that may make waits shorter, where there is none so long."""
    hints, waits = checked.policy.hints, [rule.wait for rule in checked.policy.rules if rule.wait is not None]
    longest = max((max(*wait.waits, wait.at_most or timedelta()) for wait in waits), default=timedelta())
    if hints.obey is Obey.ALWAYS and hints.at_least >= longest and checked.source.is_own("hints", "at_least"):
        message = f"no wait is longer than {show_duration(hints.at_least)}, so that hints shorten none"
        yield checked.source.finding("idle-hints", message, "a shorter at_least", "hints", "at_least")


def _takes_all(checked: Checked) -> Iterator[Finding]:
    """Classes by a header that all mail has."""
    for name, marks in checked.policy.class_marks.classes:
        for at, mark in enumerate(marks if checked.source.is_own("classes", name) else ()):
            if mark.value is None and mark.name.lower() in _IN_ALL_MAIL:
                message = f"all mail has the header {mark.name}, and so is of class {name}"
                fix = "name one that only such mail has, or its value too: 'Precedence: bulk'"
                yield checked.source.finding("takes-all-mail", message, fix, "classes", name, "headers", at)


# -- names


def _unused(checked: Checked) -> Iterator[Finding]:
    policy = checked.policy
    notices = [notice for rule in policy.rules for notice in rule.notify]
    waits = [*(rule.wait for rule in policy.rules), *(one.wait for one in policy.classes.values())]
    used = {
        "schedules": {wait.name for wait in waits if wait} | set(list(policy.schedules)[:1]),
        "ladders": {rule.suppress.name for rule in policy.rules if rule.suppress},
        "templates": {notice.template.name for notice in notices if notice.template},
        "channels": {notice.channel for notice in notices} | set(policy.budget.notify if policy.budget else ()),
    }
    for section, names in used.items():
        for name in checked.own_names(section):
            if name not in names:
                close = get_close_matches(name, names, n=1)
                fix = f"did you mean {close[0]}? Else remove it" if close else "remove it, or let a rule name it"
                message = f"no rule names the {section[:-1]} {quoted(name)}"
                yield checked.source.finding("unused-name", message, fix, section, name)


def _ignores_nothing(checked: Checked) -> Iterator[Finding]:
    rules = checked.policy.rules
    suppressed = {category for rule in rules if rule.suppress for category in rule.when.category or Category}
    for name in checked.own_names("classes"):
        for category in sorted(checked.policy.classes[name].ignores - suppressed):
            message = f"no rule suppresses for {category}"
            yield checked.source.finding("ignores-nothing", message, "remove it", "classes", name, "ignores")


MEASURE_CHECKS = (
    _hasty,
    _wide,
    _beyond_memory,
    _told_of_others,
    _downwards,
    _idle_confirm,
    _early_probes,
    _late_budget,
    _held_too_long,
    _idle_hints,
    _takes_all,
    _unused,
    _ignores_nothing,
)
