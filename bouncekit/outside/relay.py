"""A relay: the server that takes our mail, given as a URL, and the names under which a postmaster knows several.

    smtp://relay:25                 STARTTLS where it is offered, and then verified
    smtp://user:secret@relay:587    STARTTLS required, then the login
    smtp+tls://relay:25             STARTTLS required
    smtps://user:secret@relay:465   TLS from the first byte
    lmtp://host:24                  LMTP (RFC 2033)
    mx:                             no relay: each domain's own mail hosts (RFC 5321 5.1); `mx:2525` on another port

A queue names a relay and never a password: whoever sends from it finds the URL, with its secrets, in the application.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from bouncekit.protocol.opening import Manner, Tls
from bouncekit.words.errors import ConfigurationError

__all__ = ["Outlet", "Relay", "check_fallbacks", "check_timeout", "name_at", "name_of", "open_relays"]

_PORTS = {"smtp": 25, "smtp+tls": 25, "smtps": 465, "lmtp": 24}
_MX = re.compile(r"mx:(\d{1,5})?", re.ASCII).fullmatch
_HOST_PORT = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*:\d{1,5}", re.ASCII | re.IGNORECASE).fullmatch
_LONGEST_TIMEOUT = 1e6  # seconds; above some a socket takes it for none
_IN_CLEAR = (
    "; to log in in clear all the same, set insecure_login_in_clear = true under [relays.NAME] in bouncekit.toml"
    " and send with --relay NAME, or give it to the client as an argument"
)
_SUBMISSION_PORT = 587  # RFC 6409: where one logs in
_OPTIONS = (
    "chunking",
    "dsn",
    "fallback",
    "insecure_login_in_clear",
    "insecure_tls",
    "local_hostname",
    "lock_step",
    "private_addresses",
    "require_tls",
    "timeout",
    "tls_context",
)


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where a session's mail goes: a relay's name, or its host and port; and the relay that can take its place.

    `is_direct` says that it is no relay, but the recipients' own hosts.
    """

    name: str
    fallback: str | None = None
    is_direct: bool = False


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay's URL, taken apart, and the options of `bouncekit.Client` for it. The password is in no repr.

    >>> Relay.parse("smtp://jo:secret@relay.example.com")
    Relay(scheme='smtp', host='relay.example.com', port=587, user='jo')
    """

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False, compare=False)

    @classmethod
    def parse(cls, url: str) -> "Relay":
        """Raises ConfigurationError; its message never holds the password."""
        if found := _MX(url):
            return cls("mx", "", int(found[1] or _PORTS["smtp"]))
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"a relay's URL that cannot be read: {error}") from None
        if "://" not in url:
            place = url if _HOST_PORT(url) else "localhost:25"
            # What stands beside an @ or a colon may be a password.
            shown = f"{url!a} is " if url == place or not set(url) & set("@:") else ""
            raise ConfigurationError(f"{shown}no relay's URL; write smtp://{place}")
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ConfigurationError(
                f"{parts.scheme}://{parts.hostname or ''}: no relay; write one of "
                + ", ".join(f"{scheme}://host:port" for scheme in _PORTS)
                + ", mx:"
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigurationError(f"{parts.scheme}://{parts.hostname}: a relay's URL ends behind the port")
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        if user is not None and password is None:
            raise ConfigurationError(f"{parts.scheme}://{user}@{parts.hostname}: the password is missing")
        default = _SUBMISSION_PORT if user and parts.scheme.startswith("smtp") else _PORTS[parts.scheme]
        if parts.scheme == "smtps":
            default = _PORTS["smtps"]
        return cls(parts.scheme, parts.hostname, port or default, user, password)

    @property
    def is_direct(self) -> bool:
        """Whether it is no relay, but the recipients' own hosts."""
        return self.scheme == "mx"

    def manner(self, own_name: str, *, login_in_clear: bool = False) -> Manner:
        """How a session with it begins. Without `login_in_clear` no login travels over a line that is not encrypted."""
        in_clear = self.user is None or login_in_clear
        lmtp = self.scheme == "lmtp"
        usual = Tls.NEVER if lmtp else Tls.OFFERED
        return Manner(
            own_name=own_name,
            lmtp=lmtp,
            tls=usual if in_clear and self.scheme != "smtp+tls" else Tls.REQUIRED,
            user=self.user,
            password=self.password or "",
            hint=_IN_CLEAR if self.user is not None else "",
        )

    def __str__(self) -> str:
        if self.is_direct:
            return f"mx:{self.port}"
        return f"{self.scheme}://{self.host}:{self.port}"


def open_relays(given: Mapping[str, object]) -> Mapping[str, Relay]:
    """The relays of a postmaster: name to URL, or to a mapping with `url` and options of `bouncekit.Client`.

    >>> open_relays({"main": {"url": "smtp://relay.example.com", "timeout": 30}})["main"]
    Relay(scheme='smtp', host='relay.example.com', port=25, user=None)

    Raises:
        ConfigurationError: it names the relay, and never shows a password.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError("relays: a mapping of name and URL is needed, such as {'main': 'smtp://localhost:25'}")
    return MappingProxyType({_name(name): _opened(name, spec) for name, spec in given.items()})


def check_timeout(seconds: object) -> None:
    """Look whether it is a time that a reply may take, or None.

    Raises:
        ConfigurationError: it is none, such as 0, by which every reply would be late.
    """
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds <= _LONGEST_TIMEOUT):
        raise ConfigurationError(f"timeout={seconds!r}: write seconds above 0, or None for the deadlines of each stage")


def check_fallbacks(relays: Mapping[str, Relay]) -> None:
    """Look whether what is to take a relay's place is another relay.

    Raises:
        ConfigurationError: it is none.
    """
    for name, relay in relays.items():
        fallback = relay.options.get("fallback")
        if fallback is not None and (fallback == name or fallback not in relays):
            others = ", ".join(other for other in relays if other != name) or "there is none"
            raise ConfigurationError(f"relay {name!r}: fallback {fallback!a} is no other relay: {others}")


def name_at(relays: Mapping[str, Relay], host: str, port: int) -> str:
    """The name of the one relay that a connection to this host and port goes to.

    Raises:
        ConfigurationError: it is none of them, or one of several.
    """
    if host.startswith("/"):
        raise ConfigurationError(f"{host}: a relay's URL names no Unix socket, so nobody could send later: use a port")
    names = [name for name, relay in relays.items() if (relay.host, relay.port) == (host.lower(), port)]
    return _only(names, f"{host}:{port}", relays)


def name_of(relays: Mapping[str, Relay], relay: Relay) -> str:
    """The name under which a postmaster knows a relay.

    Raises:
        ConfigurationError: under none.
    """
    return _only([name for name, one in relays.items() if one == relay][:1], str(relay), relays)


def _only(names: list[str], place: str, relays: Mapping[str, Relay]) -> str:
    if len(names) == 1:
        return names[0]
    if names:
        raise ConfigurationError(
            f"{place} is relay {' and '.join(names)}: a queued message must know which; use postmaster.client(name)"
        )
    known = "; it has " + ", ".join(f"{name} ({relay})" for name, relay in relays.items()) if relays else ""
    raise ConfigurationError(
        f"{place} is no relay of this postmaster, so nobody could send later what is queued: "
        f"write Postmaster(relays={{'main': 'smtp://{place.rpartition('//')[2]}'}}){known}"
    )


def _name(name: object) -> str:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or "://" in name:
        raise ConfigurationError(f"relays: {name!a} is no name; write a short word such as 'main'")
    return name


def _opened(name: str, spec: object) -> Relay:
    options = dict(spec) if isinstance(spec, Mapping) else {"url": spec}
    url = options.pop("url", None)
    if not isinstance(url, str):
        raise ConfigurationError(f"relay {name!r}: a URL in quotes is needed, such as 'smtp://localhost:25'")
    if unknown := sorted(options.keys() - set(_OPTIONS)):
        raise ConfigurationError(f"relay {name!r}: no option {unknown[0]!r}; one of {', '.join(_OPTIONS)}")
    try:
        check_timeout(options.get("timeout"))
        return replace(Relay.parse(url), options=MappingProxyType(options))
    except ConfigurationError as error:
        raise ConfigurationError(f"relay {name!r}: {error}") from None
