"""Whether a policy does what its examples say: each one put to the classifier and to the policy."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

from bouncekit.meaning.classification import Classification, Classify
from bouncekit.policy.policy import Disposition, Policy, SessionDisposition
from bouncekit.policy.rule import Circumstances, Example, Fate, Rule, SessionFate, SessionRule
from bouncekit.words.address import Address
from bouncekit.words.envelope import Labels, Recipient
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["NOW", "ExampleResult", "decided", "run_examples", "status_of_example"]


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleResult:
    """What became of one example: `ok` says that the rule it stands under decided it.

    An example of a base is also right where a rule of a file that extends it decides, or a rule about replies that was
    added says what it means: that is what extending is for. `where` is the place of `rule`, `expected` what it does;
    `verdict` is the classifier's judgement, `decided_by` the rule that decided, at `decided_at`, `fate` what it did.
    """

    rule: str
    example: Example
    ok: bool
    expected: Fate | SessionFate
    decided_by: str
    decided_at: str
    where: str
    fate: Fate | SessionFate | None
    verdict: Classification


def run_examples(policy: Policy, classify: Classify) -> tuple[ExampleResult, ...]:
    """Each example of each rule, put to a classifier and to the policy."""
    results = [_try(policy, rule, example, classify) for rule in policy.rules for example in rule.examples]
    results += [_try(policy, rule, example, classify) for rule in policy.sessions for example in rule.examples]
    return tuple(results)


def _try(policy: Policy, rule: Rule | SessionRule, example: Example, classify: Classify) -> ExampleResult:
    verdict = classify(status_of_example(example))
    if isinstance(rule, Rule):
        won: Disposition | SessionDisposition = decided(policy, example, verdict)
    else:
        won = policy.decide_session(verdict)
    return ExampleResult(
        rule=rule.id,
        example=example,
        ok=won.rule == rule.id
        or _is_overruled(policy, rule.where, won.where)
        or (verdict.step.is_added and _is_of_a_base(policy, rule.where)),
        expected=rule.do,
        decided_by=won.rule,
        decided_at=won.where,
        where=rule.where,
        fate=won.fate,
        verdict=verdict,
    )


def _is_overruled(policy: Policy, base: str, other: str) -> bool:
    """Whether `base` is a place in a file that the policy extends, and `other` one in another file."""
    file = other.rpartition(":")[0]
    return bool(file) and base.rpartition(":")[0] != file and _is_of_a_base(policy, base)


def _is_of_a_base(policy: Policy, where: str) -> bool:
    return PurePath(where.rpartition(":")[0]).stem != policy.name


def decided(policy: Policy, example: Example, verdict: Classification) -> Disposition:
    """What a policy does about the recipient of an example, without jitter."""
    deadline = policy.message_class(example.message_class).deadline
    recipient = Recipient(
        address=Address(f"jo@{example.domain}", example.domain.lower(), not example.domain.isascii()),
        key=f"jo@{example.domain}",
        attempts=example.attempts,
        first_attempt_at=NOW - deadline if example.expired else NOW,
    )
    circumstances = Circumstances(
        now=NOW,
        labels=Labels(message_class=example.message_class, tenant=example.tenant, stream=example.stream),
        sender=example.sender,
        provider=example.provider,
        counters=dict.fromkeys(policy.counters(verdict), example.seen - 1),
    )
    return policy.decide(verdict, recipient, circumstances)


def status_of_example(example: Example) -> RecipientStatus:
    """The status that an example stands for; at the dot, silence and 221 leave the outcome unknown."""
    is_reply = example.reply not in set(Cause)
    reply = Reply.parse(example.reply) if is_reply else NoReply(Cause(example.reply))
    action = Action.FAILED if isinstance(reply, Reply) and reply.is_permanent else Action.DELAYED
    if example.stage is Stage.END_OF_DATA and (isinstance(reply, NoReply) or reply.code == 221):
        action = Action.UNKNOWN
    return RecipientStatus(
        recipient=f"jo@{example.domain}",
        action=action,
        stage=example.stage,
        reply=reply,
        accepted=example.accepted,
        individual=example.individual,
        remote_mta=example.remote_mta,
    )
