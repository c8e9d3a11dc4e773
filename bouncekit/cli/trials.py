"""The examples of a policy and of the files of rules that it names: what each one was to be, and what came."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bouncekit.builtin import classifier, classifier_with, open_policy, read_meaning
from bouncekit.classification import Classification
from bouncekit.classifier import Classifier
from bouncekit.policytrial import ExampleResult, run_examples
from bouncekit.rulefile import is_about_replies
from bouncekit.ruletrial import RuleResult, try_rules

__all__ = ["Trial", "classifier_alone", "trials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One example: what its rule was to make of it, and what came."""

    ok: bool
    where: str
    rule: str
    reply: str
    stage: str
    expected: str
    got: str
    decided_by: str
    decided_at: str
    verdict: Classification

    def __str__(self) -> str:
        """In one line, the place first."""
        verdict, won = self.verdict, _placed(self.decided_by, self.decided_at)
        line = (
            f"{self.where}: {self.reply!r} at {self.stage}: expected {self.expected} by rule {self.rule},"
            f" got {self.got} by rule {won}"
        )
        means = _placed(verdict.rule, verdict.where)
        return line if means == won else f"{line}; it means {verdict.category}, says {means}"

    @property
    def data(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "where": self.where,
            "rule": self.rule,
            "reply": self.reply,
            "stage": self.stage,
            "expected": self.expected,
            "got": self.got,
            "decided_by": self.decided_by,
            "decided_at": self.decided_at,
            "category": verdict.category.value,
            "scope": verdict.scope.value if verdict.scope else None,
            "classified_by": verdict.rule,
            "classified_at": verdict.where,
        }


def trials(name: str) -> Iterator[Trial]:
    """The examples of a policy and of the files of rules that it names, or those of such a file alone."""
    alone = classifier_alone(name)
    if alone is not None:
        yield from map(_of_rules, try_rules(alone, classifier()))
        return
    policy = open_policy(name)
    judging = classifier_with(policy.meaning)
    yield from map(_of_policy, run_examples(policy, judging.classify))
    if policy.meaning:
        yield from map(_of_rules, try_rules(judging, classifier()))


def classifier_alone(file: str) -> Classifier | None:
    """The classifier with a file of rules about replies, which stands alone; None where the file is a policy."""
    if not file.endswith(".toml"):
        return None
    meaning = read_meaning((file,))
    return classifier_with(meaning) if is_about_replies(meaning.own[0].text) else None


def _of_policy(result: ExampleResult) -> Trial:
    return Trial(
        ok=result.ok,
        where=result.where,
        rule=result.rule,
        reply=result.example.reply,
        stage=result.example.stage.value,
        expected=str(result.expected),
        got=str(result.fate),
        decided_by=result.decided_by,
        decided_at=result.decided_at,
        verdict=result.verdict,
    )


def _of_rules(result: RuleResult) -> Trial:
    verdict = result.verdict
    return Trial(
        ok=result.ok,
        where=result.rule.where,
        rule=result.rule.id,
        reply=result.example.reply,
        stage=result.example.stage.value,
        expected=result.rule.category.value,
        got=verdict.category.value,
        decided_by=verdict.rule,
        decided_at=verdict.where,
        verdict=verdict,
    )


def _placed(rule: str, where: str) -> str:
    return f"{rule} ({where})" if where else rule
