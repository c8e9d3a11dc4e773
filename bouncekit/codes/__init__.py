"""The code cards: what a code means, when it is seen, what to do about it (RFC 5321 4.2, RFC 3463, RFC 5248)."""

from bouncekit.codes.card import Card, Language, Pair
from bouncekit.codes.deck import Deck

__all__ = ["Card", "Deck", "Language", "Pair"]
