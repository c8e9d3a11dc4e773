"""The error tree: what each error is, what it tells, and that it survives a queue between processes."""

import copy
import pickle

import pytest

from bouncekit.words import errors
from bouncekit.words.errors import (
    AddressError,
    BouncekitError,
    ConfigurationError,
    Finding,
    MessageError,
    MissingExtra,
    PolicyError,
    RuleError,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreMoved,
    StoreReadOnly,
    StoreRefused,
)

FINDINGS = (Finding("bounces.yaml", 7, 12, "unknown fate 'supress'"), Finding("bounces.yaml", None, None, "no rules"))
ALL = (
    BouncekitError("no"),
    ConfigurationError("no"),
    PolicyError(FINDINGS),
    RuleError(FINDINGS[:1]),
    AddressError("jo@a>b", "'>' is not allowed"),
    MessageError("no"),
    StoreError("no"),
    StoreBusy("no"),
    StoreFull("no"),
    StoreReadOnly("no"),
    StoreMoved("no"),
    StoreCorrupt("no"),
    StoreRefused("no"),
    MissingExtra("notify", "apprise", "channels by apprise URL"),
)


def test_the_public_errors_are_one_tree_with_one_root() -> None:
    public = {getattr(errors, name) for name in errors.__all__} - {Finding, errors.UNREADABLE}
    assert public == {type(error) for error in ALL}
    assert all(issubclass(error, BouncekitError) for error in public)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (ConfigurationError, ValueError),
        (PolicyError, ConfigurationError),
        (RuleError, ConfigurationError),
        (AddressError, ValueError),
        (MessageError, ValueError),
        (StoreBusy, StoreError),
        (StoreFull, StoreError),
        (StoreReadOnly, StoreError),
        (StoreMoved, StoreError),
        (StoreCorrupt, StoreError),
        (StoreRefused, StoreError),
        (MissingExtra, ImportError),
    ],
)
def test_an_error_is_also_what_the_standard_library_would_raise(error: type, base: type) -> None:
    assert issubclass(error, base)


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_can_be_copied_and_pickled_with_all_that_it_knows(error: BouncekitError, copied: object) -> None:
    assert callable(copied)
    again = copied(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_findings_are_shown_one_a_line_with_their_place() -> None:
    assert str(PolicyError(FINDINGS)) == "bounces.yaml:7:12: unknown fate 'supress'\nbounces.yaml: no rules"
    assert PolicyError(list(FINDINGS)).findings == FINDINGS


def test_findings_sort_in_the_order_of_the_file_those_without_a_place_first() -> None:
    whole, early, late = Finding("a", None, None, "z"), Finding("a", 2, 9, "y"), Finding("a", 10, 1, "x")
    line_only, other = Finding("a", 2, None, "w"), Finding("b", None, None, "a")
    assert sorted([other, late, early, line_only, whole]) == [whole, line_only, early, late, other]


def test_an_address_error_keeps_the_whole_address_and_shows_its_beginning_escaped() -> None:
    address = "\x1b[31m" + "x" * 1000
    error = AddressError(address, "too long")
    assert error.address == address
    assert str(error) == repr(address[:80]) + ": too long"


def test_a_missing_extra_names_the_package_and_what_to_install() -> None:
    error = MissingExtra("cli", "rich", "tables")
    assert (error.extra, error.name) == ("cli", "rich")
    assert "python -m pip install 'bouncekit[cli]'" in str(error)
