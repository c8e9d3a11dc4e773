"""What all sinks share: connections that no child of a fork uses, and words that show no secret."""

import os

import pytest

from bouncekit.sinks.protocol import NotTaken, PerProcess, discreet, order_key

from .conftest import told


def test_something_is_made_once_and_anew_behind_a_drop() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    one = PerProcess(make)
    assert made == []
    assert one.drop() is None
    assert (one.get(), one.get()) == (0, 0)
    assert one.drop() == 0
    assert one.get() == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_the_child_of_a_fork_makes_its_own_and_closes_none_of_the_parent() -> None:
    one = PerProcess(os.getpid)
    one.get()
    child = os.fork()
    if child == 0:
        os._exit(0 if one.drop() is None and one.get() == os.getpid() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert one.get() == os.getpid()


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach redis://jo:hunter2@cache:6379/0",
        "password=hunter2 is wrong",
        "AUTH PLAIN hunter2",
        "the s3cret-of-ours is wrong",
        "ada@example.com: \x1b[2J no\nmore",
    ],
)
def test_what_an_error_says_shows_no_secret_and_no_address(text: str) -> None:
    shown = discreet(RuntimeError(text), ["s3cret-of-ours", "x"])
    assert shown.startswith("RuntimeError: ")
    assert shown.isprintable()
    for canary in ("hunter2", "s3cret", "ada@"):
        assert canary not in shown
    assert len(discreet("x" * 10_000)) <= 300


def test_a_failure_counts_nothing_as_taken_unless_it_says_so() -> None:
    error = NotTaken("503")
    assert (error.taken, error.is_gone, error.wait, str(error)) == (0, False, None, "503")


def test_the_recipient_keeps_its_order_else_the_attempt() -> None:
    assert order_key(told()) == "ada@example.com"
    assert order_key({**told(), "subject": None}) == "a1"
    assert order_key({"data": {}}) == ""
