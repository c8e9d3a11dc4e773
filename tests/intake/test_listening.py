"""Where a server listens, as people write it; nobody else reaches it unless that is asked for."""

from pathlib import Path

import pytest

from bouncekit.intake.listening import Place, read_place
from bouncekit.words.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/run/b.sock", Place(Path("/run/b.sock"))),
        ("unix:b.sock", Place(Path("b.sock"))),
        ("inet:localhost:24", Place(host="localhost", port=24)),
        ("[::1]:2400", Place(host="::1", port=2400)),
        ("127.9.9.9:2400", Place(host="127.9.9.9", port=2400)),
    ],
)
def test_a_place_is_written_as_postfix_writes_it(text: str, place: Place) -> None:
    assert read_place(text) == place
    assert read_place(str(place)) == place


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "write unix:/path or HOST:PORT"),
        ("unix:", "a path of at most"),
        ("/" + "x" * 200, "a path of at most"),
        ("127.0.0.1", "write unix:/path or HOST:PORT"),
        ("127.0.0.1:http", "write unix:/path or HOST:PORT"),
        ("127.0.0.1:99999", "write unix:/path or HOST:PORT"),
        ("127.0.0.1:-1", "write unix:/path or HOST:PORT"),
        ("127.0.0.1:25", "never listens on port 25"),
        ("0.0.0.0:24", "or say --public"),
        ("mx.example.org:24", "or say --public"),
        ("[::]:24", "or say --public"),
    ],
)
def test_a_place_that_cannot_be_one_or_that_others_can_reach_is_an_error(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        read_place(text)


def test_a_place_that_others_can_reach_has_to_be_asked_for() -> None:
    assert read_place("0.0.0.0:24", public=True) == Place(host="0.0.0.0", port=24)
