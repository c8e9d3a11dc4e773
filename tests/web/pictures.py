"""Take the pictures of the documentation: pages of a shop whose mail has gone out for two days.

    python -m tests.web.pictures [folder]

The pictures are what a browser shows of the real pages; what happened there came of a scripted server's replies.
"""

import random
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from playwright.sync_api import sync_playwright

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.reports.digest import digest
from bouncekit.reports.page import page
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.web import application
from tests.conftest import message

_FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
_NOON = datetime(2026, 11, 30, 12, 20, tzinfo=UTC)
_HOURS = 40
_REPLIES = {
    "full@example.com": "552 5.2.2 <full@example.com>: Mailbox is full",
    "gone@example.com": "550 5.1.1 <gone@example.com>: Recipient address rejected: User unknown",
    "left@example.net": "550 5.2.1 The email account that you tried to reach is disabled",
    "later@example.com": "452 4.2.2 Over quota, please try again later",
    "busy@example.org": "451 4.3.2 System not accepting messages, try later",
    "strict@example.net": "554 5.7.1 Message rejected as spam",
}


def _happen(postmaster: Postmaster, clock: ManualClock, url: str) -> None:
    """Two days of mail, more of it by day."""
    chosen = random.Random(7)  # the same pictures each time
    with postmaster.client("main") as client:
        for hour in range(_HOURS):
            is_day = 6 <= (clock.now() + timedelta(hours=1)).hour <= 20
            for _ in range(chosen.randint(12, 22) if is_day else chosen.randint(2, 7)):
                to = {f"user{chosen.randint(1, 900)}@example.com" for _ in range(chosen.randint(1, 3))}
                to |= {chosen.choice(list(_REPLIES))} if chosen.random() < 0.22 else set()
                client.send(message(*sorted(to), subject="Your order"))
                clock.move(timedelta(minutes=2))
            clock.move(timedelta(hours=1) - timedelta(minutes=clock.now().minute - 20 if hour < _HOURS - 1 else 0))
    postmaster.suppressions.add("ann@example.com", reason="asked for it by telephone", by="asha")


@contextmanager
def _served() -> Iterator[tuple[str, str]]:
    """Where the pages are, and the report of the same mail."""
    clock = ManualClock(_NOON - timedelta(hours=_HOURS))
    with (
        ScriptedServer({"RCPT": dict(_REPLIES)}) as server,
        Postmaster(
            store=MemoryStore(), clock=clock, retry="queue", worker="external", relays={"main": server.url}
        ) as postmaster,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        _happen(postmaster, clock, server.url)
        app = application(postmaster, changes=True, local_name="asha", count_seconds=60)
        served = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error", ws="none"))
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", page(digest(postmaster.office, timedelta(days=2)))
        served.should_exit = True
        thread.join()


def _take(browser: Any, url: str, folder: Path) -> None:
    wide, narrow = {"width": 1000, "height": 720}, {"width": 360, "height": 720}
    for name, scheme, size in (
        ("overview", "light", wide),
        ("overview-dark", "dark", wide),
        ("overview-narrow", "light", narrow),
    ):
        page = browser.new_context(base_url=url, color_scheme=scheme, viewport=size).new_page()
        page.goto("/")
        page.screenshot(path=folder / f"{name}.png")
    page = browser.new_context(base_url=url, viewport=wide).new_page()
    page.goto("/recipients")
    page.get_by_label("Mail address").fill("full@example.com")
    page.keyboard.press("Enter")
    page.locator(".verdict").wait_for()
    page.screenshot(path=folder / "recipient.png")
    page.goto("/policy")
    page.get_by_label("Reply").fill("552 5.2.2 Mailbox full")
    page.get_by_role("button", name="Explain").click()
    page.screenshot(path=folder / "policy.png")


def _take_report(browser: Any, html: str, folder: Path) -> None:
    page = browser.new_context(viewport={"width": 1000, "height": 1100}).new_page()
    page.set_content(html)
    page.screenshot(path=folder / "report.png")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with _served() as (url, report), sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        _take(browser, url, folder)
        _take_report(browser, report, folder)
        browser.close()


if __name__ == "__main__":
    main()
