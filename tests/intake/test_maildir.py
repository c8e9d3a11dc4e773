"""Mails of a maildir: taken in once, moved when they were remembered, never lost, never for ever."""

import fcntl
import os
import pwd
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bouncekit.intake.absorbing import Outcome
from bouncekit.intake.maildir import Maildir
from bouncekit.words.errors import ConfigurationError, StoreError

from .conftest import Absorber, mail, raising


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("tmp", "new", "cur"):
        (tmp_path / "Maildir" / part).mkdir(parents=True)
    return tmp_path / "Maildir"


def put(folder: Path, name: str, subject: str) -> Path:
    path = folder / name
    path.write_bytes(mail(subject))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_mails_are_taken_in_by_age_and_moved_to_a_folder_of_the_maildir(folder: Path, absorb: Absorber) -> None:
    put(folder, "new/3.c", "3")
    put(folder, "cur/2.b:2,F", "2")
    put(folder, "new/1.a", "1")
    assert list(Maildir(folder).mails(absorb)) == [Outcome.DONE] * 3
    assert absorb.taken == [(mail("1"), None), (mail("2"), None), (mail("3"), None)]
    done = [".Processed/cur/1.a:2,S", ".Processed/cur/2.b:2,F", ".Processed/cur/3.c:2,S", ".Processed/maildirfolder"]
    assert names(folder) == done
    assert all((folder / ".Processed" / part).is_dir() for part in ("tmp", "new", "cur"))
    assert list(Maildir(folder).mails(absorb)) == []


def test_without_a_folder_for_them_they_are_deleted(folder: Path, absorb: Absorber) -> None:
    put(folder, "new/1.a", "1")
    assert list(Maildir(folder, done=None).mails(absorb)) == [Outcome.DONE]
    assert names(folder) == []


def test_a_mail_lies_where_it_lay_until_it_was_remembered(folder: Path, absorb: Absorber) -> None:
    path = put(folder, "new/1.a", "1")
    seen: list[bool] = []
    absorb.trouble = lambda content: seen.append(path.exists())
    list(Maildir(folder).mails(absorb))
    assert (seen, path.exists()) == ([True], False)


@pytest.mark.parametrize("error", [StoreError("locked"), KeyboardInterrupt()])
def test_what_could_not_be_remembered_stays_and_counts_the_next_time(
    folder: Path, absorb: Absorber, error: BaseException
) -> None:
    put(folder, "new/1.a", "1")
    put(folder, "new/2.b", "2")
    put(folder, "new/3.c", "3")
    absorb.trouble = raising(error, at="2")
    with pytest.raises(type(error)):
        list(Maildir(folder).mails(absorb))
    assert names(folder)[-2:] == ["new/2.b", "new/3.c"]
    absorb.trouble = lambda content: None
    assert list(Maildir(folder).mails(absorb)) == [Outcome.DONE] * 2
    assert absorb.subjects == ["1", "2", "3"]


def test_an_error_of_ours_sets_the_mail_aside_and_the_others_are_taken_in(folder: Path, absorb: Absorber) -> None:
    put(folder, "new/1.a", "1")
    put(folder, "new/2.b", "2")
    absorb.trouble = raising(ZeroDivisionError("ours"), at="1")
    source = Maildir(folder)
    assert list(source.mails(absorb)) == [Outcome.ASIDE, Outcome.DONE]
    assert (folder / ".Aside" / "cur" / "1.a:2,S").read_bytes() == mail("1")
    assert list(source.mails(absorb)) == []


def test_what_another_process_is_at_is_left_to_it(folder: Path, absorb: Absorber) -> None:
    path = put(folder, "new/1.a", "1")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert list(Maildir(folder).mails(absorb)) == []
    assert list(Maildir(folder).mails(absorb)) == [Outcome.DONE]


def test_several_at_one_maildir_take_each_mail_once(folder: Path, absorb: Absorber) -> None:
    wanted = [f"{number:03}" for number in range(200)]
    for name in wanted:
        put(folder, f"new/{name}", name)
    threads = [threading.Thread(target=lambda: list(Maildir(folder).mails(absorb))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(absorb.subjects) == wanted
    assert len(list((folder / ".Processed" / "cur").iterdir())) == 200


def test_a_mail_program_may_move_a_mail_meanwhile(folder: Path, absorb: Absorber) -> None:
    path = put(folder, "new/1.a", "1")
    absorb.trouble = lambda content: path.rename(folder / "cur" / "1.a:2,S") and None
    assert list(Maildir(folder).mails(absorb)) == [Outcome.DONE]
    absorb.trouble = lambda content: None
    assert list(Maildir(folder).mails(absorb)) == [Outcome.DONE]
    assert names(folder)[0] == ".Processed/cur/1.a:2,S"


def test_a_name_that_was_there_before_is_not_written_over(folder: Path, absorb: Absorber) -> None:
    source = Maildir(folder)
    for subject in ("1", "2"):
        put(folder, "new/1.a", subject)
        list(source.mails(absorb))
    kept = sorted(path.read_bytes() for path in (folder / ".Processed" / "cur").iterdir())
    assert kept == [mail("1"), mail("2")]


def test_only_files_are_mails(folder: Path, absorb: Absorber, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(mail("secret"))
    (folder / "new" / "1.link").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "new" / "2.pipe")
    (folder / "new" / "3.folder").mkdir()
    put(folder, "new/.4.hidden", "4")
    put(folder, "tmp/5.unfinished", "5")
    assert list(Maildir(folder).mails(absorb)) == []


@pytest.fixture
def not_root() -> Iterator[Path]:
    """A maildir of somebody else than root, who runs the test."""
    owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    root = Path(tempfile.mkdtemp())
    for part in ("", "tmp", "new", "cur"):
        (root / part).mkdir(exist_ok=True)
        os.chown(root / part, owner.pw_uid, -1)
    before = os.geteuid()
    os.seteuid(owner.pw_uid)
    yield root
    os.seteuid(before)
    shutil.rmtree(root)


def test_what_may_not_be_read_stays_is_told_of_once_and_stops_nobody(
    not_root: Path, absorb: Absorber, caplog: pytest.LogCaptureFixture
) -> None:
    put(not_root, "new/1.a", "1").chmod(0)
    put(not_root, "new/2.b", "2")
    source = Maildir(not_root)
    assert list(source.mails(absorb)) == [Outcome.KEPT, Outcome.DONE]
    assert list(source.mails(absorb)) == []
    assert len(caplog.records) == 1
    assert (not_root / "new" / "1.a").exists()


@pytest.mark.parametrize("name", ["", "..", "new", "a/b", "/tmp", ".Aside"])
def test_a_folder_that_cannot_be_one_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        Maildir(folder, done=name)


def test_what_is_no_maildir_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a maildir: that has the folders new and cur"):
        Maildir(tmp_path)
