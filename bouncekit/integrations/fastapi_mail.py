"""FastAPI-Mail, dressed: its configuration and messages, every send by the policy of a postmaster.

mail = bouncekit.integrations.fastapi_mail.FastMail(config, postmaster=postmaster)   # a fastapi_mail.FastMail
reports = await mail.send_message(message)
"""

from typing import Any, Unpack

from bouncekit.clients.smtp import HasOffice
from bouncekit.delivery.report import Report
from bouncekit.words.envelope import LabelOptions
from bouncekit.words.errors import MissingExtra

try:
    import fastapi_mail
    from fastapi_mail.connection import Connection
    from fastapi_mail.errors import ConnectionErrors
    from fastapi_mail.fastmail import email_dispatched

    from bouncekit.integrations.aiosmtplib import SMTP
except ImportError as error:
    raise MissingExtra("fastapi", error.name or "fastapi-mail", "sends through FastAPI-Mail") from error

__all__ = ["FastMail"]


class FastMail(fastapi_mail.FastMail):
    """A `fastapi_mail.FastMail` whose sends obey the policy of a postmaster.

    Args:
        config: FastAPI-Mail's.
        postmaster: whose policy, store and events.
        labels: message_class, tenant, stream, test.
    """

    def __init__(self, config: Any, *, postmaster: HasOffice, **labels: Unpack[LabelOptions]) -> None:
        super().__init__(config)
        self._postmaster = postmaster
        self._labels = labels

    async def send_message(  # type: ignore[override]  # it tells more
        self, message: Any, *templates: Any, **more: Any
    ) -> tuple[Report, ...]:
        """Send a message, or a list of them; see `fastapi_mail.FastMail.send_message`. A report for each, in order.

        Raises:
            ConnectionErrors: no connection came about, nothing was sent.
            aiosmtplib.SMTPException: as FastAPI-Mail has it, with `.report`; those behind that message were not sent.
        """
        made = await self.get_message(message, *templates, **more)
        letters = made if isinstance(made, list) else [made]
        reports: list[Report] = []
        if not self.config.SUPPRESS_SEND:
            connection = _Connection(self.config, self._postmaster, self._labels)
            async with connection:
                for letter in letters:
                    reports.append((await connection.session.send_message(letter)).report)
        for letter in letters:
            email_dispatched.send(letter)
        return tuple(reports)


class _Connection(Connection):
    """A connection of FastAPI-Mail with a session of ours."""

    session: SMTP

    def __init__(self, settings: Any, postmaster: HasOffice, labels: LabelOptions) -> None:
        super().__init__(settings)
        self._postmaster = postmaster
        self._labels = labels

    async def _configure_connection(self) -> None:
        settings = self.settings
        self.session = SMTP(
            hostname=settings.MAIL_SERVER,
            port=settings.MAIL_PORT,
            timeout=settings.TIMEOUT,
            use_tls=settings.MAIL_SSL_TLS,
            start_tls=settings.MAIL_STARTTLS,
            validate_certs=settings.VALIDATE_CERTS,
            local_hostname=settings.LOCAL_HOSTNAME,
            cert_bundle=settings.CERT_BUNDLE,
            postmaster=self._postmaster,
            **self._labels,
        )
        try:
            await self.session.connect()
            if settings.USE_CREDENTIALS:
                await self.session.login(settings.MAIL_USERNAME, settings.MAIL_PASSWORD.get_secret_value())
        except Exception as error:
            self.session.close()
            why = f"{error}; check the relay, and the login"
            raise ConnectionErrors(why) from error  # type: ignore[no-untyped-call]  # of the framework
