"""System checks of a Django project that sends by us: `manage.py check`, and more of them with `--deploy`.

No store is opened, and nothing connected to.
"""

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.core import checks

from bouncekit.integrations.django.backend import EmailBackend, QueueBackend
from bouncekit.integrations.django.project import given, mailers
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.words.errors import ConfigurationError

__all__ = ["check_deployment", "check_mailers", "check_setting", "register"]

_ARGUMENTS = tuple(name for name in inspect.signature(Postmaster.__init__).parameters if name != "self")
_UNOPENED = {"store": None, "cache": None, "sinks": ()}
_STILL = {("retry", "queue"): "never", ("worker", "thread"): "external"}  # what would start something


def register() -> None:
    """Have Django run them."""
    checks.register(check_setting)
    checks.register(check_mailers)
    checks.register(check_deployment, deploy=True)


def check_setting(**unused: Any) -> list[checks.CheckMessage]:
    """E001: the setting BOUNCEKIT is wrong."""
    try:
        found = given()
        if isinstance(found, Mapping):
            _try(found)
    except ConfigurationError as error:
        return [checks.Error(f"BOUNCEKIT: {str(error).removeprefix('BOUNCEKIT: ')}", id="bouncekit.E001")]
    return []


def check_mailers(**unused: Any) -> list[checks.CheckMessage]:
    """W001: no mailer sends by us. E002: one stores what is sent, and there is no queue."""
    made, trouble = _made()
    ours = {alias: mailer for alias, mailer in made.items() if isinstance(mailer, EmailBackend)}
    if not ours:
        others = ", ".join(sorted({type(one).__module__ for one in made.values()})) or trouble or "there is none"
        return [
            checks.Warning(
                f"no mailer sends by bouncekit: {others}",
                hint=f"{_where()} 'bouncekit.integrations.django.EmailBackend'",
                id="bouncekit.W001",
            )
        ]
    if _option("retry", "queue") == "queue":
        return []
    return [
        checks.Error(
            f"mailer {alias!r} is a QueueBackend, and BOUNCEKIT has no retry='queue': nothing could be sent",
            hint="give BOUNCEKIT, or bouncekit.toml, retry = 'queue' and a store, or use the EmailBackend",
            id="bouncekit.E002",
        )
        for alias, mailer in ours.items()
        if isinstance(mailer, QueueBackend)
    ]


def check_deployment(**unused: Any) -> list[checks.CheckMessage]:
    """W002: suppressions live in memory. W003: a request waits for as long as a mail server wants."""
    found: list[checks.CheckMessage] = []
    if _option("store", "elsewhere") in (None, "sqlite:///:memory:"):
        found.append(
            checks.Warning(
                "BOUNCEKIT has no store: each process has suppressions of its own, which end with it",
                hint="give BOUNCEKIT, or bouncekit.toml, a store such as 'sqlite:////var/lib/shop/bounces.db'",
                id="bouncekit.W002",
            )
        )
    if _option("retry", "elsewhere") == "wait":
        found.append(
            checks.Warning(
                "BOUNCEKIT has retry='wait': a request that sends mail waits with it, up to `patience`",
                hint="use retry='queue', and a worker",
                id="bouncekit.W003",
            )
        )
    return found


def _try(arguments: Mapping[str, Any]) -> None:
    """Make a postmaster of them, but for what would be opened."""
    for name in arguments:
        if name not in _ARGUMENTS:
            close = get_close_matches(str(name), _ARGUMENTS, n=1)
            meant = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(_ARGUMENTS)}"
            raise ConfigurationError(f"unknown argument {name!r}; {meant}")
    if arguments.get("retry") == "queue" and arguments.get("store") is None:
        raise ConfigurationError("retry='queue' keeps mail in a store: add 'store': 'sqlite:///bounces.db'")
    tried = {"worker": "external", **arguments, **_UNOPENED}
    still = {name: _STILL[name, tried[name]] for name in ("retry", "worker") if (name, tried.get(name)) in _STILL}
    Postmaster(**{**tried, **still}).close()


def _made() -> tuple[dict[str, Any], Exception | None]:
    """The mailers that can be made, up to the first one that cannot, and why it cannot."""
    made: dict[str, Any] = {}
    try:
        made.update(mailers())
    except Exception as error:  # noqa: BLE001 - whatever another backend raises is for the one who uses it
        return made, error
    return made, None


def _option(name: str, otherwise: str) -> Any:
    """An argument of the setting; `otherwise` where a postmaster is made elsewhere, and says it there."""
    try:
        found = given()
    except ConfigurationError:
        return otherwise
    return found.get(name) if isinstance(found, Mapping) else otherwise


def _where() -> str:
    return "write MAILERS = {'default': {'BACKEND': ...}} with" if hasattr(settings, "MAILERS") else "EMAIL_BACKEND ="
