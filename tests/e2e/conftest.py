"""The real servers, started once for all tests that ask for them."""

from collections.abc import Iterator

import pytest

from .servers import (
    Dovecot,
    Imap,
    Mailboxes,
    Postfix,
    running_dovecot,
    running_imap,
    running_postfix,
    running_postgrey,
    why_no_dovecot,
    why_no_imap,
    why_no_postfix,
    why_no_postgrey,
)


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """LMTP and the mailboxes behind it."""
    if reason := why_no_dovecot():
        pytest.skip(reason)
    with running_dovecot() as server:
        yield server


@pytest.fixture(scope="session")
def imap() -> Iterator[Imap]:
    """IMAP mailboxes, and LMTP to fill them."""
    if reason := why_no_imap():
        pytest.skip(reason)
    with running_imap() as server:
        yield server


@pytest.fixture(scope="session")
def postfix(request: pytest.FixtureRequest) -> Iterator[Postfix]:
    """SMTP services that deliver to the mailboxes of `dovecot`."""
    if reason := why_no_postfix():
        pytest.skip(reason)
    with running_postfix(request.getfixturevalue("dovecot")) as server:
        yield server


@pytest.fixture
def greylisting(postfix: Postfix) -> Iterator[Postfix]:
    """The same, and a Postgrey that has seen nobody yet."""
    if reason := why_no_postgrey():
        pytest.skip(reason)
    with running_postgrey(postfix):
        yield postfix


@pytest.fixture
def mailboxes(dovecot: Dovecot) -> Mailboxes:
    """The mailboxes, emptied."""
    dovecot.mailboxes.clear()
    return dovecot.mailboxes


@pytest.fixture(autouse=True)
def _nothing_left_on_its_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Mail of one test never arrives in the next one."""
    postfix = request.getfixturevalue("postfix") if "postfix" in request.fixturenames else None
    yield
    if isinstance(postfix, Postfix):
        postfix.drain()
