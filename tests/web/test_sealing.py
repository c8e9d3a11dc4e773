"""Addresses in web addresses, unreadable."""

from hypothesis import given
from hypothesis import strategies as st

from bouncekit.web.sealing import Seal, of_tenant, tenant_and_address

SEAL = Seal(b"a secret of enough bytes")


@given(st.text(max_size=300))
def test_what_is_sealed_opens_to_the_same_text(text: str) -> None:
    assert SEAL.open(SEAL.close(text)) == text


@given(st.text(alphabet="abcdefgh@.", min_size=4, max_size=60))
def test_nobody_reads_it_and_it_fits_into_a_web_address(text: str) -> None:
    sealed = SEAL.close(text)
    assert text not in sealed
    assert sealed.replace("-", "").replace("_", "").isalnum()
    assert SEAL.close(text) == sealed
    assert Seal(b"another secret of bytes").open(sealed) is None


@given(st.text(max_size=80), st.data())
def test_no_changed_letter_goes_unseen(text: str, data: st.DataObject) -> None:
    sealed = SEAL.close(text)
    place = data.draw(st.integers(0, len(sealed) - 2))
    letter = data.draw(st.sampled_from("AQgw09-_"))
    changed = sealed[:place] + letter + sealed[place + 1 :]
    assert SEAL.open(changed) == (text if changed == sealed else None)


@given(st.text(max_size=200))
def test_what_is_not_ours_does_not_open(text: str) -> None:
    assert SEAL.open(text) is None


def test_a_text_that_is_too_long_is_cut_and_one_to_open_is_refused() -> None:
    assert SEAL.open(SEAL.close("x" * 5000)) == "x" * 2048
    assert SEAL.open("A" * 5000) is None


@given(st.text(alphabet="ab@", max_size=5), st.text(max_size=10))
def test_tenant_and_address_are_told_apart(tenant: str, address: str) -> None:
    assert tenant_and_address(of_tenant(tenant, address)) == (tenant, address)
