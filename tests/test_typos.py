"""Domains that somebody most likely meant: a slip is found, and what exists is let be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit import AddressError
from bouncekit.words.typos import _KNOWN, _LARGE, _is_one_slip, meant


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ("gmial.com", "gmail.com"),
        ("gmai.com", "gmail.com"),
        ("gmaill.com", "gmail.com"),
        ("gnail.com", "gmail.com"),
        ("gmail.con", "gmail.com"),
        ("gmail.co", "gmail.com"),
        ("gmail.cm", "gmail.com"),
        ("GMIAL.COM", "gmail.com"),
        ("hotmial.com", "hotmail.com"),
        ("yahooo.com", "yahoo.com"),
        ("outlok.com", "outlook.com"),
        ("rediffmial.com", "rediffmail.com"),
        ("example.con", "example.com"),
        ("example.nett", "example.net"),
        ("gmial.con", "gmail.com"),
    ],
)
def test_a_slip_is_found(written: str, domain: str) -> None:
    assert meant(f"jo.smith@{written}") == f"jo.smith@{domain}"


@pytest.mark.parametrize(
    "domain",
    [*sorted(_KNOWN), "example.com", "gmx.ch", "gma.com", "company.om", "bund.de", "mail.example.com", "xn--fa-hia.de"],
)
def test_what_exists_or_is_far_from_everything_is_let_be(domain: str) -> None:
    assert meant(f"jo@{domain}") is None


def test_the_local_part_stays_as_it_was_written() -> None:
    assert meant('"a@b"@gmial.com') == '"a@b"@gmail.com'


def test_an_address_without_a_domain_or_with_a_literal_is_no_slip() -> None:
    assert meant("postmaster") is None
    assert meant("jo@[127.0.0.1]") is None


def test_what_is_no_address_is_said_to_be_none() -> None:
    with pytest.raises(AddressError):
        meant("jo@gmial.com\r\nRCPT TO:<x@example.com>")


@given(st.sampled_from(_LARGE), st.data())
def test_every_single_slip_in_a_large_providers_name_is_one(domain: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(domain) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz"))
    swapped = domain[:place] + domain[place : place + 2][::-1] + domain[place + 2 :]
    for slip in (
        domain[:place] + domain[place + 1 :],
        domain[:place] + letter + domain[place:],
        domain[:place] + letter + domain[place + 1 :],
        swapped,
    ):
        assert slip == domain or _is_one_slip(slip, domain)
        assert _is_one_slip(slip, domain) == _is_one_slip(domain, slip)


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_one_slip_is_one_edit_and_no_more(one: str, other: str) -> None:
    edits = {one[:i] + one[i + 1 :] for i in range(len(one))}
    edits |= {one[:i] + letter + one[i:] for i in range(len(one) + 1) for letter in "abc"}
    edits |= {one[:i] + letter + one[i + 1 :] for i in range(len(one)) for letter in "abc"}
    edits |= {one[:i] + one[i : i + 2][::-1] + one[i + 2 :] for i in range(len(one) - 1)}
    assert _is_one_slip(one, other) == (one != other and other in edits)
