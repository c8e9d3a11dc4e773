"""What is right by the grammar and wrong all the same: rules that are never reached, gaps, tries without an end.

Each finding has a code that stays, the place, what is wrong and what would be right. Findings are about the owner's own
file; what it extends is its author's.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from itertools import pairwise
from types import MappingProxyType

from bouncekit.meaning.classification import Category, Scope, scope_of
from bouncekit.policy.policy import MessageClass, Policy
from bouncekit.policy.rule import Condition, Fate, Rule, Seen, SeenBy, SessionRule
from bouncekit.policy.schedule import Obey, Schedule, show_duration
from bouncekit.policy.suppression import Ladder
from bouncekit.policyfiles.policyfile import Source
from bouncekit.policyfiles.policyspace import Box, Space
from bouncekit.policyfiles.policytext import quoted
from bouncekit.policyfiles.rulelint import phrase_faults
from bouncekit.words.errors import Finding
from bouncekit.words.reply import Cause, Stage

__all__ = ["lint"]

_DAY = timedelta(days=1)
_LONG_DEADLINE = timedelta(days=30)
_MANY_TRIES = 1_000
_REMEMBERED = timedelta(days=366)
_THEMSELVES = "recipient"
_LEAST_REFUSAL, _REFUSALS = 400, 200  # codes from 400 to 599
_LEVELS = ("warn", "slow", "stop")
# docs.aws.amazon.com/ses/latest/dg/reputationdashboardmessages.html, as of 2025
_CLOSED_AT: Mapping[str, float] = MappingProxyType({"bounces": 0.1, "complaints": 0.005})
_NOT_TAKEN_ALWAYS = frozenset({Fate.SPLIT, Fate.ALONE})  # only where they can help: the next rule is asked too
_IMPERSONAL = frozenset({Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH, Stage.MAIL, Stage.RSET, Stage.IDLE})
_OF_THE_ADDRESS = frozenset({Cause.NO_SUCH_DOMAIN, Cause.NULL_MX, Cause.NO_ADDRESS, Cause.LOCAL})
_SILENT = frozenset({Cause.LOST, Cause.TIMED_OUT})
_NOT_IN_HOSTS = frozenset("@/ \t,;:")
_SETS = (
    "category",
    "scope",
    "stage",
    "cause",
    "provider",
    "message_class",
    "tenant",
    "stream",
    "code",
    "enhanced",
    "text",
    "domain",
    "sender",
)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question to the linter, with what several checks need."""

    source: Source
    providers: Collection[str]
    space: Space = field(init=False)
    boxes: Mapping[str, Box] = field(init=False)

    def __post_init__(self) -> None:
        policy = self.policy
        conditions = [*(rule.when for rule in policy.rules), *(rule.when for rule in policy.sessions)]
        object.__setattr__(self, "space", Space(conditions, tuple(policy.classes)))
        object.__setattr__(self, "boxes", {rule.id: self.space.box(rule.when) for rule in policy.rules})

    @property
    def policy(self) -> Policy:
        return self.source.policy

    def own(self) -> Iterator[Rule]:
        """The rules that stand in the owner's file."""
        return (rule for rule in self.policy.rules if self.source.is_own("rules", rule.id))

    def own_names(self, section: str, names: Iterable[str]) -> Iterator[str]:
        return (name for name in names if self.source.is_own(section, name))


def lint(source: Source, *, providers: Collection[str] = ()) -> tuple[Finding, ...]:
    """What is wrong in a policy that can be read, in the order of the file.

    `providers` are the names by which servers' owners are known; without them no name is doubted.
    """
    asked = _Asked(source, providers)
    return tuple(sorted(dict.fromkeys(finding for check in _CHECKS for finding in check(asked))))


# -- the order of the rules


def _order(asked: _Asked) -> Iterator[Finding]:
    """Rules that the ones before them leave nothing to."""
    before: list[Rule] = []
    for rule in asked.policy.rules:
        if asked.source.is_own("rules", rule.id):
            yield from _left_to(rule, before, asked.policy.rules, asked.boxes, asked.space, asked.source, "rules")
        before.append(rule)


def _session_order(asked: _Asked) -> Iterator[Finding]:
    before: list[SessionRule] = []
    boxes = {rule.id: asked.space.box(rule.when) for rule in asked.policy.sessions}
    for rule in asked.policy.sessions:
        if asked.source.is_own("sessions", rule.id):
            yield from _left_to(rule, before, asked.policy.sessions, boxes, asked.space, asked.source, "sessions")
        before.append(rule)


def _left_to(
    rule: Rule | SessionRule,
    before: Sequence[Rule | SessionRule],
    all_: Sequence[Rule | SessionRule],
    boxes: Mapping[str, Box],
    space: Space,
    source: Source,
    section: str,
) -> Iterator[Finding]:
    box = boxes[rule.id]
    if space.is_empty(box):
        return  # it never matches, which is told by another check
    takers = [one for one in before if one.do not in _NOT_TAKEN_ALWAYS or one.do is rule.do]
    for other in takers:
        if space.covers(boxes[other.id], box):
            is_same = space.covers(box, boxes[other.id]) and not _does_the_same(rule, other)
            code = "contradictory-rules" if is_same else "unreachable-rule"
            what = f"{rule.id} asks for the same as {other.id}" if is_same else f"{rule.id} is never reached"
            why = f", which comes first and does {other.do}" if is_same else f": {other.id} takes all of it"
            fix = "keep one of them" if is_same else f"put it before {other.id}, or remove it"
            yield source.finding(code, what + why + _at(other), fix, section, rule.id, "id")
            return
    if space.left([box], [boxes[other.id] for other in takers]) == []:
        yield source.finding(
            "unreachable-rule",
            f"{rule.id} is never reached: the rules before it take all of it together",
            "put it before them, or remove it",
            section,
            rule.id,
            "id",
        )


def _hidden_base(asked: _Asked) -> Iterator[Finding]:
    if len(asked.source.trees) < 2:
        return
    base = [rule for rule in asked.policy.rules if not asked.source.is_own("rules", rule.id)]
    if not base:
        return
    first = asked.policy.rules.index(base[0])
    takers = [rule for rule in asked.policy.rules[:first] if rule.do not in _NOT_TAKEN_ALWAYS]
    left: Sequence[Box] = [asked.space.everything()]
    for rule in takers:
        if (rest := asked.space.left(left, [asked.boxes[rule.id]])) is None:
            return
        if not (left := rest):
            yield asked.source.finding(
                "hides-base",
                f"behind {rule.id} no reply is left for the {len(base)} rules that the file extends",
                "give it a when, or leave extends out",
                "rules",
                rule.id,
                "id",
            )
            return


def _overlaps(asked: _Asked) -> Iterator[Finding]:
    """Neighbours of the same kind that share some of their words."""
    own = [rule for rule in asked.own() if rule.do not in _NOT_TAKEN_ALWAYS]
    for at, rule in enumerate(own):
        for other in own[:at]:
            if _does_the_same(rule, other) or _keys(rule.when) != _keys(other.when):
                continue
            if not asked.space.meet(asked.boxes[rule.id], asked.boxes[other.id]):
                continue
            for key in _SETS:
                one, two = frozenset(getattr(rule.when, key)), frozenset(getattr(other.when, key))
                if (shared := one & two) and not one <= two and not two <= one:
                    words = ", ".join(sorted(getattr(word, "text", str(word)) for word in shared))
                    yield asked.source.finding(
                        "overlapping-rules",
                        f"{rule.id} and {other.id}{_at(other)} both ask for {key} {words}, and {other.id} decides",
                        f"take it out of {rule.id}, or write a rule of its own for it before both",
                        "rules",
                        rule.id,
                        "when",
                        key,
                    )


def _misspelt(asked: _Asked) -> Iterator[Finding]:
    base = {
        one["id"]
        for tree in asked.source.trees[1:]
        for section in ("rules",)
        for one in (tree.value((section,)) or ())  # type: ignore[attr-defined]  # a list, or the policy is none
    }
    for rule in asked.own():
        close = get_close_matches(rule.id, base - {rule.id}, n=1, cutoff=0.9) if rule.id not in base else []
        if close and not asked.source.is_own("rules", close[0]):
            yield asked.source.finding(
                "misspelt-id",
                f"{quoted(rule.id)} takes the place of no rule",
                f"for that of the base write {close[0]}; for another rule, choose an id less like it",
                "rules",
                rule.id,
                "id",
            )


# -- what no rule is about


def _gaps(asked: _Asked) -> Iterator[Finding]:
    rules = [rule for rule in asked.policy.rules if rule.do not in _NOT_TAKEN_ALWAYS]
    left = asked.space.left([asked.space.everything()], [asked.boxes[rule.id] for rule in rules])
    for permanent, kind in ((True, "permanent"), (False, "temporary")):
        boxes = [box for box in left or () if permanent in asked.space.values("permanent", box)]
        found = {category for box in boxes for category in asked.space.values("category", box)}
        if found:
            every = len(found) == len(Category)
            names = ("any category" if every else ", ".join(sorted(found))) + _codes(asked.space, boxes)
            end = "{id: permanent, do: fail}" if permanent else "{id: temporary, when: {permanent: false}, do: retry}"
            message = f"no rule is about some {kind} replies of {names}"
            yield asked.source.finding("uncovered", message, f"end with {end}", "rules")


def _codes(space: Space, boxes: Iterable[Box]) -> str:
    """The reply codes of some cases, for people; "" where they are of any."""
    found = {code for box in boxes for code in space.values("code", box) if code is not None and code >= _LEAST_REFUSAL}
    if not found or len(found) == _REFUSALS:
        return ""
    firsts = sorted(code for code in found if code - 1 not in found)
    lasts = sorted(code for code in found if code + 1 not in found)
    spans = (str(one) if one == last else f"{one}-{last}" for one, last in zip(firsts, lasts, strict=True))
    return f" with the code {', '.join(spans)}"


def _session_gaps(asked: _Asked) -> Iterator[Finding]:
    boxes = [asked.space.box(rule.when) for rule in asked.policy.sessions]
    if asked.space.left([asked.space.everything()], boxes):
        yield asked.source.finding(
            "uncovered-session",
            "no rule is about some ends of sessions" if boxes else "no rule is about the end of a session",
            "end with {id: broken, do: close}, or let the file extend default",
            "sessions",
        )


# -- conditions that cannot hold


def _impossible(asked: _Asked) -> Iterator[Finding]:
    sections: tuple[tuple[str, Sequence[Rule | SessionRule]], ...] = (
        ("rules", asked.policy.rules),
        ("sessions", asked.policy.sessions),
    )
    for section, rules in sections:
        for rule in rules:
            if not asked.source.is_own(section, rule.id):
                continue
            for key, what, fix in _never(rule.when, is_about_recipient=section == "rules"):
                yield asked.source.finding("never-matches", what, fix, section, rule.id, "when", key)
            for name in sorted(rule.when.provider - frozenset(asked.providers)) if asked.providers else ():
                close = get_close_matches(name, asked.providers, n=1)
                fix = f"did you mean {close[0]}?" if close else "the reference of policies lists those that are known"
                message = f"nobody's servers are known as {quoted(name)}"
                yield asked.source.finding("unknown-provider", message, fix, section, rule.id, "when", "provider")
            yield from _phrases(rule, asked.source, section)


def _never(when: Condition, *, is_about_recipient: bool) -> Iterator[tuple[str, str, str]]:
    """Why no reply meets it: the key, what is wrong, what would be right."""
    agreed = [code for code in when.code if code[0] in "23" and not _may_be(code, "221")]
    if agreed and len(agreed) == len(when.code):
        yield (
            "code",
            f"{', '.join(agreed)} refuses nothing, and no rule is asked about it",
            "name codes from 4xx and 5xx",
        )
    if when.cause and (when.code or when.enhanced):
        other = "code" if when.code else "enhanced"
        yield "cause", f"a cause is of no reply, and {other} is of one", "make two rules of it"
    if when.code and when.enhanced:
        first = {code[0] for code in when.code}
        if "x" not in {code[0] for code in when.enhanced} and first.isdisjoint(code[0] for code in when.enhanced):
            yield "enhanced", "its first digit is never another one than the code's (RFC 2034 4)", "let them agree"
    if when.attempts is not None and when.attempts.at_most == 0:
        yield "attempts", "the present attempt counts, so that there is always one", "write attempts: 1 for the first"
    if when.seen is not None and when.seen.times > (most := _most_seen(when.seen)):
        what = f"one verdict a day counts, and {show_duration(when.seen.within)} have no {when.seen.times}"
        what += (
            "" if when.seen.half_after is None else f", each by its weight after {show_duration(when.seen.half_after)}"
        )
        yield "seen", what, f"ask for at most {most:.0f} times, or a longer time"
    for key in ("domain", "remote_mta"):
        names = getattr(when, key)
        if names and all(set(name) & _NOT_IN_HOSTS or name.endswith(".") for name in names):
            yield key, f"{quoted(names[0])} is the name of no host", "write a name, such as *.example.com"
    if when.sender and not any("@" in name or "*" in name for name in when.sender):
        yield "sender", f"{quoted(when.sender[0])} is no return path", "write an address, or '*@news.example.com'"
    if not is_about_recipient:
        return
    if when.stage == {Stage.QUIT}:
        yield "stage", "a reply to QUIT is about no recipient", "write a rule under sessions"
    of_recipients = bool(when.category) and all(scope_of(one) is Scope.RECIPIENT for one in when.category)
    if of_recipients and not when.cause and when.stage and when.stage <= _IMPERSONAL:
        yield "stage", "before RCPT no reply is about a recipient, and such a category is", "name RCPT, or none"
    if when.cause and when.cause <= _SILENT and when.stage == {Stage.END_OF_DATA}:
        what = "silence at the dot is no refusal: nobody knows whether the message was taken"
        yield "stage", what, "`unknown` of its class decides about it"


def _phrases(rule: Rule | SessionRule, source: Source, section: str) -> Iterator[Finding]:
    for at, phrase in enumerate(rule.when.text):
        for code, what, fix in phrase_faults(phrase.text):
            yield source.finding(code, what, fix, section, rule.id, "when", "text", at)


# -- tries


def _retries(asked: _Asked) -> Iterator[Finding]:
    for rule in asked.own():
        if rule.do is not Fate.RETRY or rule.wait is None:
            continue
        when, waits = rule.when, rule.wait
        if when.expired:
            message, fix = f"{rule.id} tries again what has no time left", "do: fail, with a notice to whom it concerns"
            yield asked.source.finding("retry-when-expired", message, fix, "rules", rule.id, "do")
            continue
        longest = max(_classes(rule, asked.policy), key=lambda one: one.deadline, default=None)
        if longest is None:
            continue
        first = min(one.wait(1) for one in (waits, longest.wait) if one is not None)
        if first >= longest.deadline:
            message = f"the first wait is {show_duration(first)}, and the deadline {_of(longest)}"
            fix = "a shorter first wait, or a later deadline"
            yield asked.source.finding("retry-too-late", message, fix, "rules", rule.id, "wait")
        if (tries := _tries(waits, longest.deadline)) >= _MANY_TRIES:
            message = f"{tries:,} tries or more until the deadline {_of(longest)}"
            yield asked.source.finding("retry-without-end", message, "longer waits", "rules", rule.id, "wait")
        of_recipients = bool(when.category) and all(scope_of(one) is Scope.RECIPIENT for one in when.category)
        if when.permanent and of_recipients and when.certain is not False:
            message = f"{rule.id} tries again what is final for this recipient"
            fix = "permanent: false; or, if the server means another thing, teach it by a file of rules (meaning:)"
            yield asked.source.finding("retries-the-final", message, fix, "rules", rule.id, "do")
    for name in asked.own_names("classes", asked.policy.classes):
        one = asked.policy.classes[name]
        if one.wait is not None and one.wait.wait(1) >= one.deadline:
            message = f"the first wait is {show_duration(one.wait.wait(1))}, and the deadline {_of(one)}"
            fix = "a shorter first wait, or a later deadline"
            yield asked.source.finding("retry-too-late", message, fix, "classes", name, "wait")
        if one.deadline > _LONG_DEADLINE:
            message = f"a deadline of {show_duration(one.deadline)}; the standard has 4 to 5 days (RFC 5321 4.5.4.1)"
            yield asked.source.finding(
                "retry-without-end", message, f"at most {show_duration(_LONG_DEADLINE)}", "classes", name, "deadline"
            )


def _classes(rule: Rule, policy: Policy) -> list[MessageClass]:
    return [
        one for name, one in policy.classes.items() if not rule.when.message_class or name in rule.when.message_class
    ]


def _tries(schedule: Schedule, deadline: timedelta) -> int:
    """How many attempts there are until the deadline, counted no further than that there are many."""
    at, tries = timedelta(), 1
    while tries < _MANY_TRIES and (at := at + schedule.wait(tries)) < deadline:
        tries += 1
    return tries


def _of(one: MessageClass) -> str:
    return f"of {one.name} {show_duration(one.deadline)}"


# -- measures


def _measures(asked: _Asked) -> Iterator[Finding]:
    for rule in asked.own():
        when = rule.when
        if rule.suppress is not None:
            if _is_hasty(when):
                yield asked.source.finding(
                    "hasty-suppression",
                    f"{rule.id} suppresses at the first temporary reply",
                    "permanent: true, or how often before: seen: {times: 3, within: 30d}",
                    "rules",
                    rule.id,
                    "suppress",
                )
            if not (when.category or when.scope or (when.cause and when.cause <= _OF_THE_ADDRESS)):
                message = f"{rule.id} suppresses whatever the reply is about"
                fix = "name the categories, or scope: recipient"
                yield asked.source.finding("wide-suppression", message, fix, "rules", rule.id, "suppress")
        if when.seen is not None and when.seen.within > _REMEMBERED:
            message = f"{show_duration(when.seen.within)} is longer than the store remembers verdicts"
            fix = f"at most {show_duration(_REMEMBERED)}"
            yield asked.source.finding("seen-beyond-memory", message, fix, "rules", rule.id, "when", "seen")
        if any(notice.channel == _THEMSELVES for notice in rule.notify) and _is_of_others(when):
            message = f"{rule.id} tells the recipient of what is not about the recipient"
            yield asked.source.finding(
                "tells-recipient", message, "tell operations, or the owner of the mail", "rules", rule.id, "notify"
            )


def _is_hasty(when: Condition) -> bool:
    """Whether a temporary reply is enough, at the first time."""
    often = when.seen is not None and when.seen.times > 1
    later = when.attempts is not None and (when.attempts.at_least or 0) > 1
    final = when.permanent or when.expired or (when.cause and when.cause <= _OF_THE_ADDRESS)
    by_digit = when.permanent is None and {code[0] for code in (*when.code, *when.enhanced)} == {"5"}
    return not (often or later or final or by_digit or when.category == {Category.COMPLAINT})


def _is_of_others(when: Condition) -> bool:
    if when.scope:
        return Scope.RECIPIENT not in when.scope
    return bool(when.category) and all(scope_of(one) not in (Scope.RECIPIENT, None) for one in when.category)


def _ladders(asked: _Asked) -> Iterator[Finding]:
    for name in asked.own_names("ladders", asked.policy.ladders):
        for shorter, longer in _steps_down(asked.policy.ladders[name]):
            message = f"{_lasting(shorter)} comes behind {_lasting(longer)}"
            yield asked.source.finding("ladder-goes-down", message, "longer from rung to rung", "ladders", name)


def _steps_down(ladder: Ladder) -> Iterator[tuple[timedelta | None, timedelta | None]]:
    rungs = [*([ladder.provisional] if ladder.provisional is not None else []), *ladder.confirmed]
    for longer, shorter in pairwise(rungs):
        if shorter is not None and (longer is None or shorter < longer):
            yield shorter, longer


def _lasting(rung: timedelta | None) -> str:
    return "forever" if rung is None else show_duration(rung)


def _budget(asked: _Asked) -> Iterator[Finding]:
    """Rates of which the first level comes when the relay's provider has closed the account."""
    budget = asked.policy.budget
    stated = [(name, getattr(budget, name)) for name in _LEVELS if budget is not None and getattr(budget, name)]
    for rate, closed in _CLOSED_AT.items():
        level, lowest = next(((name, most) for name, bound in stated if (most := getattr(bound, rate))), ("", 0.0))
        if lowest >= closed and asked.source.is_own("budget", level):
            message = f"nobody hears of {rate} below {lowest * 100:.4g}%"
            fix = f"well below the {closed * 100:g}% at which Amazon SES closes an account"
            yield asked.source.finding("late-budget", message, fix, "budget", level, rate)


def _hints(asked: _Asked) -> Iterator[Finding]:
    """Hints that may make waits shorter, where there is none so long."""
    hints, waits = asked.policy.hints, [rule.wait for rule in asked.policy.rules if rule.wait is not None]
    longest = max((max(*wait.waits, wait.at_most or timedelta()) for wait in waits), default=timedelta())
    if hints.obey is Obey.ALWAYS and hints.at_least >= longest and asked.source.is_own("hints", "at_least"):
        message = f"no wait is longer than {show_duration(hints.at_least)}, so that hints shorten none"
        yield asked.source.finding("idle-hints", message, "a shorter at_least", "hints", "at_least")


# -- names


def _names(asked: _Asked) -> Iterator[Finding]:
    policy = asked.policy
    notices = [notice for rule in policy.rules for notice in rule.notify]
    waits = [*(rule.wait for rule in policy.rules), *(one.wait for one in policy.classes.values())]
    used = {
        "schedules": {wait.name for wait in waits if wait} | set(list(policy.schedules)[:1]),
        "ladders": {rule.suppress.name for rule in policy.rules if rule.suppress},
        "templates": {notice.template.name for notice in notices if notice.template},
        "channels": {notice.channel for notice in notices} | set(policy.budget.notify if policy.budget else ()),
    }
    for section, names in used.items():
        for name in asked.own_names(section, getattr(policy, section)):
            if name not in names:
                close = get_close_matches(name, names, n=1)
                fix = f"did you mean {close[0]}? Else remove it" if close else "remove it, or let a rule name it"
                message = f"no rule names the {section[:-1]} {quoted(name)}"
                yield asked.source.finding("unused-name", message, fix, section, name)
    suppressed = {category for rule in policy.rules if rule.suppress for category in rule.when.category or Category}
    for name in asked.own_names("classes", policy.classes):
        for category in sorted(policy.classes[name].ignores - suppressed):
            message = f"no rule suppresses for {category}"
            yield asked.source.finding("ignores-nothing", message, "remove it", "classes", name, "ignores")


# -- helpers


def _most_seen(seen: Seen) -> float:
    """The most that can be seen, whole: of the recipient one verdict a day."""
    if seen.by is not SeenBy.RECIPIENT:
        return math.inf
    return math.floor(seen.weigh(-(-span // _DAY) for span in seen.spans))


def _may_be(pattern: str, code: str) -> bool:
    return all(want in ("x", have) for want, have in zip(pattern, code, strict=True))


def _keys(when: Condition) -> frozenset[str]:
    default = Condition()
    return frozenset(key for key in Condition.__slots__ if getattr(when, key) != getattr(default, key))


def _does_the_same(one: Rule | SessionRule, other: Rule | SessionRule) -> bool:
    """Whether nothing but id, condition and examples tells them apart."""
    apart = {"id": "", "when": Condition(), "examples": (), "where": ""}
    return replace(one, **apart) == replace(other, **apart)  # type: ignore[arg-type]  # fields of either


def _at(rule: Rule | SessionRule) -> str:
    return f" ({rule.where})" if rule.where else ""


_CHECKS: Sequence[Callable[[_Asked], Iterator[Finding]]] = (
    _order,
    _session_order,
    _hidden_base,
    _overlaps,
    _misspelt,
    _gaps,
    _session_gaps,
    _impossible,
    _retries,
    _measures,
    _ladders,
    _budget,
    _hints,
    _names,
)
