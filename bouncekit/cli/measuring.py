"""How far a file has been read, for the bar that shows it."""

import os

from bouncekit.lists.listfile import ByteLines

__all__ = ["Measured", "size_of"]


class Measured:
    """A file that is read, and how far it is."""

    def __init__(self, file: ByteLines) -> None:
        self._file = file
        self._told_bytes = 0
        self.read_bytes = 0

    def readline(self, size: int = -1) -> bytes:
        line = self._file.readline(size)
        self.read_bytes += len(line)
        return line

    def moved(self, thing: object = None) -> int:
        """How many bytes were read since somebody asked."""
        moved, self._told_bytes = self.read_bytes - self._told_bytes, self.read_bytes
        return moved


def size_of(file: str) -> int | None:
    """The size in bytes; None of standard input."""
    return None if file == "-" else os.path.getsize(file)
