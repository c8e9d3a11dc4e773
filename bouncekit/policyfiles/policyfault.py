"""The kinds of faults that a policy can have which is right by the grammar: each with a code that stays, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

__all__ = ["FAULTS", "Fault", "Level"]


class Level(StrEnum):
    """How much a finding matters."""

    ERROR = "error"  # does not do what it says
    WARNING = "warning"  # does it, and hardly anybody can want that


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of finding: what it is, and why that is one."""

    level: Level
    what: str
    why: str


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "grammar": Fault(Level.ERROR, "the file says what no policy can say", "nothing of it holds"),
        "suppress-not-recipient": Fault(
            Level.ERROR,
            "a suppression for what is not about the recipient",
            "a good recipient would pay for somebody else's fault; bouncekit suppresses nobody for it",
        ),
        "unreachable-rule": Fault(
            Level.ERROR, "a rule that is never reached", "the rules before it take all that it asks for"
        ),
        "contradictory-rules": Fault(
            Level.ERROR, "two rules that ask for the same and do different things", "the second one never decides"
        ),
        "overlapping-rules": Fault(
            Level.WARNING,
            "two rules that ask for the same in part and do different things",
            "which one decides hangs on their order, and neither says so",
        ),
        "hides-base": Fault(
            Level.ERROR, "a rule that takes every reply", "no rule of the policy that the file extends is ever reached"
        ),
        "never-matches": Fault(Level.ERROR, "a condition that no reply can meet", "the rule never decides"),
        "uncovered": Fault(
            Level.WARNING,
            "replies that no rule is about",
            "a permanent one fails and any other is tried again, without a word of why",
        ),
        "uncovered-session": Fault(
            Level.WARNING, "ends of sessions that no rule is about", "the session is closed, and nobody dials again"
        ),
        "unknown-provider": Fault(
            Level.ERROR, "a provider that bouncekit does not know", "no rule and no limit ever holds for it"
        ),
        "code-in-phrase": Fault(
            Level.WARNING, "a phrase that begins with a reply code", "the text of a reply begins behind its code"
        ),
        "regex-in-phrase": Fault(
            Level.WARNING, "a phrase that looks like a regular expression", "its signs only separate words"
        ),
        "retry-without-end": Fault(
            Level.WARNING, "tries without an end in sight", "servers take note of who keeps knocking"
        ),
        "retry-too-late": Fault(
            Level.ERROR, "a first retry behind the deadline", "nothing is ever tried again, it fails at once"
        ),
        "waits-go-down": Fault(
            Level.WARNING,
            "waits the last of which is shorter than the first",
            "the last one repeats: who is refused again and again comes back sooner and sooner",
        ),
        "retry-when-expired": Fault(
            Level.ERROR,
            "a retry for what has expired",
            "there is no time left: it fails, and this rule names no measure",
        ),
        "retries-the-final": Fault(
            Level.WARNING,
            "a retry of a final verdict about the recipient",
            "the same will be said again (RFC 5321 4.2.1), and spam filters count unknown users",
        ),
        "hasty-suppression": Fault(
            Level.WARNING,
            "a suppression at the first temporary reply",
            "a temporary reply says that it may be otherwise in an hour",
        ),
        "wide-suppression": Fault(
            Level.WARNING,
            "a suppression for any kind of reply",
            "most replies are not about the recipient, and none of those suppresses",
        ),
        "tells-recipient": Fault(
            Level.WARNING,
            "a notice to the recipient about what is not his doing",
            "he cannot mend it, and hears that something is wrong with his mailbox",
        ),
        "seen-beyond-memory": Fault(
            Level.WARNING, "a look further back than the store remembers", "it remembers 366 days of verdicts"
        ),
        "unused-name": Fault(Level.WARNING, "a name that no rule uses", "most likely another one was meant"),
        "ignores-nothing": Fault(
            Level.WARNING, "a class that ignores suppressions which no rule makes", "it ignores nothing"
        ),
        "ladder-goes-down": Fault(
            Level.WARNING, "a ladder with a rung shorter than the one before", "who fails again is let in sooner"
        ),
        "idle-confirm": Fault(
            Level.WARNING,
            "a confirm_after that nothing waits for",
            "without a provisional time the first verdict confirms at once",
        ),
        "early-probes": Fault(
            Level.WARNING,
            "a provisional time over and over before anything is confirmed",
            "each time a message goes to an address that was said to be dead, and spam filters count those",
        ),
        "takes-all-mail": Fault(
            Level.WARNING, "a class by a header that all mail has", "whatever names no class is of this one"
        ),
        "holds-urgent": Fault(
            Level.WARNING,
            "a budget that stops mail which cannot wait",
            "it is given up before it is asked for again",
        ),
        "late-budget": Fault(
            Level.WARNING,
            "a budget whose first level is too high",
            "whoever provides the relay looks at these rates too, and closes the account before",
        ),
        "idle-hints": Fault(
            Level.WARNING,
            "hints that shorten no wait",
            "none of the policy's waits is longer than the shortest that a hint may ask for",
        ),
        "misspelt-id": Fault(
            Level.WARNING,
            "an id that is nearly that of a rule of the base",
            "it does not take that rule's place, but goes before all of them",
        ),
    }
)
