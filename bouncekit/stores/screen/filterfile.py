"""The file in which a local filter is kept: a line of JSON that says what follows, then the filter's words.

It is written beside its place and moved there whole, readable for its owner only. A checksum finds what a disk has
done to it. That it belongs to a store, only the store's trail can tell.
"""

import json
import logging
import os
import secrets
import sys
from contextlib import suppress
from typing import Any
from zlib import crc32

from bouncekit.stores.screen.bloom import Bloom
from bouncekit.stores.trail import Trace

__all__ = ["read_filter", "remove_filter", "write_filter"]

_FORMAT = "bouncekit filter 1"
_MOST_HEADER_BYTES = 4096

_log = logging.getLogger("bouncekit")


def read_filter(path: str) -> tuple[Bloom, Trace] | None:
    """The filter that lies there, and the change of the list that it goes up to; None where none that is whole does."""
    try:
        with open(path, "rb") as file:
            header = json.loads(file.readline(_MOST_HEADER_BYTES))
            content = file.read(_promised(header, os.fstat(file.fileno()).st_size - file.tell()))
        if crc32(content) != header["crc32"]:
            raise ValueError("its checksum is wrong")
        sequence, tenant, hashed, event_id = header["upto"]
        upto = Trace(int(sequence), str(tenant), bytes.fromhex(hashed), event_id)
        return Bloom.load(content, capacity=header["capacity"], added=int(header["added"])), upto
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        _log.info("%s: no filter of this bouncekit, it is made anew: %r", path, error)
        return None


def write_filter(path: str, content: bytes, *, capacity: int, added: int, upto: Trace) -> None:
    """Keep a filter there; where that cannot be done, the next process makes its own."""
    header: dict[str, Any] = {
        "format": _FORMAT,
        "byteorder": sys.byteorder,
        "capacity": capacity,
        "added": added,
        "upto": (upto.sequence, upto.tenant, upto.key_hash.hex(), upto.event_id),
        "bytes": len(content),
        "crc32": crc32(content),
    }
    draft = f"{path}.{os.getpid()}-{secrets.token_hex(4)}.new"
    try:
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(json.dumps(header).encode("ascii") + b"\n")
            file.write(content)
        os.replace(draft, path)
    except OSError as error:
        _log.info("%s: the filter cannot be kept there: %s", path, error.strerror)
        with suppress(OSError):
            os.unlink(draft)


def remove_filter(path: str) -> None:
    """Let no filter lie there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        _log.warning("%s: the filter cannot be removed: %s", path, error.strerror)


def _promised(header: dict[str, Any], left: int) -> int:
    """How many bytes follow, if the header is ours and they are there."""
    if header["format"] != _FORMAT or header["byteorder"] != sys.byteorder:
        raise ValueError("it is of another kind")
    if header["bytes"] != left:
        raise ValueError(f"{left} bytes follow, not {header['bytes']}")
    return left
