"""A store that keeps no addresses: whoever knows one finds all about it, and nobody reads one out of the files."""

import io
import secrets
from collections.abc import Callable
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from bouncekit.delivery.events import event_id
from bouncekit.delivery.steps import LookUp
from bouncekit.postmaster.config import Config
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import Store
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.stores.tallies import Facet
from bouncekit.stores.veil.veil import Veil
from bouncekit.stores.veil.veiled import _Veiled, veiled
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.pseudonym import Pseudonyms, is_pseudonym
from tests.building import ANN, BOB, CY, NOW, expired, suppression
from tests.contract.stores import new_id, put, send
from tests.contract.test_store_contract import FULL

from .conftest import message
from .test_returns import complaint, dsn

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]

OLD, NEW = "a secret of thirty-two characters", "another one, made a year later"
# What is about no mailbox, or about mail that waits, is forwarded as it is. Whatever else must be written out.
TELLS_OF_NOBODY = frozenset(
    """
    abandoned addressed arriving changes claim claim_cursor close cursors date_back depth drop_cursor erase events
    extend flows holdings kept levels move_cursor newest_at note_trouble overdue overwrite_deleted place_cursor
    prune pseudonymous queued queued_message queued_relays read_cursor receive release release_cursor requeue spent
    suppressions swap_flow swap_level take_along talkers tally tally_events tenants trouble_of
    """.split()
)


def queueing(server: ScriptedServer) -> dict[str, Any]:
    return {
        "retry": "queue",
        "worker": "external",
        "relays": {"main": server.url},
        "bounces": "bounce@example.org",
        "bounce_keys": [NEW],
    }


def named(address: str, secret: str = OLD) -> str:
    return Veil(Pseudonyms([secret])).name(address)


@pytest.fixture
def hiding(make_postmaster: Make, tmp_path: Path) -> Make:
    def make(*keys: str, **settings: Any) -> Postmaster:
        given = {"store": f"sqlite:///{tmp_path}/b.db", "hash_keys": list(keys or (OLD,)), "keep_addresses": False}
        return make_postmaster(**{**given, **settings})

    return make


def test_every_method_of_a_store_is_forwarded_or_written_out() -> None:
    methods = {name for name in dir(Store) if not name.startswith("_")}
    written = {name for name in vars(_Veiled) if not name.startswith("_")}
    assert written | TELLS_OF_NOBODY == methods
    assert not written & TELLS_OF_NOBODY


# -- nothing is left


def test_of_a_thousand_people_none_is_in_any_file_when_nobody_is_waited_for(
    serve: Serve, hiding: Make, tmp_path: Path, clock: ManualClock
) -> None:
    people = [f"{secrets.token_hex(5)}.Planted@example{number % 7}.com" for number in range(1000)]
    script = {"RCPT": {one: f"550 5.1.1 <{one}>: {one.partition('@')[0]} unknown" for one in people[:800:10]}}
    script["RCPT"] |= {one: ["451 4.2.1 Later", "250 Ok"] for one in people[1:800:5]}
    server = serve(script)
    postmaster = hiding(**queueing(server))
    with postmaster.client("main") as client:
        for start in range(0, 800, 50):
            client.send(message(*people[start : start + 50]))
    assert any(b"Planted" in path.read_bytes() for path in tmp_path.iterdir()), "mail that waits has its addresses"
    clock.move(timedelta(hours=1))
    assert postmaster.worker().run_due() > 0
    rows = "\n".join(people[800:900]).encode()
    postmaster.suppressions.import_(io.BytesIO(rows), name="list.txt")
    for one in people[900:1000]:
        postmaster.suppressions.add(one, reason=f"{one} called", by="support")
    bounced = people[2]
    postmaster.absorb(dsn(server.messages[0], bounced, f"550 5.1.1 <{bounced}> gone"))
    assert not list(postmaster.office.store.queued())
    postmaster.suppressions.undo(made_by="import plain list.txt")
    postmaster.close()
    for path in tmp_path.iterdir():
        content = path.read_bytes().lower()
        assert not [one for one in people if one.partition("@")[0].lower().encode() in content], path.name
    found = hiding()
    assert found.suppressions.check(people) == {*people[:800:10], *people[900:], bounced}
    assert [event["type"] for event in found.why(people[1])] == ["delivered", "delayed"]


# -- whoever knows an address finds what is known of it


def test_who_knows_the_address_is_answered(serve: Serve, hiding: Make) -> None:
    server, postmaster = serve({"RCPT": {ANN: "550 5.1.1 No such user"}}), hiding()
    with postmaster.smtp(server.host, server.port) as smtp:
        smtp.send_message(message(ANN, BOB))
    assert postmaster.heard.of("failed")[0].recipient == ANN  # type: ignore[attr-defined]
    assert "Ann@Example.com" in postmaster.suppressions
    assert BOB not in postmaster.suppressions
    entry = postmaster.suppressions.get(ANN)
    assert entry is not None
    assert (entry.key, entry.address) == (named(ANN), None)
    assert [event["type"] for event in postmaster.why(ANN)] == ["suppression_added", "failed"]
    (change,) = postmaster.suppressions.changes(ANN)
    assert (change.by, change.after, change.event_id) == (
        "rule no-such-mailbox",
        entry,
        next(postmaster.why(ANN))["id"],
    )
    with postmaster.smtp(server.host, server.port) as smtp:
        assert smtp.send_message(message(ANN, BOB)).suppressed
    lifted = postmaster.suppressions.lift(ANN, by="support")
    assert lifted is not None
    assert ANN not in postmaster.suppressions


def test_a_success_lifts_and_what_is_said_again_confirms(serve: Serve, hiding: Make, clock: ManualClock) -> None:
    server, postmaster = serve({"RCPT": {ANN: "550 5.1.1 No such user", BOB: ["550 5.1.1 No", "250 Ok"]}}), hiding()
    for _ in range(2):
        with postmaster.smtp(server.host, server.port) as smtp:
            smtp.sendmail("shop@example.org", [ANN, BOB, CY], b"Subject: Hi\r\n\r\nHi\r\n")
        clock.move(timedelta(days=8))
    entry = postmaster.suppressions.get(ANN)
    assert entry is not None
    assert entry.standing == "confirmed"
    assert postmaster.suppressions.get(BOB) is None
    assert [one.key for one in postmaster.suppressions] == [named(ANN)]


def test_an_imported_list_is_weighed_and_exported_without_addresses(hiding: Make) -> None:
    postmaster, rows = hiding(), f"{ANN}\n{BOB}\nANN@example.com\n".encode()
    assert postmaster.suppressions.import_(io.BytesIO(rows)).added.total() == 2
    assert postmaster.suppressions.import_(io.BytesIO(rows)).kept.total() == 3
    out = io.BytesIO()
    assert postmaster.suppressions.export(out) == 2
    assert b"@" not in out.getvalue()
    again = hiding(store=MemoryStore())
    assert again.suppressions.import_(io.BytesIO(out.getvalue())).added.total() == 2
    assert again.suppressions.check([ANN, BOB]) == {ANN, BOB}


def test_a_list_that_names_somebody_by_address_and_by_pseudonym_is_one_entry(hiding: Make) -> None:
    first, out = hiding(store=MemoryStore()), io.BytesIO()
    first.suppressions.add(ANN)
    first.suppressions.export(out)
    plain, own = Postmaster(), io.BytesIO()
    plain.suppressions.add(ANN)
    plain.suppressions.export(own)
    both = out.getvalue() + own.getvalue().split(b"\n", 1)[1]
    postmaster = hiding()
    done = postmaster.suppressions.import_(io.BytesIO(both))
    assert (done.added.total(), done.kept.total()) == (1, 1)
    assert [one.key for one in postmaster.suppressions] == [named(ANN)]


def test_a_bounce_and_a_complaint_find_what_they_are_about(serve: Serve, hiding: Make) -> None:
    server, postmaster = serve(), hiding(bounces="bounce@example.org", bounce_keys=[NEW])
    with postmaster.client(server.url) as client:
        client.send(message(ANN))
        client.send(message(BOB))
    first, second = server.messages
    for _ in range(2):
        postmaster.absorb(dsn(first, ANN))
        postmaster.absorb(complaint(second, "redacted@example.com"))
    assert postmaster.suppressions.check([ANN, BOB]) == {ANN, BOB}
    assert [event["type"] for event in postmaster.why(ANN)] == ["suppression_added", "failed", "delivered"]
    assert [event["type"] for event in postmaster.why(BOB)] == ["suppression_added", "complained", "delivered"]


def test_nobody_can_find_out_by_trying_whom_a_bounce_was_about(serve: Serve, hiding: Make) -> None:
    """With addresses, its attempt is a hash of delivery and mailbox, and its events ids are hashes of both."""
    server = serve()
    told = []
    for settings in ({"keep_addresses": True, "hash_keys": []}, {}):
        postmaster = hiding(store=MemoryStore(), **settings)
        with postmaster.client(server.url) as client:
            client.send(message(ANN))
        postmaster.absorb(dsn(server.messages[-1], ANN))
        (event,) = [event for _, event in postmaster.office.store.events() if event["type"] == "failed"]
        told.append(event)
    for event in told:
        data = event["data"]
        tried = blake2b(f"{data['delivery_id']}\0{ANN}\0returned".encode(), digest_size=16).hexdigest()
        is_found = event["id"] == event_id(tried, ANN, "failed")
        assert (data["attempt_id"] == tried, is_found) == (event is told[0], event is told[0])
        assert (event["id"] == event_id(data["attempt_id"], ANN, "failed")) == (event is told[0])


def test_a_bounce_takes_its_recipient_out_of_the_queue(serve: Serve, hiding: Make) -> None:
    server = serve({"RCPT": {BOB: "451 4.2.1 Later"}})
    postmaster = hiding(**queueing(server))
    with postmaster.client("main") as client:
        client.send(message(ANN, BOB))
    assert [one.recipient for one in postmaster.office.store.queued()] == [BOB]
    postmaster.absorb(dsn(server.messages[0], BOB))
    assert not list(postmaster.office.store.queued())
    assert BOB in postmaster.suppressions


def test_who_is_forgotten_stays_suppressed(hiding: Make) -> None:
    postmaster = hiding()
    postmaster.suppressions.add(ANN)
    assert postmaster.forget(ANN).is_complete
    assert ANN in postmaster.suppressions


def test_a_filter_before_the_store_is_asked_by_pseudonyms(hiding: Make) -> None:
    postmaster = hiding(cache="local")
    postmaster.suppressions.add(ANN)
    assert postmaster.suppressions.check([ANN, BOB]) == {ANN}


def test_outcomes_of_nobody_have_no_domain(serve: Serve, hiding: Make) -> None:
    server = serve()
    for store in (None, MemoryStore()):
        postmaster = hiding(**({} if store is None else {"store": store}))
        with postmaster.client(server.url) as client:
            client.send(message(ANN))
        now = postmaster.office.clock.now()
        found = postmaster.office.store.tally(Facet.DOMAIN, since=now, until=now + timedelta(minutes=1))
        assert found == {("delivered", ""): 1}


# -- a new secret


def test_what_stands_under_an_older_secret_is_found_and_stays_there() -> None:
    store = MemoryStore()
    old, both = (veiled(store, Pseudonyms(keys)) for keys in ([OLD], [NEW, OLD]))
    put(old, expired(ANN))
    _, recorded = send(both, ANN, answers={ANN: FULL})
    assert recorded[-1].settlements[0].action == "failed"
    put(both, suppression(BOB))
    assert {one.key for one in store.suppressions()} == {named(ANN), named(BOB, NEW)}
    put(both, suppression(ANN))
    assert len(list(store.suppressions())) == 2
    question = LookUp(labels=Labels(), keys=(ANN, BOB))
    assert both.look_up(question, NOW).suppressions.keys() == {ANN, BOB}
    assert len(both.changes_of(ANN)) == 3
    assert [event["type"] for event in both.history(ANN)][:1] == ["suppression_added"]


def test_a_probe_that_failed_is_granted_again_whatever_its_secret() -> None:
    store = MemoryStore()
    old, both = (veiled(store, Pseudonyms(keys)) for keys in ([OLD], [NEW, OLD]))
    put(old, expired(ANN))
    question = LookUp(labels=Labels(), keys=(ANN,), claim=new_id())
    assert send(both, ANN, answers={"DOT": "554 5.7.1 Message rejected as spam"})[0].failed
    assert both.look_up(question, NOW).probes == {ANN}
    assert send(both, ANN)[0].suppressed, "the probe is that other one's"
    assert both.look_up(question, NOW).probes == {ANN}, "and still is"


def test_an_import_replaces_what_stands_under_an_older_secret(hiding: Make) -> None:
    store = MemoryStore()
    put(veiled(store, Pseudonyms([OLD])), suppression(ANN, expires_at=NOW + timedelta(days=1)))
    postmaster = hiding(NEW, OLD, store=store)
    assert postmaster.suppressions.import_(io.BytesIO(f"{ANN}\n{BOB}\n".encode())).changed.total() == 1
    assert {one.key for one in store.suppressions()} == {named(ANN), named(BOB, NEW)}


# -- what cannot be


def test_without_a_secret_there_are_no_pseudonyms(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="hash_keys"):
        Postmaster(keep_addresses=False)


def test_a_store_is_not_opened_without_the_secret_of_its_pseudonyms(hiding: Make) -> None:
    hiding().suppressions.add(ANN)
    with pytest.raises(ConfigurationError, match="hash_keys"):
        hiding(NEW)


def test_a_store_that_kept_addresses_still_holds_back_whom_it_knew(tmp_path: Path, hiding: Make) -> None:
    with Postmaster(store=f"sqlite:///{tmp_path}/b.db") as before:
        before.suppressions.add(ANN)
    postmaster = hiding()
    assert ANN in postmaster.suppressions
    assert postmaster.suppressions.lift(ANN) is not None
    assert ANN not in postmaster.suppressions


def test_every_connection_overwrites_what_it_deletes(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.db")
    veiled(store, Pseudonyms([OLD]))
    assert store._database.read("PRAGMA secure_delete") == [(1,)]
    assert is_pseudonym(named(ANN))


def test_it_is_a_setting_like_any_other(tmp_path: Path) -> None:
    config = Config.read(tmp_path, {"BOUNCEKIT_KEEP_ADDRESSES": "false", "BOUNCEKIT_HASH_KEYS": OLD})
    assert (config.keep_addresses, Config().keep_addresses) == (False, True)
    with Postmaster(**config.for_postmaster()) as postmaster:
        postmaster.suppressions.add(ANN)
        assert [one.key for one in postmaster.suppressions] == [named(ANN)]
