"""Quick values are the frozen dataclasses that they were, but for the time that they take to make."""

import copy
import inspect
import pickle
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, is_dataclass, replace
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bouncekit
from bouncekit.words.quick import quick


@dataclass(frozen=True, slots=True)
class Slow:
    local: str
    domain: str = "example.com"
    tags: list[str] = field(default_factory=list)
    size: int = field(default=0, kw_only=True)
    extra: dict[str, int] = field(default_factory=dict, kw_only=True, compare=False)


@quick
@dataclass(frozen=True, slots=True)
class Quick:
    local: str
    domain: str = "example.com"
    tags: list[str] = field(default_factory=list)
    size: int = field(default=0, kw_only=True)
    extra: dict[str, int] = field(default_factory=dict, kw_only=True, compare=False)


@quick
@dataclass(frozen=True, slots=True)
class Longer(Quick):
    more: str = field(default="more", kw_only=True)


arguments = st.fixed_dictionaries(
    {"local": st.text()},
    optional={
        "domain": st.text(),
        "tags": st.lists(st.text()),
        "size": st.integers(),
        "extra": st.dictionaries(st.text(), st.integers()),
    },
)


@given(arguments, arguments)
def test_it_is_equal_shown_and_taken_apart_as_the_slow_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert asdict(Quick(**one)) == asdict(Slow(**one))
    assert repr(Quick(**one)) == repr(Slow(**one)).replace("Slow", "Quick")
    assert (Quick(**one) == Quick(**other)) is (Slow(**one) == Slow(**other))
    assert replace(Quick(**one), **other) == Quick(**(one | other))


@given(arguments)
def test_it_is_of_its_own_class_and_comes_back_from_a_pickle_and_a_copy(one: dict[str, Any]) -> None:
    value = Longer(**one)
    assert type(value) is Longer
    for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert again == value
        assert type(again) is Longer


def test_its_signature_is_that_of_the_slow_one() -> None:
    assert inspect.signature(Quick) == inspect.signature(Slow)
    assert Quick("jo", "example.net", ["a"], size=1) == Quick(local="jo", domain="example.net", tags=["a"], size=1)
    with pytest.raises(TypeError, match="local"):
        Quick()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        Quick("jo", "example.net", [], 1)  # type: ignore[misc]


def test_what_a_factory_makes_is_made_for_each_value() -> None:
    assert Quick("jo").tags is not Quick("jo").tags


def test_a_field_may_have_any_name() -> None:
    @quick
    @dataclass(frozen=True, slots=True)
    class Mail:
        kind: str

    assert Mail("bounce").kind == "bounce"


def test_nobody_sets_or_deletes_a_field_of_it() -> None:
    value = Longer("jo")
    with pytest.raises(FrozenInstanceError):
        value.local = "joe"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del value.more
    assert value == Longer("jo")


def test_it_matches_by_position_and_hashes_by_its_fields() -> None:
    @quick
    @dataclass(frozen=True, slots=True)
    class Pair:
        first: int
        second: int

    match Pair(1, 2):
        case Pair(first, second):
            assert (first, second) == (1, 2)
    assert {Pair(1, 2): "here"}[Pair(1, 2)] == "here"


def test_a_subclass_that_adds_nothing_makes_its_own_values() -> None:
    class Named(Quick):
        __slots__ = ()

    assert type(Named("jo")) is Named


def test_what_is_no_plain_frozen_dataclass_with_slots_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Checked:
        size: int

        def __post_init__(self) -> None:
            raise AssertionError

    @dataclass(frozen=True, slots=True)
    class Counted:
        size: int = field(init=False, default=0)

    @dataclass(slots=True)
    class Thawed:
        size: int

    @dataclass(frozen=True)
    class Roomy:
        size: int

    for kind in (Checked, Counted, Thawed, Roomy, int):
        with pytest.raises(TypeError, match="no frozen dataclass with slots"):
            quick(kind)


def quick_values() -> Iterator[type]:
    for module in walk_packages(bouncekit.__path__, "bouncekit."):
        if ".integrations" in module.name or module.name.endswith("__main__"):
            continue
        try:
            found = vars(import_module(module.name)).values()
        except ImportError:  # an extra that is not installed
            continue
        for one in found:
            init = vars(one).get("__init__") if isinstance(one, type) and one.__module__ == module.name else None
            if is_dataclass(one) and "_become" in getattr(init, "__globals__", {}):
                yield one


def test_every_quick_value_of_the_package_takes_what_its_fields_say() -> None:
    found = list(quick_values())
    assert len(found) > 15
    for kind in found:
        parameters = inspect.signature(kind).parameters
        assert set(parameters) == {one.name for one in fields(kind)}
        made = kind(**dict.fromkeys(parameters))  # type: ignore[call-arg]
        assert all(getattr(made, name) is None for name in parameters)
        assert type(made) is kind
