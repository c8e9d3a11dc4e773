"""Undoing: the list stands again as it stood before what is undone, and nobody else's work is touched."""

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bouncekit.delivery.suppressionchange import Cause, Change, is_by_hand
from bouncekit.policy.suppression import Suppression
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import open_store
from bouncekit.words.errors import ConfigurationError

from .building import ANN, BOB, CY, NOW, suppression
from .conftest import Heard

PEOPLE = (ANN, BOB, CY)


@pytest.fixture(params=["memory", "sqlite"])
def postmaster(request: pytest.FixtureRequest, tmp_path: Any, make_postmaster: Callable[..., Postmaster]) -> Postmaster:
    return make_postmaster(store=open_store(None if request.param == "memory" else f"sqlite:///{tmp_path}/b.db"))


def bring(postmaster: Postmaster, name: str, *people: str, reason: str = "BOUNCE") -> str:
    text = "".join(f"{one},{reason}\n" for one in people)
    return postmaster.suppressions.import_(io.BytesIO(text.encode()), name=name).by


def listed(postmaster: Postmaster) -> list[Suppression]:
    return list(postmaster.suppressions)


def test_an_import_is_taken_back_and_the_taking_back_too(postmaster: Postmaster) -> None:
    first = bring(postmaster, "one.csv", ANN, BOB)
    before = listed(postmaster)
    second = bring(postmaster, "two.csv", BOB, CY, reason="COMPLAINT")
    after = listed(postmaster)
    undone = postmaster.suppressions.undo(made_by=second, by="boss")
    assert (undone.lifted, undone.restored, undone.left) == (1, 1, 0)
    assert listed(postmaster) == before
    assert postmaster.suppressions.undo(made_by=undone.by).left == 0
    assert listed(postmaster) == after
    assert first != second


def test_a_dry_run_counts_and_changes_nothing(postmaster: Postmaster) -> None:
    by = bring(postmaster, "one.csv", *PEOPLE)
    before, changes = listed(postmaster), len(postmaster.office.store.changes())
    tried = postmaster.suppressions.undo(made_by=by, dry_run=True)
    assert (tried.lifted, listed(postmaster), len(postmaster.office.store.changes())) == (3, before, changes)


def test_every_one_of_them_is_told_and_in_the_audit(postmaster: Postmaster) -> None:
    heard: Heard = postmaster.heard  # type: ignore[attr-defined]
    by = bring(postmaster, "one.csv", ANN, BOB)
    undone = postmaster.suppressions.undo(made_by=by, by="boss")
    assert sorted(event.recipient or "" for event in heard.of("suppression_lifted")) == [ANN, BOB]
    (last, first) = postmaster.suppressions.changes(ANN)
    assert (first.by, last.by, last.after) == (by, undone.by, None)
    assert "boss" in undone.by


def test_what_a_hand_did_meanwhile_is_left_alone_and_counted(postmaster: Postmaster) -> None:
    by = bring(postmaster, "one.csv", *PEOPLE)
    by_hand = postmaster.suppressions.add(ANN, by="support")
    postmaster.suppressions.lift(BOB, by="support")
    undone = postmaster.suppressions.undo(made_by=by)
    assert (undone.lifted, undone.left) == (1, 2)
    assert listed(postmaster) == [by_hand]
    assert postmaster.suppressions.undo(since=NOW - timedelta(days=9999)).lifted == 0, "a time means no hand's work"
    assert listed(postmaster) == [by_hand]


def test_a_hands_work_is_undone_where_it_is_named(postmaster: Postmaster) -> None:
    postmaster.suppressions.add(ANN, by="support")
    assert postmaster.suppressions.undo(made_by="support").lifted == 1
    assert listed(postmaster) == []


def test_again_there_is_nothing_left_to_undo(postmaster: Postmaster) -> None:
    by = bring(postmaster, "one.csv", *PEOPLE)
    assert postmaster.suppressions.undo(made_by=by).lifted == 3
    again = postmaster.suppressions.undo(made_by=by)
    assert (again.lifted, again.restored) == (0, 0)


def test_more_than_one_page_of_the_audit(postmaster: Postmaster) -> None:
    by = bring(postmaster, "one.csv", *(f"user{number}@example.com" for number in range(4_100)))
    calls: list[int] = []
    undone = postmaster.suppressions.undo(made_by=by, on_batch=lambda done: calls.append(done.lifted))
    assert (undone.lifted, listed(postmaster)) == (4_100, [])
    assert calls == [2_000, 4_000, 4_100]


def test_undo_wants_to_know_what(postmaster: Postmaster) -> None:
    with pytest.raises(ConfigurationError, match="undo what"):
        postmaster.suppressions.undo(tenant="acme")


# -- which changes are meant


def change(by: str = "rule full", **fields: Any) -> Change:
    entry = suppression(ANN, **fields)
    return Change(sequence=1, at=NOW, by=by, event_id=None, before=None, after=entry)


@pytest.mark.parametrize(
    ("cause", "is_meant"),
    [
        (Cause(rule="full"), True),
        (Cause(rule="nobody"), False),
        (Cause(by="rule full"), True),
        (Cause(by="rule"), False),
        (Cause(category=suppression(ANN).category), True),
        (Cause(since=NOW), True),
        (Cause(until=NOW), False),
        (Cause(since=NOW, until=NOW + timedelta(seconds=1)), True),
        (Cause(tenant="acme"), False),
        (Cause(stream=""), True),
        (Cause(rule="full", since=NOW + timedelta(seconds=1)), False),
        (Cause(is_host=lambda host: True), False),  # nobody knows which host it was
        (Cause(fingerprint="00"), False),
    ],
)
def test_all_that_is_given_must_hold(cause: Cause, is_meant: bool) -> None:
    assert cause.means(change()) is is_meant


def test_who_is_a_hand_and_who_a_machine() -> None:
    assert [is_by_hand(one) for one in ("support", "root (command line)", "")] == [True] * 3
    assert not any(map(is_by_hand, ("rule full", "guard", "delivery", "import ses x.csv", "undo 01")))


# -- a property: whatever happens before, an undone import leaves no trace on the list

_STEPS = st.lists(
    st.tuples(st.sampled_from(["bring", "add", "lift", "complain"]), st.sampled_from(PEOPLE), st.integers(0, 2)),
    max_size=10,
)


def do(postmaster: Postmaster, steps: list[tuple[str, str, int]]) -> None:
    for what, who, number in steps:
        if what == "add":
            postmaster.suppressions.add(who, by=f"hand{number}")
        elif what == "lift":
            postmaster.suppressions.lift(who, by=f"hand{number}")
        else:
            bring(postmaster, f"{number}.csv", who, reason="BOUNCE" if what == "bring" else "COMPLAINT")


@settings(max_examples=40, deadline=None)
@given(_STEPS, st.lists(st.sampled_from(PEOPLE), min_size=1, unique=True))
def test_undo_restores_exactly_what_stood_before(steps: Any, people: list[str]) -> None:
    with Postmaster() as postmaster:
        do(postmaster, steps)
        before = listed(postmaster)
        by = bring(postmaster, "the-one.csv", *people, reason="COMPLAINT")
        after = listed(postmaster)
        undone = postmaster.suppressions.undo(made_by=by)
        assert listed(postmaster) == before
        assert undone.left == 0
        postmaster.suppressions.undo(made_by=undone.by)
        assert listed(postmaster) == after
