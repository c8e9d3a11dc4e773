"""The file by which `bouncekit send --each` goes on where an earlier run was stopped: JSON lines of what is done.

A row stands there before it is sent, on the disk, and again when it has its outcome. One that was begun and has none
may have been sent: it is *unknown*, and goes again only where somebody says so.
"""

import json
import os
import sys
from collections.abc import Mapping
from enum import Enum, auto
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any

from bouncekit.words.errors import ConfigurationError
from bouncekit.words.status import Action

if sys.platform != "win32":
    import fcntl

__all__ = ["Progress", "State"]

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
_MODE = 0o600  # addresses are nobody else's business
_MOST_BYTES = 1024 * 1024  # of a line
_MARK_BYTES = 16
_BEGINNING = b'{"key": "'  # of each line


class State(Enum):
    """What is known of a row."""

    NEW = auto()  # nothing, or that it waits for another try
    DONE = auto()  # it has its outcome
    UNKNOWN = auto()  # it may have been sent


class Progress:
    """What has become of rows, by their keys. Without a file nothing is, and nothing is kept.

    Raises:
        ConfigurationError: the file is another one, or another run is at it.
    """

    def __init__(self, file: str | None) -> None:
        self._done: set[bytes] = set()
        self._begun: set[bytes] = set()
        self._file: int | None = None
        if file is not None:
            self._file = os.open(file, _FLAGS, _MODE)
            try:
                self._lock(file)
                os.ftruncate(self._file, self._read(file))
            except BaseException:
                self.__exit__(None, None, None)
                raise

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def state(self, key: str) -> State:
        """What is known of a row."""
        mark = _mark(key)
        return State.DONE if mark in self._done else State.UNKNOWN if mark in self._begun else State.NEW

    def begin(self, key: str, told: Mapping[str, Any]) -> None:
        """Remember on the disk that a row is about to be sent."""
        if self._file is not None:
            self._begun.add(_mark(key))
            self._write({"key": key, "begun": True, **told})
            os.fsync(self._file)

    def end(self, key: str, told: Mapping[str, Any]) -> None:
        """Remember what became of it."""
        if self._file is not None:
            self._write({"key": key, **told})
            self._heed(_mark(key), told)

    def _write(self, told: Mapping[str, Any]) -> None:
        assert self._file is not None
        line = memoryview(f"{json.dumps(told)}\n".encode("ascii"))
        while line:
            line = line[os.write(self._file, line) :]

    def _heed(self, mark: bytes, told: Mapping[str, Any]) -> None:
        """Take a line for what it says."""
        if told.get("begun") or told.get("action") == Action.UNKNOWN:
            self._begun.add(mark)
            self._done.discard(mark)
            return
        self._begun.discard(mark)
        if told.get("action") != Action.DELAYED or told.get("kept"):
            self._done.add(mark)

    def _lock(self, file: str) -> None:
        if sys.platform == "win32":
            return  # nobody is kept from running it twice
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(f"--resume {file}: another run is at it; let it end, or name another") from None

    def _read(self, file: str) -> int:
        """Heed every whole line; where the last of them ends. Behind it stands at the most what was cut."""
        end = 0
        with Path(file).open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(_MOST_BYTES), b""), 1):
                if (
                    not line.endswith(b"\n")
                    and len(line) < _MOST_BYTES
                    and (number > 1 or line.startswith(b'{"key": "'))
                ):
                    break
                told = _object(line)
                if told is None:
                    raise ConfigurationError(
                        f"--resume {file}:{number}: not written by `send --each`; name another file"
                    )
                self._heed(_mark(told["key"]), told)
                end += len(line)
        return end


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) and isinstance(told.get("key"), str) else None


def _mark(key: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogateescape"), digest_size=_MARK_BYTES).digest()
