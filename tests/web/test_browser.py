"""The pages in a browser: clicked through, read by axe, in the light and in the dark, narrow, and without scripts."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.reports.digest import digest
from bouncekit.reports.page import page
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ScriptedServer
from bouncekit.web import application
from tests.conftest import message
from tests.web.conftest import SCRIPT

playwright = pytest.importorskip("playwright.sync_api", reason="python -m pip install playwright axe-playwright-python")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="python -m pip install axe-playwright-python")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")

PAGES = (
    "/",
    "/events",
    "/events?live=1",
    "/recipients",
    "/suppressions",
    "/suppressions/import",
    "/suppressions/undo",
    "/queue",
    "/policy",
    "/policy/try",
    "/health",
    "/codes",
    "/codes/552?lang=hi",
    "/nowhere",
)
WHO = "full@example.com"
# axe's own scale; what is minor is a matter of taste.
EXPECTED = ("404", "Autofocus processing was blocked")  # the latter where a test is faster than the page
HARMFUL = frozenset({"critical", "serious", "moderate"})


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def opened() -> Iterator[tuple[Postmaster, str]]:
    """A postmaster to whom something has happened, and where a real server has his pages."""
    with (
        ScriptedServer(SCRIPT) as refusing,
        Postmaster(store=MemoryStore(), retry="queue", worker="external", relays={"main": refusing.url}) as postmaster,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        with postmaster.client("main") as client:
            client.send(message("ann@example.com", WHO, "gone@example.com", "later@example.com"))
        app = application(postmaster, changes=True, local_name="asha", count_seconds=30)
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield postmaster, f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def place() -> Iterator[tuple[Postmaster, str]]:
    with opened() as place:
        yield place


@pytest.fixture
def postmaster(place: tuple[Postmaster, str]) -> Postmaster:
    return place[0]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Pages in which nobody changes anything."""
    with opened() as (_, url):
        yield url


class Visitor:
    """Opens pages; what the browser complains of, and what it asks of others, is kept."""

    def __init__(self, browser: Any, url: str, **settings: Any) -> None:
        self.complaints: list[str] = []
        self.context = browser.new_context(base_url=url, **settings)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda said: self._heard(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: None if asked.url.startswith(url) else self.complaints.append(asked.url))

    def _heard(self, text: str) -> None:
        if not any(one in text for one in EXPECTED):
            self.complaints.append(text)


@contextmanager
def visiting(browser: Any, url: str, path: str, **settings: Any) -> Iterator[Any]:
    visitor = Visitor(browser, url, **settings)
    visitor.page.goto(path)
    yield visitor.page
    visitor.context.close()
    assert visitor.complaints == []


@pytest.fixture
def visit(browser: Any, place: tuple[Postmaster, str]) -> Iterator[Callable[..., Any]]:
    """Open a page of a postmaster of this test's own."""
    with ExitStack() as stack:
        yield lambda path, **settings: stack.enter_context(visiting(browser, place[1], path, **settings))


@pytest.mark.parametrize("path", PAGES)
def test_everybody_can_read_it_by_day_by_night_and_on_a_small_telephone(browser: Any, url: str, path: str) -> None:
    with visiting(browser, url, path) as page:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = axe.Axe().run(page).response["violations"]
            assert [
                (one["id"], one["help"], one["nodes"][0]["html"]) for one in found if one["impact"] in HARMFUL
            ] == []
        page.set_viewport_size({"width": 320, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_report_can_be_read_by_day_by_night_and_on_a_small_telephone_and_asks_for_nothing(
    browser: Any, postmaster: Postmaster, tmp_path: Path
) -> None:
    file = tmp_path / "week.html"
    file.write_text(page(digest(postmaster.office, timedelta(days=7))), "utf-8")
    with visiting(browser, file.as_uri(), file.as_uri()) as opened:
        assert opened.locator("figure.chart svg").count() == 3
        for scheme in ("light", "dark"):
            opened.emulate_media(color_scheme=scheme)
            found = axe.Axe().run(opened).response["violations"]
            assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in HARMFUL] == []
        opened.set_viewport_size({"width": 320, "height": 640})
        assert opened.evaluate("document.documentElement.scrollWidth") <= 320
        opened.emulate_media(media="print", color_scheme="dark")
        assert opened.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')") == "#1d2320"
        numbers = opened.get_by_text("From (UTC)").first
        assert numbers.is_visible(), "on paper nobody opens it"


def test_a_mailbox_is_looked_up_taken_off_the_list_and_put_on_it(
    visit: Callable[..., Any], postmaster: Postmaster
) -> None:
    page = visit("/")
    page.get_by_role("link", name="Recipients").click()
    page.get_by_label("Mail address").fill(WHO)
    page.keyboard.press("Enter")
    assert "mail is held back until" in page.locator(".verdict").inner_text()
    assert "@" not in page.url
    page.get_by_role("button", name="Take off the list").click()
    assert page.get_by_role("status").inner_text() == f"{WHO} is off the list"
    assert WHO not in postmaster.suppressions
    page.get_by_label("Why").fill("asked for it")
    page.get_by_role("button", name="Put on the suppression list").click()
    assert WHO in postmaster.suppressions
    assert "asha (web page)" in page.locator(".timeline").inner_text()


def test_a_rule_s_doing_is_looked_at_and_taken_back(visit: Callable[..., Any], postmaster: Postmaster) -> None:
    page = visit("/suppressions")
    page.get_by_role("link", name="Take changes back").click()
    page.get_by_label("Rule of the policy").fill("mailbox-full")
    page.get_by_role("button", name="Look what it would do").click()
    assert page.locator(".calls dd").first.inner_text() == "1"
    assert WHO in postmaster.suppressions
    page.get_by_role("button", name="Take back").click()
    assert "1 lifted" in page.get_by_role("status").inner_text()
    assert WHO not in postmaster.suppressions


def test_a_list_is_tried_and_imported(visit: Callable[..., Any], postmaster: Postmaster) -> None:
    page = visit("/suppressions/import")
    file = {"name": "list.txt", "mimeType": "text/plain", "buffer": b"imported@example.com\n"}
    page.get_by_label("File, up to").set_input_files(file)
    page.get_by_role("button", name="Try it").click()
    assert page.locator("h1").inner_text() == "What an import would do"
    page.get_by_role("button", name="Import it").click()
    assert page.locator("h1").inner_text() == "Imported"
    assert "imported@example.com" in postmaster.suppressions


def test_the_list_is_downloaded(visit: Callable[..., Any]) -> None:
    page = visit("/suppressions")
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    assert download.value.suggested_filename.endswith(".csv")


def test_a_live_page_shows_what_happens_while_one_looks(visit: Callable[..., Any], postmaster: Postmaster) -> None:
    page = visit("/events")
    page.get_by_role("link", name="Live").click()
    assert page.get_by_text("live@example.com").count() == 0
    postmaster.suppressions.add("live@example.com")
    page.get_by_role("link", name="live@example.com").first.wait_for()


def test_a_live_page_that_gets_no_answer_says_so_and_keeps_what_it_has(browser: Any, url: str) -> None:
    for path in ("/events?live=1", "/"):
        page = browser.new_context(base_url=url).new_page()
        page.goto(path)
        assert not page.get_by_role("alert").is_visible()
        held = page.locator("main").inner_text()
        page.route("**", lambda route: route.abort())
        if path == "/":  # which asks only every twenty seconds
            page.evaluate("htmx.trigger('#live', 'every')")
        page.get_by_role("alert").wait_for()
        assert held in page.locator("main").inner_text()
        page.unroute("**")
        page.evaluate("htmx.trigger('[hx-get]', 'every')")
        if path == "/":
            page.get_by_role("alert").wait_for(state="hidden")
        page.context.close()


def test_on_a_small_telephone_rows_stand_below_each_other(visit: Callable[..., Any]) -> None:
    for path, text in (("/queue", "452 4.2.2 Over quota"), ("/events", "452 4.2.2 Over quota; next try")):
        page = visit(path, viewport={"width": 320, "height": 640})
        box = page.get_by_text(text).first.bounding_box()
        assert box["x"] + box["width"] <= 320


def test_a_changed_policy_is_tried_and_the_page_tells_when_it_is_done(visit: Callable[..., Any]) -> None:
    page = visit("/policy")
    page.get_by_role("link", name="Try a change").click()
    page.get_by_label("The policy").fill("policy: 1\nextends: bulk\n")
    page.get_by_role("button", name="Try it").click()
    page.locator("#trial table").first.wait_for()


def test_a_reply_is_explained_in_hindi(visit: Callable[..., Any]) -> None:
    page = visit("/policy")
    page.get_by_label("Reply").fill("552 5.2.2 Mailbox full")
    page.get_by_label("Language").select_option("hi")
    page.get_by_role("button", name="Explain").click()
    assert "किसकी वजह से" in page.locator(".explained").inner_text()


def test_by_keyboard_one_comes_past_the_navigation(visit: Callable[..., Any]) -> None:
    page = visit("/queue")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_without_scripts_everything_works_as_well(visit: Callable[..., Any], postmaster: Postmaster) -> None:
    page = visit("/", java_script_enabled=False)
    assert page.locator("figure svg rect").count() > 0
    page.get_by_role("link", name="Queue", exact=True).click()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Drop them").click()
    page.get_by_role("button", name="Drop them").click()
    assert "1 recipient dropped" in page.get_by_role("status").inner_text()
    page.get_by_role("link", name="Suppressions").click()
    page.get_by_role("button", name=f"Lift {WHO}").click()
    assert WHO not in postmaster.suppressions
    page.get_by_role("link", name="Policy").click()
    page.get_by_role("link", name="Try a change").click()
    page.get_by_label("The policy").fill("policy: 1\nextends: bulk\n")
    page.get_by_role("button", name="Try it").click()
    page.locator("#trial table").first.wait_for()  # the page loads itself again
