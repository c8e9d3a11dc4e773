"""Frozen values that are quick to make: plain frozen dataclasses, of which only `__init__` is another.

The one that `dataclasses` writes sets each field through `object.__setattr__`, which takes most of the time that a
value takes, and a message makes hundreds of them.
"""

from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

__all__ = ["quick"]

_Value = TypeVar("_Value")

_become = vars(object)["__class__"].__set__  # how something that lets nobody set anything changes its class


@dataclass
class _Sample:
    made: list[None] = field(default_factory=list)


_UNMADE = vars(_Sample)["__init__"].__defaults__[0]  # what `dataclasses` gives for a default that is still to be made


def quick(cls: type[_Value]) -> type[_Value]:
    """The same frozen dataclass with slots, made in a quarter to half of the time. Nothing else of it changes.

    As long as its fields are set, a new value is of a twin class that is not frozen; nobody else has it yet. A subclass
    with fields of its own has to be quick itself.

    >>> from dataclasses import dataclass, replace
    >>> @quick
    ... @dataclass(frozen=True, slots=True)
    ... class Mailbox:
    ...     local: str
    ...     domain: str = "example.com"
    >>> replace(Mailbox("jo"), domain="example.net")
    Mailbox(local='jo', domain='example.net')
    >>> Mailbox("jo").local = "joe"
    Traceback (most recent call last):
    ...
    dataclasses.FrozenInstanceError: cannot assign to field 'local'

    Raises:
        TypeError: the class is no frozen dataclass with slots, or does more with its fields than to set them.
    """
    own = vars(cls)
    if not (is_dataclass(cls) and "__slots__" in own and "__setattr__" in own and _only_sets(cls)):
        raise TypeError(f"{cls.__qualname__} is no frozen dataclass with slots that does nothing but set its fields")
    opened = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    names = {"_become": _become, "_UNMADE": _UNMADE, "_Open": type(cls.__name__, (cls,), opened)}
    slow = own["__init__"]
    init = _compiled(slow, fields(cls), names)
    for name in ("__module__", "__qualname__", "__annotations__", "__defaults__", "__kwdefaults__"):
        setattr(init, name, getattr(slow, name))
    cls.__init__ = init  # type: ignore[method-assign]  # which is what this is for
    return cls


def _only_sets(cls: type) -> bool:
    return all(one.init for one in fields(cls)) and not hasattr(cls, "__post_init__")


def _compiled(slow: Any, own: tuple[Field[Any], ...], names: dict[str, Any]) -> Any:
    """An `__init__` with the parameters of another one, without their defaults."""
    code = slow.__code__
    positional = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    parameters = ", ".join((*positional, "*", *keywords) if keywords else positional)
    lines = [f"def __init__({parameters}):", "_class = self.__class__", "_become(self, _Open)"]
    for name, make in ((one.name, one.default_factory) for one in own):
        names[f"_make_{name}"] = make
        made = f"_make_{name}() if {name} is _UNMADE else " if callable(make) else ""
        lines.append(f"self.{name} = {made}{name}")
    exec("\n    ".join([*lines, "self.__class__ = _class"]), names)  # noqa: S102 - as dataclasses makes its own
    return names["__init__"]
