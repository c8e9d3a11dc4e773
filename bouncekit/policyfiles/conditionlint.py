"""Why no reply meets a condition of a policy: a table of what never comes together, a check a row."""

import math
from collections.abc import Callable, Iterator
from datetime import timedelta
from difflib import get_close_matches
from functools import partial

from bouncekit.meaning.classification import Scope, scope_of
from bouncekit.policy.rule import Condition, Seen, SeenBy
from bouncekit.policy.schedule import show_duration
from bouncekit.policyfiles.checked import Checked
from bouncekit.policyfiles.policytree import quoted
from bouncekit.policyfiles.rulelint import phrase_faults
from bouncekit.words.errors import Finding
from bouncekit.words.reply import Cause, Stage

__all__ = ["CONDITION_CHECKS"]

_DAY = timedelta(days=1)
_NOT_IN_HOSTS = frozenset("@/ \t,;:")
_SILENT = frozenset({Cause.LOST, Cause.TIMED_OUT})
_BEFORE_RCPT = frozenset({Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH, Stage.MAIL})
_IMPERSONAL = _BEFORE_RCPT | {Stage.RSET, Stage.IDLE}

Why = tuple[tuple[str | int, ...], str, str]  # the place in `when`, what is wrong, what would be right


def _impossible(checked: Checked) -> Iterator[Finding]:
    for kind, rows in ((checked.recipients, (*_OF_ANY, *_OF_RECIPIENTS)), (checked.sessions, _OF_ANY)):
        for rule, _ in checked.own_of(kind):
            for path, what, fix in (why for row in rows for why in row(rule.when)):
                yield checked.source.finding("never-matches", what, fix, kind.section, rule.id, "when", *path)


def _of_no_fault(checked: Checked) -> Iterator[Finding]:
    """Categories and scopes that never come together, but by rules about replies of the owner's own."""
    if checked.policy.meaning:
        return
    for kind in (checked.recipients, checked.sessions):
        for rule, _ in checked.own_of(kind):
            scopes = {scope_of(one) for one in rule.when.category}
            if rule.when.scope and scopes and scopes.isdisjoint(rule.when.scope):
                whose = ", ".join(sorted(one or "nobody" for one in scopes))
                message = f"{', '.join(sorted(rule.when.category))} is the fault of {whose}, whatever the reply"
                fix = "leave scope out, or name categories of that scope"
                yield checked.source.finding("never-matches", message, fix, kind.section, rule.id, "when", "scope")


def _strangers(checked: Checked) -> Iterator[Finding]:
    """Providers that nobody knows, in rules and in limits."""
    if not checked.providers:
        return
    unknown = partial(_stranger, checked)
    for kind in (checked.recipients, checked.sessions):
        for rule, _ in checked.own_of(kind):
            for name in sorted(rule.when.provider - frozenset(checked.providers)):
                yield unknown(name, kind.section, rule.id, "when", "provider")
    if checked.source.is_own("throttles", "providers"):
        for name in checked.policy.throttles.providers:
            if "." not in name and name not in {*checked.providers, "any"}:
                yield unknown(name, "throttles", "providers", name)


def _stranger(checked: Checked, name: str, *place: str) -> Finding:
    close = get_close_matches(name.lower(), checked.providers, n=1)
    fix = f"did you mean {close[0]}?" if close else "the reference of policies lists those that are known"
    return checked.source.finding(
        "unknown-provider", f"nobody's servers are known as {quoted(name)}", fix, place[0], place[1], *place[2:]
    )


def _provider_for_domain(checked: Checked) -> Iterator[Finding]:
    """A provider's name where the recipient's domain is asked for."""
    for rule in checked.own():
        for at, name in enumerate(rule.when.domain):
            if name.lower() in checked.providers:
                message = f"{quoted(name)} is a provider, and the domain of no recipient"
                fix = f"write provider: {name.lower()}"
                yield checked.source.finding("never-matches", message, fix, "rules", rule.id, "when", "domain", at)


def _phrases(checked: Checked) -> Iterator[Finding]:
    for kind in (checked.recipients, checked.sessions):
        for rule, _ in checked.own_of(kind):
            for at, phrase in enumerate(rule.when.text):
                for code, what, fix in phrase_faults(phrase.text):
                    yield checked.source.finding(code, what, fix, kind.section, rule.id, "when", "text", at)


# -- what no reply is


def _refuses_nothing(when: Condition) -> Iterator[Why]:
    agreed = [code for code in when.code if code[0] in "23" and not _may_be(code, "221")]
    if agreed and len(agreed) == len(when.code):
        what = f"{', '.join(agreed)} refuses nothing, and no rule is asked about it"
        yield ("code",), what, "name codes from 4xx and 5xx"


def _reply_and_none(when: Condition) -> Iterator[Why]:
    if when.cause and (when.code or when.enhanced):
        other = "code" if when.code else "enhanced"
        yield ("cause",), f"a cause is of no reply, and {other} is of one", "make two rules of it"


def _digits_apart(when: Condition) -> Iterator[Why]:
    first, classes = {code[0] for code in when.code}, {code[0] for code in when.enhanced}
    if first and classes and "x" not in classes and first.isdisjoint(classes):
        yield ("enhanced",), "its first digit is never another one than the code's (RFC 2034 4)", "let them agree"


def _accepts_early(when: Condition) -> Iterator[Why]:
    if when.accepted is not None and when.accepted.at_least and when.stage and when.stage <= _BEFORE_RCPT:
        yield ("accepted",), "before RCPT no recipient is accepted", "leave accepted out, or name RCPT or a later stage"


def _no_attempt(when: Condition) -> Iterator[Why]:
    if when.attempts is not None and when.attempts.at_most == 0:
        what = "the present attempt counts, so that there is always one"
        yield ("attempts",), what, "write attempts: 1 for the first"


def _seen_too_often(when: Condition) -> Iterator[Why]:
    if when.seen is None or when.seen.times <= (most := _most_seen(when.seen)):
        return
    half = when.seen.half_after
    what = f"one verdict a day counts, and {show_duration(when.seen.within)} have no {when.seen.times}"
    what += "" if half is None else f", each by its weight after {show_duration(half)}"
    yield ("seen",), what, f"ask for at most {most:.0f} times, or a longer time"


def _most_seen(seen: Seen) -> float:
    """The most that can be seen, whole: of the recipient one verdict a day."""
    if seen.by is not SeenBy.RECIPIENT:
        return math.inf
    return math.floor(seen.weigh(-(-span // _DAY) for span in seen.spans))


def _no_hosts(when: Condition) -> Iterator[Why]:
    for key in ("domain", "remote_mta"):
        for at, name in enumerate(getattr(when, key)):
            if set(name) & _NOT_IN_HOSTS or name.endswith(".") or name.startswith("."):
                yield (key, at), f"{quoted(name)} is the name of no host", "write a name, such as *.example.com"


def _no_senders(when: Condition) -> Iterator[Why]:
    for at, name in enumerate(when.sender):
        local, sign, domain = name.rpartition("@")
        if "*" not in name and not (local and sign and domain):
            yield ("sender", at), f"{quoted(name)} is no return path", "write an address, or '*@news.example.com'"


def _may_be(pattern: str, code: str) -> bool:
    return all(want in ("x", have) for want, have in zip(pattern, code, strict=True))


_OF_ANY: tuple[Callable[[Condition], Iterator[Why]], ...] = (
    _refuses_nothing,
    _reply_and_none,
    _digits_apart,
    _accepts_early,
    _no_attempt,
    _seen_too_often,
    _no_hosts,
    _no_senders,
)


# -- what no reply about a recipient is


def _after_quit(when: Condition) -> Iterator[Why]:
    if when.stage == {Stage.QUIT}:
        yield ("stage",), "a reply to QUIT is about no recipient", "write a rule under sessions"


def _recipient_early(when: Condition) -> Iterator[Why]:
    of_recipients = bool(when.category) and all(scope_of(one) is Scope.RECIPIENT for one in when.category)
    if of_recipients and not when.cause and when.stage and when.stage <= _IMPERSONAL:
        what = "before RCPT no reply is about a recipient, and such a category is"
        yield ("stage",), what, "name RCPT, or none"


def _silent_dot(when: Condition) -> Iterator[Why]:
    if when.cause and when.cause <= _SILENT and when.stage == {Stage.END_OF_DATA}:
        what = "silence at the dot is no refusal: nobody knows whether the message was taken"
        yield ("stage",), what, "`unknown` of its class decides about it"


_OF_RECIPIENTS = (_after_quit, _recipient_early, _silent_dot)

CONDITION_CHECKS = (_impossible, _of_no_fault, _strangers, _provider_for_domain, _phrases)
