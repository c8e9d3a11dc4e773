"""The examples of a policy and of the files of rules that it names, and cases: what each was to be, and what came."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bouncekit.delivery.settlement import placed
from bouncekit.meaning.classification import Classification
from bouncekit.meaning.classifier import Classifier
from bouncekit.meaning.rulefile import is_about_replies
from bouncekit.meaning.ruletrial import RuleResult, try_rules
from bouncekit.outside.builtin import POLICY_SUFFIXES, classifier, classifier_with, open_policy, read_meaning
from bouncekit.policy.policy import Policy
from bouncekit.policyfiles.policycase import CaseResult, Difference, PolicyCase, read_cases, run_case
from bouncekit.policyfiles.policytrial import ExampleResult, run_examples
from bouncekit.words.errors import ConfigurationError, PolicyError

__all__ = ["Trial", "Untried", "case_files", "classifier_alone", "trials", "untried"]

_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One example or case: what was to come of it, and what came. A case has no rule that it belongs to."""

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
    name: str = ""
    differences: tuple[Difference, ...] = ()

    @property
    def title(self) -> str:
        """What it is a trial of."""
        return self.name or f"{self.reply!r} at {self.stage}"

    def __str__(self) -> str:
        """The place first; of a case that is decided otherwise, a pair of lines for each difference."""
        verdict, won = self.verdict, placed(self.decided_by, self.decided_at)
        if self.differences:
            about = f"{self.where}: {self.reply!r} at {self.stage}" + (f": {self.name}" if self.name else "")
            pairs = (f"    - {one.key}: {one.expected}\n    + {one.key}: {one.got}" for one in self.differences)
            said = f"it means {verdict.category}, says {placed(verdict.rule, verdict.where)}; {won} decided"
            return "\n".join((about, *pairs, f"    {said}"))
        line = (
            f"{self.where}: {self.reply!r} at {self.stage}: expected {self.expected} by rule {self.rule},"
            f" got {self.got} by rule {won}"
        )
        means = placed(verdict.rule, verdict.where)
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
            "name": self.name or None,
            "differences": [{"key": one.key, "expected": one.expected, "got": one.got} for one in self.differences],
        }


def trials(name: str, cases: Iterable[Path] = ()) -> Iterator[Trial]:
    """The examples of a policy and of the files of rules that it names, then cases; or those of such a file alone.

    Raises:
        PolicyError: the policy is wrong.
        ConfigurationError: a file of cases is.
    """
    alone = classifier_alone(name)
    if alone is not None:
        yield from map(_of_rules, try_rules(alone, classifier()))
        return
    policy = open_policy(name)
    judging = classifier_with(policy.meaning)
    yield from map(_of_policy, run_examples(policy, judging.classify))
    if policy.meaning:
        yield from map(_of_rules, try_rules(judging, classifier()))
    for path in cases:
        for case in _cases(path, policy):
            yield _of_case(run_case(case, policy, judging.classify))


def _cases(path: Path, policy: Policy) -> tuple[PolicyCase, ...]:
    """The cases of a file. `policy check`, which shows all mistakes of a policy, reads none."""
    try:
        return read_cases(str(path), _content(path), policy)
    except PolicyError as error:
        raise ConfigurationError("; ".join(map(str, error.findings))) from error


def case_files(paths: Iterable[str]) -> list[Path]:
    """The files of cases that paths name: files, and all in folders whose names look like some.

    Raises:
        ConfigurationError: there is no such file, or none in a folder.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(one for one in path.rglob("*") if one.suffix in POLICY_SUFFIXES) if path.is_dir() else [path]
        if not inside:
            raise ConfigurationError(f"{path}: no file of cases is in it; one ends in {', '.join(POLICY_SUFFIXES)}")
        found += inside
    return found


@dataclass(frozen=True, slots=True)
class Untried:
    """A rule that no example and no case came to."""

    rule: str
    where: str


def untried(policy: Policy, tried: Sequence[Trial]) -> list[Untried]:
    """The rules, also those about sessions, by which nothing that was tried was decided."""
    decided = {trial.decided_by for trial in tried}
    rules = [Untried(rule.id, rule.where) for rule in policy.rules]
    sessions = [Untried(rule.id, rule.where) for rule in policy.sessions]
    return [one for one in rules + sessions if one.rule not in decided]


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigurationError(f"{path}: larger than {_MAX_BYTES} bytes; make several files of it")
        return content.decode("utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}") from error


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


def _of_case(result: CaseResult) -> Trial:
    case, wrong = result.case, result.differences
    return Trial(
        ok=result.ok,
        where=case.where,
        rule=case.expected.get("rule", "case"),
        reply=case.example.reply,
        stage=case.example.stage.value,
        expected="; ".join(f"{key}: {value}" for key, value in case.expected.items()),
        got="; ".join(f"{one.key}: {one.got}" for one in wrong) or "as expected",
        decided_by=result.decided_by,
        decided_at=result.decided_at,
        verdict=result.verdict,
        name=case.name,
        differences=wrong,
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
