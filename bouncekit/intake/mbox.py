"""The mails of an mbox (RFC 4155), taken in under its lock, and the file emptied when the last of them was.

An mbox is never rewritten: either all of it has been taken in, and it is cut to nothing, or it stays as it is. Whoever
is killed in between takes the same mails in again, which changes nothing. Locks are those of Debian's mail programs:
fcntl and a file beside it, `.lock`.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from bouncekit.intake.absorbing import MAX_MAIL_BYTES, Absorb, Outcome, counts
from bouncekit.intake.aside import for_its_owner
from bouncekit.words.errors import ConfigurationError

__all__ = ["Mbox"]

_FROM = b"From "
_MAX_LINE = 64 * 1024
_CHUNK = 1024 * 1024
_STALE_SECONDS = 300.0  # a .lock that nobody has touched for so long was left behind
_TOUCH_SECONDS = 60.0


class _Mail(NamedTuple):
    """A mail, and where it lies in the file with the line that separates it."""

    start: int
    end: int
    content: bytes


class Mbox:
    """An mbox; what is done is appended to `done`, where there is one, what is set aside to `aside`.

    Raises:
        ConfigurationError: there is no such folder, or no file but something else.
    """

    def __init__(self, path: Path, *, done: Path | None = None, aside: Path | None = None) -> None:
        self._path, self._done = path, done
        self.aside = aside or path.with_name(f"{path.name}.aside")
        if not path.parent.is_dir():
            raise ConfigurationError(f"{path.parent}: there is no such folder; make it, or look at the path")
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"{path}: not an mbox, which is a file; bouncekit intake maildir takes folders")
        if len({path.absolute(), self.aside.absolute(), done and done.absolute()}) < 3:
            raise ConfigurationError(f"{path}: what is done and what is set aside need files of their own")

    def mails(self, absorb: Absorb) -> Iterator[Outcome]:
        """Take in what lies there now, oldest first; what becomes of each. A file that is not there is empty.

        Raises:
            StoreError, OSError: a fault that passes, such as a lock of somebody else; all mails stay.
            ConfigurationError: it does not begin as an mbox does.
        """
        if not self._path.exists():
            return
        with _locked(self._path) as (file, still_ours):
            for mail in _split(file, str(self._path)):
                still_ours()
                if counts(absorb, mail.content):
                    yield Outcome.DONE
                else:
                    _append(file, mail.start, mail.end, self.aside)
                    yield Outcome.ASIDE
            if self._done is not None:
                _append(file, 0, file.seek(0, os.SEEK_END), self._done)
            file.truncate(0)


@contextmanager
def _locked(path: Path) -> Iterator[tuple[IO[bytes], "_Touch"]]:
    """The file, open and ours alone, and what to call now and then so that it stays so."""
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise _taken(path) from None
        beside = path.with_name(f"{path.name}.lock")
        has_made_it = _made(beside, path)
        try:
            if not os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                raise _taken(path)  # somebody has put another one in its place
            yield file, _Touch(beside if has_made_it else None)
        finally:
            if has_made_it:
                beside.unlink(missing_ok=True)


class _Touch:
    """Keeps the lock beside a file young."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._at = path, time.monotonic()

    def __call__(self) -> None:
        if self._path is not None and time.monotonic() - self._at > _TOUCH_SECONDS:
            self._at = time.monotonic()
            with suppress(FileNotFoundError):
                os.utime(self._path)


def _made(beside: Path, path: Path) -> bool:
    """Whether the lock beside the file could be made; in a folder like /var/mail one may have no right to, nor need."""
    for _ in range(2):
        try:
            os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            with suppress(FileNotFoundError):
                if time.time() - beside.stat().st_mtime < _STALE_SECONDS:
                    break
                beside.unlink()
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                return False
            raise
        else:
            return True
    raise _taken(path)


def _taken(path: Path) -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, "locked by another program, try again", os.fspath(path))


def _split(file: IO[bytes], name: str) -> Iterator[_Mail]:
    """The mails, of one that is too long the beginning; the file may be used while somebody looks at one."""
    lines: list[bytes] = []
    start = size = at = 0
    is_behind_empty = True
    while True:
        file.seek(at)
        line = file.readline(_MAX_LINE)
        if at == 0 and line and not line.startswith(_FROM):
            raise ConfigurationError(f"{name}: not an mbox, whose first line begins with 'From '")
        if at > start and (not line or (is_behind_empty and line.startswith(_FROM))):
            yield _Mail(start, at, b"".join(lines))
            lines, start, size = [], at, 0
        if not line:
            return
        if at > start:
            size += len(line)
            if size <= MAX_MAIL_BYTES:
                lines.append(line)
        is_behind_empty = not line.strip(b"\r\n")
        at += len(line)


def _append(file: IO[bytes], start: int, end: int, target: Path) -> None:
    """Append a part of a file to another one; it is on the disk when this returns."""
    with open(target, "ab", opener=for_its_owner) as out:
        fcntl.lockf(out, fcntl.LOCK_EX)
        file.seek(start)
        left = end - start
        while left > 0 and (part := file.read(min(left, _CHUNK))):
            out.write(part)
            left -= len(part)
        out.flush()
        os.fsync(out.fileno())
