"""What metrics tell events apart by: few values, from closed sets, and never an address."""

from collections.abc import Mapping

from bouncekit.delivery.events import EventType, Told
from bouncekit.meaning.classification import Category, Scope

__all__ = ["LABELS", "labels"]

LABELS = ("type", "category", "scope", "code")
_SETS = {
    "type": frozenset(map(str, EventType)),
    "category": frozenset(map(str, Category)),
    "scope": frozenset(map(str, Scope)),
}
# RFC 5321 4.2.3, 4954, 3207, 7504, 7505 and what providers are seen to use; any other shows as its first digit.
_CODES = frozenset(
    """
    220 221 235 250 251 252 334 354 421 432 450 451 452 453 454 455 458 459 471 499 500 501 502 503 504 521 523 530 534
    535 538 541 550 551 552 553 554 555 556 571
    """.split()
)


def labels(event: Told) -> Mapping[str, str]:
    """The labels of an event; "" where it has nothing to say, "other" for what no set has.

    >>> labels({"type": "failed", "data": {"category": "mailbox_full", "scope": "recipient", "code": 552}})
    {'type': 'failed', 'category': 'mailbox_full', 'scope': 'recipient', 'code': '552'}
    >>> labels({"type": "failed", "data": {"category": "ada@example.com", "code": 599}})
    {'type': 'failed', 'category': 'other', 'scope': '', 'code': '5xx'}
    """
    data = event["data"]
    found = {name: _of(known, event["type"] if name == "type" else data.get(name)) for name, known in _SETS.items()}
    return {**found, "code": _code(data.get("code"))}


def _of(known: frozenset[str], value: object) -> str:
    if value is None:
        return ""
    return str(value) if str(value) in known else "other"


def _code(value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    if text in _CODES:
        return text
    return f"{text[0]}xx" if len(text) == 3 and text[0] in "2345" and text.isdecimal() and text.isascii() else "other"
