"""What a send gives back: smtplib's dict in front, every recipient's settlement behind it."""

import copy
import pickle
from dataclasses import replace
from typing import Any

import pytest

from bouncekit.delivery.report import DeliveryFailed, Report
from bouncekit.delivery.settlement import Settlement
from bouncekit.meaning.classification import Category
from bouncekit.policy.rule import Fate
from bouncekit.protocol.transaction import NotSent
from bouncekit.words.errors import BouncekitError
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action

from .building import ANN, BOB, CY, DI, NOW, suppression

EVE = "eve@example.com"


def settlement(address: str, action: Action, said: str | None = None, **more: Any) -> Settlement:
    reply = None if said is None else Reply.parse(said)
    return Settlement(**{"recipient": address, "action": action, "stage": Stage.RCPT, "reply": reply, **more})


DELIVERED = settlement(ANN, Action.DELIVERED, "250 ok")
DELAYED = settlement(BOB, Action.DELAYED, "451 4.3.0 later", fate=Fate.RETRY, retry_at=NOW)
FAILED = settlement(CY, Action.FAILED, "550 5.1.1 no such user", fate=Fate.FAIL)
SUPPRESSED = settlement(
    DI, Action.SUPPRESSED, category=Category.MAILBOX_FULL, rule="rule full", suppression=suppression(DI)
)
UNKNOWN = settlement(EVE, Action.UNKNOWN, fate=Fate.FAIL, possible_duplicate=True)
LOST = replace(UNKNOWN, reply=NoReply(Cause.LOST))
ALL = (DELIVERED, DELAYED, FAILED, SUPPRESSED, LOST)


def test_as_a_dict_a_report_is_what_smtplib_returns() -> None:
    assert Report.of(ALL) == {
        BOB: (451, b"4.3.0 later"),
        CY: (550, b"5.1.1 no such user"),
        DI: (-1, b"suppressed: mailbox_full (rule full)"),
        EVE: (-1, b"no reply (lost)"),
    }


def test_a_full_success_is_an_empty_dict_with_all_recipients() -> None:
    report = Report.of([DELIVERED])
    assert report == {}
    assert not report
    assert report.recipients == report.delivered == (DELIVERED,)


def test_the_settlements_stand_in_the_order_of_the_recipients_and_once_under_their_action() -> None:
    report = Report.of(iter(ALL))
    assert report.recipients == ALL
    assert (report.delivered, report.delayed) == ((DELIVERED,), (DELAYED,))
    assert (report.failed, report.suppressed, report.unknown) == ((FAILED,), (SUPPRESSED,), (LOST,))


def test_the_keys_are_as_the_caller_wrote_them() -> None:
    report = Report.of([FAILED, DELAYED], given={CY: f"Cy <{CY}>"})
    assert list(report) == [f"Cy <{CY}>", BOB]
    assert report.recipients[0].recipient == CY


def test_what_we_keep_is_not_refused_and_what_is_over_is() -> None:
    resent = replace(LOST, recipient="resent@x", fate=Fate.RETRY, retry_at=NOW, kept=True)
    held = replace(DELAYED, recipient="held@x", fate=Fate.HOLD, retry_at=None, kept=True)
    report = Report.of((*ALL, resent, held))
    assert list(report) == [BOB, CY, DI, EVE]
    assert report.delayed == (DELAYED, held)


def test_who_may_have_got_the_message_is_not_refused_by_a_sender_that_is_durable() -> None:
    """Whoever sends to the dict again would send a second time to somebody whose mail has arrived."""
    assert EVE in Report.of(ALL)
    report = Report.of(ALL, durable=True)
    assert list(report) == [BOB, CY, DI]
    assert report.unknown == (LOST,)


def test_the_text_of_a_reason_of_our_own_is_bytes_whatever_it_holds() -> None:
    here = replace(FAILED, reply=NoReply(Cause.LOCAL, "a surrogate \udcff"))
    odd = replace(SUPPRESSED, rule="rule \udcff")
    assert Report.of([here, odd]) == {
        CY: (-1, b"a surrogate \\udcff"),
        DI: (-1, b"suppressed: mailbox_full (rule \\udcff)"),
    }


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_report_survives_a_pickle_whole(protocol: int) -> None:
    not_sent = replace(LOST, recipient="f@x", reply=NotSent(Cause.LOST))
    report = Report.of((*ALL, not_sent), message_id="<1@x>", given={CY: "Cy"})
    again = pickle.loads(pickle.dumps(report, protocol))
    assert type(again) is Report
    assert (dict(again), again.recipients, again.message_id) == (dict(report), report.recipients, "<1@x>")


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, Report.copy])
def test_a_copy_is_a_report_of_its_own(duplicate: Any) -> None:
    report = Report.of(ALL, message_id="<1@x>")
    again = duplicate(report)
    assert (type(again), again, again.recipients, again.message_id) == (Report, report, ALL, "<1@x>")
    again.clear()
    assert len(report) == 4


def test_a_report_shows_as_its_dict() -> None:
    assert repr(Report.of([FAILED])) == repr({CY: (550, b"5.1.1 no such user")})


@pytest.mark.parametrize("good", [(), (DELIVERED,), (DELIVERED, DELAYED, LOST)])
def test_nothing_is_raised_where_nobody_failed(good: tuple[Settlement, ...]) -> None:
    Report.of(good).raise_for_failed()


def test_failed_and_suppressed_recipients_are_raised_for_with_the_report() -> None:
    report = Report.of(ALL)
    with pytest.raises(DeliveryFailed) as caught:
        report.raise_for_failed()
    assert isinstance(caught.value, BouncekitError)
    assert caught.value.report is report
    assert caught.value.bad == (FAILED, SUPPRESSED)
    assert str(caught.value) == (
        "2 of 5 recipients: c…@example.com: failed, 550 5.1.1 no such user; d…@example.com: suppressed, rule full"
    )


def test_the_error_of_a_great_failure_stays_short_and_on_one_line() -> None:
    loud = Reply(550, b"\x1b[2J\r\nSubject: forged\n" + b"x" * 100_000)
    report = Report.of(replace(FAILED, recipient=f"u{number}@x", reply=loud) for number in range(1000))
    with pytest.raises(DeliveryFailed, match=r"^1000 of 1000 recipients: .* and 995 more$") as caught:
        report.raise_for_failed()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3000


def test_the_error_survives_a_pickle() -> None:
    report = Report.of(ALL, message_id="<1@x>")
    again = pickle.loads(pickle.dumps(DeliveryFailed(report, report.failed)))
    assert (str(again), again.report, again.bad) == (str(DeliveryFailed(report, report.failed)), report, (FAILED,))
    assert again.report.recipients == ALL
