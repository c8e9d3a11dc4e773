"""Mails of an mbox: all of them taken in and the file emptied, or the file as it was."""

import mailbox
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bouncekit.intake.absorbing import Outcome
from bouncekit.intake.mbox import Mbox
from bouncekit.words.errors import ConfigurationError, StoreError

from .conftest import Absorber, mail, raising, subject_of

HOLDS = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An mbox of three mails, as Python's own module writes it."""
    box = mailbox.mbox(tmp_path / "bounces")
    for subject in ("1", "2", "3"):
        box.add(mail(subject))
    box.close()
    return tmp_path / "bounces"


def subjects(path: Path) -> list[str]:
    box = mailbox.mbox(path)
    try:
        return [subject_of(bytes(one)) for one in box]
    finally:
        box.close()


def test_mails_are_taken_in_in_their_order_and_the_file_is_emptied(path: Path, absorb: Absorber) -> None:
    assert list(Mbox(path).mails(absorb)) == [Outcome.DONE] * 3
    assert absorb.subjects == ["1", "2", "3"]
    assert not any(content.startswith(b"From ") for content, _ in absorb.taken)
    assert path.read_bytes() == b""
    assert sorted(one.name for one in path.parent.iterdir()) == ["bounces"]


def test_what_was_taken_in_can_be_kept_in_another_mbox(path: Path, absorb: Absorber, tmp_path: Path) -> None:
    before = path.read_bytes()
    source = Mbox(path, done=tmp_path / "done")
    list(source.mails(absorb))
    path.write_bytes(before)
    list(source.mails(absorb))
    assert (tmp_path / "done").read_bytes() == before * 2
    assert (tmp_path / "done").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("error", [StoreError("locked"), KeyboardInterrupt()])
def test_what_could_not_be_remembered_leaves_the_file_as_it_was(
    path: Path, absorb: Absorber, error: BaseException
) -> None:
    before = path.read_bytes()
    absorb.trouble = raising(error, at="2")
    with pytest.raises(type(error)):
        list(Mbox(path).mails(absorb))
    assert path.read_bytes() == before
    absorb.trouble = lambda content: None
    assert list(Mbox(path).mails(absorb)) == [Outcome.DONE] * 3


def test_an_error_of_ours_sets_the_mail_aside_as_it_stood_there(path: Path, absorb: Absorber) -> None:
    absorb.trouble = raising(ZeroDivisionError("ours"), at="2")
    assert list(Mbox(path).mails(absorb)) == [Outcome.DONE, Outcome.ASIDE, Outcome.DONE]
    assert subjects(path.with_name("bounces.aside")) == ["2"]
    assert path.read_bytes() == b""


def test_what_cannot_be_set_aside_leaves_the_file_as_it_was(path: Path, absorb: Absorber) -> None:
    before = path.read_bytes()
    absorb.trouble = raising(ZeroDivisionError("ours"), at="2")
    path.with_name("bounces.aside").mkdir()
    with pytest.raises(IsADirectoryError):
        list(Mbox(path).mails(absorb))
    assert path.read_bytes() == before


def test_what_comes_while_the_file_is_worked_on_waits_for_the_lock(path: Path, absorb: Absorber) -> None:
    script = "import mailbox, sys; box = mailbox.mbox(sys.argv[1]); box.lock()"
    source = Mbox(path).mails(absorb)
    next(source)
    other = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert "ExternalClashError" in other.stderr
    assert len(list(source)) == 2


def test_a_file_that_somebody_else_has_locked_is_left_alone(path: Path, absorb: Absorber) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError, match="locked by another program"):
            list(Mbox(path).mails(absorb))
        other.communicate()
    assert list(Mbox(path).mails(absorb)) == [Outcome.DONE] * 3


def test_a_lock_beside_the_file_counts_until_it_is_old(path: Path, absorb: Absorber) -> None:
    beside = path.with_name("bounces.lock")
    beside.touch()
    with pytest.raises(BlockingIOError, match="locked by another program"):
        list(Mbox(path).mails(absorb))
    assert beside.exists(), "it is not ours"
    old = beside.stat().st_mtime - 600
    os.utime(beside, (old, old))
    assert list(Mbox(path).mails(absorb)) == [Outcome.DONE] * 3
    assert not beside.exists()


def test_lines_that_only_look_like_a_separator_separate_nothing(tmp_path: Path, absorb: Absorber) -> None:
    path = tmp_path / "bounces"
    path.write_bytes(
        b"From mx@example.net Thu Jan  1 00:00:00 2026\nSubject: 1\n\nFirst\nFrom here on\n>From there\n\n"
        b"From mx@example.net Thu Jan  1 00:00:00 2026\nSubject: 2\n\n" + b"x" * 200_000
    )
    assert list(Mbox(path).mails(absorb)) == [Outcome.DONE] * 2
    assert absorb.taken[0][0] == b"Subject: 1\n\nFirst\nFrom here on\n>From there\n\n"
    assert absorb.taken[1][0] == b"Subject: 2\n\n" + b"x" * 200_000


def test_a_file_that_is_not_there_or_empty_holds_no_mail(tmp_path: Path, absorb: Absorber) -> None:
    assert list(Mbox(tmp_path / "bounces").mails(absorb)) == []
    (tmp_path / "bounces").touch()
    assert list(Mbox(tmp_path / "bounces").mails(absorb)) == []


def test_what_is_no_mbox_is_an_error_and_stays(tmp_path: Path, absorb: Absorber) -> None:
    (tmp_path / "letter").write_bytes(mail("1"))
    with pytest.raises(ConfigurationError, match="whose first line begins with 'From '"):
        list(Mbox(tmp_path / "letter").mails(absorb))
    assert (tmp_path / "letter").read_bytes() == mail("1")
    with pytest.raises(ConfigurationError, match="intake maildir takes folders"):
        Mbox(tmp_path)
    with pytest.raises(ConfigurationError, match="there is no such folder"):
        Mbox(tmp_path / "nowhere" / "bounces")
    with pytest.raises(ConfigurationError, match="files of their own"):
        Mbox(tmp_path / "letter", done=tmp_path / "letter")
