"""`init`: what it writes is right, fits what is there, and replaces nothing."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bouncekit.postmaster.config import Config
from bouncekit.testing import ScriptedServer
from tests.cli.conftest import ROOT, Run

FRAMEWORKS = ("django", "fastapi", "flask", "plain")
SENDS = """
import smtplib, sys
with smtplib.SMTP(sys.argv[1], int(sys.argv[2])) as smtp:
    smtp.sendmail("shop@example.org", ["ada@example.com", "full@example.com"], "Subject: Hi\\r\\n\\r\\nHi")
"""


def shown(output: str) -> str:
    """The program that it says to write."""
    return "\n".join(line[4:] for line in output.splitlines() if not line or line.startswith("    "))


def test_what_it_writes_is_a_policy_and_a_configuration(run: Run, folder: Path) -> None:
    result = run("init", "--relay", "smtp://mail.example.org:587")
    assert (result.exit_code, "wrote bounces.yaml\nwrote bouncekit.toml\n" in result.output) == (0, True)
    config = Config.read(folder, {})
    assert (config.policy, config.store) == (str(folder / "bounces.yaml"), f"sqlite:///{folder / 'bounces.db'}")
    assert config.relays == {"main": "smtp://mail.example.org:587"}
    assert run("policy", "check", "bounces.yaml").output == "bounces.yaml: ok\n"
    assert run("policy", "test", "bounces.yaml").exit_code == 0
    assert "extends: transactional" in (folder / "bounces.yaml").read_text("utf-8")


def test_only_what_may_hold_a_secret_is_for_its_owner_alone(run: Run, folder: Path) -> None:
    (folder / "usual").touch()
    run("init")
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"usual": modes["usual"], "bounces.yaml": modes["usual"], "bouncekit.toml": 0o600}


def test_what_stands_behind_a_hash_is_right_too(run: Run, folder: Path) -> None:
    run("init")
    policy = folder / "bounces.yaml"
    lines = policy.read_text("utf-8").splitlines()
    rule = next(place for place, line in enumerate(lines) if line.startswith("  # - id:"))
    lines[rule:] = [line.replace("  # ", "  ", 1) for line in lines[rule:]]
    policy.write_text("\n".join(lines), "utf-8")
    assert run("policy", "test", "bounces.yaml").exit_code == 0
    assert "mailbox-full" in run("policy", "show", "bounces.yaml").output


@pytest.mark.parametrize(
    ("name", "text", "framework"),
    [
        ("manage.py", "", "django"),
        ("requirements.txt", "Django>=5.2\n", "django"),
        ("pyproject.toml", '[project]\ndependencies = ["flask~=3.0"]\n', "flask"),
        ("requirements.txt", "fastapi[standard]==0.115\n", "fastapi"),
        ("requirements.txt", "django-stubs\nflask_cors\n", "plain"),
        ("requirements.txt", "\xff" * 100, "plain"),
    ],
)
def test_the_framework_is_known_by_its_sign(run: Run, folder: Path, name: str, text: str, framework: str) -> None:
    (folder / name).write_text(text, "latin-1")
    found = run("init").output
    assert shown(found) == shown(run("init", "other", "--framework", framework).output)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_it_shows_is_python(run: Run, framework: str) -> None:
    ast.parse(shown(run("init", "--framework", framework).output))


OURS = "bouncekit.integrations.django.EmailBackend"


@pytest.mark.parametrize(
    ("installed", "mail"),
    [
        ("6.1a1", {"MAILERS": {"default": {"BACKEND": OURS, "OPTIONS": {"host": "mail.example.org", "port": 587}}}}),
        ("5.2.19", {"EMAIL_BACKEND": OURS, "EMAIL_HOST": "mail.example.org", "EMAIL_PORT": 587}),
    ],
)
def test_a_django_project_gets_the_settings_of_its_version_and_has_one_configuration(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, installed: str, mail: dict[str, Any]
) -> None:
    """6.1 takes no EMAIL_* beside MAILERS, 5.2 has no MAILERS; `startproject` of 6.1 has begun some."""
    (folder / "packages" / "django.dist-info").mkdir(parents=True)
    (folder / "packages" / "django.dist-info" / "METADATA").write_text(f"Name: django\nVersion: {installed}\n", "utf-8")
    monkeypatch.syspath_prepend(folder / "packages")
    told = run("init", "--framework", "django", "--relay", "smtp://mail.example.org:587").output
    begun: dict[str, Any] = {"BASE_DIR": folder, "INSTALLED_APPS": []} | ({"MAILERS": {}} if "MAILERS" in mail else {})
    exec(shown(told), settings := dict(begun))
    changed = {"INSTALLED_APPS": ["bouncekit.integrations.django"], "BOUNCEKIT": folder / "bouncekit.toml", **mail}
    assert {name: settings[name] for name in settings if name.isupper()} == {"BASE_DIR": folder, **changed}
    assert Config.read(folder, {}).relays == {}  # the mailers are
    assert told.endswith("then: python manage.py bouncekit doctor\n")


def test_the_plain_program_hears_of_what_stock_smtplib_throws_away(run: Run, folder: Path) -> None:
    with ScriptedServer({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}}) as server:
        program = shown(run("init", "--relay", f"smtp://{server.host}:{server.port}").output)
        command = [sys.executable, "-c", f"{program}\n{SENDS}", server.host, str(server.port)]
        environ = {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("failed full@example.com mailbox_full\n", "")
    assert "full@example.com" in run("suppressions", "list").output


def test_a_program_reads_what_a_person_does(run: Run) -> None:
    told = json.loads(run("init", "one", "--framework", "flask", "--json").output)
    assert (told["written"], told["framework"]) == (["one/bounces.yaml", "one/bouncekit.toml"], "flask")
    assert told["text"] == shown(run("init", "two", "--framework", "flask").output).strip()


def test_nothing_is_replaced_without_force(run: Run, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text("# mine", "utf-8")
    refused = run("init")
    assert (refused.exit_code, "bouncekit.toml: there already; --force" in refused.stderr) == (2, True)
    assert not (folder / "bounces.yaml").exists()
    assert run("init", "--show").output == run("init", "other").output.partition("\n\n")[2]
    assert (folder / "bouncekit.toml").read_text("utf-8") == "# mine"
    assert run("init", "--force").exit_code == 0
    assert "[relays]" in (folder / "bouncekit.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--policy", "nonsense"),
        ("--store", 'sqlite:///a"b.db'),
        ("--store", "bounces.db"),
        ("--relay", "mail.example.org"),
        ("--relay", 'smtp://a"b@mail.example.org'),
    ],
)
def test_what_could_not_be_read_is_not_written(run: Run, folder: Path, option: str, value: str) -> None:
    refused = run("init", option, value)
    assert (refused.exit_code, list(folder.iterdir())) == (2, [])
    assert refused.stderr.startswith("bouncekit: error: ")
