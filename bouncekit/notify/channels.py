"""A channel from what an owner writes for a role: a function, a URL, an object of their own, or several of these."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bouncekit.notify.notification import Notification
from bouncekit.notify.protocol import Channel, NotifyError, Via, alone
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.showing import printable, redacted

__all__ = ["All", "Callback", "channel", "open_channels"]

_RIGHT = "write a function that takes a Notification, an apprise URL, 'mailto:ops@example.com', or a list of those"


class Callback:
    """A function of the application: it may reach the recipient by SMS, by a message in the application, by post."""

    def __init__(self, function: Callable[[Notification], object]) -> None:
        self._function = function

    def __repr__(self) -> str:
        return f"Callback({self._function!r})"

    def send(self, notification: Notification, via: Via | None) -> None:
        """Call it; what it raises is raised."""
        with alone(notification):
            self._function(notification)


class All:
    """Several channels for one role; each is told, also when one before it fails."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = tuple(channels)

    def __repr__(self) -> str:
        return f"All({list(self._channels)!r})"

    def send(self, notification: Notification, via: Via | None) -> None:
        """Tell all of them.

        Raises:
            NotifyError: at least one failed; it says how many, and what the first one said.
        """
        failures: list[Exception] = []
        for one in self._channels:
            try:
                one.send(notification, via)
            except Exception as error:  # noqa: BLE001 - whatever a channel raises, the others are told
                failures.append(error)
        if failures:
            first = f"{type(failures[0]).__name__}: {printable(redacted(str(failures[0])), limit=300)}"
            raise NotifyError(f"{len(failures)} of {len(self._channels)} ways failed: {first}") from failures[0]


def open_channels(given: Mapping[str, object]) -> dict[str, Channel]:
    """The channels of a postmaster: role to what `channel` takes.

    Raises:
        ConfigurationError: one of them describes none, or it is no mapping.
        MissingExtra: see `channel`.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError("channels: a mapping is needed, such as {'operations': 'mailto:ops@example.com'}")
    return {role: channel(spec) for role, spec in given.items()}


def channel(spec: object) -> Channel:
    """The channel that a spec describes.

    >>> channel(["mailto:ops@example.com", "mailto:boss@example.com"])
    All([Mail('ops@example.com', sender=None), Mail('boss@example.com', sender=None)])

    Raises:
        ConfigurationError: it describes none; the message says what would be right.
        MissingExtra: it is an apprise URL, and apprise is not installed.
    """
    if isinstance(spec, str):
        return _from_url(spec)
    if isinstance(spec, list | tuple):
        if not spec:
            raise ConfigurationError(f"an empty list of channels tells nobody: {_RIGHT}")
        return All([channel(one) for one in spec])
    if callable(getattr(spec, "send", None)):
        return _own(spec)
    if not callable(spec):
        raise ConfigurationError(f"a channel cannot be made from {type(spec).__name__}: {_RIGHT}")
    call = getattr(spec, "__call__", None)  # noqa: B004 - its own method is asked, not whether it can be called
    if inspect.iscoroutinefunction(spec) or inspect.iscoroutinefunction(call):
        raise ConfigurationError(f"{spec!r} is asynchronous, and a channel is told by the send that waits: {_RIGHT}")
    return Callback(spec)


def _from_url(url: str) -> Channel:
    scheme, separator, rest = url.partition(":")
    if separator and rest.startswith("//"):
        from bouncekit.notify.push import Push

        return Push(url)
    if scheme.lower() == "mailto":
        from bouncekit.notify.mail import Mail  # with the half of `email` that writes messages

        return Mail.parse(url)
    if "@" in url and not separator:
        raise ConfigurationError(f"a channel is a URL: did you mean 'mailto:{printable(url)}'?")
    raise ConfigurationError(f"{printable(url, limit=8)!r} is no URL: {_RIGHT}")  # it may be a bare token


def _own(spec: Any) -> Channel:
    if isinstance(spec, type):
        raise ConfigurationError(f"{spec.__name__} is a class: give an object of it, {spec.__name__}(...)")
    own: Channel = spec
    return own
