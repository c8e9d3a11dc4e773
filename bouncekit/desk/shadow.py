"""A second policy that decides beside the live one and only reports where it would have done otherwise.

It is asked after the live policy has decided, about the same reply and the same recipient. What it says goes nowhere
but into a few numbers and, now and then, an event; what goes wrong in it is counted, and never reaches a send.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from bouncekit.delivery.events import bounded
from bouncekit.meaning.classification import Classification, Classify, Scope
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.policy.lane import in_words
from bouncekit.policy.policy import Disposition, Policy, SessionDisposition
from bouncekit.policy.rule import Circumstances, Window
from bouncekit.policy.schedule import jittered, show_duration
from bouncekit.words.envelope import Recipient

__all__ = ["INTERVAL", "Shadow"]

INTERVAL = timedelta(minutes=10)  # between two events about one kind of difference
_KINDS = 100  # of differences that are told apart
_DAY = timedelta(days=1)
_OTHERS = "(others)"
_NO_VERDICT = "no verdict"  # of a policy that fails where it is asked: it would not do as the live one does

_log = logging.getLogger("bouncekit")


class _Kind(NamedTuple):
    """A difference: what the live policy does, what the shadow would, and by which rules."""

    live: str
    would: str
    live_rule: str
    shadow_rule: str


@dataclass(slots=True)
class _Seen:
    """How often a kind of difference was there since it was told, and what of the latest may be told."""

    times: int = 0
    told_at: datetime | None = None
    latest: dict[str, Any] = field(default_factory=dict)


class Shadow:
    """A policy that is only asked.

    Args:
        policy: the one to try.
        classify: what classifies replies for it; None where that is what classifies them for the live one.
    """

    def __init__(self, policy: Policy, classify: Classify | None = None) -> None:
        self.policy = policy
        self.decided = 0  # since the last event
        self.faults = 0
        self._classify = classify
        self._seen: dict[_Kind, _Seen] = {}
        self.start_afresh()
        begin_afresh_in_children(self)

    def start_afresh(self) -> None:
        """In the child of a fork nobody holds the lock, and what was seen is the parent's to tell."""
        self._lock = threading.Lock()
        self._seen = {}
        self.decided = 0

    def beside(self, live: Policy) -> Policy:
        """The live policy, which decides as it does and has this one decide too."""
        shadowed = _Shadowed(**{one.name: getattr(live, one.name) for one in fields(live)})
        object.__setattr__(shadowed, "shadow", self)
        return shadowed

    def observe(
        self,
        verdict: Classification,
        recipient: Recipient,
        circumstances: Circumstances,
        live: Disposition,
    ) -> None:
        """Compare what was decided about a recipient with what this policy would."""
        try:
            mine = verdict if self._classify is None else self._classify(verdict.status)
            would = self.policy.decide(mine, recipient, replace(circumstances, provider=_provider(mine, circumstances)))
            one, other = _face(live, verdict, circumstances), _face(would, mine, circumstances)
            self._note(_Kind(one, other, live.rule, would.rule), verdict, mine)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a policy on trial, the send must not suffer
            self._failed(error)
            self._note(_Kind(str(live.fate), _NO_VERDICT, live.rule, ""), verdict, verdict)

    def observe_session(self, verdict: Classification, reconnects: int, live: SessionDisposition) -> None:
        """The same about a connection."""
        try:
            mine = verdict if self._classify is None else self._classify(verdict.status)
            would = self.policy.decide_session(mine, reconnects=reconnects)
            if live.fate is not would.fate:  # most sessions end as they should, and are no news
                self._note(_Kind(str(live.fate), str(would.fate), live.rule, would.rule), verdict, mine)
        except Exception as error:  # noqa: BLE001 - the same
            self._failed(error)
            self._note(_Kind(str(live.fate), _NO_VERDICT, live.rule, ""), verdict, verdict)

    def windows(self, verdict: Classification) -> tuple[Window, ...]:
        """What this policy wants to know of the recipient's history besides."""
        try:
            return self.policy.counters(verdict)
        except Exception as error:  # noqa: BLE001 - the same
            self._failed(error)
            return ()

    def learns(self, verdict: Classification) -> bool:
        """Whether it might come back when a greylist there is usually over."""
        try:
            return self.policy.learns(verdict)
        except Exception as error:  # noqa: BLE001 - the same
            self._failed(error)
            return False

    @property
    def has_news(self) -> bool:
        """Whether there is a difference that was not told."""
        return any(seen.times for seen in tuple(self._seen.values()))

    def due(self, now: datetime, *, closing: bool = False) -> Sequence[Mapping[str, Any]]:
        """What is to be told now, as details of events: of each kind of difference once in a while."""
        with self._lock:
            told = []
            for kind, seen in self._seen.items():
                if seen.times and (closing or seen.told_at is None or abs(now - seen.told_at) >= INTERVAL):
                    told.append({**self._named(), **kind._asdict(), "times": seen.times, **seen.latest})
                    seen.times, seen.told_at = 0, now
                    self.decided = self.faults = 0
        return told

    def _named(self) -> Mapping[str, Any]:
        return {
            "shadow": self.policy.name,
            "shadow_hash": self.policy.hash,
            "decided": self.decided,
            "faults": self.faults,
        }

    def _note(self, kind: _Kind, verdict: Classification, mine: Classification) -> None:
        with self._lock:
            self.decided += 1
            if kind.live == kind.would:
                return
            if kind not in self._seen and len(self._seen) >= _KINDS:
                kind = _Kind(_OTHERS, _OTHERS, "", "")
            seen = self._seen.setdefault(kind, _Seen())
            seen.times += 1
            seen.latest = _about(verdict, mine)

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self.faults += 1
            is_first = self.faults == 1
        if is_first:
            _log.warning("the shadow policy %s failed, and nothing else did: %r", self.policy.name, error)


class _Shadowed(Policy):
    """A live policy that has a shadow decide beside it. Its own verdicts come first, and are the ones that count."""

    shadow: Shadow

    def counters(self, classification: Classification) -> tuple[Window, ...]:
        own = Policy.counters(self, classification)
        return tuple(dict.fromkeys((*own, *self.shadow.windows(classification))))

    def learns(self, classification: Classification) -> bool:
        return Policy.learns(self, classification) or self.shadow.learns(classification)

    def decide(self, classification: Classification, recipient: Recipient, circumstances: Circumstances) -> Disposition:
        disposition = Policy.decide(self, classification, recipient, circumstances)
        if not circumstances.labels.test:
            self.shadow.observe(classification, recipient, circumstances, disposition)
        return disposition

    def decide_session(self, classification: Classification, *, reconnects: int = 0) -> SessionDisposition:
        disposition = Policy.decide_session(self, classification, reconnects=reconnects)
        self.shadow.observe_session(classification, reconnects, disposition)
        return disposition


def _provider(mine: Classification, circumstances: Circumstances) -> str | None:
    return mine.provider or circumstances.provider


def _face(done: Disposition, verdict: Classification, circumstances: Circumstances) -> str:
    """What somebody would notice of a verdict; the same wait is the same, whatever the delivery's jitter."""
    fate = str(done.fate)
    if done.retry_at is not None:
        wait = (done.retry_at - circumstances.now) / (jittered(_DAY, circumstances.jitter) / _DAY)
        unit = timedelta(minutes=1) if wait >= timedelta(minutes=10) else timedelta(seconds=1)
        fate = f"retry in {show_duration(round(wait / unit) * unit)}"
    parts = [fate]
    if done.ladder is not None and verdict.scope is Scope.RECIPIENT and verdict.status.individual:
        parts.append(f"suppress by {done.ladder.name}")
    parts += [f"notify {notice.channel}" for notice in done.notices]
    parts += [in_words(done.measure)] if done.measure is not None else []
    return ", ".join(parts)


def _about(verdict: Classification, mine: Classification) -> dict[str, Any]:
    """What may be told of the latest reply: no address and no text, which `forget` would not find in here."""
    status = verdict.status
    return {
        "category": str(verdict.category),
        "shadow_category": str(mine.category),
        "code": status.code,
        "enhanced": str(status.enhanced) if status.enhanced else None,
        "stage": str(status.stage),
        "provider": bounded(verdict.provider),
    }
