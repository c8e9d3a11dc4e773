"""What a mail server gives to a program: a mail on standard input, an address in the environment."""

import io

import pytest

from bouncekit.intake import pipe
from bouncekit.intake.pipe import address_of, read_one

PATH = "bounce+01ab@example.org"


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        # Postfix's local(8), behind an alias
        ({"ORIGINAL_RECIPIENT": PATH, "RECIPIENT": "shop@example.org", "LOCAL": "shop", "EXTENSION": ""}, PATH),
        # Exim's pipe transport
        ({"RECIPIENT": PATH, "LOCAL_PART": "bounce", "LOCAL_PART_SUFFIX": "+01ab", "DOMAIN": "example.org"}, PATH),
        ({"LOCAL_PART": "bounce", "LOCAL_PART_SUFFIX": "+01ab", "DOMAIN": "example.org"}, PATH),
        # qmail-command(8)
        ({"RECIPIENT": PATH, "LOCAL": "bounce+01ab", "HOST": "example.org", "EXT": "01ab"}, PATH),
        ({"LOCAL": "bounce+01ab", "HOST": "example.org"}, PATH),
        ({"RECIPIENT": "bounce", "HOST": "example.org"}, None),
        ({}, None),
    ],
)
def test_the_address_is_what_the_server_was_told(environ: dict[str, str], address: str | None) -> None:
    assert address_of(environ) == address


def test_a_mail_that_is_too_long_is_read_to_its_end_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe, "MAX_MAIL_BYTES", 10)
    stream = io.BytesIO(b"0123456789" * 500_000)
    assert read_one(stream) == b"0123456789"
    assert stream.read() == b""
