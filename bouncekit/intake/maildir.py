"""The mails of a maildir: `new` and `cur`; what was taken in is moved to a folder of it, or deleted.

Several processes may work on one: each mail is locked while it is worked on, and a lock dies with its process.
"""

import fcntl
import logging
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from bouncekit.intake.absorbing import MAX_MAIL_BYTES, Absorb, Outcome, counts
from bouncekit.words.errors import ConfigurationError

__all__ = ["Maildir"]

_log = logging.getLogger("bouncekit.intake")

_PARTS = ("tmp", "new", "cur")
_SEEN = ":2,S"
_NAMES_TAKEN = ("", ".", "..", *_PARTS)
# Never through a symbolic link, never into waiting for a pipe's other end.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Maildir:
    """A maildir, and the folders of it for what is done and what is set aside; `done` None deletes.

    Raises:
        ConfigurationError: it is none, or a folder's name cannot be one.
    """

    def __init__(self, path: Path, *, done: str | None = ".Processed", aside: str = ".Aside") -> None:
        if not all((path / part).is_dir() for part in ("new", "cur")):
            raise ConfigurationError(f"{path}: not a maildir: that has the folders new and cur")
        for name in (done, aside):
            if name is not None and (name in _NAMES_TAKEN or "/" in name or "\0" in name):
                raise ConfigurationError(f"{name!a}: not a folder of a maildir; write a name such as .Processed")
        if done == aside:
            raise ConfigurationError(f"{aside!a}: what is set aside needs another folder than what is done")
        self._path, self._done, self._aside = path, done, aside
        self._unread: set[str] = set()  # what was complained of already

    def mails(self, absorb: Absorb) -> Iterator[Outcome]:
        """Take in what lies there now, oldest first; what becomes of each.

        Raises:
            StoreError, OSError: a fault that passes; the mail, and what is behind it, stay.
        """
        for path in self._waiting():
            if (outcome := self._take(path, absorb)) is not None:
                yield outcome

    def _waiting(self) -> list[Path]:
        """A name begins with the time of delivery."""
        found = [
            Path(entry.path)
            for part in ("new", "cur")
            for entry in os.scandir(self._path / part)
            if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False)
        ]
        return sorted(found, key=lambda path: path.name)

    def _take(self, path: Path, absorb: Absorb) -> Outcome | None:
        """None where somebody else has it, or has had it."""
        try:
            with _locked(path) as file:
                if file is None:
                    return None
                outcome = Outcome.DONE if counts(absorb, file.read(MAX_MAIL_BYTES)) else Outcome.ASIDE
                self._put_away(path, self._done if outcome is Outcome.DONE else self._aside)
                return outcome
        except PermissionError as error:
            if str(error.filename) != str(path):
                raise
            return self._complain(path)

    def _complain(self, path: Path) -> Outcome | None:
        """One mail that belongs to somebody else must not stop the others; it is told of once."""
        if path.name in self._unread:
            return None
        self._unread.add(path.name)
        _log.warning("%s: no right to read or lock it; it stays where it is", path)
        return Outcome.KEPT

    def _put_away(self, path: Path, folder: str | None) -> None:
        """A mail that is gone was moved by a mail program meanwhile: it comes again, which changes nothing."""
        with suppress(FileNotFoundError):
            if folder is None:
                path.unlink()
                return
            name = path.name if ":2," in path.name else path.name + _SEEN
            target = self._made(folder) / "cur" / name
            if target.exists():
                target = target.with_name(f"{uuid.uuid4().hex}.{name}")
            path.rename(target)

    def _made(self, folder: str) -> Path:
        """The folder as Maildir++ wants it, for the maildir's owner."""
        target = self._path / folder
        if not (target / "cur").is_dir():
            owner = self._path.stat()
            for path in (target, *(target / part for part in _PARTS)):
                path.mkdir(mode=0o700, exist_ok=True)
                _give(path, owner)
            (target / "maildirfolder").touch(mode=0o600)
            _give(target / "maildirfolder", owner)
        return target


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes] | None]:
    """A mail, open and ours; None where it is somebody else's, or gone."""
    try:
        number = os.open(path, _FLAGS)
    except FileNotFoundError:
        yield None
        return
    with os.fdopen(number, "rb") as file:
        yield file if stat.S_ISREG(os.fstat(number).st_mode) and _is_ours(path, number) else None


def _is_ours(path: Path, number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        now = os.stat(path, follow_symlinks=False)
    except (BlockingIOError, FileNotFoundError):  # somebody is at it, or was quicker
        return False
    return os.path.samestat(now, os.fstat(number))


def _give(path: Path, owner: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
