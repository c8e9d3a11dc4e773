"""Tries that never come, that come without an end, or that ask again what was final."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from bouncekit.meaning.classification import Scope, scope_of
from bouncekit.policy.policy import MessageClass, Policy
from bouncekit.policy.rule import Condition, Fate, Rule, SessionRule
from bouncekit.policy.schedule import Schedule, show_duration
from bouncekit.policyfiles.checked import Checked, decides_always
from bouncekit.words.errors import Finding

__all__ = ["TRY_CHECKS"]

_LONG_DEADLINE = timedelta(days=30)
_MANY_TRIES = 1_000
_NAMED = 3  # of the rules that leave a class no try
# What a condition says of a reply besides its digits: whoever says so much has a reply in mind.
_PARTICULAR = tuple(
    "category scope stage cause provider remote_mta domain message_class sender tenant stream text".split()
)


def _expired(checked: Checked) -> Iterator[Finding]:
    for rule in _retries(checked):
        if rule.when.expired:
            message, fix = f"{rule.id} tries again what has no time left", "do: fail, with a notice to whom it concerns"
            yield checked.source.finding("retry-when-expired", message, fix, "rules", rule.id, "do")


def _too_late(checked: Checked) -> Iterator[Finding]:
    """First waits of the owner's rules behind every deadline that they have."""
    for rule in _retries(checked):
        kind = _patient(rule, checked.policy)
        if kind is not None and not rule.when.expired and (first := _first_wait(rule, kind)) >= kind.deadline:
            yield _late(checked, first, kind, "rules", rule.id, "wait")


def _class_too_late(checked: Checked) -> Iterator[Finding]:
    """Classes of the owner's that are over before the first wait: their own, or that of rules whatever the class."""
    for name in checked.own_names("classes"):
        kind = checked.policy.classes[name]
        if kind.wait is not None and kind.wait.wait(1) >= kind.deadline:
            yield _late(checked, kind.wait.wait(1), kind, "classes", name, "wait")
        elif late := [rule for rule in _tried_again(checked.policy) if _first_wait(rule, kind) >= kind.deadline]:
            if any(_patient(rule, checked.policy) is kind and rule in checked.own() for rule in late):
                continue  # which is told of the rule
            named = ", ".join(rule.id for rule in late[:_NAMED]) + (", ..." if len(late) > _NAMED else "")
            first = min(_first_wait(rule, kind) for rule in late)
            message = f"nothing is tried again by {named}, which first wait {show_duration(first)} or more"
            fix = f"a wait of its own, shorter than the deadline {_of(kind)}, or a later deadline"
            yield checked.source.finding("retry-too-late", message, fix, "classes", name, "deadline")


def _schedule_too_late(checked: Checked) -> Iterator[Finding]:
    """Schedules of the owner's by which rules of the base wait: behind every deadline, or without an end."""
    for name in checked.own_names("schedules"):
        theirs = [rule for rule in checked.policy.rules if rule.wait is checked.policy.schedules[name]]
        for rule in theirs:
            kind = None if checked.source.is_own("rules", rule.id) else _patient(rule, checked.policy)
            if kind is None or rule.when.expired:
                continue
            if (first := _first_wait(rule, kind)) >= kind.deadline:
                yield _late(checked, first, kind, "schedules", name)
                break
            if tries := _too_many(rule, kind):
                yield _endless(checked, tries, kind, "schedules", name)
                break


def _without_end(checked: Checked) -> Iterator[Finding]:
    for rule in _retries(checked):
        kind = _patient(rule, checked.policy)
        if kind is not None and not rule.when.expired and (tries := _too_many(rule, kind)):
            yield _endless(checked, tries, kind, "rules", rule.id, "wait")
    for name in checked.own_names("classes"):
        one = checked.policy.classes[name]
        if one.wait is not None and (tries := _tries(one.wait, one.deadline)) >= _MANY_TRIES:
            yield _endless(checked, tries, one, "classes", name, "wait")
        if (deadline := one.deadline) > _LONG_DEADLINE:
            message = f"a deadline of {show_duration(deadline)}; the standard has 4 to 5 days (RFC 5321 4.5.4.1)"
            fix = f"at most {show_duration(_LONG_DEADLINE)}"
            yield checked.source.finding("retry-without-end", message, fix, "classes", name, "deadline")


def _sooner_each_time(checked: Checked) -> Iterator[Finding]:
    """Waits the last of which, that repeats, is shorter than the first."""
    waits = {("schedules", name): checked.policy.schedules[name] for name in checked.own_names("schedules")}
    for rule in _retries(checked):
        if rule.wait is not None and rule.wait.name not in checked.policy.schedules:
            waits["rules", rule.id] = rule.wait
    for (section, name), one in waits.items():
        first, last = one.waits[0], one.waits[-1]
        if last < first:
            message = f"the last wait, {show_duration(last)}, is shorter than the first, {show_duration(first)}"
            keys = ("wait",) if section == "rules" else ()
            yield checked.source.finding("waits-go-down", message, "longer from try to try", section, name, *keys)


def _final(checked: Checked) -> Iterator[Finding]:
    """Retries of what is final, but for a bounded number of tries, or for words that somebody has in mind."""
    fix = "permanent: false; or, if the server means another thing, teach it by a file of rules (meaning:)"
    for rule, before in checked.own_of(checked.recipients):
        when = rule.when
        if rule.do is not Fate.RETRY or when.expired or when.permanent is False or when.certain is False:
            continue
        if when.attempts is not None and when.attempts.at_most is not None:
            continue
        if (_is_of_recipients(when) and (when.permanent or _takes_final(checked, rule, before))) or _is_any_final(when):
            message = f"{rule.id} tries again what is final for this recipient"
            yield checked.source.finding("retries-the-final", message, fix, "rules", rule.id, "do")


def _is_of_recipients(when: Condition) -> bool:
    return bool(when.category) and all(scope_of(one) is Scope.RECIPIENT for one in when.category)


def _takes_final(checked: Checked, rule: Rule | SessionRule, before: Sequence[Rule | SessionRule]) -> bool:
    """Whether the rules before it leave permanent verdicts to one that says nothing of that."""
    if rule.when.text or rule.when.cause or any(code[0] == "4" for code in (*rule.when.code, *rule.when.enhanced)):
        return False
    boxes = checked.recipients.boxes
    left = checked.space.left([boxes[rule.id]], [boxes[one.id] for one in before if decides_always(one)])
    return any(True in checked.space.values("permanent", box) for box in left or ())


def _is_any_final(when: Condition) -> bool:
    """Whether it takes every final reply, or every 550, whatever that says."""
    if when.enhanced or any(getattr(when, key) for key in _PARTICULAR):
        return False
    return any(code in ("550", "55x", "5xx") for code in when.code) if when.code else bool(when.permanent)


# -- waits, deadlines


def _retries(checked: Checked) -> Iterator[Rule]:
    return (rule for rule in checked.own() if rule.do is Fate.RETRY and rule.wait is not None)


def _tried_again(policy: Policy) -> Iterator[Rule]:
    """The rules that try mail of any class again."""
    for rule in policy.rules:
        if rule.do is Fate.RETRY and rule.wait is not None and not (rule.when.message_class or rule.when.expired):
            yield rule


def _patient(rule: Rule, policy: Policy) -> MessageClass | None:
    """Of the classes that a rule is about the one that waits longest."""
    asked = rule.when.message_class
    kinds = [one for name, one in policy.classes.items() if not asked or name in asked]
    return max(kinds, key=lambda one: one.deadline, default=None)


def _first_wait(rule: Rule, kind: MessageClass) -> timedelta:
    return min(one.wait(1) for one in (rule.wait, kind.wait) if one is not None)


def _too_many(rule: Rule, kind: MessageClass) -> int:
    """How many tries there are until the deadline, where they are many; else 0."""
    assert rule.wait is not None
    most = rule.when.attempts.at_most if rule.when.attempts is not None else None
    tries = _tries(rule.wait, kind.deadline)
    return tries if tries >= _MANY_TRIES and (most is None or most >= _MANY_TRIES) else 0


def _tries(schedule: Schedule, deadline: timedelta) -> int:
    """How many attempts there are until the deadline, counted no further than that there are many."""
    at, tries = timedelta(), 1
    while tries < _MANY_TRIES and (at := at + schedule.wait(tries)) < deadline:
        tries += 1
    return tries


def _late(checked: Checked, first: timedelta, kind: MessageClass, section: str, name: str, *keys: str) -> Finding:
    message = f"the first wait is {show_duration(first)}, and the deadline {_of(kind)}"
    return checked.source.finding(
        "retry-too-late", message, "a shorter first wait, or a later deadline", section, name, *keys
    )


def _endless(checked: Checked, tries: int, kind: MessageClass, section: str, name: str, *keys: str) -> Finding:
    message = f"{tries:,} tries or more until the deadline {_of(kind)}"
    return checked.source.finding("retry-without-end", message, "longer waits", section, name, *keys)


def _of(one: MessageClass) -> str:
    return f"of {one.name} {show_duration(one.deadline)}"


TRY_CHECKS = (_expired, _too_late, _class_too_late, _schedule_too_late, _without_end, _sooner_each_time, _final)
