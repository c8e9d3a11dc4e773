"""Where the library of an integration is not installed, the error says which extra to install."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["aiosmtplib", "celery", "procrastinate"])
def test_a_missing_library_names_the_extra(name: str) -> None:
    """In a process in which it cannot be imported."""
    code = (
        f"import sys; sys.modules[{name!r}] = None\n"
        f"try:\n    import bouncekit.integrations.{name}\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.endswith(f" need {name}: python -m pip install 'bouncekit[{name}]'\n")
