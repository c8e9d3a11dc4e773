"""Where the library of an integration is not installed, the error says which extra to install."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


# Integration, the library that is missing, and the extra that brings it.
MISSING = (
    ("aiosmtplib", "aiosmtplib", "aiosmtplib"),
    ("blinker", "blinker", "blinker"),
    ("celery", "celery", "celery"),
    ("django", "django", "django"),
    ("fastapi_mail", "fastapi_mail", "fastapi"),
    ("flask_mail", "flask_mail", "flask"),
    ("flask_mailman", "flask_mailman", "flask"),
    ("procrastinate", "procrastinate", "procrastinate"),
)
CODE = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({[library for _, library, _ in MISSING]!r}))
for name in {[name for name, _, _ in MISSING]!r}:
    try:
        importlib.import_module(f"bouncekit.integrations.{{name}}")
    except ImportError as error:
        print(name, str(error).rpartition(" need ")[2], sep=": ")
"""


def test_a_missing_library_names_the_extra() -> None:
    """In a process in which none of them can be imported."""
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        f"{name}: {library}: python -m pip install 'bouncekit[{extra}]'" for name, library, extra in MISSING
    ]
