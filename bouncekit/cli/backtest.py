"""`bouncekit policy backtest` and `policy diff`: what a change changes, on what happened and on typical replies."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

import click

from bouncekit.cli.output import progress, show_json, show_line, show_table
from bouncekit.cli.settings import (
    complete_policy,
    configured,
    duration,
    json_option,
    open_postmaster,
    store_option,
)
from bouncekit.delivery.events import show_time
from bouncekit.words.measures import counted, show_minute

if TYPE_CHECKING:
    from bouncekit.history.backtest import Change, Difference, Tally
    from bouncekit.meaning.classification import Classify
    from bouncekit.policy.policy import Policy
    from bouncekit.policy.rule import Example
    from bouncekit.policyfiles.policydiff import FaceChange, RuleChange
    from bouncekit.stores import Store

__all__ = ["backtest", "diff", "judge"]

_MAX_LINE_BYTES = 1024 * 1024
_ROWS = 12
_SHOWN_FACES = 40


@click.command()
@click.argument("new", metavar="NEW", shell_complete=complete_policy)
@click.option(
    "--against", "old", metavar="OLD", shell_complete=complete_policy, help="What to compare with; else the configured."
)
@click.option("--since", callback=duration, metavar="DURATION", help="Only what happened so long ago at most: 30d.")
@click.option(
    "--events",
    "file",
    metavar="FILE",
    type=click.File("rb"),
    help="JSON lines of events, such as of `events --json` or a sink, or -; else the store is read.",
)
@click.option("--examples", type=click.IntRange(0, 100), default=3, show_default=True, help="Of each change.")
@store_option
@json_option("one JSON document: outcomes, changed, old, new, changes, by_provider, by_rule, not_known")
def backtest(
    new: str,
    old: str | None,
    since: timedelta | None,
    file: IO[bytes] | None,
    examples: int,
    store: str | None,
    as_json: bool,
) -> None:
    """Replay what happened through a changed policy.

    \b
    bouncekit policy backtest new.yaml --against default --since 30d

    Every recorded reply is classified and decided again, by the old policy and by the new one, and what differs is
    counted: what would have been retried, suppressed, notified. Nothing is sent, and nothing in the store changes.
    """
    from bouncekit.history.backtest import Backtest, warm_up
    from bouncekit.outside.provider import provider_of_host

    config = configured(store=store)
    before = judge(old or config.policy, config.rules, config.community_rules)
    after = judge(new, config.rules, config.community_rules)
    start = None if since is None else datetime.now(UTC) - since
    replay = Backtest(before, after, since=start, provider_of=provider_of_host, examples=examples)
    first = None if start is None else start - warm_up(before[0], after[0])
    with ExitStack() as stack:
        if file is not None:
            events: Iterable[Mapping[str, Any]] = _of_lines(file)
        else:
            postmaster = stack.enter_context(open_postmaster(config, needs_store=True, makes_store=False))
            events = _of_store(postmaster.office.store, first)
        for told in events:
            replay.feed(told)
    names = (before[0].name, after[0].name)
    show_json(_data(replay.difference, names, since)) if as_json else _show(replay.difference, names, since)


@click.command()
@click.argument("old", metavar="OLD", shell_complete=complete_policy)
@click.argument("new", metavar="NEW", shell_complete=complete_policy)
@click.option("--limit", type=click.IntRange(0), default=_SHOWN_FACES, show_default=True, help="Replies shown.")
@json_option("one JSON document: rules, settings, replies")
def diff(old: str, new: str, limit: int, as_json: bool) -> int:
    """Show where two policies differ.

    \b
    bouncekit policy diff default new.yaml

    Rule by rule, setting by setting, and in what they make of the replies in the examples of the shipped rules and of
    both policies, at the first try and at the deadline. Exit code 1 if anything differs.
    """
    from bouncekit.policyfiles.policydiff import faces, rule_changes, setting_changes

    config = configured()
    before, after = (judge(name, config.rules, config.community_rules) for name in (old, new))
    rules = list(rule_changes(before[0], after[0]))
    settings = list(setting_changes(before[0], after[0]))
    replies = list(faces(before, after, _typical(before[0], after[0])))
    if as_json:
        show_json(
            {
                "rules": list(map(_rule_data, rules)),
                "settings": [{"name": one.name, "old": one.old, "new": one.new} for one in settings],
                "replies": list(map(_reply_data, replies)),
            }
        )
        return int(bool(rules or settings or replies))
    for change in rules:
        _show_rule(change)
    for setting in settings:
        show_line(f"{setting.name}: {_value(setting.old)} -> {_value(setting.new)}")
    _show_replies(replies, limit, (before[0].name, after[0].name))
    show_line()
    show_line(
        f"{counted(len(rules), 'rule')}, {counted(len(settings), 'setting')} and "
        f"{counted(len(replies), 'typical reply', 'typical replies')} differ"
    )
    return int(bool(rules or settings or replies))


def judge(name: str, rules: Iterable[str] = (), community: Iterable[str] = ()) -> "tuple[Policy, Classify]":
    """A policy, and what classifies replies for it: with the configuration's files of rules, and with its own."""
    from bouncekit.outside.builtin import classifier_with, open_policy, read_meaning

    policy = open_policy(name)
    return policy, classifier_with(read_meaning(tuple(rules), tuple(community)) + policy.meaning).classify


# -- where events come from


def _of_store(store: "Store", since: datetime | None) -> Iterator[Mapping[str, Any]]:
    """The events of a store, oldest first, from about a time on."""
    from bouncekit.desk.eventpages import first_since, forwards, newest_number

    newest = newest_number(store)
    first = 0 if since is None else first_since(store, since, newest)
    return (told for _, told in progress(forwards(store, first, newest), "events", length=newest - first))


def _of_lines(file: IO[bytes]) -> Iterator[Mapping[str, Any]]:
    """The events of JSON lines; what is none is an empty one, which is counted as unreadable."""
    size = file.seek(0, 2) - file.seek(0) if file.seekable() and file is not sys.stdin.buffer else None
    for line in progress(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), "events", length=size, size=len):
        if line.strip():
            yield _told(line)


def _told(line: bytes) -> Mapping[str, Any]:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _typical(*policies: "Policy") -> "Iterator[Example]":
    """The replies in the examples of the shipped rules, then those of the policies."""
    from bouncekit.outside.builtin import classifier
    from bouncekit.policy.rule import Example

    for rule in classifier().rules:
        for one in rule.examples:
            yield Example(
                reply=one.reply,
                stage=one.stage,
                accepted=one.accepted,
                individual=one.individual,
                provider=one.provider,
            )
    for policy in policies:
        yield from (example for held in policy.rules for example in held.examples if not example.expired)


# -- what is shown


def _show(found: "Difference", names: tuple[str, str], since: timedelta | None) -> None:
    old, new = names if names[0] != names[1] else (f"{names[0]} (old)", f"{names[1]} (new)")
    if not found.outcomes:
        show_line("no outcomes of mail to replay" + ("" if since is None else " in that time"))
        return
    span = f"{show_minute(found.first_at)} to {show_minute(found.last_at)}"
    show_line(f"{counted(found.outcomes, 'recorded outcome')}, {span}: {found.changed:,} end otherwise")
    show_line()
    show_table(("", old, new, "difference"), _totals(found))
    if found.changed:
        show_line()
        rows = [(f"{number:,}", change.old, change.new) for change, number in found.changes.most_common(_ROWS)]
        show_table(("changed", f"from ({old})", f"to ({new})"), rows)
        for change, _ in found.changes.most_common(_ROWS):
            _show_examples(found, change)
        show_line()
        show_table(("by provider", ""), [(name, f"{n:,}") for name, n in found.by_provider.most_common(_ROWS)])
        show_line()
        rows = [(f"{n:,}", before, after) for (before, after), n in found.by_rule.most_common(_ROWS)]
        show_table(("by rule", f"decided by ({old})", f"decided by ({new})"), rows)
    for line in _not_known(found):
        show_line()
        show_line(line)


def _totals(found: "Difference") -> Iterator[tuple[str, str, str, str]]:
    """Rows of what both make of the record."""
    verbs = dict.fromkeys((*found.old.verbs, *found.new.verbs))
    numbers = [(name, found.old.verbs[name], found.new.verbs[name]) for name in verbs]
    numbers.append(("suppressions added", found.old.suppressions, found.new.suppressions))
    channels = sorted({*found.old.notices, *found.new.notices})
    numbers += [(f"notices to {name}", found.old.notices[name], found.new.notices[name]) for name in channels]
    numbers.append(("recorded deliveries not made", found.old.lost, found.new.lost))
    for name, one, other in numbers:
        yield name, f"{one:,}", f"{other:,}", f"{other - one:+,}" if other != one else ""


def _show_examples(found: "Difference", change: "Change") -> None:
    if kept := found.examples.get(change):
        show_line()
        show_line(f"{change.old} -> {change.new}:")
        for one in kept:
            said = one["reply"] or one["recorded"]
            show_line(f"  {one['recipient']}: {said} [{one['stage'] or '-'}]  {one['old_rule']} -> {one['new_rule']}")


def _not_known(found: "Difference") -> Iterator[str]:
    """What a replay cannot tell, where that concerns something."""
    if found.new.open or found.old.open:
        yield (
            f"Not known: what {found.new.open:,} further tries of the new policy would have been answered"
            f" ({found.old.open:,} of the old one): the record has no such try."
        )
    if found.begun_before:
        yield f"{found.begun_before:,} outcomes are of messages begun before the record: their deadline is a guess."
    if found.not_classified:
        yield f"{found.not_classified:,} outcomes have no reply to classify again; the recorded meaning was taken."
    if found.no_provider:
        yield f"{found.no_provider:,} came from hosts that nobody knows; what DNS said of a provider is not recorded."
    if found.unknown_class:
        names = ", ".join(f"{name} ({number:,})" for name, number in found.unknown_class.most_common(5))
        yield f"Of classes that one of the policies does not have, and its default class stood in for: {names}."
    if found.unreadable:
        yield f"{counted(found.unreadable, 'line or event', 'lines or events')} could not be read."


def _data(found: "Difference", names: tuple[str, str], since: timedelta | None) -> dict[str, Any]:
    return {
        "old": {"policy": names[0], **_tally(found.old)},
        "new": {"policy": names[1], **_tally(found.new)},
        "outcomes": found.outcomes,
        "changed": found.changed,
        "first_at": show_time(found.first_at) if found.first_at else None,
        "last_at": show_time(found.last_at) if found.last_at else None,
        "since_seconds": since.total_seconds() if since else None,
        "changes": [
            {"from": change.old, "to": change.new, "count": number, "examples": found.examples.get(change, [])}
            for change, number in found.changes.most_common()
        ],
        "by_provider": dict(found.by_provider.most_common()),
        "by_rule": [
            {"old": before, "new": after, "count": number} for (before, after), number in found.by_rule.most_common()
        ],
        "reworded": found.reworded,
        "not_known": {
            "tries_without_an_answer": found.new.open,
            "begun_before": found.begun_before,
            "not_classified": found.not_classified,
            "no_provider": found.no_provider,
            "unknown_class": dict(found.unknown_class),
            "unreadable": found.unreadable,
        },
    }


def _tally(tally: "Tally") -> dict[str, Any]:
    return {
        "outcomes": dict(tally.verbs),
        "suppressions": tally.suppressions,
        "notices": dict(tally.notices),
        "lost_deliveries": tally.lost,
        "tries_without_an_answer": tally.open,
    }


def _rule_data(change: "RuleChange") -> dict[str, Any]:
    return {
        "how": str(change.how),
        "section": change.section,
        "rule": change.rule,
        "where": change.where,
        "keys": change.keys,
    }


def _reply_data(change: "FaceChange") -> dict[str, Any]:
    example = change.example
    return {
        "reply": example.reply,
        "stage": str(example.stage),
        "accepted": example.accepted,
        "provider": example.provider,
        "when": change.when or "at the first try",
        "old": change.old,
        "new": change.new,
        "old_rule": change.old_rule,
        "new_rule": change.new_rule,
    }


def _show_replies(replies: "Sequence[FaceChange]", limit: int, names: tuple[str, str]) -> None:
    """The typical replies that end otherwise, as far as they are asked for."""
    if not replies:
        return
    show_line()
    rows = [
        (f"{one.example.reply}", f"{one.example.stage}{f', {one.when}' if one.when else ''}", one.old, one.new)
        for one in replies[:limit]
    ]
    show_table(("reply", "stage", *names), rows)
    if len(replies) > limit:
        show_line(f"and {len(replies) - limit:,} more: --limit")


def _show_rule(change: "RuleChange") -> None:
    show_line(f"{change.how} {change.section[:-1]} {change.rule} ({change.where})")
    for key, (was, is_) in change.keys.items():
        if change.how == "changed":
            show_line(f"    - {key}: {_value(was)}")
            show_line(f"    + {key}: {_value(is_)}")
        else:
            show_line(f"    {'+' if change.how == 'added' else '-'} {key}: {_value(is_ if was is None else was)}")


def _value(value: Any) -> str:
    return "none" if value is None else json.dumps(value, default=str).replace('"', "")
