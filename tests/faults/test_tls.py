"""A password never travels over a line that is not verified, and nothing said in clear counts under TLS."""

import ssl
import warnings
from collections.abc import Callable, Iterator

import pytest
import trustme

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, Raw, ScriptedServer

USER, PASSWORD = "shop", "canary-password"
ADA = "ada@example.com"
AUTHORITY = trustme.CA()


def certified(authority: trustme.CA = AUTHORITY, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def outdated() -> ssl.SSLContext:
    """A server that has heard of TLS 1.1 and nothing newer."""
    context = certified()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.fixture
def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@pytest.fixture
def postmaster() -> Iterator[Postmaster]:
    with Postmaster(clock=ManualClock()) as postmaster:
        yield postmaster


BAD_SERVERS: dict[str, Callable[[], dict[str, object]]] = {
    "stripped": dict,
    "untrusted": lambda: {"tls": certified(trustme.CA())},
    "another name": lambda: {"tls": certified(name="mx.example.com")},
    "outdated": lambda: {"tls": outdated()},
    "injected": lambda: {"tls": certified(), "script": {"STARTTLS": Raw(b"220 Go\r\n250-evil\r\n250 AUTH PLAIN\r\n")}},
    "refused": lambda: {"tls": certified(), "script": {"STARTTLS": "454 4.7.0 TLS not available"}},
}


@pytest.mark.parametrize("scheme", ["smtp", "smtp+tls"])
@pytest.mark.parametrize("settings", BAD_SERVERS.values(), ids=BAD_SERVERS)
def test_without_tls_that_can_be_trusted_nothing_is_sent_and_no_password(
    scheme: str, settings: Callable[[], dict[str, object]], postmaster: Postmaster, trusting: ssl.SSLContext
) -> None:
    with (
        ScriptedServer(users={USER: PASSWORD}, **settings()) as server,  # type: ignore[arg-type]
        postmaster.client(f"{scheme}://{USER}:{PASSWORD}@{server.host}:{server.port}", tls_context=trusting) as client,
        pytest.raises(OSError) as raised,
    ):
        client.sendmail("shop@example.org", [ADA], "Subject: Hi\r\n\r\nHello")
    (only,) = raised.value.report.recipients  # type: ignore[attr-defined]
    assert (only.action, only.is_final) == ("delayed", False)
    assert server.messages == ()
    assert not any(b"AUTH" in session.raw.upper() or b"MAIL" in session.raw.upper() for session in server.sessions)
    assert list(postmaster.suppressions) == []


@pytest.mark.parametrize("settings", ["untrusted", "another name", "outdated"])
def test_implicit_tls_that_cannot_be_trusted_hears_nothing(
    settings: str, postmaster: Postmaster, trusting: ssl.SSLContext
) -> None:
    with (
        ScriptedServer(users={USER: PASSWORD}, implicit_tls=True, **BAD_SERVERS[settings]()) as server,  # type: ignore[arg-type]
        postmaster.client(f"smtps://{USER}:{PASSWORD}@{server.host}:{server.port}", tls_context=trusting) as client,
        pytest.raises(OSError),
    ):
        client.sendmail("shop@example.org", [ADA], "Subject: Hi\r\n\r\nHello")
    assert all(session.raw == b"" for session in server.sessions)


def test_without_a_context_of_its_own_a_client_verifies_and_wants_tls_1_2(postmaster: Postmaster) -> None:
    context = postmaster.client("smtp+tls://relay.example.com").context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_the_same_server_with_a_good_certificate_gets_the_message(
    postmaster: Postmaster, trusting: ssl.SSLContext
) -> None:
    """So the tests above do not pass because nothing works."""
    with (
        ScriptedServer(users={USER: PASSWORD}, tls=certified(), auth_needs_tls=True) as server,
        postmaster.client(f"smtp://{USER}:{PASSWORD}@{server.host}:{server.port}", tls_context=trusting) as client,
    ):
        assert client.sendmail("shop@example.org", [ADA], "Subject: Hi\r\n\r\nHello") == {}
    assert server.copies(ADA) == 1


def test_a_drop_in_that_verifies_nobody_says_so(postmaster: Postmaster) -> None:
    """As with smtplib, `starttls()` without a context takes any certificate; an event tells it."""
    told: list[str] = []
    postmaster.on()(lambda event: told.append(event.type.value))
    with ScriptedServer(tls=certified(trustme.CA())) as server, postmaster.smtp(server.host, server.port) as smtp:
        smtp.starttls()
        smtp.sendmail("shop@example.org", [ADA], "Subject: Hi\r\n\r\nHello")
    assert "insecure_tls" in told
