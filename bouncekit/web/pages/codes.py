"""A page for each code: what it means, when it is seen, what to do about it, in English and Hindi."""

from collections import defaultdict

from bouncekit.codes import Card, Language
from bouncekit.codes.cardfile import FiledCard
from bouncekit.outside.builtin import code_cards
from bouncekit.web.visiting import Go, NotAsked, Page, Visit
from bouncekit.words.reply import EnhancedStatusCode

__all__ = ["every", "one"]


def every(visit: Visit) -> Page | Go:
    """All codes that have a card; `code` leads to its page."""
    if asked := visit.text("code", most=20):
        _cards(asked, Language.ENGLISH)
        return Go(f"/codes/{asked}")
    language = visit.one_of("lang", Language) or Language.ENGLISH
    deck = code_cards()
    replies, enhanced = defaultdict[str, list[tuple[str, str]]](list), list[tuple[str, str, str]]()
    for card in deck.filed[0]:
        if not card.code.endswith("x"):
            replies[card.code[0]].append((card.code, card.texts[language].name))
    for card in deck.filed[1]:
        if not card.code.endswith("x") and "-" not in card.code:
            enhanced.append((card.code, _example(card), card.texts[language].name))
    words = deck.words(language)
    return Page(
        template="codes.html",
        values={
            "replies": replies,
            "enhanced": enhanced,
            "language": language,
            "languages": tuple(Language),
            "words": words,
        },
    )


def one(visit: Visit) -> Page:
    """The card of a code, and what sets it apart from others."""
    code = visit.path["code"]
    language = visit.one_of("lang", Language) or Language.ENGLISH
    cards = _cards(code, language)
    deck = code_cards()
    pairs = [(next(iter(pair.codes - {code})), pair.texts[language]) for pair in deck.pairs if code in pair.codes]
    return Page(
        template="code.html",
        values={
            "code": code,
            "cards": cards,
            "pairs": pairs,
            "language": language,
            "languages": tuple(Language),
            "words": deck.words(language),
        },
    )


def _cards(code: str, language: Language) -> tuple[Card, ...]:
    deck = code_cards()
    if len(code) == 3 and code.isascii() and code.isdigit() and "200" <= code < "600":
        return (deck.reply(int(code), language),)
    try:
        return deck.enhanced(EnhancedStatusCode.parse(code), language)
    except ValueError:
        raise NotAsked(f"{code[:20]!a} is no code; one looks like 552 or 5.2.2") from None


def _example(card: FiledCard) -> str:
    """A code that the card is about: x stands for a class."""
    return card.code.replace("x", str(max(card.classes, default=5)), 1)
