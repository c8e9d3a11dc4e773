"""What each page shows, and what its forms do."""

import csv
import io
import json
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.delivery.events import EventType
from bouncekit.policy.suppression import Evidence, Standing
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.searching import Search
from bouncekit.testing import ScriptedServer
from bouncekit.web import application
from bouncekit.web.pages.events import _KINDS
from tests.building import suppression
from tests.conftest import message
from tests.contract.stores import put
from tests.web.conftest import SCRIPT, Browser

WHO = "full@example.com"


# -- overview


def test_the_overview_counts_what_became_of_the_mail(reader: Browser) -> None:
    page = reader.get("/").text
    for number, action in ((1, "delivered"), (1, "delayed"), (2, "failed")):
        assert f'<rect class="fill-{action}"' in page
        assert f'<div class="tile tile-{action}"><dt>{action.capitalize()}</dt><dd>{number} ' in page
    assert "mailbox full" in page
    assert "Nothing was sent" not in page


@pytest.mark.parametrize(("span", "columns"), [("day", 25), ("week", 29), ("month", 31)])
def test_a_day_is_in_hours_a_week_in_quarters_of_days_a_month_in_days(reader: Browser, span: str, columns: int) -> None:
    assert reader.get(f"/?span={span}").text.count("<g><title>") == columns


def test_what_needs_somebody_stands_first(reader: Browser, later: Callable[[timedelta], None]) -> None:
    for path in ("/", "/health"):
        assert "All is well" in reader.get(path).text
    later(timedelta(hours=5))
    for path in ("/", "/health"):
        page = reader.get(path).text
        assert "1 recipient is due for up to" in page
        assert "All is well" not in page


def test_the_budget_of_a_stream_stands_there_where_the_policy_has_one(
    make_postmaster: Callable[..., Postmaster], serve: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "policy: 1\nextends: default\nbudget: {at_least: 1, warn: {bounces: 1%}, within: 7d}\n"
    )
    postmaster = make_postmaster(policy=tmp_path / "mine.yaml")
    reader = Browser(application(postmaster, count_seconds=30))
    assert "Bounce budget" not in reader.get("/").text
    server = serve(SCRIPT)
    with postmaster.smtp(server.host, server.port) as smtp:
        smtp.send_message(message("ann@example.com", "gone@example.com"))
    page = reader.get("/").text
    assert "mail without a stream" in page
    assert '<td class="number">2</td><td class="number">50.00%</td>' in page


# -- events


def test_events_come_newest_first_with_what_was_said_and_by_which_rule(reader: Browser, kept: Postmaster) -> None:
    page = reader.get("/events").text
    told = [event.type.value.replace("_", " ") for event in kept.heard if event.type != "closed"]  # type: ignore[attr-defined]
    places = [page.index(f'">{type_}</span>') for type_ in dict.fromkeys(reversed(told))]
    assert places
    assert "452 4.2.2 Over quota; next try at 2026-01-01" in page
    assert "mailbox-full (default.yaml:" in page


def test_only_some_types_are_shown_where_some_are_ticked(reader: Browser) -> None:
    page = reader.get("/events?type=delivered&type=delayed").text
    body = page[page.index("<tbody") :]
    assert "ann@example.com" in body
    assert "later@example.com" in body
    assert "full@example.com" not in body
    assert reader.get("/events?type=nonsense").status_code == 400


def test_pages_of_events_lead_back_to_the_first_one(kept: Postmaster, reader: Browser) -> None:
    for number in range(250):
        kept.suppressions.add(f"user{number}@example.com")
    seen, path = 0, "/events?type=suppression_added"
    while path:
        page = reader.get(path).text
        seen += page.count('">suppression added</span>')
        _, _, rest = page.partition('" rel="next">')
        path = (
            page.rpartition(' rel="next">')[0].rpartition('href="')[2].rstrip('"')
            if rest or ' rel="next">' in page
            else ""
        )
        path = path.replace("&amp;", "&")
    assert seen == 252


def test_a_live_page_asks_for_its_rows_and_gets_none_where_nothing_is_new(reader: Browser, kept: Postmaster) -> None:
    page = reader.get("/events?live=1&type=suppression_added").text
    rows = page.partition('hx-get="')[2].partition('"')[0].replace("&amp;", "&")
    assert rows.startswith("/events/rows?live=1&seen=")
    assert reader.get(rows).status_code == 204
    kept.suppressions.add("bob@example.com")
    answer = reader.get(rows)
    assert answer.status_code == 200
    assert "bob@example.com" in answer.text
    assert answer.text.lstrip().startswith('<tbody id="rows" hx-get="/events/rows?live=1&amp;seen=')


@pytest.mark.parametrize("query", ["before=-1", "before=x", "before=" + "9" * 30, "span=year", "live=1&before=²"])
def test_a_number_that_is_none_is_told(reader: Browser, query: str) -> None:
    assert reader.get(f"/{'' if 'span' in query else 'events'}?{query}").status_code == 400


def test_a_live_page_marks_what_came_since_one_looked(reader: Browser, kept: Postmaster) -> None:
    newest = kept.office.store.search(Search(), newest_first=True, limit=1)[0][0]
    kept.suppressions.add("bob@example.com")
    page = reader.get(f"/events/rows?live=1&seen={newest}").text
    assert f'<tr id="event-{newest + 1}" class="new">' in page
    assert page.count('class="new"') == 1
    assert 'class="new"' not in reader.get("/events?live=1").text


@pytest.mark.parametrize("name", _KINDS)
def test_what_is_looked_for_most_often_is_one_step_away(reader: Browser, name: str) -> None:
    page = reader.get("/events").text
    path = page.partition(f'">{name}</a>')[0].rpartition('href="')[2].replace("&amp;", "&")
    page = reader.get(path).text
    assert f'" aria-current="true">{name}</a>' in page
    shown = {kind.value for kind in EventType if f'<span class="tag tag-{kind}">' in page}
    assert shown <= {kind.value for kind in _KINDS[name]}
    assert shown or name == "alarms"


# -- recipients


def test_the_page_of_a_mailbox_has_its_verdict_what_comes_next_and_all_that_happened(reader: Browser) -> None:
    page = reader.send("/recipients", {"address": "Full@Example.com"}).text
    assert "mail is held back until" in page
    assert "the suppression ends, and the next message goes out as its probe" in page
    assert 'href="/codes/5.2.2"' in page
    assert "552 5.2.2 Mailbox is full" in page
    assert "Take off the list" not in page


def test_nothing_known_is_said(reader: Browser) -> None:
    page = reader.send("/recipients", {"address": "nobody@example.com"}).text
    assert "nobody@example.com: nothing is known about it" in page


@pytest.mark.parametrize("address", ["", "a b", "a@b@c", "a\nb@example.com", "x" * 400 + "@example.com", "<>"])
def test_what_is_no_address_is_told(reader: Browser, address: str) -> None:
    assert reader.post("/recipients", {"address": address}).status_code == 400


@pytest.mark.parametrize("who", ["x", "full%40example.com", "A" * 500, "é"])
def test_a_link_that_is_not_ours_shows_nobody(reader: Browser, who: str) -> None:
    answer = reader.get(f"/recipients/{who}")
    assert answer.status_code == 400
    assert "before a restart" in answer.text


def test_from_his_page_somebody_goes_off_the_list_and_on_it(owner: Browser, kept: Postmaster) -> None:
    page = owner.send("/recipients", {"address": WHO}).text
    who = page.partition('name="who" value="')[2].partition('"')[0]
    page = owner.send("/suppressions/lift", {"who": who, "stream": "", "back": "recipient"}).text
    assert f"{WHO} is off the list" in page
    assert f"{WHO}: mail goes out" in page
    assert WHO not in kept.suppressions
    page = owner.send("/suppressions/add", {"address": WHO, "lasts": "7d", "back": "recipient"}).text
    assert "mail is held back until 2026-01-08" in page
    assert f"{WHO} is on the list" not in owner.get("/").text, "it is said once"


# -- the list


def test_the_list_has_who_why_until_when_and_by_whom(reader: Browser) -> None:
    page = reader.get("/suppressions").text
    assert WHO in page
    assert "mailbox full" in page
    assert "2026-01-08 12:00Z" in page
    assert "rule mailbox-full" in page


def test_it_is_searched_by_the_beginning_anywhere_and_by_what_it_is(owner: Browser, kept: Postmaster) -> None:
    for name in ("anna", "annabel", "hannah", "zoe"):
        kept.suppressions.add(f"{name}@example.com")

    def found(**fields: str) -> list[str]:
        page = owner.send("/suppressions/find", fields).text
        return [
            name for name in ("anna@", "annabel@", "hannah@", "zoe@", "full@") if f'">{name}example.com</a>' in page
        ]

    assert found(text="ANNA") == ["anna@", "annabel@"]
    assert found(text="anna", anywhere="1") == ["anna@", "annabel@", "hannah@"]
    assert found(text="zzz") == []
    assert found(standing="provisional") == ["full@"]
    assert found(category="mailbox_full") == ["full@"]
    assert found(text="anna@example.com") == ["anna@"]
    assert found(tenant="other") == []


def test_its_pages_have_everybody_once(owner: Browser, kept: Postmaster) -> None:
    for number in range(120):
        kept.suppressions.add(f"user{number:03}@example.com", stream="news" if number % 2 else "")
        kept.suppressions.add(f"user{number:03}@example.com", stream="bills")
    seen, path = 0, "/suppressions"
    while path:
        page = owner.get(path).text
        seen += page.count('<td class="who">')
        path = (
            page.partition(' rel="next">')[0].rpartition('href="')[2].rstrip('"').replace("&amp;", "&")
            if 'rel="next"' in page
            else ""
        )
    assert seen == 242


def test_somebody_is_added_for_a_time_or_for_good(owner: Browser, kept: Postmaster) -> None:
    fields = {"address": "bob@example.com", "category": "complaint", "reason": "by telephone", "stream": "news"}
    owner.send("/suppressions/add", fields)
    found = kept.suppressions.get("bob@example.com", stream="news")
    assert found is not None
    assert (found.category, found.evidence.reply, found.expires_at, found.by) == (
        "complaint",
        "by telephone",
        None,
        "asha (web page)",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"address": "nobody"},
        {"address": "bob@example.com", "lasts": "soon"},
        {"address": "bob@example.com", "lasts": "9999999d"},
        {"address": "bob@example.com", "category": "nonsense"},
        {"address": "bob@example.com", "reason": "x" * 501},
        {"address": "bob@example.com", "reason": "a\x1b[2J"},
    ],
)
def test_what_cannot_be_added_is_not(owner: Browser, kept: Postmaster, fields: dict[str, str]) -> None:
    assert owner.post("/suppressions/add", fields).status_code == 400
    assert "bob@example.com" not in kept.suppressions


# -- files


def test_a_file_is_tried_first_then_imported_then_taken_back(owner: Browser, kept: Postmaster) -> None:
    content = b"email,reason,created\nbob@example.com,550 5.1.1 No such user,1600000000\nnobody,x,1\n"
    files = {"file": ("C:/lists/bounces.csv", content, "text/csv")}
    page = owner.post("/suppressions/import", {"format": "plain"}, files=files).text
    assert "What an import would do" in page
    assert "bob@example.com" not in kept.suppressions
    upload = page.partition('name="upload" value="')[2].partition('"')[0]
    page = owner.post("/suppressions/import/do", {"upload": upload, "format": "plain"}).text
    assert "<h1>Imported</h1>" in page
    assert "bob@example.com" in kept.suppressions
    made_by = page.partition('name="made_by" value="')[2].partition('"')[0]
    assert made_by == "import plain bounces.csv by asha (web page)"
    assert owner.post("/suppressions/import/do", {"upload": upload}).status_code == 400
    assert "<dt>Lifted</dt><dd>1</dd>" in owner.post("/suppressions/undo", {"made_by": made_by}).text
    assert "bob@example.com" in kept.suppressions
    assert "1 lifted, 0 as they were before" in owner.send("/suppressions/undo/do", {"made_by": made_by}).text
    assert "bob@example.com" not in kept.suppressions


def test_a_file_of_another_browser_is_not_imported(kept: Postmaster) -> None:
    app = application(kept, changes=True)
    one, other = Browser(app), Browser(app)
    page = one.post("/suppressions/import", files={"file": ("list.txt", b"bob@example.com\n", "text/plain")}).text
    upload = page.partition('name="upload" value="')[2].partition('"')[0]
    assert other.post("/suppressions/import/do", {"upload": upload}).status_code == 400
    assert one.post("/suppressions/import/do", {"upload": upload}).status_code == 200


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        ({}, {}),
        ({}, {"file": ("", b"", "text/csv")}),
        ({"format": "nonsense"}, {"file": ("a.csv", b"bob@example.com\n", "text/csv")}),
        ({"prefer": "nonsense"}, {"file": ("a.csv", b"bob@example.com\n", "text/csv")}),
        ({}, {"file": ("a.csv", b"a,b,c,d\n1,2,3,4\n", "text/csv")}),
    ],
    ids=["nothing", "no name", "no such kind", "no such choice", "no known columns"],
)
def test_a_file_that_cannot_be_read_is_told(owner: Browser, fields: dict[str, str], files: dict[str, Any]) -> None:
    assert owner.post("/suppressions/import", fields, files=files or None).status_code == 400


def test_the_whole_list_goes_out_and_comes_back(owner: Browser, kept: Postmaster) -> None:
    kept.suppressions.add("=cmd@example.com", reason="=1+1")
    for number in range(2500):
        kept.suppressions.add(f"user{number}@example.com")
    answer = owner.get("/suppressions/export")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="suppressions-2026-01-01.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == len({row["address"] for row in rows}) == 2503
    assert "'=1+1" in answer.text
    lines = owner.get("/suppressions/export?format=jsonl").text.splitlines()
    assert {json.loads(line)["address"].lstrip("'") for line in lines} == {row["address"].lstrip("'") for row in rows}


# -- taking back


@pytest.mark.parametrize("fields", [{}, {"since": "yesterday"}, {"category": "nonsense"}])
def test_nothing_meant_is_nothing_undone(owner: Browser, fields: dict[str, str]) -> None:
    assert owner.post("/suppressions/undo", fields).status_code == 400
    assert owner.post("/suppressions/undo/do", fields).status_code == 400


def test_a_reader_sees_what_would_be_undone_and_does_not_do_it(reader: Browser, kept: Postmaster) -> None:
    page = reader.post("/suppressions/undo", {"rule": "mailbox-full", "since": "2026-01-01T11:00"}).text
    assert "<dt>Lifted</dt><dd>1</dd>" in page
    assert "Take back</button>" not in page
    assert WHO in kept.suppressions


# -- the queue


def row(page: str) -> str:
    return page.partition('name="row-1" value="')[2].partition('"')[0]


def test_who_waits_is_shown_and_tried_now(owner: Browser, kept: Postmaster) -> None:
    page = owner.get("/queue").text
    assert "later@example.com" in page
    assert ">waiting</span>" in page
    page = owner.send("/queue/retry", {"row-1": row(page)}).text
    assert "1 recipient due now" in page
    assert kept.office.store.depth(kept.office.clock.now()).due == 1


def test_dropping_asks_first_and_counts_as_failed_by_whom(owner: Browser, kept: Postmaster) -> None:
    ticked = {"row-1": row(owner.get("/queue").text)}
    page = owner.post("/queue/drop", ticked).text
    assert "Drop 1 recipient?" in page
    assert kept.office.store.depth(kept.office.clock.now()).waiting == 1
    page = owner.send("/queue/drop", {**ticked, "sure": "1"}).text
    assert "1 recipient dropped" in page
    (event,) = (event for event in kept.heard.of("failed") if event.recipient == "later@example.com")  # type: ignore[attr-defined]
    assert (event.rule, event.details["by"]) == ("dropped-by-hand", "asha (web page)")
    assert "nobody was there" in owner.send("/queue/retry", ticked).text


def test_a_whole_page_of_the_queue_is_tried_now(owner: Browser, kept: Postmaster) -> None:
    assert "of this page now" not in owner.get("/queue").text, "one is ticked as fast"
    with kept.client("main") as client:
        for _ in range(2):
            client.send(message("later@example.com"))
    _, _, form = owner.get("/queue").text.partition('<form id="all"')
    ticked = dict(re.findall(r'name="(row-\d+)" value="([\w-]+)"', form))
    assert "3 recipients due now" in owner.send("/queue/retry", ticked).text
    assert kept.office.store.depth(kept.office.clock.now()).due == 3


def test_it_is_told_why_somebody_waits(reader: Browser, kept: Postmaster) -> None:
    assert '<td class="remote">452 4.2.2 Over quota</td>' in reader.get("/queue").text


@pytest.mark.parametrize("ticked", [{}, {"row-1": "x"}, {"row-1": ""}])
def test_nobody_ticked_is_nobody_changed(owner: Browser, ticked: dict[str, str]) -> None:
    assert owner.post("/queue/drop", {**ticked, "sure": "1"}).status_code == 400


def test_the_queue_is_searched_by_state_and_text(owner: Browser, kept: Postmaster) -> None:
    assert "later@example.com" in owner.send("/queue/find", {"state": "waiting", "text": "LATER"}).text
    assert "Nobody is waiting there" in owner.send("/queue/find", {"state": "due"}).text
    assert "Nobody is waiting there" in owner.send("/queue/find", {"text": "nobody"}).text
    assert owner.post("/queue/find", {"state": "nonsense"}).status_code == 400


def test_pages_of_the_queue_have_everybody_once(owner: Browser, kept: Postmaster) -> None:
    with kept.client("main") as client:
        for number in range(60):
            client.submit(message(f"a{number}@example.com", f"b{number}@example.com"))
    seen, path = 0, "/queue"
    while path:
        page = owner.get(path).text
        seen += page.count('<td class="who">')
        path = (
            page.partition(' rel="next">')[0].rpartition('href="')[2].rstrip('"').replace("&amp;", "&")
            if 'rel="next"' in page
            else ""
        )
    assert seen == 121


# -- the policy


def test_every_rule_stands_there_with_how_often_it_decided(reader: Browser, kept: Postmaster) -> None:
    page = reader.get("/policy").text
    places = [page.index(f"{rule.id}<br>") for rule in (*kept.policy.rules, *kept.policy.sessions)]
    assert places == sorted(places)
    hits = page[page.index("mailbox-full<br>") :].partition('data-label="decided">')[2].partition("<")[0]
    assert hits == "1"


def test_a_pasted_reply_is_explained_as_this_policy_sees_it(reader: Browser) -> None:
    page = reader.post("/policy/explain", {"reply": "552 5.2.2 Mailbox full <b>now</b>"}).text
    assert "mailbox-full (default.yaml:" in page
    assert "552 5.2.2 Mailbox full &lt;b&gt;now&lt;/b&gt;" in page
    assert 'href="/codes' in page
    page = reader.post("/policy/explain", {"reply": "552", "lang": "hi", "stage": "RCPT", "accepted": "2"}).text
    assert "किसकी वजह से" in page


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"reply": "hello"},
        {"reply": "552", "stage": "NOWHERE"},
        {"reply": "552 " + "x" * 3000},
        {"reply": "552", "accepted": "-1"},
    ],
)
def test_what_is_no_reply_is_told(reader: Browser, fields: dict[str, str]) -> None:
    assert reader.post("/policy/explain", fields).status_code == 400


def finished() -> None:
    for thread in threading.enumerate():
        if thread.name == "bouncekit-trial":
            thread.join(60)


def test_a_changed_policy_is_tried_on_what_happened(reader: Browser) -> None:
    rule = "{id: mailbox-full, when: {category: mailbox_full, permanent: true}, do: fail}"
    changed = f"policy: 1\nextends: default\nrules:\n- {rule}\n"
    answer = reader.post("/policy/try", {"policy": changed, "days": "7"})
    assert answer.status_code == 303
    finished()
    page = reader.get(answer.headers["location"]).text
    assert "Of 4 recorded outcomes, 1 end otherwise." in page
    assert '<tr><th scope="row">suppressions added</th><td class="number">2</td><td class="number">1</td></tr>' in page
    assert "failed, suppressed by mailbox" in page


def test_the_policy_that_is_offered_changes_nothing(reader: Browser) -> None:
    from html import unescape

    page = reader.get("/policy/try").text
    offered = unescape(page.partition('spellcheck="false" required>')[2].partition("</textarea>")[0])
    answer = reader.post("/policy/try", {"policy": offered, "days": "7"})
    finished()
    assert "Of 4 recorded outcomes, 0 end otherwise." in reader.get(answer.headers["location"]).text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("policy: 1\nrules:\n- {id: a, do: supress}\n", "supress"),
        ("policy: 1\nextends: /etc/passwd.yaml\n", "no shipped policy"),
        ("policy: 1\nextends: default\nmeaning: [mine.toml]\n", "files of rules stand beside a policy"),
        ("", "policy"),
    ],
    ids=["no such fate", "a file of ours", "rules of ours", "nothing"],
)
def test_what_is_no_policy_is_told_with_its_mistakes_and_reads_no_file(reader: Browser, text: str, why: str) -> None:
    answer = reader.post("/policy/try", {"policy": text})
    assert answer.status_code == 422
    assert why in answer.text


def test_one_trial_runs_at_a_time(reader: Browser, kept: Postmaster, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    search = kept.office.store.search
    monkeypatch.setattr(
        kept.office.store, "search", lambda *wanted, **asked: go_on.wait(60) and search(*wanted, **asked)
    )
    try:
        first = reader.post("/policy/try", {"policy": "policy: 1\nextends: bulk\n"})
        second = reader.post("/policy/try", {"policy": "policy: 1\nextends: strict\n"})
        page = reader.get(first.headers["location"]).text
    finally:
        go_on.set()
        finished()
    assert (first.status_code, second.status_code) == (303, 400)
    assert "another policy is being tried" in second.text
    assert 'hx-trigger="every 1s"' in page
    assert '<meta http-equiv="refresh"' in page
    assert reader.get("/policy/try/nonsense").status_code == 400


# -- health and codes


def test_a_sink_that_is_parked_is_tried_again_by_hand(owner: Browser, kept: Postmaster) -> None:
    from bouncekit.stores.cursors import Trouble

    store, now = kept.office.store, kept.office.clock.now()
    store.claim_cursor("sink:crm", owner="me", now=now, until=now + timedelta(minutes=1))
    trouble = Trouble(failures=9, since=now - timedelta(days=3), error="503 <b>away</b>", next_try_at=None)
    assert store.note_trouble("sink:crm", trouble, owner="me")
    page = owner.get("/health").text
    assert '<span class="tag tag-parked">parked</span>' in page
    assert "503 &lt;b&gt;away&lt;/b&gt;" in page
    assert "events do not get to sink crm" in owner.get("/").text
    assert "sink crm is tried again" in owner.send("/health/sinks", {"sink": "crm"}).text
    assert store.trouble_of("sink:crm") is None
    assert owner.post("/health/sinks", {"sink": "nonsense"}).status_code == 400


def test_what_the_guard_holds_is_told_with_a_reply_and_leads_to_whom(reader: Browser, kept: Postmaster) -> None:
    assert "Held by the guard" in reader.get("/health").text
    evidence = Evidence(reply="550 5.1.1 A bad <b>hour</b>", fingerprint="bad")
    put(kept.office.store, suppression("cy@example.com", standing=Standing.HELD, evidence=evidence, expires_at=None))
    page = reader.get("/health").text
    assert "1 suppression binds nobody" in page
    assert "550 5.1.1 A bad &lt;b&gt;hour&lt;/b&gt;" in page
    page = reader.get(page.partition('">Look at who is held</a>')[0].rpartition('href="')[2]).text
    assert "cy@example.com" in page
    assert "A bad hour: nothing is to be done." in page


def test_the_policy_in_force_and_relays_that_nobody_knows_are_told(reader: Browser, kept: Postmaster) -> None:
    page = reader.get("/health").text
    assert kept.policy.hash[:12] in page
    assert "For relay main" in page
    assert "not configured" not in page


@pytest.mark.parametrize("code", ["221", "452", "552", "599", "5.2.2", "4.7.99", "2.1.5"])
@pytest.mark.parametrize("lang", ["en", "hi"])
def test_every_code_has_a_page_in_both_languages(reader: Browser, code: str, lang: str) -> None:
    page = reader.get(f"/codes/{code}?lang={lang}").text
    assert f'<article class="card" lang="{lang}">' in page
    assert f'<span class="code">{code}</span>' in page


@pytest.mark.parametrize("code", ["199", "600", "foo", "5.2", "9.9.9", "٥٥٢", "<b>"])
def test_what_is_no_code_is_told(reader: Browser, code: str) -> None:
    answer = reader.get(f"/codes/{code}")
    assert answer.status_code == 400
    assert "is no code" in answer.text


def test_a_code_is_looked_up_and_all_links_of_the_list_lead_to_a_card(reader: Browser) -> None:
    assert reader.get("/codes?code=5.2.2").headers["location"] == "/codes/5.2.2"
    page = reader.get("/codes").text
    links = re.findall(r'href="(/codes/[^"]+)"', page)
    assert len(links) > 120
    assert [link for link in links if reader.get(link).status_code != 200] == []
