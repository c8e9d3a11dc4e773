"""What spares the tests work that proves nothing: compiling the same modules again, and waiting for a disk."""

import os
import shutil
import sysconfig
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest

__all__ = ["MEMORY", "compile_share", "has_room", "link_bytecode"]

MEMORY = Path("/dev/shm")  # a file system without a disk, on Linux
_ROOM_BYTES = 4 * 1024**3  # a whole run leaves about one
_TESTS = Path(__file__).parent


def has_room(place: Path) -> bool:
    """Whether the files of all tests may be there: scripts among them, which tests start."""
    if not place.is_dir() or not os.access(place, os.W_OK) or os.statvfs(place).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(place).free >= _ROOM_BYTES


def link_bytecode(prefix: Path) -> None:
    """Let a new `PYTHONPYCACHEPREFIX` have what is compiled already: the standard library and what is installed."""
    for installed in {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}:
        for folder, _, names in os.walk(installed):
            if folder.endswith("__pycache__"):
                place = prefix / Path(folder).parent.relative_to("/")
                place.mkdir(parents=True, exist_ok=True)
                for name in names:
                    (place / name).symlink_to(Path(folder) / name)


def compile_share(number: int, of: int) -> None:
    """Import one test module in so many: pytest keeps what it makes of them. What is wrong is told when it collects."""
    for path in sorted(_TESTS.rglob("test_*.py"))[number::of]:
        name = ".".join(("tests", *path.relative_to(_TESTS).with_suffix("").parts))
        with warnings.catch_warnings(action="ignore"), suppress(Exception, pytest.skip.Exception):
            import_module(name)
