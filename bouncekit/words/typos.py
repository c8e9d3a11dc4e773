"""Domains that somebody most likely meant: `gmial.com` is gmail.com. A hint to show, never a change to make.

A known domain is never a slip, however near to another it is (`ymail.com`, `mail.com`). Of others, one slip is looked
for: a letter too much, too few, another one, or two that changed places. Short names are left alone, since there one
letter makes another domain that exists.
"""

from types import MappingProxyType

from bouncekit.words.address import domain_of, parse_address

__all__ = ["meant"]

# Providers that many mailboxes are at, so that a slip is likelier than a domain one letter away.
_LARGE = (
    "gmail.com googlemail.com yahoo.com yahoo.co.uk yahoo.co.in yahoo.fr yahoo.de yahoo.co.jp ymail.com rocketmail.com"
    " hotmail.com hotmail.co.uk hotmail.fr hotmail.de hotmail.it outlook.com outlook.de outlook.fr live.com msn.com"
    " icloud.com rediffmail.com comcast.net verizon.net sbcglobal.net bellsouth.net btinternet.com orange.fr wanadoo.fr"
    " laposte.net t-online.de freenet.de libero.it virgilio.it proton.me protonmail.com fastmail.com zohomail.com"
    " yandex.ru yandex.com rambler.ru naver.com"
).split()
# Domains that exist beside them, one letter away or short.
_OTHERS = frozenset(
    "mail.com email.com mail.ru aol.com gmx.com gmx.net gmx.de gmx.at web.de me.com mac.com qq.com 163.com 126.com"
    " hotmail.ca hotmail.es yahoo.ca yahoo.es yahoo.it yahoo.in live.fr live.co.uk live.ca outlook.in outlook.it"
    " outlook.es free.fr sfr.fr bk.ru ya.ru gmail.co.uk fastmail.fm".split()
)
_KNOWN = _OTHERS.union(_LARGE)
_SHORTEST = 8  # characters of a domain in which one slip is looked for: `live.com`
_LONGEST = 40
_ENDS = MappingProxyType(  # top-level domains that nobody has registered (IANA, 2026)
    {
        "con": "com",
        "cmo": "com",
        "ocm": "com",
        "comm": "com",
        "coom": "com",
        "vom": "com",
        "xom": "com",
        "nte": "net",
        "ent": "net",
        "nett": "net",
        "ogr": "org",
        "orgg": "org",
    }
)


def meant(address: str) -> str | None:
    """The address with the domain that was most likely meant; None where it has none that looks like a slip.

    >>> meant("jo@gmial.com"), meant("jo@example.con"), meant("jo@ymail.com"), meant("jo@gmail.com")
    ('jo@gmail.com', 'jo@example.com', None, None)

    Raises:
        AddressError: it is no address.
    """
    domain = domain_of(parse_address(address).wire)
    local = address.rpartition("@")[0]
    found = _domain_meant(domain) if domain else None
    return f"{local}@{found}" if found is not None and found != domain else None


def _domain_meant(domain: str) -> str | None:
    if domain in _KNOWN or len(domain) > _LONGEST:
        return None
    if (near := _near(domain)) is not None:
        return near
    rest, dot, end = domain.rpartition(".")
    if not dot or end not in _ENDS:
        return None
    righted = f"{rest}.{_ENDS[end]}"
    return _near(righted) or righted


def _near(domain: str) -> str | None:
    """The large provider that is one slip away."""
    if len(domain) < _SHORTEST:
        return None
    return next((one for one in _LARGE if _is_one_slip(domain, one)), None)


def _is_one_slip(one: str, other: str) -> bool:
    """Whether one insertion, deletion, substitution or swap of neighbours makes one out of the other."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    start = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if start is None:
        return True
    a, b = one[start:], other[start:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (a[2:] == b[2:] and a[:2] == b[1::-1])
    return a[1:] == b if len(a) > len(b) else b[1:] == a
