"""What a store keeps of mail that waits to be sent: who is at it, what was begun, what is to be tried again.

A recipient is due, held, or leased to somebody; with an open attempt, its dot may have gone out. From the first to
the last, it is handed to one lease at a time, and it goes when an outcome is final. The message goes with its last
recipient, or is kept for as long as a policy says; `Cursors.prune` forgets it then.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from bouncekit.delivery.events import Event
from bouncekit.delivery.queue import Abandoned, Begun, Depth, Kept, Lease, Queued, QueueState
from bouncekit.delivery.steps import Delivery

__all__ = ["ENOUGH", "MOST_OF_ONE", "Queue", "check_relay"]

ENOUGH = 200  # recipients: a claim that has so many takes no message more
MOST_OF_ONE = 1000  # recipients of one message in a claim: as many as a server that takes more than others


class Queue(Protocol):
    """The part of a store that is its queue; `Store.record` settles what was begun here.

    A lease is over at its `until`, by the time that is asked about, and also where that is more than LONGEST_LEASE
    ahead of it: the clock was set back since. A claim gives back all such, whatever they are about. Who lost one to
    somebody else can no longer begin, and what delays he records change nothing, nor does a failure for which only his
    lost lease is to blame; any other final outcome that he records is still the truth, and counts.

    What was said to be due by a clock that stood further ahead than that is due, from a claim on or a few claims later,
    as long after the new time as it was after the old one; see `bouncekit.stores.clockset`.

    Recipients wait under their addresses; outcomes and events have other names for those in `Delivery.called`.
    """

    def enqueue(self, delivery: Delivery, *, due_at: datetime, at: datetime, events: Sequence[Event] = ()) -> None:
        """Keep a message and all its recipients until `due_at` and beyond, and tell the events: all or nothing.

        The same delivery again, or a first event that is known already, changes nothing.

        Raises:
            ValueError: the delivery names no relay.
        """

    def begin(self, begun: Begun) -> None:
        """Remember, before the dot goes out, who may get the message by it.

        What comes from the application (`lease` None) is kept from now on, under the lease of `begun`. What was
        claimed must still be leased to whoever claimed it, and stays so until the end of that lease of `begun`.

        Raises:
            LeaseLost: somebody else has one of these recipients, or has settled it: nothing was changed.
            StoreError: an attempt with this id has been begun before.
            ValueError: the delivery names no relay.
        """

    def claim(
        self,
        *,
        now: datetime,
        lease: Lease,
        limit: int,
        relays: Collection[str] | None = None,
        oldest_first: bool = False,
    ) -> Sequence[Delivery]:
        """Take up to `limit` messages, each with its recipients that are due and that nobody is at.

        So that a claim stays short, it takes no message more once it has ENOUGH recipients, and MOST_OF_ONE of one
        message: the next claim takes who is left. Of a message with more recipients than that, whatever they wait for,
        it takes only such as could be had at the same time: nobody looks for others among all who wait.

        Those of which a recipient was never tried come first; then who could be had longest: since its time, or since
        the lease of one that gave it up ended. Each delivery's `lease` is the token; its envelope names only the
        recipients that were taken.

        What cannot be read back is held, so that it blocks nobody, and a line of the log names the message.

        Args:
            relays: only messages that go through one of these.
            oldest_first: who could be had longest comes first, tried or not.
        """

    def overdue(self, *, now: datetime, lease: Lease, limit: int, relay: str) -> Sequence[Delivery]:
        """Take, as `claim` does, up to `limit` messages of a relay of which a recipient should be given up by now.

        Whose `give_up_at` was last comes first. They are due, so that `claim` would take them as well, in their turn.
        """

    def abandoned(self, *, now: datetime, lease: Lease, limit: int) -> Sequence[Abandoned]:
        """Take up to `limit` attempts that were begun and not settled when their leases ended, by their ids:
        those that were begun first come first.

        Each is to be settled, all recipients of it, by a record with its `attempt_id`. Messages that cannot be read
        back are held and marked as possible duplicates.
        """

    def extend(self, lease: Lease) -> int:
        """Move the end of a lease; how many recipients are still under it."""

    def release(self, token: str) -> int:
        """Give back, as they were, the recipients under a lease that have no open attempt; how many there were."""

    def depth(self, now: datetime) -> Depth:
        """How much waits."""

    def queued_relays(self) -> Mapping[str, int]:
        """How many recipients are in the queue for each relay, in the order of the relays' names."""

    def queued(
        self,
        *,
        tenant: str | None = None,
        relay: str | None = None,
        state: QueueState | None = None,
        containing: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Queued]:
        """The recipients in the queue, in the order of message and address.

        Args:
            containing: only where recipient, sender or Message-ID holds this text, in whatever case.
            after: only those that sort behind this message and recipient.

        Nothing is locked or held open while the caller iterates; a change made meanwhile is seen or not.
        """

    def queued_message(self, message: str) -> Delivery | None:
        """A message with all its recipients that are not settled, due or not. It is not taken.

        One that is kept, and for which nobody waits any more, has no recipients.

        Raises:
            StoreCorrupt: it cannot be read back.
        """

    def kept(self, *, beginning: str = "", limit: int | None = None) -> Iterator[Kept]:
        """The messages for which nobody waits any more, and that are kept, in the order of their ids.

        Args:
            beginning: only ids that begin so.
        """

    def requeue(self, message: str, recipient: str | None, *, at: datetime) -> int:
        """Make a message, or one recipient of it, due, also what is held; how many recipients that were.

        Who is leased at that time, or has an open attempt, is left alone.
        """

    def drop(
        self,
        message: str,
        recipient: str | None,
        *,
        at: datetime,
        events: Sequence[Event] = (),
        keep: timedelta = timedelta(),
        called: Mapping[str, str] | None = None,
    ) -> int:
        """Take a message, or one recipient of it, out of the queue by hand; how many recipients that were.

        The message stays for `keep` once nobody waits for it.

        Who is leased at that time is left alone. Told are, with it, the events about those who went; one that is
        about no recipient is told if anybody went.
        The settlements in them count as outcomes, also of a probe: another message may be that now. `called` maps an
        address to what they call the recipient, where that is another name.
        """


def check_relay(delivery: Delivery) -> None:
    """Raises ValueError where a delivery cannot wait, since nobody could send it."""
    if delivery.relay is None:
        raise ValueError(f"the delivery {delivery.id} names no relay through which it is to be sent")
