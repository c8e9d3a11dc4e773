"""An event in the columns that people read: when, what was said, by which rule and by whom."""

from collections.abc import Mapping
from typing import Any

from bouncekit.policy.budget import Stream

__all__ = ["rule", "said", "second"]


def second(time: object) -> str:
    """A time of the JSON form, shorter.

    >>> second("2026-11-25T03:56:38.037Z")
    '2026-11-25 03:56:38Z'
    """
    return f"{str(time)[:19].replace('T', ' ')}Z"


def said(data: Mapping[str, Any]) -> str:
    """The reply, or what this event has instead of one, and what follows from it."""
    text = data.get("reply") or (data.get("suppression") or {}).get("evidence", {}).get("reply") or ""
    if channel := data.get("channel"):
        return f"channel {channel}: {data['why']}" if data.get("why") else f"channel {channel}"
    if sink := data.get("sink"):
        return f"sink {sink}: {data.get('why')}"
    if lane := data.get("lane"):
        return ": ".join(filter(None, (f"{lane}{_pace(data)}", data.get("why"))))
    if data.get("refusals"):
        text = f"{data['refusals']} of {data['answers']} answers of {data['provider']}: {text}"
    elif data.get("oldest_due_at"):
        text = f"{data['due']} due, the oldest since {second(data['oldest_due_at'])}"
    elif "bounce_rate" in data:
        stream = Stream(data.get("tenant") or "", data.get("stream") or "")
        text = f"{stream}: {data['bounced']} of {data['sent']} bounced, {data['complained']} complained"
    elif data.get("port"):
        text = text or f"{data.get('remote_mta')}, port {data['port']}"
    due = f"next try at {second(data['retry_at'])}" if data.get("retry_at") else ""
    twice = "maybe a second copy" if data.get("action") == "delivered" and data.get("possible_duplicate") else ""
    return "; ".join(filter(None, (str(text), due, twice)))


def _pace(data: Mapping[str, Any]) -> str:
    """How mail goes that way from now on."""
    if data.get("until"):
        return f" until {second(data['until'])}"
    return f", {data['per_minute']:g} a minute" if data.get("per_minute") else ""


def rule(data: Mapping[str, Any]) -> str:
    """The rule and where it stands; for what a hand did, whose."""
    suppression: Mapping[str, Any] = data.get("suppression") or {}
    name, where, by = data.get("rule"), data.get("where"), data.get("by")
    if name:
        name = str(name).removeprefix("rule ")  # of a suppression that was obeyed: whoever added it
        return f"{name} ({where or by})" if where or by else name
    return str(by or suppression.get("by") or "")
