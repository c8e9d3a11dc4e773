"""CPython's own test_smtplib, with smtplib's three classes replaced by ours: the same tests pass, as many as before."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNNER = """
import smtplib, sys, unittest
if sys.argv[1] == "bouncekit":
    import bouncekit
    smtplib.SMTP, smtplib.SMTP_SSL, smtplib.LMTP = bouncekit.SMTP, bouncekit.SMTP_SSL, bouncekit.LMTP
from test import test_smtplib
unittest.main(module=test_smtplib, argv=["test_smtplib"], verbosity=0)
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("test.test_smtplib") is None if importlib.util.find_spec("test") else True,
    reason="CPython's own tests are not installed here (Debian: libpython3-testsuite)",
)


def run(which: str) -> tuple[str, str]:
    """How many tests ran, and the last line."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUNNER, which], capture_output=True, text=True, timeout=110, cwd=ROOT
    )
    counted = re.search(r"Ran (\d+) tests", done.stderr)
    assert counted, done.stderr[-2000:]
    return counted[1], done.stderr.strip().splitlines()[-1]


def test_the_same_tests_pass_as_with_plain_smtplib() -> None:
    assert run("bouncekit") == run("smtplib")
