"""A worker: takes what is due out of the store, sends it by the policy, and gives back what it cannot do any more.

Several workers, threads or processes, may share one store. Each claims messages under a lease of its own; a lease that
ends is taken by another, and before the dot of each attempt the store is asked whether the lease still holds. So a
recipient is sent to by one worker at a time, and a worker that dies leaves nothing behind but leases that end, and at
the most one attempt of which nobody knows the outcome.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from bouncekit.clients.client import Client
from bouncekit.clients.smtperrors import StoreUnavailable
from bouncekit.delivery.queue import Lease
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import Delivery
from bouncekit.desk.ledger import LEASE
from bouncekit.desk.office import Office
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.words.errors import StoreError
from bouncekit.words.reply import Stage

__all__ = ["Worker", "held_back", "is_held_back"]

_BATCH = 20  # messages in one claim
_FAIR = 4  # of so many batches one asks who has waited longest: fresh mail goes first, and keeps nobody out for good
_POLL_SECONDS = 2.0
_REST = timedelta(seconds=30)  # for a relay that could not be reached: its mail keeps its attempts
_TIDIES = timedelta(hours=1)
_LEAP = timedelta(days=2)  # from one call to the next: a clock that was set, or a machine that slept
_BELIEVED = timedelta(days=1)  # how long a clock has to stand where it leapt to before anything is forgotten by it
_QUIET = timedelta(days=30)  # behind the newest news, nothing is forgotten by a later time than this
_TIDIED = 5_000  # rows forgotten before the next message goes out: a tenth of a second

_log = logging.getLogger("bouncekit")

MakeClient = Callable[[str], Client]


class Worker:
    """Sends what is due.

    Args:
        office: whose store, policy and clock.
        relays: the names of the relays that this worker sends through.
        client: makes a client of a relay's name.
        concurrency: how many messages are sent at the same time; without it one, with several relays two. Where
            there are several relays, one of them never gets all the threads.
    """

    def __init__(
        self, office: Office, relays: Iterable[str], *, client: MakeClient, concurrency: int | None = None
    ) -> None:
        self._office = office
        self._relays = tuple(relays)
        self._client = client
        self._concurrency = max(concurrency or min(len(self._relays), 2), 1)
        self._resting: dict[str, datetime] = {}  # since when
        self._threads: list[threading.Thread] = []
        self.start_afresh()
        begin_afresh_in_children(self)

    # -- as threads of an application

    def start(self) -> None:
        """Start the threads; where they run, a second call does nothing."""
        if self._runs():
            return
        with self._lock:
            if self._runs():
                return
            self._stopping.clear()
            names = [f"bouncekit-worker-{number}" for number in range(1, self._concurrency + 1)]
            threads = [threading.Thread(target=self._beat, name="bouncekit-heartbeat", daemon=True)]
            threads += [threading.Thread(target=self._run, name=name, daemon=True) for name in names]
            self._threads = []
            try:
                for thread in threads:  # under the lock: who stops us finds threads that it can wait for
                    thread.start()
                    self._threads.append(thread)
            except RuntimeError:
                self._stopping.set()  # some of them alone would be no worker
                raise

    def wake(self) -> None:
        """There is something new in the queue; starts the threads where none run, but not while `held_back`."""
        self._news.set()
        if not _held_back:
            self.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Finish the messages under way, and give the others back. False if that took longer than `timeout` seconds.

        On one of its own threads, which is in the middle of a message, it waits for nobody.
        """
        with self._lock:
            self._stopping.set()
            threads = tuple(self._threads)
        self._news.set()
        if not self.is_own_thread():
            for thread in threads:
                thread.join(timeout)
        return not any(thread.is_alive() for thread in threads)

    def is_own_thread(self) -> bool:
        """Whether this is one of its threads, such as in a subscriber that hears what was sent."""
        return threading.current_thread() in self._threads

    def _runs(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def start_afresh(self) -> None:
        """Forget the threads: in the child of a fork they are the parent's."""
        self._news, self._stopping = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._tidy_at = datetime.min.replace(tzinfo=UTC)
        self._seen_at: datetime | None = None  # when it was last asked to tidy up
        self._has_leapt = False
        self._busy: Counter[str] = Counter()
        self._batches = 0
        self._turns: dict[str, int] = {}  # when each relay had its last batch, counted in batches
        self._live: dict[str, datetime] = {}  # the leases under way: token to their end
        self._threads = []

    def _run(self) -> None:
        clients: dict[str, Client] = {}
        while not self._stopping.is_set():
            self._news.clear()
            try:
                sent = self.work(clients)
                self.tidy()
                if not sent:
                    self._office.watch_queue()
                    self._office.notices.give_due(self._office.clock.now(), None)
            except (StoreError, StoreUnavailable) as error:
                _log.warning("the worker waits, the store does not answer: %s", error)
                sent = 0
            except Exception:  # noqa: BLE001 - whatever it was, the next message deserves a try
                _log.exception("the worker goes on after an error of ours")
                sent = 0
            if not sent:
                _close(clients)
                self._news.wait(_POLL_SECONDS)
        _close(clients)

    def _beat(self) -> None:
        """Keep the leases under way: a server may take longer than one lasts."""
        while not self._stopping.wait(LEASE.total_seconds() / 3):
            until = self._office.clock.now() + LEASE
            for token in tuple(self._live):
                with suppress(StoreError):  # the next beat is early enough
                    self._office.store.extend(Lease(token, until))
                    with self._lock:
                        if token in self._live:
                            self._live[token] = until

    # -- one round

    def run_due(self, *, seconds: float | None = None) -> int:
        """Send what is due now, in this thread, until nothing is; how many messages that were.

        After so many seconds it takes no more, and finishes the batch that it is at.

        Raises:
            StoreError: the store does not answer.
        """
        clients: dict[str, Client] = {}
        total, end = 0, None if seconds is None else time.monotonic() + seconds
        try:
            while not self._stopping.is_set() and (sent := self.work(clients)):
                total += sent
                if end is not None and time.monotonic() >= end:
                    break
            self.tidy()
        finally:
            _close(clients)
        return total

    def work(self, clients: dict[str, Client]) -> int:
        """Settle what dead workers left open, then send one batch; how many messages that were.

        Raises:
            StoreError: the store does not answer.
        """
        self._office.ledger.catch_up()  # else attempts of this process, whose end it knows, would be *unknown*
        return self._recover() + self._end_overdue(clients) + self._send_batch(clients)

    def tidy(self) -> int:
        """Have the store forget what the policy keeps no longer; how many rows that were, a few thousand at the most.

        Once an hour; where there was more than that, the next call goes on. What a durable subscriber has not heard
        stays. A clock that leaps ahead is believed only after a day, so that one set wrongly for an hour costs nothing.

        Raises:
            StoreError: the store does not answer.
        """
        now, keep, store = self._office.clock.now(), self._office.policy.keep, self._office.store
        if not self._may_tidy(now):
            return 0
        newest = store.newest_at()
        as_of = now if newest is None else min(now, newest + _QUIET)
        gone = store.prune(before=keep.events_since(as_of), now=as_of, limit=_TIDIED)
        if gone >= _TIDIED:
            self._tidy_at = now
        return gone

    def _may_tidy(self, now: datetime) -> bool:
        """Whether it is time again, by a clock that may have been set; who asks only once a week leaps every time."""
        with self._lock:
            leaps = self._seen_at is not None and now - self._seen_at > _LEAP
            if leaps and not self._has_leapt:
                self._tidy_at = now + _BELIEVED
            self._seen_at, self._has_leapt = now, leaps
            self._tidy_at = min(self._tidy_at, now + _BELIEVED)  # it may have been set back
            if now < self._tidy_at:
                return False
            self._tidy_at = now + _TIDIES
            return True

    def _recover(self) -> int:
        """Attempts that were begun and never settled are *unknown*: the policy says whether they go once more."""
        lease = self._lease()
        abandoned = self._office.store.abandoned(now=self._office.clock.now(), lease=lease, limit=_BATCH)
        for attempt in abandoned:
            self._office.recover(attempt)
        if abandoned:
            self._office.store.release(lease.token)
        return len(abandoned)

    def _end_overdue(self, clients: dict[str, Client]) -> int:
        """See to mail whose deadline has passed, whatever it waits for; how many messages that were.

        It is given up where its relay cannot be had, or where it is worthless by now; else it has its last try.
        """
        ended = 0
        for relay in self._in_turn():
            lease, now = self._lease(), self._office.clock.now()
            late = self._office.store.overdue(now=now, lease=lease, limit=_BATCH, relay=relay)
            if not late:
                continue
            if not self._may_send(relay):
                for delivery in late:
                    self._office.give_up(delivery, f"relay {relay} could not be had until its deadline")
                ended += len(late)
            elif self._take_up(relay):
                try:
                    ended += self._send_all(relay, late, lease, clients)
                finally:
                    self._put_down(relay)
                continue
            self._office.store.release(lease.token)
        return ended

    def _is_worthless(self, delivery: Delivery) -> bool:
        """Whether its deadline has passed, and it is mail of a class that is not even tried then."""
        now, policy = self._office.clock.now(), self._office.policy
        return not policy.tries_late(delivery.labels) and any(
            now >= policy.deadline(one, delivery.labels, now) for one in delivery.recipients
        )

    def _send_batch(self, clients: dict[str, Client]) -> int:
        store = self._office.store
        for relay in self._in_turn():  # one at a time: what goes elsewhere does not wait behind a slow one
            if not self._take_up(relay):
                continue
            try:
                lease = self._lease()
                claimed = store.claim(
                    now=self._office.clock.now(),
                    lease=lease,
                    limit=_BATCH,
                    relays=(relay,),
                    oldest_first=self._batches % _FAIR == _FAIR - 1,
                )
                if claimed:
                    return self._send_all(relay, claimed, lease, clients)
            finally:
                self._put_down(relay)
        return 0

    def _send_all(self, relay: str, claimed: Sequence[Delivery], lease: Lease, clients: dict[str, Client]) -> int:
        """Send them one after the other, as long as the relay can be reached; give the rest back."""
        sent = failures = 0
        with self._lock:
            self._live[lease.token] = lease.until
            self._batches += 1
            self._turns[relay] = self._batches
        try:
            for delivery in claimed:
                if self._stopping.is_set() or not self._may_send(relay) or not self._is_ours(lease.token):
                    break
                sent += 1
                if self._is_worthless(delivery):
                    self._office.give_up(delivery, "its deadline had passed before its turn came")
                    continue
                try:
                    report = self._client_of(relay, clients).deliver(delivery)
                except (StoreError, StoreUnavailable):
                    raise
                except Exception:  # noqa: BLE001 - whatever it was, the next message deserves a try
                    failures += 1
                    _log.exception("message %s waits for a while, after an error of ours", delivery.id)
                    continue
                # What the store has not heard of is due again by it: not before the lease ends.
                failures += not self._office.ledger.is_remembered(delivery)
                if _is_unreachable(report) and not self._office.relays[relay].is_direct:  # it is many hosts
                    self._resting[relay] = self._office.clock.now()
            if not failures:  # else all that is left waits until the lease ends, and holds up nothing meanwhile
                self._office.store.release(lease.token)
        finally:
            with self._lock:
                del self._live[lease.token]
        return sent

    def _is_ours(self, token: str) -> bool:
        """Whether anybody is still under a lease; one that has run out is taken up again, if nobody else has."""
        now = self._office.clock.now()
        if now < self._live[token]:
            return True
        if not self._office.store.extend(Lease(token, now + LEASE)):
            return False
        with self._lock:
            self._live[token] = now + LEASE
        return True

    def _client_of(self, relay: str, clients: dict[str, Client]) -> Client:
        if relay not in clients:
            clients[relay] = self._client(relay)
        return clients[relay]

    def _in_turn(self) -> list[str]:
        """The relays, idle ones first, then those whose last batch is longest ago: a full queue starves no other."""
        with self._lock:
            return sorted(self._relays, key=lambda relay: (self._busy[relay], self._turns.get(relay, 0)))

    def _take_up(self, relay: str) -> bool:
        """Have this thread at a relay, if there may be another: a slow relay leaves at least one to the others."""
        most = self._concurrency - (len(self._relays) > 1 and self._concurrency > 1)
        with self._lock:
            if self._busy[relay] >= most or not self._may_send(relay):
                return False
            self._busy[relay] += 1
            return True

    def _put_down(self, relay: str) -> None:
        with self._lock:
            self._busy[relay] -= 1

    def _may_send(self, relay: str) -> bool:
        """Whether a relay can be reached, for all we know, and is not paused: its mail stays as it lies."""
        return not self._rests(relay) and self._office.gate.is_open(self._office.outlet_of(relay))

    def _rests(self, relay: str) -> bool:
        since = self._resting.get(relay)
        return since is not None and since <= self._office.clock.now() < since + _REST  # a clock may be set back

    def _lease(self) -> Lease:
        return Lease(self._office.clock.new_id(), self._office.clock.now() + LEASE)


@contextmanager
def held_back() -> Iterator[None]:
    """Inside, no postmaster starts a worker by itself: for who loads an application to look at it."""
    _held_back.append(True)
    try:
        yield
    finally:
        _held_back.pop()


def is_held_back() -> bool:
    """Whether somebody only looks."""
    return bool(_held_back)


_held_back: list[bool] = []

_OPENING = frozenset({Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH})


def _is_unreachable(report: Report) -> bool:
    """Whether not even a session could be opened, with all that comes before the first message."""
    return bool(report.recipients) and all(one.stage in _OPENING and not one.is_final for one in report.recipients)


def _close(clients: dict[str, Client]) -> None:
    """Idle lines are closed, so that no server has to do it."""
    while clients:
        _, client = clients.popitem()
        client.close()
