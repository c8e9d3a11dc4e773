"""What goes through before any page sees a request: RELIABILITY's rows about pages, one by one."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bouncekit.web.shield import is_loopback
from tests.web.conftest import LOCAL, STRANGER, Browser

Browse = Callable[..., Browser]


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8525", "127.0.0.1:80", "[::1]:8525", "LOCALHOST", "localhost."]
)
def test_its_own_names_are_answered(reader: Browser, host: str) -> None:
    assert reader.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::2]", "evil.example:8525"]
)
def test_a_name_that_leads_here_from_elsewhere_is_not(reader: Browser, host: str) -> None:
    """DNS rebinding: the browser believes that the page is the stranger's."""
    answer = reader.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "Suppressions" not in answer.text


def test_two_names_are_none(reader: Browser) -> None:
    answer = reader.get("/", headers=[("Host", "localhost"), ("Host", "evil.example")])  # type: ignore[arg-type]
    assert answer.status_code == 421


def test_without_users_only_this_machine_is_answered(browse: Browse) -> None:
    assert browse(client=STRANGER).get("/").status_code == 403
    assert browse(client=("::1", 5)).get("/").status_code == 200
    assert browse(client=("::ffff:127.0.0.1", 5)).get("/").status_code == 200
    assert browse(client=("", 5)).get("/").status_code == 403


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Host"])
def test_nor_whoever_comes_through_a_proxy_on_it(reader: Browser, header: str) -> None:
    assert reader.get("/", headers={header: "203.0.113.9"}).status_code == 403


def test_every_answer_says_what_a_browser_may_do(reader: Browser) -> None:
    for path in ("/", "/nowhere", "/static/style.css", "/suppressions/export"):
        headers = reader.get(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == ("no-cache" if path.startswith("/static") else "no-store")


def test_a_refusal_says_it_too(reader: Browser) -> None:
    answer = reader.get("/", headers={"Host": "evil.example"})
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9"},
        {"Origin": "http://["},
        {"Origin": "http://a]b"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_of_another_site_changes_nothing(owner: Browser, kept: Any, headers: dict[str, str]) -> None:
    answer = owner.post("/suppressions/add", {"address": "bob@example.com"}, headers=headers)
    assert answer.status_code == 403
    assert "bob@example.com" not in kept.suppressions


@pytest.mark.parametrize("headers", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}, {}])
def test_a_form_of_ours_does(owner: Browser, kept: Any, headers: dict[str, str]) -> None:
    assert owner.post("/suppressions/add", {"address": "bob@example.com"}, headers=headers).status_code == 303
    assert "bob@example.com" in kept.suppressions


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_none(reader: Browser, method: str) -> None:
    assert reader.client.request(method, "/").status_code == 405


def test_a_body_is_no_longer_than_its_page_takes(owner: Browser) -> None:
    assert owner.post("/suppressions/add", {"reason": "x" * 70_000}).status_code == 413
    assert owner.post("/policy/try", {"policy": "x" * 70_000}).status_code == 422
    assert owner.post("/policy/try", {"policy": "x" * 500_000}).status_code == 413


@pytest.mark.parametrize("length", ["-1", "x", "", "9" * 5000])
def test_a_length_that_is_none_is_refused(owner: Browser, length: str) -> None:
    owner.get("/recipients")
    assert owner.client.post("/recipients", content=b"a=b", headers={"Content-Length": length}).status_code == 413


def test_who_does_not_say_how_long_it_is_gets_no_further_either(owner: Browser) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b"a" * 1000

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert owner.client.post("/recipients", content=endless(), headers=headers).status_code == 413


def test_who_sends_a_letter_a_minute_is_not_waited_for(browse: Browse) -> None:
    app, told, letters = browse().client.app, list[Any](), iter((b"a", b"b"))
    app._patience_seconds = 0.05  # type: ignore[attr-defined]

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        if (letter := next(letters, None)) is None:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": letter, "more_body": True}

    headers = [(b"host", b"localhost"), (b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "method": "POST", "path": "/recipients", "headers": headers, "client": LOCAL}
    asyncio.run(app({**scope, "scheme": "http", "query_string": b""}, receive, send))  # type: ignore[arg-type]
    assert told[0]["status"] == 408


def test_a_body_that_comes_steadily_has_the_time_it_needs(browse: Browse) -> None:
    app, told, parts = browse().client.app, list[Any](), iter([b"a" * 4000] * 5)
    app._patience_seconds = 0.05  # type: ignore[attr-defined]

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        await asyncio.sleep(0.02)
        part = next(parts, b"")
        return {"type": "http.request", "body": part, "more_body": bool(part)}

    headers = [(b"host", b"localhost"), (b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "method": "POST", "path": "/recipients", "headers": headers, "client": LOCAL}
    asyncio.run(app({**scope, "scheme": "http", "query_string": b""}, receive, send))  # type: ignore[arg-type]
    assert told[0]["status"] == 403, "it is read to its end, and brings no token"


@pytest.mark.parametrize(
    "path", ["../site.py", "%2e%2e/site.py", "..%2fsite.py", "..\\site.py", "/etc/passwd", "%00", "style.css%00", ""]
)
def test_no_path_leads_out_of_what_is_served(reader: Browser, path: str) -> None:
    assert reader.get(f"/static/{path}").status_code == 404


def test_nobody_speaks_but_http(browse: Browse) -> None:
    app, told = browse().client.app, list[Any]()

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/", "headers": [(b"host", b"localhost")], "client": LOCAL}
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    assert told == []


def test_what_loopback_is() -> None:
    ours = ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "::1%lo")
    others = (
        "",
        "localhost",
        "testclient",
        "203.0.113.9",
        "0.0.0.0",
        "::",
        "::ffff:203.0.113.9",
        "10.0.0.1",
        "fe80::1",
    )
    assert [is_loopback(one) for one in ours + others] == [True] * len(ours) + [False] * len(others)
