"""Notices: what they say, by which way they go, how often, and what they never do."""

import email
import email.policy
import json
import logging
import smtplib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from bouncekit.clients.smtp import SMTP
from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.delivery.settlement import Settlement
from bouncekit.desk.law import Law
from bouncekit.desk.office import Office
from bouncekit.meaning.classification import Category, Scope
from bouncekit.notify import Notification, NotifyError, Via, channel, compose
from bouncekit.notify.mail import Mail
from bouncekit.notify.wording import wording_of
from bouncekit.outside.clock import SystemClock
from bouncekit.policy.policy import MessageClass, Policy
from bouncekit.policy.rule import Condition, Fate, Notice, Rule
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.policy.template import PLACEHOLDERS, Template
from bouncekit.stores import open_store
from bouncekit.testing import ScriptedServer
from bouncekit.words.errors import ConfigurationError, MissingExtra
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action

# apprise imports imghdr where Python still has it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ADA = "ada@example.com"
FULL = Reply(552, b"5.2.2 Mailbox full")
SECRET = "hunter2secret"


def suppression(**changes: Any) -> Suppression:
    settings: dict[str, Any] = {
        "key": ADA,
        "address": ADA,
        "standing": Standing.PROVISIONAL,
        "category": Category.MAILBOX_FULL,
        "since": NOW,
        "changed_at": NOW,
        "expires_at": NOW + timedelta(days=7),
    }
    return Suppression(**(settings | changes))


def event(*, sender: str | None = "shop@example.org", **changes: Any) -> Event:
    settings: dict[str, Any] = {
        "recipient": ADA,
        "action": Action.FAILED,
        "stage": Stage.RCPT,
        "reply": FULL,
        "category": Category.MAILBOX_FULL,
        "scope": Scope.RECIPIENT,
        "rule": "mailbox-full",
        "remote_mta": "mx.example.com",
    }
    settlement = Settlement(**(settings | changes))
    occasion = Occasion(attempt_id="a", at=NOW, message_id="<1@example.org>", sender=sender)
    return Event(
        id="1", type=EventType.FAILED, occasion=occasion, recipient=settlement.recipient, settlement=settlement
    )


def notification(role: str = "operations", *, more: int = 0, **changes: Any) -> Notification:
    return compose(event(**changes), Notice(role), more)


class Outbox:
    """A way to send that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bytes]] = []

    def __call__(self, sender: str, recipient: str, message: bytes) -> None:
        self.sent.append((sender, recipient, message))

    @property
    def message(self) -> EmailMessage:
        ((_, _, message),) = self.sent
        return email.message_from_bytes(message, policy=email.policy.default)  # type: ignore[return-value]


# -- what a notice says


def test_a_notice_tells_in_sentences_what_happened_why_until_when_and_what_helps() -> None:
    told = notification("recipient", suppression=suppression(), more=3)
    assert told.subject == "Mail to ada@example.com failed: the mailbox is full"
    assert told.text.splitlines() == [
        "Mail to ada@example.com failed: the mailbox is full.",
        "mx.example.com said at RCPT: 552 5.2.2 Mailbox full",
        "No mail goes to this address since 2026-01-01 12:00 UTC, until 2026-01-08 12:00 UTC; then one message "
        "tries it again.",
        "Delete some mail or get more space, or give another address.",
        "3 others were not told one by one.",
        "Message <1@example.org>. Decided by rule mailbox-full.",
    ]
    assert (told.channel, told.recipient, told.more) == ("recipient", ADA, 3)


def test_a_delay_says_when_the_next_try_is_due() -> None:
    told = notification(action=Action.DELAYED, retry_at=NOW + timedelta(hours=1))
    assert "is delayed: the mailbox is full." in told.text
    assert "The next try is due at 2026-01-01 13:00 UTC." in told.text


def test_a_suppression_for_good_and_one_that_does_not_bind_are_told_apart() -> None:
    assert "until somebody lifts that" in notification(suppression=suppression(expires_at=None)).text
    assert "No mail goes" not in notification(suppression=suppression(standing=Standing.HELD)).text


def test_where_no_reply_came_the_cause_is_told() -> None:
    told = notification(reply=NoReply(Cause.TIMED_OUT, "after 120 s"), category=Category.NETWORK_ERROR)
    assert "mx.example.com gave no reply at RCPT (timed_out: after 120 s)." in told.text


@pytest.mark.parametrize("category", Category)
def test_every_category_has_words(category: Category) -> None:
    because, remedy = wording_of(category)
    assert because[0].islower()
    assert because[-1] not in ".:"
    assert remedy[0].isupper()
    assert remedy.endswith(".")


def test_remote_text_cannot_add_lines_or_act_on_a_terminal() -> None:
    hostile = "full\r\nBcc: evil@example.com\r\n\r\n\x1b[2J\u202eevil\udcff" + "x" * 5000
    told = notification(
        reply=Reply(552, hostile.encode("utf-8", "surrogatepass")), recipient=hostile, remote_mta=hostile
    )
    assert told.subject.isprintable()
    assert all(line.isprintable() for line in told.text.split("\n"))
    assert len(told.text.split("\n")) == 4
    assert len(told.text) < 2500


FULL_TEMPLATE = Template(
    "full",
    "$recipient: $because ($code)",
    "$category at $stage by $remote_mta, rule $rule: $reply\n"
    "Next: $next_try. Until: $suppressed_until.\n$remedy $more $$5",
)


def worded(template: Template = FULL_TEMPLATE, *, more: int = 0, **changes: Any) -> Notification:
    return compose(event(**changes), Notice("recipient", template=template), more)


def test_an_owner_words_a_notice() -> None:
    told = worded(suppression=suppression(), more=3)
    assert told.subject == "ada@example.com: the mailbox is full (552)"
    assert told.text.splitlines() == [
        "mailbox_full at RCPT by mx.example.com, rule mailbox-full: 552 5.2.2 Mailbox full",
        "Next: . Until: 2026-01-08 12:00 UTC.",
        "Delete some mail or get more space, or give another address. 3 $5",
    ]


def test_every_placeholder_has_a_value() -> None:
    every = Template("every", "x", "|".join(f"${name}" for name in PLACEHOLDERS))
    whole = {"suppression": suppression(), "retry_at": NOW + timedelta(hours=1)}
    values = dict(zip(PLACEHOLDERS, worded(every, more=1, **whole).text.split("|"), strict=True))
    assert "" not in values.values()
    assert (values["next_try"], values["message_id"]) == ("2026-01-01 13:00 UTC", "<1@example.org>")
    bare = worded(every, reply=None, category=None, stage=None, remote_mta=None, rule=None)
    assert "None" not in bare.text
    assert "$" not in bare.text


def test_a_reply_cannot_fill_in_placeholders_or_smuggle_lines_into_what_an_owner_words() -> None:
    hostile = Reply(552, b"$rule ${more}\r\nBcc: evil@example.com\r\n\r\n\x1b[2J")
    told = worded(Template("t", "$reply", "$reply\nend"), reply=hostile)
    assert told.subject.isprintable()
    assert "$rule ${more}" in told.text
    assert told.text.count("\n") == 1
    outbox = Outbox()
    channel("mailto:ops@example.org").send(told, outbox)
    assert outbox.message["Bcc"] is None
    assert b"\r\nBcc" not in outbox.sent[0][2]


def test_a_notification_is_json_ready() -> None:
    told = json.loads(json.dumps(notification(more=1).to_dict()))
    assert told["recipient"] == ADA
    assert told["event"]["data"]["category"] == "mailbox_full"


# -- callbacks, several at once, what is none


def test_a_function_gets_the_notification() -> None:
    told: list[Notification] = []
    channel(told.append).send(notification(), None)
    assert told == [notification()]


def test_an_object_with_a_send_is_a_channel_as_it_is() -> None:
    class Own:
        def send(self, notification: Notification, via: Via | None) -> None: ...

    own = Own()
    assert channel(own) is own


def test_of_several_ways_each_is_told_and_a_failure_is_said() -> None:
    told: list[Notification] = []

    def broken(_: Notification) -> None:
        raise OSError("no network to smtp://jo:hunter2secret@relay")

    with pytest.raises(NotifyError, match=r"1 of 2 ways failed: OSError: no network to smtp://jo:\*\*\*@relay"):
        channel([broken, told.append]).send(notification(), None)
    assert len(told) == 1


async def _asynchronous(_: Notification) -> None:
    """No channel."""


class _Channel:
    def send(self, notification: Notification, via: Via | None) -> None: ...


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        (None, "NoneType.*write a function"),
        (42, "int.*write a function"),
        (b"json://x", "bytes.*write a function"),
        ([], "empty list"),
        ([42], "int"),
        (_asynchronous, "asynchronous"),
        ("", "is no URL"),
        ("ops@example.com", "did you mean 'mailto:ops@example.com'"),
        ("mailto:", "to reach the recipient in another way, give a function"),
        ("mailto:nobody", "no address"),
        ("mailto:a b@example.com", "' ' is not allowed"),
        ("mailto:a@example.com,b@example.com", "'@' is not allowed"),
        ("mailto:पोस्ट@example.com", "ASCII"),
        ("mailto:ops@example.com?cc=x@example.com", "'cc' cannot be set"),
        ("mailto:ops@example.com?from=x", "no address"),
        ("mailto:ops@example.com%0d%0aBcc", r"'\\r' is not allowed"),
        ("nosuchservice://host", "apprise does not take this URL"),
        ("slack://a", "apprise does not take this URL"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_no_channel_is_refused_with_what_would_be_right(spec: object, hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        channel(spec)


def test_a_class_in_place_of_its_object_is_not_taken_for_a_channel() -> None:
    with pytest.raises(ConfigurationError, match="object"):
        channel(_Channel)


def test_a_notice_out_of_a_notice_is_refused() -> None:
    """A callback may itself send a mail that bounces."""
    reasons: list[str] = []

    def sends_mail(told: Notification) -> None:
        try:
            channel(sends_mail).send(told, None)
        except NotifyError as error:
            reasons.append(str(error))

    way = channel(sends_mail)
    way.send(notification(), None)
    way.send(notification(), None)
    assert reasons == ["channel 'operations': a notice about a notice is never sent"] * 2


# -- by mail


def test_a_mail_has_the_null_return_path_and_asks_for_no_answer() -> None:
    outbox = Outbox()
    channel("mailto:ops@example.org").send(notification(), outbox)
    assert outbox.sent[0][:2] == ("", "ops@example.org")
    message = outbox.message
    assert message["From"] == "Mail delivery notices <shop@example.org>"
    assert message["To"] == "ops@example.org"
    assert message["Subject"] == "Mail to ada@example.com failed: the mailbox is full"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert message["Message-ID"].endswith("@example.org>")
    assert message["Date"].datetime == NOW
    assert message.get_content().splitlines() == notification().text.splitlines()


@pytest.mark.parametrize(
    ("url", "sender", "shown"),
    [
        ("mailto:ops@example.org?from=postmaster@example.org", "shop@example.org", "postmaster@example.org"),
        ("mailto:ops@example.org", None, "ops@example.org"),
        ("mailto:ops@example.org", "", "ops@example.org"),
        ("mailto:ops@example.org", "दुकान@example.org", "ops@example.org"),
        ("mailto:ops@bücher.example", "shop@bücher.example", "shop@xn--bcher-kva.example"),
    ],
)
def test_the_from_header_is_an_address_that_every_server_takes(url: str, sender: str | None, shown: str) -> None:
    outbox = Outbox()
    channel(url).send(notification(sender=sender), outbox)
    assert outbox.message["From"].addresses[0].addr_spec == shown
    assert outbox.sent[0][1].isascii()


@pytest.mark.parametrize("to", ["ada@example.com", "ADA@Example.com"])
def test_a_mail_never_goes_to_the_mailbox_that_bounced(to: str) -> None:
    outbox = Outbox()
    with pytest.raises(NotifyError, match="the mailbox that bounced"):
        channel(f"mailto:{to}").send(notification(), outbox)
    assert outbox.sent == []


def test_two_spellings_of_one_mailbox_are_one() -> None:
    with pytest.raises(NotifyError, match="the mailbox that bounced"):
        channel("mailto:j.o+x@gmail.com").send(notification(recipient="jo@googlemail.com"), Outbox())


def test_without_a_connection_a_mail_cannot_go() -> None:
    with pytest.raises(NotifyError, match="no connection"):
        channel("mailto:ops@example.org").send(notification(), None)


def test_a_recipient_cannot_inject_a_header() -> None:
    outbox = Outbox()
    channel("mailto:ops@example.org").send(notification(recipient="x\r\nBcc: evil@example.com\r\n\r\n@y"), outbox)
    assert outbox.message["Bcc"] is None
    assert outbox.sent[0][2].isascii()
    assert b"\r\nBcc" not in outbox.sent[0][2]


def test_a_password_in_a_mailto_url_is_not_in_the_error() -> None:
    with pytest.raises(ConfigurationError) as raised:
        channel(f"mailto:jo:{SECRET}@example.com")
    assert SECRET not in str(raised.value)


def test_a_mail_is_what_smtplib_can_carry() -> None:
    with ScriptedServer() as server, smtplib.SMTP(server.host, server.port) as smtp:

        def via(sender: str, recipient: str, message: bytes) -> None:
            smtp.sendmail(sender, [recipient], message)

        Mail("ops@example.org").send(notification(recipient="पोस्ट@example.com", reply=Reply(552, b"x" * 3000)), via)
    (received,) = server.messages
    assert received.sender == ""
    assert "पोस्ट@example.com" in str(email.message_from_bytes(received.data, policy=email.policy.default)["Subject"])
    assert max(map(len, received.data.splitlines())) <= 998


# -- by apprise


class Hooks:
    """A web server on loopback that keeps what is posted to it."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hooks.posts.append((self.path, json.loads(body)))
                self.send_response(hooks.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    made = Hooks()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_an_apprise_url_gets_subject_and_text(hooks: Hooks) -> None:
    channel(f"json://127.0.0.1:{hooks.port}/hook").send(notification(), None)
    ((path, posted),) = hooks.posts
    assert path == "/hook"
    assert posted["title"] == "Mail to ada@example.com failed: the mailbox is full"
    assert posted["message"] == notification().text
    assert posted["type"] == "warning"


def test_a_mail_by_apprise_is_marked_as_automatic() -> None:
    with ScriptedServer() as server:
        channel(f"mailto://{server.host}:{server.port}/ops@example.org?from=shop@example.org").send(
            notification(), None
        )
    (received,) = server.messages
    assert email.message_from_bytes(received.data)["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize(
    "url",
    [
        "mailto://127.0.0.1:9/j.o+x@gmail.com?from=shop@example.org",
        "mailto://127.0.0.1:9/ops@example.org,jo@googlemail.com?from=shop@example.org",
        "sendgrid://abcdef1234:shop@example.org/jo@gmail.com",
        "ses://shop@example.org/AKIA1234/secretkey123/us-east-1/JO@gmail.com",
    ],
)
def test_apprise_does_not_mail_to_the_mailbox_that_bounced_either(url: str) -> None:
    with pytest.raises(NotifyError, match="the mailbox that bounced"):
        channel(url).send(notification(recipient="jo@gmail.com"), None)


def test_a_service_that_refuses_is_an_error_which_names_the_role_and_no_secret(
    hooks: Hooks, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    hooks.status = 500
    way = channel(f"json://jo:{SECRET}@127.0.0.1:{hooks.port}/token-{SECRET}/?format=text")
    with pytest.raises(NotifyError, match=r"channel 'operations': json:// did not take the notice \(.*500") as raised:
        way.send(notification(), None)
    assert len(hooks.posts) == 1
    assert SECRET not in f"{raised.value} {raised.value!r} {way!r} {caplog.text}"
    assert any(record.name == "apprise" for record in caplog.records)  # the warning itself is there


def test_a_service_that_cannot_be_reached_is_an_error_without_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    port = server.server_address[1]
    server.server_close()
    with pytest.raises(NotifyError) as raised:
        channel(f"json://jo:{SECRET}@127.0.0.1:{port}/{SECRET}").send(notification(), None)
    assert SECRET not in f"{raised.value} {caplog.text}"


@pytest.mark.parametrize("url", [f"slack://{SECRET}", f"nosuch://jo:{SECRET}@host/{SECRET}", f"json://jo:{SECRET}@:x/"])
def test_a_url_that_apprise_refuses_is_not_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    with pytest.raises(ConfigurationError) as raised:
        channel(url)
    assert SECRET not in f"{raised.value!r} {caplog.text}"
    assert f"{SECRET[0]}...{SECRET[-1]}" not in f"{raised.value!r} {caplog.text}"  # as apprise would mask it


def test_other_lines_of_apprise_s_log_are_left_alone(hooks: Hooks, caplog: pytest.LogCaptureFixture) -> None:
    channel(f"json://127.0.0.1:{hooks.port}/").send(notification(), None)
    with caplog.at_level(logging.DEBUG, logger="apprise"):
        logging.getLogger("apprise").debug("the application's own: %s", "127.0.0.1")
    assert caplog.messages[-1] == "the application's own: 127.0.0.1"


def test_without_apprise_the_channel_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)  # how Python itself marks what is not there
    with pytest.raises(MissingExtra, match=r"bouncekit\[notify\]"):
        channel("json://127.0.0.1/")


# -- all of it, through a real send


@contextmanager
def sending(server: ScriptedServer, **channels: object) -> Iterator[tuple[SMTP, list[Event]]]:
    """A connection whose policy notifies `operations` and `recipient` of whatever failed."""
    everybody = tuple(Notice(role) for role in channels)
    policy = Policy(
        name="test",
        classes={"normal": MessageClass(name="normal", deadline=timedelta(days=1))},
        default_class="normal",
        rules=(Rule(id="all", do=Fate.FAIL, when=Condition(permanent=True), notify=everybody),),
        channels=tuple(channels),
    )
    told: list[Event] = []
    office = Office(
        law=Law(policy),
        store=open_store(None),
        clock=SystemClock(),
        channels={role: channel(spec) for role, spec in channels.items()},
    )
    office.ledger.bus.on(told.append)
    with SMTP(server.host, server.port, postmaster=SimpleNamespace(office=office)) as smtp:  # type: ignore[arg-type]
        yield smtp, told


def of(told: list[Event], type_: EventType) -> list[Event]:
    return [one for one in told if one.type is type_]


def test_a_refused_recipient_is_told_by_every_way_and_the_notice_makes_no_notice(hooks: Hooks) -> None:
    called: list[Notification] = []
    script = {"RCPT": {ADA: "552 5.2.2 Mailbox full", "ops@example.org": ["250 2.1.5 Ok"]}}
    with (
        ScriptedServer(script) as server,
        sending(
            server,
            operations="mailto:ops@example.org",
            owner=f"json://127.0.0.1:{hooks.port}/",
            recipient=called.append,
        ) as (smtp, told),
    ):
        smtp.sendmail("shop@example.org", [ADA, "bob@example.com"], "Subject: Hi\r\n\r\nHello\r\n")
    assert sorted(one.details["channel"] for one in of(told, EventType.NOTIFIED)) == [
        "operations",
        "owner",
        "recipient",
    ]
    assert [one.recipient for one in called] == [ADA]
    assert len(hooks.posts) == 1
    assert [message.sender for message in server.messages] == ["shop@example.org", ""]
    assert server.copies("ops@example.org") == 1


def test_a_notice_that_bounces_is_not_notified_and_makes_no_notice_either() -> None:
    script = {"RCPT": {ADA: "552 5.2.2 Mailbox full", "ops@example.org": "550 5.1.1 No such user"}}
    with (
        ScriptedServer(script) as server,
        sending(server, operations="mailto:ops@example.org") as (smtp, told),
    ):
        smtp.sendmail("shop@example.org", [ADA, "bob@example.com"], "Subject: Hi\r\n\r\nHello\r\n")
    (missed,) = of(told, EventType.NOT_NOTIFIED)
    assert "550" in missed.details["why"]
    assert len(of(told, EventType.FAILED)) == 1


def test_a_notice_to_the_mailbox_that_bounced_is_not_notified_with_the_reason() -> None:
    with (
        ScriptedServer({"RCPT": {ADA: "552 5.2.2 Mailbox full"}}) as server,
        sending(server, recipient=f"mailto:{ADA}") as (smtp, told),
    ):
        smtp.sendmail("shop@example.org", [ADA, "bob@example.com"], "Subject: Hi\r\n\r\nHello\r\n")
    (missed,) = of(told, EventType.NOT_NOTIFIED)
    assert "the mailbox that bounced" in missed.details["why"]
    assert len(server.messages) == 1
