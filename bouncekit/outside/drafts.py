"""A file that has its name only once it is whole, and until then another one beside it: nobody finds half of it."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

__all__ = ["draft_of", "drafted", "publish"]


@contextmanager
def drafted(path: str | os.PathLike[str], *, is_secret: bool = True) -> Iterator[IO[bytes]]:
    """A file to write; it takes the place of what is there when it is whole and on the disk, else that stays as it was.

    A new one is readable for its owner only, since addresses may stand in it, unless it is no secret: then for whom
    files of this process are. One that was there leaves its rights.
    What is no plain file, such as a pipe, and one in a folder that takes no other, is written where it is; so is one
    that is mounted by itself, as into a container.

    Raises:
        OSError: it cannot be written; it names the file.
    """
    place = os.path.realpath(path)
    there = os.stat(place) if os.path.exists(place) else None
    takes_over = os.access(os.path.dirname(place), os.W_OK) and os.access(place, os.W_OK)
    if there and not (stat.S_ISREG(there.st_mode) and takes_over):
        with open(place, "wb") as file:  # or refused, where nobody may write
            yield file
        return
    draft = ""
    try:
        draft = draft_of(place, is_secret=is_secret)
        with open(draft, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if there:
            _leave_rights(there, draft)
        _publish_over(draft, place)
    except OSError as error:
        is_ours = error.filename is None or str(error.filename).startswith(f"{place}.")
        if is_ours and error.errno is not None:  # what has none is told by its text, and by whoever writes here
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft)


def draft_of(path: str, *, is_secret: bool = True) -> str:
    """The name of a new and empty file beside a place, in which what is to be there is made.

    Raises:
        OSError: there can be none.
    """
    draft = f"{path}.{os.getpid()}-{secrets.token_hex(4)}.new"
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600 if is_secret else 0o666))
    return draft


def publish(draft: str, path: str, *, over: bool = False) -> bool:
    """Give a finished file its name, for good; `over` what is there. False if another has that name, and keeps it."""
    try:
        if over:
            os.replace(draft, path)
        else:
            os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if over or os.path.lexists(path):
            raise
        os.rename(draft, path)
    if hasattr(os, "O_DIRECTORY"):
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return True


def _publish_over(draft: str, path: str) -> None:
    try:
        publish(draft, path, over=True)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        shutil.copyfile(draft, path)


def _leave_rights(there: os.stat_result, draft: str) -> None:
    """Let whoever might read the file that was there read the new one, and nobody else."""
    mode = stat.S_IMODE(there.st_mode)
    if hasattr(os, "chown"):
        try:
            os.chown(draft, -1, there.st_gid)
        except OSError:  # it is none of ours
            mode &= ~stat.S_IRWXG
        with suppress(OSError):  # not to be given away by everybody
            os.chown(draft, there.st_uid, -1)
    os.chmod(draft, mode)
