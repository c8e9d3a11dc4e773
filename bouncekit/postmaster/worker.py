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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bouncekit.clients.client import Client
from bouncekit.clients.smtperrors import StoreUnavailable
from bouncekit.delivery.queue import Lease
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import Delivery
from bouncekit.desk.ledger import LEASE
from bouncekit.desk.office import Office
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.policy.lane import Lane, LaneKind
from bouncekit.postmaster.inhand import Held, InHand
from bouncekit.words.errors import StoreError

__all__ = ["Worker", "held_back", "is_held_back"]

_BATCH = 20  # messages in one claim
_FAIR = 4  # of so many batches one asks who has waited longest: fresh mail goes first, and keeps nobody out for good
_AT_ONCE = 10  # claims in a row of which nothing could go yet
_POLL_SECONDS = 2.0
_LEAST_SECONDS = 0.01
_BUSY = timedelta(seconds=0.2)  # for what is in hand for a relay at which there are enough threads
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
        self._ring()
        if not _held_back:
            self.start()

    def stop(self, timeout: float | None = None) -> bool:
        """Finish the messages under way, and give the others back. False if that took longer than `timeout` seconds.

        On one of its own threads, which is in the middle of a message, it waits for nobody.
        """
        with self._lock:
            self._stopping.set()
            threads = tuple(self._threads)
        self._ring()
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
        self._news = threading.BoundedSemaphore(self._concurrency)  # each ring is heard by one thread that waits
        while self._news.acquire(blocking=False):
            pass
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._tidy_at = datetime.min.replace(tzinfo=UTC)
        self._seen_at: datetime | None = None  # when it was last asked to tidy up
        self._has_leapt = False
        self._is_cut_off = False  # the store does not answer, or may not be used
        self._busy: Counter[str] = Counter()
        self._passed_by: set[str] = set()  # relays at which a thread would have looked, but for those that were there
        self._batches = 0
        self._turns: dict[str, int] = {}  # when each relay had its last batch, counted in batches
        self._live: dict[str, datetime] = {}  # the leases under way: token to their end
        self._in_hand = InHand()
        self._spoiled: set[str] = set()  # those under which something failed: it waits until they end
        self._threads = []

    def _run(self) -> None:
        clients: dict[str, Client] = {}
        while not self._stopping.is_set():
            try:
                sent = self.work(clients)
                self.tidy()
                if not sent:
                    self._office.watch_queue()
                    self._office.notices.give_due(self._office.clock.now(), None)
                self._tell_of(None)
            except (StoreError, StoreUnavailable) as error:
                self._tell_of(error)
                sent = 0
            except Exception:  # noqa: BLE001 - whatever it was, the next message deserves a try
                _log.exception("the worker goes on after an error of ours")
                sent = 0
            if not sent:
                self._rest(clients)
        self._ring()  # for the next one, who is to stop too
        self._give_back()
        _close(clients)

    def _rest(self, clients: Mapping[str, Client]) -> None:
        """Wait for news, or until something in hand may go; lines that are idle for so long no server has to close."""
        waits = self._waits()
        pause = _POLL_SECONDS if waits is None else min(max(waits, _LEAST_SECONDS), _POLL_SECONDS)
        if not self._news.acquire(timeout=pause) and waits is None:
            for client in clients.values():
                client.close()

    def _tell_of(self, error: Exception | None) -> None:
        """Say what keeps it from its work, once and not every few seconds of an evening; and that it goes on."""
        with self._lock:
            was_cut_off, self._is_cut_off = self._is_cut_off, error is not None
        if error is not None and not was_cut_off:
            _log.warning("the worker waits, and will say when it goes on: %s", error)
        elif error is None and was_cut_off:
            _log.warning("the worker goes on")

    def _ring(self) -> None:
        """Have one thread look that waits, and not all of them for one message."""
        with suppress(ValueError):  # as many rings wait as there are threads
            self._news.release()

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
            while not self._stopping.is_set():
                total += (sent := self.work(clients))
                if end is not None and time.monotonic() >= end:
                    break
                if not sent:
                    if (waits := self._waits()) is None:
                        break
                    self._office.clock.sleep(max(waits, _LEAST_SECONDS))
            self.tidy()
        finally:
            self._give_back()
            _close(clients)
        return total

    def work(self, clients: dict[str, Client]) -> int:
        """Settle what dead workers left open, then send one batch; how many messages that were.

        Raises:
            StoreError: the store does not answer; or it has erased people by a secret that is not there, and this
                worker keeps no mail from those who have it.
        """
        self._office.ledger.catch_up()  # else attempts of this process, whose end it knows, would be *unknown*
        self._office.secrets.check(self._office.clock.now())
        return self._recover() + self._end_overdue(clients) + self._send_in_hand(clients) + self._send_batch(clients)

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

    def _send_in_hand(self, clients: dict[str, Client]) -> int:
        """Send those that had to wait for a moment, and whose time has come."""
        sent = 0
        while not self._stopping.is_set() and (one := self._in_hand.take(self._office.clock.now())) is not None:
            try:
                sent += self._send_held(one, clients)
            finally:
                self._in_hand.done(one)
                self._end(one.token)
        return sent

    def _send_held(self, one: Held, clients: dict[str, Client]) -> bool:
        """Send one that was in hand, if it may go now; else it is put back, or given back with all under its lease."""
        if not self._may_send(one.relay) or not self._is_ours(one.token):
            self._in_hand.drop(one.token)
            self._release(one.token)
            return False
        until = self._opens_at(one.delivery, one.relay)
        if until is None and not self._take_up(one.relay):
            until = self._office.clock.now() + _BUSY
        if until is not None:
            self._in_hand.put_back(replace(one, until=until))
            return False
        try:
            if not self._send(one.relay, one.delivery, clients):
                self._spoiled.add(one.token)
        finally:
            self._put_down(one.relay)
        return True

    def _send_batch(self, clients: dict[str, Client]) -> int:
        for _ in range(_AT_ONCE):
            claimed, sent = self._send_first(clients)
            if sent or not claimed or self._stopping.is_set():
                return sent
        return 0

    def _send_first(self, clients: dict[str, Client]) -> tuple[int, int]:
        """Send the first batch that there is; how many messages were claimed, and how many of them sent."""
        store = self._office.store
        for relay in self._in_turn():  # one at a time: what goes elsewhere does not wait behind a slow one
            if self._is_slowed(relay) or not self._take_up(relay):
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
                    return len(claimed), self._send_all(relay, claimed, lease, clients)
            finally:
                self._put_down(relay)
        return 0, 0

    def _send_all(self, relay: str, claimed: Sequence[Delivery], lease: Lease, clients: dict[str, Client]) -> int:
        """Send them one after the other, as long as the relay can be reached; give the rest back."""
        if len(claimed) == _BATCH or len(self._relays) > 1:
            self._ring()  # there may be more: what somebody was woken for may be for another relay
        sent = failures = 0
        held: list[Held] = []
        with self._lock:
            self._live[lease.token] = lease.until
            self._batches += 1
            self._turns[relay] = self._batches
        try:
            for delivery in claimed:
                if self._stopping.is_set() or not self._may_send(relay) or not self._is_ours(lease.token):
                    held = []
                    break
                if (until := self._opens_at(delivery, relay)) is not None:
                    held.append(Held(delivery, relay, lease.token, until))
                    continue
                sent += 1
                failures += not self._send(relay, delivery, clients)
            if failures:  # all that is left waits until the lease ends, and holds up nothing meanwhile
                self._spoiled.add(lease.token)
            if held:
                self._hold(held, lease)
            else:
                self._release(lease.token)
        finally:
            self._end(lease.token)
        return sent

    def _send(self, relay: str, delivery: Delivery, clients: dict[str, Client]) -> bool:
        """Send one; False where the store has not heard of it: it is due again not before the lease ends."""
        if self._is_worthless(delivery):
            self._office.give_up(delivery, "its deadline had passed before its turn came")
            return True
        try:
            report = self._client_of(relay, clients).deliver(delivery)
        except (StoreError, StoreUnavailable):
            raise
        except Exception:  # noqa: BLE001 - whatever it was, the next message deserves a try
            _log.exception("message %s waits for a while, after an error of ours", delivery.id)
            return False
        if _is_unreachable(report) and not self._office.relays[relay].is_direct:  # it is many hosts
            self._resting[relay] = self._office.clock.now()
        return self._office.ledger.is_remembered(delivery)

    def _opens_at(self, delivery: Delivery, relay: str) -> datetime | None:
        """When it may go, if it has to wait for a moment; what is worthless by now waits for nothing."""
        if self._is_worthless(delivery):
            return None
        try:
            return self._office.opens_at(delivery, self._office.outlet_of(relay))
        except Exception:  # noqa: BLE001 - whatever it was, the send meets it again, and says so
            return None

    def _hold(self, held: Sequence[Held], lease: Lease) -> None:
        """Have these in hand until their lanes open; where there is no room, let their lease end soon."""
        if not self._in_hand.put(held) and lease.token not in self._spoiled:
            turn = self._in_hand.turn(held, self._office.clock.now())
            self._end(lease.token)  # from now on nobody makes it longer
            self._office.store.extend(Lease(lease.token, turn))

    def _end(self, token: str) -> None:
        """Be at a lease no more, unless something is in hand under it, or another thread is at that."""
        with self._lock:
            if not self._in_hand.has(token):
                self._live.pop(token, None)
                self._spoiled.discard(token)

    def _waits(self) -> float | None:
        """How many seconds until something in hand may go; None where nothing is."""
        waits = self._in_hand.waits(self._office.clock.now())
        return None if waits is None else waits.total_seconds()

    def _give_back(self) -> None:
        """Give back what is in hand."""
        for token in self._in_hand.let_go():
            with suppress(StoreError):  # else its lease ends
                self._release(token)
            self._end(token)

    def _release(self, token: str) -> None:
        if token not in self._spoiled:
            self._office.store.release(token)

    def _is_ours(self, token: str) -> bool:
        """Whether anybody is still under a lease; one that has run out is taken up again, if nobody else has."""
        now = self._office.clock.now()
        if (until := self._live.get(token)) is not None and until - LEASE <= now < until:  # a clock may be set back
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
            if self._busy[relay] >= most:
                self._passed_by.add(relay)
                return False
            if not self._may_send(relay):
                return False
            self._passed_by.discard(relay)
            self._busy[relay] += 1
            return True

    def _put_down(self, relay: str) -> None:
        """Be there no more; whoever passed by meanwhile may have been woken for what came behind our look."""
        with self._lock:
            self._busy[relay] -= 1
            was_passed_by = relay in self._passed_by
            self._passed_by.discard(relay)
        if was_passed_by:
            self._ring()

    def _may_send(self, relay: str) -> bool:
        """Whether a relay can be reached, for all we know, and is not paused: its mail stays as it lies."""
        return not self._rests(relay) and self._office.gate.is_open(self._office.outlet_of(relay))

    def _is_slowed(self, relay: str) -> bool:
        """Whether a relay takes no more for a moment, and there is something in hand for it by then."""
        if not self._in_hand.has_for(relay) or self._office.outlet_of(relay).fallback is not None:
            return False
        return self._office.gate.opens_at(Lane(LaneKind.RELAY, relay)) is not None

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


def _is_unreachable(report: Report) -> bool:
    """Whether not even a session could be opened, with all that comes before the first message."""
    tried = report.recipients
    return bool(tried) and all(one.stage and one.stage.is_opening and not one.is_final for one in tried)


def _close(clients: dict[str, Client]) -> None:
    """Close their lines, and let go of them."""
    while clients:
        _, client = clients.popitem()
        client.close()
