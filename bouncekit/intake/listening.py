"""Where a server for this machine listens: at a Unix socket, or at a host and port that nobody else reaches."""

import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from bouncekit.words.errors import ConfigurationError

__all__ = ["Place", "listen", "read_place"]

_SMTP_PORT = 25
_LONGEST_PATH = 100  # bytes; the kernel takes 107, BSD's 103


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens: a path of a Unix socket, or a host and a port."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_place(text: str, *, public: bool = False) -> Place:
    """A place as people and Postfix write it.

    >>> read_place("unix:/run/bounce.sock").path, str(read_place("inet:127.0.0.1:2400"))
    (PosixPath('/run/bounce.sock'), '127.0.0.1:2400')

    Raises:
        ConfigurationError: it is none, or one that others can reach, where that is not `public`.
    """
    if text.startswith(("unix:", "/", "./")):
        path = Path(text.removeprefix("unix:"))
        if not path.name or len(os.fsencode(path)) > _LONGEST_PATH:
            raise ConfigurationError(f"{text[:120]!a}: a path of at most {_LONGEST_PATH} bytes is needed")
        return Place(path)
    host, colon, port = text.removeprefix("inet:").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not colon or not port.isascii() or not port.isdecimal() or not 0 <= int(port[:6]) < 65_536:
        raise ConfigurationError(f"{text[:120]!a}: write unix:/path or HOST:PORT")
    if int(port) == _SMTP_PORT:
        raise ConfigurationError("LMTP never listens on port 25 (RFC 2033 5)")
    if not public and not _is_loopback(host):
        raise ConfigurationError(
            f"{host[:80]}: everybody there could hand in bounces; listen on 127.0.0.1 or a Unix socket, or say --public"
        )
    return Place(host=host, port=int(port))


def listen(place: Place, *, mode: int, backlog: int) -> tuple[socket.socket, Place]:
    """A socket that listens, and where; `mode` are the rights to a Unix socket, port 0 is any that is free.

    Raises:
        OSError: nobody can listen there.
        ConfigurationError: somebody does already, or something else lies there.
    """
    if place.path is not None:
        return _listen_at_path(place.path, mode, backlog), place
    listener = _listen_at_port(place, backlog)
    return listener, replace(place, port=listener.getsockname()[1])


def _listen_at_port(place: Place, backlog: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    return socket.create_server((place.host, place.port), family=family, backlog=backlog)


def _listen_at_path(path: Path, mode: int, backlog: int) -> socket.socket:
    """A socket that a killed process has left is taken away; one that answers, or is none, is not."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigurationError(f"{path}: something else than a socket lies there")
        if _answers(path):
            raise ConfigurationError(f"{path}: somebody listens there already")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(mode)  # before anybody can connect
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
