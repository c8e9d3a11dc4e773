"""Which store a URL means, and what a wrong one is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from bouncekit.stores import open_store
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.words.errors import ConfigurationError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("url", [None, "sqlite:///:memory:"])
def test_without_a_file_everything_is_in_memory(url: str | None) -> None:
    assert isinstance(open_store(url), MemoryStore)


def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///b.db", "SQLITE:///./b.db", f"sqlite:///{tmp_path}/b.db"):
        with open_store(url) as store:
            assert isinstance(store, SqliteStore)
            assert store.path == str(tmp_path / "b.db")


def test_a_relative_path_stays_where_it_was_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store("sqlite:///b.db") as store:
        monkeypatch.chdir("/")
        assert list(store.suppressions()) == []


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("bounces.db", "write 'sqlite:///bounces.db'"),
        ("/var/lib/bounces.db", "write 'sqlite:////var/lib/bounces.db'"),
        ("sqlite:bounces.db", "write 'sqlite:///bounces.db'"),
        (":memory:", "leave the store out"),
        ("memory", "leave the store out"),
        ("", "write 'sqlite:///bounces.db'"),
        ("sqlite://", "names no file; write 'sqlite:///bounces.db'"),
        ("sqlite:///", "names no file"),
        ("sqlite://bounces.db", "write 'sqlite:///bounces.db'"),
        ("sqlite:///b.db?mode=ro", "no parameters"),
        ("sqlite:///b\0.db", "NUL"),
        ("postgresql://user:secret@host:port/db?no=no", "write 'postgresql://user:password@host/database'"),
        ("postgresql+psycopg://user:secret@host/db?schema=A", "small letters"),
        ("mysql://user:secret@host/db", "no such store; write 'sqlite:///bounces.db'"),
    ],
)
def test_a_wrong_url_is_told_what_would_be_right(
    url: str, right: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert right in str(caught.value)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_sqlite_is_loaded_by_nobody_who_does_not_use_it() -> None:
    code = "import sys, bouncekit.stores as s; s.open_store(None); sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_without_psycopg_a_url_of_postgresql_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from bouncekit.words.errors import MissingExtra\n"
        "from bouncekit.stores import open_store\n"
        "try: open_store('postgresql://user:secret@host/db')\n"
        "except MissingExtra as error: print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert found.stdout == "stores in PostgreSQL need psycopg: python -m pip install 'bouncekit[postgres]'\n"
