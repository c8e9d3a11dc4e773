"""Django's own tests of its SMTP backend, with the backend replaced by ours: the same ones pass, as many as before."""

import re
import subprocess
import sys
from pathlib import Path

import django
import pytest

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data" / "django"
VERSION = "{}_{}".format(*django.VERSION)

# They put something in the place of smtplib's insides, and ask what that was told. What they mean is tested elsewhere:
# in tests/test_rendering.py that all line ends are CRLF; in test_backend.py that a login and the host take effect.
ABOUT_INSIDES = {
    "test_email_msg_uses_crlf",  # looks for "data" in calls of SMTP.send
    "test_auth_attempted",  # a mock for SMTP.login
    "test_smtp_connection_uses_host_and_port",  # a mock for the class SMTP
}

RUNNER = """
import email.errors, importlib.util, sys, unittest
if not hasattr(email.errors, "HeaderWriteError"):  # before Python 3.12.5
    email.errors.HeaderWriteError = ValueError
from django.conf import settings
which, path, *skipped = sys.argv[1:]
settings.configure(USE_TZ=True, ADMINS=[], MANAGERS=[])
import django
django.setup()
from django.core.mail.backends import smtp
from django.test.utils import setup_test_environment
if which == "bouncekit":
    from bouncekit.integrations.django import EmailBackend
    assert issubclass(EmailBackend, smtp.EmailBackend)
    smtp.EmailBackend = EmailBackend
setup_test_environment()
spec = importlib.util.spec_from_file_location("theirs", path)
theirs = importlib.util.module_from_spec(spec)
sys.modules["theirs"] = theirs
spec.loader.exec_module(theirs)
for name in skipped:
    for case in (theirs.SMTPBackendTests,):
        if hasattr(case, name):
            setattr(case, name, unittest.skip("about smtplib's insides")(getattr(case, name)))
loader = unittest.defaultTestLoader
cases = [theirs.SMTPBackendTests, theirs.SMTPBackendStoppedServerTests]
suite = unittest.TestSuite(map(loader.loadTestsFromTestCase, cases))
unittest.TextTestRunner(verbosity=0).run(suite)
"""


def run(which: str) -> tuple[int, list[str], str]:
    """How many tests ran, which did not pass, and the last line."""
    path = DATA / f"smtp_{VERSION}.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUNNER, which, str(path), *sorted(ABOUT_INSIDES)],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=ROOT,
    )
    counted = re.search(r"Ran (\d+) tests", done.stderr)
    assert counted, done.stderr[-3000:]
    failed = re.findall(r"^(?:FAIL|ERROR): (\w+)", done.stderr, re.MULTILINE)
    return int(counted[1]), failed, done.stderr.strip().splitlines()[-1]


@pytest.mark.skipif(not DATA.exists(), reason="the tests' data are not here")
def test_the_same_tests_pass_as_with_djangos_own_backend() -> None:
    count, failed, _ = stock = run("stock")
    assert count >= 50
    assert len(failed) <= 2, "an old patch release of Python may lack what one is about; more is a fault here"
    assert run("bouncekit") == stock
