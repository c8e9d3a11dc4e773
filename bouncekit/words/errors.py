"""What can go wrong, as one tree; every error says what, where and what would be right.

    BouncekitError
    ├── ConfigurationError (ValueError)       something the owner wrote is wrong
    │   ├── PolicyError                       a policy file: every finding with file:line:column
    │   └── RuleError                         a file of classifier rules
    ├── AddressError (ValueError)             an address that must not reach the wire
    ├── MessageError (ValueError)             a message that cannot be turned into bytes
    ├── StoreError                            the store cannot answer or cannot remember
    │   ├── StoreBusy                         somebody else has held its lock for too long
    │   ├── StoreFull                         its disk is full
    │   ├── StoreReadOnly                     it may be read, and not be written
    │   ├── StoreMoved                        its file was moved, deleted or replaced while it was open
    │   ├── StoreCorrupt                      what lies there is not, or no longer, a bouncekit store
    │   └── StoreRefused                      it takes other things, and this one never
    └── MissingExtra (ImportError)            an optional part is not installed

A server's refusal is a value (`bouncekit.Reply`), never one of these. The errors that a send raises are
subclasses of smtplib's and live in `bouncekit.clients.smtperrors`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from email.errors import MessageError as EmailError

__all__ = [
    "UNREADABLE",
    "AddressError",
    "BouncekitError",
    "ConfigurationError",
    "Finding",
    "MessageError",
    "MissingExtra",
    "PolicyError",
    "RuleError",
    "StoreBusy",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreMoved",
    "StoreReadOnly",
    "StoreRefused",
]

# What `email` raises at a header that it cannot read; the fourth, for one, up to Python 3.12 at `To: . <jo@x.example>`.
UNREADABLE = (EmailError, ValueError, LookupError, AttributeError, TypeError)


class BouncekitError(Exception):
    """The root of everything that bouncekit raises on its own account."""


class ConfigurationError(BouncekitError, ValueError):
    """Something the owner configured is wrong; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake in a file: where it stands and what would be right.

    Line and column count from 1; None where the format keeps no positions. Findings sort in the order of the file.
    `code` is the linter's name for such a mistake, empty where it is one of the grammar; `fix` what would be right,
    where `message` does not say it.

    >>> print(Finding("bounces.yaml", 7, 12, "unknown fate 'supress': one of retry, split, alone, fail, hold"))
    bounces.yaml:7:12: unknown fate 'supress': one of retry, split, alone, fail, hold
    """

    file: str
    line: int | None
    column: int | None
    message: str
    code: str = ""
    fix: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        return f"{place}: {self.message}" + (f"; {self.fix}" if self.fix else "")

    def __lt__(self, other: "Finding") -> bool:
        return self._place < other._place

    @property
    def _place(self) -> tuple[str, int, int, str]:
        return self.file, self.line or 0, self.column or 0, self.message


class _Findings(ConfigurationError):
    """An error made of findings, shown one a line."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings: tuple[Finding, ...] = tuple(findings)
        super().__init__("\n".join(map(str, self.findings)))

    def __reduce__(self) -> tuple[type["_Findings"], tuple[tuple[Finding, ...]]]:
        return type(self), (self.findings,)


class PolicyError(_Findings):
    """A policy file is wrong. `findings` has every mistake at once, in the order of the file."""


class RuleError(_Findings):
    """A file of classifier rules is wrong. `findings` has every mistake."""


class AddressError(BouncekitError, ValueError):
    """An address that cannot be a mailbox of RFC 5321 4.1.2, or that would smuggle something onto the wire.

    `address` is all of it, as it was given; the text shows its first 80 characters.
    """

    def __init__(self, address: str, why: str) -> None:
        self.address = address
        self.why = why
        super().__init__(f"{address[:80]!r}: {why}")

    def __reduce__(self) -> tuple[type["AddressError"], tuple[str, str]]:
        return type(self), (self.address, self.why)


class MessageError(BouncekitError, ValueError):
    """A message that cannot be turned into bytes for the wire."""


class StoreError(BouncekitError):
    """The store cannot answer or cannot remember, and what was asked of it has changed nothing.

    Where it is `unknown` whether that has been done, it may have been: the answer to the commit was lost.
    """

    unknown: bool = False


class StoreBusy(StoreError):
    """Somebody else has held the lock for writers longer than we wait. It passes by itself, or with that process."""


class StoreFull(StoreError):
    """The disk, or the quota, is full. Once there is room everything goes on, without a restart."""


class StoreReadOnly(StoreError):
    """The store may be read and not be written: the file, its directory or its whole file system."""


class StoreMoved(StoreError):
    """The file, or the log beside it, was moved, deleted or replaced while it was open; nothing is written."""


class StoreCorrupt(StoreError):
    """The file is not a bouncekit store, is damaged, or comes from a newer version. It is left as it is."""


class StoreRefused(StoreError):
    """What was to be stored contradicts the store's own rules: another try ends the same, other things are taken."""


class MissingExtra(BouncekitError, ImportError):
    """An optional part is not installed; the message names the extra to install.

    >>> print(MissingExtra("notify", "apprise", "channels by apprise URL"))
    channels by apprise URL need apprise: python -m pip install 'bouncekit[notify]'
    """

    def __init__(self, extra: str, package: str, purpose: str) -> None:
        self.extra = extra
        self.package = package
        self.purpose = purpose
        super().__init__(f"{purpose} need {package}: python -m pip install 'bouncekit[{extra}]'", name=package)

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, str, str]]:
        return type(self), (self.extra, self.package, self.purpose)
