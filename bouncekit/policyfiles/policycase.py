"""Cases: a reply, what was so when it came, and what a policy must make of it; kept in files beside the policy.

An example stands in a rule and says that this rule decides. A case stands outside and says what comes of it, whichever
rule that is: only what it expects is compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError, model_validator

from bouncekit.meaning.classification import Classification, Classify
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Example
from bouncekit.policy.schedule import show_duration
from bouncekit.policyfiles.policyfile import findings_of
from bouncekit.policyfiles.policyshape import Many, Maybe, Section
from bouncekit.policyfiles.policytext import read_tree
from bouncekit.policyfiles.policytree import Tree, quoted
from bouncekit.policyfiles.policytrial import NOW, decided, status_of_example
from bouncekit.policyfiles.policyvalue import (
    CategoryWord,
    Duration,
    FateWord,
    Flag,
    ScopeWord,
    SessionFateWord,
    Text,
    nearest,
)
from bouncekit.policyfiles.ruleschema import ExampleText
from bouncekit.words.errors import Finding, PolicyError

__all__ = ["CaseResult", "Difference", "PolicyCase", "read_cases", "run_case"]

_NOBODY = "none"  # what a case writes where nobody is suppressed, or told
_MOST = 5_000  # in one file


class _Expected(Section):
    """What must come of it; what is left out may be as it will."""

    do: Maybe[FateWord] = Field(None, description="What becomes of the recipient.")
    wait: Maybe[Duration] = Field(None, description="The wait until the next try.")
    rule: Maybe[Text] = Field(None, description="The rule that decides.")
    suppress: Maybe[Text] = Field(None, description="The ladder; none: nobody is suppressed.")
    notify: Maybe[Many[Text]] = Field(None, description="The channels; none: nobody is told.")
    session: Maybe[SessionFateWord] = Field(None, description="What becomes of the connection.")
    category: Maybe[CategoryWord] = Field(None, description="What the reply means.")
    scope: Maybe[ScopeWord] = Field(None, description="Whose fault it is.")
    permanent: Maybe[Flag] = Field(None, description="The judgement, not the digit.")

    @model_validator(mode="after")
    def _is_something(self) -> "_Expected":
        if not self.given():
            raise ValueError("nothing is expected; write at least do: fail")
        return self


class _CaseText(ExampleText):
    """A reply, what else was so, and what must come of it."""

    name: Maybe[Text] = Field(None, description="What it is a case of.")
    expect: _Expected = Field(description="What must come of it.")


class _CasesText(Section):
    """A file of cases."""

    cases: list[_CaseText] = Field(min_length=1, max_length=_MOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCase:
    """One case: `expected` says by its key what must come. `where` is file:line."""

    name: str
    example: Example
    expected: Mapping[str, str]
    where: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What was expected of one key, and what came."""

    key: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What became of a case. Where it is about the connection, the rule is the one that decided about that."""

    case: PolicyCase
    differences: tuple[Difference, ...]
    decided_by: str
    decided_at: str
    verdict: Classification

    @property
    def ok(self) -> bool:
        return not self.differences


def read_cases(file: str, text: str, policy: Policy) -> tuple[PolicyCase, ...]:
    """The cases in a text, YAML, TOML or JSON by the suffix of its file, for a policy whose names they use.

    Raises:
        PolicyError: every mistake with its place.
    """
    tree = read_tree(file, text)
    try:
        says = _CasesText.model_validate(tree.data, context={"class": policy.classes})
    except ValidationError as error:
        raise PolicyError([*tree.findings, *findings_of(tree, error, _CasesText)]) from None
    findings = [*tree.findings, *_unknown(tree, says, policy)]
    if findings:
        raise PolicyError(findings)
    return tuple(_case(one, tree.where(("cases", index))) for index, one in enumerate(says.cases))


def run_case(case: PolicyCase, policy: Policy, classify: Classify) -> CaseResult:
    """Put a case to a classifier and to a policy."""
    verdict = classify(status_of_example(case.example))
    session = policy.decide_session(verdict)
    recipient = decided(policy, case.example, verdict)
    about = session if case.expected.keys() & {"session"} and "do" not in case.expected else recipient
    ladder = recipient.ladder.name if recipient.ladder else _NOBODY
    got = {
        "do": str(recipient.fate),
        "wait": show_duration(recipient.retry_at - NOW) if recipient.retry_at else _NOBODY,
        "rule": about.rule,
        "suppress": ladder,
        "notify": ", ".join(sorted(notice.channel for notice in recipient.notices)) or _NOBODY,
        "session": str(session.fate),
        "category": str(verdict.category),
        "scope": str(verdict.scope) if verdict.scope else _NOBODY,
        "permanent": _word(verdict.permanent),
    }
    return CaseResult(
        case=case,
        differences=tuple(Difference(key, want, got[key]) for key, want in case.expected.items() if want != got[key]),
        decided_by=about.rule,
        decided_at=about.where,
        verdict=verdict,
    )


def _case(text: _CaseText, where: str) -> PolicyCase:
    given = text.given()
    name, expect = given.pop("name", ""), given.pop("expect")
    return PolicyCase(
        name=name,
        example=Example(**given),
        expected={key: _word(value) for key, value in expect.given().items()},
        where=where,
    )


def _word(value: Any) -> str:
    """A value as a case writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(sorted(map(str, value)))
    return show_duration(value) if hasattr(value, "total_seconds") else str(value)


def _unknown(tree: Tree, says: _CasesText, policy: Policy) -> Iterator[Finding]:
    """Ladders, channels and rules that the policy does not have: a case that asks for one could never hold."""
    rules = [*(rule.id for rule in policy.rules), *(rule.id for rule in policy.sessions)]
    own = ["resend-unknown", "leave-unknown", "no-rule-matched", "no-session-rule-matched"]
    for index, one in enumerate(says.cases):
        expect = one.expect
        asked = {
            "suppress": ([expect.suppress] if expect.suppress else [], [*policy.ladders, _NOBODY]),
            "notify": (expect.notify or (), [*policy.channels, _NOBODY]),
            "rule": ([expect.rule] if expect.rule else [], [*rules, *own]),
        }
        for key, (names, known) in asked.items():
            for name in names:
                if name not in known:
                    yield tree.finding(
                        ("cases", index, "expect", key),
                        f"policy {policy.name} has no {quoted(name)} for {key}: {nearest(name, known)}",
                    )
