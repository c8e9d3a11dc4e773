"""What an owner has set outside of the code: the environment, `bouncekit.toml`, `[tool.bouncekit]` of pyproject.toml.

A key of the environment beats the same key of bouncekit.toml, which beats pyproject.toml's. `Postmaster()` reads none
of them; `Postmaster.from_config()` and the command line do.

    policy = "policies/mail.yaml"          # BOUNCEKIT_POLICY; relative to the file it stands in
    store = "sqlite:///bounces.db"         # BOUNCEKIT_STORE; likewise
    retry = "queue"                        # BOUNCEKIT_RETRY
    patience = "5m"                        # BOUNCEKIT_PATIENCE; a number alone is seconds
    relay = "smtp://localhost:25"          # BOUNCEKIT_RELAY; where `bouncekit send` sends: a URL, or a relay's name
    worker = "external"                    # BOUNCEKIT_WORKER
    check_domains = true                   # BOUNCEKIT_CHECK_DOMAINS
    rules = ["mine.toml"]                  # BOUNCEKIT_RULES, separated by commas; relative to the file they stand in
    community_rules = ["theirs.toml"]      # BOUNCEKIT_COMMUNITY_RULES; likewise
    on_store_failure = "raise"             # BOUNCEKIT_ON_STORE_FAILURE
    shadow = "new.yaml"                    # BOUNCEKIT_SHADOW; a policy that decides beside, and only reports
    watch_policy = true                    # BOUNCEKIT_WATCH_POLICY; read it again when its files change
    cache = "local"                        # BOUNCEKIT_CACHE; or redis://cache:6379/0
    bounces = "bounce@example.org"         # BOUNCEKIT_BOUNCES; where mail that comes back arrives
    bounce_keys = ["a secret of 16 bytes"] # BOUNCEKIT_BOUNCE_KEYS, separated by commas; the first one signs
    hash_keys = ["another such secret"]    # BOUNCEKIT_HASH_KEYS; for those whose addresses were erased
    mailbox = "imaps://bounce@example.org"  # BOUNCEKIT_MAILBOX; what `bouncekit intake imap` looks into
    mailbox_password = "secret"            # BOUNCEKIT_MAILBOX_PASSWORD
    [relays]                               # BOUNCEKIT_RELAY_MAIN, one variable a relay
    main = "smtp://localhost:25"
    [channels]                             # BOUNCEKIT_CHANNEL_OWNER, one variable a role
    owner = "mailto:owner@example.com"
    [sinks.crm]                            # a table for each; a key that ends in _env names a variable with the value
    url = "https://crm.example.com/hook"
    secret_env = "CRM_SECRET"
    [web.users.asha]                       # of `bouncekit serve`; see bouncekit.web.settings
    password = "scrypt:14:8:1:..."
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

from bouncekit.policy.schedule import LONGEST_DURATION, Retry, parse_duration
from bouncekit.words.errors import ConfigurationError

__all__ = ["Config"]

_FILE, _PROJECT, _SECTION = "bouncekit.toml", "pyproject.toml", "[tool.bouncekit]"
_PREFIX = "BOUNCEKIT_"
# And what their variables begin with. A sink is more than a URL: it stands in a file, and names variables of its own.
_TABLES = {"channels": "BOUNCEKIT_CHANNEL_", "relays": "BOUNCEKIT_RELAY_", "sinks": None, "web": None}
_ENV = "_env"  # ends a key of a sink that names the variable with the value: secret_env = "CRM_SECRET"
_FILES_OF_SINKS = ("target", "ca")
_SQLITE = "sqlite:///"
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """An owner's settings. What may hold secrets is in no repr.

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
    worker: str = "thread"
    check_domains: bool = False
    rules: tuple[str, ...] = ()
    community_rules: tuple[str, ...] = ()
    shadow: str | None = None
    watch_policy: bool = False
    on_store_failure: str = "raise"
    cache: str | None = field(default=None, repr=False)
    bounces: str | None = None
    bounce_keys: tuple[str, ...] = field(default=(), repr=False)
    hash_keys: tuple[str, ...] = field(default=(), repr=False)
    keep_addresses: bool = True
    mailbox: str | None = field(default=None, repr=False)
    mailbox_password: str | None = field(default=None, repr=False)
    channels: Mapping[str, str | tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    relays: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    sinks: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    web: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), repr=False)
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
        environ = os.environ if environ is None else environ
        for more in (_from_table(_read_toml(folder / _FILE), str(folder / _FILE), folder), _from_environ(environ)):
            found = found.overridden_by(more)
        found.tables["sinks"] = {name: _with_values(sink, environ) for name, sink in found.tables["sinks"].items()}
        found.tables["web"] = _with_values(found.tables["web"], environ)
        tables: dict[str, Any] = {name: MappingProxyType(table) for name, table in found.tables.items()}
        return cls(**found.values, **tables, sources=MappingProxyType(found.sources))

    def with_options(self, **options: str | Sequence[str] | None) -> "Config":
        """The same, but with the options that somebody gave; None is not given, nor is an empty list."""
        given = {name: option for name, option in options.items() if option not in (None, ())}
        sources = dict(self.sources) | {name: f"--{name}" for name in given}
        values = {name: _value(name, option, f"--{name}") for name, option in given.items()}
        if self.cache not in (None, "local") and str(values.get("store", "")).startswith(_SQLITE):
            values["cache"] = None  # it stands before the configured store, and a file needs none
        return replace(self, **values, sources=MappingProxyType(sources)) if given else self

    def for_postmaster(self) -> dict[str, Any]:
        """The arguments that make a `Postmaster` of it. A `relay` that has no name is the relay `main`."""
        lone = {"main": self.relay} if self.relay and "://" in self.relay and not self.relays else {}
        return {
            "policy": self.policy,
            "store": self.store,
            "retry": self.retry,
            "patience": self.patience,
            "worker": self.worker,
            "check_domains": self.check_domains,
            "rules": self.rules,
            "community_rules": self.community_rules,
            "shadow": self.shadow,
            "watch_policy": self.watch_policy,
            "relays": dict(self.relays) or lone,
            "sinks": dict(self.sinks),
            "on_store_failure": self.on_store_failure,
            "cache": self.cache,
            "bounces": self.bounces,
            "bounce_keys": self.bounce_keys,
            "hash_keys": self.hash_keys,
            "keep_addresses": self.keep_addresses,
            "channels": {role: list(way) if isinstance(way, tuple) else way for role, way in self.channels.items()},
        }


@dataclass(slots=True)
class _Found:
    """What one place says."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=lambda: {name: {} for name in _TABLES})

    def overridden_by(self, other: "_Found") -> "_Found":
        tables = {name: table | other.tables[name] for name, table in self.tables.items()}
        return _Found(self.values | other.values, self.sources | other.sources, tables)


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
        if key in _TABLES:
            found.tables[key] = {name: _of_folder(folder, way) for name, way in _table(key, value, place).items()}
            found.sources |= {f"{key}.{name}": place for name in found.tables[key]}
            continue
        if key not in _KEYS:
            raise ConfigurationError(f"{place}: unknown key {_short(key)}{_meant(key, (*_KEYS, *_TABLES))}")
        found.values[key] = _seen_from(folder, key, _value(key, value, f"{place}: {key}"))
        found.sources[key] = place
    return found


def _from_environ(environ: Mapping[str, str]) -> _Found:
    """Other variables that begin like ours are somebody else's, unless they look like a slip of the pen."""
    found = _Found()
    ours = {_PREFIX + key.upper(): key for key in _KEYS}
    for name in sorted(environ):
        table, prefix = next(
            ((table, prefix) for table, prefix in _TABLES.items() if prefix and name.startswith(prefix)), ("", "")
        )
        if table and environ[name]:
            entry = name.removeprefix(prefix).lower()
            found.tables[table][entry] = environ[name]
            found.sources[f"{table}.{entry}"] = name
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
        meant = f"; did you mean the table [{key}s]?" if isinstance(value, dict) and f"{key}s" in _TABLES else ""
        raise ConfigurationError(f"{place}: {error}{meant}") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"a text in quotes is needed, not {_short(value)}")
    return value


def _secret(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a secret in quotes is needed")
    return value


def _files(value: object) -> tuple[str, ...]:
    """A list of them, or one text in which commas separate them."""
    found = [one.strip() for one in value.split(",")] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not found:
        raise ValueError("a list of files in quotes is needed")
    return tuple(map(_text, found))


def _secrets(value: object) -> tuple[str, ...]:
    """A list of them, or one text in which commas separate them."""
    found = [one.strip() for one in value.split(",")] if isinstance(value, str) else value
    if not isinstance(found, list) or not found:
        raise ValueError("a list of secrets in quotes is needed")
    return tuple(map(_secret, found))


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
        if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
            found = parse_duration(value)
        elif isinstance(value, int | float | str) and not isinstance(value, bool):
            found = timedelta(seconds=float(value))
        else:
            raise ValueError(f"{_short(value)} is no duration; write a number and a unit, such as 90s or 5m")
    except OverflowError:
        found = timedelta.max
    if not timedelta() <= found <= LONGEST_DURATION:
        raise ValueError(f"{_short(value)} is not between 0 and a hundred years")
    return found


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError(f"{_short(value)} is neither true nor false")


_KEYS: Mapping[str, Callable[[object], Any]] = {
    "policy": _text,
    "store": _text,
    "retry": _one_of(Retry),
    "patience": _duration,
    "relay": _text,
    "worker": _one_of(("thread", "external")),
    "check_domains": _truth,
    "rules": _files,
    "community_rules": _files,
    "shadow": _text,
    "watch_policy": _truth,
    "on_store_failure": _one_of(("raise", "send")),
    "cache": _secret,
    "bounces": _text,
    "bounce_keys": _secrets,
    "hash_keys": _secrets,
    "keep_addresses": _truth,
    "mailbox": _text,
    "mailbox_password": _secret,
}


def _table(key: str, value: object, place: str) -> dict[str, Any]:
    """Name to URL; a role may have several, a relay may have options beside it."""
    if not isinstance(value, dict):
        raise ConfigurationError(f"{place}: {key}: a table of name and URL is needed")
    return {name: _entry(key, way, f"{place}: {key}.{name}") for name, way in value.items()}


def _entry(key: str, way: object, place: str) -> Any:
    """One entry of a table. Its value may be a secret and is not shown."""
    if key == "sinks":
        if isinstance(way, dict):
            return way
        raise ConfigurationError(f"{place}: a table is needed, with kind or url, and options")
    if key == "web" or (isinstance(way, str) and way):
        return way
    if key == "relays":
        if isinstance(way, dict) and isinstance(way.get("url"), str):
            return way
        raise ConfigurationError(f"{place}: a URL in quotes is needed, or a table with url = ... and options")
    if isinstance(way, list) and way and all(isinstance(one, str) and one for one in way):
        return tuple(way)
    raise ConfigurationError(f"{place}: a URL in quotes is needed, or a list of them")


def _with_values(table: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
    """A table with the values of the variables that it names. One that is not set stays: whoever needs it says so."""
    found: dict[str, object] = {}
    for key, value in table.items():
        if key.endswith(_ENV) and isinstance(value, str) and environ.get(value):
            found[key.removesuffix(_ENV)] = environ[value]
        else:
            found[key] = value
    return found


def _of_folder(folder: Path, way: Any) -> Any:
    """A sink's table with its files, which belong to the folder too."""
    if not isinstance(way, dict):
        return way
    return {**way, **{key: str(folder / way[key]) for key in _FILES_OF_SINKS if isinstance(way.get(key), str)}}


def _seen_from(folder: Path, key: str, value: Any) -> Any:
    """A relative path belongs to the folder of the file it stands in, wherever the process runs."""
    if key in ("policy", "shadow") and PurePath(value).suffix:
        return str(folder / value)
    if key in ("rules", "community_rules"):
        return tuple(str(folder / one) for one in value)
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
