"""What dresses a mail backend of Django's kind: Django's own, and flask-mailman's, which was made after it."""

import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

from bouncekit.integrations.reporting import ReportingSMTP, ReportingSMTP_SSL
from bouncekit.policy.schedule import Retry
from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["LABELS", "Dressed"]

LABELS = ("message_class", "tenant", "stream", "test")


class Dressed(ABC):
    """Stands before the backend of a framework: its settings and results stay, connections are ours.

    Each message that was tried has its `bouncekit.Report` in `bouncekit_report`. Under retry="queue" a server that
    cannot be reached is no error: the message waits in the store.
    """

    submits: ClassVar[bool] = False
    labels: Mapping[str, Any]
    connection: ReportingSMTP | None

    # What the framework's backend has.
    host: str
    port: int
    username: str | None
    password: str | None
    use_tls: bool
    use_ssl: bool
    timeout: float | None
    ssl_keyfile: str | None
    ssl_certfile: str | None
    ssl_context: ssl.SSLContext

    @property
    @abstractmethod
    def postmaster(self) -> Postmaster:
        """Whose policy, store and events."""

    @property
    @abstractmethod
    def own_name(self) -> str:
        """How this host calls itself, as the framework knows it."""

    @property
    def connection_class(self) -> Callable[..., ReportingSMTP]:
        """What opens a connection: smtplib's classes, dressed."""
        return partial(ReportingSMTP_SSL if self.use_ssl else ReportingSMTP, postmaster=self.postmaster, **self.labels)

    def open(self) -> bool | None:
        """Open a connection; True where that was needed. Under retry="queue" it is dialled with the first message."""
        if self.connection or not (self.submits or self.postmaster.office.retry is Retry.QUEUE):
            opened: bool | None = super().open()  # type: ignore[misc]  # of the framework
            return opened
        self.connection = self._undialled()
        return True

    def as_relay(self) -> Mapping[str, Any]:
        """This backend as a relay of a postmaster, through which a worker sends what is left.

        Where the framework speaks in clear, the worker takes TLS if it is offered, and whoever it is offered by.
        """
        is_plain = not (self.use_tls or self.use_ssl)
        scheme = "smtps" if self.use_ssl else "smtp+tls" if self.use_tls else "smtp"
        login = f"{quote(self.username or '', safe='')}:{quote(self.password or '', safe='')}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        options = {
            "timeout": self.timeout,
            "insecure_tls": is_plain,
            "insecure_login_in_clear": is_plain and self._logs_in,
            "tls_context": self.ssl_context if self.ssl_certfile or self.ssl_keyfile else None,
        }
        used = {name: option for name, option in options.items() if option}
        return {"url": f"{scheme}://{login if self._logs_in else ''}{host}:{self.port}", **used}

    @property
    def _logs_in(self) -> bool:
        return bool(self.username and self.password)

    def _undialled(self) -> ReportingSMTP:
        """A connection that is not opened before it is needed."""
        options: dict[str, Any] = {"local_hostname": self.own_name}
        if self.timeout is not None:
            options["timeout"] = self.timeout
        if self.use_ssl:
            options["context"] = self.ssl_context
        session = self.connection_class(**options)
        session.submits = self.submits
        replays: list[Callable[[], object]] = []
        if self.use_tls:
            replays.append(lambda: session.starttls(context=self.ssl_context))
        if self._logs_in:
            replays.append(lambda: session.login(self.username or "", self.password or ""))
        session.dial_when_needed(self.host, self.port, tuple(replays), relay=self._relay)
        return session

    @property
    def _relay(self) -> str | None:
        """The name under which a worker finds this backend."""
        office, alias = self.postmaster.office, getattr(self, "alias", None) or "default"
        return alias if alias in office.relays else office.relay_at(self.host, self.port)

    def _send(self, email_message: Any) -> bool:
        connection = self.connection
        if connection is not None:
            connection.report = None
        try:
            sent: bool = super()._send(email_message)  # type: ignore[misc]  # of the framework
        finally:
            email_message.bouncekit_report = connection.report if connection is not None else None
        return sent
