"""What a disk may hold behind a power cut: made of the system calls that a process was seen to make (strace).

A write is on the disk for certain once its file was synced behind it; before that it may be there, be missing, or be
torn at a sector, each on its own and in any order. A deleted or renamed name is safe once its directory is synced.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

__all__ = ["CALLS", "Call", "Disk", "calls_of", "unsynced_acknowledgements"]

CALLS = "openat,close,pwrite64,write,fsync,fdatasync,ftruncate,unlink,unlinkat,link,rename,lseek,sendto"
SECTOR_BYTES = 512
_KEPT, _TORN = 0.45, 0.15  # of the writes that nobody synced; the others are missing

_LINE = re.compile(r"^(?:\[pid +)?\d*\]? *(\w+)\((.*)\) += (-?\d+)")
_UNFINISHED = re.compile(r"^(\d+) +(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_OPEN = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


class Call(NamedTuple):
    """One system call that changes a disk, or that somebody outside has heard of."""

    kind: str  # write, sync, cut, gone, named, sent
    name: str  # of the file; of the socket
    offset: int = 0
    data: bytes = b""
    to: str = ""  # the other name of a file


@dataclass
class Disk:
    """What is safe, and what is on its way, by the calls made so far."""

    folder: str
    safe: dict[str, bytearray] = field(default_factory=dict)
    pending: list[Call] = field(default_factory=list)

    def take(self, call: Call) -> None:
        """Let a call happen."""
        if call.kind == "sync" and call.name == self.folder:
            self._settle(lambda one: one.kind in ("gone", "named"))
        elif call.kind == "sync":
            self._settle(lambda one: one.name == call.name and one.kind in ("write", "cut"))
        elif call.kind in ("write", "cut", "gone", "named"):
            self.pending.append(call)

    def image(self, chance: random.Random) -> dict[str, bytearray]:
        """What one power cut leaves of it."""
        image = {name: bytearray(data) for name, data in self.safe.items()}
        for call in self.pending:
            luck = chance.random()
            if luck < _KEPT:
                _apply(image, call)
            elif luck < _KEPT + _TORN and call.kind == "write" and len(call.data) > SECTOR_BYTES:
                whole = chance.randrange(len(call.data) // SECTOR_BYTES) * SECTOR_BYTES
                _apply(image, call._replace(data=call.data[:whole]))
        return image

    def _settle(self, is_settled: Callable[[Call], bool]) -> None:
        left = []
        for call in self.pending:
            if is_settled(call):
                _apply(self.safe, call)
            else:
                left.append(call)
        self.pending = left


def calls_of(log: Path, folder: Path) -> Iterator[Call]:
    """The calls in a log of `strace -f -y -xx`, about the files of a folder and about sockets."""
    place: dict[str, int] = {}
    for name, arguments, result in _lines(log):
        if result < 0:
            continue
        opened = _OPEN.match(arguments)
        path = _text(opened[1]) if opened else ""
        is_ours = path == str(folder) or path.startswith(f"{folder}/")
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(arguments)]
        match name:
            case "pwrite64" if is_ours:
                yield Call("write", path, int(arguments.rsplit(",", 1)[1]), texts[0][:result])
            case "write" if is_ours:
                at = place.get(path, 0)
                place[path] = at + result
                yield Call("write", path, at, texts[0][:result])
            case "lseek" if is_ours:
                place[path] = result
            case "fsync" | "fdatasync" if is_ours:
                yield Call("sync", path)
            case "ftruncate" if is_ours:
                yield Call("cut", path, int(arguments.rsplit(",", 1)[1]))
            case "unlink" | "unlinkat" if texts and texts[-1].decode().startswith(str(folder)):
                yield Call("gone", texts[-1].decode())
            case "link" | "rename" if texts and texts[-1].decode().startswith(str(folder)):
                yield Call("named", texts[0].decode(), to=texts[1].decode())
            case "sendto" if texts:
                yield Call("sent", path, data=texts[0][:result])


def unsynced_acknowledgements(calls: Sequence[Call], acknowledgements: str, log: str) -> int:
    """How many were written while a write to the log had not been synced."""
    number, dirty = 0, False
    for call in calls:
        if call.name == log and call.kind == "write":
            dirty = True
        elif call.name == log and call.kind == "sync":
            dirty = False
        elif call.name == acknowledgements and call.kind == "write":
            number += dirty
    return number


def _apply(image: dict[str, bytearray], call: Call) -> None:
    match call.kind:
        case "gone":
            image.pop(call.name, None)
        case "named" if call.name in image:
            image[call.to] = image[call.name]
        case "cut":
            file = image.setdefault(call.name, bytearray())
            file[call.offset :] = bytes(max(call.offset - len(file), 0))
        case "write":
            file = image.setdefault(call.name, bytearray())
            file.extend(bytes(max(call.offset + len(call.data) - len(file), 0)))
            file[call.offset : call.offset + len(call.data)] = call.data


def _lines(log: Path) -> Iterator[tuple[str, str, int]]:
    """Name, arguments and result of each call; what another thread interrupted is put together."""
    begun: dict[str, str] = {}
    with log.open(errors="replace") as lines:
        for raw in lines:
            line = raw.rstrip("\n")
            if match := _UNFINISHED.match(line):
                begun[match[1]] = match[2]
                continue
            if match := _RESUMED.match(line):
                line = f"{match[1]} {begun.pop(match[1], '')}{match[2]}"
            if match := _LINE.match(line):
                yield match[1], match[2], int(match[3])


def _text(escaped: str) -> str:
    return bytes.fromhex(escaped.replace("\\x", "")).decode() if "\\x" in escaped else escaped
