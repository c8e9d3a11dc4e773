"""Flask-Mail, dressed: its settings and calls, every send by the policy of a postmaster.

mail = bouncekit.integrations.flask_mail.Mail(app, postmaster=postmaster)   # a flask_mail.Mail
"""

from typing import Any, Unpack

from bouncekit.clients.smtp import HasOffice
from bouncekit.integrations.reporting import ReportingSMTP, ReportingSMTP_SSL
from bouncekit.words.envelope import LabelOptions
from bouncekit.words.errors import MissingExtra

try:
    import flask_mail
    from flask import Flask
except ImportError as error:
    raise MissingExtra("flask", error.name or "flask-mail", "sends through Flask-Mail") from error

__all__ = ["Connection", "Mail"]


class Connection(flask_mail.Connection):
    """A connection of Flask-Mail that obeys a policy. A message that was tried has its report in `bouncekit_report`."""

    host: ReportingSMTP | None

    def __init__(self, mail: Any, postmaster: HasOffice, labels: LabelOptions) -> None:
        super().__init__(mail)
        self._postmaster = postmaster
        self._labels = labels

    def configure_host(self) -> ReportingSMTP:
        """Connect and log in, as Flask-Mail does."""
        mail = self.mail
        kind = ReportingSMTP_SSL if mail.use_ssl else ReportingSMTP
        host = kind(mail.server, mail.port, postmaster=self._postmaster, **self._labels)
        host.set_debuglevel(int(mail.debug))
        if mail.use_tls:
            host.starttls()
        if mail.username and mail.password:
            host.login(mail.username, mail.password)
        return host

    def send(self, message: Any, envelope_from: Any = None) -> None:
        """Send a message; see `flask_mail.Connection.send`."""
        host = self.host
        if host is not None:
            host.report = None
        try:
            super().send(message, envelope_from)
        finally:
            message.bouncekit_report = host.report if host is not None else None


class Mail(flask_mail.Mail):
    """A `flask_mail.Mail` whose sends obey the policy of a postmaster.

    Args:
        app: as there; `init_app` takes another.
        postmaster: whose policy, store and events.
        labels: message_class, tenant, stream, test.
    """

    def __init__(self, app: Flask | None = None, *, postmaster: HasOffice, **labels: Unpack[LabelOptions]) -> None:
        self._postmaster = postmaster
        self._labels = labels
        super().__init__(app)

    def init_app(self, app: Flask) -> Any:
        """Set up the application, so that `app.extensions["mail"]` sends in this way too."""
        state = super().init_app(app)
        state.connect = lambda: Connection(state, self._postmaster, self._labels)  # type: ignore[method-assign]  # on this one state
        return state

    def connect(self) -> Connection:
        """A connection that is open in a `with` statement."""
        return Connection(super().connect().mail, self._postmaster, self._labels)
