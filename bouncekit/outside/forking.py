"""What begins afresh in the child of a fork: locks that a thread of the parent held, and threads that are not there."""

import os
import weakref
from typing import Protocol

__all__ = ["Forkable", "begin_afresh_in_children"]


class Forkable(Protocol):
    """Something that must not be used in a child as it stood in the parent."""

    def start_afresh(self) -> None:
        """Forget the parent's locks and threads; called in the child, before anything else runs there."""


def begin_afresh_in_children(one: Forkable) -> None:
    """Have `start_afresh` called in every child, for as long as somebody holds the object."""
    _forkable.add(one)


_forkable: "weakref.WeakSet[Forkable]" = weakref.WeakSet()


def _after_fork() -> None:
    for one in tuple(_forkable):
        one.start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
