"""flask-mailman's SMTP backend, dressed.

app.config["MAIL_BACKEND"] = bouncekit.integrations.flask_mailman.backend(postmaster)
mail = flask_mailman.Mail(app)
"""

from typing import Any, ClassVar, Unpack

from bouncekit.integrations.mailbackend import Dressed
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.words.envelope import LabelOptions, Labels
from bouncekit.words.errors import MissingExtra

try:
    import flask_mailman  # noqa: F401 - its name stands in the error
    from flask_mailman.backends import smtp
    from flask_mailman.utils import DNS_NAME
except ImportError as error:
    raise MissingExtra("flask", error.name or "flask-mailman", "sends through flask-mailman") from error

__all__ = ["EmailBackend", "backend"]


class EmailBackend(Dressed, smtp.EmailBackend):
    """flask-mailman's SMTP backend by a policy; see `backend`, which makes one for a postmaster."""

    given: ClassVar[Postmaster]

    @property
    def postmaster(self) -> Postmaster:
        """The one that it was made for."""
        return self.given

    @property
    def own_name(self) -> str:
        """As flask-mailman knows it."""
        return str(DNS_NAME)

    def send_messages(self, email_messages: Any) -> int:
        """Send messages; how many were sent. flask-mailman would leave its connection open where one raises."""
        was_open = self.connection is not None
        try:
            sent: int = super().send_messages(email_messages)
            return sent
        finally:
            if not was_open:
                self.close()


def backend(postmaster: Postmaster, *, submits: bool = False, **labels: Unpack[LabelOptions]) -> type[EmailBackend]:
    """A backend that sends by this postmaster; flask-mailman's settings hold.

    What is counted, raised and ignored stays flask-mailman's. Each message that was tried has its `bouncekit.Report` in
    `bouncekit_report`.

    Args:
        submits: store now and let a worker send; needs retry="queue", and the server among the postmaster's relays.
        labels: message_class, tenant, stream, test.
    """
    postmaster.office.check(Labels(**labels))
    given = {"given": postmaster, "labels": labels, "submits": submits, "__doc__": EmailBackend.__doc__}
    return type("EmailBackend", (EmailBackend,), given)
