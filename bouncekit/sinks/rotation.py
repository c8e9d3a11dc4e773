"""When a file of events is full, and what it is called then: `events.jsonl.1` is the one before it, `.2` older."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

if sys.platform != "win32":
    import fcntl

__all__ = ["Rotation"]

_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A file is put aside before it grows beyond `max_bytes`, or when the day (in UTC) of its last line is over.

    Of those put aside `keep` stay. A kill at any moment loses none of them: a gap that it left is filled the next time.
    """

    max_bytes: int | None = None
    daily: bool = False
    keep: int = 7

    def is_due(self, file: int, more_bytes: int) -> bool:
        """Whether the open file must make room before so many bytes more go in."""
        now = os.fstat(file)
        if not now.st_size:
            return False
        is_full = self.max_bytes is not None and now.st_size + more_bytes > self.max_bytes
        return is_full or (self.daily and now.st_mtime // _DAY < time.time() // _DAY)

    def turn(self, path: str, more_bytes: int) -> None:
        """Put the file aside, unless another process has done it meanwhile."""
        with _alone(path):
            try:
                file = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return
            try:
                is_due = self.is_due(file, more_bytes)
            finally:
                os.close(file)
            if is_due:
                self._shift(path)

    def _shift(self, path: str) -> None:
        """Each file takes the name of the next older one, up to a gap; the oldest one's place is the last."""
        gap = 1
        while gap < self.keep and os.path.exists(f"{path}.{gap}"):
            gap += 1
        for number in range(gap, 1, -1):
            os.replace(f"{path}.{number - 1}", f"{path}.{number}")
        if self.keep:
            os.replace(path, f"{path}.1")
        else:
            os.unlink(path)


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """While no other process turns the same file."""
    if sys.platform == "win32":
        with suppress(PermissionError):  # somebody has it open: it is turned the next time
            yield
        return
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
