"""Replies that came in a span of time and not before it, put together by what they say, as `suggesting` does.

A provider that words a refusal anew, or refuses for a new reason, stands out here before it does in any number.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from bouncekit.delivery.events import Told
from bouncekit.history.recorded import REMEMBERED
from bouncekit.history.retelling import reply_told
from bouncekit.history.suggesting import Alike, most_frequent
from bouncekit.policy.guard import fingerprint, provider_at
from bouncekit.words.pseudonym import is_pseudonym
from bouncekit.words.reply import Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["Newcomer", "Newcomers"]

_MOST = 20_000  # kinds at the same time
_LEAST_CODE = 400
_ANYBODY = "jo@example.com"


@dataclass(slots=True, kw_only=True)
class Newcomer(Alike):
    """Those that came anew, with their code and what the first of them was taken for."""

    code: int
    category: str


class Newcomers:
    """First `add` all of the time, then say what was `known` before it; what is left is new. Bounded.

    Args:
        provider_of: whose host replied.
    """

    def __init__(self, provider_of: Callable[[str], str | None] = lambda host: None) -> None:
        self._kinds: dict[str, Newcomer] = {}
        self._codes: Counter[int] = Counter()
        self._provider_of = provider_of

    def __len__(self) -> int:
        return len(self._kinds)

    def add(self, told: Told) -> None:
        """An event of the time; what tells of no refusal counts nothing."""
        one = _refused(told)
        if one is None:
            return
        if one.name not in self._kinds:
            if len(self._kinds) >= _MOST:
                return
            example = " ".join(one.text.split())
            new = Newcomer(fingerprint=one.name, example=example, code=one.code, category=one.category)
            self._kinds[one.name] = new
            self._codes[one.code] += 1
        provider = self._provider_of(one.host) or provider_at(one.host, one.recipient) or "unknown"
        self._kinds[one.name].add(provider, datetime.fromisoformat(told["time"]))

    def known(self, told: Told) -> None:
        """An event from before the time: what it tells is not new."""
        if not self._codes[told["data"].get("code") or 0]:
            return  # nothing that is left has this code
        one = _refused(told)
        if one is not None and self._kinds.pop(one.name, None) is not None:
            self._codes[one.code] -= 1

    def largest(self, limit: int) -> list[Newcomer]:
        """The most frequent kinds."""
        return most_frequent(self._kinds.values(), limit)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What of an event matters here. Many are read, so the rest of it is left alone."""

    name: str  # the fingerprint that `rules suggest` goes by, too
    code: int
    text: str
    category: str
    recipient: str
    host: str


def _refused(told: Told) -> _Refusal | None:
    """None where no server refused anything, or where the store was told no words of it."""
    data = told["data"]
    code, text, category, recipient = (data.get(key) for key in ("code", "reply", "category", "recipient"))
    if not code or code < _LEAST_CODE or not text or not category or is_pseudonym(recipient):
        return None
    name = _fingerprint(code, *_alike(text, recipient))
    return _Refusal(name, code, text, category, recipient, data.get("remote_mta") or "")


def _alike(text: str, recipient: str) -> tuple[str, str]:
    """The reply and its recipient, so that replies that differ in him alone are remembered as one."""
    local, _, domain = recipient.rpartition("@")
    if not local or '"' in recipient or recipient not in text:
        others = text.lower()
    else:
        text = text.replace(recipient, _ANYBODY)
        others = text.replace(_ANYBODY, "").lower()
    is_elsewhere = any(part and part.lower() in others for part in (local, domain))
    return (text, recipient) if is_elsewhere else (text, "")


@lru_cache(maxsize=REMEMBERED)
def _fingerprint(code: int, text: str, recipient: str) -> str:
    reply = reply_told({"code": code, "reply": text})
    return fingerprint(RecipientStatus(recipient=recipient, action=Action.FAILED, stage=Stage.RCPT, reply=reply), "")
