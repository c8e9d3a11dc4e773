"""Events as lines of JSON in a file or a stream, one object each, for programs that read logs (CloudEvents 1.0)."""

import json
import os
import threading
from types import TracebackType
from typing import Protocol

from bouncekit.events import Event

__all__ = ["JsonLines"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
_MODE = 0o600  # addresses are nobody else's business


class TextStream(Protocol):
    """What `sys.stdout` and an open text file are."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class JsonLines:
    r"""A subscriber that appends each event as one line of ASCII: `postmaster.on()(JsonLines("events.jsonl"))`.

    A file is made for its owner alone, and opened for each line, which costs as much as asking whether it is still the
    same one: it may be rotated away, shared by processes and threads, and written to after a fork. A line is one write
    behind what is there. A stream gets one write and a flush for each; it stays open, it is the caller's.

    >>> import io
    >>> from datetime import UTC, datetime
    >>> from bouncekit.events import EventType, Occasion
    >>> lines = io.StringIO()
    >>> occasion = Occasion(attempt_id="1", at=datetime(2026, 1, 1, tzinfo=UTC))
    >>> JsonLines(lines)(Event(id="2", type=EventType.CLOSED, occasion=occasion))
    >>> json.loads(lines.getvalue())["type"]
    'closed'

    Raises:
        OSError: the file cannot be opened for writing, now or later; the bus logs what happens later.
    """

    def __init__(self, target: str | os.PathLike[str] | TextStream) -> None:
        self._path = os.path.abspath(target) if isinstance(target, str | os.PathLike) else None
        self._stream = None if isinstance(target, str | os.PathLike) else target
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._is_torn = False
        self._is_closed = False
        if self._path is not None:
            os.close(os.open(self._path, _FLAGS, _MODE))

    def __repr__(self) -> str:
        return f"JsonLines({self._path or getattr(self._stream, 'name', self._stream)!r})"

    def __call__(self, event: Event) -> None:
        if self._is_closed:
            raise ValueError(f"{self!r} is closed")
        line = json.dumps(event.to_dict(), separators=(",", ":"), default=str) + "\n"
        if self._stream is None:
            self._append(line.encode("ascii"))
        else:
            with self._own_lock():
                self._stream.write(line)
                self._stream.flush()

    def close(self) -> None:
        """Take no more events. A stream stays open."""
        self._is_closed = True

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, line: bytes) -> None:
        """One write; what is missing of it, on a full disk, is tried once more and else shut off by a line end."""
        assert self._path is not None
        if self._is_torn:
            line = b"\n" + line
        file = os.open(self._path, _FLAGS, _MODE)
        try:
            written = os.write(file, line)
            if written < len(line):
                self._is_torn = True
                written += os.write(file, line[written:])
            self._is_torn = written < len(line)
        finally:
            os.close(file)

    def _own_lock(self) -> threading.Lock:
        """The lock of this process: another thread may have held the parent's while it forked."""
        if self._pid != os.getpid():
            self._lock, self._pid = threading.Lock(), os.getpid()
        return self._lock
