"""What is proven about rules holds: where nothing is left of a condition, no case comes to it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from bouncekit.meaning.classification import Category, Classification, Scope, Step
from bouncekit.policy.rule import Case, Circumstances, Condition, Range, Seen, Window
from bouncekit.policyfiles.policyspace import Space
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Recipient
from bouncekit.words.phrase import Phrase
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH = 30 * DAY
WORDS = ("mailbox", "is", "full", "mailbox is full", "is full", "mailbox * full")
DOMAINS = ("a.example", "b.example", "*.example", "*", "a.*")
CATEGORIES = (Category.MAILBOX_FULL, Category.MOVED, Category.POLICY)


def some(values: tuple[object, ...]) -> "st.SearchStrategy[tuple[object, ...]]":
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


ranges = st.one_of(
    st.none(), st.builds(lambda a, b: Range(a, a + b), st.integers(0, 3), st.integers(0, 3)), st.just(Range(2, None))
)
flags = st.sampled_from((None, True, False))
conditions = st.builds(
    Condition,
    code=some(("4xx", "5xx", "55x", "421")),
    enhanced=some(("x.2.2", "5.2.2", "5.x.x")),
    stage=some((Stage.RCPT, Stage.MAIL)).map(frozenset),
    category=some(CATEGORIES).map(frozenset),
    scope=some((Scope.RECIPIENT, Scope.SENDER)).map(frozenset),
    cause=some((Cause.LOST, Cause.TLS)).map(frozenset),
    provider=some(("gmail", "yahoo")).map(frozenset),
    domain=some(DOMAINS),
    text=some(WORDS).map(lambda texts: tuple(map(Phrase, texts))),  # type: ignore[arg-type]  # they are texts
    permanent=flags,
    expired=flags,
    attempts=ranges,
    accepted=ranges,
    seen=st.sampled_from(
        (
            None,
            *(Seen(times, MONTH) for times in (1, 2, 3)),
            *(Seen(times, MONTH, half_after=7 * DAY) for times in (1, 2, 3)),
            Seen(2, MONTH, half_after=14 * DAY),
            Seen(3, 7 * DAY),
            Seen(3, 14 * DAY, half_after=7 * DAY),
        )
    ),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    said = draw(st.sampled_from(("552 5.2.2 Mailbox is full", "452 4.2.2 Full", "550 mailbox", "421 is full now", "")))
    reply = Reply.parse(said) if said else NoReply(draw(st.sampled_from((Cause.LOST, Cause.TLS))))
    category = draw(st.sampled_from(CATEGORIES))
    status = RecipientStatus(
        recipient="jo",
        action=Action.FAILED,
        stage=draw(st.sampled_from((Stage.RCPT, Stage.MAIL, Stage.DATA))),
        reply=reply,
        accepted=draw(st.integers(0, 5)),
    )
    verdict = Classification(
        status=status,
        category=category,
        scope=draw(st.sampled_from((Scope.RECIPIENT, Scope.SENDER, None))),
        permanent=draw(st.booleans()),
        certain=True,
        step=Step.TEXT,
        rule="r",
        where="",
    )
    to = Recipient.of(parse_address(f"jo@{draw(st.sampled_from(('a.example', 'c.b.example', 'other.test')))}"))
    weeks = [draw(st.integers(0, 2)) for _ in range(5)]
    counters = {Window(category, 7 * DAY * (week + 1)): sum(weeks[: week + 1]) for week in range(4)}
    counters[Window(category, MONTH)] = sum(weeks)
    circumstances = Circumstances(
        now=NOW, provider=draw(st.sampled_from((None, "gmail", "yahoo", "aol"))), counters=counters
    )
    return Case(
        verdict,
        replace(to, attempts=draw(st.integers(1, 6))),
        circumstances,
        message_class="mail",
        expired=draw(st.booleans()),
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=4), st.lists(cases(), min_size=1, max_size=20))
def test_a_case_of_a_condition_lies_in_its_box_less_those_before(
    whens: list[Condition], some_cases: list[Case]
) -> None:
    *before, last = whens
    space = Space(whens, ("mail",))
    left = space.left([space.box(last)], [space.box(when) for when in before])
    for case in some_cases:
        if last.matches(case) and not any(when.matches(case) for when in before):
            assert left != []
            assert not space.is_empty(space.box(last))


@settings(max_examples=200, deadline=None)
@given(conditions, conditions, st.lists(cases(), min_size=1, max_size=20))
def test_conditions_that_share_a_case_meet(one: Condition, other: Condition, some_cases: list[Case]) -> None:
    space = Space((one, other), ("mail",))
    if any(one.matches(case) and other.matches(case) for case in some_cases):
        assert space.meet(space.box(one), space.box(other))


def test_nothing_is_left_of_a_condition_that_is_asked_for_before() -> None:
    narrow = Condition(category=frozenset({Category.MOVED}), text=(Phrase("the mailbox is full"),), enhanced=("5.2.2",))
    wide = Condition(text=(Phrase("mailbox is full"),), enhanced=("x.2.2",))
    space = Space((narrow, wide), ("mail",))
    assert space.left([space.box(narrow)], [space.box(wide)]) == []
    assert space.left([space.box(wide)], [space.box(narrow)]) != []
