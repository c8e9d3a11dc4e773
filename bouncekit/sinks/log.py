"""Events as lines of the application's log, by structlog through the standard library's logging.

Nothing is configured here and nothing is shown before the application configures logging. Where it has set up
structlog on top of the standard library's logging, the lines go through its processors and look like its own; else
they are text, `failed recipient=j…@example.com code=552 ...`, with the same values as attributes of the log record.
"""

import logging
from collections.abc import MutableMapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from bouncekit.delivery.events import Event, EventType, show_time
from bouncekit.words.reply import Reply
from bouncekit.words.showing import masked, printable, redacted

__all__ = ["LEVELS", "LogSink"]

LEVELS = MappingProxyType(
    {
        EventType.DELIVERED: logging.INFO,
        EventType.DELAYED: logging.INFO,
        EventType.FAILED: logging.WARNING,
        EventType.SUPPRESSED: logging.INFO,
        EventType.COMPLAINED: logging.WARNING,
        EventType.UNVERIFIED: logging.WARNING,
        EventType.UNKNOWN: logging.WARNING,
        EventType.QUEUED: logging.INFO,
        EventType.SUPPRESSION_ADDED: logging.WARNING,
        EventType.SUPPRESSION_LIFTED: logging.INFO,
        EventType.SUPPRESSIONS_IMPORTED: logging.INFO,
        EventType.NOTIFIED: logging.INFO,
        EventType.NOT_NOTIFIED: logging.WARNING,
        EventType.CLOSED: logging.WARNING,  # by the server; after our own QUIT it is DEBUG
        EventType.RECONNECTED: logging.INFO,
        EventType.GUARD_TRIPPED: logging.WARNING,
        EventType.QUEUE_STALLED: logging.WARNING,
        EventType.SINK_PARKED: logging.WARNING,
        EventType.SLOWED: logging.WARNING,
        EventType.PAUSED: logging.WARNING,
        EventType.RESUMED: logging.INFO,
        EventType.BUDGET_WARNED: logging.WARNING,
        EventType.BUDGET_SLOWED: logging.WARNING,
        EventType.BUDGET_STOPPED: logging.WARNING,
        EventType.BUDGET_RECOVERED: logging.INFO,
        EventType.POLICY_LOADED: logging.INFO,
        EventType.POLICY_REFUSED: logging.WARNING,
        EventType.SHADOW_DIFFERED: logging.INFO,
        EventType.INSECURE_TLS: logging.WARNING,
    }
)

# What a line takes from the details that only some types of events have, in the order in which it shows them.
_DETAILS = tuple(
    """
    channel sink lane until per_minute more added changed why reported_by trust code stage rule then remote_mta port
    by due oldest_due_at provider refusals answers usual_share fingerprint sent bounce_rate complaint_rate before
    mistakes shadow live would shadow_rule times
    """.split()
)
_MAX_TEXT = 200  # characters of one value

_log = logging.getLogger("bouncekit.events")


class LogSink:
    """A subscriber that logs each event under the name `bouncekit.events`.

    Args:
        addresses: show whole addresses. Without it a line has `j…@example.com`, and the message-id and the event's
            id lead to the person: a log is read by more people, and kept longer, than a store.

    >>> LogSink()
    LogSink(addresses=False)
    """

    def __init__(self, *, addresses: bool = False) -> None:
        self._addresses = addresses
        self._loggers: dict[bool, Any] = {}
        root = logging.getLogger("bouncekit")
        if not root.handlers:
            root.addHandler(logging.NullHandler())  # else warnings would go to stderr without being asked for

    def __repr__(self) -> str:
        return f"LogSink(addresses={self._addresses})"

    def __call__(self, event: Event) -> None:
        level = _level(event)
        if _log.isEnabledFor(level) and _is_heard(level):
            self._logger().log(level, event.type.value, **self._fields(event))

    def wants(self, type_: EventType) -> bool:
        """Whether anybody reads a line about such an event."""
        level = LEVELS.get(type_, logging.INFO)
        return _log.isEnabledFor(level) and _is_heard(level)

    def _fields(self, event: Event) -> dict[str, Any]:
        """What a line shows, without what is not known."""
        fields: dict[str, object] = {
            "recipient": event.recipient,
            "code": event.reply.code if isinstance(event.reply, Reply) else None,
            "category": event.category,
            "scope": event.scope,
            "rule": event.rule,
            "retry_at": event.retry_at,
        }
        fields |= {name: event.details[name] for name in _DETAILS if name in event.details}
        shown = {name: self._shown(value) for name, value in fields.items() if value not in (None, "")}
        if event.message_id:
            shown["message_id"] = printable(event.message_id, limit=_MAX_TEXT)
        return {**shown, "event_id": event.id}

    def _shown(self, value: object) -> object:
        if isinstance(value, datetime):
            return show_time(value)
        if isinstance(value, int):
            return value
        text = str(value)
        return printable(redacted(text if self._addresses else masked(text)), limit=_MAX_TEXT)

    def _logger(self) -> Any:
        """The logger that fits what the application has configured by now."""
        import structlog

        factory = structlog.get_config()["logger_factory"]
        is_theirs = structlog.is_configured() and isinstance(factory, structlog.stdlib.LoggerFactory)
        if is_theirs not in self._loggers:
            self._loggers[is_theirs] = structlog.wrap_logger(
                _log, processors=None if is_theirs else [_as_text], wrapper_class=structlog.stdlib.BoundLogger
            )
        return self._loggers[is_theirs]


def _level(event: Event) -> int:
    if event.type is EventType.CLOSED and event.details.get("expected"):
        return logging.DEBUG
    return LEVELS.get(event.type, logging.INFO)


def _is_heard(level: int) -> bool:
    """Whether a handler would show it: an application without logging pays for no line, nor for structlog's import."""
    logger: logging.Logger | None = _log
    while logger is not None:
        if any(level >= one.level and not isinstance(one, logging.NullHandler) for one in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _as_text(_: Any, __: str, fields: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
    """The last processor where structlog is not configured: a line for any formatter, values for those that want them.

    Values hold no line end by now; quotes keep apart the ones that hold a space.
    """
    name = fields.pop("event")
    values = (f"{key}={_quoted(str(value))}" for key, value in fields.items())
    return (" ".join((name, *values)),), {"extra": dict(fields)}


def _quoted(text: str) -> str:
    if not any(character in text for character in ' ="'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
