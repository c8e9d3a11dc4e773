"""The suppression list: who is on it and why; one more, one less."""

from collections.abc import Mapping
from datetime import timedelta
from itertools import takewhile
from typing import Any

from bouncekit.meaning.classification import Category
from bouncekit.policy.schedule import LONGEST_DURATION, parse_duration
from bouncekit.policy.suppression import Standing
from bouncekit.web.paging import part, query
from bouncekit.web.sealing import of_tenant, tenant_and_address
from bouncekit.web.visiting import Go, NotAsked, Page, Visit

__all__ = ["add", "entries", "find", "lift"]

_BEHIND = "\U0010ffff"  # sorts behind every character of a key
# By hand: what somebody may have told.
BY_HAND = (
    Category.RECIPIENT_FILTERED,
    Category.COMPLAINT,
    Category.USER_UNKNOWN,
    Category.MAILBOX_FULL,
    Category.MAILBOX_DISABLED,
)


def entries(visit: Visit) -> Page:
    """A page of the list, in the order of the addresses."""
    return Page(template="suppressions.html", values=_found(visit))


def find(visit: Visit) -> Go:
    """From what somebody looks for to a page whose own address does not tell it."""
    asked = {name: visit.text(name) for name in ("standing", "category", "binding", "anywhere", "tenant")}
    text = visit.text("text").lower()
    return Go("/suppressions?" + query(**asked, text=text and visit.house.seal.close(text)))


def add(visit: Visit) -> Go:
    """Put somebody on the list."""
    address, tenant = visit.address("address"), visit.text("tenant")
    category = visit.one_of("category", Category) or Category.RECIPIENT_FILTERED
    visit.house.postmaster.suppressions.add(
        address,
        reason=visit.text("reason", most=500),
        category=category,
        lasts=_lasts(visit.text("lasts")),
        by=visit.user.by,
        tenant=tenant,
        stream=visit.text("stream"),
    )
    return _back_to(visit, of_tenant(tenant, address), f"{address} is on the list")


def lift(visit: Visit) -> Go:
    """Take somebody off the list."""
    who = visit.sealed("who")
    if who is None:
        raise NotAsked("no recipient")
    tenant, address = tenant_and_address(who)
    stream = visit.text("stream")
    found = visit.house.postmaster.suppressions.lift(address, by=visit.user.by, tenant=tenant, stream=stream)
    said = f"{address} is off the list" if found else f"{address} was not on the list"
    return _back_to(visit, who, said)


def _found(visit: Visit) -> Mapping[str, Any]:
    seal = visit.house.seal
    standing, category = visit.one_of("standing", Standing), visit.one_of("category", Category)
    text, after, tenant = visit.sealed("text") or "", visit.sealed("after"), visit.text("tenant")
    is_anywhere, is_binding = visit.is_ticked("anywhere"), visit.is_ticked("binding")
    begins = "" if is_anywhere else text
    entries = visit.house.office.store.suppressions(
        tenant=tenant,
        at=visit.now if is_binding else None,
        containing=text if is_anywhere and text else None,
        after=after or (_before(begins) if begins else None),
    )
    found = part(
        takewhile(lambda one: one.key.startswith(begins), entries),
        lambda one: one.key,
        lambda one: standing in (None, one.standing) and category in (None, one.category),
    )
    asked = query(
        standing=standing,
        category=category,
        tenant=tenant,
        text=text and seal.close(text),
        binding=int(is_binding),
        anywhere=int(is_anywhere),
    )
    return {
        "entries": found.found,
        "after": found.after,
        "standing": standing,
        "category": category,
        "tenant": tenant,
        "text": text,
        "is_anywhere": is_anywhere,
        "is_binding": is_binding,
        "is_filtered": bool(asked),
        "is_first": after is None,
        "query": asked,
        "standings": tuple(Standing),
        "categories": tuple(Category),
        "by_hand": BY_HAND,
    }


def _before(text: str) -> str:
    """What sorts right before all that begins so."""
    return text[:-1] + chr(ord(text[-1]) - 1) + _BEHIND if ord(text[-1]) - 1 not in range(0xD800, 0xE000) else text


def _lasts(text: str) -> timedelta | None:
    if not text:
        return None
    try:
        lasts = parse_duration(text)
    except ValueError as error:
        raise NotAsked(str(error)) from None
    if lasts > LONGEST_DURATION:
        raise NotAsked(f"{text} is longer than a hundred years; for good, leave it empty")
    return lasts


def _back_to(visit: Visit, who: str, said: str) -> Go:
    """To the list, or to the page of the mailbox, wherever the form stood."""
    is_page = visit.form.get("back") == "recipient"
    return Go(f"/recipients/{visit.house.seal.close(who)}" if is_page else "/suppressions", said)
