"""What the suppression lists of e-mail services look like: a table a format, from their columns to our words.

A list of somebody else's is a claim, not a verdict. Complaints and unsubscriptions bind, since a person has said so.
A bounce binds only where it is about the mailbox and permanent: what the service quotes of the reply is classified
like any other; where it quotes nothing, its own word counts as far as the table says. Blocks, soft bounces and
expired retries bind nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

__all__ = ["FORMATS", "OWN", "PLAIN", "Format", "Said", "recognise", "squeezed"]


class Said(StrEnum):
    """What an entry of a foreign list says about a mailbox."""

    BOUNCED = "bounced"  # the service says hard, and is known to mean the mailbox
    FAILED = "failed"  # the service says hard, and counts any 5xx: it binds provisionally
    QUOTED = "quoted"  # a bounce whose reply is quoted: that decides, and without it nothing does
    INVALID = "invalid"  # an address that cannot exist
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    ADDED = "added"  # by a hand
    SOFT = "soft"  # a soft bounce, a block, a retry that expired: it binds nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One kind of file: it is recognised by the columns that it must have, and those that it must not.

    Column names are squeezed: lower case, letters and digits alone. `says` maps the words of the column `word` to what
    they say; a word that is not there says nothing that could bind. `in_name` is part of the file's name where two
    formats have the same columns.
    """

    name: str
    address: str
    must: frozenset[str] = frozenset()
    must_not: frozenset[str] = frozenset()
    in_name: str = ""
    at: str = ""
    until: str = ""
    code: str = ""
    text: str = ""
    word: str = ""
    always: Said | None = None
    says: Mapping[str, Said] = field(default_factory=lambda: MappingProxyType({}))
    limited: str = ""  # the column that limits an entry to some mail, and the word that does: any but *, where none is
    limits_to: str = ""
    note: str = ""


def _columns(words: str) -> frozenset[str]:
    return frozenset(words.split())


OWN = Format(name="bouncekit", address="address", must=_columns("key address standing category since rung by"))
PLAIN = Format(name="plain", address="address", always=Said.ADDED, note="a column of addresses, with a head or without")

# Who was refused for a reason may be there for one that is none: such a list is no plain one unless somebody says so.
_REASONS = _columns("reason status error code source")
_BOUNCE_OR_COMPLAINT = MappingProxyType({"bounce": Said.BOUNCED, "complaint": Said.COMPLAINED})

# In the order in which they are tried: who has more columns comes first.
FORMATS = (
    OWN,
    Format(
        name="ses",  # ListSuppressedDestinations, the console's export, and the files of CreateImportJob
        address="emailaddress",
        must=_columns("emailaddress reason"),
        at="lastupdatetime",
        word="reason",
        says=_BOUNCE_OR_COMPLAINT,
    ),
    Format(
        name="postmark",
        address="emailaddress",
        must=_columns("emailaddress suppressionreason"),
        at="createdat",
        word="suppressionreason",
        says=MappingProxyType(
            {
                "hardbounce": Said.BOUNCED,
                "spamcomplaint": Said.COMPLAINED,
                "manualsuppression": Said.UNSUBSCRIBED,  # the recipient, the customer or Postmark's staff
            }
        ),
    ),
    Format(
        name="sparkpost",
        address="recipient",
        must=_columns("recipient source"),
        at="created",
        text="description",
        word="source",
        says=MappingProxyType(
            {
                "bouncerule": Said.QUOTED,
                "spamcomplaint": Said.COMPLAINED,
                "fbl": Said.COMPLAINED,  # as older exports call it
                "listunsubscribe": Said.UNSUBSCRIBED,
                "unsubscribelink": Said.UNSUBSCRIBED,
                "manuallyadded": Said.ADDED,
                "compliance": Said.ADDED,
            }
        ),
        limited="type",
        limits_to="nontransactional",
    ),
    Format(
        name="postal",
        address="address",
        must=_columns("address reason keepuntil"),
        at="timestamp",
        until="keepuntil",
        word="reason",
        says=MappingProxyType({"toomanyhardfails": Said.FAILED, "toomanysoftfails": Said.SOFT}),
    ),
    Format(
        name="mailgun-bounces",
        address="address",
        must=_columns("address code error"),
        at="createdat",
        code="code",
        text="error",
        always=Said.QUOTED,
    ),
    Format(
        name="mailgun-unsubscribes",
        address="address",
        must=_columns("address tags createdat"),
        at="createdat",
        always=Said.UNSUBSCRIBED,
        limited="tags",
    ),
    Format(
        name="mailgun-unsubscribes",
        address="address",
        must=_columns("address tag createdat"),
        at="createdat",
        always=Said.UNSUBSCRIBED,
        limited="tag",
    ),
    Format(
        name="mailgun-complaints",
        address="address",
        must=_columns("address createdat"),
        must_not=_columns("code error tag tags standing"),
        at="createdat",
        always=Said.COMPLAINED,
    ),
    Format(
        name="sendgrid-blocks",
        address="email",
        must=_columns("email reason status created"),
        in_name="block",
        at="created",
        text="reason",
        always=Said.SOFT,
    ),
    Format(
        name="sendgrid-bounces",
        address="email",
        must=_columns("email reason status created"),
        at="created",
        text="reason",
        always=Said.QUOTED,
    ),
    Format(
        name="sendgrid-invalid",
        address="email",
        must=_columns("email reason created"),
        must_not=_columns("status"),
        at="created",
        text="reason",
        always=Said.INVALID,
    ),
    Format(
        name="sendgrid-spam-reports",
        address="email",
        must=_columns("email ip created"),
        at="created",
        always=Said.COMPLAINED,
    ),
    Format(
        name="sendgrid-unsubscribes",
        address="email",
        must=_columns("email created"),
        must_not=_columns("reason status ip"),
        at="created",
        always=Said.UNSUBSCRIBED,
    ),
    Format(
        name="sendgrid-unsubscribes",  # of a group, GET /v3/asm/suppressions
        address="email",
        must=_columns("email groupid createdat"),
        at="createdat",
        always=Said.UNSUBSCRIBED,
        limited="groupid",
    ),
    Format(name="plain", address="emailaddress", must=_columns("emailaddress"), must_not=_REASONS, always=Said.ADDED),
    Format(name="plain", address="email", must=_columns("email"), must_not=_REASONS, always=Said.ADDED),
    Format(name="plain", address="recipient", must=_columns("recipient"), must_not=_REASONS, always=Said.ADDED),
    Format(name="plain", address="address", must=_columns("address"), must_not=_REASONS, always=Said.ADDED),
)


@lru_cache(maxsize=4096)
def squeezed(word: str) -> str:
    """A name or word as the tables have it.

    >>> squeezed("Last update time"), squeezed("non_transactional")
    ('lastupdatetime', 'nontransactional')
    """
    return "".join(filter(str.isalnum, word.lower()))


def recognise(columns: frozenset[str], name: str) -> Format | None:
    """The format that has these squeezed columns, in a file of this name; None where none has.

    Of formats with the same columns the one whose word is in the file's name is meant, else the one without a word.
    """
    for one in FORMATS:
        if one.must <= columns and one.must_not.isdisjoint(columns) and one.in_name in name.lower():
            return one
    return None
