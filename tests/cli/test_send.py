"""`send`: a message file on its way through the policy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bouncekit.testing import Cut, Kept, ScriptedServer, refusing_port

from .conftest import Run

Serve = Callable[..., ScriptedServer]
MESSAGE = (
    b"From: Shop <shop@example.com>\nTo: ada@example.com\nCc: full@example.com\nBcc: eve@example.com\n"
    b"Subject: Hi\n\nHello\n"
)
FULL = {"RCPT": {"full@example.com": "552 5.2.2 <full@example.com>: Mailbox is full \x1b[2J"}}


@pytest.fixture
def file(folder: Path) -> Path:
    (folder / "mail.eml").write_bytes(MESSAGE)
    return folder / "mail.eml"


def recipients(output: str) -> dict[str, dict[str, Any]]:
    return {one["recipient"]: one for one in json.loads(output)["recipients"]}


def test_everybody_delivered_is_exit_code_0(run: Run, serve: Serve, file: Path) -> None:
    server = serve()
    result = run("send", file, "--relay", server.url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output.splitlines()[-1] == "3 of 3 delivered"
    assert [server.copies(who) for who in ("ada@example.com", "full@example.com", "eve@example.com")] == [1, 1, 1]
    assert b"Bcc" not in server.messages[0].data


def test_one_refused_is_exit_code_1_and_the_others_are_served(run: Run, serve: Serve, file: Path) -> None:
    server = serve(FULL)
    result = run("send", file, "--relay", server.url)
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "2 of 3 delivered"
    (row,) = (line for line in result.output.splitlines() if line.startswith("full@"))
    assert "failed" in row
    assert "552 5.2.2" in row
    assert "mailbox_full" in row
    assert "\x1b" not in result.output


def test_json_has_every_recipient_s_settlement(run: Run, serve: Serve, file: Path) -> None:
    found = recipients(run("send", file, "--relay", serve(FULL).url, "--json").output)
    assert {who: one["action"] for who, one in found.items()} == {
        "ada@example.com": "delivered",
        "full@example.com": "failed",
        "eve@example.com": "delivered",
    }
    assert found["full@example.com"]["code"] == 552


def test_to_and_from_replace_what_the_headers_say(run: Run, serve: Serve, folder: Path) -> None:
    server = serve()
    result = run(
        "send",
        "-",
        "--relay",
        server.url,
        "--to",
        "a@example.com",
        "--to",
        "b@example.com",
        "--from",
        "me@example.com",
        input=b"Subject: Hi\n\nHello\n",
    )
    assert result.exit_code == 0
    assert (server.messages[0].sender, server.messages[0].recipients) == (
        "me@example.com",
        ("a@example.com", "b@example.com"),
    )


def test_the_content_goes_out_as_it_is_in_the_file(run: Run, serve: Serve, folder: Path) -> None:
    server = serve()
    long = b"From: me@example.com\r\nTo: a@example.com\r\nMessage-ID: <1@x>\r\nX-Signed: " + b"a b " * 100
    content = long.rstrip() + b"\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n\r\nFrom here\r\n.\r\nto there\r\n"
    (folder / "mail.eml").write_bytes(content)
    assert run("send", "mail.eml", "--relay", server.url).exit_code == 0
    assert server.messages[0].data == content


def test_a_folded_bcc_goes_nowhere_but_to_its_recipients(run: Run, serve: Serve, folder: Path) -> None:
    server = serve()
    (folder / "mail.eml").write_bytes(
        b"BCC: a@example.com,\r\n b@example.com\r\nFrom: me@example.com\r\nX: bcc: z\r\n\r\nBcc: text\r\n"
    )
    assert run("send", "mail.eml", "--relay", server.url).exit_code == 0
    (message,) = server.messages
    assert message.recipients == ("a@example.com", "b@example.com")
    assert message.data.endswith(b"\r\nFrom: me@example.com\r\nX: bcc: z\r\n\r\nBcc: text\r\n")
    assert b"a@example.com," not in message.data  # the made Message-ID may end in anything before its @example.com


def test_an_address_beyond_ascii_travels_under_smtputf8(run: Run, serve: Serve, file: Path) -> None:
    server = serve()
    assert run("send", file, "--relay", server.url, "--to", "grüße@example.com").exit_code == 0
    assert server.messages[0].recipients == ("grüße@example.com",)
    assert "SMTPUTF8" in server.messages[0].mail_options


def test_a_store_remembers_whom_not_to_write_to(run: Run, serve: Serve, file: Path) -> None:
    server = serve(FULL)
    store = ("--store", "sqlite:///b.db")
    assert run("send", file, "--relay", server.url, *store).exit_code == 1
    found = recipients(run("send", file, "--relay", server.url, *store, "--json").output)
    assert found["full@example.com"]["action"] == "suppressed"
    assert server.copies("ada@example.com") == 2


def test_a_test_message_suppresses_nobody(run: Run, serve: Serve, file: Path) -> None:
    server = serve(FULL)
    options = ("--relay", server.url, "--store", "sqlite:///b.db")
    run("send", file, *options, "--test")
    assert recipients(run("send", file, *options, "--json").output)["full@example.com"]["action"] == "failed"


def test_the_configuration_says_where_and_by_which_policy(run: Run, serve: Serve, file: Path, folder: Path) -> None:
    server = serve()
    (folder / "bouncekit.toml").write_text(f'relay = "{server.url}"\n')
    assert run("send", file).exit_code == 0
    assert run("send", file, "--policy", "nowhere").exit_code == 2
    assert len(server.messages) == 1


def test_what_a_relay_without_tls_needs_for_a_login_can_be_done_here(
    run: Run, serve: Serve, file: Path, folder: Path
) -> None:
    server = serve(users={"jo": "secret"}, extensions=("AUTH PLAIN",))
    url = server.url.replace("://", "://jo:secret@")
    found = recipients(run("send", file, "--relay", url, "--json").output)
    said = "set insecure_login_in_clear = true under [relays.NAME] in bouncekit.toml and send with --relay NAME"
    assert all(said in one["reply"] for one in found.values())
    (folder / "bouncekit.toml").write_text(f'[relays.main]\nurl = "{url}"\ninsecure_login_in_clear = true\n')
    assert run("send", file, "--relay", "main").output.splitlines()[-1] == "3 of 3 delivered"


def test_a_relay_that_does_not_answer_delays_everybody(run: Run, file: Path) -> None:
    with refusing_port() as port:
        result = run("send", file, "--relay", f"smtp://127.0.0.1:{port}", "--json")
    assert result.exit_code == 1
    assert {one["action"] for one in recipients(result.output).values()} == {"delayed"}


def test_a_lost_reply_to_the_dot_is_unknown(run: Run, serve: Serve, file: Path) -> None:
    server = serve({"END_OF_DATA": [Kept(Cut())]})
    found = recipients(run("send", file, "--relay", server.url, "--json").output)
    assert {one["action"] for one in found.values()} == {"unknown"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("mail.eml",), "no relay: give --relay smtp://localhost:25, or set BOUNCEKIT_RELAY"),
        (("mail.eml", "--relay", "localhost"), "no relay's URL; write smtp://localhost:25"),
        (
            ("mail.eml", "--relay", "mx.example:2525"),
            "'mx.example:2525' is no relay's URL; write smtp://mx.example:2525",
        ),
        (("nobody.eml", "--relay", "smtp://x"), "nobody.eml: no recipient in its headers; give --to ADDRESS"),
        (("unsigned.eml", "--relay", "smtp://x"), "unsigned.eml: no From header with an address; give --from ADDRESS"),
        (("each.eml", "--relay", "smtp://x"), "each.eml: $recipient stands for a column: give the rows with --each"),
        (("mail.eml", "--relay", "smtp://x", "--retry", "queue"), "no store, so nothing is remembered: give --store"),
        (("mail.eml", "--relay", "smtp://x", "--patience", "soon"), "--patience: 'soon' is no duration"),
        ((".", "--relay", "smtp://x"), ".: Is a directory"),
    ],
)
def test_what_cannot_be_sent_is_exit_code_2(
    run: Run, file: Path, folder: Path, arguments: tuple[str, ...], error: str
) -> None:
    (folder / "nobody.eml").write_bytes(b"From: me@example.com\n\nHello\n")
    (folder / "each.eml").write_bytes(b"From: me@example.com\nTo: $name <$recipient>\n\nHello\n")
    (folder / "unsigned.eml").write_bytes(b"To: me@example.com\n\nHello\n")
    result = run("send", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert error in result.stderr


def test_a_header_that_python_cannot_read_is_said_by_its_file_and_name(run: Run, serve: Serve, folder: Path) -> None:
    (folder / "odd.eml").write_bytes(b"From: me@example.com\nTo: . <ada@example.com>\n\nHello\n")
    result = run("send", "odd.eml", "--relay", serve().url)
    if result.exit_code:  # up to 3.12
        assert (result.exit_code, result.stdout) == (2, "")
        assert "odd.eml: its To or Cc or Bcc cannot be read" in result.stderr
    else:
        assert "ada@example.com" in result.stdout


def test_the_only_relay_that_is_configured_needs_no_name(run: Run, serve: Serve, file: Path, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text(f'[relays]\nmain = "{serve().url}"\n')  # as `init` writes it
    assert run("send", file).output.splitlines()[-1] == "3 of 3 delivered"


def test_without_a_relay_the_configured_ones_are_named(run: Run, file: Path, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text('[relays]\nmain = "smtp://x"\nbulk = "smtp://y"\n')
    assert "no relay: give --relay main or bulk, or set BOUNCEKIT_RELAY" in run("send", file).stderr


def test_an_address_that_would_smuggle_is_refused_alone(run: Run, serve: Serve, file: Path) -> None:
    server = serve()
    result = run(
        "send", file, "--relay", server.url, "--to", "a@example.com", "--to", "b@example.com> SIZE=1", "--json"
    )
    found = recipients(result.output)
    assert result.exit_code == 1
    assert sorted(one["action"] for one in found.values()) == ["delivered", "failed"]
    assert server.messages[0].recipients == ("a@example.com",)


def test_who_is_delayed_is_told_with_the_way_to_send_to_them_alone(run: Run, serve: Serve, file: Path) -> None:
    server = serve({"RCPT": {"full@example.com": "452 4.2.2 Over quota", "eve@example.com": "452 4.2.2 Over quota"}})
    last = run("send", file, "--relay", server.url).output.splitlines()[-1]
    assert last.endswith("send to them alone, with --to full@example.com --to eve@example.com")


def test_nobody_is_told_to_send_to_whom_the_policy_holds(run: Run, serve: Serve, file: Path, folder: Path) -> None:
    (folder / "hold.yaml").write_text(
        "policy: 1\nextends: default\nrules:\n  - {id: mine, when: {category: mailbox_full}, do: hold}\n"
    )
    server = serve({"RCPT": {"full@example.com": "452 4.2.2 Over quota"}})
    result = run("send", file, "--relay", server.url, "--policy", "hold.yaml")
    assert result.output.splitlines()[-1] == "2 of 3 delivered"


def test_an_address_in_advice_is_safe_to_paste_into_a_shell(run: Run, file: Path) -> None:
    with refusing_port() as port:
        result = run("send", file, "--relay", f"smtp://127.0.0.1:{port}", "--to", "a`b`$c@example.com")
    assert result.output.endswith("with --to 'a`b`$c@example.com'\n")


def test_a_class_that_the_policy_does_not_have_is_an_error_before_anything_is_sent(
    run: Run, serve: Serve, file: Path
) -> None:
    server = serve()
    result = run("send", file, "--relay", server.url, "--class", "bukl")
    assert result.exit_code == 2
    assert result.stderr == (
        "bouncekit: error: message_class='bukl': policy default has security, transactional, bulk\n"
    )
    assert server.copies("ada@example.com") == 0


def test_whoever_suppressed_stands_in_the_column_of_rules_as_a_rule_does(run: Run, serve: Serve, file: Path) -> None:
    url = serve(FULL).url
    first, second = (run("send", file, "--relay", url, "--store", "sqlite:///b.db").output for _ in range(2))
    for output in (first, second):
        (row,) = (line for line in output.splitlines() if line.startswith("full@"))
        assert row.split()[-1] == "mailbox-full"
        assert "rule mailbox-full" not in row


def test_who_waits_in_the_queue_is_not_to_be_sent_to_again(run: Run, serve: Serve, file: Path) -> None:
    server = serve({"RCPT": {"full@example.com": "452 4.2.2 Over quota"}})
    options = ("--relay", server.url, "--store", "sqlite:///b.db", "--retry", "queue")
    lines = run("send", file, *options).output.splitlines()
    assert lines[-2:] == [
        "2 of 3 delivered",
        "1 in the queue, for `bouncekit worker` or `bouncekit queue run` to send when it is time",
    ]
    assert "full@example.com" in run("queue", "list", "--store", "sqlite:///b.db").output


def test_a_patient_send_says_once_before_each_wait_until_when_and_why(
    run: Run, serve: Serve, file: Path, folder: Path
) -> None:
    (folder / "hasty.yaml").write_text(
        "policy: 1\nextends: default\nschedules: {hasty: [1s]}\nrules:\n"
        "  - {id: hasty, when: {code: 450}, do: retry, wait: hasty}\n"
    )
    later = ["450 4.3.2 Not now \x1b[2J", "250 Ok"]
    server = serve({"RCPT": {"ada@example.com": later, "eve@example.com": later}})
    result = run("send", file, "--relay", server.url, "--retry", "wait", "--policy", "hasty.yaml")
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("bouncekit: waiting until 2")
    assert "@example.com: 450 4.3.2 Not now \\x1b[2J, by rule hasty; and 1 more" in line
    assert "3 of 3 delivered" in result.output
