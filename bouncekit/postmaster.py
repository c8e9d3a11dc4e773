"""The postmaster: the role that RFC 5321 4.5.1 gives to handling bounces, holding policy, store and events."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from bouncekit.address import parse_address, suppression_key
from bouncekit.client import Client
from bouncekit.clock import Clock
from bouncekit.errors import ConfigurationError
from bouncekit.office import Office, Retry, open_office
from bouncekit.policy import Policy
from bouncekit.sinks.log import LogSink
from bouncekit.smtp import LMTP, SMTP, SMTP_SSL
from bouncekit.stores import Store
from bouncekit.suppressionlist import SuppressionList

__all__ = ["Postmaster"]

Handler = TypeVar("Handler", bound=Callable[..., Any])


class Postmaster:
    """What an application makes once, and gives to everything that sends.

    Args:
        policy: a shipped name ("default", "transactional", "bulk", "strict"), a path, or a Policy.
        store: where suppressions and history live: None for memory, `sqlite:///bounces.db`, or a Store.
        retry: "never" report only; "wait" block up to `patience` and try again; "queue" durable (not built yet).
        patience: how long a send may block under retry="wait"; a timedelta, seconds, or '5m'.
        channels: how to reach each role of the policy (recipient, owner, operations): a callable that takes a
            `Notification`, an apprise URL, `mailto:...`, or a list of those. A role without one is an event.
        on_store_failure: "raise" sends nothing while the store does not answer; "send" sends without asking it.
        clock: another clock, for tests.

    >>> postmaster = Postmaster()
    >>> @postmaster.on("suppressed", "failed")
    ... def tell_support(event): print(event.recipient)
    >>> "jo@example.com" in postmaster.suppressions
    False

    Raises:
        ConfigurationError: something is wrong; the message says what would be right.
    """

    def __init__(
        self,
        *,
        policy: str | Path | Policy = "default",
        store: str | Store | None = None,
        retry: str | Retry = "never",
        patience: timedelta | float | str = timedelta(minutes=5),
        channels: Mapping[str, object] | None = None,
        on_store_failure: str = "raise",
        clock: Clock | None = None,
    ) -> None:
        self.office: Office = open_office(
            policy=policy,
            store=store,
            retry=retry,
            patience=patience,
            channels=channels,
            on_store_failure=on_store_failure,
            clock=clock,
        )
        self.suppressions = SuppressionList(self.office)
        self.office.bus.on(LogSink())

    @classmethod
    def from_config(
        cls,
        folder: str | Path | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        clock: Clock | None = None,
    ) -> "Postmaster":
        """A postmaster as the environment, bouncekit.toml and pyproject.toml say; see `bouncekit.config`.

        `folder` is where the files lie, None the present one; `environ` None the process's own.

        Raises:
            ConfigurationError: something there is wrong; the message says where and what would be right.
        """
        from bouncekit.config import Config

        return cls(**Config.read(folder, environ).for_postmaster(), clock=clock)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.office.policy

    def on(self, *types: str) -> Callable[[Handler], Handler]:
        """Subscribe to events of these types, without any to all: a decorator for a function, sync or async.

        Subscribers hear what the store has remembered. One that raises harms nobody; its traceback is logged.

        Raises:
            ConfigurationError: there is no such type.
        """

        if any(not isinstance(type_, str) for type_ in types):
            raise ConfigurationError(
                f"on() takes event types: write @postmaster.on(), not @postmaster.on; got {types!r}"
            )

        def subscribe(handler: Handler) -> Handler:
            self.office.bus.on(handler, *types)
            return handler

        return subscribe

    def smtp(self, host: str = "", port: int = 0, **options: Any) -> SMTP:
        """A `bouncekit.SMTP` of this postmaster. Options: smtplib's, and message_class, tenant, stream, test."""
        return SMTP(host, port, postmaster=self, **options)

    def smtp_ssl(self, host: str = "", port: int = 0, **options: Any) -> SMTP_SSL:
        """A `bouncekit.SMTP_SSL` of this postmaster."""
        return SMTP_SSL(host, port, postmaster=self, **options)

    def lmtp(self, host: str = "", port: int = 0, **options: Any) -> LMTP:
        """A `bouncekit.LMTP` of this postmaster."""
        return LMTP(host, port, postmaster=self, **options) if port else LMTP(host, postmaster=self, **options)

    def client(self, url: str, **options: Any) -> Client:
        """A `bouncekit.Client` of this postmaster."""
        return Client(url, postmaster=self, **options)

    def why(self, address: str, *, tenant: str = "", limit: int = 100) -> Iterator[dict[str, Any]]:
        """What happened to an address, newest first: events as `Event.to_dict` gives them."""
        key = suppression_key(parse_address(address).wire)
        return iter(self.office.store.history(key, tenant=tenant, limit=limit))

    def close(self) -> None:
        """Wait for asynchronous subscribers, then close the store. What was sent stays sent."""
        self.office.bus.close()
        self.office.store.close()

    def __enter__(self) -> "Postmaster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
