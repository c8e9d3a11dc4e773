"""A message that was taken for everybody at once: the same is remembered and told as recipient by recipient."""

import pickle
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from bouncekit.delivery.delivery import deliver
from bouncekit.delivery.events import Deliveries
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Delivered
from bouncekit.delivery.steps import Delivery, LookedUp, LookUp, Outcome, Record, Transact
from bouncekit.policy.budget import Budget
from bouncekit.policy.lane import Lane, LaneKind, Road
from bouncekit.words.envelope import Counted, Recipient
from bouncekit.words.reply import Reply
from bouncekit.words.status import Action, Taken

from .building import ANN, BOB, NOW, POLICY, classify, delivery_to, suppression

ADDRESSES = (
    "ann@example.com",
    "Ann@Example.com",
    '"ann"@example.com',
    "bob@mail.example.co.uk",
    "postmaster",
    "x@[192.0.2.7]",
)
RELAY = Lane(LaneKind.RELAY, "relay")
PROVIDER = Lane(LaneKind.PROVIDER, "example.com")

roads = st.builds(
    Road,
    relay=st.sampled_from((None, RELAY)),
    providers=st.sampled_from(({}, {"example.com": PROVIDER})).map(MappingProxyType),
    stream=st.sampled_from((None, Lane(LaneKind.STREAM, "news"))),
)


def carried_out(
    delivery: Delivery, outcome: Outcome, *, one_by_one: bool, stands: bool = False, **options: object
) -> tuple[list[Record], Report]:
    """The records and the report of a delivery whose one transaction brings this."""
    steps, answer, records = deliver(delivery, classify=classify, **options), None, []  # type: ignore[arg-type]
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as done:
            return records, done.value
        match step:
            case LookUp():
                listed = {ANN: replace(suppression(ANN), expires_at=NOW - timedelta(days=1))} if stands else {}
                answer = LookedUp(now=NOW - timedelta(seconds=2), suppressions=listed, probes=frozenset(listed))
            case Transact():
                statuses = Taken(step.envelope.recipients, Reply(250, b"2.0.0 Ok"), outcome.remote_mta)
                answer = replace(outcome, statuses=statuses.items if one_by_one else statuses)
            case _:
                assert isinstance(step, Record)
                records.append(step)
                answer = None


@given(
    addresses=st.lists(st.sampled_from(ADDRESSES), min_size=1, unique=True),
    attempts=st.integers(0, 2),
    labels=st.fixed_dictionaries({"test": st.booleans(), "tenant": st.sampled_from(("", "shop"))}),
    relay=st.sampled_from((None, "relay")),
    remote_mta=st.sampled_from((None, "mx.example.com", "192.0.2.1", "aspmx.l.google.com")),
    through=st.sampled_from(("", "other")),
    road=roads,
    budget=st.sampled_from((None, Budget())),
    stands=st.booleans(),
)
def test_it_is_remembered_and_reported_as_if_each_recipient_had_been_judged(
    addresses: list[str],
    attempts: int,
    labels: dict[str, object],
    relay: str | None,
    remote_mta: str | None,
    through: str,
    road: Road,
    budget: Budget | None,
    stands: bool,
) -> None:
    delivery = delivery_to(*addresses, **labels)
    people = tuple(replace(one, attempts=attempts, possible_duplicate=attempts > 1) for one in delivery.recipients)
    delivery = replace(delivery, recipients=people, relay=relay)
    outcome = Outcome(attempt_id="a1", now=NOW, statuses=(), remote_mta=remote_mta, through=through)
    policy = replace(POLICY, budget=budget)
    at_once, one_by_one = (
        carried_out(delivery, outcome, one_by_one=way, policy=policy, road=road, stands=stands) for way in (False, True)
    )
    assert at_once[0] == one_by_one[0]
    assert (dict(at_once[1]), at_once[1].recipients) == (dict(one_by_one[1]), one_by_one[1].recipients)
    assert at_once[1].actions == one_by_one[1].actions
    for action in Action:
        assert at_once[1]._with(action) == one_by_one[1]._with(action)
    if not (stands and ANN in {one.key for one in people} and not labels["test"]):
        assert isinstance(at_once[0][0].settlements, Delivered)


def test_nothing_is_made_before_somebody_looks() -> None:
    records, report = carried_out(
        delivery_to(ANN, BOB), Outcome(attempt_id="a1", now=NOW, statuses=()), one_by_one=False, policy=POLICY
    )
    (record,) = records
    assert report == {}
    assert (report.failed, report.delayed, report.actions) == ((), (), {Action.DELIVERED: 2})
    assert (len(record.events), len(record.settlements), len(record.recipients)) == (2, 2, 2)
    for several in (record.events, record.settlements, record.recipients):
        assert not hasattr(several, "_made")
    assert [one.recipient for one in report.recipients] == [ANN, BOB]
    assert isinstance(record.events, Deliveries)
    assert isinstance(record.recipients, Counted)
    assert [one.attempts for one in record.recipients] == [1, 1]


def test_a_report_of_it_is_pickled_as_any_other() -> None:
    _, report = carried_out(
        delivery_to(ANN, BOB), Outcome(attempt_id="a1", now=NOW, statuses=()), one_by_one=False, policy=POLICY
    )
    again = pickle.loads(pickle.dumps(report))
    assert (again.recipients, again.message_id) == (report.recipients, report.message_id)
    assert report.copy().recipients == report.recipients


def test_recipients_had_their_first_attempt_when_they_were_admitted() -> None:
    first = Recipient.of(delivery_to(ANN).recipients[0].address)
    (counted,) = Counted((first,), NOW)
    assert (counted.first_attempt_at, counted.attempts) == (NOW, 1)
    (again,) = Counted((counted,), NOW + timedelta(hours=1))
    assert (again.first_attempt_at, again.attempts) == (NOW, 2)
