"""What a postmaster tells, as signals of Django.

    @receiver(mail_event)
    def tell_support(sender, event, **kwargs):
        if event.type == "failed": ...

They are sent behind the commit, by the process and in the thread that sends the mail. A receiver that raises harms
nobody; Django logs it.
"""

import threading
import weakref

from django.db import close_old_connections
from django.dispatch import Signal

from bouncekit.delivery.events import Event
from bouncekit.integrations.tracking import ESP_NAME, tracking_event
from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["mail_event", "tell", "tracking"]

mail_event = Signal()
"""Every event; receivers get `event`, a `bouncekit.Event`. The sender is the postmaster."""

tracking = Signal()
"""The same in Anymail's words: receivers get `event`, with an `event_type`, and `esp_name`, which is "bouncekit"."""

_OUR_THREADS = "bouncekit-"


def tell(postmaster: Postmaster) -> None:
    """Send signals for what this postmaster tells; for the same one once."""
    if postmaster not in _heard:
        _heard.add(postmaster)
        postmaster.on()(_Telling(postmaster))


_heard: "weakref.WeakSet[Postmaster]" = weakref.WeakSet()


class _Telling:
    """A subscriber that sends signals."""

    def __init__(self, postmaster: Postmaster) -> None:
        self._postmaster = postmaster

    def __call__(self, event: Event) -> None:
        if threading.current_thread().name.startswith(_OUR_THREADS):  # no request of Django's begins or ends there
            close_old_connections()
            try:
                self._send(event)
            finally:
                close_old_connections()
        else:
            self._send(event)

    def _send(self, event: Event) -> None:
        mail_event.send_robust(self._postmaster, event=event)
        if tracking.receivers and (told := tracking_event(event)) is not None:
            tracking.send_robust(self._postmaster, event=told, esp_name=ESP_NAME)
