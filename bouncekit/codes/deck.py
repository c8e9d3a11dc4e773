"""The cards of all codes: looked up by code and language, also for codes that nobody has assigned."""

from collections.abc import Iterable, Mapping

from bouncekit.codes.card import Card, Language, Pair
from bouncekit.codes.cardfile import FiledCard, FiledPair, Words
from bouncekit.words.reply import EnhancedStatusCode

__all__ = ["Deck"]


class Deck:
    """Cards of reply codes and of enhanced codes, pairs of them, and the words around them."""

    def __init__(
        self,
        *,
        replies: Iterable[FiledCard],
        enhanced: Iterable[FiledCard],
        pairs: Iterable[FiledPair],
        words: Mapping[Language, Words],
    ) -> None:
        self.filed = (tuple(replies), tuple(enhanced))
        self.pairs = tuple(pairs)
        self._replies = {card.code: card for card in self.filed[0]}
        self._pairs = {pair.codes: pair for pair in self.pairs}
        self._words = words

    def words(self, language: Language) -> Words:
        """The words around the cards."""
        return self._words[language]

    def reply(self, code: int, language: Language) -> Card:
        """The card of a reply code; that of its first digit where it has none (RFC 5321 4.2)."""
        filed = self._replies.get(str(code)) or self._replies[f"{code // 100}xx"]
        words = self._words[language]
        first, second = str(code)[0], str(code)[1]
        subject = words["second"].get(second, words["second"]["other"])
        return _card(str(code), filed, language, words, class_name=words["digit"][first], subject=subject)

    def enhanced(self, code: EnhancedStatusCode, language: Language) -> tuple[Card, ...]:
        """The registered card of an enhanced code and those of providers who use it their own way.

        Where there is none, the card of its subject (RFC 3463 2), else one that says that nothing is known.
        """
        words = self._words[language]
        subject = words["subject"].get(str(code.subject), words["subject"]["other"])
        filed = [card for card in self.filed[1] if not card.code.endswith("x") and _fits(card.code, code)]
        filed = filed or [next(card for card in self.filed[1] if card.code.endswith("x") and _fits(card.code, code))]
        return tuple(
            _card(str(code), card, language, words, class_name=_class_name(code, card, words), subject=subject)
            for card in filed
        )

    def pair(self, first: Card, second: Card) -> Pair:
        """What sets two codes apart, in the language of their cards."""
        written = self._pairs.get(frozenset((first.code, second.code)))
        if written is not None:
            text = written.texts[first.language]
            return Pair(difference=text.difference, which=text.which, is_written=True)
        return _made_pair(first, second, self._words[first.language])


def _fits(pattern: str, code: EnhancedStatusCode) -> bool:
    return all(map(_fits_part, pattern.split("."), code))


def _fits_part(pattern: str, part: int) -> bool:
    least, _, most = pattern.partition("-")
    return pattern == "x" or int(least) <= part <= int(most or least)


def _class_name(code: EnhancedStatusCode, card: FiledCard, words: Words) -> str:
    name = words["class"][str(code.class_)]
    if code.class_ in card.classes:
        return name
    return f"{name} ({words['class']['only'].format(classes=', '.join(map(str, card.classes)))})"


def _card(code: str, filed: FiledCard, language: Language, words: Words, *, class_name: str, subject: str) -> Card:
    text, class_ = filed.texts[language], int(code[0])
    is_good_news = class_ == 2 and filed.classes not in ((), (2,))  # and the advice is for the other classes
    return Card(
        code=code,
        pattern=filed.code,
        language=language,
        name=text.name,
        class_name=class_name,
        subject=subject,
        description=text.description,
        when=text.when,
        fix=(text.fix_2 if is_good_news else text.advice(class_)) or words["phrase"]["nothing"],
        source=filed.source or words["phrase"]["no_standard"].format(origin=text.origin),
        stages=filed.stages,
        basic=filed.basic,
        provider=filed.provider,
    )


def _made_pair(first: Card, second: Card, words: Words) -> Pair:
    """A difference out of what the digits of the codes say."""
    say, acts = words["compare"], words["act"]
    facts = {"a": first.code, "b": second.code}
    for letter, card in (("a", first), ("b", second)):
        digit = card.code[0]
        facts |= {f"class_{letter}": words["digit"][digit], f"act_{letter}": acts[digit]}
        facts[f"subject_{letter}"] = card.subject
    same_class, same_subject = first.code[0] == second.code[0], first.subject == second.subject
    said = [say["class_same" if same_class else "class_differs"]]
    vague = {words["second"]["3"], words["second"]["4"], words["second"]["other"], words["subject"]["other"]}
    if not {first.subject, second.subject} & vague:
        said.append(say["subject_same" if same_subject else "subject_differs"])
    basic, enhanced = sorted((first, second), key=lambda card: "." in card.code)
    if "." in enhanced.code and "." not in basic.code:
        goes = any(
            all(want in ("x", have) for want, have in zip(one, basic.code, strict=True)) for one in enhanced.basic
        )
        said = [say["goes_with"]] if goes and same_class else said
        facts |= {"basic": basic.code, "enhanced": enhanced.code}
    which = say["which_same" if same_class else "which"]
    return Pair(difference=" ".join(said).format(**facts), which=which.format(**facts), is_written=False)
