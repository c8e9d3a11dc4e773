"""What stands for a mailbox whose address must not be kept."""

import pytest

from bouncekit.words.errors import ConfigurationError
from bouncekit.words.pseudonym import Pseudonyms, is_pseudonym, secret_of

OLD, NEW = "the old secret of it", "the new secret of it"


def test_the_first_secret_makes_and_each_one_finds() -> None:
    both, old = Pseudonyms([NEW, OLD]), Pseudonyms([OLD])
    assert both.of("jo@x") != old.of("jo@x")
    assert old.of("jo@x") in set(both.all_of("jo@x"))
    assert both.names > old.names


def test_a_pseudonym_tells_its_secret_by_name_and_is_no_address() -> None:
    name = Pseudonyms([OLD]).of("jo@x")
    assert is_pseudonym(name)
    assert {secret_of(name)} == Pseudonyms([OLD]).names
    assert not any(map(is_pseudonym, ("jo@x", "#jo@x", "", "postmaster")))


def test_no_secret_is_shown() -> None:
    assert OLD not in repr(Pseudonyms([OLD]))


@pytest.mark.parametrize("secrets", [[], ["short"], ["x" * 65]])
def test_a_secret_has_16_to_64_bytes(secrets: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="hash_keys"):
        Pseudonyms(secrets)
