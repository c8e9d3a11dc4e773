"""What a reply means and whose fault it is: the thirty categories and the four scopes of blame."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from bouncekit.words.quick import quick
from bouncekit.words.status import RecipientStatus

__all__ = ["Category", "Classification", "Classify", "Scope", "Step", "scope_of"]


class Scope(StrEnum):
    """Who has to change something. Only `recipient` may ever lead to a suppression."""

    RECIPIENT = "recipient"  # this mailbox or its domain
    MESSAGE = "message"  # this content, to anybody
    SENDER = "sender"  # our address, host, login, reputation or rate
    ROUTE = "route"  # servers, network and protocol between us


class Category(StrEnum):
    """What the application has to do next, cut by that and not by wording."""

    USER_UNKNOWN = "user_unknown"  # no such mailbox at a domain that exists
    INVALID_ADDRESS = "invalid_address"  # an address that cannot exist
    BAD_DOMAIN = "bad_domain"  # the domain does not exist or takes no mail
    MAILBOX_DISABLED = "mailbox_disabled"  # suspended, disabled, inactive
    MAILBOX_FULL = "mailbox_full"  # over quota
    MOVED = "moved"  # the recipient left or moved
    RECIPIENT_FILTERED = "recipient_filtered"  # the recipient refuses this sender, or asked us for no more mail
    SENDER_REJECTED = "sender_rejected"  # the MAIL FROM address or its domain refused
    SENDER_AUTH = "sender_auth"  # SPF, DKIM, DMARC, ARC or PTR of ours failed
    BLOCKLISTED = "blocklisted"  # our host or domain on a block list, or its reputation
    RELAY_DENIED = "relay_denied"  # the server does not relay for us
    CREDENTIALS = "credentials"  # our login is missing, wrong, or lacks permission
    SUPPRESSED = "suppressed"  # the relay has the address on its own suppression list
    RATE_LIMITED = "rate_limited"  # too much in too short a time
    GREYLISTED = "greylisted"  # first contact deferred on purpose
    TOO_MANY_RECIPIENTS = "too_many_recipients"  # for one transaction: split
    MESSAGE_TOO_BIG = "message_too_big"  # over a limit of the server or the mailbox
    SPAM_CONTENT = "spam_content"  # scored as spam
    VIRUS = "virus"  # flagged as malware
    CONTENT_REJECTED = "content_rejected"  # headers, MIME, attachment or encoding refused
    POLICY = "policy"  # refused by a local policy that gives no reason
    PROTOCOL_ERROR = "protocol_error"  # a broken dialogue
    TLS_FAILURE = "tls_failure"  # STARTTLS required, missing or failed
    NETWORK_ERROR = "network_error"  # no connection, connection lost, DNS, routing, loop
    SYSTEM_ERROR = "system_error"  # a malfunction on the other side
    SYSTEM_FULL = "system_full"  # the server is out of storage, not the mailbox
    EXPIRED = "expired"  # a server gave up after its retry time, or we did before anybody was asked
    COMPLAINT = "complaint"  # a feedback report
    AUTO_REPLY = "auto_reply"  # a vacation notice or a read receipt, no bounce
    UNKNOWN = "unknown"  # nothing matched


_SCOPES = MappingProxyType(
    {
        Scope.RECIPIENT: (
            Category.USER_UNKNOWN,
            Category.INVALID_ADDRESS,
            Category.BAD_DOMAIN,
            Category.MAILBOX_DISABLED,
            Category.MAILBOX_FULL,
            Category.MOVED,
            Category.RECIPIENT_FILTERED,
            Category.COMPLAINT,
            Category.AUTO_REPLY,
        ),
        Scope.MESSAGE: (
            Category.MESSAGE_TOO_BIG,
            Category.SPAM_CONTENT,
            Category.VIRUS,
            Category.CONTENT_REJECTED,
        ),
        Scope.SENDER: (
            Category.SENDER_REJECTED,
            Category.SENDER_AUTH,
            Category.BLOCKLISTED,
            Category.RELAY_DENIED,
            Category.CREDENTIALS,
            Category.SUPPRESSED,
            Category.RATE_LIMITED,
            Category.POLICY,
        ),
        Scope.ROUTE: (
            Category.GREYLISTED,
            Category.TOO_MANY_RECIPIENTS,
            Category.PROTOCOL_ERROR,
            Category.TLS_FAILURE,
            Category.NETWORK_ERROR,
            Category.SYSTEM_ERROR,
            Category.SYSTEM_FULL,
            Category.EXPIRED,
        ),
    }
)
_SCOPE_OF = {category: scope for scope, categories in _SCOPES.items() for category in categories}


def scope_of(category: Category) -> Scope | None:
    """Whose fault a category is; None for `unknown`, which blames nobody."""
    return _SCOPE_OF.get(category)


class Step(StrEnum):
    """Which step of the judgement decided, in their order; the first hit wins."""

    OWN = "own"  # a rule of the application's owner
    COMMUNITY = "community"  # a rule of others that the owner has taken over
    PROVIDER = "provider"  # a rule about one provider's own dialect
    TABLE = "table"  # a face of 221, 421, 452 or 552
    ENHANCED = "enhanced"  # the full enhanced code
    TEXT = "text"  # a phrase
    SUBJECT = "subject"  # the enhanced code's subject
    CODE = "code"  # the basic code with its stage
    DIGIT = "digit"  # the first digit alone (RFC 5321 4.2)
    NO_REPLY = "no_reply"  # there was no reply; its cause decides

    @property
    def is_added(self) -> bool:
        """Whether its rules were added to the shipped ones."""
        return self in (Step.OWN, Step.COMMUNITY)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """The judgement of one status.

    `permanent` is the judgement and not the digit: a 550 may be a rate limit, a 452 final. `certain` says whether
    the rule leaves no second reading. `rule` and `where` (file:line) name what decided, at which `step`.
    `wait_hint` is a wait that the reply itself asks for. `provider` is whose server replied, where its name tells.
    `blocklist` is the list that a reply about one names, by its usual name: there one asks to be taken off.
    """

    status: RecipientStatus
    category: Category
    scope: Scope | None
    permanent: bool
    certain: bool
    step: Step
    rule: str
    where: str
    wait_hint: timedelta | None = None
    provider: str | None = None
    blocklist: str | None = None


Classify: TypeAlias = Callable[[RecipientStatus], Classification]  # as a classifier does
