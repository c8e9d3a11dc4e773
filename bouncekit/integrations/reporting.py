"""Connections that keep the report of the last send, for frameworks that throw away what a send returns."""

from collections.abc import Iterable, Sequence

from bouncekit.clients.smtp import SMTP, SMTP_SSL
from bouncekit.delivery.report import Report

__all__ = ["ReportingSMTP", "ReportingSMTP_SSL"]


class ReportingSMTP(SMTP):
    """A `bouncekit.SMTP` with the `report` of its last send, whether that returned or raised; None before the first.

    With `submits` nothing is sent: a message is stored, and a worker sends it.
    """

    submits = False
    report: Report | None = None

    def sendmail(  # type: ignore[override]  # as bouncekit.SMTP has it
        self,
        from_addr: str,
        to_addrs: str | Iterable[str],
        msg: bytes | str,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Report:
        """Send a message, or submit it."""
        self.report = None
        try:
            if self.submits:
                self.report = self.submit(self.take(from_addr, to_addrs, msg, mail_options, rcpt_options))
            else:
                self.report = super().sendmail(from_addr, to_addrs, msg, mail_options, rcpt_options)
        except BaseException as error:
            self.report = getattr(error, "report", None)
            raise
        return self.report


class ReportingSMTP_SSL(ReportingSMTP, SMTP_SSL):
    """The same under TLS from the first byte."""
