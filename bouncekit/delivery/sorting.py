"""Where the recipients of one transaction go from it: settled, or once more at once."""

from dataclasses import dataclass, field

from bouncekit.delivery.lanes import Hearing
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.tallied import Number
from bouncekit.words.envelope import Recipient

__all__ = ["Sorted"]


@dataclass(slots=True)
class Sorted:
    """Where the recipients of one transaction go from it: settled, or once more at once."""

    hearing: Hearing
    settlements: list[Settlement] = field(default_factory=list)
    recipients: list[Recipient] = field(default_factory=list)  # the settled ones, with this attempt counted
    together: list[Recipient] = field(default_factory=list)
    apart: list[Recipient] = field(default_factory=list)  # whose own RCPT ended the session: it may do so again
    alone: list[Recipient] = field(default_factory=list)
    numbers: list[tuple[Number, int]] = field(default_factory=list)  # that the policy has counted
    at_most: int = 0  # of `together` in one transaction, where the server has shown a limit

    def batches(self) -> list[tuple[Recipient, ...]]:
        """Those who go on together. All 9,900 behind a limit of 100 offered again and again would be 500,000 RCPTs."""
        size = self.at_most or len(self.together) or 1
        return [tuple(self.together[start : start + size]) for start in range(0, len(self.together), size)]
