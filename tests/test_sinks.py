"""Events as lines of log and lines of JSON, with hostile text in them."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.delivery.settlement import Settlement
from bouncekit.meaning.classification import Category, Scope
from bouncekit.outside.bus import Bus
from bouncekit.sinks.jsonlines import JsonLines
from bouncekit.sinks.log import LEVELS, LogSink
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOSTILE = "552 \x1b[2Jfull\r\n2026-01-01 INFO forged \u202eline\udcff\x00"
TEXT = (
    "failed recipient=a…@example.com code=552 category=mailbox_full scope=recipient rule=full "
    "message_id=<1@x> event_id=1"
)


def event(type_: str = "failed", recipient: str = "ada@example.com", **details: Any) -> Event:
    occasion = Occasion(attempt_id="a", at=NOW, message_id=details.pop("message_id", "<1@x>"))
    settlement = None
    if type_ in tuple(Action):
        settlement = Settlement(
            recipient=recipient,
            action=Action(type_),
            stage=Stage.RCPT,
            reply=details.pop("reply", Reply(552, b"5.2.2 full of ada@example.com")),
            category=Category.MAILBOX_FULL,
            scope=Scope.RECIPIENT,
            rule=details.pop("rule", "full"),
            retry_at=NOW + timedelta(hours=1) if type_ == "delayed" else None,
        )
    return Event(
        id="1",
        type=EventType(type_),
        occasion=occasion,
        recipient=recipient,
        settlement=settlement,
        details=details,
    )


class Kept(logging.Handler):
    """Keeps what is logged, and how a formatter writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.lines.append(self.format(record))


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Logging as an application configures it, at DEBUG."""
    logger, handler = logging.getLogger("bouncekit"), Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    structlog.reset_defaults()


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)


# -- the log


def test_a_line_says_what_happened_to_whom_and_why(kept: Kept) -> None:
    LogSink()(event())
    assert kept.lines == [TEXT]
    assert kept.records[0].name == "bouncekit.events"


def test_a_delay_says_when_the_next_try_is_due(kept: Kept) -> None:
    LogSink()(event("delayed"))
    assert "retry_at=2026-01-01T13:00:00.000Z" in kept.lines[0]


def test_the_values_are_attributes_of_the_record_for_formatters_that_want_them(kept: Kept) -> None:
    LogSink()(event())
    assert vars(kept.records[0]).items() >= {"code": 552, "category": "mailbox_full", "message_id": "<1@x>"}.items()


def test_every_type_of_event_has_a_level() -> None:
    assert LEVELS.keys() == set(EventType)


@pytest.mark.parametrize(
    ("told", "level"),
    [
        (event("delivered"), "INFO"),
        (event("delayed"), "INFO"),
        (event("failed"), "WARNING"),
        (event("suppressed"), "INFO"),
        (event("unknown"), "WARNING"),
        (event("suppression_added"), "WARNING"),
        (event("suppression_lifted"), "INFO"),
        (event("notified"), "INFO"),
        (event("not_notified"), "WARNING"),
        (event("closed", expected=True), "DEBUG"),
        (event("closed", expected=False), "WARNING"),
        (event("reconnected"), "INFO"),
        (event("insecure_tls"), "WARNING"),
    ],
    ids=lambda value: value.type.value if isinstance(value, Event) else value,
)
def test_the_level_says_whether_somebody_has_to_look(kept: Kept, told: Event, level: str) -> None:
    LogSink()(told)
    assert kept.records[0].levelname == level


@pytest.mark.parametrize("value", [HOSTILE, "x" * 5000, "line\nline", 'quote" =x', "\x9b31m"])
@pytest.mark.parametrize("place", ["recipient", "rule", "message_id", "remote_mta", "why"])
def test_one_event_is_one_printable_line_whatever_servers_and_callers_wrote(kept: Kept, place: str, value: str) -> None:
    LogSink(addresses=True)(event(**{place: value}))
    assert kept.lines[0].isprintable()
    assert len(kept.lines[0]) < 1000


def test_a_value_cannot_pass_for_another_one(kept: Kept) -> None:
    LogSink()(event(rule='a" code=250 b="', message_id="<1@x> code=250"))
    assert r'rule="a\" code=250 b=\""' in kept.lines[0]
    assert 'message_id="<1@x> code=250"' in kept.lines[0]


def test_addresses_and_secrets_are_not_in_the_log(kept: Kept) -> None:
    why = "SMTPRecipientsRefused: {'ada@example.com': (550, b'no')} at smtp://jo:hunter2@relay"
    LogSink()(event("not_notified", why=why, channel="operations"))
    assert "channel=operations" in kept.lines[0]
    assert "a…@example.com" in kept.lines[0]
    assert "ada" not in kept.lines[0]
    assert "hunter2" not in kept.lines[0]


def test_whole_addresses_are_logged_where_the_owner_asks_for_them(kept: Kept) -> None:
    LogSink(addresses=True)(event())
    assert "recipient=ada@example.com" in kept.lines[0]


def test_structlog_on_top_of_logging_shows_the_events_like_the_application_s_own_lines(kept: Kept) -> None:
    shared: list[Any] = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    kept.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()]
        )
    )
    with structlog.contextvars.bound_contextvars(request="r1"):
        LogSink()(event())
    line = json.loads(kept.lines[0])
    assert line.items() >= {"event": "failed", "code": 552, "level": "warning", "request": "r1"}.items()


def test_structlog_may_be_configured_after_the_first_event(kept: Kept) -> None:
    sink = LogSink()
    sink(event())
    structlog.configure(
        processors=[structlog.stdlib.render_to_log_kwargs], logger_factory=structlog.stdlib.LoggerFactory()
    )
    sink(event())
    assert kept.lines == [TEXT, "failed"]
    assert vars(kept.records[1])["code"] == 552


def test_structlog_that_prints_on_its_own_is_left_alone(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    LogSink()(event())
    assert kept.lines == [TEXT]
    assert capsys.readouterr().out == ""


def test_a_formatter_of_structlog_without_its_configuration_shows_the_text(kept: Kept) -> None:
    kept.setFormatter(structlog.stdlib.ProcessorFormatter(structlog.processors.JSONRenderer()))
    LogSink()(event())
    assert json.loads(kept.lines[0]) == {"event": TEXT}


_PUBLISH = (
    "import sys, logging; from bouncekit.sinks.log import LogSink\n"
    "from bouncekit.delivery.events import *; from datetime import *\n"
    "told = Event(id='1', type=EventType.FAILED, occasion=Occasion(attempt_id='1', at=datetime.now(UTC)))\n"
)


def test_an_application_without_logging_sees_nothing_and_loads_no_structlog() -> None:
    done = run(_PUBLISH + "LogSink()(told); print('structlog' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_basic_config_is_enough_to_see_warnings() -> None:
    done = run("import logging; logging.basicConfig()\n" + _PUBLISH + "LogSink()(told)")
    assert done.stderr == "WARNING:bouncekit.events:failed event_id=1\n"


def test_an_event_costs_little_where_nobody_reads_the_log() -> None:
    """Measured 1 us; the limit only catches rendering that nobody sees."""
    bus, told = Bus(), [event("delivered")] * 1000
    bus.on(LogSink())
    logging.getLogger("bouncekit").setLevel(logging.ERROR)
    try:
        best = min(_seconds(lambda: bus.publish(told)) for _ in range(5))
    finally:
        logging.getLogger("bouncekit").setLevel(logging.NOTSET)
    assert best / 1000 < 20e-6


def _seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


# -- lines of JSON


def test_each_event_is_one_line_that_reads_back_as_the_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JsonLines(path) as sink:
        sink(event())
        sink(event("closed", reply=HOSTILE, remote_mta=None))
    lines = path.read_bytes().splitlines(keepends=True)
    assert [json.loads(line) for line in lines] == [
        event().to_dict(),
        event("closed", reply=HOSTILE, remote_mta=None).to_dict(),
    ]


@pytest.mark.parametrize("text", [HOSTILE, "a\u2028b\u2029c\x85d", "\r\n" * 50])
def test_a_line_is_ascii_without_control_characters_whatever_is_in_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.jsonl"
    JsonLines(str(path))(event(recipient=text, why=text, message_id=text))
    data = path.read_bytes()
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert all(32 <= byte < 127 for byte in data[:-1])


def test_a_stream_gets_the_line_at_once_and_stays_open() -> None:
    stream = io.StringIO()
    with JsonLines(stream) as sink:
        sink(event())
    assert json.loads(stream.getvalue())["type"] == "failed"


def test_the_file_is_the_owner_s_alone_and_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        JsonLines(path)(event())
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().splitlines()) == 2


def test_a_file_that_was_rotated_away_is_made_anew(tmp_path: Path) -> None:
    path, old = tmp_path / "events.jsonl", tmp_path / "events.jsonl.1"
    sink = JsonLines(path)
    sink(event("failed"))
    path.rename(old)
    sink(event("delayed"))
    path.unlink()
    sink(event("delivered"))
    assert json.loads(old.read_text())["type"] == "failed"
    assert json.loads(path.read_text())["type"] == "delivered"


def test_a_relative_path_stays_where_it_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sink = JsonLines("events.jsonl")
    monkeypatch.chdir("/")
    sink(event())
    assert (tmp_path / "events.jsonl").stat().st_size > 0


def test_threads_and_processes_do_not_tear_each_other_s_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonLines(path)
    code = (
        _PUBLISH + f"from bouncekit.sinks.jsonlines import JsonLines\nsink = JsonLines({str(path)!r})\n"
        "for _ in range(300): sink(told)"
    )
    other = subprocess.Popen([sys.executable, "-c", code])
    threads = [threading.Thread(target=lambda: [sink(event(why="x" * 5000)) for _ in range(100)]) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert other.wait(60) == 0
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 700


def test_a_stream_whose_lock_was_held_at_the_fork_is_written_by_the_child(tmp_path: Path) -> None:
    code = (
        _PUBLISH + "import os, signal, warnings; from bouncekit.sinks.jsonlines import JsonLines\n"
        "sink = JsonLines(sys.stdout)\n"
        "with sink._lock:\n"  # as another thread may hold it
        "    child = os.fork()\n"
        "    if child == 0:\n        signal.alarm(20); sink(told); os._exit(0)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["type"] == "failed"


def test_a_directory_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        JsonLines(tmp_path / "nowhere" / "events.jsonl")


def test_a_full_disk_is_the_bus_s_to_log_and_the_next_line_starts_on_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A limit on the size of files stands for the disk: the kernel takes what fits, then nothing."""
    resource = pytest.importorskip("resource")
    import signal

    path, bus = tmp_path / "events.jsonl", Bus()
    bus.on(JsonLines(path))
    bus.publish([event()])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, limits[1]))
        bus.publish([event()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    bus.publish([event()])
    first, torn, last = path.read_text().splitlines()
    assert json.loads(first) == json.loads(last)
    assert len(torn) == 100
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [OSError]


def test_behind_close_nothing_more_is_taken(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "events.jsonl") as sink:
        pass
    with pytest.raises(ValueError, match="closed"):
        sink(event())


def test_a_device_can_be_written_to() -> None:
    JsonLines(os.devnull)(event())
