"""The endpoint for a banner: whoever shows a token learns of one address, everybody else learns nothing."""

import asyncio
import json
import string
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit import ConfigurationError
from bouncekit.integrations.banner import Answer, Banner, token_for
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.memory import MemoryStore

KEY, OLD = "a secret of 16 bytes", "an older one of those"
JO = "jo@example.com"
NOW = 1_800_000_000.0


@pytest.fixture
def banner(postmaster: Postmaster) -> Banner:
    postmaster.suppressions.add(JO)
    return Banner(postmaster, keys=[KEY, OLD])


def body(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_a_token_of_the_application_opens_its_one_address(banner: Banner) -> None:
    answer = banner.answer(token_for(JO, key=KEY))
    assert (answer.status, body(answer)["state"]) == (200, "held_back")
    assert dict(answer.headers)["Cache-Control"] == "private, no-store"
    assert body(banner.answer(token_for("ada@example.com", key=KEY)))["state"] == "well"


def test_an_old_key_is_good_for_reading(banner: Banner) -> None:
    assert banner.answer(token_for(JO, key=OLD)).status == 200


def test_a_token_ends(banner: Banner) -> None:
    token = token_for(JO, key=KEY, lasts=timedelta(minutes=5), now=NOW)
    assert banner.answer(token, now=NOW + 299).status == 200
    assert banner.answer(token, now=NOW + 300).status == 403


def test_tenant_and_stream_are_the_tokens(postmaster: Postmaster) -> None:
    postmaster.suppressions.add(JO, tenant="acme", stream="news")
    banner = Banner(postmaster, keys=[KEY])
    assert body(banner.answer(token_for(JO, key=KEY, tenant="acme", stream="news")))["state"] == "held_back"
    assert body(banner.answer(token_for(JO, key=KEY)))["state"] == "well"


def test_it_answers_in_the_language_that_is_asked_for(banner: Banner) -> None:
    token = token_for(JO, key=KEY)
    for asked, language in (("hi-IN,hi;q=0.9,en;q=0.8", "hi"), ("fr,en;q=0.5", "en"), ("", "en"), ("x" * 999, "en")):
        assert body(banner.answer(token, language=asked))["language"] == language
    assert "मेल" in body(banner.answer(token, language="hi"))["headline"]


class Untouched(MemoryStore):
    """A store that must not be asked."""

    def standing(self, *arguments: Any, **options: Any) -> Any:
        raise AssertionError("a stranger has reached the store")

    history = standing


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


GOOD = token_for(JO, key=KEY)
SAID, MAC = GOOD.split(".")
STRANGERS = {
    "none": "",
    "not one": "jo@example.com",
    "of another key": token_for(JO, key="another secret of somebody"),
    "another address": f"{_text(json.dumps(['ada@example.com', '', '', 9e9]).encode())}.{MAC}",
    "without a signature": f"{SAID}.",
    "two": f"{GOOD}.{MAC}",
    "no base64": "é.é",
    "long": "A" * 100_000,
}


@pytest.mark.parametrize("token", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_always_gets_the_same_and_the_store_is_not_asked(token: str) -> None:
    with Postmaster(store=Untouched()) as postmaster:
        answer = Banner(postmaster, keys=[KEY]).answer(token)
    assert answer == Answer(403, b'{"error": "a token of the application is needed"}')


@given(st.text(alphabet=string.printable, max_size=200))
def test_no_text_at_all_raises_or_opens_anything(token: str) -> None:
    with Postmaster(store=Untouched()) as postmaster:
        assert Banner(postmaster, keys=[KEY]).answer(token).status == 403


@given(st.integers(0, len(GOOD) - 1), st.sampled_from(string.ascii_letters + string.digits + "-_"))
def test_a_token_with_one_letter_changed_opens_nothing_else(place: int, letter: str) -> None:
    """The last letter of each part has bits that mean nothing; then it is the same token, spelt otherwise."""
    forged = GOOD[:place] + letter + GOOD[place + 1 :]
    with Postmaster() as postmaster:
        answer = Banner(postmaster, keys=[KEY]).answer(forged)
    assert answer.status == 403 or body(answer)["headline"] == "Mail to jo@example.com goes out."


def test_a_store_that_is_away_is_said_and_nothing_else(postmaster: Postmaster) -> None:
    banner = Banner(postmaster, keys=[KEY])
    postmaster.office.store.close()
    assert banner.answer(token_for(JO, key=KEY)).status == 503


@pytest.mark.parametrize("keys", [[], "a secret of 16 bytes", ["short"], [KEY, b"short"]], ids=["0", "1", "2", "3"])
def test_keys_that_protect_nothing_are_refused(postmaster: Postmaster, keys: Any) -> None:
    with pytest.raises(ConfigurationError, match="16 bytes"):
        Banner(postmaster, keys=keys)
    with pytest.raises(ConfigurationError, match="16 bytes"):
        token_for(JO, key="short")


def over_wsgi(banner: Banner, headers: Mapping[str, str], method: str = "GET") -> tuple[str, bytes]:
    said: list[str] = []
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "QUERY_STRING": "", **headers}
    setup_testing_defaults(environ)

    def start(status: str, headers: Any, info: Any = None) -> Callable[[bytes], object]:
        said.append(status)
        return lambda data: None

    answered = validator(banner.wsgi)(environ, start)
    content = b"".join(answered)
    answered.close()
    return said[0], content


def over_asgi(banner: Banner, headers: Mapping[str, str], method: str = "GET") -> tuple[int, bytes]:
    sent: list[Mapping[str, Any]] = []

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "method": method,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(banner.asgi(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


def test_it_is_an_application_of_wsgi(banner: Banner) -> None:
    status, content = over_wsgi(banner, {"HTTP_AUTHORIZATION": f"Bearer {GOOD}", "HTTP_ACCEPT_LANGUAGE": "hi"})
    assert (status, json.loads(content)["language"]) == ("200 OK", "hi")
    assert over_wsgi(banner, {})[0] == "403 Forbidden"
    assert over_wsgi(banner, {"HTTP_AUTHORIZATION": f"Bearer {GOOD}"}, "POST")[0] == "405 Method Not Allowed"


def test_it_is_an_application_of_asgi(banner: Banner) -> None:
    status, content = over_asgi(banner, {"Authorization": f"Bearer {GOOD}", "Accept-Language": "hi"})
    assert (status, json.loads(content)["language"]) == (200, "hi")
    assert over_asgi(banner, {})[0] == 403
    assert over_asgi(banner, {"Authorization": f"Basic {GOOD}"})[0] == 403


def test_fastapi_mounts_it_and_flask_has_it_as_a_view(banner: Banner) -> None:
    fastapi = pytest.importorskip("fastapi", reason="python -m pip install 'bouncekit[fastapi]'")
    flask = pytest.importorskip("flask", reason="python -m pip install 'bouncekit[flask]'")
    from fastapi.testclient import TestClient

    mounted = fastapi.FastAPI()
    mounted.mount("/mail-status", banner.asgi)
    with TestClient(mounted) as client:
        good = client.get("/mail-status", headers={"Authorization": f"Bearer {GOOD}"})
        assert (good.status_code, good.json()["state"]) == (200, "held_back")
        assert client.get("/mail-status").status_code == 403
    app = flask.Flask("shop")

    @app.get("/mail-status")
    def mail_status() -> Any:
        answer = banner.answer(flask.request.headers.get("Authorization", "").removeprefix("Bearer "))
        return answer.body, answer.status, dict(answer.headers)

    found = app.test_client().get("/mail-status", headers={"Authorization": f"Bearer {GOOD}"})
    assert (found.status_code, found.json["state"]) == (200, "held_back")
