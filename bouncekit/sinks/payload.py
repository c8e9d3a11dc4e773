"""An event as bytes of JSON, never larger than another system takes (CloudEvents 1.0, JSON format 1.0.2)."""

import json
from collections.abc import Mapping
from typing import Any

from bouncekit.delivery.events import Told

__all__ = ["MAX_BYTES", "body", "line"]

MAX_BYTES = 20_000  # less than what Standard Webhooks recommends at the most, 20 KiB
_CUTS = (1024, 256, 64, 16)  # characters of each text, ever fewer until all fits


def body(event: Told, *, limit: int = MAX_BYTES) -> bytes:
    """The event in ASCII. Where that is too large, long texts are cut, and `data.cut` says so.

    >>> body({"id": "1", "data": {"reply": "x" * 300}}, limit=100)
    b'{"id":"1","data":{"reply":"xxxxxxxxxxxxxxxx","cut":true}}'
    """
    for most in (None, *_CUTS):
        written = _json(event if most is None else _cut(event, most))
        if len(written) <= limit:
            return written
    kept = {name: _shortened(event.get(name), _CUTS[-1] * 8) for name in _ENVELOPE if name in event}
    return _json({**kept, "data": {"schema": event["data"].get("schema"), "cut": True}})


def line(event: Told) -> str:
    """The whole event on a line of ASCII."""
    return _json(event).decode("ascii") + "\n"


_ENVELOPE = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "sequence")


def _json(event: Told) -> bytes:
    """Readers differ in whether an attribute may be null, so one that is not known is left out."""
    known = {name: value for name, value in event.items() if value is not None}
    return json.dumps(known, separators=(",", ":"), default=str).encode("ascii")


def _cut(event: Told, most: int) -> dict[str, Any]:
    """The event with the texts of its data cut. What names it, and whom it is about, stays whole."""
    return {**event, "data": {**_shortened(event["data"], most), "cut": True}}


def _shortened(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return value[:most]
    if isinstance(value, Mapping):
        return {name: _shortened(one, most) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_shortened(one, most) for one in value[:most]]
    return value
