"""Which class of mail the headers of a message speak for: one that names it, or others that such mail has.

List mail says what it is without knowing us: List-Unsubscribe (RFC 2369), Precedence: bulk (RFC 3834 3.1.8).
"""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["NO_CLASS_MARKS", "ClassMarks", "HeaderMark"]

_NAME_SIGNS = frozenset("!#$%&'*+-^_`|~.")  # besides letters and digits; all that RFC 5322 2.2 allows and anybody uses
_LONGEST_NAME = 64
_LONGEST_VALUE = 200


@dataclass(frozen=True, slots=True)
class HeaderMark:
    """A header that mail of some class has: of this name, and where `value` is given of just this value.

    >>> HeaderMark.parse("Precedence: Bulk")
    HeaderMark(name='Precedence', value='bulk')
    >>> str(HeaderMark.parse("List-Unsubscribe"))
    'List-Unsubscribe'
    """

    name: str
    value: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HeaderMark":
        """A name, or a name, a colon and a value, which is compared without regard to case and space.

        Raises:
            ValueError: it says what would be right.
        """
        name, colon, value = text.partition(":")
        if not is_header_name(name):
            raise ValueError(f"{text[:80]!r} names no header; write List-Unsubscribe, or 'Precedence: bulk'")
        value = " ".join(value.lower().split())
        if (colon and not value) or len(value) > _LONGEST_VALUE:
            raise ValueError(f"{text[:80]!r}: a value stands behind the colon, such as 'Precedence: bulk'")
        return cls(name, value if colon else None)

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}: {self.value}"


@dataclass(frozen=True, slots=True)
class ClassMarks:
    """By what a message's class is known. `naming` is a header whose value is the class, and which is not sent.

    `classes` are names of classes, each with the headers that its mail has; the first that a message has counts.
    """

    naming: str | None = None
    classes: tuple[tuple[str, tuple[HeaderMark, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.naming or self.classes)

    def each(self) -> Iterator[tuple[str, HeaderMark]]:
        """Every header with the class that it speaks for, in their order."""
        return ((name, mark) for name, marks in self.classes for mark in marks)


NO_CLASS_MARKS = ClassMarks()


def is_header_name(text: str) -> bool:
    """Whether it may stand before the colon of a header."""
    return 0 < len(text) <= _LONGEST_NAME and all(
        sign.isascii() and (sign.isalnum() or sign in _NAME_SIGNS) for sign in text
    )
