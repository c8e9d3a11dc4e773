"""`bouncekit rules`: what the rules about replies do not know yet, and rules to begin with."""

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from bouncekit.cli.output import progress, show_json
from bouncekit.cli.settings import (
    classifier_of,
    configured,
    duration,
    json_option,
    open_postmaster,
    policy_option,
    rules_option,
    show_help,
    store_option,
)
from bouncekit.delivery.events import EventType, bounded, show_time
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.measures import counted, show_minute

if TYPE_CHECKING:
    from bouncekit.delivery.events import Told
    from bouncekit.history.suggesting import Gathering, Kind, Suggestion
    from bouncekit.meaning.classifier import Classifier
    from bouncekit.postmaster.config import Config

__all__ = ["verb"]

_FILE = "suggested.toml"
_MAX_LINE_BYTES = 1024 * 1024
_JUDGED = (EventType.FAILED, EventType.DELAYED, EventType.UNKNOWN)
_TEXTS = ("reply", "stage", "remote_mta", "enhanced", "at", "recipient")


@click.group(invoke_without_command=True)
@click.pass_context
def verb(ctx: click.Context) -> None:
    """Find the replies that no rule understands, and write rules for them.

    \b
    bouncekit rules suggest --since 30d > suggested.toml
    bouncekit policy test suggested.toml
    """
    show_help(ctx)


@verb.command(short_help="Print rules for the replies that no rule understood.")
@click.option("--since", callback=duration, default="30d", show_default=True, metavar="DURATION", help="How far back.")
@click.option("--replies", metavar="FILE|-", help="Replies or events as JSON lines, instead of a store's events.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many kinds.")
@policy_option
@rules_option
@store_option
@json_option("one JSON document: replies, unmatched, by, kinds, and toml: the file")
def suggest(
    since: timedelta,
    replies: str | None,
    limit: int,
    policy: str | None,
    rules: tuple[str, ...],
    store: str | None,
    as_json: bool,
) -> int:
    """Print a file of rules for the replies that no rule understood, the most frequent kinds first.

    \b
    bouncekit rules suggest --store sqlite:///bounces.db > suggested.toml
    bouncekit rules suggest --replies replies.jsonl --limit 5

    What it prints passes `policy check` and `policy test`, and says no more than the codes say: what the words mean is
    yours to find out. Exit code 1 when there is nothing to suggest.
    """
    from bouncekit.history.suggesting import Gathering, rule_file
    from bouncekit.outside.provider import provider_of_host

    config = configured(policy=policy, rules=rules, store=store)
    classifier = classifier_of(config)
    gathering = Gathering(classifier.rules, classifier.classify, provider_of_host)
    start = None
    if replies:
        _add_file(replies, gathering)
    else:
        start = _add_store(config, since, gathering)
    found = _proven(list(gathering.suggestions(limit)), classifier)
    text = rule_file(found, [*_heading(gathering, start, len(found), limit)])
    if as_json:
        show_json(_data(gathering, start, found, limit, text))
    else:
        click.echo(text, nl=False)
    return 0 if found else 1


def _add_store(config: "Config", since: timedelta, gathering: "Gathering") -> datetime:
    """Gather what a store has recorded; since when that is."""
    from bouncekit.desk.eventpages import found
    from bouncekit.history.sifting import Sieve
    from bouncekit.stores.searching import Search

    with open_postmaster(config, needs_store=True, makes_store=False) as postmaster:
        start = postmaster.office.clock.now() - since
        search = Search(types=[one.value for one in _JUDGED], since=start)
        for told in progress(found(postmaster.office.store, search, Sieve(test=False)), "replies"):
            _add_event(told, gathering)
    return start


def _add_file(name: str, gathering: "Gathering") -> None:
    """Gather the replies, or the events, of a file of JSON lines."""
    with _opened(name) as file:
        for number, line in enumerate(progress(_lines(file), "replies"), 1):
            try:
                if line.strip():
                    _add_line(line, gathering)
            except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
                raise ConfigurationError(f"{name}:{number}: {error}; a line is {_EXAMPLE}") from None


_EXAMPLE = '{"reply": "550 Bad karma", "stage": "RCPT"}, or an event'


def _opened(name: str) -> IO[bytes]:
    return sys.stdin.buffer if name == "-" else Path(name).open("rb")


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_MAX_LINE_BYTES + 1):
        if len(line) > _MAX_LINE_BYTES:
            raise ValueError(f"a line over {_MAX_LINE_BYTES} bytes")
        yield line


def _add_line(line: bytes, gathering: "Gathering") -> None:
    from bouncekit.postmaster.asking import status_of

    asked = json.loads(line)
    if not isinstance(asked, dict):
        raise ValueError("no object")
    if "specversion" in asked:
        _add_event(asked, gathering)
        return
    if wrong := next((key for key in _TEXTS if not isinstance(asked.get(key), str | None)), None):
        raise ValueError(f"{wrong}: a text is needed")
    status = status_of(
        bounded(asked.get("reply")) or "",
        stage=asked.get("stage") or "RCPT",
        accepted=asked.get("accepted"),
        individual=asked.get("individual"),
        remote_mta=asked.get("remote_mta"),
        enhanced=asked.get("enhanced"),
    )
    if status.code is None:
        raise ValueError(f"no reply is quoted in {str(asked['reply'])[:60]!r}")
    at = datetime.fromisoformat(asked["at"]) if asked.get("at") else None
    gathering.add(status, asked.get("recipient") or "", at)


def _add_event(told: "Told", gathering: "Gathering") -> None:
    from bouncekit.history.recorded import recorded

    past = recorded(told)
    if past is not None and past.has_reply and past.is_trouble:
        gathering.add(past.status, past.recipient, past.at)


def _proven(suggested: "Sequence[Suggestion]", classifier: "Classifier") -> "list[Suggestion]":
    """Those whose example is decided by them, with all of them in one file: as `policy test` will try it.

    Whose words another one takes goes before it, where that helps.
    """
    from bouncekit.history.suggesting import rule_file
    from bouncekit.meaning.meaning import Meaning, RuleFile
    from bouncekit.meaning.ruletrial import try_rules
    from bouncekit.outside.builtin import classifier_with

    def wrong_among(several: "list[Suggestion]") -> set[str]:
        alone = classifier_with(Meaning(own=(RuleFile(_FILE, rule_file(several)),)))
        return {result.rule.id for result in try_rules(alone, classifier) if not result.ok}

    left = list(suggested)
    if taken := wrong_among(left):
        left.sort(key=lambda one: one.id not in taken)
    while wrong := wrong_among(left):
        kept = [one for one in left if one.id not in wrong]
        left = kept if len(kept) < len(left) else []
    return left


def _heading(gathering: "Gathering", since: datetime | None, number: int, limit: int) -> Iterator[str]:
    when = f" since {show_minute(since)}" if since is not None else ""
    yield f"{_share(gathering)}{when}."
    if gathering.unmatched:
        told = ", ".join(f"{count:,} {_BY[by]}" for by, count in gathering.understood.most_common() if by in _BY)
        yield f"{told}; {counted(len(gathering.kinds), 'kind')}, {gathering.wordless:,} without words."
    if number:
        most = counted(min(limit, len(gathering.kinds)), "most frequent kind")
        yield f"Of the {most}, {number:,} with words to begin with:"
        yield f"> {_FILE}; bouncekit policy check {_FILE}; bouncekit policy test {_FILE}"
        yield f"and, once you have judged them, in your policy: meaning: {_FILE}"
    else:
        yield "There is nothing to suggest."


_BY = {
    "digit": "by the first digit alone",
    "code": "by the reply code alone",
    "enhanced": "by the enhanced status code alone",
}


def _share(gathering: "Gathering") -> str:
    total, unmatched = gathering.total, gathering.unmatched
    share = f" ({unmatched / total:.1%})" if total else ""
    return f"No rule understood the words of {unmatched:,} of {counted(total, 'reply', 'replies')}{share}"


def _data(
    gathering: "Gathering", since: datetime | None, found: "Sequence[Suggestion]", limit: int, text: str
) -> dict[str, Any]:
    rules = {one.kind.fingerprint: one for one in found}
    return {
        "since": show_time(since) if since else None,
        "replies": gathering.total,
        "unmatched": gathering.unmatched,
        "by": {by.value: count for by, count in gathering.understood.items()},
        "wordless": gathering.wordless,
        "kinds_in_all": len(gathering.kinds),
        "left_out": gathering.left_out,
        "kinds": [_kind_data(kind, rules.get(kind.fingerprint)) for kind in gathering.largest(limit)],
        "toml": text,
    }


def _kind_data(kind: "Kind", rule: "Suggestion | None") -> dict[str, Any]:
    return {
        **kind.to_dict(),
        "words": list(kind.words),
        "understood_by": kind.by.value,
        "decided_by": kind.decided_by,
        "category": kind.verdict.category.value,
        "rule": rule
        and {
            "id": rule.id,
            "code": rule.code,
            "enhanced": rule.enhanced,
            "text": rule.phrase,
            "category": rule.category.value,
            "stage": rule.stage.value,
            "example": rule.example,
        },
    }
