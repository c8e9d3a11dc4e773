"""No password and none of a thousand people turn up where others look: in logs, texts of exceptions, reprs."""

import contextlib
import io
import logging
import smtplib
import ssl
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from bouncekit.delivery.report import DeliveryFailed, Report
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Closing, Cut, Kept, ManualClock, Script, ScriptedServer

USER, PASSWORD = "canary-user", "canary-password-7531"
PEOPLE = [f"planted{number}@{('example.com', 'example.net')[number % 2]}" for number in range(1000)]
# What servers say about people, with their addresses in it.
SAID = (
    "250 2.1.5 <{}> Ok",
    "550 5.1.1 <{}>: Recipient address rejected: User unknown",
    "552 5.2.2 Mailbox of {} is full",
    "452 4.2.2 {}: over quota",
    "451 4.7.1 <{}>: Greylisted",
)
SCRIPT: Script = {
    "RCPT": {address: SAID[number % len(SAID)].format(address) for number, address in enumerate(PEOPLE)},
    "END_OF_DATA": [f"250 2.0.0 Taken for {PEOPLE[0]}", Kept(Cut()), f"554 5.7.1 <{PEOPLE[1]}> spam"],
    "MAIL": ["250 2.1.0 Ok", "250 2.1.0 Ok", "250 2.1.0 Ok", Closing(f"421 4.3.2 Bye, <{PEOPLE[2]}>")],
}


class Lines(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[Lines]:
    """The log of the whole process, at the level that the test is given."""
    root, lines = logging.getLogger(), Lines(getattr(request, "param", logging.INFO))
    before = root.level
    root.addHandler(lines)
    root.setLevel(lines.level)
    yield lines
    root.removeHandler(lines)
    root.setLevel(before)


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


def run(tls: tuple[ssl.SSLContext, ssl.SSLContext], folder: Path) -> tuple[list[Report], list[BaseException], str]:
    """A hundred recipients a message, over a line with a login: what was reported, raised, and every repr of it."""
    reports: list[Report] = []
    errors: list[BaseException] = []
    with (
        ScriptedServer(SCRIPT, tls=tls[0], users={USER: PASSWORD}, auth_needs_tls=True) as server,
        Postmaster(store=f"sqlite:///{folder / 'bounces.db'}", clock=ManualClock()) as postmaster,
    ):
        url = f"smtp+tls://{USER}:{PASSWORD}@{server.host}:{server.port}"
        with postmaster.client(url, tls_context=tls[1]) as client:
            for start in range(0, len(PEOPLE), 100):
                try:
                    reports.append(
                        client.sendmail("shop@example.org", PEOPLE[start : start + 100], "Subject: Hi\r\n\r\nHello")
                    )
                except smtplib.SMTPException as error:
                    errors.append(error)
                    reports.append(error.report)  # type: ignore[attr-defined]
            shown = [
                repr(one)
                for one in (client, client.relay, client.__dict__, postmaster, postmaster.office, client._session)
            ]
        assert b"AUTH" in server.sessions[0].raw
    return reports, errors, "\n".join(shown)


def test_a_log_of_level_info_has_none_of_a_thousand_people_and_says_what_happened_all_the_same(
    log: Lines, tls: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path
) -> None:
    reports, _, _ = run(tls, tmp_path)
    text = "\n".join(log.lines)
    assert sum(len(report.recipients) for report in reports) == 1000
    assert [address for address in PEOPLE if address in text] == []
    assert len([line for line in log.lines if "p…@example." in line]) >= 600
    assert [line for line in log.lines if not line.isprintable()] == []


@pytest.mark.parametrize("log", [logging.DEBUG], indirect=True)
def test_the_password_is_in_no_log_repr_exception_or_traceback(
    log: Lines, tls: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path
) -> None:
    _, errors, shown = run(tls, tmp_path)
    assert errors
    texts = [shown, *log.lines, *(f"{error} {error!r} {error.__dict__}" for error in errors)]
    texts += ["".join(traceback.format_exception(error)) for error in errors]
    assert [text for text in texts if PASSWORD in text] == []


def test_what_an_exception_says_names_nobody_where_smtplib_does_not_want_it(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path
) -> None:
    """SMTPRecipientsRefused has the addresses, as its users expect, and what servers said is in smtplib's tuples."""
    reports, errors, _ = run(tls, tmp_path)
    ours = [
        error
        for error in errors
        if not isinstance(error, smtplib.SMTPRecipientsRefused | smtplib.SMTPResponseException)
    ]
    assert ours
    for report in reports:
        if report.failed:
            with pytest.raises(DeliveryFailed) as raised:
                report.raise_for_failed()
            ours.append(raised.value)
    assert any(isinstance(error, DeliveryFailed) for error in ours)
    assert [str(error) for error in ours if any(address in str(error) for address in PEOPLE)] == []


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_set_debuglevel_shows_a_login_without_the_password(mechanism: str) -> None:
    """smtplib prints it, in base64."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stderr(printed),
        ScriptedServer(users={USER: PASSWORD}) as server,
        Postmaster(clock=ManualClock()) as postmaster,
        postmaster.smtp(server.host, server.port) as smtp,
    ):
        smtp.set_debuglevel(1)
        smtp.ehlo()
        smtp.user, smtp.password = USER, PASSWORD
        smtp.auth(mechanism, getattr(smtp, f"auth_{mechanism.lower()}"))
        smtp.sendmail("shop@example.org", ["ada@example.com"], "Subject: Hi\r\n\r\nHello")
    text = printed.getvalue()
    secrets = [smtplib.encode_base64(one.encode(), eol="") for one in (PASSWORD, f"\0{USER}\0{PASSWORD}")]  # type: ignore[attr-defined]
    assert "mail from:" in text.lower()
    assert f"AUTH {mechanism}" in text
    assert [secret for secret in (PASSWORD, *secrets) if secret in text] == []
