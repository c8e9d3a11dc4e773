"""How a store tells what is on its suppression list, and what has changed since: the ground of every short cut."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, Protocol, TypeAlias

from bouncekit.stores.codec import key_hash, storable

__all__ = ["Entry", "SharedTrail", "Trace", "Trail", "digest_of", "digest_of_hash"]


class Trace(NamedTuple):
    """One change of the list, whatever it was."""

    sequence: int
    tenant: str
    key_hash: bytes
    event_id: str | None


# Where something stands on the list: tenant, stream and hash of the key. There may be ten million of them.
Entry: TypeAlias = tuple[str, str, bytes]


class Trail(Protocol):
    """The part of a store that short cuts rest on. Every method raises StoreError where the store cannot answer."""

    def trail(self, *, since: int, limit: int) -> Sequence[Trace]:
        """The changes of the list from a sequence number on, that one included: all that are committed."""

    def trail_end(self, until: int | None = None) -> Trace | None:
        """The latest change, or the latest up to a sequence number; None where there was none."""

    def trail_settled(self) -> int:
        """Up to which sequence number no change can turn up any more that is not there already."""

    def entries(self, *, after: Entry | None = None, limit: int) -> Sequence[Entry]:
        """What stands on the list behind an entry, of all tenants and streams, expired and held too."""

    def entry_count(self) -> int:
        """How many entries there are; at ten million it takes a good part of a second."""

    def listed(self, tenant: str, keys: Collection[str]) -> frozenset[str]:
        """Those of the keys that have an entry, in whatever stream and of whatever standing, expired or not."""


class SharedTrail(Trail, Protocol):
    """The same of a store that many machines share."""

    def origin(self) -> str:
        """What tells this list from every other store's: the same for all who use it, wherever they are."""


def digest_of(tenant: str, key: str) -> int:
    """The 128 bits that stand for a mailbox of a tenant, in every stream."""
    hashed = int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest())
    return hashed ^ _salt(tenant) if tenant else hashed


def digest_of_hash(tenant: str, hashed: bytes) -> int:
    """The same, of a key whose hash a store gives."""
    digest = int.from_bytes(hashed)
    return digest ^ _salt(tenant) if tenant else digest


@lru_cache(maxsize=1024)
def _salt(tenant: str) -> int:
    return int.from_bytes(key_hash(storable(tenant)))
