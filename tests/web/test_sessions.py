"""Sessions in a signed cookie."""

from datetime import UTC, datetime, timedelta

import pytest

from bouncekit.web.sessions import Session, Sessions

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECRET = b"a secret of enough bytes"


def test_a_cookie_brings_its_session_back() -> None:
    sessions = Sessions(SECRET)
    session = sessions.begin(NOW, user="asha", mark="1")
    assert sessions.read(sessions.written(session), NOW) == session
    assert Sessions(SECRET).read(sessions.written(session), NOW) == session


def test_another_secret_a_changed_letter_or_nothing_at_all_is_no_session() -> None:
    sessions = Sessions(SECRET)
    cookie = sessions.written(sessions.begin(NOW))
    assert Sessions(b"another secret of bytes").read(cookie, NOW) is None
    for place in range(len(cookie)):
        other = cookie[:place] + ("A" if cookie[place] != "A" else "B") + cookie[place + 1 :]
        found = sessions.read(other, NOW)
        assert found is None or found == sessions.read(cookie, NOW)  # the last letter has bits that say nothing
    for nothing in (None, "", ".", "x" * 5000, cookie + "." + cookie):
        assert sessions.read(nothing, NOW) is None


def test_a_session_is_over_behind_its_time_and_when_it_was_ended() -> None:
    sessions = Sessions(SECRET, lasts=timedelta(hours=1))
    session = sessions.begin(NOW, user="asha")
    cookie = sessions.written(session)
    assert sessions.read(cookie, NOW + timedelta(minutes=59)) == session
    assert sessions.read(cookie, NOW + timedelta(minutes=60)) is None
    sessions.end(session)
    assert sessions.read(cookie, NOW) is None


def test_strangers_who_log_out_by_the_thousand_bring_no_ended_session_back() -> None:
    sessions = Sessions(SECRET)
    session = sessions.begin(NOW, user="asha")
    sessions.end(session)
    for _ in range(10_001):
        sessions.end(sessions.begin(NOW))
    assert sessions.read(sessions.written(session), NOW) is None


def test_what_is_said_stays_so_short_that_a_browser_keeps_the_cookie() -> None:
    sessions = Sessions(SECRET)
    session = Session(id="a", token="b", begun=int(NOW.timestamp()), said="é" * 5000)
    cookie = sessions.written(session)
    assert len(cookie) < 3000
    found = sessions.read(cookie, NOW)
    assert found is not None
    assert found.said == "é" * 300


@pytest.mark.parametrize("token", ["", "x", "\ud800"])
def test_only_its_own_token_counts(token: str) -> None:
    session = Sessions(SECRET).begin(NOW)
    assert session.has_token(session.token)
    assert not session.has_token(token)
