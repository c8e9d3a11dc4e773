"""How a category is told to people: what happened, in words, and what somebody can do about it."""

from types import MappingProxyType
from typing import NamedTuple

from bouncekit.meaning.classification import Category

__all__ = ["Wording", "wording_of"]


class Wording(NamedTuple):
    """Two pieces of a notice."""

    because: str  # a clause: "Mail to jo@example.com failed: {because}."
    remedy: str  # whole sentences, for the recipient where the recipient can help, else for whoever sends


_WORDINGS = MappingProxyType(
    {
        Category.USER_UNKNOWN: Wording(
            "there is no such mailbox",
            "Check the address for a typing error, or give another one.",
        ),
        Category.INVALID_ADDRESS: Wording(
            "the address cannot exist",
            "Correct the address: it is not written as one.",
        ),
        Category.BAD_DOMAIN: Wording(
            "its domain does not exist or takes no mail",
            "Check the part behind the @ for a typing error, or give another address.",
        ),
        Category.MAILBOX_DISABLED: Wording(
            "the mailbox is disabled",
            "Have the mailbox enabled by its provider, or give another address.",
        ),
        Category.MAILBOX_FULL: Wording(
            "the mailbox is full",
            "Delete some mail or get more space, or give another address.",
        ),
        Category.MOVED: Wording(
            "the recipient has moved",
            "Give the new address.",
        ),
        Category.RECIPIENT_FILTERED: Wording(
            "the recipient refuses mail from this sender",
            "Allow the sender in the mailbox's settings if its mail is wanted.",
        ),
        Category.SENDER_REJECTED: Wording(
            "the server refuses the sender's address",
            "Check that the sender's address exists and that its domain takes mail.",
        ),
        Category.SENDER_AUTH: Wording(
            "the sender's authentication failed",
            "Check SPF, DKIM, DMARC and the reverse DNS of the sending host.",
        ),
        Category.BLOCKLISTED: Wording(
            "the sending host or domain is on a block list",
            "Look it up on the list that the reply names, end the cause, then ask for removal.",
        ),
        Category.RELAY_DENIED: Wording(
            "the server does not relay for us",
            "Check which relay is configured, and whether it wants a login.",
        ),
        Category.CREDENTIALS: Wording(
            "the login was refused",
            "Check user name, password and permissions at the relay.",
        ),
        Category.SUPPRESSED: Wording(
            "the relay has the address on its own suppression list",
            "Remove the address there if its mailbox works again.",
        ),
        Category.RATE_LIMITED: Wording(
            "too much mail was sent in too short a time",
            "Send more slowly, or ask the provider for a higher limit.",
        ),
        Category.GREYLISTED: Wording(
            "the server defers whom it does not know yet",
            "Nothing needs to be done: a later try is let in.",
        ),
        Category.TOO_MANY_RECIPIENTS: Wording(
            "there were too many recipients in one transaction",
            "Nothing needs to be done where the rest is sent again; else send to fewer at a time.",
        ),
        Category.MESSAGE_TOO_BIG: Wording(
            "the message is too big",
            "Send a smaller message, or a link in place of the attachment.",
        ),
        Category.SPAM_CONTENT: Wording(
            "the message was taken for spam",
            "Look at its content and links, and at the sender's reputation.",
        ),
        Category.VIRUS: Wording(
            "the message was taken for malware",
            "Check its attachments and links, and the machine that they come from.",
        ),
        Category.CONTENT_REJECTED: Wording(
            "the content was refused",
            "Check headers, encoding and kinds of attachment against what the reply says.",
        ),
        Category.POLICY: Wording(
            "the server's policy refuses it",
            "Ask the postmaster of the receiving domain, and show the reply.",
        ),
        Category.PROTOCOL_ERROR: Wording(
            "the dialogue with the server broke",
            "Look at the server's replies, and at whatever stands between it and us.",
        ),
        Category.TLS_FAILURE: Wording(
            "no encrypted connection came about",
            "Check certificates, their names and dates, and the versions of TLS on both sides.",
        ),
        Category.NETWORK_ERROR: Wording(
            "the server could not be reached",
            "Check DNS, routes and firewalls to the server.",
        ),
        Category.SYSTEM_ERROR: Wording(
            "the server has a malfunction",
            "Wait; if it goes on, tell the postmaster of the receiving domain.",
        ),
        Category.SYSTEM_FULL: Wording(
            "the server is out of storage",
            "Wait; if it goes on, tell the postmaster of the receiving domain.",
        ),
        Category.EXPIRED: Wording(
            "a server tried for as long as it does, and gave up",
            "Look at why its tries failed, then send again.",
        ),
        Category.COMPLAINT: Wording(
            "the recipient reported the mail as spam",
            "Do not write to this address again unless its owner asks for it.",
        ),
        Category.AUTO_REPLY: Wording(
            "the mailbox answered by itself",
            "Nothing needs to be done: the mail arrived.",
        ),
        Category.UNKNOWN: Wording(
            "the reason is not known",
            "Read the server's reply; a rule for it can be added to the policy.",
        ),
    }
)


def wording_of(category: Category | None) -> Wording:
    """The wording of a category; that of `unknown` where there is none."""
    return _WORDINGS[category or Category.UNKNOWN]
