"""`doctor`: what is found, and what to do about it."""

import doctest
import re
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ScriptedServer
from tests.contract.queueing import enqueue

from .conftest import ROOT, Run, checks, happened

PAGE = ROOT / "docs" / "reference" / "command-line.md"

Serve = Callable[..., ScriptedServer]

MINUTE = timedelta(minutes=1)
STORE = ("--store", "sqlite:///b.db")


SHOP = """
import bouncekit

def tell(notification): ...

postmaster = bouncekit.Postmaster(
    policy="bulk", store={store!r}, retry="queue", relays={{"main": {url!r}}}, channels={{"operations": tell}}
)
"""


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
    assert found["store"]["level"] == found["channels"]["level"] == "warn"
    assert "BOUNCEKIT_STORE" in found["store"]["advice"]
    assert found["channels"]["found"] == "operations, owner, recipient: not set up, their notices are events only"
    assert "[channels] operations = 'mailto:...'" in found["channels"]["advice"]


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
    assert found["channels"]["found"].startswith("recipient: not set up")


def test_an_application_s_store_is_looked_at_behind_its_cache(run: Run, folder: Path) -> None:
    shop = "import bouncekit\npostmaster = bouncekit.Postmaster(store='sqlite:///b.db', cache='local')\n"
    (folder / "cached_shop.py").write_text(shop)
    found = checks(run("doctor", "--json", "--app", "cached_shop:postmaster").output)
    assert "b.db: sound, writable" in found["store"]["found"]
    assert (found["cache"]["level"], found["cache"]["found"]) == ("ok", "local: a filter in this process")


def test_a_cache_is_looked_at(run: Run, folder: Path) -> None:
    SqliteStore("b.db").close()
    (folder / "bouncekit.toml").write_text('store = "sqlite:///b.db"\ncache = "local"\n')
    assert checks(run("doctor", "--json").output)["cache"]["level"] == "ok"
    assert not (folder / "b.db-filter").exists()
    (folder / "bouncekit.toml").write_text('store = "sqlite:///b.db"\ncache = "redis://:hush@cache/0"\n')
    found = checks(run("doctor", "--json").output)["cache"]
    assert (found["level"], found["advice"]) == ("fail", "write cache='local'")


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


def test_a_queue_needs_a_store_and_a_relay(run: Run, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text('retry = "queue"\n')
    found = checks(run("doctor", "--json").output)["retry"]
    assert (found["level"], found["found"]) == ("fail", "queue, and no store that could keep the mail")
    assert "BOUNCEKIT_STORE" in found["advice"]
    found = checks(run("doctor", "--json", *STORE).output)["retry"]
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


def test_an_application_s_own_settings_are_looked_at_and_nothing_is_sent(
    run: Run, folder: Path, serve: Serve, now: datetime
) -> None:
    server = serve()
    with SqliteStore("b.db") as store:
        enqueue(store, "ada@example.com", due_at=now - 20 * MINUTE)
        enqueue(store, "bob@example.com", relay="gone", due_at=now - 20 * MINUTE)
    (folder / "doctored_shop.py").write_text(SHOP.format(store="sqlite:///b.db", url=server.url))
    result = run("doctor", "--json", "--app", "doctored_shop:postmaster")
    found = checks(result.output)
    assert result.exit_code == 1
    assert found["application"]["level"] == found["relay main"]["level"] == "ok"
    assert found["retry"]["found"] == "queue, through main"
    assert found["policy"]["found"].startswith("bulk: ")
    assert found["channel operations"]["found"] == "set up in the application"
    assert (found["relay gone"]["level"], found["worker"]["level"]) == ("fail", "fail")
    assert server.messages == (), "its worker, which would have begun at once, was held back"


@pytest.mark.parametrize(
    ("module", "content", "found"),
    [
        ("broken_shop_1", "import no_such_module", "No module named 'no_such_module'"),
        ("broken_shop_2", "1 / 0", "ZeroDivisionError: division by zero"),
        (
            "broken_shop_3",
            "import bouncekit\npostmaster = bouncekit.Postmaster(store='sqlite:///no/such/b.db')",
            "no/such",
        ),
    ],
)
def test_an_application_that_cannot_be_had_is_a_failed_check(
    run: Run, folder: Path, module: str, content: str, found: str
) -> None:
    (folder / f"{module}.py").write_text(content)
    result = run("doctor", "--json", "--app", f"{module}:postmaster")
    check = checks(result.output)["application"]
    assert (result.exit_code, check["level"]) == (1, "fail")
    assert found in check["found"]
    assert check["advice"]


def test_an_application_brings_its_own_policy_and_store(run: Run) -> None:
    result = run("doctor", "--app", "shop:postmaster", *STORE)
    assert (result.exit_code, "leave --policy and --store out" in result.output) == (2, True)


@pytest.mark.skipif(not PAGE.exists(), reason="the docs are not here")
def test_a_thoroughly_broken_set_up_is_told_as_the_docs_show_it(
    process: Callable[..., "subprocess.CompletedProcess[str]"],
    folder: Path,
    serve: Serve,
    hold: Callable[..., None],
    now: datetime,
) -> None:
    """No worker, a store that cannot be written, a faulty policy, a clock that is off, a relay that refuses AUTH."""
    with SqliteStore("bounces.db") as store:
        enqueue(store, *(f"r{number}@example.com" for number in range(12)), due_at=now - timedelta(hours=2))
        store.tell([happened(now + timedelta(days=30))])
    hold(folder / "bounces.db")
    (folder / "mail.yaml").write_text("policy: 1\nextends: default\nrules:\n  - {id: full, do: supress, wiat: hours}\n")
    server = serve({"AUTH": "535 5.7.8 Username and password not accepted"}, users={"shop": "secret"})
    (folder / "bouncekit.toml").write_text(
        'policy = "mail.yaml"\nstore = "sqlite:///bounces.db"\nretry = "queue"\n'
        f'[relays.main]\nurl = "smtp://shop:hunter2@127.0.0.1:{server.port}"\ninsecure_login_in_clear = true\n'
    )
    result = process("doctor")
    assert result.returncode == 1
    assert result.stderr == ""
    assert "hunter2" not in result.stdout
    failing = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("fail")]
    assert failing == ["policy", "store", "clock", "worker", "relay"]
    page = PAGE.read_text("utf-8")
    (shown,) = re.findall(r"```text\n(\$ bouncekit doctor\n.*?)```", page, re.DOTALL)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    wanted = shown.partition("\n")[2].replace("/srv/shop", str(folder.resolve())).replace(":587", f":{server.port}")
    wanted = wanted.replace("relay.example.org", "127.0.0.1")
    assert doctest.OutputChecker().check_output(wanted, result.stdout, flags), result.stdout


def test_rules_of_the_configuration_are_read_and_a_mistake_in_them_is_told(run: Run, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text('rules = ["mine.toml"]\n')
    missing = checks(run("doctor", "--json").output)["rules"]
    assert "No such file" in missing["found"]
    assert missing["advice"] == "put the file there, or name another"
    rule = '[[rule]]\nid = "a"\nsource = "b"\ntext = "c"\ncategory = "%s"\nexamples = ["550 c"]\n'
    (folder / "mine.toml").write_text(rule % "polcy")
    found = checks(run("doctor", "--json").output)["rules"]
    assert (found["level"], found["advice"]) == ("fail", "see them all: bouncekit policy check mine.toml")
    assert found["found"].startswith("mine.toml:1: no category 'polcy'")
    (folder / "mine.toml").write_text(rule % "policy")
    found = checks(run("doctor", "--json").output)["rules"]
    assert (found["level"], found["found"].endswith("mine.toml: 1 before the shipped ones")) == ("ok", True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('hash_keys = ["short"]', "hash_keys: a secret has 16 to 64 bytes"),
        ('bounces = "bounce@example.org"', "bounce_keys"),
        ("keep_addresses = false", "keep_addresses"),
        ('shadow = "nowhere.yaml"', "nowhere.yaml"),
    ],
)
def test_a_setting_for_which_no_process_would_start_is_told(run: Run, folder: Path, wrong: str, said: str) -> None:
    (folder / "bouncekit.toml").write_text(f'{wrong}\nstore = "sqlite:///b.db"\n')
    found = checks(run("doctor", "--json").output)["settings"]
    assert (found["level"], said in found["found"], bool(found["advice"])) == ("fail", True, True), found
    assert not (folder / "b.db").exists()


def test_a_store_that_hides_people_under_a_secret_that_is_not_here_is_told(run: Run, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text('hash_keys = ["a long random secret"]\nstore = "sqlite:///b.db"\n')
    run("suppressions", "add", "ada@example.com")
    run("forget", "ada@example.com")
    assert "hash_keys" not in checks(run("doctor", "--json").output)
    (folder / "bouncekit.toml").write_text('store = "sqlite:///b.db"\n')
    found = checks(run("doctor", "--json").output)
    assert (found["store"]["level"], found["hash_keys"]["level"]) == ("ok", "fail")
    assert "the secrets that were used" in found["hash_keys"]["advice"]
