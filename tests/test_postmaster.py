"""The postmaster: subscriptions, the suppression list by hand, and why something happened."""

import asyncio
import smtplib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from bouncekit import AddressError, ConfigurationError
from bouncekit.delivery.events import Event
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, ScriptedServer

from .conftest import Heard, message

Serve = Callable[..., ScriptedServer]


def test_subscribers_hear_the_types_they_asked_for(serve: Serve, postmaster: Postmaster) -> None:
    found: list[str] = []

    @postmaster.on("failed", "suppression_added")
    def tell(event: Event) -> None:
        found.append(event.type.value)

    server = serve({"RCPT": {"gone@example.com": "550 5.1.1 No such user"}})
    with postmaster.client(server.url) as client:
        client.send(message("ada@example.com", "gone@example.com"))
    assert found == ["failed", "suppression_added"]


def test_async_subscribers_have_heard_everything_when_the_postmaster_is_closed(serve: Serve) -> None:
    found: list[str] = []
    server = serve()
    with Postmaster() as postmaster:

        @postmaster.on()
        async def tell(event: Event) -> None:
            await asyncio.sleep(0)
            found.append(event.type.value)

        with postmaster.smtp(server.host, server.port) as smtp:
            smtp.send_message(message("ada@example.com"))
    assert found == ["delivered", "closed"]


def test_a_type_that_does_not_exist_is_refused(postmaster: Postmaster) -> None:
    with pytest.raises(ConfigurationError, match="delivered"):
        postmaster.on("deliverd")(print)


def test_a_decorator_without_its_brackets_is_refused_at_once(postmaster: Postmaster) -> None:
    with pytest.raises(ConfigurationError, match=r"write @postmaster\.on\(\)"):

        @postmaster.on  # type: ignore[arg-type]
        def tell(event: Event) -> None: ...


def test_a_class_that_the_policy_does_not_know_is_refused_before_anything_is_sent(postmaster: Postmaster) -> None:
    with pytest.raises(ConfigurationError, match="security, transactional, bulk"):
        postmaster.client("smtp://relay.example.com", message_class="secruity")


def test_a_suppression_by_hand_holds_mail_back_until_it_is_lifted(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    server = serve()
    postmaster.suppressions.add("Ada@Example.com", reason="asked us to", by="support")
    assert "ada@example.com" in postmaster.suppressions
    with postmaster.client(server.url) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.send(message("ada@example.com"))
        lifted = postmaster.suppressions.lift("ada@example.com")
        assert lifted is not None
        assert lifted.by == "support"
        assert client.send(message("ada@example.com")) == {}
    assert postmaster.suppressions.lift("ada@example.com") is None
    assert heard.types == ["suppression_added", "suppressed", "suppression_lifted", "delivered", "closed"]


def test_a_suppression_for_a_time_ends_with_one_probe_that_clears_it(
    serve: Serve, postmaster: Postmaster, clock: ManualClock, heard: Heard
) -> None:
    server = serve({"RCPT": {"full@example.com": ["552 5.2.2 Mailbox full"]}})
    with postmaster.client(server.url) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.send(message("full@example.com"))
        clock.move(timedelta(days=8))
        assert "full@example.com" not in postmaster.suppressions
        assert client.send(message("full@example.com")) == {}
    assert postmaster.suppressions.get("full@example.com") is None
    assert "suppression_lifted" in heard.types


def test_the_same_verdict_after_the_first_term_confirms_for_longer(
    serve: Serve, postmaster: Postmaster, clock: ManualClock
) -> None:
    server = serve({"RCPT": {"gone@example.com": "550 5.1.1 No such user"}})
    standing = []
    with postmaster.client(server.url) as client:
        for _ in range(3):
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.send(message("gone@example.com"))
            found = postmaster.suppressions.get("gone@example.com")
            assert found is not None
            standing.append((found.standing.value, found.expires_at and found.expires_at - clock.now()))
            clock.move(timedelta(days=200))
    assert standing == [
        ("provisional", timedelta(days=7)),
        ("confirmed", timedelta(days=30)),
        ("confirmed", timedelta(days=180)),
    ]


def test_why_tells_what_happened_to_an_address_newest_first(
    serve: Serve, postmaster: Postmaster, clock: ManualClock
) -> None:
    server = serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}})
    with postmaster.client(server.url) as client:
        for _ in range(2):
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.send(message("full@example.com"))
            clock.move(timedelta(hours=1))
    told = [event["type"] for event in postmaster.why("FULL@example.com")]
    assert told[0] == "suppressed"
    assert set(told[1:]) == {"not_notified", "suppression_added", "failed"}


@pytest.mark.parametrize("text", ["two words@example.com", "", "<>"])
def test_what_is_no_recipient_is_not_suppressed(postmaster: Postmaster, text: str) -> None:
    with pytest.raises(AddressError):
        postmaster.suppressions.add(text)


def test_a_sqlite_store_remembers_over_a_restart(serve: Serve, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bounces.db"
    server = serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}})
    for error in (smtplib.SMTPRecipientsRefused, smtplib.SMTPRecipientsRefused):
        with Postmaster(store=url) as postmaster, postmaster.client(server.url) as client, pytest.raises(error):
            client.send(message("full@example.com"))
    assert sum(session.commands.count("rcpt to:<full@example.com>") for session in server.sessions) == 1


def test_tenants_do_not_share_suppressions(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {"full@example.com": ["552 5.2.2 Mailbox full"]}})
    with postmaster.client(server.url, tenant="acme") as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.send(message("full@example.com"))
    with postmaster.client(server.url, tenant="other") as client:
        assert client.send(message("full@example.com")) == {}


def test_rules_of_the_owner_say_first_what_a_reply_means(
    serve: Serve, make_postmaster: Callable[..., Postmaster], tmp_path: Path
) -> None:
    rules = tmp_path / "replies.toml"
    rules.write_text(
        '[[rule]]\nid = "partner-is-closed"\ncategory = "mailbox_disabled"\ntext = ["closed for the season"]\n'
        'source = "partner.example"\nexamples = ["550 closed for the season"]\n'
    )
    server = serve({"RCPT": {"ada@example.com": "550 closed for the season"}})
    with make_postmaster(rules=[rules]).client(server.url) as client:
        report = client.sendmail("shop@example.org", ["ada@example.com", "bob@example.com"], b"Subject: Hi\r\n\r\nHi")
    assert report.failed[0].category == "mailbox_disabled"
    assert "partner-is-closed" in str(report.failed[0].classified_by)
    with pytest.raises(ConfigurationError, match=r"^rules='.*a list of files"):
        make_postmaster(rules=str(rules))
    with pytest.raises(ConfigurationError, match=r"^community_rules='theirs\.toml': a list of files"):
        make_postmaster(community_rules="theirs.toml")


@pytest.mark.parametrize(
    ("options", "by"),
    [({}, "policys"), ({"rules": ["given"]}, "given"), ({"community_rules": ["given"]}, "policys")],
)
def test_rules_that_the_policy_names_count_behind_those_that_are_given(
    serve: Serve,
    make_postmaster: Callable[..., Postmaster],
    tmp_path: Path,
    options: dict[str, list[str]],
    by: str,
) -> None:
    for name in ("policys", "given"):
        (tmp_path / f"{name}.toml").write_text(
            f'[[rule]]\nid = "{name}"\ncategory = "mailbox_disabled"\ntext = "closed for the season"\n'
            'source = "partner.example"\nexamples = ["550 closed for the season"]\n'
        )
    policy = tmp_path / "bounces.yaml"
    policy.write_text("policy: 1\nextends: default\nmeaning: policys.toml\n")
    given = {name: [tmp_path / f"{file}.toml" for file in files] for name, files in options.items()}
    server = serve({"RCPT": {"ada@example.com": "550 closed for the season"}})
    with make_postmaster(policy=policy, **given).client(server.url) as client:
        report = client.sendmail("shop@example.org", ["ada@example.com", "bob@example.com"], b"Subject: Hi\r\n\r\nHi")
    assert report.failed[0].category == "mailbox_disabled"
    assert str(report.failed[0].classified_by).startswith(by)
    assert f"{tmp_path}/{by}.toml:1" in str(report.failed[0].classified_by)


def test_the_list_that_a_reply_names_is_told(serve: Serve, postmaster: Postmaster, heard: Heard) -> None:
    server = serve({"RCPT": {"ada@example.com": "554 5.7.1 Service unavailable; blocked using zen.spamhaus.org"}})
    with postmaster.client(server.url) as client:
        client.sendmail("shop@example.org", ["ada@example.com", "bob@example.com"], b"Subject: Hi\r\n\r\nHi")
    (failed,) = heard.of("failed")
    assert "Spamhaus" in failed.to_dict()["data"]["blocklist"]


@pytest.mark.parametrize("name", ["tenant", "stream"])
def test_a_name_that_no_store_has_room_for_is_refused_at_once(postmaster: Postmaster, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}='xxx.*: 256 characters; 255 are the most"):
        postmaster.client("smtp://relay.example.com", **{name: "x" * 256})
