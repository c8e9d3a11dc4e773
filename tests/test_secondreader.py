"""A second reader of bounces: flufl.bounce, where it is installed."""

import time

import pytest

from bouncekit.bounces.bouncemail import read_mail
from bouncekit.outside.secondreader import MAX_BYTES, second_reader

pytest.importorskip("flufl.bounce")


def test_what_it_finds_is_a_set_of_addresses() -> None:
    reader = second_reader()
    assert reader is not None
    raw = b"From: MAILER-DAEMON@x.example\nSubject: failure notice\n\nHi. This is the qmail-send program at x.\n"
    raw += b"I'm afraid\n\n<jo@example.com>:\nno\n\n--- Below this line is a copy of the message.\n"
    assert set(reader(raw)) == {"jo@example.com"}


def test_what_it_raises_and_what_would_keep_it_busy_is_nothing() -> None:
    reader = second_reader()
    assert reader is not None
    start = time.process_time()
    assert reader(b"x" * (MAX_BYTES + 1)) == ()
    assert reader(b"Content-Type: message/rfc822\n\n" * 2000) == ()
    assert reader(b"\n" * 10_000) == ()
    assert set(reader(b"\xff\x00: \n\n\xff")) == set()
    assert time.process_time() - start < 1


def test_it_is_not_asked_where_the_mail_names_somebody() -> None:
    asked: list[bytes] = []
    raw = b"Return-Path: <>\nFrom: MAILER-DAEMON@x\nSubject: Undeliverable\n\njo@example.com: 550 No such user\n"

    def reader(content: bytes) -> set[str]:
        asked.append(content)
        return {"ann@example.com"}

    assert [one.recipient for one in read_mail(raw, second_reader=reader).recipients] == ["jo@example.com"]
    assert asked == []
