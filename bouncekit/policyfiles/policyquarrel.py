"""What a policy file says twice, or in two places that do not go together, though each of them is right for itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from bouncekit.meaning.classification import Category, Scope, scope_of
from bouncekit.policy.rule import Fate, SeenBy, SessionFate
from bouncekit.policyfiles.policytree import Path, Tree, listed, quoted
from bouncekit.words.errors import Finding
from bouncekit.words.reply import Cause, Stage

__all__ = ["OF_THE_ADDRESS", "quarrels"]

Said = Mapping[str, Any]  # a rule, as the file has it
Quarrel = tuple[Path, str]

_FATES = frozenset(map(str, Fate))
_GOES_WITH: Mapping[str, Fate] = MappingProxyType({"wait": Fate.RETRY, "learn": Fate.RETRY, "suppress": Fate.FAIL})
_MEASURES = ("slow", "pause")
_AT_ONCE = (Fate.SPLIT, Fate.ALONE)
_OF_OTHERS = frozenset(map(str, SeenBy)) - {str(SeenBy.RECIPIENT)}
# Nobody was asked, for what DNS says about the domain, or for what the address is.
OF_THE_ADDRESS = frozenset({Cause.NO_SUCH_DOMAIN, Cause.NULL_MX, Cause.NO_ADDRESS, Cause.LOCAL})
# A reply before RCPT concerns the session or the message; no reply concerns the way (RFC 5321 3.8).
_NO_RECIPIENT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "category": frozenset(str(one) for one in Category if scope_of(one) is not Scope.RECIPIENT),
        "scope": frozenset(str(one) for one in Scope if one is not Scope.RECIPIENT),
        "stage": frozenset(str(one) for one in Stage if one not in (Stage.RCPT, Stage.END_OF_DATA)),
        "cause": frozenset(str(one) for one in Cause if one not in OF_THE_ADDRESS),
    }
)
_NO_WAY: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "category": frozenset(str(one) for one in Category if scope_of(one) in (Scope.RECIPIENT, Scope.MESSAGE)),
        "scope": frozenset(map(str, (Scope.RECIPIENT, Scope.MESSAGE))),
    }
)
# The code and the fix of what is found under a key; all else is a matter of grammar.
_MARKS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"when": ("suppress-not-recipient", "leave suppress out, or make a rule of its own for the recipient")}
)


def quarrels(tree: Tree) -> Iterator[Finding]:
    """The findings of one file."""
    for section, checks in _CHECKS.items():
        rules = [(index, one) for index, one in enumerate(listed(tree.value((section,)))) if isinstance(one, dict)]
        for index, rule in rules:
            for path, message in (found for check in checks for found in check(rule)):
                code, fix = _MARKS.get(str(path[0]), ("", ""))
                yield replace(tree.finding((section, index, *path), message), code=code, fix=fix)
        yield from _duplicates(tree, section, rules)
    yield from _defaults(tree)


def _duplicates(tree: Tree, section: str, rules: Sequence[tuple[int, Said]]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, rule in rules:
        rule_id = rule.get("id")
        if isinstance(rule_id, str) and seen.setdefault(rule_id, index) != index:
            first = tree.where((section, seen[rule_id]))
            yield tree.finding((section, index, "id"), f"duplicate id {quoted(rule_id)}: {first} has it already")


def _defaults(tree: Tree) -> Iterator[Finding]:
    """Classes that want to be the default one, behind the first."""
    classes = tree.value(("classes",))
    default = [name for name, one in classes.items() if _is_default(one)] if isinstance(classes, dict) else []
    for name in default[1:]:
        yield tree.finding(("classes", name, "default"), f"{quoted(default[0])} is the default class already; keep one")


def _is_default(value: object) -> bool:
    return isinstance(value, dict) and value.get("default") == "true"


# -- one rule


def _misplaced(rule: Said) -> Iterator[Quarrel]:
    """Keys that go with another fate."""
    do = rule.get("do")
    for key, fate in _GOES_WITH.items():
        if key in rule and isinstance(do, str) and do in _FATES and do != fate:
            yield (key,), f"{key} goes with do: {fate} only, not with {do}"


def _two_measures(rule: Said) -> Iterator[Quarrel]:
    if all(measure in rule for measure in _MEASURES):
        yield ("slow",), "slow and pause in one rule: keep one; behind a pause mail goes on slowly as it is"


def _measures_at_once(rule: Said) -> Iterator[Quarrel]:
    do = rule.get("do")
    for key in _MEASURES:
        if key in rule and do in _AT_ONCE:
            yield (key,), f"{key} does not go with do: {do}, which tries again at once"


def _suppresses_others(rule: Said) -> Iterator[Quarrel]:
    """What is not about the recipient, in the condition of a rule that suppresses."""
    when = rule.get("when")
    if "suppress" not in rule or not isinstance(when, dict):
        return
    for key, others in _NO_RECIPIENT.items():
        for index, value in enumerate(listed(when.get(key))):
            if isinstance(value, str) and value in others:
                yield ("when", key, index), f"{value} is not about the recipient, and nothing else may suppress"
    seen = when.get("seen")
    if isinstance(seen, dict) and seen.get("by") in _OF_OTHERS:
        yield ("when", "seen", "by"), f"nobody is suppressed for what others of a {seen['by']} brought about"


def _slows_for_one(rule: Said) -> Iterator[Quarrel]:
    """A measure for all that goes that way, for what one recipient or one message brought about."""
    when = rule.get("when")
    named = [
        str(value)
        for key, others in _NO_WAY.items()
        for value in listed(when.get(key) if isinstance(when, dict) else None)
        if str(value) in others
    ]
    for measure in _MEASURES:
        if measure in rule and named:
            yield (measure,), f"{named[0]} is about one mail or mailbox: no reason to {measure} all that goes this way"


def _tells_twice(rule: Said) -> Iterator[Quarrel]:
    """One channel in two notices of a rule."""
    told = [one.get("channel") if isinstance(one, dict) else one for one in _entries(rule.get("notify"))]
    for index, channel in enumerate(told):
        if isinstance(channel, str) and channel in told[:index]:
            yield ("notify", index), f"{channel} is told already; keep one of them"


def _entries(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _counts_without_dialling(rule: Said) -> Iterator[Quarrel]:
    if "at_most" in rule and rule.get("do") == SessionFate.CLOSE:
        yield ("at_most",), "at_most goes with do: reconnect only, not with close"


_CHECKS: Mapping[str, tuple[Callable[[Said], Iterator[Quarrel]], ...]] = MappingProxyType(
    {
        "rules": (_misplaced, _two_measures, _measures_at_once, _suppresses_others, _slows_for_one, _tells_twice),
        "sessions": (_counts_without_dialling,),
    }
)
