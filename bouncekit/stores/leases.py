"""When a lease is over: at its end, and where that lies beyond any that could have been given by now.

Times are milliseconds, as the stores keep them.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from bouncekit.delivery.queue import LONGEST_LEASE, LeaseLost
from bouncekit.stores.codec import milliseconds

__all__ = ["LONGEST", "lost", "runs", "times"]

LONGEST = LONGEST_LEASE // timedelta(milliseconds=1)


def times(now: datetime) -> Mapping[str, int]:
    """Between what a lease that runs has its end: behind `now`, up to `beyond`."""
    at = milliseconds(now)
    return {"now": at, "beyond": at + LONGEST}


def runs(until: int, at: int) -> bool:
    """Whether a lease that ends then runs at this time."""
    return at < until <= at + LONGEST


def lost(address: str, message: str) -> LeaseLost:
    """What is raised where somebody else has one of these recipients, or has settled him."""
    return LeaseLost(f"{address} of the message {message} is in somebody else's hands by now")
