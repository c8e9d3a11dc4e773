"""The policy in force: its rules and how often each decided, what it makes of a reply, what a change would change."""

import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from bouncekit.codes import Language
from bouncekit.outside.builtin import code_cards, policy_names, policy_text, schedules
from bouncekit.policy.policy import Policy
from bouncekit.policyfiles.policyfile import read_policy
from bouncekit.policyfiles.policyprint import rule_data, show_policy
from bouncekit.postmaster.explaining import explain
from bouncekit.reports.counts import Counted
from bouncekit.web.keeping import Trial
from bouncekit.web.replaying import replay
from bouncekit.web.visiting import Go, House, NotAsked, Page, Visit
from bouncekit.words.errors import BouncekitError, ConfigurationError, PolicyError
from bouncekit.words.reply import Stage

__all__ = ["ask", "begin", "explained", "rules", "trial"]

_HITS = timedelta(days=7)
_IN_COLUMNS = frozenset({"id", "do", "examples"})
_LONGEST_REPLY = 2000
_LONGEST_POLICY = 256_000
_MOST_DAYS = 90


def rules(visit: Visit) -> Page:
    """The rules in the order in which they are tried, with what each decided in a week."""
    return Page(template="policy.html", values=_rules(visit))


def explained(visit: Visit) -> Page:
    """What a reply means, and what the policy does about it."""
    text = visit.form.get("reply", "").strip()
    if not text or len(text) > _LONGEST_REPLY:
        raise NotAsked(f"reply: a code or a whole reply, up to {_LONGEST_REPLY:,} characters")
    stage, language = visit.one_of("stage", Stage), visit.one_of("lang", Language) or Language.ENGLISH
    accepted = visit.number("accepted", 0, most=10_000) if visit.form.get("accepted") else None
    law = visit.house.office.law
    try:
        found = explain(
            text, stage=stage, accepted=accepted, policy=law.in_force.policy, **law.rule_files, lang=language
        )
    except ConfigurationError:
        raise
    except ValueError as error:
        raise NotAsked(str(error)) from None
    asked = {"reply": text, "stage": stage, "accepted": accepted, "language": language}
    return Page(template="policy.html", values={**_rules(visit), "found": found, "asked": asked})


def ask(visit: Visit) -> Page:
    """The place to try a changed policy."""
    return Page(template="try.html", values={"text": show_policy(visit.house.office.policy), "days": 7, "findings": ()})


def begin(visit: Visit) -> Page | Go:
    """Begin to try a policy on what happened; where it is none, what is wrong with it."""
    text = visit.form.get("policy", "").replace("\r\n", "\n")
    days = visit.number("days", 7, least=1, most=_MOST_DAYS)
    if len(text) > _LONGEST_POLICY:
        raise NotAsked(f"policy: more than {_LONGEST_POLICY:,} characters")
    try:
        new = read_policy("pasted.yaml", text, resolve=policy_text, known=schedules).policy
    except PolicyError as error:
        values = {"text": text, "days": days, "findings": error.findings}
        return Page(template="try.html", values=values, status=422)
    begun = Trial(old=visit.house.office.policy.name, new=new.name, days=days)
    if not visit.house.trials.begin(begun):
        raise NotAsked("another policy is being tried: wait until it is done")
    threading.Thread(
        target=_tried, args=(visit.house, begun, new, visit.now), name="bouncekit-trial", daemon=True
    ).start()
    return Go(f"/policy/try/{begun.id}")


def trial(visit: Visit) -> Page:
    """How far a trial is, and what came of it."""
    found = visit.house.trials.get(visit.path["trial"])
    if found is None:
        raise NotAsked("there is no such trial: the last few are kept, and none over a restart")
    difference, why = found.difference, found.why  # once: it goes on meanwhile
    is_done = difference is not None or bool(why)
    return Page(
        template="trial.html", values={"trial": found, "difference": difference, "why": why, "is_done": is_done}
    )


def _tried(house: House, begun: Trial, new: Policy, now: datetime) -> None:
    try:
        replay(house.office, begun, new, now)
    except BouncekitError as error:
        begun.why = str(error)
    except Exception as error:  # noqa: BLE001 - on a thread of its own; the page tells it
        begun.why = f"it ended in the middle: {type(error).__name__}"


def _rules(visit: Visit) -> Mapping[str, Any]:
    office = visit.house.office
    policy, law = office.policy, office.law.in_force
    columns, is_whole = visit.house.counts.since(visit.now - _HITS, visit.now, _HITS)
    total = Counted()
    for _, counted in columns:
        total.add(counted)
    known = [rule.id for rule in policy.rules]
    return {
        "policy": policy,
        "files": law.files,
        "rules": [(rule, _said(rule_data(rule, policy)), total.rules[rule.id]) for rule in policy.rules],
        "sessions": [(rule, _said(rule_data(rule, policy))) for rule in policy.sessions],
        "others": {name: number for name, number in total.rules.items() if name not in known},
        "most": max(total.rules.values(), default=0),
        "is_whole": is_whole,
        "shipped": policy_names(),
        "stages": tuple(Stage),
        "languages": tuple(Language),
        "found": None,
        "asked": {"reply": "", "stage": None, "accepted": None, "language": Language.ENGLISH},
        "words": code_cards().words(Language.ENGLISH),
    }


def _said(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a rule says, by the keys of a file; who it is and what it does stand in columns of their own."""
    return [(key, _in_line(value)) for key, value in data.items() if key not in _IN_COLUMNS]


def _in_line(value: object) -> str:
    """A value of a policy on one line."""
    match value:
        case bool():
            return str(value).lower()
        case Mapping():
            return ", ".join(f"{name}: {_in_line(one)}" for name, one in value.items())
        case list():
            return " or ".join(map(_in_line, value))
        case _:
            return str(value)
