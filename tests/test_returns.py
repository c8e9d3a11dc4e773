"""Mail that comes back: only what proves something counts, in any order, and once."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.desk.returns import Absorbed
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Cut, Kept, ManualClock, Received, ScriptedServer

from .conftest import message

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]

KEY = "a secret that is long enough"
GONE = "550 5.1.1 No such user here"


def dsn(
    received: Received,
    recipient: str,
    diagnostic: str = GONE,
    *,
    action: str = "failed",
    to: str | None = None,
    message_id: str | None = None,
) -> bytes:
    """A bounce of a message as Postfix writes it, sent to its return path unless `to` says otherwise."""
    own = next(line for line in received.data.decode().splitlines() if line.lower().startswith("message-id:"))
    status = diagnostic.split()[1]
    return (
        f"From: MAILER-DAEMON@relay.example.net (Mail Delivery System)\r\nTo: {to or received.sender}\r\n"
        "Subject: Undelivered Mail Returned to Sender\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nI am sorry.\r\n\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; relay.example.net\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Remote-MTA: dns; mx.example.com\r\nDiagnostic-Code: smtp; {diagnostic}\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\n"
        f"{own if message_id is None else f'Message-ID: {message_id}'}\r\nSubject: Hello\r\n\r\n--b--\r\n"
    ).encode()


def complaint(received: Received, recipient: str) -> bytes:
    own = next(line for line in received.data.decode().splitlines() if line.lower().startswith("message-id:"))
    return (
        f"From: staff@provider.example\r\nTo: {received.sender}\r\nSubject: Abuse report\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n\r\n"
        "--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: Fb/1\r\nVersion: 1\r\n"
        f"Original-Rcpt-To: <{recipient}>\r\n\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\n{own}\r\nSubject: Hello\r\n\r\nHello\r\n--b--\r\n"
    ).encode()


@pytest.fixture
def signing(make_postmaster: Make, tmp_path: Path) -> Callable[..., Postmaster]:
    def make(**settings: Any) -> Postmaster:
        given = {"store": f"sqlite:///{tmp_path / 'b.db'}", "bounces": "bounce@example.org", "bounce_keys": [KEY]}
        return make_postmaster(**{**given, **settings})

    return make


def send(postmaster: Postmaster, server: ScriptedServer, *to: str) -> Received:
    with postmaster.client(server.url) as client:
        client.send(message(*to))
    return server.messages[-1]


def actions(absorbed: Absorbed) -> list[tuple[str, str, str | None]]:
    return [(one.recipient, one.action.value, one.rule) for one in absorbed.settlements]


def test_every_message_has_a_return_path_of_its_own_that_is_signed(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    one, two = (send(postmaster, server, "ada@example.com") for _ in range(2))
    assert one.sender != two.sender
    assert one.sender.startswith("bounce+")
    assert one.sender.endswith("@example.org")
    assert b"From: shop@example.org" in one.data


def test_a_bounce_suppresses_as_the_server_s_own_reply_would(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com")
    absorbed = postmaster.absorb(dsn(received, "ada@example.com"))
    assert actions(absorbed) == [("ada@example.com", "failed", "no-such-mailbox")]
    assert "ada@example.com" in postmaster.suppressions
    (failed,) = postmaster.heard.of("failed")  # type: ignore[attr-defined]
    assert (failed.details["reported_by"], failed.details["trust"]) == ("relay.example.net", "signed")
    assert failed.settlement.remote_mta == "mx.example.com"
    assert failed.message_id == postmaster.heard.of("delivered")[0].message_id  # type: ignore[attr-defined]


def test_the_same_bounce_again_changes_nothing(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    bounce = dsn(send(postmaster, server, "ada@example.com"), "ada@example.com")
    postmaster.absorb(bounce)
    told = len(postmaster.heard)  # type: ignore[attr-defined]
    assert postmaster.absorb(bounce).settlements == ()
    assert postmaster.absorb(bounce.replace(b"I am sorry", b"Very sorry")).settlements == ()
    assert len(postmaster.heard) == told  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda path: "shop@example.org", "other"),
        (lambda path: path[:-20] + ("a" if path[-20] != "a" else "b") + path[-19:], "forged"),
        (lambda path: "bounce+hello@example.org", "forged"),
    ],
)
def test_a_bounce_to_no_return_path_of_ours_suppresses_nobody(
    changed: Callable[[str], str], why: str, serve: Serve, signing: Make
) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com")
    absorbed = postmaster.absorb(dsn(received, "ada@example.com", to=changed(received.sender)))
    assert absorbed.settlements == ()
    assert why in absorbed.unverified[0].why
    assert "ada@example.com" not in postmaster.suppressions
    assert postmaster.heard.types[-1] == "unverified"  # type: ignore[attr-defined]


def test_a_return_path_proves_nothing_about_another_recipient_or_tenant(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com")
    send(postmaster, server, "victim@example.com")
    absorbed = postmaster.absorb(dsn(received, "victim@example.com"))
    assert absorbed.unverified[0].why == "the return path it was sent to was made for another recipient"
    absorbed = postmaster.absorb(dsn(received, "ada@example.com"), tenant="other")
    assert "forged" in absorbed.unverified[0].why
    assert not list(postmaster.suppressions)


def test_one_of_a_message_to_several_proves_only_whom_it_went_to(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com", "bob@example.com")
    send(postmaster, server, "victim@example.com")
    assert actions(postmaster.absorb(dsn(received, "bob@example.com")))[0][:2] == ("bob@example.com", "failed")
    absorbed = postmaster.absorb(dsn(received, "victim@example.com"))
    assert absorbed.unverified[0].why == "no such message was sent to this recipient"
    named = dsn(received, "victim@example.com", message_id=str(postmaster.heard.of("delivered")[-1].message_id))  # type: ignore[attr-defined]
    absorbed = postmaster.absorb(named)
    assert absorbed.unverified[0].why == "the return path it was sent to was made for another message"
    assert {one.address for one in postmaster.suppressions} == {"bob@example.com"}


def test_an_old_bounce_proves_nothing(serve: Serve, signing: Make, clock: ManualClock) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com")
    clock.move(timedelta(days=20))
    assert "expired" in postmaster.absorb(dsn(received, "ada@example.com")).unverified[0].why


def test_without_signed_paths_a_message_that_we_sent_is_known_by_its_id(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing(bounces=None, bounce_keys=())
    received = send(postmaster, server, "ada@example.com")
    forged = dsn(received, "ada@example.com", message_id="<another@example.org>")
    assert postmaster.absorb(forged).unverified[0].why == "no such message was sent to this recipient"
    assert postmaster.absorb(dsn(received, "victim@example.com")).unverified
    assert actions(postmaster.absorb(dsn(received, "ada@example.com"))) != []
    assert {one.address for one in postmaster.suppressions} == {"ada@example.com"}


def test_a_delay_is_told_and_decides_nothing_and_never_comes_behind_a_failure(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com")
    delay = dsn(received, "ada@example.com", "452 4.2.2 Over quota", action="delayed")
    assert actions(postmaster.absorb(delay)) == [("ada@example.com", "delayed", None)]
    assert postmaster.absorb(delay.replace(b"I am sorry", b"Still sorry")).settlements == (), "once"
    assert actions(postmaster.absorb(dsn(received, "ada@example.com")))[0][1] == "failed"
    assert postmaster.absorb(delay.replace(b"I am sorry", b"So sorry")).settlements == ()
    assert postmaster.heard.types.count("delayed") == 1  # type: ignore[attr-defined]


def test_whoever_gave_up_reports_the_last_cause_and_it_is_final(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com")
    absorbed = postmaster.absorb(dsn(received, "ada@example.com", "452 4.2.2 Mailbox full"))
    (one,) = absorbed.settlements
    assert (one.action, one.category, one.expired, one.retry_at) == ("failed", "mailbox_full", True, None)


def test_a_late_bounce_settles_an_unknown_and_takes_it_out_of_the_queue(
    serve: Serve, signing: Make, clock: ManualClock
) -> None:
    server = serve({"END_OF_DATA": [Kept(Cut())]})
    postmaster = signing(retry="queue", worker="external", relays={"main": server.url})
    with postmaster.client("main") as client:
        assert client.send(message("ada@example.com")).unknown[0].kept
    (received,) = server.messages
    assert actions(postmaster.absorb(dsn(received, "ada@example.com")))[0][1] == "failed"
    clock.move(timedelta(hours=1))
    assert postmaster.worker().run_due() == 0
    assert server.copies("ada@example.com") == 1
    assert "failed" in [event["type"] for event in postmaster.why("ada@example.com")]


def test_a_success_settles_an_unknown_too(serve: Serve, signing: Make, clock: ManualClock) -> None:
    server = serve({"END_OF_DATA": [Kept(Cut())]})
    postmaster = signing(retry="queue", worker="external", relays={"main": server.url})
    with postmaster.client("main") as client:
        client.send(message("ada@example.com"))
    (received,) = server.messages
    done = dsn(received, "ada@example.com", "250 2.0.0 Delivered", action="relayed")
    assert actions(postmaster.absorb(done))[0][1] == "delivered"
    clock.move(timedelta(hours=1))
    assert postmaster.worker().run_due() == 0


def test_a_complaint_suppresses_for_good_and_says_so(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com")
    postmaster.absorb(complaint(received, "ada@example.com"))
    postmaster.absorb(complaint(received, "ada@example.com"))
    (suppression,) = postmaster.suppressions
    assert (suppression.category, suppression.standing, suppression.expires_at) == ("complaint", "confirmed", None)
    assert postmaster.heard.types.count("complained") == 1  # type: ignore[attr-defined]
    assert postmaster.heard.types.count("failed") == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("written", ["redacted@example.com", "xxxx@example.com", ""])
def test_a_complaint_without_its_recipient_is_his_for_whom_the_return_path_was_made(
    written: str, serve: Serve, signing: Make
) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com")
    send(postmaster, server, "bob@example.com")
    (settled,) = postmaster.absorb(complaint(received, written)).settlements
    assert settled.recipient == "ada@example.com"
    assert [(one.key, one.category) for one in postmaster.suppressions] == [("ada@example.com", "complaint")]


def test_a_complaint_without_its_recipient_about_a_message_to_several_is_nobodys(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com", "bob@example.com")
    assert postmaster.absorb(complaint(received, "redacted@example.com")).settlements == ()
    assert not list(postmaster.suppressions)


def test_a_complaint_without_its_recipient_to_a_forged_return_path_is_nobodys(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    received = send(postmaster, server, "ada@example.com")
    to = (received.sender[:-20] + ("a" if received.sender[-20] != "a" else "b") + received.sender[-19:]).encode()
    mail = complaint(received, "redacted@example.com").replace(received.sender.encode(), to)
    assert postmaster.absorb(mail).settlements == ()
    assert not list(postmaster.suppressions)


def test_mail_that_is_no_bounce_changes_nothing(signing: Make) -> None:
    postmaster = signing()
    absorbed = postmaster.absorb(b"From: jo@example.com\r\nSubject: Hi\r\n\r\nHello\r\n")
    assert (absorbed.incoming.kind, absorbed.settlements, absorbed.unverified) == ("other", (), ())
    assert postmaster.heard.types == []  # type: ignore[attr-defined]


def test_test_traffic_moves_no_list(serve: Serve, signing: Make) -> None:
    server, postmaster = serve(), signing()
    with postmaster.client(server.url, test=True) as client:
        client.send(message("ada@example.com"))
    assert actions(postmaster.absorb(dsn(server.messages[0], "ada@example.com")))[0][1] == "failed"
    assert not list(postmaster.suppressions)


def test_what_the_store_could_not_remember_raises_and_counts_the_next_time(
    serve: Serve, signing: Make, tmp_path: Path
) -> None:
    from bouncekit.delivery.steps import Record
    from bouncekit.stores.sqlite import SqliteStore
    from bouncekit.words.errors import StoreError

    class Failing(SqliteStore):
        fails = False

        def record(self, record: Record) -> frozenset[str]:
            if self.fails:
                raise StoreError("the disk is full")
            return super().record(record)

    store, server = Failing(tmp_path / "f.db"), serve()
    postmaster = signing(store=store)
    received = send(postmaster, server, "ada@example.com")
    store.fails = True
    with pytest.raises(StoreError):
        postmaster.absorb(dsn(received, "ada@example.com"))
    assert store.suppression("ada@example.com") is None
    store.fails = False
    postmaster.absorb(dsn(received, "ada@example.com"))
    assert "ada@example.com" in postmaster.suppressions
    assert postmaster.heard.types.count("failed") == 1  # type: ignore[attr-defined]
