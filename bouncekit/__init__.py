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
    from bouncekit.clients.adopt import Installation, install, wrap
    from bouncekit.clients.aio import AsyncClient
    from bouncekit.clients.client import Client
    from bouncekit.clients.smtp import LMTP, SMTP, SMTP_SSL
    from bouncekit.clients.smtperrors import OutcomeUnknown, RecipientsSuppressed, StoreUnavailable, UnreadableReply
    from bouncekit.delivery.events import Event, EventType
    from bouncekit.delivery.report import DeliveryFailed, Report
    from bouncekit.delivery.settlement import Settlement
    from bouncekit.meaning.classification import Category, Classification, Scope
    from bouncekit.notify import Notification
    from bouncekit.outside.clock import Clock
    from bouncekit.policy.policy import Policy
    from bouncekit.policy.suppression import Standing, Suppression
    from bouncekit.postmaster.asking import classify
    from bouncekit.postmaster.explaining import Comparison, Explanation, compare, explain
    from bouncekit.postmaster.postmaster import Postmaster
    from bouncekit.sinks.jsonlines import JsonLines
    from bouncekit.stores import Store
    from bouncekit.words.envelope import Labels
    from bouncekit.words.errors import (
        AddressError,
        BouncekitError,
        ConfigurationError,
        MissingExtra,
        PolicyError,
        StoreError,
    )
    from bouncekit.words.reply import EnhancedStatusCode, NoReply, Reply, Stage
    from bouncekit.words.status import Action

_HOMES = {
    "clients.adopt": ("Installation", "install", "wrap"),
    "clients.aio": ("AsyncClient",),
    "postmaster.asking": ("classify",),
    "meaning.classification": ("Category", "Classification", "Scope"),
    "clients.client": ("Client",),
    "outside.clock": ("Clock",),
    "words.envelope": ("Labels",),
    "words.errors": (
        "AddressError",
        "BouncekitError",
        "ConfigurationError",
        "MissingExtra",
        "PolicyError",
        "StoreError",
    ),
    "delivery.events": ("Event", "EventType"),
    "postmaster.explaining": ("Comparison", "Explanation", "compare", "explain"),
    "notify": ("Notification",),
    "policy.policy": ("Policy",),
    "postmaster.postmaster": ("Postmaster",),
    "words.reply": ("EnhancedStatusCode", "NoReply", "Reply", "Stage"),
    "delivery.report": ("DeliveryFailed", "Report"),
    "delivery.settlement": ("Settlement",),
    "sinks.jsonlines": ("JsonLines",),
    "clients.smtp": ("LMTP", "SMTP", "SMTP_SSL"),
    "clients.smtperrors": ("OutcomeUnknown", "RecipientsSuppressed", "StoreUnavailable", "UnreadableReply"),
    "words.status": ("Action",),
    "stores": ("Store",),
    "policy.suppression": ("Standing", "Suppression"),
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
