"""Bringing a list along: what gets in, what stays, and that neither order nor repetition changes it."""

import io
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bouncekit.desk.listimport import Imported
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Suppression
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import open_store
from bouncekit.testing import ManualClock
from bouncekit.words.errors import ConfigurationError

from .building import ANN, BOB, CY
from .conftest import Heard

SES = "EmailAddress,Reason,LastUpdateTime\n"
SPAM = "ip,email,created\n"


def put(postmaster: Postmaster, text: str, name: str = "list.csv", **settings: Any) -> Imported:
    return postmaster.suppressions.import_(io.BytesIO(text.encode()), name=name, **settings)


def listed(postmaster: Postmaster) -> dict[str, Suppression]:
    return {one.key: one for one in postmaster.suppressions}


@pytest.fixture(params=["memory", "sqlite"])
def postmaster(request: pytest.FixtureRequest, tmp_path: Any, make_postmaster: Callable[..., Postmaster]) -> Postmaster:
    return make_postmaster(store=open_store(None if request.param == "memory" else f"sqlite:///{tmp_path}/b.db"))


def test_an_import_says_what_it_did_and_is_one_event(postmaster: Postmaster) -> None:
    heard: Heard = postmaster.heard  # type: ignore[attr-defined]
    done = put(postmaster, f"{SES}{ANN},BOUNCE,\n{BOB},COMPLAINT,\nnobody,BOUNCE,\n{CY},QUOTA,\n")
    assert (done.format, done.read, dict(done.added)) == ("ses", 4, {"user_unknown": 1, "complaint": 1})
    assert [(fault.line, "no domain" in fault.why) for fault in done.faults] == [(4, True)]
    assert done.unbound.total() == 1
    assert postmaster.suppressions.check([ANN, BOB, CY]) == {ANN, BOB}
    (event,) = heard
    assert event.type == "suppressions_imported"
    assert dict(event.details) == {"by": "import ses list.csv", "added": 2, "changed": 0}


def test_the_head_tells_the_kind_though_the_first_row_ends_early(postmaster: Postmaster) -> None:
    blocked = "550 5.7.1 Client host blocked using Spamhaus"
    done = put(postmaster, f"status,reason,email,created\n5.7.1,{blocked},{ANN}\n5.7.1,{blocked},{BOB},1600000000\n")
    assert (done.format, done.added.total(), done.unbound.total()) == ("sendgrid-bounces", 0, 2)


def test_a_list_of_unknown_kind_that_gives_reasons_is_plain_only_if_somebody_says_so(postmaster: Postmaster) -> None:
    text = f"email,reason\n{ANN},452 4.2.2 Over quota\n"
    with pytest.raises(ConfigurationError, match=r"of no known kind; name one by format: .* plain binds everybody"):
        put(postmaster, text)
    with pytest.raises(ConfigurationError, match="of no known kind"):
        put(postmaster, json.dumps([{"email": ANN}, {"email": BOB, "reason": "452 4.2.2 Over quota"}]))
    assert put(postmaster, text, format="plain").added.total() == 1


def test_a_row_that_no_store_could_keep_costs_nobody_else_his_place(postmaster: Postmaster) -> None:
    own = {"standing": "confirmed", "category": "user_unknown", "since": "2026-01-01T00:00:00Z", "rung": 1}
    odd = [
        {"rung": 10**30},
        {"ladder": 5},
        {"since": "0001-01-01T00:00:00+14:00"},
        {"expires_at": "9999-12-31T23:59-14:00"},
    ]
    for number, changed in enumerate(odd):
        rows = ({**own, **changed, "address": f"odd{number}@example.com"}, {**own, "address": f"r{number}@example.com"})
        put(postmaster, "".join(json.dumps(row) + "\n" for row in rows), "list.jsonl", format="bouncekit")
        assert f"r{number}@example.com" in listed(postmaster)


def test_the_same_file_again_changes_nothing(postmaster: Postmaster) -> None:
    text = f"{SES}{ANN},BOUNCE,2020-01-01T00:00:00Z\n{BOB},COMPLAINT,\n{ANN},COMPLAINT,\n"
    put(postmaster, text)
    before = listed(postmaster)
    postmaster.office.clock.move(timedelta(days=1))  # type: ignore[attr-defined]
    again = put(postmaster, text)
    assert (again.added.total(), again.number_of_faults) == (0, 0)
    assert listed(postmaster) == before
    assert len(postmaster.office.store.changes()) == 2


def test_a_dry_run_says_the_same_and_does_nothing(postmaster: Postmaster) -> None:
    put(postmaster, f"{SES}{ANN},BOUNCE,\n")
    text = f"{SES}{ANN},COMPLAINT,\n{BOB},BOUNCE,\n"
    tried = put(postmaster, text, dry_run=True)
    assert list(listed(postmaster)) == [ANN]
    done = put(postmaster, text)
    assert (tried.added, tried.changed, tried.kept) == (done.added, done.changed, done.kept)
    assert [(one.standing.category, one.replaced) for one in tried.conflicts] == [(Category.USER_UNKNOWN, True)]


def test_what_a_hand_put_there_stays_whatever_is_preferred(postmaster: Postmaster) -> None:
    by_hand = postmaster.suppressions.add(ANN, reason="asked us", by="support")
    for prefer in ("stronger", "standing", "arriving"):
        done = put(postmaster, f"{SES}{ANN},COMPLAINT,\n", prefer=prefer)
        assert [one.replaced for one in done.conflicts] == [False]
    assert postmaster.suppressions.get(ANN) == by_hand


@pytest.mark.parametrize(
    ("prefer", "category"), [("stronger", "complaint"), ("standing", "complaint"), ("arriving", "user_unknown")]
)
def test_which_of_two_stays_can_be_chosen(postmaster: Postmaster, prefer: str, category: str) -> None:
    put(postmaster, f"{SES}{ANN},COMPLAINT,\n")
    put(postmaster, f"{SES}{ANN},BOUNCE,\n", prefer=prefer)
    assert listed(postmaster)[ANN].category == category


def test_entries_belong_to_a_tenant_and_a_stream_and_may_end(postmaster: Postmaster) -> None:
    put(postmaster, f"{SES}{ANN},BOUNCE,\n", tenant="acme", stream="news", lasts=timedelta(days=9))
    (entry,) = postmaster.suppressions.find(tenant="acme")
    assert entry.stream == "news"
    assert entry.expires_at is not None
    assert postmaster.suppressions.check([ANN], tenant="acme", stream="news") == {ANN}
    assert postmaster.suppressions.check([ANN]) == frozenset()


def test_what_is_of_no_known_kind_is_an_error_that_names_them(postmaster: Postmaster) -> None:
    with pytest.raises(ConfigurationError, match=r"columns 'who, why' .*sendgrid-bounces"):
        put(postmaster, "who,why\nann,x\n")
    with pytest.raises(ConfigurationError, match="prefer="):
        put(postmaster, SES, prefer="mine")
    with pytest.raises(ConfigurationError, match="format='sess'"):
        put(postmaster, SES, format="sess")


def test_an_empty_file_is_an_empty_list(postmaster: Postmaster) -> None:
    assert put(postmaster, "").read == 0
    assert put(postmaster, SES).read == 0


def test_a_list_goes_from_one_store_to_another_without_loss(
    postmaster: Postmaster, make_postmaster: Callable[..., Postmaster]
) -> None:
    put(postmaster, f"{SES}{ANN},BOUNCE,2020-01-01T00:00:00Z\n")
    put(postmaster, f"{SPAM}192.0.2.1,{BOB},1600000000\n", stream="news")
    postmaster.suppressions.add(CY, reason="=HYPERLINK()", by="support")
    for kind in ("csv", "jsonl"):
        other = make_postmaster()
        file = io.BytesIO()
        assert postmaster.suppressions.export(file, format=kind) == 3
        file.seek(0)
        other.suppressions.import_(file)
        assert list(other.suppressions) == list(postmaster.suppressions)


# -- properties

_ROWS = st.lists(
    st.tuples(st.sampled_from([ANN, BOB, CY]), st.sampled_from(["BOUNCE", "COMPLAINT"]), st.integers(0, 3)), max_size=8
)


def ses(rows: Sequence[tuple[str, str, int]]) -> str:
    entries = [{"EmailAddress": a, "Reason": b, "LastUpdateTime": 1_600_000_000 + c} for a, b, c in rows]
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def outcome(*texts: str) -> dict[str, Suppression]:
    with Postmaster(clock=ManualClock()) as postmaster:
        postmaster.suppressions.add(CY, by="support")
        for text in texts:
            put(postmaster, text)
        return listed(postmaster)


@settings(max_examples=25, deadline=None)
@given(_ROWS, _ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_files_does_not_matter(first: Any, second: Any, random: Any) -> None:
    shuffled = random.sample(first, len(first))
    assert outcome(ses(first), ses(second)) == outcome(ses(second), ses(shuffled)) == outcome(ses(second + first))


def test_conflicts_are_told_in_the_order_of_the_file(postmaster: Postmaster) -> None:
    people = [f"u{at * 7919 % 100}@example.com" for at in range(100)]
    put(postmaster, SES + "".join(f"{who},BOUNCE,\n" for who in people))
    for dry_run in (True, False):
        done = put(postmaster, SES + "".join(f"{who},COMPLAINT,\n" for who in people), dry_run=dry_run)
        assert [one.arriving.key for one in done.conflicts] == people
