"""`doctor`: a relay is greeted, put under TLS, logged in to, and asked for a transaction."""

import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from bouncekit.testing import Closing, ScriptedServer, refusing_port

from .conftest import Run, checks, level

Serve = Callable[..., ScriptedServer]


def test_a_relay_in_clear_on_this_machine_is_ok(run: Run, serve: Serve) -> None:
    server = serve()
    result = run("doctor", "--relay", server.url, "--json")
    assert result.exit_code == 0
    assert checks(result.output)["relay"]["found"].startswith(f"{server.url} greets; it offers 8bitmime, ")
    assert checks(result.output)["relay TLS"]["level"] == "ok"
    assert server.messages == ()
    assert server.wait_closed()
    assert server.sessions[0].commands[-1].upper() == "QUIT"


def test_the_relay_of_the_configuration_is_looked_at(run: Run, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEKIT_RELAY", serve().url)
    assert level(run, "relay") == "ok"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("implicit", [False, True])
def test_a_certificate_is_verified(
    run: Run,
    serve: Serve,
    tls: ssl.SSLContext,
    authority: trustme.CA,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    implicit: bool,
) -> None:
    server = serve(tls=tls, implicit_tls=implicit)
    name = "relay TLS"
    assert level(run, name, "--relay", server.url) == "fail"
    assert level(run, name, "--relay", server.url, "--insecure-tls") == "warn"
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    found = checks(run("doctor", "--relay", server.url, "--json").output)[name]
    assert (found["level"], found["found"]) == ("ok", "encrypted, certificate verified")


def test_a_login_is_tried_and_never_in_clear(
    run: Run, serve: Serve, tls: ssl.SSLContext, authority: trustme.CA, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    server = serve(tls=tls, users={"jo": "secret"})
    url = f"smtp://jo:{{}}@127.0.0.1:{server.port}"
    assert level(run, "relay login", "--relay", url.format("secret")) == "ok"
    wrong = run("doctor", "--relay", url.format("hunter2"))
    assert wrong.exit_code == 1
    assert "hunter2" not in wrong.output
    clear = serve(users={"jo": "secret"})
    found = checks(run("doctor", "--json", "--relay", f"smtp://jo:secret@127.0.0.1:{clear.port}").output)
    assert (found["relay TLS"]["level"], "relay login" in found) == ("fail", False)


def test_a_relay_that_is_not_there_or_does_not_want_us_is_a_failed_check(run: Run, serve: Serve) -> None:
    with refusing_port() as port:
        assert level(run, "relay", "--relay", f"smtp://127.0.0.1:{port}") == "fail"
    busy = serve({"CONNECT": Closing("421 4.3.2 Busy \x1b[2J")})
    result = run("doctor", "--relay", busy.url)
    assert result.exit_code == 1
    assert "421" in result.output
    assert "\x1b" not in result.output
    assert level(run, "relay", "--relay", "nonsense") == "fail"


def test_a_relay_is_named_where_it_does_not_answer_and_a_wrong_url_is_told_apart(run: Run) -> None:
    with refusing_port() as port:
        silent = checks(run("doctor", "--json", "--relay", f"smtp://127.0.0.1:{port}").output)["relay"]
    assert silent["found"].startswith(f"smtp://127.0.0.1:{port}: ")
    wrong = checks(run("doctor", "--json", "--relay", "localhost").output)["relay"]
    assert (wrong["level"], wrong["advice"]) == ("fail", "correct its URL")


def test_every_relay_is_greeted(run: Run, folder: Path, serve: Serve) -> None:
    first, second = serve(), serve({"CONNECT": "554 5.7.1 No service for you"})
    with refusing_port() as port:
        (folder / "bouncekit.toml").write_text(
            f'[relays]\nmain = "{first.url}"\nbulk = "{second.url}"\ndown = "smtp://127.0.0.1:{port}"\nbad = "smtp://"\n'
            'lost = {url = "smtp://relay.invalid", timeout = 5}\n'
        )
        result = run("doctor", "--json")
    found = checks(result.output)
    assert result.exit_code == 1
    assert (found["relay main"]["level"], found["relay main TLS"]["level"]) == ("ok", "ok")
    assert found["relay bulk"]["found"] == f"{second.url}: 554 5.7.1 No service for you"
    assert found["relay bulk"]["advice"] == "ask who runs it to let this host in"
    assert found["relay down"]["advice"] == "start it, or correct its host and port"
    assert found["relay bad"]["advice"] == "correct its URL"
    assert found["relay lost"]["advice"] == "correct the host's name, or the DNS of this machine"
    assert {found[f"relay {name}"]["level"] for name in ("bulk", "down", "bad", "lost")} == {"fail"}


def relay_with(folder: Path, server: ScriptedServer, user: str = "jo:secret@", **options: object) -> None:
    url = f"smtp://{user}127.0.0.1:{server.port}"
    written = "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items())
    (folder / "bouncekit.toml").write_text(f'[relays.main]\nurl = "{url}"\n{written}')


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        ("535 5.7.8 Bad credentials", "correct user and password"),
        ("530 5.7.0 Must issue a STARTTLS command first", "it wants TLS first"),
        ("534 5.7.9 Application-specific password required", "a password made for applications"),
        ("454 4.7.0 Temporary authentication failure", "try again later"),
        ("550 5.7.1 Account suspended", "ask who runs it"),
    ],
)
def test_a_login_that_is_refused_is_a_failed_check_with_its_remedy(
    run: Run, folder: Path, serve: Serve, reply: str, advice: str
) -> None:
    relay_with(folder, serve({"AUTH": reply}, users={"jo": "secret"}), insecure_login_in_clear=True)
    result = run("doctor", "--json")
    found = checks(result.output)["relay main login"]
    assert (result.exit_code, found["level"], found["found"]) == (1, "fail", f"as jo: {reply}")
    assert advice in found["advice"]


def test_a_relay_that_offers_no_login_is_a_failed_check(run: Run, folder: Path, serve: Serve) -> None:
    relay_with(folder, serve(), insecure_login_in_clear=True)
    found = checks(run("doctor", "--json").output)
    assert found["relay main TLS"]["level"] == "warn"
    assert (found["relay main login"]["level"], "587" in found["relay main login"]["advice"]) == ("fail", True)


def test_a_relay_of_no_mechanism_that_we_know_is_a_failed_check(run: Run, folder: Path, serve: Serve) -> None:
    relay_with(folder, serve(extensions=("AUTH GSSAPI",)), insecure_login_in_clear=True)
    found = checks(run("doctor", "--json").output)["relay main login"]
    assert (found["level"], found["advice"]) == ("fail", "turn on PLAIN or LOGIN at the relay")


@pytest.mark.parametrize(
    ("reply", "level", "advice"),
    [
        ("530 5.7.0 Must issue a STARTTLS command first", "fail", "it wants TLS and offers none"),
        ("530 5.7.1 Authentication required", "fail", "smtp://user:password@127.0.0.1"),
        ("553 5.7.1 Sender rejected", "warn", "nothing to do if it takes mail from your senders"),
    ],
)
def test_a_relay_that_wants_more_only_when_there_is_mail_is_found_out(
    run: Run, folder: Path, serve: Serve, reply: str, level: str, advice: str
) -> None:
    server = serve({"MAIL": reply})
    relay_with(folder, server, user="")
    found = checks(run("doctor", "--json").output)["relay main mail"]
    assert (found["level"], reply in found["found"]) == (level, True)
    assert found["advice"].startswith(advice) or advice in found["advice"]
    assert server.messages == ()


def test_a_relay_that_does_not_speak_tls_from_the_first_byte_is_told(run: Run, serve: Serve) -> None:
    found = checks(run("doctor", "--json", "--relay", f"smtps://127.0.0.1:{serve().port}").output)["relay TLS"]
    assert (found["level"], "smtp+tls://" in found["advice"]) == ("fail", True)


def test_the_options_of_a_relay_hold(run: Run, folder: Path, serve: Serve, tls: ssl.SSLContext) -> None:
    server = serve(tls=tls)
    relay_with(folder, server, user="", insecure_tls=True, local_hostname="shop.example.org")
    found = checks(run("doctor", "--json").output)
    assert found["relay main TLS"]["level"] == "warn"
    assert server.sessions[0].commands[0] == "ehlo shop.example.org"
