"""`manage.py bouncekit`: the command line with the project's own postmaster."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.management import call_command
from django.db import connection

from bouncekit.integrations.django import postmaster
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer

from .conftest import Change
from .project import HAS_MAILERS
from .test_backend import QUEUE, queue

ROOT = Path(__file__).parents[3]
Serve = Callable[..., ScriptedServer]


class Project:
    """A project in a folder, with `manage.py`."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        self.folder = folder
        self.store = f"sqlite:///{folder / 'bounces.db'}"
        options = {"host": server.host, "port": server.port}
        mail = (
            f"MAILERS = {{'default': {{'BACKEND': BACKEND, 'OPTIONS': {options!r}}}}}"
            if HAS_MAILERS
            else f"EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT = BACKEND, {server.host!r}, {server.port}"
        )
        (folder / "settings.py").write_text(
            dedent(
                f"""\
                SECRET_KEY = "of these tests"
                INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "bouncekit.integrations.django"]
                DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "project.db"}}}}
                DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
                BACKEND = "bouncekit.integrations.django.QueueBackend"
                BOUNCEKIT = {{
                    "store": {self.store!r},
                    "retry": "queue",
                    "worker": "external",
                }}
                """
            )
            + mail
            + "\n",
            "utf-8",
        )
        (folder / "manage.py").write_text(
            "import os, sys\nos.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\n"
            "from django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n",
            "utf-8",
        )

    def manage(self, *arguments: str) -> tuple[int, str]:
        """Exit code and what was printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout

    def shell(self, code: str) -> tuple[int, str]:
        return self.manage("shell", "-c", code)


@pytest.fixture
def server(serve: Serve) -> ScriptedServer:
    return serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}})


@pytest.fixture
def project(tmp_path: Path, server: ScriptedServer) -> Project:
    return Project(tmp_path, server)


def test_a_project_sends_works_off_its_queue_and_looks_at_its_list(project: Project, server: ScriptedServer) -> None:
    sent = project.shell(
        "from django.core.mail import EmailMessage\n"
        "print(EmailMessage('Hi', 'Hello', 'me@example.org', ['ada@example.com', 'full@example.com']).send())"
    )
    assert (sent[0], sent[1].strip().splitlines()[-1]) == (0, "1")
    assert server.sessions == ()
    code, said = project.manage("bouncekit", "queue", "run", "--json")
    assert (code, json.loads(said)["tried"]) == (0, 1)
    assert [server.copies(one) for one in ("ada@example.com", "full@example.com")] == [1, 0]
    code, said = project.manage("bouncekit", "suppressions", "list", "--json")
    assert (code, [json.loads(line)["address"] for line in said.splitlines()]) == (0, ["full@example.com"])


def test_verbs_that_read_the_configuration_have_the_projects_secrets(change: Change, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/bounces.db"
    change(options={"host": "localhost"}, BOUNCEKIT={"store": store, "hash_keys": ["a secret of 16 bytes"]})
    call_command("bouncekit", "suppressions", "add", "jo@example.com")
    call_command("bouncekit", "forget", "jo@example.com")
    assert "BOUNCEKIT_STORE" not in os.environ
    with Postmaster(store=store, hash_keys=["a secret of 16 bytes"]) as postmaster:
        assert "jo@example.com" in postmaster.suppressions
        assert [one.address for one in postmaster.suppressions] == [None]


def test_a_project_whose_setting_is_a_file_queues_through_its_mailers_and_has_the_same_store_everywhere(
    change: Change, tmp_path: Path, serve: Serve, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bouncekit.toml").write_text(
        'store = "sqlite:///bounces.db"\nretry = "queue"\nworker = "external"\npatience = "2.5s"\n'
        '[channels]\noperations = "mailto:ops@example.org"\n',
        "utf-8",
    )
    monkeypatch.chdir("/")
    change(server := serve(), backend=QUEUE, BOUNCEKIT=tmp_path / "bouncekit.toml")
    assert mail.EmailMessage("Hi", "Hello", "me@example.org", ["ada@example.com"]).send() == 1
    assert postmaster().office.notices.channels.keys() == {"operations"}
    call_command("bouncekit", "queue", "run", "--json")
    assert json.loads(capfd.readouterr().out)["tried"] == 1
    assert server.copies("ada@example.com") == 1
    call_command("bouncekit", "suppressions", "list")  # of which the configuration says where it is
    assert (tmp_path / "bounces.db").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["why", "nobody@example.com"], 1, "nothing is known"),
        (["wy", "ada@example.com"], 2, "did you mean 'why'"),
        (["doctor"], 1, "bouncekit.integrations.django:postmaster is a postmaster"),
    ],
)
def test_its_exit_codes_are_those_of_the_command_line(
    change: Change, tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    change(options={"host": "127.0.0.1", "port": 1}, BOUNCEKIT=queue(tmp_path))
    call_command("bouncekit", "suppressions", "add", "ada@example.com")
    with pytest.raises(SystemExit) as done:
        call_command("bouncekit", *arguments)
    assert done.value.code == code
    assert said in " ".join("".join(capfd.readouterr()).split())


def test_there_is_nothing_to_migrate_and_the_permissions_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("makemigrations", "--check", "--dry-run")
    call_command("migrate", verbosity=0)
    codes = Permission.objects.filter(content_type__app_label="bouncekit").values_list("codename", flat=True)
    assert sorted(codes) == ["add_suppression", "delete_suppression", "view_suppression"]
    assert [name for name in connection.introspection.table_names() if "bouncekit" in name] == []


def test_help_is_bouncekits_own(change: Change, capfd: pytest.CaptureFixture[str]) -> None:
    change(options={"host": "localhost"})
    call_command("bouncekit", "--", "--help")
    said = capfd.readouterr().out
    assert "Usage: manage.py bouncekit" in said
    assert "suppressions" in said
