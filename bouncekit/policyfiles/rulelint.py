"""What is right by the format of rules about replies and wrong all the same: phrases that can match nothing, rules
that are never reached. For the files that an owner adds; each finding has a code of `policyfault`.
"""

import re
from collections.abc import Iterator, Sequence

from bouncekit.meaning.rulefile import Rule
from bouncekit.meaning.vocabulary import Near
from bouncekit.policyfiles.policytree import quoted
from bouncekit.words.errors import Finding
from bouncekit.words.phrase import Phrase

__all__ = ["lint_rules", "phrase_faults"]

_BEGINS_WITH_CODE = re.compile(r"\s*[2-5]\d\d\b").match
_REGEX = re.compile(r"\.[*+?]|\\[dwsbDWS.]|^\^|\$$|\][*+?{]|\[\^|\[\w-\w|\(\?|\w\|\w").search

Fault = tuple[str, str, str]  # code, what is wrong, what would be right


def lint_rules(rules: Sequence[Rule]) -> tuple[Finding, ...]:
    """What is wrong in the rules that were added to the shipped ones, of all that a classifier has, in their order."""
    added = [rule for rule in rules if rule.step.is_added]
    return tuple(
        _finding(rule, *fault)
        for place, rule in enumerate(added)
        for fault in (*_phrases(rule), *_digits(rule), *_taken(rule, added[:place]))
    )


def phrase_faults(phrase: str) -> Iterator[Fault]:
    """Why a phrase hardly means what it says, in a rule or in a policy."""
    if _BEGINS_WITH_CODE(phrase):
        yield "code-in-phrase", f"{quoted(phrase)}: a text begins behind its reply code", "ask for it by code:"
    if _REGEX(phrase):
        fix = "whole words, * for any run of words, # for a number"
        yield "regex-in-phrase", f"{quoted(phrase)}: there are no regular expressions here", fix


def _phrases(rule: Rule) -> Iterator[Fault]:
    for phrase in (*rule.text, *rule.unless):
        if isinstance(phrase, Phrase):
            yield from phrase_faults(phrase.text)


def _digits(rule: Rule) -> Iterator[Fault]:
    """A code and an enhanced code whose first digits never agree (RFC 2034 4)."""
    classes = {code[0] for code in rule.enhanced if code != "none"}
    codes = {code[0] for code in rule.code}
    if codes and classes and "none" not in rule.enhanced and "x" not in classes | codes and classes.isdisjoint(codes):
        what = "the first digit of its enhanced code is never another one than its code's (RFC 2034 4)"
        yield "never-matches", what, "let them agree"


def _taken(rule: Rule, before: Sequence[Rule]) -> Iterator[Fault]:
    """A rule before that takes all it asks for."""
    for other in before:
        if _covers(other, rule):
            what = f"{rule.id} is never reached: {other.id} takes all of it ({other.where})"
            yield "unreachable-rule", what, f"put it before {other.id}, or remove it"
            return


def _covers(one: Rule, other: Rule) -> bool:
    """Whether every reply that the other asks for is one that this one takes; where that is not sure, no."""
    least, most = one.accepted
    return (
        not one.unless
        and (one.individual in (None, other.individual))
        and (one.provider in (None, other.provider))
        and (not one.stage or (bool(other.stage) and set(other.stage) <= set(one.stage)))
        and (least <= other.accepted[0] and (most is None or (other.accepted[1] or most + 1) <= most))
        and _all_among(other.code, one.code, "")
        and _all_among(other.enhanced, one.enhanced, ".")
        and (not one.text or (bool(other.text) and all(_is_said(phrase, one.text) for phrase in other.text)))
    )


def _all_among(codes: Sequence[str], wide: Sequence[str], apart: str) -> bool:
    return not wide or (bool(codes) and all(any(_is_within(code, by, apart) for by in wide) for code in codes))


def _is_within(code: str, wide: str, apart: str) -> bool:
    parts, widths = (text.split(apart) if apart else list(text) for text in (code, wide))
    return len(parts) == len(widths) and all(by in ("x", part) for part, by in zip(parts, widths, strict=True))


def _is_said(phrase: Phrase | Near, others: Sequence[Phrase | Near]) -> bool:
    """Whether a text that has this phrase has one of the others."""
    if phrase in others:
        return True
    if not isinstance(phrase, Phrase):
        return False
    runs = [f" {' '.join(part)} " for part in phrase.parts]
    return any(
        f" {' '.join(other.parts[0])} " in run
        for other in others
        if isinstance(other, Phrase) and other.is_literal
        for run in runs
    )


def _finding(rule: Rule, code: str, what: str, fix: str) -> Finding:
    file, _, line = rule.where.rpartition(":")
    return Finding(file, int(line), None, what, code, fix)
