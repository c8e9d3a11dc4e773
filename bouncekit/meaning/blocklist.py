"""Which block list a reply names: where the owner of the host or domain has to ask."""

from types import MappingProxyType

from bouncekit.words.phrase import Words

__all__ = ["blocklist_in"]

# What stands in replies, in the order of the look-up: a list before the house that keeps it.
_NAMES = MappingProxyType(
    {
        "Spamhaus ZEN": ("zen spamhaus",),
        "Spamhaus PBL": ("pbl spamhaus", "spamhaus pbl", "query pbl"),
        "Spamhaus SBL": ("sbl spamhaus", "spamhaus sbl", "sbl xbl spamhaus"),
        "Spamhaus XBL": ("xbl spamhaus", "spamhaus xbl", "cbl abuseat", "abuseat"),
        "Spamhaus CSS": ("css spamhaus", "spamhaus css"),
        "Spamhaus DBL": ("dbl spamhaus", "spamhaus dbl"),
        "Spamhaus": ("spamhaus",),
        "SpamCop": ("spamcop",),
        "Barracuda": ("barracudacentral", "barracudanetworks", "barracuda reputation"),
        "SORBS": ("sorbs",),
        "UCEPROTECT": ("uceprotect",),
        "Invaluement": ("invaluement", "ivmsip", "ivmuri"),
        "Abusix": ("abusix",),
        "Proofpoint": ("proofpoint", "pphosted"),
        "Cloudmark": ("cloudmark",),
        "Cisco Talos": ("senderbase", "talosintelligence", "sbrs"),
        "Trend Micro": ("mail abuse com", "trend micro rbl", "trend micro email reputation", "trendmicro"),
        "0spam": ("0spam",),
        "NiX Spam": ("manitu", "nix spam", "nixspam", "ixlab"),
        "PSBL": ("psbl",),
        "Mailspike": ("mailspike",),
        "SpamRATS": ("spamrats",),
        "DroneBL": ("dronebl",),
        "Backscatterer": ("backscatterer",),
        "Sender Score": ("senderscore", "sender score"),
        "GBUdb": ("gbudb",),
        "HostKarma": ("hostkarma",),
        "Microsoft": ("s3140", "s3150", "delist messaging microsoft", "sender office com"),
        "Mimecast": ("csi mimecast", "mimecast"),
        "Vade": ("vadesecure", "vade secure", "sendertool"),
    }
)
_LOOKED_FOR = tuple((f" {phrase} ", name) for name, phrases in _NAMES.items() for phrase in phrases)
_FIRST_WORDS = frozenset(phrase.split()[0] for phrase, _ in _LOOKED_FOR)


def blocklist_in(words: Words) -> str | None:
    """The usual name of the list that a text names; None where it names none that is known.

    >>> blocklist_in(Words("Client host [192.0.2.1] blocked using zen.spamhaus.org")), blocklist_in(Words("go away"))
    ('Spamhaus ZEN', None)
    """
    if _FIRST_WORDS.isdisjoint(words.said):
        return None
    return next((name for phrase, name in _LOOKED_FOR if phrase in words.spaced), None)
