"""Django sends by the policy of a postmaster: one setting, no call site.

    EMAIL_BACKEND = "bouncekit.integrations.django.EmailBackend"
    BOUNCEKIT = {"store": "sqlite:////var/lib/shop/bounces.db"}   # the arguments of bouncekit.Postmaster
    INSTALLED_APPS = [..., "bouncekit.integrations.django"]       # for the checks, the admin and `manage.py bouncekit`

From Django 6.1 on the backend stands in MAILERS: {"default": {"BACKEND": ..., "OPTIONS": {"host": ...}}}. The
database of the project is not used: suppressions, queue and history are in bouncekit's own store.
"""

from bouncekit.words.errors import MissingExtra

try:
    import django  # noqa: F401 - only asked whether it is there
except ImportError as error:
    raise MissingExtra("django", error.name or "django", "sends through Django") from error

from bouncekit.integrations.django.backend import EmailBackend, QueueBackend
from bouncekit.integrations.django.project import postmaster

__all__ = ["EmailBackend", "QueueBackend", "postmaster"]
