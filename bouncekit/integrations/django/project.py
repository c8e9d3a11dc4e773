"""The postmaster of a Django project, made from its settings when it is first needed."""

import atexit
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from django.conf import settings
from django.core import mail
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from bouncekit.integrations.django.signals import tell
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.postmaster.config import Config
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.words.errors import ConfigurationError

__all__ = ["close", "given", "mailers", "postmaster", "relays"]

Given: TypeAlias = Mapping[str, Any] | Postmaster | Callable[[], object] | None

_SETTING = "BOUNCEKIT"
_FILE = "bouncekit.toml"
_RIGHT = (
    "write BOUNCEKIT = BASE_DIR / 'bouncekit.toml', or {'store': 'sqlite:////var/lib/shop/bounces.db'}, with the "
    "arguments of bouncekit.Postmaster, or the place of a postmaster of your own, 'shop.mail.postmaster'"
)


def postmaster() -> Postmaster:
    """The postmaster of this process; the same one each time, as long as the settings stay.

    BOUNCEKIT is the path of bouncekit.toml, has the arguments of `bouncekit.Postmaster`, or names the place of one that
    the project makes itself. Without it the configuration holds that is found where the process runs
    (`postmaster.config`). The mailers that send by us are its relays, unless it has others.

    Raises:
        ConfigurationError: the setting is wrong; it says what would be right.
        StoreError: the store cannot be opened.
    """
    return _held.get()


def close() -> None:
    """Close the postmaster that was made here; the next use makes another one."""
    _held.drop()


def given() -> Given:
    """What the setting says, looked at; None where there is none. Of a file it is the arguments that stand there.

    Raises:
        ConfigurationError: it is neither arguments nor a postmaster, nor what makes one; or the file is wrong.
    """
    found = getattr(settings, _SETTING, None)
    if isinstance(found, Path):
        return _written(found)
    if isinstance(found, str):
        try:
            found = import_string(found.replace(":", "."))
        except ImportError as error:
            raise ConfigurationError(f"{_SETTING}: {error}; {_RIGHT}") from error
    if found is None or isinstance(found, Mapping | Postmaster) or callable(found):
        return found
    raise ConfigurationError(f"{_SETTING}: a {type(found).__name__} is no postmaster; {_RIGHT}")


def mailers() -> Iterator[tuple[str, Any]]:
    """Every mailer of the project by its alias, made and not opened; before Django 6.1 there is the default one."""
    if not hasattr(mail, "mailers"):
        yield "default", mail.get_connection()
        return
    for alias in tuple(mail.mailers) if hasattr(settings, "MAILERS") else ("default",):
        yield alias, mail.mailers[alias]


def relays() -> Mapping[str, Mapping[str, Any]]:
    """The mailers that send by us, as relays of a postmaster."""
    return {alias: mailer.as_relay() for alias, mailer in mailers() if hasattr(mailer, "as_relay")}


def _written(file: Path) -> Mapping[str, Any]:
    """The arguments of bouncekit.toml, and of the environment, which goes first."""
    if file.name != _FILE or not file.is_file():
        raise ConfigurationError(f"{_SETTING}: {file}: there is no such {_FILE}; make one with `bouncekit init`")
    found = Config.read(file.parent).for_postmaster()
    return {name: value for name, value in found.items() if name != "relays" or value}


def _make() -> tuple[Postmaster, bool]:
    """The postmaster, and whether it is ours to close."""
    found = given()
    if found is None:
        return Postmaster.from_config(), True
    if not isinstance(found, Mapping):
        made = found if isinstance(found, Postmaster) else found()
        if not isinstance(made, Postmaster):
            raise ConfigurationError(f"{_SETTING}: that makes a {type(made).__name__}, and no Postmaster; {_RIGHT}")
        return made, False
    arguments = {"relays": relays(), **found} if found.get("retry") == "queue" else found
    try:
        return Postmaster(**arguments), True
    except TypeError as error:
        raise ConfigurationError(f"{_SETTING}: {error}; {_RIGHT}") from error


class _Held:
    """The one postmaster of the process, once it is made."""

    def __init__(self) -> None:
        self._made: Postmaster | None = None
        self._is_ours = False
        self.start_afresh()
        begin_afresh_in_children(self)

    def start_afresh(self) -> None:
        """Forget, in the child of a fork, a lock that a thread of the parent may have held."""
        self._lock = threading.RLock()  # a maker that asks for what it makes runs into recursion, and does not hang

    def get(self) -> Postmaster:
        with self._lock:
            if self._made is None:
                self._made, self._is_ours = _make()
                tell(self._made)
            return self._made

    def drop(self) -> None:
        with self._lock:
            made, self._made = self._made, None
        if made is not None and self._is_ours:
            made.close()


_held = _Held()
atexit.register(close)


def _settings_changed(*, setting: str, **unused: Any) -> None:
    """Tests change settings, and mean it."""
    if setting in (_SETTING, "MAILERS") or setting.startswith("EMAIL_"):
        close()


setting_changed.connect(_settings_changed)
