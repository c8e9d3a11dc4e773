"""The fixtures that applications test with."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bouncekit.testing import pytest_plugin

pytest_plugins = ["pytester"]

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "test-your-application.md"

APPLICATION = """
import pytest


@pytest.mark.smtp_script({"RCPT": {"full@example.com": "552 5.2.2 Full", "later@example.com": ["451 Greylisted"]}})
@pytest.mark.postmaster(retry="wait", patience="2h")
def test_a_send(smtp_server, mail_postmaster, mail_clock, mail_events):
    with mail_postmaster.smtp(smtp_server.host, smtp_server.port) as smtp:
        smtp.sendmail("shop@example.org", ["later@example.com", "full@example.com"], "Subject: Hi\\r\\n\\r\\nHello")
    mail_events.assert_told("delayed", "delivered", recipient="later@example.com")
    assert [event.category for event in mail_events.of("failed")] == ["mailbox_full"]
    assert mail_events.of("failed", "later@example.com") == []
    assert smtp_server.copies("later@example.com") == 1
    assert len(mail_clock.slept) == 1


def test_a_server_without_a_script_is_correct(smtp_server, mail_postmaster):
    with mail_postmaster.client(smtp_server.url) as client:
        assert client.sendmail("shop@example.org", "ada@example.com", "Hi") == {}


@pytest.mark.provider_replies(category="mailbox_full", provider="docomo")
def test_a_reply_as_a_case(provider_reply, start_smtp_server, mail_events):
    assert start_smtp_server(provider_reply.script).url
    assert provider_reply.category == "mailbox_full"
    mail_events.assert_nothing_told("ada@example.com")


def test_several_servers(start_smtp_server):
    assert start_smtp_server(lmtp=True).url != start_smtp_server().url
"""
UNPLAYED = """
import pytest


@pytest.mark.smtp_script({"RCPT": {"full@example.com": "552 5.2.2 Full"}})
def test_nobody_writes_to_full(smtp_server):
    pass


def test_the_wrong_events(mail_events):
    mail_events.assert_told("delivered")
"""


def test_an_application_tests_its_sends_with_them(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["bouncekit.testing.pytest_plugin"]')
    pytester.makepyfile(APPLICATION)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers").assert_outcomes(passed=4)


@pytest.mark.skipif(not PAGE.exists(), reason="the docs are not here")
def test_the_page_that_shows_them_is_true(pytester: pytest.Pytester) -> None:
    files = re.findall(r"```python\n# (conftest|test_shop)\.py\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert [name for name, _ in files] == ["conftest", "test_shop"]
    pytester.makepyfile(**dict(files))
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "--strict-markers").assert_outcomes(passed=2)


def test_a_script_that_was_not_played_and_events_that_were_not_told_fail(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["bouncekit.testing.pytest_plugin"]')
    pytester.makepyfile(UNPLAYED)
    outcome = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    outcome.assert_outcomes(passed=1, failed=1, errors=1)
    outcome.stdout.fnmatch_lines(["*the script was not played to its end: RCPT full@example.com*", "*told was *"])


def test_a_mark_that_names_no_reply_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["bouncekit.testing.pytest_plugin"]')
    pytester.makepyfile(
        "import pytest\n@pytest.mark.provider_replies(provider='nobody')\ndef test_nothing(provider_reply): pass\n"
    )
    outcome = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    outcome.assert_outcomes(errors=1)
    outcome.stdout.fnmatch_lines(["*no shipped rule has such a reply*"])


def test_nothing_else_of_the_package_imports_pytest() -> None:
    package = Path(pytest_plugin.__file__).parents[1]
    for path in package.rglob("*.py"):
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert "pytest" not in imported or path.name == "pytest_plugin.py", path


def test_the_scripted_server_is_there_without_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; import bouncekit.testing; bouncekit.testing.ScriptedServer()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
