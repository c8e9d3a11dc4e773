"""The arithmetic of the guard: which replies are alike, whose they are, when they are a mass."""

from datetime import timedelta
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.policy.guard import Count, Guard, Mass, fingerprint, provider_at, reach, trips, usual
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

GUARD = Guard(at_least=20, within=timedelta(minutes=10), times_usual=5)
NORMAL = (Count(150, 10_000),) * 5  # one and a half in a hundred


def said(reply: str, recipient: str = "jo@example.com") -> str:
    status = RecipientStatus(recipient=recipient, action=Action.FAILED, stage=Stage.RCPT, reply=Reply.parse(reply))
    return fingerprint(status, "example.net")


# Each pair was said by one kind of server to two recipients.
ALIKE = [
    (
        "550-5.1.1 The email account that you tried to reach does not exist.\n550 5.1.1 e12si4283924wrx.41 - gsmtp",
        "550-5.1.1 The email account that you tried to reach does not exist.\n550 5.1.1 a640c23a62f3a-b1a2 - gsmtp",
    ),
    (
        "550 5.1.1 <jo@example.com>: Recipient address rejected: User unknown in virtual mailbox table",
        "550 5.1.1 <ann.lee@example.com>: Recipient address rejected: User unknown in virtual mailbox table",
    ),
    (
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup [AM5EUR02FT032.eop]",
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup [VI1EUR05FT9.eop]",
    ),
    (
        "552 1 Requested mail action aborted, mailbox not found",
        "552 2 Requested mail action aborted, mailbox not found",
    ),
    ("550 No such user [kundenserver.de] id=aBcDeFgHij", "550 No such user [mx.kundenserver.de] id=XyzaBQrst"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_replies_that_differ_in_addresses_numbers_hosts_and_ids_alone_are_alike(one: str, other: str) -> None:
    assert said(one) == said(other, "ann.lee@example.com")


def test_a_name_that_stands_alone_is_known_by_the_recipient() -> None:
    assert said("550 5.1.1 User jo unknown") == said("550 5.1.1 User ann unknown", "Ann@example.com")


@pytest.mark.parametrize(
    "other", ["551 5.1.1 No such user", "550 5.1.2 No such user", "550 5.1.1 Account disabled", "550 No such user"]
)
def test_another_code_or_other_words_are_another_fingerprint(other: str) -> None:
    assert said(other) != said("550 5.1.1 No such user")


def test_another_provider_has_fingerprints_of_its_own() -> None:
    status = RecipientStatus(recipient="a@b.cd", action=Action.FAILED, stage=Stage.RCPT, reply=Reply(550, b"No"))
    assert fingerprint(status, "one.example") != fingerprint(status, "two.example")


def test_a_fingerprint_is_the_same_in_every_process_and_release() -> None:
    assert said("550 5.1.1 No such user") == "794c53ee2f8eaf5d"


@given(st.text(max_size=300), st.text(max_size=60))
def test_any_text_has_a_fingerprint(text: str, recipient: str) -> None:
    for reply in (Reply(550, text.encode("utf-8", "surrogatepass")), NoReply(Cause.LOST, text)):
        status = RecipientStatus(recipient=recipient, action=Action.FAILED, stage=Stage.RCPT, reply=reply)
        found = fingerprint(status, provider_at(None, recipient))
        assert len(found) == 16
        assert found == fingerprint(status, provider_at(None, recipient))


@pytest.mark.parametrize("piece", [b"a", b"a ", b"aB ", b"1", b"@", b"<", b". ", "\u00e4\u2003".encode()])
def test_a_long_reply_costs_no_more_than_its_length(piece: bytes) -> None:
    def cost(size: int) -> float:
        reply = Reply(550, (piece * size)[:size])
        status = RecipientStatus(recipient="a@b.cd", action=Action.FAILED, stage=Stage.RCPT, reply=reply)
        start = process_time()
        for _ in range(10):
            fingerprint(status, "b.cd")
        return process_time() - start

    cost(10)
    assert cost(1_000_000) < 1.0  # most of it decodes the text; what was quadratic would take an hour


@pytest.mark.parametrize(
    ("remote_mta", "recipient", "provider"),
    [
        ("gmail-smtp-in.l.google.com", "jo@gmail.com", "google.com"),
        ("ASPMX2.GOOGLEMAIL.COM.", "jo@example.com", "google.com"),
        ("example-com.mail.protection.outlook.com", "jo@example.com", "outlook.com"),
        ("mx.example.co.uk", "jo@shop.example", "example.co.uk"),
        ("mx.co.uk", "jo@shop.example", "mx.co.uk"),
        ("example.de", "jo@shop.example", "example.de"),
        ("192.0.2.1", "jo@mail.example.com", "example.com"),
        ("2001:db8::1", "jo@example.com", "example.com"),
        ("[192.0.2.1]", "jo@example.com", "example.com"),
        ("/run/lmtp.sock", "jo@example.com", "example.com"),
        ("localhost", "jo@Example.COM", "example.com"),
        (None, "jo@example.com", "example.com"),
        (None, "jo@localhost", "localhost"),
        ("", "postmaster", "postmaster"),
    ],
)
def test_a_provider_is_known_by_the_end_of_its_hosts_names(
    remote_mta: str | None, recipient: str, provider: str
) -> None:
    assert provider_at(remote_mta, recipient) == provider


# -- when it trips


def mass(refusals: int, answers: int, *days: Count) -> Mass:
    return Mass(recent=(Count(refusals, answers),), days=days or NORMAL)


@pytest.mark.parametrize(
    ("refusals", "answers", "is_mass"),
    [
        (20, 20, True),
        (19, 19, False),  # too few to say
        (20, 250, True),  # eight in a hundred
        (20, 400, False),
        (100, 6600, False),  # what is usual
        (1600, 6600, True),
        (6600, 6600, True),
    ],
)
def test_enough_refusals_and_five_times_the_usual_ones_are_a_mass(refusals: int, answers: int, is_mass: bool) -> None:
    assert trips(GUARD, mass(refusals, answers)) is is_mass


def test_it_is_seen_in_six_windows_too() -> None:
    assert trips(GUARD, Mass(recent=(Count(4, 16), Count(24, 100)), days=NORMAL))
    assert reach(GUARD) == timedelta(hours=1)


REGULAR = (Count(10, 1000), Count(16, 1000), Count(14, 1000))  # the worst has sixteen in a thousand


@pytest.mark.parametrize(
    ("refusals", "answers", "is_mass"),
    [
        (70, 2000, True),  # thirty-five in a thousand
        (55, 1000, False),  # fewer than three times `at_least`
        (60, 2000, False),  # not twice the worst day
        (160, 10_000, False),
        (330, 10_000, True),
    ],
)
def test_where_the_worst_day_is_known_twice_that_one_is_a_mass(refusals: int, answers: int, is_mass: bool) -> None:
    assert trips(GUARD, mass(refusals, answers, *REGULAR)) is is_mass


@pytest.mark.parametrize(
    "days",
    [
        pytest.param((), id="never written to"),
        pytest.param((Count(14, 1000), Count(16, 1000)), id="two days"),
        pytest.param((Count(6, 400),) * 30, id="little mail"),
        pytest.param((*REGULAR, Count(30, 1000)), id="as bad once"),
        pytest.param((*REGULAR, Count(600, 1000)), id="an outage before"),
    ],
)
def test_where_the_worst_day_is_not_known_or_was_as_bad_it_takes_five_times_the_usual(days: tuple[Count, ...]) -> None:
    assert not trips(GUARD, Mass(recent=(Count(350, 10_000),), days=days))
    assert trips(GUARD, Mass(recent=(Count(3500, 10_000),), days=days))


def test_a_larger_multiple_is_one_of_the_worst_day_too() -> None:
    blunt = Guard(at_least=20, within=timedelta(minutes=10), times_usual=20)
    assert not trips(blunt, mass(700, 10_000, *REGULAR))


@given(
    st.lists(st.integers(500, 50_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1),
    st.data(),
)
def test_no_day_that_has_been_is_a_mass_when_it_comes_again(days: list[tuple[int, int]], data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(days))
    known = [Count(*day) for day in days]
    common = usual(known)
    if again[0] * (common.answers - common.refusals) < 5 * common.refusals * (again[1] - again[0]):
        assert not trips(GUARD, mass(*again, *known))


@pytest.mark.parametrize(("refusals", "is_mass"), [(350, False), (360, True)])
def test_where_a_tenth_is_always_dead_a_third_is_five_times_that(refusals: int, is_mass: bool) -> None:
    assert trips(GUARD, mass(refusals, 1000, Count(1000, 10_000))) is is_mass


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.9])
def test_however_bad_a_list_is_a_provider_that_refuses_everybody_is_seen(share: float) -> None:
    assert trips(GUARD, mass(1000, 1000, Count(round(share * 10_000), 10_000)))


def test_a_provider_that_nobody_has_written_to_is_taken_for_ordinary() -> None:
    assert usual(()) == Count(2, 100)
    nobody = Mass(recent=(Count(30, 1000),))
    assert not trips(GUARD, nobody)
    assert trips(GUARD, Mass(recent=(Count(300, 1000),)))


def test_a_little_history_does_not_count_for_more_than_the_ordinary() -> None:
    assert usual([Count(0, 5), Count(5, 10)]) == Count(2, 100)


def test_a_list_that_was_very_clean_may_be_a_little_less_clean() -> None:
    assert not trips(GUARD, mass(60, 10_000, Count(0, 1_000_000)))
    assert trips(GUARD, mass(250, 10_000, Count(0, 1_000_000)))


def test_a_day_of_outage_does_not_become_what_is_usual() -> None:
    days = (*NORMAL, Count(6000, 10_000))
    assert usual(days) == Count(150, 10_000)


def test_what_is_bad_on_most_days_is_usual() -> None:
    assert usual((Count(150, 10_000), Count(3000, 10_000), Count(3100, 10_000))) == Count(3000, 10_000)


def test_days_count_by_the_mail_that_went_out_on_them() -> None:
    assert usual((*[Count(1, 100)] * 20, Count(3000, 10_000))) == Count(3000, 10_000)


@given(st.lists(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))))
def test_the_usual_share_is_never_below_one_in_two_hundred_and_fifty(days: list[tuple[int, int]]) -> None:
    found = usual([Count(*day) for day in days])
    assert 0.004 <= found.refusals / found.answers <= 1


def test_what_is_just_happening_is_added_to_each_window() -> None:
    assert Mass(recent=(Count(1, 2), Count(3, 4)), goes_on=True).plus(5, 6).recent == (Count(6, 8), Count(8, 10))
    assert Mass().plus(5, 6) == Mass(recent=(Count(5, 6),))
