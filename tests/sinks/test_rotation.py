"""Files of events that are put aside: by size, by day, so many of them, and none is lost by a kill."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bouncekit.history.retelling import retold
from bouncekit.sinks.jsonlines import JsonLines
from bouncekit.sinks.rotation import Rotation
from bouncekit.words.errors import ConfigurationError

from .conftest import many, told

ROOT = Path(__file__).parents[2]


def ids(*paths: Path) -> list[str]:
    return [json.loads(line)["id"] for path in paths for line in path.read_text().splitlines()]


def aside(path: Path, *numbers: int) -> list[Path]:
    return [path.with_name(f"{path.name}.{number}") for number in numbers]


def test_a_file_is_put_aside_before_it_grows_too_large(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    size = len(json.dumps(told(), separators=(",", ":"))) + 1
    sink = JsonLines(path, max_bytes=3 * size, keep=2)
    for event in many(8):
        sink.send([event])
    assert ids(*aside(path, 2, 1), path) == [event["id"] for event in many(8)]
    assert all(one.stat().st_size <= 3 * size for one in (path, *aside(path, 1, 2)))
    for number in (9, 10):
        sink.send([told(number)])
    assert ids(*aside(path, 2, 1), path) == [told(number)["id"] for number in range(4, 11)]
    assert not aside(path, 3)[0].exists()


def test_a_batch_larger_than_a_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonLines(path, max_bytes=1)
    sink.send(many(3))
    sink.send(many(2))
    assert ids(*aside(path, 1)) == [event["id"] for event in many(3)]
    assert ids(path) == [event["id"] for event in many(2)]


def test_a_file_is_put_aside_when_the_day_of_its_last_line_is_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonLines(path, daily=True)
    sink.send([told(1)])
    sink.send([told(2)])
    assert not aside(path, 1)[0].exists() or time.time() % 86_400 < 60
    yesterday = time.time() - 86_400
    os.utime(path, (yesterday, yesterday))
    sink(retold(told(3)))
    assert ids(*aside(path, 1)) == [told(1)["id"], told(2)["id"]]
    assert ids(path) == [told(3)["id"]]


def test_none_may_stay(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonLines(path, max_bytes=1, keep=0)
    sink.send([told(1)])
    sink.send([told(2)])
    assert ids(path) == [told(2)["id"]]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.lock"]


def test_a_kill_at_any_moment_of_the_turn_loses_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dies before each of its renames in turn; whoever comes next goes on, and only the oldest makes room."""
    rename, left = os.replace, [0]

    def dies(source: str, target: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", dies)
    for moment in range(4):
        path = tmp_path / f"{moment}.jsonl"
        sink, number = JsonLines(path, max_bytes=1, keep=3), 0
        left[0] = 10**9
        for number in (1, 2, 3, 4):
            sink.send([told(number)])
        left[0] = moment
        try:
            sink.send([told(5)])
        except KeyboardInterrupt:
            left[0] = 10**9
            sink.send([told(5)])
        found = [one for one in (*aside(path, 3, 2, 1), path) if one.exists()]
        assert ids(*found) == [told(number)["id"] for number in (2, 3, 4, 5)]


def test_processes_that_turn_the_same_file_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = (
        "import sys\nfrom tests.sinks.conftest import told\nfrom bouncekit.history.retelling import retold\n"
        "from bouncekit.sinks.jsonlines import JsonLines\n"
        "sink = JsonLines(sys.argv[1], max_bytes=5000, keep=1000)\n"
        "for number in range(int(sys.argv[2]), int(sys.argv[2]) + 200): sink(retold(told(number)))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(first)], cwd=ROOT) for first in (1000, 2000, 3000)
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    files = [one for one in tmp_path.iterdir() if one.suffix != ".lock"]
    assert len(files) > 10
    assert sorted(ids(*files)) == sorted(
        told(number)["id"] for first in (1000, 2000, 3000) for number in range(first, first + 200)
    )


def test_a_line_that_another_process_left_torn_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"id":"half')
    JsonLines(path).send(many(2))
    torn, *lines = path.read_text().splitlines()
    assert torn == '{"id":"half'
    assert [json.loads(line)["id"] for line in lines] == [event["id"] for event in many(2)]


def test_a_disk_that_is_full_is_a_failure_of_the_whole_batch(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    import signal

    path = tmp_path / "events.jsonl"
    sink = JsonLines(path)
    sink.send([told(1)])
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, limits[1]))
        with pytest.raises(OSError, match=r"File too large|No space"):
            sink.send([told(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    sink.send([told(2)])
    first, torn, last = path.read_text().splitlines()
    assert (json.loads(first)["id"], len(torn), json.loads(last)["id"]) == (told(1)["id"], 100, told(2)["id"])


def test_what_has_no_subject_has_none_in_the_line(tmp_path: Path) -> None:
    """Readers of CloudEvents differ in whether an attribute may be null; ours knows it either way."""
    path = tmp_path / "events.jsonl"
    JsonLines(path).send([{**told(), "subject": None}])
    line = json.loads(path.read_text())
    assert "subject" not in line
    assert retold(line).id == told()["id"]


@pytest.mark.parametrize("settings", [{"max_bytes": 0}, {"max_bytes": "1M"}, {"daily": True, "keep": -1}])
def test_what_cannot_be_is_said_at_once(tmp_path: Path, settings: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        JsonLines(tmp_path / "events.jsonl", **settings)  # type: ignore[arg-type]


def test_a_stream_is_never_rotated() -> None:
    make: Callable[..., JsonLines] = JsonLines
    with pytest.raises(ConfigurationError, match="a stream cannot be rotated"):
        make(sys.stdout, daily=True)
    assert Rotation(daily=True).keep == 7
