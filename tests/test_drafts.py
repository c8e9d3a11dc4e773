"""A file that is written has its name only once it is whole; what was there stays until then."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bouncekit.outside.drafts import drafted

ROOT = Path(__file__).parents[1]
_NOBODY = 65534


@contextmanager
def no_file_larger_than(size_bytes: int) -> Iterator[None]:
    """As on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As somebody else, where we are root, who may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(_NOBODY, _NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def rights(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_disk_that_is_full_leaves_what_was_there_and_names_the_file(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"as it was")
    for path in (old, new):
        with no_file_larger_than(1000), pytest.raises(OSError, match=path.name), drafted(path) as file:
            file.write(b"x" * 100_000)
    assert old.read_bytes() == b"as it was"
    assert list(tmp_path.iterdir()) == [old]


def test_who_fails_while_he_writes_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with drafted(tmp_path / "new") as file:
            file.write(b"half")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_the_writer_fails_at_keeps_its_text(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="went away"), drafted(tmp_path / "new"):
        raise ConnectionError("the server went away")


def test_a_new_file_is_its_owner_s_and_one_that_was_there_keeps_its_rights(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.touch()
    old.chmod(0o640)
    for path in (old, new):
        with drafted(path) as file:
            file.write(b"content")
        assert path.read_bytes() == b"content"
    assert (rights(old), rights(new)) == (0o640, 0o600)


def test_what_is_mounted_by_itself_is_written_where_it_is(tmp_path: Path) -> None:
    """As a file of the host in a container: no other can take its name."""
    real, place = tmp_path / "real", tmp_path / "place"
    for path in (real, place):
        path.write_bytes(b"as it was, and longer")
    script = f"import bouncekit.outside.drafts as d\nwith d.drafted({str(place)!r}) as file: file.write(b'content')"
    mounted = 'mount --bind "$1" "$2" || exit 77; "$3" -c "$4" || exit 78'
    unshare = shutil.which("unshare") or pytest.skip("no unshare")
    own = "-m" if os.geteuid() == 0 else "-rm"
    command = (unshare, own, "sh", "-c", mounted, "sh", real, place, sys.executable, script)
    done = subprocess.run(command, check=False, cwd=ROOT)
    if done.returncode in (1, 77):
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 0
    assert real.read_bytes() == b"content"
    assert sorted(tmp_path.iterdir()) == [place, real]


def test_a_file_that_may_not_be_written_is_refused() -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "old")
        path.write_bytes(b"as it was")
        path.chmod(0o400)
        path.parent.chmod(0o777)
        with unprivileged(), pytest.raises(PermissionError, match="old"), drafted(path):
            pass
        assert path.read_bytes() == b"as it was"


def test_a_link_stays_one_and_what_is_no_plain_file_is_written_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    link = tmp_path / "link"
    link.symlink_to("real")
    for place in (link, os.devnull):
        with drafted(place) as file:
            file.write(b"content")
    assert link.is_symlink()
    assert link.read_bytes() == b"content"
    assert not Path(os.devnull).is_file()


def test_a_folder_that_is_not_there_or_a_folder_itself_is_named(tmp_path: Path) -> None:
    for place, kind in ((tmp_path / "none" / "file", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(kind) as raised, drafted(place):
            pass
        assert raised.value.filename == str(place)
