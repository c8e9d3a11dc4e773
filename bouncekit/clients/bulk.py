"""Many messages over several connections: in batches of recipients, with results as they come, in bounded memory.

No more is taken from whoever gives the messages than is under way, so a list of any length may be given as a
generator. Behind the dot of one message a connection goes on with the next, if that is there already.
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
        for some in _by_hundred(people):
            yield desk.compose(message, sender, some)
    else:
        return_path, people, content = letter
        for some in _by_hundred(people):
            yield desk.take(return_path, some, content)


def _by_hundred(people: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter([people] if isinstance(people, str) else people)
    while some := list(islice(waiting, BATCH)):
        yield some


def _batches(delivery: Delivery, desk: SMTP) -> Iterator[Delivery]:
    """The delivery, in parts where it has more recipients than a transaction should."""
    if len(delivery.recipients) <= BATCH:
        yield delivery
        return
    assert desk.office is not None
    for start in range(0, len(delivery.recipients), BATCH):
        some = delivery.recipients[start : start + BATCH]
        envelope = replace(delivery.envelope, recipients=tuple(one.address for one in some))
        refused = delivery.refused if start == 0 else ()
        yield replace(delivery, id=desk.office.clock.new_id(), envelope=envelope, recipients=some, refused=refused)


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
    todo: queue.Queue[tuple[Letter, Delivery] | None] = queue.Queue()
    results: queue.Queue[tuple[Letter, Report] | BaseException | None] = queue.Queue()
    tally: Counter[Action] = Counter()
    most, under_way, lanes = concurrency * _UNDER_WAY, 0, concurrency

    def run() -> None:
        try:
            session, lane = new_session(), _Lane(todo)
            try:
                for report in session.deliver_all(lane, is_ready=lane.is_ready):
                    results.put((lane.letters.popleft(), report))
            finally:
                hang_up(session)
        except BaseException as error:  # noqa: BLE001 - it is raised in the calling thread
            results.put(error)
        finally:
            results.put(None)

    def hear() -> None:
        nonlocal under_way, lanes
        result = results.get()
        if result is None:
            lanes -= 1
        elif isinstance(result, BaseException):
            raise result
        else:
            under_way -= 1
            tally.update(result[1].actions)
            if on_result is not None:
                on_result(*result)

    for number in range(concurrency):
        threading.Thread(target=run, name=f"bouncekit-bulk-{number + 1}", daemon=True).start()
    try:
        for letter in letters:
            for delivery in deliveries_of(letter, desk, sender):
                while under_way >= most:
                    hear()
                todo.put((letter, delivery))
                under_way += 1
        _end(todo, concurrency)
        while lanes:
            hear()
    except BaseException:
        with suppress(queue.Empty):  # the lanes take from it, too
            while True:
                todo.get_nowait()
        _end(todo, concurrency)
        while lanes:
            with suppress(Exception):  # what was raised first is told; these results are told all the same
                hear()
        raise
    return tally


def _end(todo: "queue.Queue[tuple[Letter, Delivery] | None]", lanes: int) -> None:
    for _ in range(lanes):
        todo.put(None)
