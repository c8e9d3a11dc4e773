"""What a code or a whole reply means, whose fault it is and what a policy does about it, told to people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from bouncekit.bounces.diagnostic import read_diagnostic
from bouncekit.codes import Card, Language, Pair
from bouncekit.codes.cardfile import Words
from bouncekit.delivery.settlement import placed
from bouncekit.meaning.classification import Classification, Scope
from bouncekit.outside.builtin import classifier_with, code_cards, open_policy, read_meaning
from bouncekit.policy.policy import Disposition, Policy, SessionDisposition
from bouncekit.policy.rule import Circumstances, Fate, SessionFate
from bouncekit.policy.schedule import show_duration
from bouncekit.postmaster.asking import status_of
from bouncekit.words.address import Address
from bouncekit.words.columns import beside, labelled, wrapped
from bouncekit.words.envelope import Recipient
from bouncekit.words.reply import EnhancedStatusCode, Reply, Stage
from bouncekit.words.showing import printable
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["Comparison", "Explanation", "compare", "explain", "is_bare_code"]

WIDTH = 80  # of what `str` gives

_NOW = datetime(2026, 1, 1, tzinfo=UTC)  # of no importance: a wait is told, not a time
_SOMEBODY = Address("jo@example.com", "example.com", False)
_ENDS_SESSION = frozenset({221, 421})  # RFC 5321 3.8
_ABOUT_NOBODY = frozenset({Stage.QUIT, Stage.RSET, Stage.IDLE})
_LONGEST = 1000  # characters of a reply that are shown

Rows: TypeAlias = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a code or a reply means; `str` is a page of it.

    `cards`: the reply code's, then the enhanced code's. The rest is there where a whole reply or a stage was given:
    `reply`, `stage`, the number of recipients `accepted` before it where that was said. Where the server refuses
    something, or ends the session: the `classification`, what the `policy` does about the recipient at the first
    attempt (`disposition`), and about the connection (`session`); each with its rule and file:line.

    >>> explained = explain("552 5.2.2 Mailbox full")
    >>> explained.cards[0].name, explained.classification.scope.value, explained.disposition.rule
    ('Exceeded Storage', 'recipient', 'mailbox-full')
    """

    asked: str
    language: Language
    cards: tuple[Card, ...]
    reply: Reply | None = None
    stage: Stage | None = None
    accepted: int | None = None
    classification: Classification | None = None
    policy: Policy | None = None
    disposition: Disposition | None = None
    session: SessionDisposition | None = None

    @property
    def retry_in(self) -> timedelta | None:
        """The wait until the next attempt, None where there is none."""
        due = self.disposition.retry_at if self.disposition else None
        return due - _NOW if due else None

    def __str__(self) -> str:
        return self.show()

    def sections(self) -> list[tuple[str, Rows]]:
        """What there is to say, each with a title and rows of label and text: of the reply, then of its codes."""
        words = code_cards().words(self.language)
        found: list[tuple[str, Rows]] = [
            (f"{card.code} {card.name}", [*_digits(card, words), *_advice(card, words)]) for card in self.cards
        ]
        if self.reply is not None:
            found.insert(0, (printable(str(self.reply), limit=_LONGEST), _verdict(self, words)))
        return found

    def show(self, width: int = WIDTH, *, by_cursor: bool = False) -> str:
        """A page of so many columns. `by_cursor` is for a terminal alone: see `bouncekit.words.columns.labelled`."""
        sections = self.sections()
        told = labelled([rows for _, rows in sections], width, by_cursor=by_cursor)
        pages = ([*wrapped(title, width), *lines] for (title, _), lines in zip(sections, told, strict=True))
        return "\n\n".join("\n".join(page) for page in pages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two codes side by side, with the key difference and when a server says which.

    `is_written` says that somebody wrote the difference; else it was put together from what the two codes' digits say.

    >>> compare("450", "550").difference
    'Both are about the mailbox: 450 passes, 550 is final for this request.'
    """

    language: Language
    cards: tuple[Card, Card]
    difference: str
    which: str
    is_written: bool

    def __str__(self) -> str:
        return self.show()

    def show(self, width: int = WIDTH, *, by_cursor: bool = False) -> str:
        """A page of so many columns, the cards side by side where that is room enough."""
        words = code_cards().words(self.language)
        left, right = (
            [f"{card.code} {card.name}", f"{card.class_name}, {card.subject}"]
            + [line for label, text in _advice(card, words) for line in ("", label, text)]
            for card in self.cards
        )
        lines = beside(left, right, width, by_cursor=by_cursor)
        for heading, text in (("difference", self.difference), ("which", self.which)):
            lines += ["", words["heading"][heading], *wrapped(text, width)]
        return "\n".join(lines)


def explain(
    code: str | int | EnhancedStatusCode | Reply,
    *,
    stage: str | Stage | None = None,
    accepted: int | None = None,
    policy: str | Path | Policy = "default",
    rules: Sequence[str | Path] = (),
    community_rules: Sequence[str | Path] = (),
    lang: str | Language = Language.ENGLISH,
) -> Explanation:
    """What a reply code, an enhanced code or a whole reply means, and what a policy does about it.

    A code alone gets its card. With a text, an enhanced code, a `stage` or a number of `accepted` recipients it is a
    reply, and judged as a postmaster with this policy and these rules would. A line of a log or of a bounce is the
    reply that it quotes. Without a stage it answers the one that such a line names, else RCPT, or what else the code
    is for: 221 QUIT.

    Raises:
        ValueError: it neither begins with a code nor quotes a reply, or there is no such stage or language.
        ConfigurationError: there is no such policy, or something is wrong in it or in the rules.
    """
    language, text = _language(lang), str(code).strip()
    if isinstance(code, Reply):
        return _explained(code, text, language, stage, accepted, policy, (rules, community_rules))
    if enhanced := _enhanced(text):
        return Explanation(asked=text, language=language, cards=code_cards().enhanced(enhanced, language))
    reply, named = _read(text)
    stage = named if stage is None else stage
    if reply.raw or stage is not None or accepted is not None:
        return _explained(reply, text, language, stage, accepted, policy, (rules, community_rules))
    return Explanation(asked=text, language=language, cards=_cards(reply, language))


def is_bare_code(text: str) -> bool:
    """Whether a code stands alone, which is explained by its card whatever a policy says.

    >>> [is_bare_code(text) for text in ("552", "5.2.2", "552 Mailbox full", "full")]
    [True, True, False, False]
    """
    text = text.strip()
    return bool(_enhanced(text)) or (len(text) == 3 and text.isascii() and text.isdigit())


def compare(
    first: str | int | EnhancedStatusCode, second: str | int | EnhancedStatusCode, *, lang: str | Language = "en"
) -> Comparison:
    """Two codes, reply codes or enhanced ones, side by side.

    Raises:
        ValueError: one is no code, both are the same, or there is no such language.
    """
    language = _language(lang)
    one, other = (_card(str(code).strip(), language) for code in (first, second))
    if one.code == other.code:
        raise ValueError(f"{one.code} twice; give two different codes")
    pair: Pair = code_cards().pair(one, other)
    return Comparison(
        language=language,
        cards=(one, other),
        difference=pair.difference,
        which=pair.which,
        is_written=pair.is_written,
    )


def _language(lang: str | Language) -> Language:
    try:
        return Language(lang)
    except ValueError:
        raise ValueError(f"{lang!r} is no language of the cards; one of {', '.join(Language)}") from None


def _enhanced(text: str) -> EnhancedStatusCode | None:
    try:
        return EnhancedStatusCode.parse(text)
    except ValueError:
        return None


def _card(text: str, language: Language) -> Card:
    """The card of a code that stands alone."""
    if enhanced := _enhanced(text):
        return code_cards().enhanced(enhanced, language)[0]
    if len(text) == 3 and text.isascii() and text.isdigit() and "100" <= text < "600":
        return code_cards().reply(int(text), language)
    raise ValueError(_no_code(text))


def _no_code(text: str) -> str:
    """Why a text is no code, and what would be right."""
    class_, dot, rest = text.partition(".")
    if dot and class_.lower() == "x" and _enhanced(f"5.{rest}"):
        return f"{text!a} has no class; give 4.{rest} or 5.{rest}"
    return f"{text[:60]!a} is no code; one looks like 552 or 5.2.2, a whole reply like '552 5.2.2 Mailbox full'"


def _read(text: str) -> tuple[Reply, Stage | None]:
    """The reply that a text is, or quotes with its stage."""
    try:
        return Reply.parse(text), None
    except ValueError:
        quoted = read_diagnostic(text)
    if not isinstance(quoted.reply, Reply):
        raise ValueError(_no_code(text))
    return quoted.reply, quoted.stage


def _cards(reply: Reply, language: Language) -> tuple[Card, ...]:
    own = code_cards().reply(reply.code, language)
    return (own, *code_cards().enhanced(reply.enhanced, language)) if reply.enhanced else (own,)


def _explained(
    reply: Reply,
    text: str,
    language: Language,
    stage: str | Stage | None,
    accepted: int | None,
    policy: str | Path | Policy,
    rules: tuple[Sequence[str | Path], Sequence[str | Path]],
) -> Explanation:
    """The explanation of a whole reply."""
    cards = _cards(reply, language)
    status = status_of(reply, stage=stage or _usual_stage(cards[0]), accepted=accepted)
    held = open_policy(policy)
    judge = classifier_with(read_meaning(*rules) + held.meaning).classify
    verdict = judge(_at_the_dot(status)) if reply.code >= 400 or reply.code == 221 else None
    concerned = verdict is not None and status.stage not in _ABOUT_NOBODY
    return Explanation(
        asked=text,
        language=language,
        cards=cards,
        reply=reply,
        stage=status.stage,
        accepted=accepted,
        classification=verdict,
        policy=held,
        disposition=_decided(held, verdict) if verdict and concerned else None,
        session=held.decide_session(verdict) if verdict and reply.code in _ENDS_SESSION else None,
    )


def _usual_stage(card: Card) -> Stage:
    """RCPT, where most refusals are; for a code that never answers it, what it answers."""
    if card.stages is None or Stage.RCPT in card.stages:
        return Stage.RCPT
    return next((Stage(name) for name in card.stages if name in set(Stage)), Stage.RCPT)


def _at_the_dot(status: RecipientStatus) -> RecipientStatus:
    """The status as a transaction reports it: a 221 in place of the last reply leaves the outcome unknown."""
    if status.stage is not Stage.END_OF_DATA or status.code != 221:
        return status
    return replace(status, action=Action.UNKNOWN)


def _decided(policy: Policy, verdict: Classification) -> Disposition:
    """What a policy does at the first attempt, about somebody of whom nothing is known."""
    somebody = Recipient(address=_SOMEBODY, key=_SOMEBODY.wire, attempts=1, first_attempt_at=_NOW)
    circumstances = Circumstances(now=_NOW, counters=dict.fromkeys(policy.counters(verdict), 0))
    return policy.decide(verdict, somebody, circumstances)


def _digits(card: Card, words: Words) -> Iterator[tuple[str, str]]:
    """What the digits of a code say, which commands it answers, where it stands."""
    heading, phrase = words["heading"], words["phrase"]
    yield heading["class"], f"{card.class_name}, {card.subject}"
    if "." not in card.code:
        named = phrase["any_stage"] if card.stages is None else ", ".join(card.stages) or phrase["no_stage"]
        yield heading["stages"], named
    elif card.basic:
        yield heading["basic"], ", ".join(phrase["any_basic"] if one == "xxx" else one for one in card.basic)
    yield heading["source"], card.source


def _advice(card: Card, words: Words) -> Iterator[tuple[str, str]]:
    heading = words["heading"]
    yield heading["description"], card.description
    yield heading["when"], card.when
    yield heading["fix"], card.fix


def _verdict(explained: Explanation, words: Words) -> Rows:
    """What a whole reply means and what is done about it."""
    heading, phrase = words["heading"], words["phrase"]
    stage = str(explained.stage)
    if explained.accepted is not None:
        stage = phrase["accepted"].format(stage=stage, count=explained.accepted)
    rows = [(heading["stage"], stage)]
    verdict = explained.classification
    if verdict is None:
        return [*rows, (heading["means"], phrase["agreed"])]
    if verdict.status.code == 221 and verdict.status.stage is Stage.QUIT:
        rows += [(heading["means"], phrase["asked_for"]), (heading["rule"], placed(verdict.rule, verdict.where))]
        return [*rows, *_measures(explained, words)]
    lasting = phrase["permanent" if verdict.permanent else "temporary"]
    rows += [
        (heading["means"], f"{verdict.category}: {words['category'][verdict.category]}"),
        (heading["scope"], words["scope"][verdict.scope] if verdict.scope else phrase["nobody"]),
        (heading["judgement"], f"{lasting}, {phrase['certain' if verdict.certain else 'uncertain']}"),
        (heading["rule"], placed(verdict.rule, verdict.where)),
    ]
    return [*rows, *_measures(explained, words)]


def _measures(explained: Explanation, words: Words) -> Rows:
    """What the policy does, about the connection first."""
    heading, phrase, policy = words["heading"], words["phrase"], explained.policy
    assert policy is not None
    label = heading["policy"].format(name=printable(policy.name, limit=40))
    rows: Rows = []
    session, disposition = explained.session, explained.disposition
    if session is not None:
        done = phrase["session"].format(done=_session_done(policy, session, words))
        rows, label = [(label, done), (heading["rule"], placed(session.rule, session.where))], ""
    if disposition is None:
        return [*rows, (label, phrase["no_recipient"])]
    done = _done(explained, policy, disposition, words)
    if session is not None:
        done = phrase["else" if session.fate is SessionFate.RECONNECT else "recipient"].format(done=done)
    return [*rows, (label, done), (heading["rule"], placed(disposition.rule, disposition.where))]


def _session_done(policy: Policy, session: SessionDisposition, words: Words) -> str:
    times = next((rule.at_most for rule in policy.sessions if rule.id == session.rule), 1)
    return words["does"][session.fate].format(times=times)


def _done(explained: Explanation, policy: Policy, disposition: Disposition, words: Words) -> str:
    """A disposition in words: the fate, then the measures."""
    does, wait = words["does"], explained.retry_in
    fate = str(disposition.fate or Fate.FAIL)
    if disposition.action is Action.UNKNOWN:
        fate = "resend" if wait else "leave"
    deadline = show_duration(policy.message_class(None).deadline)
    said = [does[fate].format(wait=show_duration(wait) if wait else "", deadline=deadline)]
    verdict, ladder = explained.classification, disposition.ladder
    if ladder is not None and verdict is not None and verdict.scope is Scope.RECIPIENT:
        time = ladder.provisional or ladder.confirmed[0]
        said.append(does["suppress"].format(time=show_duration(time)) if time else does["suppress_for_good"])
        said += [does["probe"]] if time else []
    if disposition.notices:
        said.append(does["notify"].format(channels=", ".join(notice.channel for notice in disposition.notices)))
    return "; ".join(said)
