"""Events as lines of JSON in a file or a stream, one object each, for programs that read logs (CloudEvents 1.0)."""

import errno
import os
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import ClassVar, Protocol

from bouncekit.delivery.events import Event, Told
from bouncekit.sinks.payload import line
from bouncekit.sinks.protocol import Sink
from bouncekit.sinks.rotation import Rotation
from bouncekit.words.errors import ConfigurationError

__all__ = ["JsonLines"]

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
_MODE = 0o600  # addresses are nobody else's business


class TextStream(Protocol):
    """What `sys.stdout` and an open text file are."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class JsonLines(Sink):
    r"""Appends each event as one line of ASCII.

    As a subscriber, `postmaster.on()(JsonLines("events.jsonl"))`, what this process tells, as it is told. As a sink,
    `Postmaster(sinks=[JsonLines("events.jsonl")])`, what the store holds, and on the disk before it counts as written:
    behind a kill a batch may stand there twice, and no line is torn.

    A file is made for its owner alone, and opened for each line, which costs as much as asking whether it is still the
    same one: it may be rotated away, shared by processes and threads, and written to after a fork. A line is one write
    behind what is there. A stream gets one write and a flush for each; it stays open, it is the caller's.

    Args:
        target: a path, or a stream.
        max_bytes: the file is put aside as `events.jsonl.1` before it grows beyond that.
        daily: it is put aside when the day (in UTC) of its last line is over.
        keep: so many files that were put aside stay.

    >>> import io
    >>> from datetime import UTC, datetime
    >>> from bouncekit.delivery.events import EventType, Occasion
    >>> lines = io.StringIO()
    >>> occasion = Occasion(attempt_id="1", at=datetime(2026, 1, 1, tzinfo=UTC))
    >>> JsonLines(lines)(Event(id="2", type=EventType.CLOSED, occasion=occasion))
    >>> import json
    >>> json.loads(lines.getvalue())["type"]
    'closed'

    Raises:
        OSError: the file cannot be opened for writing, now or later; the bus logs what happens later.
        ConfigurationError: it is to be rotated, and is a stream, or never.
    """

    kind: ClassVar[str] = "jsonlines"

    def __init__(
        self,
        target: str | os.PathLike[str] | TextStream,
        *,
        max_bytes: int | None = None,
        daily: bool = False,
        keep: int = 7,
        name: str | None = None,
        types: Iterable[str] = (),
        begin: str | None = None,
    ) -> None:
        super().__init__(name=name, types=types, begin=begin)
        if not (max_bytes is None or (isinstance(max_bytes, int) and max_bytes > 0)) or keep < 0:
            raise ConfigurationError(f"sink {self.name}: max_bytes is a number of bytes, and keep one of files")
        self._rotation = Rotation(max_bytes=max_bytes, daily=daily, keep=keep) if max_bytes or daily else None
        if self._rotation is not None and not isinstance(target, str | os.PathLike):
            raise ConfigurationError(f"sink {self.name}: a stream cannot be rotated; give the path of a file")
        self._path = os.path.abspath(target) if isinstance(target, str | os.PathLike) else None
        self._stream = None if isinstance(target, str | os.PathLike) else target
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._is_torn = False
        self._is_closed = False
        if self._path is not None:
            os.close(os.open(self._path, _FLAGS, _MODE))

    def __repr__(self) -> str:
        named = "" if self.name == self.kind else f", name={self.name!r}"
        wanted = f", types={sorted(self.types)}" if self.types else ""
        return f"JsonLines({self._path or getattr(self._stream, 'name', self._stream)!r}{named}{wanted})"

    def __call__(self, event: Event) -> None:
        if self._is_closed:
            raise ValueError(f"{self!r} is closed")
        self._write(line(event.to_dict()))

    def send(self, events: Sequence[Told]) -> None:
        """See `Sink.send`. A batch goes into one file, of which it may be more than `max_bytes`."""
        self._write("".join(map(line, events)), is_safe=True)

    def close(self) -> None:
        """Take no more events as a subscriber. A stream stays open."""
        self._is_closed = True

    def _write(self, lines: str, *, is_safe: bool = False) -> None:
        if self._stream is None:
            self._append(lines.encode("ascii"), is_safe=is_safe)
            return
        with self._own_lock():
            self._stream.write(lines)
            self._stream.flush()

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, line: bytes, *, is_safe: bool) -> None:
        """One write; what is missing of it, on a full disk, is tried once more and else shut off by a line end."""
        assert self._path is not None
        file = self._with_room(self._path, len(line))
        try:
            if self._is_torn or (is_safe and _is_torn(file)):
                line = b"\n" + line
            written = os.write(file, line)
            if written < len(line):
                self._is_torn = True
                written += os.write(file, line[written:])
            self._is_torn = written < len(line)
            if is_safe:
                if self._is_torn:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
                _sync(file)
        finally:
            os.close(file)

    def _with_room(self, path: str, more_bytes: int) -> int:
        """The file, open, behind the one that had to make room."""
        file = os.open(path, _FLAGS, _MODE)
        if self._rotation is None or not self._rotation.is_due(file, more_bytes):
            return file
        os.close(file)
        self._rotation.turn(path, more_bytes)
        return os.open(path, _FLAGS, _MODE)

    def _own_lock(self) -> threading.Lock:
        """The lock of this process: another thread may have held the parent's while it forked."""
        if self._pid != os.getpid():
            self._lock, self._pid = threading.Lock(), os.getpid()
        return self._lock


def _is_torn(file: int) -> bool:
    """Whether the last line has no end: another process may have died on a full disk."""
    size = os.fstat(file).st_size
    return size > 0 and hasattr(os, "pread") and os.pread(file, 1, size - 1) != b"\n"


def _sync(file: int) -> None:
    """Have it on the disk; a pipe or a device has none."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):
            raise
