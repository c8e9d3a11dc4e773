"""A Django project for tests: settings that hold for the process, and mailers as this version of Django has them."""

from typing import Any

import django
from django.conf import settings
from django.test.utils import override_settings

from bouncekit.testing import ScriptedServer

__all__ = ["HAS_MAILERS", "ROOT_URLCONF", "changed", "mailer", "set_up", "urlpatterns"]

HAS_MAILERS = django.VERSION >= (6, 1)
ROOT_URLCONF = __name__
OURS = "bouncekit.integrations.django.EmailBackend"
STOCK = "django.core.mail.backends.smtp.EmailBackend"

_NAMES = {
    "host": "EMAIL_HOST",
    "port": "EMAIL_PORT",
    "username": "EMAIL_HOST_USER",
    "password": "EMAIL_HOST_PASSWORD",
    "use_tls": "EMAIL_USE_TLS",
    "use_ssl": "EMAIL_USE_SSL",
    "timeout": "EMAIL_TIMEOUT",
}


def set_up() -> None:
    """Configure Django, once in a process."""
    if settings.configured:
        return
    contrib = [f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "sessions", "messages")]
    settings.configure(
        SECRET_KEY="of these tests",
        ROOT_URLCONF=ROOT_URLCONF,
        ALLOWED_HOSTS=["testserver"],
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[*contrib, "bouncekit.integrations.django"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        **({"MAILERS": {}} if HAS_MAILERS else {}),
    )
    django.setup()


def mailer(backend: str, server: ScriptedServer | None = None, **options: Any) -> dict[str, Any]:
    """The settings of the one mailer: MAILERS from Django 6.1 on, EMAIL_* before."""
    if server is not None:
        options = {"host": server.host, "port": server.port, **options}
    if HAS_MAILERS:
        return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
    return {"EMAIL_BACKEND": backend, **{_NAMES[name]: option for name, option in options.items()}}


def changed(backend: str = OURS, server: ScriptedServer | None = None, **others: Any) -> override_settings:
    """Settings for a test: the mailer, its OPTIONS under `options`, and others such as BOUNCEKIT."""
    options = others.pop("options", {})
    return override_settings(**mailer(backend, server, **options), **others)


def _urls() -> list[Any]:
    from django.contrib import admin
    from django.urls import path

    return [path("admin/", admin.site.urls)]


set_up()
urlpatterns = _urls()
