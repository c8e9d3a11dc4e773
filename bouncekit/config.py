"""What an owner has set outside of the code: the environment, `bouncekit.toml`, `[tool.bouncekit]` of pyproject.toml.

A key of the environment beats the same key of bouncekit.toml, which beats pyproject.toml's. `Postmaster()` reads none
of them; `Postmaster.from_config()` and the command line do.

    policy = "policies/mail.yaml"          # BOUNCEKIT_POLICY; relative to the file it stands in
    store = "sqlite:///bounces.db"         # BOUNCEKIT_STORE; likewise
    retry = "wait"                         # BOUNCEKIT_RETRY
    patience = "5m"                        # BOUNCEKIT_PATIENCE; a number alone is seconds
    relay = "smtp://localhost:25"          # BOUNCEKIT_RELAY; where `bouncekit send` sends
    on_store_failure = "raise"             # BOUNCEKIT_ON_STORE_FAILURE
    [channels]                             # BOUNCEKIT_CHANNEL_OWNER, one variable a role
    owner = "mailto:owner@example.com"
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

from bouncekit.errors import ConfigurationError
from bouncekit.office import Retry
from bouncekit.schedule import parse_duration

__all__ = ["Config"]

_FILE, _PROJECT, _SECTION = "bouncekit.toml", "pyproject.toml", "[tool.bouncekit]"
_PREFIX, _CHANNEL = "BOUNCEKIT_", "BOUNCEKIT_CHANNEL_"
_SQLITE = "sqlite:///"
_LONGEST = timedelta(days=36_525)
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """An owner's settings. Relay and channels may hold secrets and are in no repr.

    `sources` says for each setting that was found where it stands.

    >>> config = Config.read("/nowhere", {"BOUNCEKIT_POLICY": "bulk", "BOUNCEKIT_PATIENCE": "90s"})
    >>> config.policy, config.store, config.patience.total_seconds(), config.sources["policy"]
    ('bulk', None, 90.0, 'BOUNCEKIT_POLICY')
    """

    policy: str = "default"
    store: str | None = None
    retry: str = "never"
    patience: timedelta = timedelta(minutes=5)
    relay: str | None = field(default=None, repr=False)
    on_store_failure: str = "raise"
    channels: Mapping[str, str | tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @classmethod
    def read(cls, folder: str | Path | None = None, environ: Mapping[str, str] | None = None) -> "Config":
        """The settings that hold in a folder; the present one, and the process's environment, where none is given.

        Raises:
            ConfigurationError: a key that is none, a value that cannot be, a file that cannot be read; it says where.
        """
        folder = Path(folder) if folder is not None else Path()
        project = _read_toml(folder / _PROJECT).get("tool", {})
        section = project.get("bouncekit", {}) if isinstance(project, dict) else {}
        found = _from_table(section, f"{folder / _PROJECT} {_SECTION}", folder)
        for more in (
            _from_table(_read_toml(folder / _FILE), str(folder / _FILE), folder),
            _from_environ(os.environ if environ is None else environ),
        ):
            more.channels = found.channels | more.channels
            found = _Found(found.values | more.values, found.sources | more.sources, more.channels)
        return cls(**found.values, channels=MappingProxyType(found.channels), sources=MappingProxyType(found.sources))

    def with_options(self, **options: str | None) -> "Config":
        """The same, but with the options that somebody gave; None is not given."""
        given = {name: option for name, option in options.items() if option is not None}
        sources = dict(self.sources) | {name: f"--{name}" for name in given}
        values = {name: _value(name, option, f"--{name}") for name, option in given.items()}
        return replace(self, **values, sources=MappingProxyType(sources)) if given else self

    def for_postmaster(self) -> dict[str, Any]:
        """The arguments that make a `Postmaster` of it."""
        return {
            "policy": self.policy,
            "store": self.store,
            "retry": self.retry,
            "patience": self.patience,
            "on_store_failure": self.on_store_failure,
            "channels": {role: list(way) if isinstance(way, tuple) else way for role, way in self.channels.items()},
        }


@dataclass(slots=True)
class _Found:
    """What one place says."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    channels: dict[str, str | tuple[str, ...]] = field(default_factory=dict)


def _read_toml(path: Path) -> dict[str, Any]:
    """A file's table; empty where there is no such file."""
    import tomllib

    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigurationError(f"{path}: larger than {_MAX_BYTES} bytes; a configuration is a page")
        return tomllib.loads(content.decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: no TOML: {error}") from error


def _from_table(table: object, place: str, folder: Path) -> _Found:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{place}: a table is needed, not {table!r}")
    found = _Found()
    for key, value in table.items():
        if key == "channels":
            found.channels = _channels(value, place)
            found.sources |= {f"channels.{role}": place for role in found.channels}
            continue
        if key not in _KEYS:
            raise ConfigurationError(f"{place}: unknown key {_short(key)}{_meant(key, (*_KEYS, 'channels'))}")
        found.values[key] = _seen_from(folder, key, _value(key, value, f"{place}: {key}"))
        found.sources[key] = place
    return found


def _from_environ(environ: Mapping[str, str]) -> _Found:
    """Other variables that begin like ours are somebody else's, unless they look like a slip of the pen."""
    found = _Found()
    ours = {_PREFIX + key.upper(): key for key in _KEYS}
    for name in sorted(environ):
        if name.startswith(_CHANNEL) and environ[name]:
            role = name.removeprefix(_CHANNEL).lower()
            found.channels[role] = environ[name]
            found.sources[f"channels.{role}"] = name
        elif name in ours and environ[name]:
            found.values[ours[name]] = _value(ours[name], environ[name], name)
            found.sources[ours[name]] = name
        elif name.startswith(_PREFIX) and name not in ours and (meant := _alike(name, ours)):
            raise ConfigurationError(f"unknown environment variable {_short(name)}; did you mean {meant!r}?")
    return found


def _value(key: str, value: object, place: str) -> Any:
    try:
        return _KEYS[key](value)
    except ValueError as error:
        raise ConfigurationError(f"{place}: {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"a text in quotes is needed, not {_short(value)}")
    return value


def _one_of(names: Iterable[str]) -> Callable[[object], str]:
    known = tuple(map(str, names))

    def read(value: object) -> str:
        if value not in known:
            raise ValueError(f"{_short(value)} is none of {', '.join(known)}{_meant(str(value), known)}")
        return str(value)

    return read


def _duration(value: object) -> timedelta:
    """A duration as policies write it, or a number of seconds."""
    try:
        if isinstance(value, str) and not value.strip().isdecimal():
            found = parse_duration(value)
        elif isinstance(value, int | float | str) and not isinstance(value, bool):
            found = timedelta(seconds=float(value))
        else:
            raise ValueError(f"{_short(value)} is no duration; write a number and a unit, such as 90s or 5m")
    except OverflowError:
        found = timedelta.max
    if not timedelta() <= found <= _LONGEST:
        raise ValueError(f"{_short(value)} is not between 0 and a hundred years")
    return found


_KEYS: Mapping[str, Callable[[object], Any]] = {
    "policy": _text,
    "store": _text,
    "retry": _one_of(Retry),
    "patience": _duration,
    "relay": _text,
    "on_store_failure": _one_of(("raise", "send")),
}


def _channels(value: object, place: str) -> dict[str, str | tuple[str, ...]]:
    """Role to URL, or to several."""
    if not isinstance(value, dict):
        raise ConfigurationError(f"{place}: channels: a table of role and URL is needed")
    channels: dict[str, str | tuple[str, ...]] = {}
    for role, way in value.items():
        ways = (way,) if isinstance(way, str) else way
        if not isinstance(ways, list | tuple) or not ways or not all(isinstance(one, str) and one for one in ways):
            # The value itself may be a secret and is not shown.
            raise ConfigurationError(f"{place}: channels.{role}: a URL in quotes is needed, or a list of them")
        channels[role] = way if isinstance(way, str) else tuple(ways)
    return channels


def _seen_from(folder: Path, key: str, value: Any) -> Any:
    """A relative path belongs to the folder of the file it stands in, wherever the process runs."""
    if key == "policy" and PurePath(value).suffix:
        return str(folder / value)
    if key == "store" and value.startswith(_SQLITE) and not value.startswith((_SQLITE + "/", _SQLITE + ":")):
        return _SQLITE + str(folder / value.removeprefix(_SQLITE)) if value != _SQLITE else value
    return value


def _alike(name: str, ours: Iterable[str]) -> str | None:
    """The variable that was meant. The prefix, which all have, says nothing."""
    close = get_close_matches(name.removeprefix(_PREFIX), [one.removeprefix(_PREFIX) for one in ours], 1, 0.75)
    return _PREFIX + close[0] if close else None


def _meant(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, tuple(known), n=1, cutoff=0.75)
    return f"; did you mean {close[0]!r}?" if close else ""


def _short(value: object) -> str:
    return ascii(value)[:60]
