"""Assertions about a send, which say what happened instead where they fail."""

from collections.abc import Mapping

from bouncekit.delivery.report import Report
from bouncekit.meaning.classification import Category
from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["assert_not_suppressed", "assert_outcomes", "assert_suppressed"]


def assert_outcomes(report: Report, expected: Mapping[str, str]) -> None:
    """Fails unless the recipients of a send are these, with these actions: `{"ada@example.com": "delivered"}`."""
    __tracebackhide__ = True
    found = {one.recipient: one.action.value for one in report.recipients}
    if found == dict(expected):
        return
    said = {one.recipient: str(one.reply or one.rule or "") for one in report.recipients}
    lines = [
        f"{one}: {found.get(one, 'no recipient')}, not {expected.get(one, 'expected at all')} ({said.get(one, '')})"
        for one in {**expected, **found}
        if found.get(one) != expected.get(one)
    ]
    raise AssertionError("\n".join(lines))


def assert_suppressed(
    postmaster: Postmaster,
    address: str,
    *,
    category: Category | str | None = None,
    tenant: str = "",
    stream: str = "",
) -> None:
    """Fails unless mail to this address is held back now, and for this reason, if one is given."""
    __tracebackhide__ = True
    found = postmaster.suppressions.get(address, tenant=tenant, stream=stream)
    if found is None or not found.binds(postmaster.office.clock.now()):
        raise AssertionError(f"{address} is not suppressed" + (f" any more, since {found.expires_at}" if found else ""))
    if category is not None and found.category != category:
        raise AssertionError(f"{address} is suppressed for {found.category}, not {category}: {found.evidence.reply}")


def assert_not_suppressed(postmaster: Postmaster, address: str, *, tenant: str = "", stream: str = "") -> None:
    """Fails where mail to this address is held back now, with the reason."""
    __tracebackhide__ = True
    found = postmaster.suppressions.get(address, tenant=tenant, stream=stream)
    if found is not None and found.binds(postmaster.office.clock.now()):
        raise AssertionError(f"{address} is suppressed for {found.category}, by {found.by}: {found.evidence.reply}")
