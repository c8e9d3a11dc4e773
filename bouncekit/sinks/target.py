"""Where a webhook may connect to: not into our own network (server-side request forgery).

Every address that a name has must pass, and the connection goes to an address that was looked at, so a name that
changes its answer in between gains nothing. The table is our own: `ipaddress.is_global` differs between releases of
Python, and calls addresses global that lead inside.
"""

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias
from urllib.parse import urlsplit

from bouncekit.sinks.protocol import NotTaken
from bouncekit.words.errors import ConfigurationError

__all__ = ["Resolve", "Target", "forbidden", "resolve"]

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]

# What is not of the public Internet: IANA's special-purpose registries (RFC 6890), multicast, and what clouds have
# their metadata at. With True it is a private network, where an owner's own systems may be.
_V4 = {
    "0.0.0.0/8": False,  # this network, RFC 791 3.2
    "10.0.0.0/8": True,  # RFC 1918
    "100.64.0.0/10": True,  # shared by carriers, RFC 6598; Alibaba's metadata too
    "127.0.0.0/8": True,  # loopback, RFC 1122 3.2.1.3
    "168.63.129.16/32": False,  # Azure's own, on every machine there
    "169.254.0.0/16": False,  # link-local, RFC 3927: the metadata of most clouds
    "172.16.0.0/12": True,  # RFC 1918
    "192.0.0.0/24": False,  # IETF's, RFC 6890; Oracle's metadata
    "192.0.2.0/24": False,  # documentation, RFC 5737
    "192.31.196.0/24": False,  # AS112, RFC 7535
    "192.52.193.0/24": False,  # AMT, RFC 7450
    "192.88.99.0/24": False,  # 6to4 relays, RFC 7526
    "192.168.0.0/16": True,  # RFC 1918
    "192.175.48.0/24": False,  # AS112, RFC 7534
    "198.18.0.0/15": False,  # benchmarks, RFC 2544
    "198.51.100.0/24": False,  # documentation, RFC 5737
    "203.0.113.0/24": False,  # documentation, RFC 5737
    "224.0.0.0/4": False,  # multicast, RFC 5771
    "240.0.0.0/4": False,  # reserved, and broadcast, RFC 1112 4
}
_V6 = {
    "::1/128": True,  # loopback, RFC 4291 2.5.3
    "fc00::/7": True,  # unique local, RFC 4193
    "2001::/23": False,  # IETF's, Teredo among them, RFC 2928
    "2001:db8::/32": False,  # documentation, RFC 3849
    "2002::/16": False,  # 6to4, RFC 7526: an IPv4 address inside
    "2620:4f:8000::/48": False,  # AS112, RFC 7534
    "3fff::/20": False,  # documentation, RFC 9637
}
_GLOBAL_V6 = IPv6Network("2000::/3")  # all that is handed out; the rest is special or nothing, RFC 4291 2.4
_NAT64 = IPv6Network("64:ff9b::/96")  # IPv4 through a translator, RFC 6052: what counts is the address inside
_NETWORKS: tuple[tuple[IPv4Network | IPv6Network, bool], ...] = tuple(
    (ipaddress.ip_network(network), is_private) for network, is_private in {**_V4, **_V6}.items()
)

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*\Z")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")  # a last label that a resolver may read as an address
_PORTS = {"https": 443, "http": 80}
_FIRST_FREE_PORT = 1024  # below it other protocols live: mail, SSH, DNS
_LONGEST_URL = 2048


def forbidden(address: str, *, allow_private: bool = False) -> str | None:
    """Why nobody may connect to an address in its usual form; None where somebody may.

    >>> forbidden("127.0.0.1"), forbidden("::ffff:169.254.169.254"), forbidden("8.8.8.8")
    ('127.0.0.1 is private', '::ffff:169.254.169.254 is not public', None)
    >>> forbidden("127.0.0.1", allow_private=True), forbidden("169.254.169.254", allow_private=True)
    (None, '169.254.169.254 is not public')
    """
    try:
        meant: IPv4Address | IPv6Address = ipaddress.ip_address(address)
    except ValueError:
        return f"{address!a} is no address"
    if isinstance(meant, IPv6Address):
        if meant.scope_id is not None:
            return f"{address} is of one link"
        inside = meant.ipv4_mapped or (IPv4Address(int(meant) & 0xFFFFFFFF) if meant in _NAT64 else None)
        meant = inside or meant
    for network, is_private in _NETWORKS:
        if meant in network:
            if is_private and allow_private:
                return None
            return f"{address} is {'private' if is_private else 'not public'}"
    if isinstance(meant, IPv6Address) and meant not in _GLOBAL_V6:
        return f"{address} is not public"
    return None


def resolve(host: str, port: int, *, seconds: float = 5.0) -> Sequence[str]:
    """The addresses of a name by the system's resolver, in its order.

    Raises:
        OSError: it has none, or nobody answers in time.
    """
    found: list[list[str] | OSError] = []

    def look_up() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.append(list(dict.fromkeys(str(answer[4][0]) for answer in answers)))
        except (OSError, UnicodeError) as error:
            found.append(error if isinstance(error, OSError) else OSError(str(error)))

    thread = threading.Thread(target=look_up, name="bouncekit-resolve", daemon=True)  # it cannot be told to stop
    thread.start()
    thread.join(seconds)
    if not found:
        raise TimeoutError(f"no address of {host} within {seconds:g} s")
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a URL leads to. The path may be a secret, and stands in no repr.

    >>> str(Target.parse("https://Example.com:8443/hook/t0ken"))
    'https://example.com:8443'
    """

    scheme: str
    host: str
    port: int
    path: str
    allow_private: bool = False

    @classmethod
    def parse(cls, url: str, *, allow_http: bool = False, allow_private: bool = False) -> "Target":
        """The target of a URL.

        Raises:
            ConfigurationError: nothing may be sent there; the message shows neither path nor user.
        """
        host, port, scheme, path = _parts(url)
        if scheme == "http" and not allow_http:
            raise ConfigurationError(
                f"http://{host}: in clear, with addresses in it; write https, or allow_http = true"
            )
        if scheme not in _PORTS:
            raise ConfigurationError(f"{scheme[:10]!a} is no scheme of a webhook; write https://...")
        if port != _PORTS[scheme] and port < _FIRST_FREE_PORT and not (allow_private and port in _PORTS.values()):
            raise ConfigurationError(f"{scheme}://{host}: port {port} is another protocol's; use {_PORTS[scheme]}")
        target = cls(scheme=scheme, host=host, port=port, path=path, allow_private=allow_private)
        if target._is_address and (why := forbidden(host, allow_private=allow_private)):
            raise ConfigurationError(f"{scheme}://{host}: {why}; a private one needs allow_private = true")
        return target

    def addresses(self, resolve: Resolve = resolve) -> Sequence[str]:
        """The addresses to connect to, each of which has been looked at.

        Raises:
            NotTaken: the name has none, or one that nobody may connect to.
        """
        try:
            found = [self.host] if self._is_address else list(resolve(self.host, self.port))
        except OSError as error:
            raise NotTaken(f"{self.host}: {error.strerror or error}") from None
        if not found:
            raise NotTaken(f"{self.host} has no address")
        for address in found:
            if why := forbidden(address, allow_private=self.allow_private):
                raise NotTaken(f"{self.host}: {why}; a private one needs allow_private = true")
        return found

    @property
    def _is_address(self) -> bool:
        return ":" in self.host or self.host.replace(".", "").isdecimal()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")

    def __repr__(self) -> str:
        return f"Target({str(self)!r})"


def _parts(url: str) -> tuple[str, int, str, str]:
    """Host, port, scheme and path of a URL that can only be read in one way.

    Raises:
        ConfigurationError: it cannot.
    """
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ConfigurationError("a webhook's url has only printable ASCII; a name in other letters is written xn--...")
    if len(url) > _LONGEST_URL:
        raise ConfigurationError(f"a webhook's url has at most {_LONGEST_URL} characters")
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise ConfigurationError("a webhook's url: it cannot be read; write https://host/path") from error
    if "@" in parts.netloc:
        raise ConfigurationError("a webhook's url has a user in it: webhooks are signed; give secret = ... instead")
    if parts.fragment or not host:
        raise ConfigurationError("a webhook's url names no host, or has a '#'; write https://host/path")
    _check_host(host)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, _PORTS.get(scheme, 0) if port is None else port, scheme, path


def _check_host(host: str) -> None:
    """An address has its usual form, so that no two readers see two addresses in it."""
    if ":" in host or _NUMBER.match(host.rpartition(".")[2]):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ConfigurationError(
                f"{host[:60]!a} is neither a name nor an address as it is usually written"
            ) from None
    elif not _HOST.match(host):
        raise ConfigurationError(f"{host[:60]!a} is no name of a host")
