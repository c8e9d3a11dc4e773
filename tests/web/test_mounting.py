"""Mounted in what applications are made with."""

import subprocess
import sys
from pathlib import Path

from fastapi import FastAPI

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.web import application
from tests.web.conftest import Browser

ROOT = Path(__file__).parents[2]

BESIDE_DJANGO = """
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50, MIDDLEWARE=[])
urlpatterns = [path("", lambda request: HttpResponse("the shop"))]
django.setup()

from django.core.asgi import get_asgi_application
from starlette.applications import Starlette
from starlette.routing import Mount

import bouncekit
from bouncekit.web import application
from tests.web.conftest import Browser

with bouncekit.Postmaster() as postmaster:
    both = Starlette(routes=[Mount("/bounces", application(postmaster)), Mount("/", get_asgi_application())])
    browser = Browser(both)
    assert browser.get("/").text == "the shop"
    assert "Nothing was sent" in browser.get("/bounces/").text
    assert browser.get("/bounces/static/style.css").status_code == 200
    browser.get("/bounces/recipients")
    assert "/bounces/recipients/" in browser.post("/bounces/recipients", {"address": "a@b.example"}).headers["location"]
print("well")
"""


def test_in_fastapi(kept: Postmaster) -> None:
    app = FastAPI()

    @app.get("/orders")
    def orders() -> list[str]:
        return ["one"]

    app.mount("/bounces", application(kept, changes=True, count_seconds=30))
    browser = Browser(app)
    assert browser.get("/orders").json() == ["one"]
    assert '<div class="tile tile-delivered"><dt>Delivered</dt><dd>1 ' in browser.get("/bounces/").text
    browser.get("/bounces/recipients")
    assert browser.post("/bounces/suppressions/add", {"address": "bob@example.com"}).status_code == 303
    assert "bob@example.com" in kept.suppressions


def test_beside_django() -> None:
    """In a process of its own: Django has one set of settings for each."""
    done = subprocess.run(
        [sys.executable, "-c", BESIDE_DJANGO],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr
