"""What servers say when they refuse, and what it means: the examples of the shipped rules, as cases for tests.

>>> (full,) = provider_replies(category="mailbox_full", provider="docomo")
>>> full.id, full.script
('docomo-full', {'RCPT': '552 Too much mail data'})
"""

from dataclasses import dataclass
from typing import Any

from bouncekit.meaning.classification import Category, Scope
from bouncekit.meaning.rulefile import Rule, RuleExample
from bouncekit.outside.builtin import classifier
from bouncekit.testing.answers import Raw
from bouncekit.words.reply import Stage

__all__ = ["ReplyCase", "provider_replies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyCase:
    """A reply as it was seen, at its stage, with what it means by the shipped rules.

    `id` is the rule's, with a number where the rule has several examples. `provider` is whose dialect it is; None for
    words that many use. `permanent` None goes by the first digit.
    """

    id: str
    reply: str
    stage: Stage
    provider: str | None
    category: Category
    scope: Scope | None
    permanent: bool
    source: str

    @property
    def script(self) -> dict[str, Any]:
        """A script for `ScriptedServer` that says it every time. AUTH needs `users`, and IDLE `idle_timeout`."""
        texts = [line[4:] for line in self.reply.split("\n")]
        said = f"{self.reply[:3]} " + "\n".join(texts)
        return {self.stage.value: said if "2" <= said[0] <= "5" else Raw(f"{said}\r\n".encode())}


def provider_replies(
    *,
    category: Category | str | None = None,
    scope: Scope | str | None = None,
    provider: str | None = None,
    stage: Stage | str | None = None,
) -> tuple[ReplyCase, ...]:
    """The cases for which all that is given holds, in the order of the rules; without anything, all of them.

    Raises:
        ValueError: there is no such category, scope or stage.
    """
    wanted = {
        "category": None if category is None else Category(category),
        "scope": None if scope is None else Scope(scope),
        "provider": provider,
        "stage": None if stage is None else Stage(stage),
    }
    return tuple(
        case
        for rule in classifier().rules
        for number, example in enumerate(rule.examples, start=1)
        for case in [_case(rule, example, number)]
        if all(want in (None, getattr(case, name)) for name, want in wanted.items())
    )


def _case(rule: Rule, example: RuleExample, number: int) -> ReplyCase:
    return ReplyCase(
        id=rule.id if number == 1 else f"{rule.id}-{number}",
        reply=example.reply,
        stage=example.stage,
        provider=example.provider or rule.provider,
        category=rule.category,
        scope=rule.scope,
        permanent=example.reply.startswith("5") if rule.permanent is None else rule.permanent,
        source=rule.source,
    )
