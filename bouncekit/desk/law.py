"""Which policy and which rules about replies hold: read from their files, and read again when these change.

What holds is one value, and one assignment puts another in its place: a delivery goes to its end by what held when it
began. A file that is wrong changes nothing but that it is told.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bouncekit.delivery.events import EventType, bounded
from bouncekit.desk.ledger import Tell, complain
from bouncekit.desk.shadow import Shadow
from bouncekit.meaning.classification import Classification
from bouncekit.outside.builtin import Opening, classifier_with, classify, read_meaning, read_source
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.policy.policy import Policy
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import ConfigurationError, Finding
from bouncekit.words.status import RecipientStatus

if TYPE_CHECKING:
    from bouncekit.meaning.classifier import Classifier

__all__ = ["InForce", "Law"]

_LOOKS = timedelta(seconds=2)  # between two looks at the files
_MOST_DOUBTED = 100  # classes that messages name and the policy does not have
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

_Prints = dict[str, tuple[int, int, int] | None]


@dataclass(frozen=True, slots=True)
class InForce:
    """What holds now: the policy, and what classifies replies for it; None: the shipped rules alone.

    `judging` is the policy that is asked: the same, or with a shadow beside it.
    """

    policy: Policy
    classifier: "Classifier | None"
    judging: Policy
    shadow: Shadow | None = None
    files: tuple[str, ...] = ()

    def classify(self, status: RecipientStatus) -> Classification:
        """What a status means."""
        return self.classifier.classify(status) if self.classifier is not None else classify(status)


class Law:
    """The policy in force.

    Args:
        policy: a shipped name, a file, or a Policy.
        rules: files of the owner's rules about replies, for whatever policy.
        community_rules: those of others.
        shadow: a second policy, which is only asked.
        roles: the channels that are set up, which the policy must have.
        is_watched: look at the files every two seconds when something is sent, and read them when they have changed.

    Raises:
        ConfigurationError: something is wrong with them.
    """

    def __init__(
        self,
        policy: str | Path | Policy,
        *,
        rules: Sequence[str | Path] = (),
        community_rules: Sequence[str | Path] = (),
        shadow: str | Path | Policy | None = None,
        roles: Collection[str] = (),
        is_watched: bool = False,
    ) -> None:
        self._given, self._shadow_given = policy, shadow
        self._rules = {"own": _listed("rules", rules), "community": _listed("community_rules", community_rules)}
        self._roles = frozenset(roles)
        self._is_watched = is_watched
        self._followers: Sequence[Callable[[Policy], None]] = ()
        self._tell: Tell = lambda *_, **__: None
        self._now: Callable[[], datetime] = lambda: _LONG_AGO
        self._loaded: _Prints = {}  # of every file that was looked for, from before it was opened
        self.in_force = self._read(policy, self._loaded)
        self._files, self._seen = tuple(self._loaded), self._loaded
        self._looked_at = _LONG_AGO
        self._doubted: set[str] = set()
        self.start_afresh()
        begin_afresh_in_children(self)

    def start_afresh(self) -> None:
        """In the child of a fork nobody is reading files."""
        self._reading = threading.Lock()
        self._refusing = threading.local()

    @property
    def rule_files(self) -> Mapping[str, Sequence[str | Path]]:
        """The owner's files of rules, and those of others, by the names that `explain` has for them."""
        return {"rules": self._rules["own"], "community_rules": self._rules["community"]}

    def serve(self, tell: Tell, now: Callable[[], datetime], *followers: Callable[[Policy], None]) -> None:
        """Tell what happens here by `tell`, and whoever keeps something of a policy that there is another."""
        self._tell, self._now, self._followers = tell, now, followers

    def look(self) -> InForce:
        """What holds now. Where the files are watched, they are looked at first, every two seconds at the most.

        A file counts as changed when two looks have found it the same: nobody reads one that is half written.
        """
        if self._is_watched and abs((now := self._now()) - self._looked_at) >= _LOOKS:
            self._looked_at = now
            prints = _prints(self._loaded)
            if prints != self._loaded and prints == self._seen:
                self._read_again()
            self._seen = prints
        return self.in_force

    def reload(self, policy: str | Path | Policy | None = None, *, by: str = "reload") -> bool:
        """Read the files again, or another policy, and let it hold; False where nothing has changed.

        Raises:
            ConfigurationError: something is wrong; what held before holds on, and an event tells it. PolicyError
                and RuleError with every mistake.
        """
        try:
            before, found = self._exchange(policy)
        except ConfigurationError as error:
            self._tell_refused(error, by)
            raise
        if found is None:
            return False
        self._tell(
            EventType.POLICY_LOADED,
            by=by,
            before=before.policy.name,
            before_hash=before.policy.hash,
            shadow=found.shadow.policy.name if found.shadow else None,
        )
        _tell_of(before.shadow, self._tell, self._now, closing=True)
        return True

    def doubt(self, labels: Labels) -> None:
        """Say in the log, once, that a message names a class which the policy does not have."""
        name, policy = labels.message_class, self.in_force.policy
        if name is None or name in policy.classes or name in self._doubted or len(self._doubted) >= _MOST_DOUBTED:
            return
        self._doubted.add(name)
        known = ", ".join(policy.classes)
        complain("a message says that its class is %a; policy %s has %s", name, policy.name, known)

    def _exchange(self, policy: str | Path | Policy | None) -> tuple[InForce, InForce | None]:
        """Read, and put in place what was read: what held before, and what holds now; None where that is the same.

        Nobody is told while somebody reads: who hears of it may well ask for another policy.
        """
        with self._reading:
            given = self._given if policy is None else policy
            opened: _Prints = {}
            try:
                found = self._read(given, opened)
            except ConfigurationError:
                if given == self._given:
                    # Not once more as they are; but when a mistake is mended, or a file appears that was missing.
                    self._loaded = self._seen = _prints(self._files) | opened
                raise
            before, self._given = self.in_force, given
            self._files, self._loaded, self._seen = tuple(opened), opened, opened
            if _is_same(before, found):
                return before, None
            self.in_force = found
            for follow in self._followers:
                follow(found.policy)
        return before, found

    def _tell_refused(self, error: ConfigurationError, by: str) -> None:
        """Tell it once: who hears of it and asks again in vain is not told again of what he has just been told."""
        if getattr(self._refusing, "is_told", False):
            return
        self._refusing.is_told = True
        try:
            self._tell(EventType.POLICY_REFUSED, by=by, **_wrong(error))
        finally:
            self._refusing.is_told = False

    def tell_due(self, *, closing: bool = False) -> None:
        """Tell what the shadow has found, where that is due."""
        _tell_of(self.in_force.shadow, self._tell, self._now, closing=closing)

    def _read_again(self) -> None:
        if self._reading.locked():
            return  # somebody is at it, and a delivery does not wait for that
        try:
            self.reload(by="file change")
        except ConfigurationError:
            return  # which an event has told

    def _read(self, given: str | Path | Policy, opened: _Prints) -> InForce:
        """What would hold; `opened` gets every file that it is looked for in, as that is before it is opened.

        Raises:
            ConfigurationError: it cannot.
        """
        opening = partial(_note, opened)
        policy, files = _opened(given, opening)
        if unknown := sorted(self._roles - set(policy.channels)):
            listed = ", ".join(policy.channels) or "none"
            raise ConfigurationError(f"channel {unknown[0]!r} is not one of the policy's channels: {listed}")
        given_rules = read_meaning(**self._rules, opening=opening)
        meaning = given_rules + policy.meaning
        files = (*files, *(one.file for one in given_rules.own + given_rules.community))
        own = classifier_with(meaning) if meaning else None
        if self._shadow_given is None:
            return InForce(policy, own, policy, None, files)
        other, more = _opened(self._shadow_given, opening)
        theirs = given_rules + other.meaning
        shadow = Shadow(other, None if theirs == meaning else classifier_with(theirs).classify)
        return InForce(policy, own, shadow.beside(policy), shadow, tuple(dict.fromkeys((*files, *more))))


def _opened(given: str | Path | Policy, opening: Opening) -> tuple[Policy, tuple[str, ...]]:
    """A policy, and the files that it was read from."""
    if isinstance(given, Policy):
        return given, ()
    source = read_source(given, opening=opening)
    return source.policy, source.files


def _listed(name: str, paths: Sequence[str | Path]) -> tuple[str | Path, ...]:
    if isinstance(paths, str | Path):
        raise ConfigurationError(f"{name}={paths!r}: a list of files is needed, such as ['replies.toml']")
    return tuple(paths)


def _is_same(before: InForce, found: InForce) -> bool:
    """Whether nothing was read but what holds already."""
    shadows = [held.shadow.policy if held.shadow else None for held in (before, found)]
    return before.policy == found.policy and before.classifier is found.classifier and shadows[0] == shadows[1]


def _prints(files: Iterable[str]) -> _Prints:
    """By what each file is known to be another by now; None where there is none."""
    prints: _Prints = {}
    for file in files:
        _note(prints, file)
    return prints


def _note(prints: _Prints, file: str) -> None:
    """Keep by what a file is known to be another, as it was when it was first asked for."""
    if file in prints:
        return
    try:
        found = os.stat(file)
        prints[file] = found.st_mtime_ns, found.st_size, found.st_ino
    except (OSError, ValueError):  # no file has a NUL in its name
        prints[file] = None


def _wrong(error: ConfigurationError) -> Mapping[str, Any]:
    """What is wrong, for an event: the first mistake, and how many there are."""
    findings: tuple[Finding, ...] = getattr(error, "findings", ())
    return {"why": bounded(str(findings[0] if findings else error)), "mistakes": max(len(findings), 1)}


def _tell_of(shadow: Shadow | None, tell: Tell, now: Callable[[], datetime], *, closing: bool) -> None:
    if shadow is not None and shadow.has_news:
        for details in shadow.due(now(), closing=closing):
            tell(EventType.SHADOW_DIFFERED, **details)
