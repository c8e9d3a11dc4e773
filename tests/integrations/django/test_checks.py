"""`manage.py check`: what is wrong with the settings is said before the first send, and nothing is opened for it."""

from pathlib import Path
from typing import Any

import pytest
from django.core import checks

from bouncekit.integrations.django.checks import check_deployment, check_mailers, check_setting

from .conftest import Change
from .project import STOCK
from .test_backend import QUEUE


def found(setting: object, change: Change, **others: Any) -> list[tuple[str, str]]:
    change(**{"options": {"host": "localhost"}, **others, "BOUNCEKIT": setting})
    every = [*check_setting(), *check_mailers(), *check_deployment()]
    return [(one.id.removeprefix("bouncekit."), one.msg) for one in every]


def test_a_project_that_is_set_up_well_has_nothing_to_hear(change: Change, tmp_path: Path) -> None:
    store = tmp_path / "bounces.db"
    assert found({"store": f"sqlite:///{store}", "retry": "queue"}, change) == []
    assert not store.exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"stor": "sqlite:///x.db", "store": "sqlite:///x.db"}, "unknown argument 'stor'; did you mean 'store'?"),
        ({"store": "sqlite:///x.db", "policy": "nowhere.yaml"}, "nowhere.yaml"),
        ({"retry": "queue"}, "retry='queue' keeps mail in a store"),
        ({"store": "sqlite:///x.db", "retry": "later"}, "retry='later'"),
        ({"store": "sqlite:///x.db", "relays": {"main": "localhost"}}, "relay 'main'"),
        ({"store": "sqlite:///x.db", "worker": "elsewhere"}, "worker='elsewhere'"),
        (7, "a int is no postmaster"),
        ("no.such.place", "No module named 'no'"),
        (Path("nowhere/bouncekit.toml"), "there is no such bouncekit.toml; make one with `bouncekit init`"),
        (Path(__file__), "there is no such bouncekit.toml"),
    ],
)
def test_a_wrong_setting_is_an_error_that_says_what_would_be_right(change: Change, setting: object, said: str) -> None:
    errors = [message for id_, message in found(setting, change) if id_ == "E001"]
    assert len(errors) == 1
    assert said in errors[0]
    assert not Path("x.db").exists()


def test_a_file_is_looked_at_like_the_setting(change: Change, tmp_path: Path) -> None:
    file = tmp_path / "bouncekit.toml"
    file.write_text('store = "sqlite:///bounces.db"\nretry = "queue"\n', "utf-8")
    assert found(file, change) == []
    file.write_text('retry = "wait"\npatience = "2m"\n', "utf-8")
    assert [id_ for id_, _ in found(file, change)] == ["W002", "W003"]
    file.write_text('retri = "wait"\n', "utf-8")
    (message,) = [message for id_, message in found(file, change) if id_ == "E001"]
    assert message == f"BOUNCEKIT: {file}: unknown key 'retri'; did you mean 'retry'?"


def test_a_project_that_does_not_send_by_it_is_told_so(change: Change) -> None:
    found_ = found({"store": "sqlite:///x.db"}, change, backend=STOCK)
    assert [id_ for id_, _ in found_] == ["W001"]
    assert "django.core.mail.backends.smtp" in found_[0][1]


def test_a_slip_in_the_name_of_the_backend_is_said(change: Change) -> None:
    found_ = found({"store": "sqlite:///x.db"}, change, backend="bouncekit.integrations.django.EmailBakend")
    assert [id_ for id_, _ in found_] == ["W001"]
    assert "EmailBakend" in found_[0][1]


def test_a_queue_backend_needs_a_queue(change: Change) -> None:
    assert [id_ for id_, _ in found({"store": "sqlite:///x.db"}, change, backend=QUEUE)] == ["E002"]


def test_memory_and_waiting_are_nothing_for_production(change: Change) -> None:
    assert [id_ for id_, _ in found({"retry": "wait"}, change)] == ["W002", "W003"]


def test_django_runs_them(change: Change) -> None:
    change(options={"host": "localhost"}, BOUNCEKIT={"stor": 1})
    assert "bouncekit.E001" in {one.id for one in checks.run_checks()}
    assert "bouncekit.W002" not in {one.id for one in checks.run_checks()}
    assert "bouncekit.W002" in {one.id for one in checks.run_checks(include_deployment_checks=True)}
