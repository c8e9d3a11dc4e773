"""What a page keeps for a while between two requests: a file that is to be imported, a policy that is being tried."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING
from weakref import finalize

if TYPE_CHECKING:
    from bouncekit.history.backtest import Difference

__all__ = ["Trial", "Trials", "Upload", "Uploads"]

_LASTS = timedelta(minutes=30)
_MOST_UPLOADS, _MOST_TRIALS = 4, 8


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was tried, and is imported when its owner says so."""

    session: str
    name: str
    file: "SpooledTemporaryFile[bytes]"
    at: datetime


class Uploads:
    """Files of the last half hour, at most four: each belongs to the browser that brought it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._lock = threading.Lock()
        finalize(self, _close, self._kept)

    def keep(self, upload: Upload) -> str:
        """Its name, which nobody can guess."""
        id_ = secrets.token_urlsafe(16)
        with self._lock:
            self._kept[id_] = upload
            while len(self._kept) > _MOST_UPLOADS or self._is_old(upload.at):
                self._kept.popitem(last=False)[1].file.close()
        return id_

    def take(self, id_: str, session: str, now: datetime) -> Upload | None:
        """The file, once; None where it is gone, or somebody else's."""
        with self._lock:
            found = self._kept.get(id_)
            if found is None or found.session != session or now - found.at > _LASTS:
                return None
            return self._kept.pop(id_)

    def _is_old(self, now: datetime) -> bool:
        oldest = next(iter(self._kept.values()), None)
        return oldest is not None and now - oldest.at > _LASTS


def _close(kept: "OrderedDict[str, Upload]") -> None:
    """Let go of the files of pages that are gone."""
    for upload in kept.values():
        upload.file.close()


@dataclass(slots=True)
class Trial:
    """A policy that is tried on what happened: how far it is, and what came of it."""

    old: str
    new: str
    days: int
    read: int = 0  # events
    difference: "Difference | None" = None  # when it is done
    why: str = ""  # it has none
    id: str = field(default_factory=lambda: secrets.token_urlsafe(8))

    @property
    def is_done(self) -> bool:
        return self.difference is not None or bool(self.why)


class Trials:
    """The last trials; one runs at a time, since it reads all that happened."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Trial] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, trial: Trial) -> bool:
        """Keep it. False: another one runs."""
        with self._lock:
            if any(not one.is_done for one in self._kept.values()):
                return False
            self._kept[trial.id] = trial
            if len(self._kept) > _MOST_TRIALS:
                self._kept.popitem(last=False)
        return True

    def get(self, id_: str) -> Trial | None:
        """The trial of that name."""
        return self._kept.get(id_)
