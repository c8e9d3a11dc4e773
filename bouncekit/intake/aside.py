"""A folder for mails that make an error of ours: a file each, so that none is lost and none comes for ever."""

import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

__all__ = ["Aside", "for_its_owner"]


@dataclass(frozen=True, slots=True)
class Aside:
    """The folder; it is made when the first mail is put there. The same mail has the same name."""

    folder: Path

    def put(self, content: bytes) -> Path:
        """Write a mail to the disk; it is there when this returns.

        Raises:
            OSError: it could not be written.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{blake2b(content, digest_size=16).hexdigest()}.eml"
        unfinished = path.with_suffix(f".{os.getpid()}")
        try:
            with open(unfinished, "xb", opener=for_its_owner) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            with suppress(FileNotFoundError):
                unfinished.unlink()
        return path


def for_its_owner(path: str, flags: int) -> int:
    """For `open(opener=...)`: addresses are nobody else's business."""
    return os.open(path, flags, 0o600)
