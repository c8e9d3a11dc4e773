"""A set of digests that never denies one it has, in two bytes for each: a blocked Bloom filter.

A digest says which word of 64 bits is its own, and which six bits of that word. So a question touches one word, and
the memory of a process is read once. Of what is not in it, about one in 250 is said to be when it is full.
See Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (2007).
"""

from array import array

__all__ = ["Bloom"]

_BITS_EACH = 16
_WORD_BITS = 64
_WORD_BYTES = 8
_LEAST = 1024

# Two bits of a word, by twelve of a digest.
_PAIRS = tuple(1 << (both & 63) | 1 << (both >> 6) for both in range(4096))


class Bloom:
    """A set of 128-bit digests, made for `capacity` of them; more can be added, and then more is taken to be in it.

    One thread at a time may add, while any number ask.

    >>> known = Bloom(1000)
    >>> known.add(7)
    >>> 7 in known, 8 in known
    (True, False)
    """

    __slots__ = ("_words", "added", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = max(capacity, _LEAST)
        self.added = 0  # those that were new to it
        self._words = array("Q", bytes(_size_bytes(self.capacity)))

    def add(self, digest: int) -> None:
        """Have a digest in the set from now on."""
        words = self._words
        place, mask = (digest >> 64) % len(words), _mask(digest)
        word = words[place]
        if word & mask != mask:
            words[place] = word | mask
            self.added += 1

    def __contains__(self, digest: int) -> bool:
        mask = _mask(digest)
        return self._words[(digest >> 64) % len(self._words)] & mask == mask

    @property
    def is_full(self) -> bool:
        """Whether it has more than it was made for."""
        return self.added > self.capacity

    def dump(self) -> bytes:
        """Its words, for `load`."""
        return self._words.tobytes()

    @classmethod
    def load(cls, content: bytes, *, capacity: int, added: int) -> "Bloom":
        """The set that was dumped on a machine of this kind.

        Raises:
            ValueError: that is none of this capacity.
        """
        if capacity < _LEAST or len(content) != _size_bytes(capacity):
            raise ValueError(f"{len(content)} bytes are not a set of {capacity}")
        found = cls(capacity)
        found._words = array("Q", content)
        found.added = added
        return found


def _size_bytes(capacity: int) -> int:
    return _WORD_BYTES * (capacity * _BITS_EACH // _WORD_BITS)


def _mask(digest: int) -> int:
    return _PAIRS[digest & 4095] | _PAIRS[digest >> 12 & 4095] | _PAIRS[digest >> 24 & 4095]
