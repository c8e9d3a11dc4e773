"""What the outcomes of a transaction take from the budget of their stream.

An address that does not exist says something about the list that it stood on. A full mailbox does not, nor does what a
server thinks of us; and no server's word at all is one about an address.
"""

from collections.abc import Iterable, Mapping, Set
from datetime import datetime

from bouncekit.delivery.settlement import Settlement
from bouncekit.meaning.classification import Category, Scope
from bouncekit.policy.budget import Budget, Spent
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.words.reply import Reply
from bouncekit.words.status import Action

__all__ = ["BAD_ADDRESS", "spent_of"]

# Hard by any reading: the address is dead for whatever mail.
BAD_ADDRESS = frozenset(
    {
        Category.USER_UNKNOWN,
        Category.INVALID_ADDRESS,
        Category.BAD_DOMAIN,
        Category.MAILBOX_DISABLED,
        Category.MOVED,
    }
)


def spent_of(
    budget: Budget | None,
    settlements: Iterable[Settlement],
    previous: Mapping[str, Suppression],
    alive: Set[str],
    at: datetime,
    *,
    is_reported: bool,
) -> Spent | None:
    """What settlements take from a budget; None where there is none.

    Args:
        previous: what stood on the list; the probe behind a suppression that is over is nobody's mistake.
        alive: keys of mailboxes that got the message under another spelling.
        is_reported: by a mail that came back: the recipient was counted as sent to when the server took the message.
    """
    if budget is None:
        return None
    sent = bounced = complained = 0
    for one in settlements:
        if one.category is None:
            sent += one.action is Action.DELIVERED and not is_reported
        elif one.category is Category.COMPLAINT:
            complained += is_reported
        elif _is_bad(one) and one.key not in alive and not _is_probe(previous.get(one.key), at):
            sent += not is_reported and isinstance(one.reply, Reply)
            bounced += is_reported or isinstance(one.reply, Reply)
    return Spent(sent, bounced, complained)


def _is_bad(one: Settlement) -> bool:
    """Whether it was the address, for good, by a word that nobody doubts."""
    return (
        one.action is Action.FAILED
        and one.category in BAD_ADDRESS
        and one.scope is Scope.RECIPIENT
        and one.permanent is True
        and one.individual
        and not one.doubted
    )


def _is_probe(previous: Suppression | None, at: datetime) -> bool:
    """Whether the message was the one that asks again behind a suppression."""
    return previous is not None and previous.standing is not Standing.HELD and not previous.binds(at)
