"""Each store in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bouncekit.stores import Store

from .stores import STORES, VEILED

# What these say is that an address, a text that a server said, or an order of addresses comes back as it was.
_TELL_ADDRESSES = frozenset(
    """
    test_a_change_is_not_made_where_something_else_stands
    test_a_delivery_knows_whom_it_was_tried_for
    test_a_domain_begins_behind_the_last_at
    test_a_long_list_of_recipients_is_looked_up_as_a_short_one
    test_a_mass_holds_what_its_refusals_began_and_nothing_else
    test_a_message_is_queued_with_its_events_and_once
    test_a_reply_of_any_length_is_kept_as_far_as_an_event_shows_it
    test_a_record_that_comes_again_behind_an_erasure_is_erased_again_into_the_same
    test_a_skipped_send_leaves_the_suppression_as_it_was
    test_a_suppression_without_a_stream_binds_every_stream
    test_a_verdict_does_not_replace_and_a_success_does_not_lift_what_a_hand_put_there_meanwhile
    test_a_verdict_is_kept_with_all_its_evidence
    test_adding_replaces_and_is_told_and_lifting_takes_away_and_is_told
    test_an_event_comes_back_as_it_gives_itself
    test_an_event_that_is_told_twice_is_remembered_once
    test_an_expired_suppression_grants_one_probe
    test_changes_are_read_in_pages
    test_events_come_in_the_order_in_which_they_were_told_and_go_on_from_any_of_them
    test_facets_tell_outcomes_apart
    test_many_changes_at_once_are_audited_and_told
    test_the_list_can_be_narrowed
    test_the_list_comes_in_the_order_of_its_keys_however_long_it_is
    test_the_secrets_that_a_list_needs
    test_what_an_application_says_too_late_still_keeps_whom_nobody_else_knew
    test_what_is_dropped_is_gone_and_told_and_what_is_leased_stays
    test_what_is_held_is_held_once_and_for_all_of_the_mass
    test_what_stands_at_many_places
    test_whatever_a_suppression_holds_comes_back
    test_whoever_changes_the_list_is_in_its_audit
    """.split()
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ask a store that knows nobody for no address."""
    items[:] = [item for item in items if not (isinstance(item, pytest.Function) and _asks_in_vain(item))]


def _asks_in_vain(item: pytest.Function) -> bool:
    kind = item.callspec.params.get("store") if hasattr(item, "callspec") else None
    return kind in VEILED and item.originalname in _TELL_ADDRESSES


@pytest.fixture(params={**STORES, **VEILED})
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with {**STORES, **VEILED}[request.param](tmp_path) as opened:
        yield opened
