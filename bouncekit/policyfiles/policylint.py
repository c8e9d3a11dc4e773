"""What is right by the grammar and wrong all the same: rules that are never reached, gaps, tries without an end.

Each finding has a code that stays, the place, what is wrong and what would be right. Findings are about the owner's own
file; what it extends is its author's.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from bouncekit.policyfiles.checked import Checked
from bouncekit.policyfiles.conditionlint import CONDITION_CHECKS
from bouncekit.policyfiles.measurelint import MEASURE_CHECKS
from bouncekit.policyfiles.orderlint import ORDER_CHECKS
from bouncekit.policyfiles.policyfile import Source
from bouncekit.policyfiles.trylint import TRY_CHECKS
from bouncekit.words.errors import Finding

__all__ = ["lint"]

_CHECKS: Sequence[Callable[[Checked], Iterator[Finding]]] = (
    *ORDER_CHECKS,
    *CONDITION_CHECKS,
    *TRY_CHECKS,
    *MEASURE_CHECKS,
)


def lint(source: Source, *, providers: Collection[str] = ()) -> tuple[Finding, ...]:
    """What is wrong in a policy that can be read, in the order of the file.

    `providers` are the names by which servers' owners are known; without them no name is doubted.
    """
    checked = Checked(source, providers)
    return tuple(sorted(dict.fromkeys(finding for check in _CHECKS for finding in check(checked))))
