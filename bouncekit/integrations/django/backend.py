"""Django's SMTP backend, dressed: its settings, results and exceptions, every send by the policy of a postmaster."""

from typing import Any, ClassVar

from django.core.mail.backends import smtp
from django.core.mail.utils import DNS_NAME

from bouncekit.integrations.django.project import postmaster
from bouncekit.integrations.mailbackend import LABELS, Dressed
from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["EmailBackend", "QueueBackend"]


class EmailBackend(Dressed, smtp.EmailBackend):
    """Django's SMTP backend by a policy: the application hears of every recipient, and Django as much as ever.

    What is counted, raised and ignored stays Django's. Each message that was tried has its `bouncekit.Report` in
    `bouncekit_report`. Under retry="queue" a server that cannot be reached is no error: the message waits in the store.

    Args:
        message_class, tenant, stream, test: labels of what is sent here; X-Bouncekit-* headers say it per message.
        options: those of Django's backend.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.labels = {name: options.pop(name) for name in LABELS if name in options}
        super().__init__(*arguments, **options)

    @property
    def postmaster(self) -> Postmaster:
        """The project's."""
        return postmaster()

    @property
    def own_name(self) -> str:
        """As Django knows it."""
        return str(DNS_NAME)


class QueueBackend(EmailBackend):
    """Store now, and let a worker send: no request waits for a mail server.

    Needs retry="queue", and a worker: a thread of this process, or `manage.py bouncekit worker`. A message counts as
    sent when it is stored; what becomes of it is told in events.
    """

    submits: ClassVar[bool] = True
