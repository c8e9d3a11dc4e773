"""What a channel is, what it may use to send a mail, and the rule that no notice makes another one (RFC 3834 2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from bouncekit.notify.notification import Notification
from bouncekit.words.errors import BouncekitError

__all__ = ["Channel", "NotifyError", "Via", "alone"]


class NotifyError(BouncekitError):
    """A channel could not be told. The message names the channel, and never its URL or a password."""


class Via(Protocol):
    """How a channel sends a mail through the connection in use: outside the policy, and with the caller's errors."""

    def __call__(self, sender: str, recipient: str, message: bytes, /) -> None:
        """Send one message to one recipient; `sender` "" is the null return path. Raises if it is not delivered."""


class Channel(Protocol):
    """A way to reach a role of the policy."""

    def send(self, notification: Notification, via: Via | None) -> None:
        """Tell it; whatever this raises is told as `not_notified`, and no send suffers. `via` None: no connection."""


_is_notifying: ContextVar[bool] = ContextVar("bouncekit_is_notifying", default=False)


@contextmanager
def alone(notification: Notification) -> Iterator[None]:
    """While a notice is under way, another one out of the same thread or task is refused.

    A callback or a push service may itself send mail under the policy, which fails, which makes a notice ...

    Raises:
        NotifyError: a notice is under way already.
    """
    if _is_notifying.get():
        raise NotifyError(f"channel {notification.channel!r}: a notice about a notice is never sent")
    token = _is_notifying.set(True)
    try:
        yield
    finally:
        _is_notifying.reset(token)
