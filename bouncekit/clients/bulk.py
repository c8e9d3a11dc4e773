"""Many messages over several connections: in batches of recipients, with results as they come, in bounded memory.

No more is taken from whoever gives the messages than is under way, so a list of any length may be given as a
generator; of a letter's recipients who have had it, the addresses are remembered. Behind the dot of one message a
connection goes on with the next, if that is there already.
"""

import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from email.message import Message
from itertools import islice
from typing import TypeAlias

from bouncekit.clients.smtp import SMTP
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import Delivery
from bouncekit.words.envelope import Recipient
from bouncekit.words.status import Action

__all__ = ["BATCH", "Letter", "OnResult", "deliveries_of", "send_many"]

BATCH = 100  # recipients of one transaction, which every server takes (RFC 5321 4.5.3.1.8)
_UNDER_WAY = 4  # messages for each connection: the one that it is at, the next, and some that wait

Letter: TypeAlias = Message | tuple[Message, Iterable[str]] | tuple[str, Iterable[str], bytes | str] | Delivery
OnResult: TypeAlias = Callable[[Letter, Report], object]


def deliveries_of(letter: Letter, desk: SMTP, sender: str | None = None) -> Iterator[Delivery]:
    """A delivery for each hundred of a letter's recipients, made when it is asked for.

    A letter is a message, to whom its headers name; `(message, recipients)`; `(sender, recipients, content)`; or what
    `SMTP.compose` and `take` have made of one.
    """
    if isinstance(letter, Delivery):
        yield from _batches(letter, desk)
    elif isinstance(letter, Message):
        yield from _batches(desk.compose(letter, sender), desk)
    elif len(letter) == 2:
        message, people = letter
        yield from _each_once(desk.compose(message, sender, some) for some in _by_hundred(people))
    else:
        return_path, people, content = letter
        yield from _each_once(desk.take(return_path, some, content) for some in _by_hundred(people))


def _by_hundred(people: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter([people] if isinstance(people, str) else people)
    while some := list(islice(waiting, BATCH)):
        yield some


def _each_once(deliveries: Iterable[Delivery]) -> Iterator[Delivery]:
    """The deliveries of one letter, without whom one before has had: a list may name somebody twice."""
    had: set[str] = set()
    for delivery in deliveries:
        fresh = tuple([one for one in delivery.recipients if one.address.wire not in had])
        had.update([one.address.wire for one in fresh])
        if len(fresh) < len(delivery.recipients):
            delivery = _narrowed(delivery, fresh)
        if fresh or delivery.refused:
            yield delivery


def _batches(delivery: Delivery, desk: SMTP) -> Iterator[Delivery]:
    """The delivery, in parts where it has more recipients than a transaction should."""
    if len(delivery.recipients) <= BATCH:
        yield delivery
        return
    assert desk.office is not None
    for start in range(0, len(delivery.recipients), BATCH):
        part = _narrowed(delivery, delivery.recipients[start : start + BATCH])
        yield replace(part, id=desk.office.clock.new_id(), refused=delivery.refused if start == 0 else ())


def _narrowed(delivery: Delivery, some: tuple[Recipient, ...]) -> Delivery:
    envelope = replace(delivery.envelope, recipients=tuple([one.address for one in some]))
    return replace(delivery, envelope=envelope, recipients=some)


class _Lane:
    """What one connection is to send: deliveries from a queue that all lanes share, None at its end."""

    def __init__(self, todo: "queue.Queue[tuple[Letter, Delivery] | None]") -> None:
        self._todo = todo
        self._next: list[tuple[Letter, Delivery] | None] = []
        self.letters: deque[Letter] = deque()  # of the deliveries that were taken, as long as they have no report

    def __iter__(self) -> Iterator[Delivery]:
        while (upcoming := self._next.pop() if self._next else self._todo.get()) is not None:
            letter, delivery = upcoming
            self.letters.append(letter)
            yield delivery

    def is_ready(self) -> bool:
        """Whether the next one is here by now: nobody waits for it with a message under way."""
        if not self._next:
            try:
                self._next.append(self._todo.get_nowait())
            except queue.Empty:
                return False
        return self._next[0] is not None


def send_many(
    letters: Iterable[Letter],
    *,
    desk: SMTP,
    new_session: Callable[[], SMTP],
    hang_up: Callable[[SMTP], object],
    concurrency: int,
    on_result: OnResult | None = None,
    sender: str | None = None,
) -> Counter[Action]:
    """Send over so many connections, each in a thread; how many recipients came to which action.

    Letters are taken, and `on_result` is called, in the calling thread.

    Raises:
        StoreUnavailable: the store does not answer. Whatever is raised, what is under way is brought to its end.
    """
    bulk = _Bulk(new_session, hang_up, on_result)
    try:
        bulk.open(concurrency)
        for letter in letters:
            for delivery in deliveries_of(letter, desk, sender):
                bulk.send(letter, delivery)
        bulk.close()
    except BaseException:
        bulk.give_up()
        raise
    return bulk.tally


class _Bulk:
    """Connections that send what they are given, and the one who hears what comes of it."""

    def __init__(
        self, new_session: Callable[[], SMTP], hang_up: Callable[[SMTP], object], on_result: OnResult | None
    ) -> None:
        self._new_session, self._hang_up, self._on_result = new_session, hang_up, on_result
        self._todo: queue.Queue[tuple[Letter, Delivery] | None] = queue.Queue()
        self._results: queue.Queue[tuple[Letter, Report] | BaseException | None] = queue.Queue()
        self._lanes = self._under_way = 0
        self.tally: Counter[Action] = Counter()

    def open(self, lanes: int) -> None:
        """Start so many threads."""
        for number in range(1, lanes + 1):
            threading.Thread(target=self._run, name=f"bouncekit-bulk-{number}", daemon=True).start()
            self._lanes = number

    def send(self, letter: Letter, delivery: Delivery) -> None:
        """Have a delivery sent; first hear what has come of others, if there is enough under way."""
        while self._under_way >= self._lanes * _UNDER_WAY:
            self._hear()
        self._todo.put((letter, delivery))
        self._under_way += 1

    def close(self) -> None:
        """Have all of it sent, and hear what came of it."""
        for _ in range(self._lanes):
            self._todo.put(None)
        while self._lanes:
            self._hear()

    def give_up(self) -> None:
        """Begin nothing more, and hear what comes of all that is under way; of what fails now the first one tells."""
        with suppress(queue.Empty):  # the lanes take from it, too
            while True:
                self._todo.get_nowait()
        while self._lanes:
            with suppress(Exception, SystemExit):
                self.close()

    def _hear(self) -> None:
        result = self._results.get()
        if result is None:
            self._lanes -= 1
        elif isinstance(result, BaseException):
            raise result
        else:
            self._under_way -= 1
            self.tally.update(result[1].actions)
            if self._on_result is not None:
                self._on_result(*result)

    def _run(self) -> None:
        """Send over one connection until there is nothing more to come."""
        try:
            session, lane = self._new_session(), _Lane(self._todo)
            try:
                for report in session.deliver_all(lane, is_ready=lane.is_ready):
                    self._results.put((lane.letters.popleft(), report))
            finally:
                self._hang_up(session)
        except BaseException as error:  # noqa: BLE001 - it is raised in the calling thread
            self._results.put(error)
        finally:
            self._results.put(None)
