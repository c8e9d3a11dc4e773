"""Which files of rules say what replies mean, besides the shipped ones: the owner's own, and those of others."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

__all__ = ["Meaning", "RuleFile"]


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A file of rules: what places call it, its text, and how a policy names it."""

    file: str
    text: str = field(repr=False)
    name: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """Files of rules in their order: `own` ones go before those of a `community`, and these before the shipped ones.

    >>> mine, theirs = RuleFile("mine.toml", "[words]"), RuleFile("theirs.toml", "")
    >>> both = Meaning(own=(mine,)) + Meaning(own=(mine,), community=(theirs,))
    >>> [file.file for file in both.own + both.community], bool(Meaning())
    (['mine.toml', 'theirs.toml'], False)
    """

    own: tuple[RuleFile, ...] = ()
    community: tuple[RuleFile, ...] = ()

    def __add__(self, other: "Meaning") -> "Meaning":
        """Both, these before the other's; the same text counts once."""
        own = _once(self.own + other.own)
        return Meaning(own=own, community=_once(self.community + other.community, but={file.text for file in own}))

    def __bool__(self) -> bool:
        return bool(self.own or self.community)


def _once(files: Iterable[RuleFile], but: Collection[str] = ()) -> tuple[RuleFile, ...]:
    first: dict[str, RuleFile] = {}
    for file in files:
        if file.text not in but:
            first.setdefault(file.text, file)
    return tuple(first.values())
