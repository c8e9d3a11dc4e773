"""How an owner words a notice: subject and text with $names in them, as `string.Template` reads them."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["PLACEHOLDERS", "Template", "placeholders"]

# What a template can name. Each one is text without line ends, "" where there is none.
PLACEHOLDERS = MappingProxyType(
    {
        "recipient": "the address that the mail was for",
        "category": "what the reply means, in one word",
        "because": "what happened, as a clause: the mailbox is full",
        "remedy": "what somebody can do about it, as sentences",
        "reply": "what the server said, or why it said nothing",
        "code": "its reply code",
        "stage": "the command that it answered",
        "remote_mta": "the server's name",
        "next_try": "when the next try is due",
        "suppressed_until": "until when no mail goes to the address",
        "more": "how many others were not told one by one",
        "message_id": "the Message-ID of the mail",
        "rule": "the policy's rule that decided",
    }
)


@dataclass(frozen=True, slots=True)
class Template:
    """The words of a notice. A $ of its own is written $$.

    >>> Template("full", "$recipient is full", "It costs $$5.").fill({"recipient": "ada@example.com"})
    ('ada@example.com is full', 'It costs $5.')
    """

    name: str
    subject: str
    text: str

    def fill(self, values: Mapping[str, str]) -> tuple[str, str]:
        """Subject and text with these values, once: a $ in a value stays one. What has no value stays as it is."""
        return (
            string.Template(self.subject).safe_substitute(values),
            string.Template(self.text).safe_substitute(values),
        )


def placeholders(text: str) -> list[str]:
    """The names in a text, known ones or not.

    Raises:
        ValueError: a $ in it begins no name; it says where.
    """
    names: list[str] = []
    for found in string.Template.pattern.finditer(text):
        if found["invalid"] is not None:
            around = text[found.start() : found.start() + 12].split("\n", 1)[0]
            raise ValueError(f"{around!r}: this $ begins no name; a dollar is written $$")
        names += filter(None, (found["named"] or found["braced"],))
    return names
