"""The status of one's own address, to whoever is logged in."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils import translation

from bouncekit.integrations.django import postmaster
from bouncekit.integrations.django.views import mail_status

from .conftest import Change

JO = "jo@example.com"


@pytest.fixture(autouse=True)
def project(change: Change, tmp_path: Path) -> None:
    change(options={"host": "localhost"}, BOUNCEKIT={"store": f"sqlite:///{tmp_path}/bounces.db"})
    postmaster().suppressions.add(JO)


def get(method: str = "GET", **user: Any) -> HttpResponse:
    request = RequestFactory().generic(method, "/mail-status/")
    request.user = SimpleNamespace(**{"is_authenticated": True, "email": JO, **user})
    return mail_status(request)


def test_whoever_is_logged_in_learns_of_his_own_address_in_the_language_of_the_page() -> None:
    answer = get()
    assert answer.status_code == 200
    assert b'"state": "held_back"' in answer.content
    assert "no-store" in answer.headers["Cache-Control"]
    with translation.override("hi"):
        assert b'"language": "hi"' in get().content


@pytest.mark.parametrize("user", [{"is_authenticated": False}, {"email": ""}, {"email": "no address"}], ids=str)
def test_nobody_else_learns_anything(user: dict[str, Any]) -> None:
    answer = get(**user)
    assert (answer.status_code, answer.content) == (403, b'{"error": "log in"}')


def test_it_is_only_read() -> None:
    assert get("POST").status_code == 405


def test_a_store_that_is_away_is_said() -> None:
    postmaster().office.store.close()
    assert get().status_code == 503
