"""Whether rules about replies do what their examples say: each one put to the classifier that has them all."""

from collections.abc import Iterator
from dataclasses import dataclass

from bouncekit.meaning.classification import Classification
from bouncekit.meaning.classifier import Classifier
from bouncekit.meaning.rulefile import Rule, RuleExample
from bouncekit.words.reply import Reply
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["RuleResult", "try_rules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """What became of one example of a rule: `ok` says that the rule decided it, as `verdict` tells.

    An example is also right where a rule of an added file that goes before decides it: that is what adding is for.
    """

    rule: Rule
    example: RuleExample
    verdict: Classification
    ok: bool


def try_rules(classifier: Classifier, shipped: Classifier) -> Iterator[RuleResult]:
    """The examples of the rules that were added, and of the `shipped` ones those that are wrong by what was added.

    A word may do that: `[words] full = ["no"]` makes every text with a "no" in it one about what is full.
    """
    places = {rule.id: place for place, rule in enumerate(classifier.rules)}
    for rule in classifier.rules:
        for example in rule.examples:
            verdict = _judged(example, classifier)
            ok = verdict.rule == rule.id or (
                verdict.step.is_added
                and _file(verdict.where) != _file(rule.where)
                and places[verdict.rule] < places[rule.id]
            )
            if rule.step.is_added or (not ok and verdict.rule != _judged(example, shipped).rule):
                yield RuleResult(rule=rule, example=example, verdict=verdict, ok=ok)


def _file(where: str) -> str:
    return where.rpartition(":")[0]


def _judged(example: RuleExample, classifier: Classifier) -> Classification:
    reply = Reply.parse(example.reply)
    status = RecipientStatus(
        recipient="",
        action=Action.FAILED if reply.is_permanent else Action.DELAYED,
        stage=example.stage,
        reply=reply,
        accepted=example.accepted,
        individual=example.individual,
    )
    return classifier.classify(status, provider=example.provider)
