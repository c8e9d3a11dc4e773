"""What a status means: rules, of which the first that applies decides.

The order of judgement is the order of `Step`: the owner's rules, those of a community, a provider's own dialect, the
faces of 221, 421, 452 and 552, the full enhanced code, a phrase, the enhanced code's subject, the basic code with its
stage, the first digit (RFC 5321 4.2). A shipped file of rules is named after its step, one of phrases after what they
are about; inside a file the order of the rules holds.

Scope comes before blame. Before RCPT no reply is about a recipient: rules that blame one do not apply there. After
the data, a reply to several recipients at once may be about one of them, and nobody knows which: the category stays,
the scope is None and `certain` is False, so that a policy can try them alone and nobody is suppressed.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache, reduce
from itertools import islice
from operator import and_, contains
from typing import Any, NamedTuple, TypeVar

from bouncekit.meaning.blocklist import blocklist_in
from bouncekit.meaning.classification import Category, Classification, Scope, Step, scope_of
from bouncekit.meaning.phrasebook import PhraseBook
from bouncekit.meaning.rulefile import ORDER, Rule
from bouncekit.meaning.vocabulary import Near
from bouncekit.meaning.waithint import wait_hint
from bouncekit.meaning.whose import names_somebody, of_whom
from bouncekit.words.errors import Finding, RuleError
from bouncekit.words.phrase import Phrase, Words
from bouncekit.words.reply import Cause, EnhancedStatusCode, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["Classifier", "by_longest_end"]

_Value = TypeVar("_Value")

_GENERIC = frozenset({Step.SUBJECT, Step.CODE, Step.DIGIT})
_BY_CODE = frozenset({Step.TABLE, Step.ENHANCED})
_IMPERSONAL = frozenset(
    {Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH, Stage.MAIL, Stage.RSET, Stage.QUIT, Stage.IDLE}
)
_CAUSES = {
    Cause.REFUSED: Category.NETWORK_ERROR,
    Cause.LOST: Category.NETWORK_ERROR,
    Cause.TIMED_OUT: Category.NETWORK_ERROR,
    Cause.DNS: Category.NETWORK_ERROR,
    Cause.UNSOLICITED: Category.NETWORK_ERROR,
    Cause.TLS: Category.TLS_FAILURE,
    Cause.PROTOCOL: Category.PROTOCOL_ERROR,
    Cause.UNSTORED: Category.SYSTEM_ERROR,
    Cause.TAKEN: Category.SYSTEM_ERROR,
    Cause.LOCAL: Category.INVALID_ADDRESS,
    Cause.NO_SUCH_DOMAIN: Category.BAD_DOMAIN,
    Cause.NULL_MX: Category.BAD_DOMAIN,
    Cause.NO_ADDRESS: Category.BAD_DOMAIN,
    Cause.OVERDUE: Category.EXPIRED,
}
_UNKNOWN = Action.UNKNOWN
_RECIPIENT = Scope.RECIPIENT  # looking up a member of an enum costs more than the rest of the line
_SAYS_MORE = frozenset({Category.MAILBOX_FULL, Category.MAILBOX_DISABLED, Category.MOVED})
_OF_A_NAME = (Category.USER_UNKNOWN, Category.BAD_DOMAIN, Category.SENDER_REJECTED)
_MEMORY = 2048  # judgements remembered, each with at most _SHORT bytes of text
_SHORT = 1024
_READ = 4096  # characters of a text that are read at all
_IN_HOSTS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"
_A_SENTENCE = 4  # words, the one that stands for an address among them
_MOST_QUOTED = 4  # enhanced codes inside a text that are looked at
_PATHS = re.compile(r"(://[^\s/]{1,255})/[^\s<>\"'()]*").sub
_MARKS = re.compile(r"\[[\w+/=-]{1,80} IP: [0-9A-Fa-f.:]{2,45}\]").sub  # Tencent's, behind whatever it says
_QUOTED = re.compile(r"(?<![\d.])([45])\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)").finditer


class _Case(NamedTuple):
    """What a judgement depends on besides the text."""

    code: int
    enhanced: EnhancedStatusCode | None
    stage: Stage
    accepted: int
    individual: bool
    provider: str | None


class _Verdict(NamedTuple):
    rule: Rule
    scope: Scope | None
    permanent: bool
    certain: bool
    wait_hint: timedelta | None = None
    blocklist: str | None = None
    names_somebody: bool = False  # who may be another than the recipient


class Classifier:
    """Says what a status means, by rules. Safe to share between threads; memory and time are bounded on any text.

    Raises:
        RuleError: the rules leave some reply without a verdict.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: ORDER[rule.step]))
        self._cuts = sorted({bound for rule in self.rules for bound in _cuts(rule)})
        self._hosts = {host: rule.provider for rule in self.rules for host in rule.hosts}
        self._book = PhraseBook(_bits_of(self.rules))
        self._wordless = self._rules_where(lambda rule, _: not rule.text, None)
        self._always = self._rules_where(lambda rule, _: not rule.text and not rule.unless, None)
        self._about = {rule.id: 1 << 2 * len(self.rules) + at for at, rule in enumerate(self.rules) if rule.about}
        self._among = lru_cache(maxsize=_MEMORY)(self._rules_where)
        self._plan = lru_cache(maxsize=1024)(self._make_plan)
        self._remembered = lru_cache(maxsize=_MEMORY)(self._judge)
        self._said_before = lru_cache(maxsize=_MEMORY)(self._decide)  # to another recipient
        self._provider = lru_cache(maxsize=1024)(self._provider_of)
        self._check_complete()

    def classify(self, status: RecipientStatus, *, provider: str | None = None) -> Classification:
        """What a status means and whose fault it is.

        `provider` names whose dialect the server speaks; without it the name of the remote MTA tells.
        """
        if provider is None and status.remote_mta:
            provider = self.provider_of(status.remote_mta)
        rule, scope, permanent, certain, hint, blocklist, _ = self._verdict(status, provider)
        return Classification(
            status=status,
            category=rule.category,
            scope=scope,
            permanent=permanent,
            certain=certain,
            step=rule.step,
            rule=rule.id,
            where=rule.where,
            wait_hint=hint,
            provider=provider,
            blocklist=blocklist,
        )

    def provider_of(self, host: str) -> str | None:
        """Whose dialect the server of this name speaks, None where nobody's is known."""
        return self._provider(host[:255])

    def _verdict(self, status: RecipientStatus, provider: str | None) -> _Verdict:
        reply, stage = status.reply, status.stage
        if isinstance(reply, NoReply):
            if reply.reply is None:
                return _WITHOUT_REPLY[reply.cause]
            reply, stage = reply.reply, Stage.IDLE
        accepted = bisect_right(self._cuts, status.accepted)
        final = status.action is Action.FAILED if reply is None and status.action is not _UNKNOWN else None
        if reply is None and status.diagnostic:  # words that a report quotes without a reply code
            reply = Reply(_no_code(status.status, final), status.diagnostic.encode("utf-8", "replace"))
        judge = self._judge if reply is not None and len(reply.raw) > _SHORT else self._remembered
        verdict = judge(reply, status.status, stage, accepted, status.individual, provider, final)
        if verdict.names_somebody and reply and (own := of_whom(reply, status.recipient)) is not reply:
            return self._judge(own, status.status, stage, accepted, status.individual, provider, final)
        return verdict

    def _judge(
        self,
        reply: Reply | None,
        stated: EnhancedStatusCode | None,
        stage: Stage,
        accepted: int,
        individual: bool,
        provider: str | None,
        final: bool | None,
    ) -> _Verdict:
        enhanced = (reply.enhanced if reply else None) or stated
        code = reply.code if reply else _no_code(enhanced, final)
        case = _Case(code, enhanced, stage, self._cuts[accepted - 1] if accepted else 0, individual, provider)
        text = reply.text[:_READ] if reply else ""
        said = _without_names(text)
        decide = self._decide if said is text or len(said) > _SHORT else self._said_before
        verdict = decide(case, said)
        if verdict.rule.category in _OF_A_NAME and reply and names_somebody(reply.raw):
            return verdict._replace(names_somebody=True)
        return verdict

    def _decide(self, case: _Case, text: str) -> _Verdict:
        words = Words(text)
        said = self._book.found(words)
        spoken = (said | self._wordless) & ~(said >> len(self.rules))  # those that the text leaves, a bit each
        rule, quoted = self._first(case, spoken), False
        if rule.step in _GENERIC and text:
            better = self._by_quoted_code(case, spoken, text)
            rule, quoted = (better, True) if better else (rule, False)
        certain = rule.certain
        if rule.scope is _RECIPIENT and rule.step in _BY_CODE and not rule.text:
            rule, certain = self._by_contradiction(rule, case, spoken)
        permanent = rule.permanent if rule.permanent is not None else case.code >= 500
        unclear = rule.scope is _RECIPIENT and (not case.individual or self._speaks_of_others(rule, words, said))
        return _Verdict(
            rule,
            None if unclear else rule.scope,
            permanent,
            certain and not unclear and not quoted,
            None if permanent else wait_hint(words),
            blocklist_in(words) if rule.category is Category.BLOCKLISTED else None,
        )

    def _first(self, case: _Case, spoken: int) -> Rule:
        """The first rule for a case, of those that a text leaves: the lowest bit that both have."""
        both = spoken & self._plan(case)
        return self.rules[(both & -both).bit_length() - 1]

    def _by_quoted_code(self, case: _Case, spoken: int, text: str) -> Rule | None:
        """The rule for an enhanced code that stands inside the text: "... host mx said: 550 5.1.1 ..."."""
        for code in islice(_QUOTED(text), _MOST_QUOTED):
            enhanced = EnhancedStatusCode(*map(int, code.groups()))
            if enhanced.class_ == case.code // 100 and enhanced != case.enhanced:
                rule = self._first(case._replace(enhanced=enhanced), spoken)
                if rule.step not in _GENERIC:
                    return rule
        return None

    def _by_contradiction(self, by_code: Rule, case: _Case, spoken: int) -> tuple[Rule, bool]:
        """The rule that decides where a code alone blames the recipient, and whether it is certain.

        A text that blames somebody else holds: "550 5.1.1 Relay access denied"; a number is copied more easily than a
        sentence. Only of a recipient's own refusal the two say the same, unless the text knows better why: "550 5.1.1
        Storage of jo exhausted". A 5.1.1 of which the text says nothing is another cause often enough to be a guess.
        """
        said = self._first(case._replace(enhanced=None), spoken)
        if not said.text:
            return by_code, by_code.certain and by_code.category is not Category.USER_UNKNOWN
        knows_better = by_code.category is Category.USER_UNKNOWN and said.category in _SAYS_MORE
        agrees = said.scope is Scope.RECIPIENT or by_code.category is Category.RECIPIENT_FILTERED
        rule = by_code if agrees and not knows_better else said
        return rule, rule.certain

    def _speaks_of_others(self, rule: Rule, words: Words, said: int) -> bool:
        """Whether a text says something, and nothing of what the rule is about: "550 5.1.1 Subject line is missing"."""
        about = self._about.get(rule.id)
        return about is not None and not said & about and sum(map(str.isalpha, words.said)) >= _A_SENTENCE

    def _make_plan(self, case: _Case) -> int:
        """The rules that apply in a case if their text does, a bit each."""
        plan = reduce(and_, [self._among(holds, value) for holds, value in zip(_CONDITIONS, case, strict=True)])
        if not plan & self._always:
            what = f"no rule for {case.code} at {case.stage}; one for xxx decides"
            raise RuleError([Finding("rules", None, None, what)])
        return plan

    def _rules_where(self, holds: Callable[[Rule, Any], bool], value: object) -> int:
        """The rules for which a condition holds, a bit each."""
        return sum(1 << place for place, rule in enumerate(self.rules) if holds(rule, value))

    def _provider_of(self, remote_mta: str) -> str | None:
        """The provider whose host this is, by the longest known end of its name."""
        return by_longest_end(re.split(r"[\s(\[:]", remote_mta.strip(), maxsplit=1)[0], self._hosts)

    def _check_complete(self) -> None:
        for stage in Stage:
            for code in (199, 299, 399, 499, 599):
                self._make_plan(_Case(code, None, stage, 0, True, None))


def _has_code(rule: Rule, code: int) -> bool:
    return not rule.code or any(_same_code(pattern, code) for pattern in rule.code)


def _has_enhanced(rule: Rule, enhanced: EnhancedStatusCode | None) -> bool:
    return not rule.enhanced or any(_same_enhanced(pattern, enhanced) for pattern in rule.enhanced)


def _has_stage(rule: Rule, stage: Stage) -> bool:
    blames_too_early = rule.scope is _RECIPIENT and stage in _IMPERSONAL
    return not blames_too_early and (not rule.stage or stage in rule.stage)


def _has_accepted(rule: Rule, accepted: int) -> bool:
    least, most = rule.accepted
    return least <= accepted and (most is None or accepted <= most)


def _has_individual(rule: Rule, individual: bool) -> bool:
    return rule.individual is None or rule.individual is individual


def _has_provider(rule: Rule, provider: str | None) -> bool:
    return rule.provider is None or rule.provider == provider


_CONDITIONS = (_has_code, _has_enhanced, _has_stage, _has_accepted, _has_individual, _has_provider)  # as in a _Case


def by_longest_end(host: str, names: Mapping[str, _Value]) -> _Value | None:
    """What a table says about a host, under the longest end of its name that it knows.

    >>> by_longest_end("mx1.mail.example.com.", {"example.com": 1, "mail.example.com": 2})
    2
    """
    labels = host.lower().rstrip(".").split(".")
    ends = (".".join(labels[start:]) for start in range(len(labels)))
    return next((names[end] for end in ends if end in names), None)


def _cuts(rule: Rule) -> Iterable[int]:
    """Where counts of accepted recipients begin to differ for a rule."""
    least, most = rule.accepted
    yield least
    if most is not None:
        yield most + 1


def _bits_of(rules: Sequence[Rule]) -> dict[Phrase | Near, int]:
    """What each phrase says of the rules, a bit each: whose text it is, then whose `unless`, then what is about it."""
    bits: dict[Phrase | Near, int] = {}
    for place, rule in enumerate(rules):
        for part, phrases in enumerate((rule.text, rule.unless, rule.about)):
            for phrase in phrases:
                bits[phrase] = bits.get(phrase, 0) | 1 << part * len(rules) + place
    return bits


def _same_code(pattern: str, code: int) -> bool:
    return all(want in ("x", have) for want, have in zip(pattern, f"{code:03}", strict=False))


def _same_enhanced(pattern: str, enhanced: EnhancedStatusCode | None) -> bool:
    if pattern == "none":
        return enhanced is None or enhanced[1:] == (0, 0)
    return enhanced is not None and all(map(contains, _spans(pattern), enhanced))


@lru_cache(maxsize=2048)
def _spans(pattern: str) -> tuple[range, ...]:
    """The numbers that each part of a pattern stands for: any for x, `606-649` for a span."""
    bounds = ["0-999" if part == "x" else part for part in pattern.split(".")]
    return tuple(range(int(least), int(most or least) + 1) for least, _, most in (one.partition("-") for one in bounds))


def _no_code(enhanced: EnhancedStatusCode | None, final: bool | None) -> int:
    """A number with the right digit for what states no reply code; a report of a delay speaks of the way there."""
    if enhanced:
        return enhanced.class_ * 100 + 99
    return 498 if final is None else 599 if final else 499


def _without_reply(cause: Cause, category: Category) -> _Verdict:
    """What we refused ourselves and what DNS denies is about the recipient; the rest may be tried again (RFC 5321 3.8).

    A domain whose hosts have no address may be one that somebody is moving just now: final, but not certain.
    """
    name, scope = f"no-reply-{cause.value.replace('_', '-')}", scope_of(category)
    rule = Rule(id=name, source="RFC 5321 3.8", step=Step.NO_REPLY, category=category, scope=scope)
    final = scope is Scope.RECIPIENT
    return _Verdict(rule, scope, final, final and cause is not Cause.NO_ADDRESS)


def _without_names(text: str) -> str:
    """The text without what only names: addresses (<mailbox-full@spamhaus.example>), paths of links, marks of a log."""
    if "://" in text:
        text = _PATHS(r"\1", text)
    if " IP: " in text:
        text = _MARKS("", text)
    if "@" not in text:
        return text
    return " ".join([_without_address(token) if "@" in token else token for token in text.split()])


def _without_address(token: str) -> str:
    """A token with an x for the address in it; `@docomo.ne.jp`, which has no local part, is a host that speaks."""
    local, _, rest = token.rpartition("@")
    return f"x {rest.lstrip(_IN_HOSTS)}" if local.strip("<([{'\"") else rest


# Made last: it takes what stands above.
_WITHOUT_REPLY = {cause: _without_reply(cause, category) for cause, category in _CAUSES.items()}
