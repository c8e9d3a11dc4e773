"""What `bouncekit doctor` finds of a relay: it is greeted, put under TLS, logged in to, and asked for a transaction."""

import smtplib
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bouncekit.cli.checks import Check, Level, failed
from bouncekit.clients.smtperrors import UnreadableReply
from bouncekit.outside.relay import Relay, open_relays
from bouncekit.words.errors import BouncekitError, ConfigurationError
from bouncekit.words.showing import redacted

if TYPE_CHECKING:
    from bouncekit.clients.smtp import SMTP

__all__ = ["relay"]

_SECONDS = 15.0
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

# Why no session came about, the first that holds -> what to do.
_NO_SESSION: tuple[tuple[type[Exception], str], ...] = (
    (socket.gaierror, "correct the host's name, or the DNS of this machine"),
    (ConnectionRefusedError, "start it, or correct its host and port"),
    (TimeoutError, "correct its host and port; a firewall in between may have to let this host through"),
    (UnreadableReply, "this is no SMTP port; for TLS from the first byte write smtps://"),
    (smtplib.SMTPServerDisconnected, "this may be no SMTP port; for TLS from the first byte write smtps://"),
)
# What a login, or mail without one, was answered (RFC 4954 4 and 6) -> what to do.
_NO_LOGIN = {
    530: "it wants TLS first: smtp+tls:// or smtps://, and no insecure_login_in_clear",
    534: "it wants another mechanism, often a password made for applications",
    535: "correct user and password",
    538: "it wants TLS first: smtp+tls:// or smtps://, and no insecure_login_in_clear",
}


def relay(name: str, given: object, *, insecure_tls: bool = False) -> Iterator[Check]:
    """One relay: its URL, a table of URL and options, or itself. What fails ends it; nothing is sent.

    Args:
        name: that the lines begin with.
    """
    try:
        opened = given if isinstance(given, Relay) else open_relays({name: given})[name]
    except ConfigurationError as error:
        yield failed(name, error, "correct its URL")
        return
    if opened.is_direct:
        yield Check(name, Level.OK, f"{opened}: mail goes to the recipients' own hosts, none of which is asked here")
        return
    context = _context(opened.options, insecure=insecure_tls)
    try:
        smtp = _greeted(opened, context)
    except ssl.SSLError as error:
        yield _no_tls(name, error)
        return
    except (BouncekitError, OSError) as error:
        yield _no_session(name, opened, error)
        return
    try:
        yield from _dialogue(name, smtp, opened, context)
    except ssl.SSLError as error:
        yield _no_tls(name, error)
    except OSError as error:
        yield Check(name, Level.FAIL, _said(error), "it ended the session; look into its log")
    finally:
        smtp.close()


def _greeted(opened: Relay, context: ssl.SSLContext) -> "SMTP":
    from bouncekit.clients.smtp import LMTP, SMTP, SMTP_SSL

    timeout = min(opened.options.get("timeout") or _SECONDS, _SECONDS)
    own = opened.options.get("local_hostname")
    match opened.scheme:
        case "smtps":
            return SMTP_SSL(opened.host, opened.port, own, timeout=timeout, context=context)
        case "lmtp":
            return LMTP(opened.host, opened.port, own, timeout=timeout)
        case _:
            return SMTP(opened.host, opened.port, own, timeout=timeout)


def _dialogue(name: str, smtp: "SMTP", opened: Relay, context: ssl.SSLContext) -> Iterator[Check]:
    smtp.ehlo_or_helo_if_needed()
    offers = ", ".join(sorted(smtp.esmtp_features)) or "nothing"
    yield Check(name, Level.OK, f"{opened} greets; it offers {offers}")
    if opened.scheme not in ("lmtp", "smtps") and smtp.has_extn("starttls"):
        smtp.starttls(context=context)
        smtp.ehlo_or_helo_if_needed()
    is_safe = isinstance(smtp.sock, ssl.SSLSocket)
    tls = _tls(name, opened, context, is_safe=is_safe)
    yield tls
    if tls.level is Level.FAIL:
        smtp.quit()
        return
    if opened.user is not None:
        login = _login(name, smtp, opened)
        yield login
        if login.level is Level.FAIL:
            return
    yield from _transaction(name, smtp, opened, is_safe=is_safe)
    smtp.quit()


def _tls(name: str, opened: Relay, context: ssl.SSLContext, *, is_safe: bool) -> Check:
    name = f"{name} TLS"
    if is_safe and context.verify_mode is ssl.CERT_NONE:
        return Check(name, Level.WARN, "encrypted; nobody verified the certificate", "verify it: drop insecure_tls")
    if is_safe:
        return Check(name, Level.OK, "encrypted, certificate verified")
    if opened.user is not None and opened.options.get("insecure_login_in_clear"):
        return Check(name, Level.WARN, "in clear, and so is the password", "turn on STARTTLS at the relay")
    if opened.scheme == "smtp+tls" or opened.user is not None:
        advice = "turn on STARTTLS at the relay, or write smtps://; without it there is no login and no smtp+tls"
        return Check(name, Level.FAIL, "the relay offers no STARTTLS", advice)
    if opened.host in _LOCAL_HOSTS:
        return Check(name, Level.OK, "in clear, on this machine")
    return Check(name, Level.WARN, "in clear: whoever is between here and there reads along", "turn on STARTTLS there")


def _login(name: str, smtp: "SMTP", opened: Relay) -> Check:
    name = f"{name} login"
    try:
        smtp.login(opened.user or "", opened.password or "")
    except smtplib.SMTPAuthenticationError as error:
        later = "try again later: it cannot tell now" if 400 <= error.smtp_code < 500 else "ask who runs it"
        return Check(name, Level.FAIL, f"as {opened.user}: {_said(error)}", _NO_LOGIN.get(error.smtp_code, later))
    except smtplib.SMTPNotSupportedError:
        advice = "the port for logins is 587 or 465; or take user and password out of the URL"
        return Check(name, Level.FAIL, "the relay offers no login (AUTH) here", advice)
    except smtplib.SMTPServerDisconnected:
        raise
    except smtplib.SMTPException as error:
        advice = "turn on PLAIN or LOGIN at the relay"
        return Check(name, Level.FAIL, f"{_said(error)}: it offers {smtp.esmtp_features.get('auth', '')}", advice)
    return Check(name, Level.OK, f"as {opened.user}")


def _transaction(name: str, smtp: "SMTP", opened: Relay, *, is_safe: bool) -> Iterator[Check]:
    """Whether it would begin one: some relays say only then that they want a login, or TLS."""
    code, text = smtp.docmd("MAIL", "FROM:<>")
    if code == 250:
        smtp.docmd("RSET")
        return
    said, name = _said(smtplib.SMTPResponseException(code, text)), f"{name} mail"
    if code != 530:
        advice = "nothing to do if it takes mail from your senders; else ask who runs it to let this host send"
        yield Check(name, Level.WARN, f"refused from the empty sender: {said}", advice)
    elif b"starttls" in text.lower() and not is_safe:
        advice = "it wants TLS and offers none: port 587, smtps:// on 465, or look what takes STARTTLS out on the way"
        yield Check(name, Level.FAIL, said, advice)
    else:
        yield Check(name, Level.FAIL, said, f"it wants a login: {opened.scheme}://user:password@{opened.host}")


def _no_session(name: str, opened: Relay, error: Exception) -> Check:
    found = f"{opened}: {_said(error)}"
    if isinstance(error, smtplib.SMTPConnectError):
        advice = "busy: try again later" if error.smtp_code < 500 else "ask who runs it to let this host in"
        return Check(name, Level.FAIL, found, advice)
    advice = next((what for kind, what in _NO_SESSION if isinstance(error, kind)), "correct its host and port")
    return Check(name, Level.FAIL, found, advice)


def _no_tls(name: str, error: ssl.SSLError) -> Check:
    name = f"{name} TLS"
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "a certificate for this host's name; for a private CA set SSL_CERT_FILE"
        return Check(name, Level.FAIL, f"the certificate is not to be trusted: {error.verify_message}", advice)
    advice = "smtps:// is TLS from the first byte; where it begins in clear write smtp+tls://"
    return Check(name, Level.FAIL, f"TLS failed: {error.reason or error}", advice)


def _said(error: Exception) -> str:
    """What the server said, or the network."""
    if isinstance(error, smtplib.SMTPResponseException) and not isinstance(error, UnreadableReply):
        text = error.smtp_error
        shown = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
        return redacted(f"{error.smtp_code} {shown}")
    return redacted(str(error))


def _context(options: Mapping[str, object], *, insecure: bool) -> ssl.SSLContext:
    own = options.get("tls_context")
    if isinstance(own, ssl.SSLContext) and not insecure:
        return own
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure or options.get("insecure_tls"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
