"""Every example in a docstring is true."""

import doctest
import importlib
import pkgutil

import pytest

import bouncekit
import tests.integrations.django.project  # noqa: F401 - some modules are only for a project that has settings

MODULES = sorted(
    name for _, name, _ in pkgutil.walk_packages(bouncekit.__path__, "bouncekit.") if not name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = sum(len(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name), name))
    assert examples > 50
