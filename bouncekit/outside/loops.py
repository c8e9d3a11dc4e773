"""Event loops that others call into: one on a thread of our own, and one that an application lends."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["LentLoop", "LoopThread"]

_MOMENT = 0.01  # between two looks whether anything runs there still
_STOP_SECONDS = 5.0  # for tasks that are cancelled to say good-bye


class LoopThread:
    """An event loop on a daemon thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bouncekit-bus", daemon=True)
        self._thread.start()
        self._is_ready.wait()
        if self._loop is None:
            raise RuntimeError("no event loop could be started for asynchronous subscribers")

    def _run(self) -> None:
        import asyncio

        try:
            asyncio.run(self._serve())
        finally:
            self._is_ready.set()

    async def _serve(self) -> None:
        import asyncio

        self._loop, self._stopped, self._task = asyncio.get_running_loop(), asyncio.Event(), asyncio.current_task()
        self._is_ready.set()
        await self._stopped.wait()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the thread, soon."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function, *arguments)

    def is_current(self) -> bool:
        """Whether this is that thread."""
        return threading.current_thread() is self._thread

    def end_when_idle(self) -> None:
        """End the thread when nothing runs there any more. Runs on it."""
        import asyncio

        assert self._loop is not None
        others = asyncio.all_tasks(self._loop) - {self._task}
        if others:
            self._loop.call_later(_MOMENT, self.end_when_idle)
        else:
            self._stopped.set()

    def stop(self) -> None:
        """Cancel what still runs and end the thread; waits for that, except on the thread itself."""
        self.call(self._stopped.set)
        if not self.is_current():
            self._thread.join(_STOP_SECONDS)


class LentLoop:
    """The loop of an application, which runs it and ends it."""

    def __init__(self, loop: "asyncio.AbstractEventLoop") -> None:
        self._loop = loop

    @property
    def is_closed(self) -> bool:
        return self._loop.is_closed()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the loop, soon."""
        with suppress(RuntimeError):  # it was closed this moment: what waits is found when somebody looks
            self._loop.call_soon_threadsafe(function, *arguments)

    def is_current(self) -> bool:
        """Whether it is the loop that runs here."""
        import asyncio

        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def stop(self) -> None:
        """It is not ours to end."""
