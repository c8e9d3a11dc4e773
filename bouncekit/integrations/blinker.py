"""What a postmaster tells, as signals of blinker: one for each type of event, with a name of its own.

signals = bouncekit.integrations.blinker.tell(postmaster)

@signals["failed"].connect
def tell_support(postmaster, event): ...
"""

import logging
from collections.abc import Mapping
from types import MappingProxyType

from bouncekit.delivery.events import Event, EventType
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.words.errors import MissingExtra

try:
    from blinker import NamedSignal, Namespace
except ImportError as error:
    raise MissingExtra("blinker", error.name or "blinker", "signals of blinker") from error

__all__ = ["tell"]

_log = logging.getLogger("bouncekit.signals")


def tell(postmaster: Postmaster, namespace: Namespace | None = None) -> Mapping[str, NamedSignal]:
    """Signals by the type of event; receivers get the postmaster as sender, and `event`, a `bouncekit.Event`.

    They are sent behind the commit, in the thread that sends the mail. A receiver that raises harms nobody; its
    traceback is logged.

    Args:
        namespace: where their names are, `bouncekit.failed` and so on; a new one where none is given.
    """
    names = namespace if namespace is not None else Namespace()
    signals = {type_.value: names.signal(f"bouncekit.{type_}") for type_ in EventType}

    def send(event: Event) -> None:
        for receiver in signals[event.type].receivers_for(postmaster):
            try:
                receiver(postmaster, event=event)
            except Exception:  # noqa: BLE001 - of whoever listens
                _log.exception("a receiver of bouncekit.%s", event.type)

    postmaster.on()(send)
    return MappingProxyType(signals)
