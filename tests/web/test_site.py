"""All pages, and who may see and change what."""

import re
from collections.abc import Callable
from datetime import timedelta
from html.parser import HTMLParser
from itertools import product
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.web import Role, User, application, hash_password
from bouncekit.web.site import _FORMS, _PAGES
from bouncekit.words.errors import ConfigurationError, StoreError
from tests.web.conftest import EVIL, STRANGER, Browser

Browse = Callable[..., Browser]
PASSWORD = "correct horse battery"
HASHED = hash_password(PASSWORD)
USERS = {"asha": {"password": HASHED, "role": "owner"}, "ravi": {"password": HASHED}}
HOST = "bounces.example.org"
ADDRESSES = ("ann@example.com", "full@example.com", "gone@example.com", "later@example.com")
PATHS = [path.replace("{code}", "552") for path, _ in _PAGES if "{who}" not in path and "{trial}" not in path]
CHANGES = [path for path, _, role in _FORMS if role is Role.OWNER]


class Parsed(HTMLParser):
    """Whether a page is one: every element closed, every form protected, nothing inline."""

    VOID = frozenset("meta link input br".split())

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.forms: list[str] = []
        self.feed(text)
        self.faults += self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.faults += [name for name in named if name.startswith("on") or name == "style"]
        self.faults += [str(url) for url in (named.get("href"), named.get("src")) if url and "//" in url]
        if tag == "style" or (tag == "script" and not named.get("src")):
            self.faults.append(f"inline {tag}")
        if tag == "form" and named.get("method") == "post":
            self.forms.append("")
        if tag == "input" and named.get("name") == "token" and self.forms:
            self.forms[-1] = named.get("value") or ""
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        elif tag not in self.VOID:
            self.faults.append(f"/{tag}")


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_sound_and_holds_nothing_inline(owner: Browser, path: str) -> None:
    answer = owner.get(path)
    assert answer.status_code == 200
    if answer.headers["Content-Type"].startswith("text/html"):
        found = Parsed(answer.text)
        assert found.faults == []
        assert all(found.forms), "a form without a token"


@pytest.mark.parametrize("path", PATHS)
def test_every_page_teaches_where_there_is_nothing_yet(postmaster: Postmaster, path: str) -> None:
    answer = Browser(application(postmaster, count_seconds=30)).get(path)
    assert answer.status_code == (204 if path == "/events/rows" else 200)
    if answer.text and answer.headers["Content-Type"].startswith("text/html"):
        assert Parsed(answer.text).faults == []


def test_what_a_server_said_is_nobodys_markup(owner: Browser) -> None:
    for path in PATHS:
        answer = owner.get(path)
        assert EVIL not in answer.text or not answer.headers["Content-Type"].startswith("text/html"), path


def test_it_is_shown_escaped_where_it_belongs(owner: Browser) -> None:
    for path in ("/events", "/suppressions"):
        assert (
            "552 5.2.2 Mailbox is full &lt;script&gt;alert(1)&lt;/script&gt; &#34; onload=&#34;x"
            in owner.get(path).text
        )
    page = owner.send("/recipients", {"address": "full@example.com"}).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert Parsed(page).faults == []


def test_no_address_stands_in_the_address_of_a_page(owner: Browser) -> None:
    """Logs, histories and headers have those."""
    links: set[str] = set()
    for path in PATHS:
        answer = owner.get(path)
        if answer.headers["Content-Type"].startswith("text/html"):
            links |= set(re.findall(r'(?:href|action|hx-get|formaction)="([^"]*)"', answer.text))
    links.add(owner.post("/recipients", {"address": ADDRESSES[0]}).headers["location"])
    links.add(owner.post("/suppressions/find", {"text": "full@exa"}).headers["location"])
    links.add(owner.post("/queue/find", {"text": "later@exa"}).headers["location"])
    assert len(links) > 50
    assert [link for link in links if "@" in link or "%40" in link or "exa" in link] == []


# -- who may


def test_whoever_may_only_look_changes_nothing(reader: Browser, kept: Postmaster) -> None:
    before = kept.office.store.events(limit=1000), list(kept.suppressions)
    for path in CHANGES:
        answer = reader.post(path, {"address": "bob@example.com", "sure": "1", "sink": "crm"})
        assert answer.status_code == 403, path
        assert "you may look" in answer.text
    assert (kept.office.store.events(limit=1000), list(kept.suppressions)) == before


def test_nothing_offers_a_reader_what_he_may_not_do(reader: Browser) -> None:
    for path in PATHS:
        answer = reader.get(path)
        if answer.headers["Content-Type"].startswith("text/html"):
            assert not [change for change in CHANGES if f'action="{change}"' in answer.text]


def test_no_form_counts_without_the_token_of_this_browser(owner: Browser, browse: Browse) -> None:
    stranger = browse(changes=True)
    stranger.get("/recipients")
    owner.get("/recipients")
    for path, token in product((path for path, _, _ in _FORMS), ("", "x", stranger.token)):
        answer = owner.client.post(path, data={"token": token, "address": "bob@example.com"})
        assert answer.status_code == 403
        assert "this form is from before" in answer.text


@pytest.mark.parametrize("charset", ["unicode_escape", "undefined", "punycode", "utf-8; charset=undefined"])
def test_no_form_chooses_the_codec_that_reads_it(owner: Browser, charset: str) -> None:
    owner.get("/policy")
    fields = {"token": owner.token, "reply": r"552 \ud800"}
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()]
    settings: dict[str, Any] = {"content": ("".join(parts) + "--x--\r\n").encode()}
    kind = "multipart/form-data; boundary=x"
    answer = owner.client.post("/policy/explain", headers={"Content-Type": f"{kind}; charset={charset}"}, **settings)
    assert answer.status_code == 403
    assert "not in UTF-8" in answer.text
    for named in ("", "; charset=UTF-8", '; charset="utf-8"'):
        answer = owner.client.post("/policy/explain", headers={"Content-Type": kind + named}, **settings)
        assert answer.status_code == 200


def test_no_link_changes_anything(owner: Browser, kept: Postmaster) -> None:
    before = kept.office.store.events(limit=1000), list(kept.suppressions)
    for path in CHANGES:
        assert owner.get(f"{path}?address=bob@example.com&sure=1&token={owner.token}").status_code in (200, 405), path
    assert (kept.office.store.events(limit=1000), list(kept.suppressions)) == before


def test_a_page_that_is_not_there_says_so(owner: Browser) -> None:
    answer = owner.get("/nowhere")
    assert answer.status_code == 404
    assert "there is no such page" in answer.text


def test_a_store_that_does_not_answer_is_told_as_that(owner: Browser, kept: Postmaster) -> None:
    kept.office.store.close()
    answer = owner.get("/queue")
    assert answer.status_code == 503
    assert "The store does not answer" in answer.text
    with pytest.raises(StoreError):
        kept.office.store.depth(kept.office.clock.now())


# -- logging in


@pytest.fixture
def guarded(browse: Browse) -> Browser:
    """The pages for users, reached from elsewhere."""
    return browse(users=USERS, hosts=[HOST], client=STRANGER, base=f"https://{HOST}")


def test_who_is_not_logged_in_is_led_to_the_log_in(guarded: Browser) -> None:
    for path in PATHS:
        answer = guarded.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/log-in"), path


def test_a_part_of_a_page_that_asks_for_itself_anew_leads_the_whole_page_to_the_log_in(guarded: Browser) -> None:
    for path in ("/", "/events/rows"):
        answer = guarded.get(path, headers={"HX-Request": "true"})
        assert (answer.status_code, answer.text, answer.headers["HX-Redirect"]) == (200, "", "/log-in")


def test_nor_does_a_form_of_his_do_anything(guarded: Browser, kept: Postmaster) -> None:
    guarded.get("/log-in")
    for path, _, _ in _FORMS:
        answer = guarded.post(path, {"address": "bob@example.com"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/log-in"), path
    assert "bob@example.com" not in kept.suppressions


def test_name_and_password_let_in_and_the_change_is_in_the_audit_under_the_name(
    guarded: Browser, kept: Postmaster
) -> None:
    assert guarded.log_in("asha", PASSWORD).status_code == 303
    assert "asha" in guarded.get("/").text
    guarded.send("/suppressions/add", {"address": "bob@example.com", "reason": "asked for it"})
    (change,) = kept.suppressions.changes("bob@example.com")
    assert change.by == "asha (web page)"


def test_the_role_says_who_may_change(guarded: Browser, kept: Postmaster) -> None:
    guarded.log_in("ravi", PASSWORD)
    assert guarded.post("/suppressions/add", {"address": "bob@example.com"}).status_code == 403
    assert "bob@example.com" not in kept.suppressions


@pytest.mark.parametrize(
    ("name", "password"), [("asha", "wrong"), ("nobody", PASSWORD), ("", ""), ("asha", "x" * 5000)]
)
def test_a_wrong_name_or_password_is_told_apart_by_nobody(guarded: Browser, name: str, password: str) -> None:
    answer = guarded.log_in(name, password)
    assert answer.status_code == 403
    assert "no such name and password" in answer.text
    assert guarded.get("/").status_code == 303


def test_the_cookie_is_for_no_script_no_other_site_and_no_clear_line(guarded: Browser) -> None:
    cookie = guarded.log_in("asha", PASSWORD).headers["set-cookie"]
    assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))


def test_a_cookie_from_before_the_log_in_is_worth_nothing_behind_it(guarded: Browser) -> None:
    guarded.get("/log-in")
    before = guarded.client.cookies["bouncekit_session"]
    guarded.log_in("asha", PASSWORD)
    guarded.client.cookies.clear()
    guarded.client.cookies.set("bouncekit_session", before, domain=HOST, path="/")
    assert guarded.get("/").status_code == 303


def test_logging_out_ends_the_session_also_for_who_kept_the_cookie(guarded: Browser) -> None:
    guarded.log_in("asha", PASSWORD)
    cookie = guarded.client.cookies["bouncekit_session"]
    guarded.get("/recipients")
    assert guarded.post("/log-out").headers["location"] == "/log-in"
    guarded.client.cookies.clear()
    guarded.client.cookies.set("bouncekit_session", cookie, domain=HOST, path="/")
    assert guarded.get("/").status_code == 303


def test_a_session_is_over_after_half_a_day(guarded: Browser, later: Callable[[timedelta], None]) -> None:
    guarded.log_in("asha", PASSWORD)
    later(timedelta(hours=11))
    assert guarded.get("/").status_code == 200
    later(timedelta(hours=2))
    assert guarded.get("/").status_code == 303


def test_a_new_password_ends_the_sessions_of_the_old_one(kept: Postmaster) -> None:
    settings: dict[str, Any] = {"hosts": [HOST], "secret": "a secret of enough bytes"}
    before = Browser(application(kept, users=USERS, **settings), base=f"https://{HOST}")
    before.log_in("asha", PASSWORD)
    cookie = before.client.cookies["bouncekit_session"]
    for users, status in ((USERS, 200), ({"asha": {"password": hash_password("another password")}}, 303)):
        again = Browser(application(kept, users=users, **settings), base=f"https://{HOST}")
        again.client.cookies.set("bouncekit_session", cookie, domain=HOST, path="/")
        assert again.get("/").status_code == status


def test_ten_failures_and_an_address_has_to_wait(guarded: Browser, later: Callable[[timedelta], None]) -> None:
    for _ in range(10):
        assert guarded.log_in("asha", "wrong").status_code == 403
    answer = guarded.log_in("asha", PASSWORD)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 901
    later(timedelta(minutes=16))
    assert guarded.log_in("asha", PASSWORD).status_code == 303


def test_an_address_that_somebody_claims_is_not_the_one_that_has_to_wait(guarded: Browser) -> None:
    for number in range(10):
        guarded.client.headers["X-Forwarded-For"] = f"198.51.100.{number}"
        assert guarded.log_in("asha", "wrong").status_code == 403
    guarded.client.headers["X-Forwarded-For"] = "198.51.100.99"
    assert guarded.log_in("asha", PASSWORD).status_code == 429


def test_from_where_a_log_in_failed_is_told_in_letters_that_do_nothing(
    browse: Browse, caplog: pytest.LogCaptureFixture
) -> None:
    evil = browse(users=USERS, hosts=[HOST], client=("\x9b2J\u202e", 5), base=f"https://{HOST}")
    evil.log_in("asha", "wrong")
    assert "a log-in failed from \\x9b2J\\u202e" in caplog.text


def test_the_file_of_a_reader_is_not_even_read(guarded: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded.log_in("ravi", PASSWORD)
    guarded.get("/recipients")
    monkeypatch.setattr(Request, "form", lambda *_, **__: pytest.fail("it was read"))
    answer = guarded.post("/suppressions/import", files={"file": ("list.txt", b"bob@example.com\n", "text/plain")})
    assert answer.status_code == 403


# -- mounted, and what cannot be


def test_mounted_below_a_path_every_link_stays_there(kept: Postmaster) -> None:
    outer = Starlette(routes=[Mount("/mail", application(kept, changes=True, count_seconds=30))])
    browser = Browser(outer)
    for path in PATHS:
        answer = browser.get(f"/mail{path}")
        assert answer.status_code == 200, path
        if answer.headers["Content-Type"].startswith("text/html"):
            links = re.findall(r'(?:href|src|action|hx-get|formaction)="([^"#]+)"', answer.text)
            assert [link for link in links if not link.startswith("/mail/")] == []
    browser.get("/mail/recipients")
    answer = browser.post("/mail/suppressions/add", {"address": "bob@example.com"})
    assert answer.headers["location"] == "/mail/suppressions"
    assert "Path=/mail" in answer.headers["set-cookie"]
    assert browser.get("/mail/static/style.css").status_code == 200


@pytest.mark.parametrize("is_async", [False, True])
def test_an_application_around_it_says_who_it_is(kept: Postmaster, is_async: bool) -> None:
    def known(request: Request) -> User | None:
        name = request.headers.get("x-user")
        return User(name, Role.OWNER) if name else None

    async def asked(request: Request) -> User | None:
        return known(request)

    app = application(kept, authenticate=asked if is_async else known, hosts=[HOST])
    browser = Browser(app, client=STRANGER, base=f"https://{HOST}")
    for path in ("/", "/log-in"):
        answer = browser.get(path)
        assert answer.status_code == 403
        assert "log in to the application first" in answer.text
    browser.client.headers["x-user"] = "meera"
    assert browser.get("/log-in").headers["location"] == "/"
    assert "meera" in browser.get("/").text
    browser.send("/suppressions/add", {"address": "bob@example.com"})
    assert kept.suppressions.changes("bob@example.com")[0].by == "meera (web page)"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"hosts": ["bounces.example.org"]}, "without users the page is for its own machine"),
        ({"users": USERS, "authenticate": lambda request: None}, "one of them says who it is"),
        ({"secret": "short"}, "16 bytes or more"),
        ({"users": {"asha": "secret"}}, "a table with password and role"),
    ],
)
def test_what_cannot_be_says_what_would_be_right(postmaster: Postmaster, settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        application(postmaster, **settings)


def test_what_is_ours_in_static_says_where_it_comes_from() -> None:
    from bouncekit.web.site import _STATIC

    names = {path.name for path in _STATIC.iterdir()}
    assert names == {"style.css", "icon.svg", "live.js", "htmx.min.js", "htmx.LICENSE", "VENDORED.md"}
    assert "htmx.org 4.0.1" in (_STATIC / "VENDORED.md").read_text("utf-8")
