"""bouncekit: bounce handling for applications that send mail from Python.

It wraps smtplib: reads every SMTP reply, says what the server means and whose fault it is, lets a declarative policy
decide what happens to each recipient, and tells it in structured events.

    postmaster = bouncekit.Postmaster(policy="transactional", store="sqlite:///bounces.db")

    with postmaster.smtp("localhost", 25) as smtp:
        report = smtp.send_message(message)

This is the front door: names only, each loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bouncekit._version import __version__

if TYPE_CHECKING:
    from bouncekit.adopt import Installation, install, wrap
    from bouncekit.aio import AsyncClient
    from bouncekit.asking import classify
    from bouncekit.classification import Category, Classification, Scope
    from bouncekit.client import Client
    from bouncekit.clock import Clock
    from bouncekit.envelope import Labels
    from bouncekit.errors import (
        AddressError,
        BouncekitError,
        ConfigurationError,
        MissingExtra,
        PolicyError,
        StoreError,
    )
    from bouncekit.events import Event, EventType
    from bouncekit.explaining import Comparison, Explanation, compare, explain
    from bouncekit.notify import Notification
    from bouncekit.policy import Policy
    from bouncekit.postmaster import Postmaster
    from bouncekit.reply import EnhancedStatusCode, NoReply, Reply, Stage
    from bouncekit.report import DeliveryFailed, Report
    from bouncekit.settlement import Settlement
    from bouncekit.sinks.jsonlines import JsonLines
    from bouncekit.smtp import LMTP, SMTP, SMTP_SSL
    from bouncekit.smtperrors import OutcomeUnknown, RecipientsSuppressed, StoreUnavailable, UnreadableReply
    from bouncekit.status import Action
    from bouncekit.stores import Store
    from bouncekit.suppression import Standing, Suppression

_HOMES = {
    "adopt": ("Installation", "install", "wrap"),
    "aio": ("AsyncClient",),
    "asking": ("classify",),
    "classification": ("Category", "Classification", "Scope"),
    "client": ("Client",),
    "clock": ("Clock",),
    "envelope": ("Labels",),
    "errors": ("AddressError", "BouncekitError", "ConfigurationError", "MissingExtra", "PolicyError", "StoreError"),
    "events": ("Event", "EventType"),
    "explaining": ("Comparison", "Explanation", "compare", "explain"),
    "notify": ("Notification",),
    "policy": ("Policy",),
    "postmaster": ("Postmaster",),
    "reply": ("EnhancedStatusCode", "NoReply", "Reply", "Stage"),
    "report": ("DeliveryFailed", "Report"),
    "settlement": ("Settlement",),
    "sinks.jsonlines": ("JsonLines",),
    "smtp": ("LMTP", "SMTP", "SMTP_SSL"),
    "smtperrors": ("OutcomeUnknown", "RecipientsSuppressed", "StoreUnavailable", "UnreadableReply"),
    "status": ("Action",),
    "stores": ("Store",),
    "suppression": ("Standing", "Suppression"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "LMTP",
    "SMTP",
    "SMTP_SSL",
    "Action",
    "AddressError",
    "AsyncClient",
    "BouncekitError",
    "Category",
    "Classification",
    "Client",
    "Clock",
    "Comparison",
    "ConfigurationError",
    "DeliveryFailed",
    "EnhancedStatusCode",
    "Event",
    "EventType",
    "Explanation",
    "Installation",
    "JsonLines",
    "Labels",
    "MissingExtra",
    "NoReply",
    "Notification",
    "OutcomeUnknown",
    "Policy",
    "PolicyError",
    "Postmaster",
    "RecipientsSuppressed",
    "Reply",
    "Report",
    "Scope",
    "Settlement",
    "Stage",
    "Standing",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "Suppression",
    "UnreadableReply",
    "__version__",
    "classify",
    "compare",
    "explain",
    "install",
    "wrap",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'bouncekit' has no attribute {name!r}")
    value = getattr(import_module(f"bouncekit.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
