"""`doctor`: what is found, and what to do about it."""

import doctest
import json
import re
import resource
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from bouncekit._version import __released__
from bouncekit.address import parse_address
from bouncekit.cli.storechecks import clock
from bouncekit.events import Event, EventType, Occasion
from bouncekit.queue import Begun, Lease
from bouncekit.steps import Delivery
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import Closing, ScriptedServer, refusing_port

from ..contract.queueing import LEASE, begun, delivery
from .conftest import ROOT, Run

Serve = Callable[..., ScriptedServer]


def checks(output: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(output)["checks"]}


def level(run: Run, name: str, *options: str) -> str:
    return str(checks(run("doctor", "--json", *options).output)[name]["level"])


def test_a_fresh_installation_is_well(run: Run) -> None:
    result = run("doctor")
    assert result.exit_code == 0
    assert result.output.splitlines()[-1].endswith(" 0 to mend")
    found = checks(run("doctor", "--json").output)
    assert {
        "python",
        "sqlite",
        "click",
        "pydantic",
        "configuration",
        "policy",
        "policy's examples",
        "store",
    } <= found.keys()
    assert found["policy"]["level"] == found["policy's examples"]["level"] == "ok"
    assert found["configuration"]["found"] == "none: the defaults hold"


def test_without_a_store_and_with_channels_not_set_up_it_says_what_to_do(run: Run) -> None:
    found = checks(run("doctor", "--json").output)
    assert found["store"]["level"] == found["channel recipient"]["level"] == "warn"
    assert "BOUNCEKIT_STORE" in found["store"]["advice"]
    assert "recipient" in found["channel recipient"]["advice"]


def test_channels_that_are_set_up_are_ok_and_wrong_ones_are_not(run: Run, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text(
        "[channels]\nowner = 'mailto:owner@example.com'\noperations = 'hunter2'\nnobody = 'mailto:x@example.com'\n"
    )
    result = run("doctor", "--json")
    found = checks(result.output)
    assert result.exit_code == 1
    assert found["channel owner"] == {
        "name": "channel owner",
        "level": "ok",
        "found": "set up in bouncekit.toml",
        "advice": "",
    }
    assert found["channel operations"]["level"] == "fail"
    assert found["channel nobody"]["found"] == "the policy has no such channel"


def test_a_wrong_configuration_is_a_failed_check(run: Run, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text("stroe = 1\n")
    result = run("doctor")
    assert result.exit_code == 1
    assert "unknown key 'stroe'; did you mean 'store'?" in result.output


def test_a_wrong_policy_is_a_failed_check(run: Run, folder: Path) -> None:
    (folder / "mine.yaml").write_text("policy: 1\nextends: default\nrules: [{id: a, do: fial}]\n")
    result = run("doctor", "--policy", "mine.yaml")
    assert result.exit_code == 1
    assert "mine.yaml:3:" in result.output
    assert "bouncekit policy check mine.yaml" in result.output


def test_a_store_is_looked_at_and_left_as_it_is(run: Run, folder: Path) -> None:
    store = ("--store", "sqlite:///b.db")
    assert checks(run("doctor", "--json", *store).output)["store"]["found"].endswith(
        "not there yet, the first use makes it"
    )
    assert not (folder / "b.db").exists()
    run("suppressions", "add", "ada@example.com", *store)
    with closing(sqlite3.connect("b.db")) as before:
        tables = before.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
    found = checks(run("doctor", "--json", *store).output)["store"]
    assert found["level"] == "ok"
    assert "sound, writable, schema " in found["found"]
    assert found["found"].endswith(", 1 suppressions")
    with closing(sqlite3.connect("b.db")) as after:
        assert after.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall() == tables


@pytest.mark.parametrize(
    ("url", "found", "advice"),
    [
        ("sqlite:///b.db", "b.db: no SQLite database", "name another file, or move this one away"),
        ("sqlite:///no/such/folder/b.db", "cannot be made: No such file", "a folder no/such/folder that this user"),
        ("sqlite:///b.db/c.db", "cannot be made: Not a directory", "a folder b.db that this user may write in"),
        ("sqlite:////proc/b.db", "/proc/b.db: not there, and cannot be made", "a folder /proc that this user"),
        ("sqlite:///.", "a directory", "name a file in it"),
        ("postgresql://db/x", "not built yet", "write 'sqlite:///bounces.db'"),
    ],
)
def test_a_store_that_cannot_be_used_is_a_failed_check_with_its_remedy(
    run: Run, folder: Path, url: str, found: str, advice: str
) -> None:
    (folder / "b.db").write_text("hello")
    check = checks(run("doctor", "--json", "--store", url).output)["store"]
    assert check["level"] == "fail"
    assert found in check["found"]
    assert advice in check["advice"]


def test_a_store_of_a_newer_bouncekit_and_a_damaged_one_are_told_apart(run: Run, folder: Path) -> None:
    with SqliteStore("b.db") as store:
        store.add(suppression("ada@example.com"), by="a test", event=event(NOW))
    with closing(sqlite3.connect("b.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    newer = checks(run("doctor", "--json", "--store", "sqlite:///b.db").output)["store"]
    assert newer["found"].endswith("written by a newer bouncekit (schema 99, this one knows up to 1)")
    assert (newer["level"], newer["advice"]) == ("fail", "upgrade bouncekit")
    with closing(sqlite3.connect("b.db")) as connection:
        connection.execute("PRAGMA user_version = 1")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray((folder / "b.db").read_bytes())
    content[5000:9000] = b"\xff" * 4000
    (folder / "b.db").write_bytes(content)
    damaged = checks(run("doctor", "--json", "--store", "sqlite:///b.db").output)["store"]
    assert (damaged["level"], "damaged" in damaged["found"]) == ("fail", True)
    assert "restore a backup" in damaged["advice"]


HOLDS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"PRAGMA locking_mode = {sys.argv[2]}")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE half_done (x)")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold() -> Iterator[Callable[..., None]]:
    """Let another process hold a store's lock until the test is over."""
    with ExitStack() as stack:

        def start(path: Path, mode: str = "NORMAL") -> None:
            command = [sys.executable, "-c", HOLDS, str(path), mode]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"

        yield start


@pytest.mark.parametrize("mode", ["NORMAL", "EXCLUSIVE"])
def test_a_store_that_somebody_has_locked_is_a_failed_check(
    run: Run, folder: Path, hold: Callable[..., None], mode: str
) -> None:
    SqliteStore("b.db").close()
    hold(folder / "b.db", mode)
    found = checks(run("doctor", "--json", "--store", "sqlite:///b.db").output)
    assert found["store"]["level"] == "fail"
    assert "locked by another process for more than 3 s" in found["store"]["found"]
    assert "fuser" in found["store"]["advice"]
    assert found["clock"]["level"] == "ok"


def test_a_clock_that_was_set_back_is_seen_by_the_newest_event(run: Run, folder: Path) -> None:
    with SqliteStore("b.db") as store:
        store.tell([event(NOW + timedelta(days=30)), event(NOW, id_="2")])
    check = checks(run("doctor", "--json", "--store", "sqlite:///b.db").output)["clock"]
    assert check["level"] == "fail"
    assert check["found"].endswith(": it was set back")
    assert "timedatectl set-ntp true" in check["advice"]


def test_an_attempt_that_is_open_shows_a_clock_that_was_set_back_too(run: Run, folder: Path) -> None:
    with SqliteStore("b.db") as store:
        store.begin(begun(queued("ada@example.com"), at=NOW + timedelta(days=30)))
    assert level(run, "clock", "--store", "sqlite:///b.db") == "fail"


def test_a_clock_is_right_by_two_minutes_and_never_before_the_release() -> None:
    released = datetime.fromisoformat(__released__).replace(tzinfo=UTC)
    assert released <= datetime.now(UTC)
    assert clock(released - timedelta(seconds=1), None).level == "fail"
    assert "the machine has no time" in clock(datetime(1970, 1, 1, tzinfo=UTC), None).found
    assert clock(NOW, NOW + timedelta(seconds=119)).level == "ok"
    assert clock(NOW, NOW + timedelta(seconds=121)).level == "fail"


def test_a_store_that_cannot_be_written_is_a_failed_check(run: Run, folder: Path) -> None:
    """A limit on the size of files stands for a disk that takes no more; root is bound by it, too."""
    run("suppressions", "add", "ada@example.com", "--store", "sqlite:///b.db")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        assert level(run, "store", "--store", "sqlite:///b.db") == "fail"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


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


def test_a_queue_needs_a_store_and_a_relay(run: Run, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text('retry = "queue"\n')
    found = checks(run("doctor", "--json").output)["retry"]
    assert (found["level"], found["found"]) == ("fail", "queue, and no store that could keep the mail")
    assert "BOUNCEKIT_STORE" in found["advice"]
    found = checks(run("doctor", "--json", "--store", "sqlite:///b.db").output)["retry"]
    assert (found["level"], found["found"]) == ("fail", "queue, and no relay through which a worker could send")
    assert "[relays]" in found["advice"]
    assert "--app" in found["advice"]


def test_a_queue_with_both_is_told_with_its_relays(run: Run, folder: Path, serve: Serve) -> None:
    relays = f'[relays]\nmain = "{serve().url}"\nbulk = "{serve().url}"\n'
    (folder / "bouncekit.toml").write_text(f'retry = "queue"\nstore = "sqlite:///b.db"\n{relays}')
    result = run("doctor", "--json")
    assert result.exit_code == 0
    assert checks(result.output)["retry"]["found"] == "queue, through main, bulk"


def test_retry_is_told_with_its_patience(run: Run, folder: Path) -> None:
    assert checks(run("doctor", "--json").output)["retry"]["found"].startswith("never: ")
    (folder / "bouncekit.toml").write_text('retry = "wait"\npatience = "2m"\n')
    assert checks(run("doctor", "--json").output)["retry"]["found"] == "wait, for at most 0:02:00"


def test_of_many_mistakes_in_a_policy_the_first_is_shown_and_the_others_counted(run: Run, folder: Path) -> None:
    rules = "".join(f"  - {{id: r{number}, do: supress}}\n" for number in range(9))
    (folder / "wrong.yaml").write_text(f"policy: 1\nextends: default\nrules:\n{rules}")
    found = checks(run("doctor", "--json", "--policy", "wrong.yaml").output)["policy"]
    assert found["found"].startswith("9 mistakes, the first: wrong.yaml:4:18: unknown fate 'supress'")
    assert found["advice"] == "see them all: bouncekit policy check wrong.yaml"


def test_a_relay_is_named_where_it_does_not_answer_and_a_wrong_url_is_told_apart(run: Run) -> None:
    with refusing_port() as port:
        silent = checks(run("doctor", "--json", "--relay", f"smtp://127.0.0.1:{port}").output)["relay"]
    assert silent["found"].startswith(f"smtp://127.0.0.1:{port}: ")
    wrong = checks(run("doctor", "--json", "--relay", "localhost").output)["relay"]
    assert (wrong["level"], wrong["advice"]) == ("fail", "correct its URL")
