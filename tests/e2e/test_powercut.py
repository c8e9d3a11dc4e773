"""A power cut at any moment loses nothing that was acknowledged: images of the disk, made of what strace saw.

BOUNCEKIT_CUTS is how many (100); BOUNCEKIT_SEED repeats a run. With `synchronous = NORMAL` the same images lose much,
or they would show nothing.
"""

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ScriptedServer
from bouncekit.words.errors import StoreError

from .diskimages import CALLS, Call, Disk, calls_of, unsynced_acknowledgements

ROOT = Path(__file__).parents[2]
CUTS = int(os.environ.get("BOUNCEKIT_CUTS", "100"))
SEED = int(os.environ.get("BOUNCEKIT_SEED") or random.randrange(1_000_000))
MESSAGES = 30

pytestmark = pytest.mark.timeout(300 + CUTS)


@dataclass
class Known:
    """What the world knew when the power went: what was acknowledged, and for whom a dot had gone out."""

    told: set[str] = field(default_factory=set)
    submitted: set[str] = field(default_factory=set)
    sent_to: set[str] = field(default_factory=set)
    _transaction: list[str] = field(default_factory=list)

    def hear(self, call: Call) -> None:
        if call.kind == "write" and call.name.endswith("/acknowledged"):
            for line in call.data.decode().splitlines():
                kind, _, what = line.partition(" ")
                (self.told if kind == "told" else self.submitted).add(what)
        elif call.kind == "sent" and call.data == b".\r\n":
            self.sent_to.update(self._transaction)
        elif call.kind == "sent" and call.data.lower().startswith(b"mail"):
            self._transaction = []
        if call.kind == "sent":
            said = re.findall(r"(?im)^rcpt to:<(r\d+@[^>]*)>", call.data.decode("ascii", "replace"))
            self._transaction += said


@dataclass
class Found:
    """What a store says behind a power cut."""

    events: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)  # recipients that wait in it, or of whom there is an outcome
    damage: str = ""


@dataclass(frozen=True)
class Traced:
    """What a process that sends was seen to do; its folder is as it left it."""

    folder: Path
    calls: Sequence[Call]

    @classmethod
    def run(cls, place: Path, synchronous: str) -> "Traced":
        if shutil.which("strace") is None:
            pytest.skip("strace is not installed: apt-get install strace")
        folder, log = place / "disk", place / "strace.log"
        folder.mkdir()
        nobody = {f"nobody{number}@example.com": "550 5.1.1 No such user" for number in range(MESSAGES)}
        strace = ["strace", "-f", "-y", "-xx", "-s", "1000000", "-o", str(log), "-e", f"trace={CALLS}"]
        with ScriptedServer({"RCPT": nobody}) as server:
            process = ["-m", "tests.e2e.powered", str(folder), server.url, str(MESSAGES), synchronous]
            traced = [*strace, sys.executable, *process]
            done = subprocess.run(traced, cwd=ROOT, capture_output=True, text=True, check=False)
        if "ptrace" in done.stderr.lower():
            pytest.skip(f"strace may not trace here: {done.stderr.strip()[:200]}")
        assert done.returncode == 0, done.stderr
        return cls(folder, list(calls_of(log, folder)))

    @property
    def logged(self) -> tuple[str, str]:
        """The files in which it acknowledged, and in which SQLite logged what was committed."""
        return str(self.folder / "acknowledged"), str(self.folder / "bounces.db-wal")

    def writes(self, path: str) -> int:
        return sum(call.kind == "write" and call.name == path for call in self.calls)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """As we ship it, with synchronous = FULL."""
    return Traced.run(tmp_path_factory.mktemp("shipped"), "FULL")


def test_a_power_cut_loses_nothing_that_was_acknowledged(shipped: Traced, tmp_path: Path) -> None:
    print(f"BOUNCEKIT_SEED={SEED}")
    lost, damaged = _losses(shipped, tmp_path / "image")
    print(f"{CUTS} power cuts over {len(shipped.calls)} calls: {len(lost)} lose something, {len(damaged)} are damaged")
    assert damaged == []
    assert lost == []


def test_no_acknowledgement_comes_before_the_log_is_on_the_disk(shipped: Traced) -> None:
    acknowledged, _ = shipped.logged
    assert shipped.writes(acknowledged) >= 3 * MESSAGES
    assert shipped.writes(str(shipped.folder / "bounces.db")) > 10, "the log was never written back"
    assert unsynced_acknowledgements(shipped.calls, *shipped.logged) == 0


def test_these_images_show_what_a_log_that_is_not_synced_loses(tmp_path: Path) -> None:
    traced = Traced.run(tmp_path, "NORMAL")
    lost, _ = _losses(traced, tmp_path / "image")
    print(f"{CUTS} power cuts with synchronous = NORMAL: {len(lost)} lose something")
    assert len(lost) > CUTS / 4
    assert unsynced_acknowledgements(traced.calls, *traced.logged) > MESSAGES


def _losses(traced: Traced, place: Path) -> tuple[list[str], list[str]]:
    """Cut the power at random calls; what each time was lost or made up, and what was damaged."""
    chance, calls = random.Random(SEED), traced.calls
    disk, known, everything = Disk(str(traced.folder)), Known(), _look_into(traced.folder)
    lost, damaged, done = [], [], 0
    for cut in sorted(chance.choices(range(_made(calls), len(calls)), k=CUTS)):
        for call in calls[done:cut]:
            disk.take(call)
            known.hear(call)
        done = cut
        found = _look_into(_laid_out(disk.image(chance), place))
        if found.damage:
            damaged.append(f"call {cut}: {found.damage}")
        missing = (known.told - found.events) | ((known.submitted | known.sent_to) - found.known)
        made_up = (found.events - everything.events) | (found.known - everything.known)
        if missing or made_up:
            lost.append(f"call {cut}: missing {sorted(missing)[:3]}, made up {sorted(made_up)[:3]}")
    return lost, damaged


def _made(calls: Sequence[Call]) -> int:
    """Behind which call the store has its name for good."""
    named = next(number for number, call in enumerate(calls) if call.kind == "named")
    return next(number for number in range(named, len(calls)) if calls[number].kind == "sync") + 1


def _laid_out(image: dict[str, bytearray], place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, data in image.items():
        if not name.endswith(("-shm", "/acknowledged")):
            (place / Path(name).name).write_bytes(data)
    return place


def _look_into(folder: Path) -> Found:
    try:
        with SqliteStore(folder / "bounces.db") as store:
            store.check()
            events = [event for _, event in store.events(limit=10_000)]
            waiting = {one.recipient for one in store.queued()}
    except StoreError as error:
        return Found(damage=str(error))
    settled = {str(event["subject"]) for event in events if event["type"] in ("delivered", "failed")}
    return Found(events={str(event["id"]) for event in events}, known=waiting | settled)
