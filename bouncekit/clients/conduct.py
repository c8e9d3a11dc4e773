"""How a session carries its transactions, where the server leaves a choice."""

from dataclasses import dataclass

from bouncekit.protocol.commandlines import DsnRequest

__all__ = ["Conduct"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """What whoever opens a session has chosen for all that it carries; `bouncekit.SMTP` explains each."""

    is_lmtp: bool = False
    dsn: DsnRequest | None = None  # None asks nothing
    lock_step: bool = False
    chunking: bool = False
