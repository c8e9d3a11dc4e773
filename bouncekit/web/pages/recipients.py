"""One mailbox: whether mail goes out, what comes next, what to do, and all that happened to it."""

from bouncekit.codes import Language
from bouncekit.history.retold import coming, struck, told, verdict
from bouncekit.web.sealing import of_tenant, tenant_and_address
from bouncekit.web.visiting import Go, NotAsked, Page, Visit

__all__ = ["find", "history", "search"]

_MOMENTS, _MOST_MOMENTS = 50, 1000


def search(visit: Visit) -> Page:
    """The place to ask for a mailbox."""
    return Page(template="recipients.html")


def find(visit: Visit) -> Go:
    """From an address to its page, whose own address does not tell it."""
    who = of_tenant(visit.text("tenant"), visit.address("address"))
    return Go(f"/recipients/{visit.house.seal.close(who)}")


def history(visit: Visit) -> Page:
    """All that is known of one."""
    who = visit.sealed("who")
    if who is None:
        raise NotAsked("no recipient")
    tenant, address = tenant_and_address(who)
    limit = visit.number("limit", _MOMENTS, least=1, most=_MOST_MOMENTS)
    language = visit.one_of("lang", Language) or Language.ENGLISH
    found = visit.house.postmaster.history(address, tenant=tenant, limit=limit, lang=language)
    return Page(
        template="recipient.html",
        values={
            "found": found,
            "who": who,
            "limit": limit,
            "more": min(limit * 4, _MOST_MOMENTS) if found.has_more and limit < _MOST_MOMENTS else None,
            "language": language,
            "verdict": verdict,
            "coming": coming,
            "struck": struck,
            "told": told,
        },
    )
