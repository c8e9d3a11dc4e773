"""The mails of IMAP mailboxes (RFC 3501), by imap-tools; what was taken in is moved, flagged or deleted.

Where we are is kept by the server alone: what lies in the mailbox, and is neither flagged nor deleted, is still to do.
So a restart costs nothing, and a new UIDVALIDITY changes nothing: no UID lives longer than the session that found it.
"""

import imaplib
import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from bouncekit.intake.absorbing import MAX_MAIL_BYTES, Absorb, Outcome, counts
from bouncekit.intake.imapaccount import ImapAccount
from bouncekit.intake.imapclient import connect
from bouncekit.words.errors import ConfigurationError, MissingExtra
from bouncekit.words.showing import printable

if TYPE_CHECKING:
    from imap_tools import BaseMailBox

__all__ = ["FLAG", "ImapMailboxes"]

_log = logging.getLogger("bouncekit.intake")

FLAG = "$Bouncekit"  # a keyword of what was taken in and left there
# Seconds of one IDLE. Servers may hang up after half an hour (RFC 2177 3). The first one behind news is short, each
# quiet one twice as long: what a server tells between our last look and the IDLE it may tell only once.
_FIRST_IDLE, _LONGEST_IDLE = 2.0, 1500.0
_LOOK_SECONDS = 0.5  # between two looks whether to stop
_MOST_LOOKS = 100  # into one mailbox before the next one has its turn
_PARTS = f"(BODY.PEEK[]<0.{MAX_MAIL_BYTES}>)"
_UNAVAILABLE = "[UNAVAILABLE]"  # RFC 5530 3


class _LoginRefused(Exception):
    """The server knows no such user and password."""


class ImapMailboxes:
    """The mailboxes of one account. `mails` connects when it has to, and once more behind a fault.

    Args:
        folders: the mailboxes that are looked into.
        done: the mailbox that what was taken in is moved to; None leaves it where it is, with the keyword FLAG.
        delete: deletes it instead.
        aside: the mailbox for mails that make an error of ours.

    Raises:
        MissingExtra: imap-tools is not installed.
        ConfigurationError: a mailbox's name cannot be one.
    """

    def __init__(
        self,
        account: ImapAccount,
        *,
        folders: Sequence[str] = ("INBOX",),
        done: str | None = "Processed",
        delete: bool = False,
        aside: str = "Aside",
    ) -> None:
        try:
            import imap_tools  # noqa: F401 - asked now, and not in the middle of the night
        except ImportError:
            raise MissingExtra("intake", "imap-tools", "mailboxes by IMAP") from None
        for name in (*folders, aside, *([done] if done is not None else [])):
            if not name or not name.isprintable():
                raise ConfigurationError(f"{name!a}: not the name of a mailbox; write one such as 'INBOX'")
        if both := {name for name in (done, aside) if name in folders}:
            raise ConfigurationError(f"{both.pop()!a}: taken from and put into; give another mailbox")
        self._account, self._folders, self._done, self._delete = account, tuple(folders), done, delete
        self._aside = aside
        self._box: BaseMailBox | None = None
        self._can: frozenset[str] = frozenset()  # what the server offers
        self._has_worked = False
        self._made: set[str] = set()  # mailboxes that are there
        self._idle = _FIRST_IDLE

    def mails(self, absorb: Absorb) -> Iterator[Outcome]:
        """Take in what lies there now; what becomes of each.

        Raises:
            ConnectionError: the server does not answer, or not as it should; next time there is another connection.
            ConfigurationError: login or mailbox were refused, and never worked before.
            StoreError, OSError: a fault of ours that passes; the mail stays.
        """
        for folder in self._folders:
            tried: set[str] = set()
            for _ in range(_MOST_LOOKS):
                if not (waiting := self._waiting(folder, tried)):
                    break
                tried.update(waiting)
                self._idle = _FIRST_IDLE
                for uid in waiting:
                    if (outcome := self._take(uid, absorb)) is not None:
                        yield outcome

    def _waiting(self, folder: str, tried: Collection[str]) -> list[str]:
        """The mails there that are still to do. Of those that come while others are taken we are told only then."""
        with self._talking() as box:
            box.folder.set(folder)
            self._has_worked = True
            return [uid for uid in box.uids(self._criteria(), charset=None) if uid not in tried]

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Wait for news in the first mailbox, where the server tells (IDLE, RFC 2177), but no longer than so."""
        if self._box is None or "IDLE" not in self._can:
            stop.wait(seconds)
            return
        with self._talking() as box:
            if len(self._folders) > 1:
                box.folder.set(self._folders[0])
            box.idle.start()  # type: ignore[no-untyped-call]  # of the library
            end = time.monotonic() + min(seconds, self._idle)
            while not stop.is_set() and time.monotonic() < end and not _has_news(box.client.sock):
                pass
            box.idle.stop()  # type: ignore[no-untyped-call]  # likewise
            self._idle = min(self._idle * 2, _LONGEST_IDLE)

    def close(self) -> None:
        """Log out."""
        box, self._box = self._box, None
        if box is not None:
            with suppress(Exception):
                box.logout()
            with suppress(Exception):
                box.client.shutdown()

    def _criteria(self) -> str:
        leaves_it = self._done is None and not self._delete
        return f"UNDELETED UNKEYWORD {FLAG}" if leaves_it else "UNDELETED"

    def _take(self, uid: str, absorb: Absorb) -> Outcome | None:
        """None where it is gone."""
        with self._talking() as box:
            content = _content(_checked(box.client.uid("FETCH", uid, _PARTS), "FETCH"))
        if content is None:
            return None
        is_done = counts(absorb, content)
        with self._talking() as box:
            if not is_done:
                self._move(box, uid, self._aside)
            elif self._delete:
                self._expunge(box, uid)
            elif self._done is not None:
                self._move(box, uid, self._done)
            else:
                _checked(box.client.uid("STORE", uid, "+FLAGS.SILENT", f"({FLAG})"), "STORE")
        return Outcome.DONE if is_done else Outcome.ASIDE

    def _move(self, box: "BaseMailBox", uid: str, folder: str) -> None:
        """By MOVE (RFC 6851), else by a copy; never by EXPUNGE, which would take what others have deleted."""
        from imap_tools.utils import encode_folder

        if folder not in self._made and not box.folder.exists(folder):
            box.folder.create(folder)
        self._made.add(folder)
        if "MOVE" in self._can:
            _checked(box.client.uid("MOVE", uid, encode_folder(folder)), "MOVE")  # type: ignore[arg-type]  # bytes go, too
            return
        _checked(box.client.uid("COPY", uid, encode_folder(folder)), "COPY")  # type: ignore[arg-type]  # likewise
        self._expunge(box, uid)

    def _expunge(self, box: "BaseMailBox", uid: str) -> None:
        """Mark it as deleted, and expunge it alone where that can be (UIDPLUS, RFC 4315)."""
        _checked(box.client.uid("STORE", uid, "+FLAGS.SILENT", r"(\Deleted)"), "STORE")
        if "UIDPLUS" in self._can:
            _checked(box.client.uid("EXPUNGE", uid), "EXPUNGE")

    @contextmanager
    def _talking(self) -> "Iterator[BaseMailBox]":
        """A connection; every fault of it is a ConnectionError, and the end of it."""
        try:
            if self._box is None:
                self._box = self._connected()
            yield self._box
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - what a library makes of a hostile answer may be anything
            self._drop()
            raise self._fault(error) from None

    def _fault(self, error: Exception) -> ConnectionError | ConfigurationError:
        """What is refused from the beginning has to be set right by somebody; all else may pass."""
        from imap_tools.errors import MailboxFolderSelectError

        why = f"{self._account}: {self._said(error)}"
        is_refused = isinstance(error, _LoginRefused | MailboxFolderSelectError)
        if is_refused and not self._has_worked and _UNAVAILABLE not in why:
            return ConfigurationError(why)
        return ConnectionError(why)

    def _connected(self) -> "BaseMailBox":
        """A connection that is logged in; what it can do is asked then, since many servers say it only then."""
        box = connect(self._account)
        try:
            self._log_in(box)
            offered = _checked(box.client.capability(), "CAPABILITY")
            self._can = frozenset(" ".join(map(_text, offered)).upper().split())
        except BaseException:
            with suppress(OSError):
                box.client.shutdown()
            raise
        return box

    def _log_in(self, box: "BaseMailBox") -> None:
        from imap_tools.errors import MailboxLoginError

        user, password = self._account.user, self._account.password
        try:
            (box.login if (user + password).isascii() else box.login_utf8)(user, password, initial_folder=None)
        except imaplib.IMAP4.abort:  # the line is gone, which says nothing of the password
            raise
        except (MailboxLoginError, imaplib.IMAP4.error) as error:
            raise _LoginRefused(self._said(error)) from None

    def _drop(self) -> None:
        """Without a word: whatever was wrong, nobody waits for the answer to a LOGOUT."""
        box, self._box = self._box, None
        self._made.clear()
        if box is not None:
            with suppress(OSError):
                box.client.shutdown()

    def _said(self, error: Exception) -> str:
        """What went wrong. A server may say the password back."""
        result = getattr(error, "command_result", None)
        if isinstance(result, tuple) and len(result) == 2:
            text = " ".join(_text(part) for part in (result[1] if isinstance(result[1], list) else [result[1]]))
        else:
            text = str(error) or type(error).__name__
        return printable(text.replace(self._account.password, "***"), limit=200)


def _checked(result: tuple[str, list[Any]], command: str) -> list[Any]:
    status, data = result
    if status != "OK":
        raise imaplib.IMAP4.error(f"{command}: {' '.join(map(_text, data))}")
    return data


def _content(fetched: list[Any]) -> bytes | None:
    """The mail in the answer to a FETCH, which may bring news of others too; None where it is gone."""
    for part in fetched:
        if isinstance(part, tuple) and b"BODY[]" in part[0].upper():
            return bytes(part[1])
        if isinstance(part, bytes) and b'BODY[]<0> ""' in part.upper():
            return b""
    return None


def _has_news(sock: socket.socket) -> bool:
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    return bool(select.select([sock], [], [], _LOOK_SECONDS)[0])


def _text(part: object) -> str:
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part)
