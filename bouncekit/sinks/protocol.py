"""What a sink is: another system that takes events in batches, in their order, each at least once."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import ClassVar, Generic, TypeVar

from bouncekit.delivery.events import EventType, Told
from bouncekit.sinks.gauge import Read
from bouncekit.words.errors import BouncekitError, ConfigurationError
from bouncekit.words.showing import masked, printable, redacted

__all__ = ["NotTaken", "PerProcess", "Sink", "discreet", "order_key"]

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
_MAX_ERROR = 300  # characters of what a sink says when it fails
_SHORTEST_SECRET = 3


class NotTaken(BouncekitError):
    """A sink could not take all events: `taken` of them, from the front, are safe, and the rest comes again.

    The message holds no secret. `is_gone`: it will never take any more, so nobody tries again by himself. `wait` is how
    long it asked to be left alone.
    """

    def __init__(self, why: str, *, taken: int = 0, is_gone: bool = False, wait: timedelta | None = None) -> None:
        self.why = why
        self.taken = taken
        self.is_gone = is_gone
        self.wait = wait
        super().__init__(why)

    def __reduce__(self) -> tuple[type["NotTaken"], tuple[str]]:
        return type(self), (self.why,)


class Sink(ABC):
    """The base of all sinks. One of your own has a `kind` and a method `send`; the rest is done for it.

    Args:
        name: under which its place in the events is kept. A sink of another name begins anew.
        types: of the events that it wants; none: all.
        begin: where a new one begins, with the "oldest" event that the store has, or behind the "newest".

    >>> class Printer(Sink):
    ...     kind = "printer"
    ...     def send(self, events):
    ...         for event in events:
    ...             print(event["sequence"], event["type"], event["subject"])
    >>> Printer(types=["failed"])
    Printer(name='printer', types=['failed'])

    Raises:
        ConfigurationError: no such name can be, there is no such type, or it begins nowhere.
    """

    kind: ClassVar[str]
    batch: ClassVar[int] = 500  # events in one call at the most
    is_metric: ClassVar[bool] = False  # counts what it is told: events from before it came are none of its own

    def __init__(self, *, name: str | None = None, types: Iterable[str] = (), begin: str | None = None) -> None:
        self.name = self.kind if name is None else name
        if not isinstance(self.name, str) or not _NAME.match(self.name):
            raise ConfigurationError(
                f"sink {self.name!a}: a name has small letters, digits, '-', '_' and '.', at most 64"
            )
        known = {type_.value for type_ in EventType}
        wanted = [types] if isinstance(types, str) else list(types)
        if unknown := [type_ for type_ in wanted if type_ not in known]:
            raise ConfigurationError(
                f"sink {self.name}: no event type {unknown[0]!a}; one of {', '.join(sorted(known))}"
            )
        self.types = frozenset(map(str, wanted))
        self.begin = begin or ("newest" if self.is_metric else "oldest")
        if self.begin not in ("oldest", "newest"):
            raise ConfigurationError(f"sink {self.name}: begin={begin!a}; write 'oldest' or 'newest'")

    def __repr__(self) -> str:
        wanted = f", types={sorted(self.types)}" if self.types else ""
        return f"{type(self).__name__}(name={self.name!r}{wanted})"

    def open(self) -> None:  # noqa: B027 - many have nothing to open
        """Make ready, before the first events come, in the process that will send them.

        Raises:
            NotTaken: it cannot be; it is tried again.
        """

    def watch(self, read: Read) -> None:  # noqa: B027 - most only forward
        """Have at hand what reads how everything stands now, for metrics; it is not kept alive by this."""

    @abstractmethod
    def send(self, events: Sequence[Told]) -> int | None:
        """Take events, each as `Event.to_dict` gives it and with its `sequence`. What this returns of is safe for good.

        It has half a minute; one that takes longer returns how many it has taken, from the front, and gets the rest
        again. None: all. The same events may come again, with the same ids: behind a failure, and behind a kill.

        Raises:
            NotTaken: some, from the front, may be safe; the rest comes again later. Any other exception: none is.
        """

    def close(self) -> None:  # noqa: B027 - many have nothing to close
        """Let go of connections. It may be used again afterwards."""


class PerProcess(Generic[T]):
    """Something that is made when it is first needed, and anew in the child of a fork: a connection is its maker's."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: tuple[int, T] | None = None
        self._parents: list[T] = []  # kept, so that nobody closes them here

    def get(self) -> T:
        """The one of this process."""
        if self._made is not None and self._made[0] != os.getpid():
            self._parents.append(self._made[1])
            self._made = None
        if self._made is None:
            self._made = (os.getpid(), self._make())
        return self._made[1]

    def drop(self) -> T | None:
        """Forget it; the one of this process, if there was one, to be closed."""
        made, self._made = self._made, None
        if made is not None and made[0] != os.getpid():
            self._parents.append(made[1])
            return None
        return made[1] if made is not None else None


def discreet(error: BaseException | str, secrets: Iterable[str] = ()) -> str:
    """What an error says, on one line, bounded, without addresses, passwords and these secrets."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return printable(masked(redacted(text)), limit=_MAX_ERROR)


def order_key(event: Told) -> str:
    """What keeps its order where a system splits a stream: the recipient, else the attempt."""
    return str(event.get("subject") or event["data"].get("attempt_id") or "")
