"""`policy shadow`, a worker that reads its policy again, and what `doctor` says of one that was refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ScriptedServer
from tests.conftest import message

from .conftest import ROOT, Run, checks

STORE = ("--store", "sqlite:///b.db")
NEW = "policy: 1\nextends: default\nrules:\n  - {id: new, when: {category: mailbox_full}, do: %s}\n"


@pytest.fixture
def tried(folder: Path) -> Path:
    """A store in which a policy on trial was told to differ: twice from one postmaster, once from the next."""
    (folder / "new.yaml").write_text(NEW % "hold")
    for times in (2, 1):
        script = {"RCPT": {f"full{number}@example.com": "552 5.2.2 Mailbox full" for number in range(times)}}
        with (
            ScriptedServer(script) as server,
            Postmaster(store="sqlite:///b.db", shadow="new.yaml") as postmaster,
            postmaster.client(server.url) as client,
        ):
            for number in range(times):
                postmaster.suppressions.lift(f"full{number}@example.com")
                client.sendmail(
                    "s@example.org", ["ada@example.com", f"full{number}@example.com"], "Subject: x\r\n\r\nx"
                )
    return folder


def test_what_a_policy_on_trial_would_have_done_is_summed_up(run: Run, tried: Path) -> None:
    first, heads, row, *_ = run("policy", "shadow", *STORE).output.splitlines()
    assert first.startswith("new (")
    assert first.endswith(": 3 of 3 verdicts would be otherwise")
    assert heads.split() == ["TIMES", "LIVE", "WOULD", "RULES", "ABOUT"]
    assert row.split()[0] == "3"
    assert "fail, suppress by mailbox, notify recipient" in row
    assert "mailbox-full -> new" in row
    answer = json.loads(run("policy", "shadow", *STORE, "--json").output)
    assert (answer["shadow"], answer["times"], answer["decided"], answer["faults"]) == ("new", 3, 3, 0)
    assert answer["differences"][0]["categories"] == ["mailbox_full"]


def test_report_points_to_a_policy_on_trial_that_differs(run: Run, tried: Path) -> None:
    assert "bouncekit policy shadow" in run("report", *STORE).output


def test_without_a_difference_it_says_how_a_trial_is_set_up(run: Run, store: SqliteStore) -> None:
    assert "shadow = 'new.yaml'" in run("policy", "shadow", *STORE).output
    assert run("policy", "shadow", *STORE, "--json").output == ""


def test_doctor_names_a_policy_that_a_running_process_refused_until_it_has_read_a_good_one(
    run: Run, folder: Path
) -> None:
    (folder / "new.yaml").write_text(NEW % "hold")
    with Postmaster(policy="new.yaml", store="sqlite:///b.db") as postmaster:
        assert "policy in force" not in checks(run("doctor", *STORE, "--json").output)
        (folder / "new.yaml").write_text(NEW % "hodl")
        with pytest.raises(ValueError, match="unknown fate"):
            postmaster.reload()
        found = checks(run("doctor", *STORE, "--json").output)["policy in force"]
        assert found["level"] == "warn"
        assert "unknown fate 'hodl'" in found["found"]
        assert "SIGHUP" in found["advice"]
        (folder / "new.yaml").write_text(NEW % "fail")
        postmaster.reload()
        assert "policy in force" not in checks(run("doctor", *STORE, "--json").output)


@pytest.fixture
def worker(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", ScriptedServer]]:
    """A worker in a process of its own, and what it has printed so far."""
    (folder / "new.yaml").write_text(NEW % "hold")
    with ScriptedServer({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}}) as server:
        settings = (
            f'store = "sqlite:///b.db"\npolicy = "new.yaml"\nwatch_policy = true\n[relays]\nmain = "{server.url}"\n'
        )
        (folder / "bouncekit.toml").write_text(settings)
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with (folder / "printed.txt").open("w") as printed:
            process = subprocess.Popen(
                [sys.executable, "-m", "bouncekit", "worker"],
                cwd=folder,
                env=environ,
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(folder, "bouncekit worker: through main")
            yield process, server
        finally:
            process.kill()
            process.wait()


def wait_for(folder: Path, text: str, *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while text not in (printed := (folder / "printed.txt").read_text()):
        assert time.monotonic() < end, printed
        time.sleep(0.05)


def outcome_of(postmaster: Postmaster, address: str, *, seconds: float = 60) -> Mapping[str, Any]:
    """The event of an address that failed, as soon as there is one."""
    end = time.monotonic() + seconds
    while not (found := [told for told in postmaster.why(address) if told["type"] == "failed"]):
        assert time.monotonic() < end, list(postmaster.why(address))
        time.sleep(0.05)
    return found[0]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_worker_reads_its_policy_again_at_sighup_and_by_itself_and_keeps_the_good_one(
    folder: Path, worker: tuple[subprocess.Popen[bytes], ScriptedServer]
) -> None:
    process, server = worker
    (folder / "new.yaml").write_text(NEW % "hodl")
    process.send_signal(signal.SIGHUP)
    wait_for(folder, "the policy is faulty, new (")
    wait_for(folder, "unknown fate 'hodl'")
    (folder / "new.yaml").write_text(NEW % "fail")  # and nobody says so: it is watched
    wait_for(folder, ") holds from now on, by file change")
    with (
        Postmaster(store="sqlite:///b.db", retry="queue", worker="external", relays={"main": server.url}) as postmaster,
        postmaster.client("main") as client,
    ):
        client.submit(message("full@example.com"))
        failed = outcome_of(postmaster, "full@example.com")
    assert (failed["data"]["rule"], failed["data"]["fate"], failed["data"]["policy"]) == ("new", "fail", "new")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
