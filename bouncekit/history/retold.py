"""A history in words: one sentence for who asks whether mail goes out, and what there is to say of each moment.

Every text is escaped and bounded for a terminal and a log; what sets it in a page escapes it for the page.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from bouncekit.delivery.events import Event, EventType
from bouncekit.delivery.settlement import Settlement, placed
from bouncekit.history.moments import Moment, Untold
from bouncekit.history.prospects import Coming, Prospect
from bouncekit.history.timeline import History, Struck
from bouncekit.policy.rule import Rule
from bouncekit.policy.schedule import show_duration
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.words.measures import show_minute, show_span
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.showing import printable

__all__ = ["coming", "struck", "told", "verdict"]

_MAX_TEXT = 500  # characters of remote text in one place; JSON has more
_SHORT_HASH = 12
_WITHOUT_TIME = defaultdict(
    lambda: "by hand", {Coming.PROBE: "the next message", Coming.NEXT_VERDICT: "the next refusal"}
)
_OF_THE_LIST = frozenset({EventType.SUPPRESSION_ADDED.value, EventType.SUPPRESSION_LIFTED.value, *Untold})


def verdict(found: History) -> str:
    """One sentence for somebody who asks whether mail goes out."""
    address, one = _shown(found.address), found.suppression
    if one is None:
        return f"{address}: mail goes out" if found.is_known else f"{address}: nothing is known about it"
    why = _shown(f"{one.category}, {one.standing}, by {one.by}" + (f", stream {one.stream}" if one.stream else ""))
    until = f"until {show_minute(one.expires_at)}" if one.expires_at else "for good"
    if one.standing is Standing.HELD:
        return f"{address}: mail goes out; a mass of equal refusals made the verdict on it doubtful ({why})"
    if found.is_held_back:
        return f"{address}: mail is held back {until} ({why})"
    if one.binds(found.at):
        return f"{address}: mail of this kind goes out; other mail is held back {until} ({why})"
    return f"{address}: mail goes out again; it was held back {until} ({why})"


def coming(one: Prospect, now: datetime) -> tuple[str, str]:
    """When something comes, and what it is."""
    if one.at is None:
        return _WITHOUT_TIME[one.what], _shown(one.text)
    away = f"in {show_span(one.at - now)}" if one.at > now else "now"
    return f"{show_minute(one.at)} ({away})", _shown(one.text)


def struck(one: Struck) -> tuple[str, str]:
    """A category, and what its days come to."""
    days = "1 day" if one.days == 1 else f"{one.days} days"
    rule = placed(one.rule, one.where)
    text = f"{days} before today within {show_duration(one.within)}"
    if one.half_after is not None:
        text += f", which weigh {one.weight:g} with {show_duration(one.half_after)} to a half"
    text += f"; {rule} decides when there are {one.times}"
    return one.category.value, _shown(text)


def told(moment: Moment) -> Iterator[tuple[str, str]]:
    """What there is to say of a moment, behind labels."""
    event = moment.event
    if event is not None:
        if channel := event.details.get("channel"):
            yield "channel", _channel(str(channel), event)
        if event.settlement is not None and moment.what not in _OF_THE_LIST and not channel:
            yield from _outcome(event, event.settlement)
            yield from (("counts", _counted(event.settlement, rule)) for rule in moment.counts_for)
        elif event.message_id or moment.what not in _OF_THE_LIST:
            yield "message", _message(event, None)
    if moment.what == EventType.SUPPRESSED and moment.by:
        yield "by", _shown(moment.by)
    elif moment.suppression is not None and (moment.what in _OF_THE_LIST or moment.change is not None):
        yield from _of_the_list(moment, moment.suppression)


def _outcome(event: Event, one: Settlement) -> Iterator[tuple[str, str]]:
    """What became of one attempt: the message, its way, what was said, what it means, who decided what."""
    yield "message", _message(event, one)
    if one.stage is not None and (way := _way(event, one)):
        yield "relay", _shown(way)
    if one.reply is not None:
        said = str(one.reply) + (f", from {one.remote_mta}" if one.remote_mta else "")
        behind = f", behind {one.accepted} accepted" if one.accepted and one.stage is Stage.RCPT else ""
        yield str(one.stage or "said"), _shown(said + behind)
    if one.category is not None and event.type != EventType.SUPPRESSED:
        parts = [str(one.category), f"about the {one.scope}" if one.scope else "nobody is blamed"]
        parts += ["permanent" if one.permanent else "temporary", "certain" if one.certain else "a guess"]
        by = f"; {one.classified_by}" if one.classified_by else ""
        yield "means", _shown(", ".join(parts) + by)
    if one.rule is not None and event.type != EventType.SUPPRESSED:
        occasion = event.occasion
        policy = f", policy {occasion.policy} {occasion.policy_hash[:_SHORT_HASH]}" if occasion.policy else ""
        fate = f"{one.fate} by " if one.fate else ""
        yield (
            "decided",
            _shown(f"{fate}{placed(one.rule, one.where)}{policy}{', at the deadline' if one.expired else ''}"),
        )
    if who := event.details.get("by"):
        yield "by", _shown(str(who))
    if place := event.details.get("moved_to"):
        yield "moved to", _shown(str(place))
    if one.doubted:
        yield "doubted", "one of a mass of equal refusals: it suppresses nobody"
    if one.retry_at is not None:
        rests = f": greylisting there has taken {show_span(one.learned)} of late" if one.learned is not None else ""
        yield "next try", show_minute(one.retry_at) + rests
    if one.possible_duplicate and one.reply is not None and isinstance(one.reply, Reply):
        yield "note", "the server may have had the message before"


def _message(event: Event, one: Settlement | None) -> str:
    labels = event.occasion.labels
    parts = [
        event.message_id or event.occasion.delivery_id or "",
        f"class {labels.message_class}" if labels.message_class else "",
        f"stream {labels.stream}" if labels.stream else "",
        f"attempt {one.attempts}" if one is not None and one.attempts else "",
        f"reported by {event.details['reported_by']}" if event.details.get("reported_by") else "",
        "a test" if labels.test else "",
    ]
    return _shown(", ".join(filter(None, parts)))


def _counted(one: Settlement, rule: Rule) -> str:
    """For what a day with such a verdict counts."""
    assert rule.when.seen is not None
    often = f"at {rule.when.seen.times} within {show_duration(rule.when.seen.within)}"
    return _shown(f"a day with {one.category}; {placed(rule.id, rule.where)} decides {often}")


def _way(event: Event, one: Settlement) -> str:
    """The relay that it went through."""
    outlet = event.occasion.outlet
    if one.relay and outlet:
        return f"{one.relay}, in place of {outlet}"
    return one.relay or outlet or ""


def _channel(channel: str, event: Event) -> str:
    more = event.details.get("more")
    said = f"{channel}, for {more} more as well" if more else channel
    return _shown(f"{said}: {event.details['why']}" if event.details.get("why") else said)


def _of_the_list(moment: Moment, one: Suppression) -> Iterator[tuple[str, str]]:
    change = moment.change
    if moment.what == Untold.ENDED:
        yield "list", _shown(f"{_entry(one)}: the next message is not held back")
        return
    before = change.before if change is not None and change.after is not None else None
    yield "list", _shown(_entry(one) + (f"; before: {_entry(before)}" if before is not None else ""))
    if one.evidence.reply and (moment.event is None or moment.event.settlement is None):
        yield "because", _shown(one.evidence.reply)
    if moment.by:
        yield "by", _shown(moment.by)


def _entry(one: Suppression) -> str:
    until = f"until {show_minute(one.expires_at)}" if one.expires_at else "for good"
    where = f", stream {one.stream}" if one.stream else ""
    return f"{one.standing}, {one.category}, {until}{where}"


def _shown(text: str) -> str:
    return printable(text, limit=_MAX_TEXT)
