"""What a feedback report says: a recipient's complaint (ARF, RFC 5965, 6650), also a redacted one (RFC 6590)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bouncekit.bounces.dsn import mailbox, read_date, read_fields

__all__ = ["FeedbackReport", "is_redacted", "read_feedback"]


MAX_RECIPIENTS = 100

_ORIGINAL_TO = re.compile(r"^Original-Rcpt-To[ \t]*:[ \t]*([^\n]{1,1000})", re.IGNORECASE | re.MULTILINE).findall
_REDACTED = ("", "redacted", "removed")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackReport:
    """One report. Addresses are None where they are missing or redacted.

    `feedback_type` is abuse, fraud, virus, not-spam, auth-failure, other (registry of RFC 5965), or what a provider
    made of it; only some of them are complaints, see `is_complaint`.
    """

    feedback_type: str = "abuse"
    user_agent: str | None = None
    recipients: tuple[str, ...] = ()  # who complains, as far as that is said
    original_mail_from: str | None = None
    envelope_id: str | None = None
    arrival_at: datetime | None = None
    source_ip: str | None = None
    incidents: int = 1
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_complaint(self) -> bool:
        """Whether a person does not want such mail: not what is about authentication, or takes a complaint back."""
        return self.feedback_type not in ("not-spam", "auth-failure", "dmarc")


def read_feedback(text: str) -> FeedbackReport:
    r"""The report in a part of type message/feedback-report.

    >>> report = read_feedback("Feedback-Type: abuse\nUser-Agent: x/1\nOriginal-Rcpt-To: <jo@example.com>\n")
    >>> report.feedback_type, report.recipients
    ('abuse', ('jo@example.com',))
    """
    fields = read_fields(text)
    incidents = fields.get("incidents", "1").strip()
    return FeedbackReport(
        feedback_type=fields.get("feedback-type", "").strip().lower()[:40] or "abuse",
        user_agent=fields.get("user-agent") or None,
        recipients=_recipients(text) or tuple(filter(None, (_address(fields, "removal-recipient"),))),
        original_mail_from=_address(fields, "original-mail-from"),
        envelope_id=fields.get("original-envelope-id") or None,
        arrival_at=read_date(fields.get("arrival-date") or fields.get("received-date")),
        source_ip=fields.get("source-ip", "").strip()[:45] or None,
        incidents=int(incidents) if incidents.isdecimal() and len(incidents) < 9 else 1,
        fields=fields,
    )


def is_redacted(address: str) -> bool:
    """Whether somebody has made the local part unreadable on purpose."""
    return address.partition("@")[0].lower().strip("x*-") in _REDACTED


def _recipients(text: str) -> tuple[str, ...]:
    """Every Original-Rcpt-To: the field may stand more than once (RFC 5965 3.2)."""
    found = [mailbox(value) for value in _ORIGINAL_TO(text)[:MAX_RECIPIENTS]]
    return tuple(dict.fromkeys(address for address in found if address and not is_redacted(address)))


def _address(fields: Mapping[str, str], name: str) -> str | None:
    address = mailbox(fields.get(name, "").split(",")[0])
    return None if address is None or is_redacted(address) else address
