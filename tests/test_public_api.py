"""The names that others build on, and what importing them costs."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bouncekit

PINNED = """
LMTP SMTP SMTP_SSL Action AddressError AsyncClient BouncekitError Category Classification Client Clock Comparison
ConfigurationError DeliveryFailed EnhancedStatusCode Event EventType Explanation Installation JsonLines Labels
MissingExtra NoReply Notification OutcomeUnknown Policy PolicyError Postmaster RecipientsSuppressed Reply Report Scope
Settlement Stage Standing Store StoreError StoreUnavailable Suppression UnreadableReply __version__ classify compare
explain install wrap
""".split()

# Neither DNS nor a database, a parser, a logger nor a web client: each is loaded by what needs it.
NOT_LOADED = """
pydantic yaml regex structlog dns click tenacity sqlite3 asyncio rich apprise idna http.client logging
""".split()

ROOT = Path(__file__).parents[1]


def python(code: str, **environ: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, env=environment, cwd="/"
    )
    return done.stdout.strip()


def test_the_public_names_are_these_and_no_others() -> None:
    assert sorted(bouncekit.__all__) == sorted(PINNED)
    assert sorted(dir(bouncekit)) == sorted(PINNED)


@pytest.mark.parametrize("name", [name for name in PINNED if name != "__version__"])
def test_every_public_name_loads_and_says_what_it_is(name: str) -> None:
    value = getattr(bouncekit, name)
    assert inspect.getdoc(value)
    assert value.__name__ == name


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Postman'"):
        bouncekit.Postman  # noqa: B018


def test_the_version_is_the_one_of_the_distribution() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        assert version("bouncekit") == bouncekit.__version__
    except PackageNotFoundError:
        pytest.skip("bouncekit is not installed here: python -m pip install -e .")


def test_importing_bouncekit_loads_nothing_heavy() -> None:
    loaded = python("import sys, bouncekit; print(*sys.modules)").split()
    assert [name for name in NOT_LOADED if name in loaded] == []


def test_the_drop_in_classes_load_no_parser_and_no_database() -> None:
    """What an application that only swaps the class pays for: a policy is read when a postmaster is made."""
    loaded = python("import sys, bouncekit; bouncekit.SMTP; print(*sys.modules)").split()
    assert [
        name for name in ("pydantic", "yaml", "structlog", "dns", "click", "sqlite3", "asyncio") if name in loaded
    ] == []


def test_importing_bouncekit_costs_little_more_than_importing_smtplib() -> None:
    """The least CPU time of several fresh interpreters, in turns, so that a busy machine disturbs both alike."""
    measure = "import time; start = time.process_time(); import {0}; print(time.process_time() - start)"
    best = {"smtplib": 1e9, "bouncekit": 1e9}
    for _ in range(12):
        for module in best:
            best[module] = min(best[module], float(python(measure.format(module))))
    assert best["bouncekit"] <= 1.6 * best["smtplib"], best
