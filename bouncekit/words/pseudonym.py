"""What stands for a mailbox whose address must not be kept: a hash that only those who have the secret can make.

A hash without a secret is no secret: who has the list and a guess can look whether it is right. This one begins with
the name of its secret, so that a list tells which of them it needs, and a new one can take over while the old one is
still good for reading.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from bouncekit.words.errors import ConfigurationError

__all__ = ["MARK", "Pseudonyms", "is_pseudonym", "open_pseudonyms", "secret_of"]

MARK = "#"  # no address begins a suppression key with it and has no @

_LEAST_BYTES = 16
_MOST_BYTES = 64  # what BLAKE2b takes as a key


class Pseudonyms:
    """The secrets of one owner; the first makes new pseudonyms, each is good for finding old ones.

    Raises:
        ConfigurationError: there is none, or one has fewer than 16 or more than 64 bytes.

    >>> names = Pseudonyms([b"a secret of sixteen bytes"])
    >>> names.of("jo@example.com")
    '#0ad761b5-2d97297d41a8a606e76c3975fbc460cb'
    >>> is_pseudonym("jo@example.com")
    False
    """

    def __init__(self, secrets: Iterable[str | bytes]) -> None:
        keys = [secret.encode() if isinstance(secret, str) else secret for secret in secrets]
        if not keys:
            raise ConfigurationError("hash_keys: at least one secret is needed")
        if any(not _LEAST_BYTES <= len(key) <= _MOST_BYTES for key in keys):
            raise ConfigurationError(
                f"hash_keys: a secret has {_LEAST_BYTES} to {_MOST_BYTES} bytes; make one with "
                "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
            )
        self._keys = [(_name(key), key) for key in keys]

    def __repr__(self) -> str:
        return f"<Pseudonyms of {', '.join(name for name, _ in self._keys)}>"

    @property
    def names(self) -> frozenset[str]:
        """The names of the secrets, as pseudonyms begin with them."""
        return frozenset(name for name, _ in self._keys)

    def of(self, key: str) -> str:
        """The pseudonym of a suppression key, by the first secret."""
        return _pseudonym(*self._keys[0], key)

    def all_of(self, key: str) -> Iterator[str]:
        """The pseudonyms of a suppression key, by each secret."""
        return (_pseudonym(*named, key) for named in self._keys)


def open_pseudonyms(keys: Sequence[str | bytes]) -> Pseudonyms | None:
    """The secrets that an owner lists; None where there are none.

    Raises:
        ConfigurationError: it is one secret and no list, or see `Pseudonyms`.
    """
    if isinstance(keys, str | bytes):
        raise ConfigurationError("hash_keys: a list of secrets is needed, not one")
    return Pseudonyms(keys) if keys else None


def is_pseudonym(key: str) -> bool:
    """Whether a suppression key is a pseudonym."""
    return key.startswith(MARK) and "@" not in key


def secret_of(pseudonym: str) -> str:
    """The name of the secret that a pseudonym was made with."""
    return pseudonym.removeprefix(MARK).partition("-")[0]


def _name(secret: bytes) -> str:
    return blake2b(b"the name of this secret", key=secret, digest_size=4).hexdigest()


def _pseudonym(name: str, secret: bytes, key: str) -> str:
    digest = blake2b(key.encode("utf-8", "surrogatepass"), key=secret, digest_size=16).hexdigest()
    return f"{MARK}{name}-{digest}"
