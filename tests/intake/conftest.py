"""Somebody who takes mails in, and can be told to have trouble with it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

MAIL = b"From: mx@example.net\r\nSubject: %s\r\n\r\nI am sorry.\r\n"


@dataclass
class Absorber:
    """Remembers what it is given; `trouble` looks at each mail first, and may raise."""

    trouble: Callable[[bytes], None] = lambda content: None
    taken: list[tuple[bytes, str | None]] = field(default_factory=list)

    def __call__(self, content: bytes, arrived_at: str | None) -> None:
        self.trouble(content)
        self.taken.append((content, arrived_at))

    @property
    def subjects(self) -> list[str]:
        return [subject_of(content) for content, _ in self.taken]


def mail(subject: str) -> bytes:
    return MAIL % subject.encode()


def subject_of(content: bytes) -> str:
    return content.partition(b"Subject: ")[2].split(b"\r\n")[0].split(b"\n")[0].decode()


def raising(error: BaseException, *, at: str) -> Callable[[bytes], None]:
    """Trouble with the mail of this subject alone."""

    def look(content: bytes) -> None:
        if subject_of(content) == at:
            raise error

    return look


@pytest.fixture
def absorb() -> Absorber:
    return Absorber()
