"""What holds is put in another's place at once or not at all, and a delivery goes to its end by what it began with."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bouncekit.delivery.events import Event
from bouncekit.outside.builtin import _content, read_source
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Delay, ManualClock, ScriptedServer
from bouncekit.words.errors import ConfigurationError, PolicyError, RuleError

FULL, GONE = "552 5.2.2 Mailbox full", "550 5.1.1 No such user"
POLICY = "policy: 1\nextends: default\nrules:\n  - {id: mine, when: {category: mailbox_full}, do: %s}\n"
RULES = '[[rule]]\nid = "karma"\nsource = "x"\ntext = "bad karma"\ncategory = "%s"\nexamples = ["550 Bad karma"]\n'
SHOP = "shop@example.org"
ADA = "ada@example.com"
MAIL = "Subject: Hi\r\n\r\nHello\r\n"
SECONDS = timedelta(seconds=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(POLICY % "hold")
    return path


@contextmanager
def made(file: Path, **options: Any) -> Iterator[tuple[Postmaster, list[Event]]]:
    told: list[Event] = []
    with Postmaster(policy=file, clock=ManualClock(), **options) as postmaster:
        postmaster.on("policy_loaded", "policy_refused", "shadow_differed")(told.append)
        yield postmaster, told


def sent(postmaster: Postmaster, server: ScriptedServer, to: str = ADA) -> Any:
    """The rule and the fate by which a recipient was settled."""
    with postmaster.client(server.url) as client:
        try:
            report = client.sendmail(SHOP, [to], MAIL)
        except Exception as error:
            report = error.report  # type: ignore[attr-defined]
    return report.recipients[0]


def test_reload_puts_what_the_file_says_now_in_force_and_tells_it(file: Path) -> None:
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file) as (postmaster, told):
        before = postmaster.policy.hash
        assert sent(postmaster, server).fate == "hold"
        file.write_text(POLICY % "fail")
        assert sent(postmaster, server).fate == "hold"  # nobody has asked for it
        assert postmaster.reload()
        assert sent(postmaster, server).fate == "fail"
        assert not postmaster.reload()
    (event,) = told
    assert (event.type, event.details["by"], event.details["before_hash"]) == ("policy_loaded", "reload", before)
    assert event.occasion.policy_hash == postmaster.policy.hash != before


def test_every_outcome_names_the_policy_that_decided_it(file: Path) -> None:
    hashes = []
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file) as (postmaster, _):
        postmaster.on("failed", "delayed")(lambda event: hashes.append(event.occasion.policy_hash))
        sent(postmaster, server)
        first = postmaster.policy.hash
        file.write_text(POLICY % "fail")
        postmaster.reload()
        sent(postmaster, server)
        assert hashes == [first, postmaster.policy.hash]


def test_a_faulty_file_changes_nothing_and_says_so(file: Path) -> None:
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file) as (postmaster, told):
        held = postmaster.policy
        file.write_text(POLICY % "hodl")
        with pytest.raises(PolicyError) as raised:
            postmaster.reload()
        assert postmaster.policy is held
        assert sent(postmaster, server).fate == "hold"
    (event,) = told
    assert event.type == "policy_refused"
    assert event.occasion.policy_hash == held.hash
    assert event.details["why"] == str(raised.value.findings[0])
    assert event.details["mistakes"] == 1


@pytest.mark.parametrize("text", ["", "policy: 1\n", "\x00", "policy: 1\nextends: nowhere\n", None])
def test_whatever_stands_in_the_file_what_held_holds_on(file: Path, text: str | None) -> None:
    with made(file) as (postmaster, told):
        held = postmaster.policy
        file.unlink() if text is None else file.write_text(text)
        with pytest.raises(ConfigurationError):
            postmaster.reload()
        assert postmaster.policy is held
        assert [event.type for event in told] == ["policy_refused"]


def test_another_policy_may_be_put_in_force_and_is_the_one_that_is_read_again(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(POLICY % "retry")
    with made(file) as (postmaster, _):
        assert postmaster.reload(other)
        assert postmaster.policy.name == "other"
        other.write_text(POLICY % "fail")
        assert postmaster.reload()
        assert postmaster.reload("bulk")
        assert postmaster.policy.name == "bulk"


def test_a_policy_without_a_channel_that_is_set_up_is_refused(file: Path) -> None:
    own = "policy: 1\nclasses: {mail: {deadline: 1d, default: true}}\nrules: [{id: all, do: fail}]\n"
    with made(file, channels={"operations": print}) as (postmaster, told):
        file.write_text(own)
        with pytest.raises(ConfigurationError, match="channel 'operations' is not one of the policy's channels: none"):
            postmaster.reload()
        assert [event.type for event in told] == ["policy_refused"]
        assert postmaster.policy.channels


def test_rules_about_replies_are_read_again_too(file: Path, tmp_path: Path) -> None:
    rules = tmp_path / "mine.toml"
    rules.write_text(RULES % "blocklisted")
    with ScriptedServer({"RCPT": {ADA: "550 Bad karma"}}) as server, made(file, rules=[rules]) as (postmaster, told):
        assert sent(postmaster, server).category == "blocklisted"
        rules.write_text(RULES % "spam_content")
        assert postmaster.reload()
        assert sent(postmaster, server).category == "spam_content"
        rules.write_text(RULES % "no_such_category")
        with pytest.raises(RuleError):
            postmaster.reload()
        assert sent(postmaster, server).category == "spam_content"
        assert [event.type for event in told] == ["policy_loaded", "policy_refused"]


def test_a_delivery_under_way_goes_to_its_end_by_the_policy_with_which_it_began(file: Path) -> None:
    """The server answers while the policy is changed: the verdict is that of the one before."""
    with ScriptedServer({"RCPT": {ADA: Delay(1.0, FULL)}}) as server, made(file) as (postmaster, _):
        outcomes: list[Any] = []
        sender = Thread(target=lambda: outcomes.append(sent(postmaster, server)))
        sender.start()
        deadline = time.monotonic() + 30
        while not server.sessions and time.monotonic() < deadline:
            time.sleep(0.01)
        file.write_text(POLICY % "fail")
        assert postmaster.reload()
        assert outcomes == []
        sender.join()
        assert [outcome.fate for outcome in outcomes] == ["hold"]
        assert sent(postmaster, server).fate == "fail"


def test_a_watched_file_is_read_again_when_two_looks_have_found_it_the_same(file: Path) -> None:
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file, watch_policy=True) as (postmaster, told):
        clock = postmaster.office.clock
        assert isinstance(clock, ManualClock)
        assert sent(postmaster, server).fate == "hold"
        file.write_text(POLICY % "fail")
        fates = []
        for _ in range(4):
            clock.move(3 * SECONDS)
            fates.append(str(sent(postmaster, server).fate))
        assert fates == ["hold", "fail", "fail", "fail"]
        assert [(event.type, event.details["by"]) for event in told] == [("policy_loaded", "file change")]


def test_a_watched_file_that_is_faulty_is_told_once_and_read_again_when_it_is_mended(file: Path) -> None:
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file, watch_policy=True) as (postmaster, told):
        clock = postmaster.office.clock
        assert isinstance(clock, ManualClock)
        for text, fate in ((POLICY % "hodl", "hold"), (POLICY % "fail", "fail")):
            file.write_text(text)
            for _ in range(5):
                clock.move(3 * SECONDS)
                outcome = sent(postmaster, server)
            assert outcome.fate == fate
        assert [event.type for event in told] == ["policy_refused", "policy_loaded"]


def test_a_mistake_in_another_file_is_mended_there(file: Path, tmp_path: Path) -> None:
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file, watch_policy=True) as (postmaster, told):
        clock = postmaster.office.clock
        assert isinstance(clock, ManualClock)
        (tmp_path / "base.yaml").write_text(POLICY % "hodl")
        file.write_text("policy: 1\nextends: base.yaml\n")
        for text in (None, POLICY % "fail"):
            if text:
                (tmp_path / "base.yaml").write_text(text)
            for _ in range(4):
                clock.move(3 * SECONDS)
                outcome = sent(postmaster, server)
        assert outcome.fate == "fail"
        assert [event.type for event in told] == ["policy_refused", "policy_loaded"]


def test_files_that_nobody_watches_are_not_looked_at(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer() as server, made(file) as (postmaster, _):
        looked: list[Any] = []
        stat = os.stat
        monkeypatch.setattr(os, "stat", lambda *given, **more: looked.append(given) or stat(*given, **more))
        sent(postmaster, server)
        monkeypatch.undo()
        assert [one for one in looked if str(file) in map(str, one)] == []


def test_throttles_of_the_new_policy_hold_from_then_on(file: Path) -> None:
    with made(file) as (postmaster, _):
        assert postmaster.office.gate.is_free
        file.write_text(POLICY % "hold" + "throttles: {relays: {main: {rate: 1/m}}}\n")
        postmaster.reload()
        assert not postmaster.office.gate.is_free


def test_who_hears_of_a_refused_policy_may_ask_for_another_at_once(file: Path) -> None:
    with made(file) as (postmaster, told):
        postmaster.on("policy_refused")(lambda event: postmaster.reload("bulk"))
        file.write_text("policy: 1\nrules: nonsense\n")
        asking = Thread(target=lambda: suppressed(postmaster.reload), daemon=True)
        asking.start()
        asking.join(10)
        assert not asking.is_alive()
        assert [event.type for event in told] == ["policy_refused", "policy_loaded"]
        assert postmaster.policy.name == "bulk"


def test_who_asks_for_the_same_again_is_refused_and_not_told_again(file: Path) -> None:
    with made(file) as (postmaster, told):
        refused: list[Exception] = []

        @postmaster.on("policy_refused")
        def again(event: Event) -> None:
            with pytest.raises(ConfigurationError) as error:
                postmaster.reload()
            refused.append(error.value)

        file.write_text("policy: 1\nrules: nonsense\n")
        with pytest.raises(ConfigurationError):
            postmaster.reload()
        assert ([event.type for event in told], len(refused)) == (["policy_refused"], 1)


def suppressed(reload: Any) -> None:
    with suppress(ConfigurationError):
        reload()


@pytest.mark.parametrize("first", ["fail", "hodl"])
def test_what_is_written_while_the_file_is_read_is_read_too(
    file: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    def read(name: Any, **more: Any) -> Any:
        try:
            return read_source(name, **more)
        finally:
            file.write_text(texts.pop() if texts else file.read_text())

    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file, watch_policy=True) as (postmaster, _):
        clock = postmaster.office.clock
        assert isinstance(clock, ManualClock)
        texts = [POLICY % "retry" + "# by now\n"]
        monkeypatch.setattr("bouncekit.desk.law.read_source", read)
        file.write_text(POLICY % first)
        with suppress(ConfigurationError):
            postmaster.reload()
        monkeypatch.undo()
        for _ in range(3):
            clock.move(3 * SECONDS)
            outcome = sent(postmaster, server)
        assert outcome.fate == "retry"


def fate_behind(postmaster: Postmaster, server: ScriptedServer, looks: int = 3) -> str:
    """What becomes of a full mailbox when the files have been looked at so often."""
    clock = postmaster.office.clock
    assert isinstance(clock, ManualClock)
    for _ in range(looks):
        clock.move(3 * SECONDS)
        outcome = sent(postmaster, server)
    return str(outcome.fate)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], None]:
    """Has a file written anew at the very moment when it has been read, the first time."""

    def when_read(path: Path, text: str) -> None:
        texts = [text]

        def content(file: Path, opening: Any) -> str:
            found = _content(file, opening)
            if file == path and texts:
                file.write_text(texts.pop())
            return found

        monkeypatch.setattr("bouncekit.outside.builtin._content", content)

    return when_read


def test_a_policy_that_is_written_while_it_is_read_for_the_first_time_is_read_too(
    file: Path, written: Callable[[Path, str], None]
) -> None:
    written(file, POLICY % "fail" + "# by now\n")
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file, watch_policy=True) as (postmaster, told):
        assert sent(postmaster, server).fate == "hold"
        assert fate_behind(postmaster, server) == "fail"
        assert [event.type for event in told] == ["policy_loaded"]


def test_a_base_that_was_not_known_before_and_is_written_while_it_is_read_is_read_too(
    file: Path, tmp_path: Path, written: Callable[[Path, str], None]
) -> None:
    base = tmp_path / "base.yaml"
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file, watch_policy=True) as (postmaster, told):
        base.write_text(POLICY % "retry")
        written(base, POLICY % "fail" + "# by now\n")
        file.write_text("policy: 1\nextends: base.yaml\n")
        assert fate_behind(postmaster, server, looks=6) == "fail"
        assert [event.type for event in told] == ["policy_loaded", "policy_loaded"]


def test_rules_that_were_not_known_before_and_are_written_while_they_are_read_are_read_too(
    file: Path, tmp_path: Path, written: Callable[[Path, str], None]
) -> None:
    rules = tmp_path / "rules.toml"
    with ScriptedServer({"RCPT": {ADA: "550 Bad karma"}}) as server, made(file, watch_policy=True) as (postmaster, _):
        rules.write_text(RULES % "blocklisted")
        written(rules, RULES % "spam_content")
        file.write_text("policy: 1\nextends: default\nmeaning: rules.toml\n")
        fate_behind(postmaster, server, looks=6)
        assert sent(postmaster, server).category == "spam_content"


@pytest.mark.parametrize("named", ["extends: new.yaml", "extends: default\nmeaning: new.toml"])
def test_a_file_that_is_named_before_it_is_there_is_read_when_it_appears(
    file: Path, tmp_path: Path, named: str
) -> None:
    new = tmp_path / named.rpartition(" ")[2]
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file, watch_policy=True) as (postmaster, told):
        file.write_text(f"policy: 1\n{named}\nrules:\n  - {{id: mine, when: {{code: 552}}, do: fail}}\n")
        assert fate_behind(postmaster, server) == "hold"
        new.write_text(POLICY % "hold" if new.suffix == ".yaml" else RULES % "spam_content")
        assert fate_behind(postmaster, server) == "fail"
        assert [event.type for event in told] == ["policy_refused", "policy_loaded"]


def test_what_was_written_is_read_though_another_policy_is_asked_for_and_refused_meanwhile(file: Path) -> None:
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file, watch_policy=True) as (postmaster, told):
        file.write_text(POLICY % "fail" + "# by now\n")
        assert fate_behind(postmaster, server, looks=1) == "hold"
        with pytest.raises(ConfigurationError):
            postmaster.reload(file.with_name("nowhere.yaml"))
        assert fate_behind(postmaster, server) == "fail"
        assert [event.type for event in told] == ["policy_refused", "policy_loaded"]


def test_a_policy_that_is_gone_is_told_once_and_read_when_it_is_back(file: Path) -> None:
    with ScriptedServer({"RCPT": {ADA: FULL}}) as server, made(file, watch_policy=True) as (postmaster, told):
        file.unlink()
        assert fate_behind(postmaster, server, looks=5) == "hold"
        file.write_text(POLICY % "fail")
        assert fate_behind(postmaster, server) == "fail"
        assert [event.type for event in told] == ["policy_refused", "policy_loaded"]
