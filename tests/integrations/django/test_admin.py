"""The suppression list in Django's admin: read from the store, changed by who may, and safe with hostile text."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from bouncekit.integrations.django import postmaster
from bouncekit.integrations.django.admin import _place

from .conftest import Change

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LIST, ADD = "admin:bouncekit_suppression_changelist", "admin:bouncekit_suppression_add"
ONE = "admin:bouncekit_suppression_change"


@pytest.fixture(autouse=True)
def project(change: Change, tmp_path: Path) -> Iterator[None]:
    call_command("migrate", verbosity=0)
    change(options={"host": "localhost"}, BOUNCEKIT={"store": f"sqlite:///{tmp_path}/bounces.db"})
    yield
    User.objects.all().delete()


def client(*permissions: str, staff: bool = True) -> Client:
    """Somebody who is logged in and may do this."""
    user = User.objects.create_user("kim", is_staff=staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=[f"{one}_suppression" for one in permissions]))
    made = Client(enforce_csrf_checks=True)
    made.force_login(user)
    return made


def post(one: Client, url: str, **data: str) -> int:
    """A form as a browser sends it: with the token that the page had."""
    one.get(url)
    return one.post(url, {**data, "csrfmiddlewaretoken": one.cookies["csrftoken"].value}).status_code


def page_of(address: str) -> str:
    found = postmaster().suppressions.get(address)
    assert found is not None
    return reverse(ONE, args=[_place(found)])


def test_the_list_shows_who_is_suppressed_and_why() -> None:
    postmaster().suppressions.add("jo@example.com", reason="asked us to")
    text = client("view").get(reverse(LIST)).content.decode()
    assert "jo@example.com" in text
    assert "asked us to" in text
    assert page_of("jo@example.com") in text


def test_an_empty_list_says_what_will_stand_there() -> None:
    assert b"Nobody is suppressed." in client("view").get(reverse(LIST)).content


def test_the_list_can_be_searched_and_has_an_end() -> None:
    for number in range(205):
        postmaster().suppressions.add(f"r{number}@example.com")
    one = client("view")
    text = one.get(reverse(LIST)).content.decode()
    assert text.count("@example.com") == 200
    assert "These are the first 200" in text
    assert one.get(reverse(LIST), {"q": "r204@"}).content.decode().count("@example.com") == 1


def test_who_may_add_adds_by_hand_and_the_record_has_the_name() -> None:
    one = client("view", "add")
    assert post(one, reverse(ADD), address="Jo@Example.com ", reason="rang us", days="30") == 302
    found = postmaster().suppressions.get("jo@example.com")
    assert found is not None
    assert (found.standing, found.by, found.evidence.reply) == ("manual", "kim (admin)", "rang us")
    assert found.expires_at is not None
    assert (found.expires_at - found.since).days == 30


def test_an_address_that_is_none_is_said_beside_the_field() -> None:
    one = client("view", "add")
    one.get(reverse(ADD))
    token = one.cookies["csrftoken"].value
    answer = one.post(reverse(ADD), {"address": "no address", "csrfmiddlewaretoken": token})
    assert answer.status_code == 200
    assert b"errorlist" in answer.content
    assert list(postmaster().suppressions) == []


def test_who_may_delete_lifts_and_the_store_remembers_who_it_was() -> None:
    postmaster().suppressions.add("jo@example.com")
    assert post(client("view", "delete"), page_of("jo@example.com")) == 302
    assert "jo@example.com" not in postmaster().suppressions
    assert [change.by for change in postmaster().suppressions.changes("jo@example.com")] == ["kim (admin)", "owner"]


def test_who_may_only_look_changes_nothing() -> None:
    postmaster().suppressions.add("jo@example.com")
    one, page = client("view"), page_of("jo@example.com")
    assert one.get(reverse(ADD)).status_code == 403
    assert b"Lift" not in one.get(page).content
    assert post(one, page) == 403
    assert "jo@example.com" in postmaster().suppressions


@pytest.mark.parametrize("name", [LIST, ADD])
def test_without_a_permission_or_a_login_nothing_is_shown(name: str) -> None:
    assert client().get(reverse(name)).status_code == 403
    answer = Client().get(reverse(name))
    assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, "/admin/login/")


def test_a_form_from_elsewhere_is_refused() -> None:
    """Without the token: cross-site request forgery."""
    assert client("view", "add").post(reverse(ADD), {"address": "jo@example.com"}).status_code == 403
    assert list(postmaster().suppressions) == []


def test_the_page_of_an_address_that_nobody_signed_is_not_found() -> None:
    postmaster().suppressions.add("jo@example.com")
    one = client("view")
    assert one.get(reverse(ONE, args=["jo@example.com"])).status_code == 404
    assert one.get(page_of("jo@example.com")[:-2] + "x/").status_code == 404


def test_what_a_server_said_is_text_and_no_markup() -> None:
    postmaster().suppressions.add("jo@example.com", reason="<script>alert(1)</script>")
    one = client("view")
    for url in (reverse(LIST), page_of("jo@example.com")):
        text = one.get(url).content.decode()
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text


def test_somebody_who_was_forgotten_stands_there_without_an_address(change: Change, tmp_path: Path) -> None:
    settings = {"store": f"sqlite:///{tmp_path}/hashed.db", "hash_keys": ["a secret of 16 bytes"]}
    change(options={"host": "localhost"}, BOUNCEKIT=settings)
    postmaster().suppressions.add("jo@example.com")
    postmaster().forget("jo@example.com")
    text = client("view").get(reverse(LIST)).content.decode()
    assert "(erased)" in text
    assert "jo@example.com" not in text


def test_it_stands_in_the_index_of_the_admin() -> None:
    text = client("view").get(reverse("admin:index")).content.decode()
    assert "Mail that bounces" in text
    assert reverse(LIST) in text
