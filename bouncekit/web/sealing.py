"""Text in a web address that whoever reads the address cannot read: mail addresses, and where a page of a list begins.

Addresses of pages stand in logs, histories and headers; those of people should not. A sealed text is its keyed hash and
itself under a stream that the hash begins (the construction of RFC 5297, with keyed BLAKE2b in both places), so the
same text always makes the same address, and nothing that we did not seal opens.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

__all__ = ["Seal", "of_tenant", "tenant_and_address"]

_TAG_BYTES = 16
_BLOCK_BYTES = 64
_MOST_BYTES = 2048


def of_tenant(tenant: str, address: str) -> str:
    """A mailbox of a tenant as one text, to be sealed."""
    return f"{tenant}\0{address}"


def tenant_and_address(text: str) -> tuple[str, str]:
    """The two that `of_tenant` made one of."""
    tenant, _, address = text.partition("\0")
    return tenant, address


class Seal:
    """Seals and opens under one secret.

    >>> seal = Seal(b"a secret of 16 bytes or more")
    >>> sealed = seal.close("jo@example.com")
    >>> seal.open(sealed), seal.open("jo@example.com"), "example" in sealed
    ('jo@example.com', None, False)
    """

    def __init__(self, secret: bytes) -> None:
        self._for_tags, self._for_streams = (
            blake2b(secret, digest_size=64, person=purpose).digest()
            for purpose in (b"bouncekit tag", b"bouncekit text")
        )

    def close(self, text: str) -> str:
        """The text, sealed; its first 2,048 bytes."""
        plain = text.encode("utf-8", "surrogatepass")[:_MOST_BYTES]
        tag = self._tag(plain)
        return urlsafe_b64encode(tag + self._streamed(tag, plain)).decode("ascii").rstrip("=")

    def open(self, sealed: str) -> str | None:
        """The text that was sealed; None where this is none of ours."""
        if not sealed.isascii() or len(sealed) > 2 * _MOST_BYTES:
            return None
        try:
            data = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        except ValueError:
            return None
        tag = data[:_TAG_BYTES]
        plain = self._streamed(tag, data[_TAG_BYTES:])
        if not hmac.compare_digest(self._tag(plain), tag):
            return None
        return plain.decode("utf-8", "surrogatepass")

    def _tag(self, plain: bytes) -> bytes:
        return blake2b(plain, digest_size=_TAG_BYTES, key=self._for_tags).digest()

    def _streamed(self, tag: bytes, data: bytes) -> bytes:
        blocks = -(-len(data) // _BLOCK_BYTES)
        stream = b"".join(
            blake2b(tag + number.to_bytes(4), digest_size=_BLOCK_BYTES, key=self._for_streams).digest()
            for number in range(blocks)
        )
        return bytes(one ^ other for one, other in zip(data, stream, strict=False))
