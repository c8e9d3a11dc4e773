"""The shipped rules: each decides its own examples, and together they leave no code without a verdict."""

import tomllib
from importlib.resources import files
from itertools import product

import pytest

from bouncekit.meaning.classification import Category, Scope, Step
from bouncekit.meaning.rulefile import Rule, RuleExample
from bouncekit.outside.builtin import classifier
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

RULES = classifier().rules
BEFORE_RCPT = (Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH, Stage.MAIL, Stage.RSET, Stage.QUIT, Stage.IDLE)


def status(reply: str, stage: Stage = Stage.RCPT, *, accepted: int = 0, individual: bool = True) -> RecipientStatus:
    return RecipientStatus(
        recipient="jo@example.com",
        action=Action.FAILED,
        stage=stage,
        reply=Reply.parse(reply),
        accepted=accepted,
        individual=individual,
    )


def of(example: RuleExample) -> RecipientStatus:
    return status(example.reply, example.stage, accepted=example.accepted, individual=example.individual)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_decides_its_own_examples(rule: Rule) -> None:
    for example in rule.examples:
        verdict = classifier().classify(of(example), provider=example.provider)
        assert (verdict.rule, verdict.category) == (rule.id, rule.category), example.reply
        assert verdict.where == rule.where


def test_a_place_is_the_line_of_the_rules_header() -> None:
    for rule in RULES:
        name, _, line = rule.where.rpartition(":")
        lines = (files("bouncekit") / name).read_text("utf-8").splitlines()
        assert lines[int(line) - 1] == "[[rule]]"
        assert lines[int(line)] == f'id = "{rule.id}"'


def test_every_set_of_words_is_used_by_some_rule() -> None:
    texts = [phrase.text for rule in RULES for phrase in (*rule.text, *rule.unless)]
    sets = tomllib.loads((files("bouncekit") / "rules" / "words.toml").read_text("utf-8"))["words"]
    assert not [name for name in sets if not any(f"{{{name}}}" in text for text in texts)]


def test_every_step_has_rules_and_every_provider_its_hosts() -> None:
    assert {rule.step for rule in RULES} == set(Step) - {Step.OWN, Step.COMMUNITY, Step.NO_REPLY}
    assert all(rule.hosts for rule in RULES if rule.step is Step.PROVIDER)


@pytest.mark.parametrize("stage", Stage)
def test_no_code_is_left_without_a_verdict(stage: Stage) -> None:
    for code in range(100, 600):
        verdict = classifier().classify(status(f"{code} Whatever", stage))
        assert verdict.permanent is False or code >= 500


@pytest.mark.parametrize("stage", BEFORE_RCPT)
def test_before_rcpt_no_rule_blames_a_recipient(stage: Stage) -> None:
    for rule in RULES:
        for example in rule.examples:
            verdict = classifier().classify(status(example.reply, stage), provider=example.provider)
            assert verdict.scope is not Scope.RECIPIENT, f"{example.reply} at {stage}"


def test_what_was_said_to_several_recipients_at_once_blames_none_of_them() -> None:
    for rule in RULES:
        for example in rule.examples:
            said = status(example.reply, Stage.END_OF_DATA, accepted=3, individual=False)
            verdict = classifier().classify(said, provider=example.provider)
            assert verdict.scope is not Scope.RECIPIENT, example.reply


# A subject alone, a code alone, a digit alone: too little to hold a recipient dead for any mail (RFC 5321 7.9).
@pytest.mark.parametrize(("code", "subject"), list(product((550, 553, 554), (0, 1, 2, 3, 5, 6, 7))))
def test_an_unheard_of_refusal_is_never_taken_for_a_dead_address(code: int, subject: int) -> None:
    verdict = classifier().classify(status(f"{code} 5.{subject}.99 No"))
    assert verdict.scope is not Scope.RECIPIENT
    assert verdict.permanent


# IANA registry of RFC 5248, last changed 2024-12-06: the codes that tell of a failure, in a class they are seen with.
REGISTRY = {
    "user_unknown": "5.1.1 5.1.4",
    "bad_domain": "5.1.2 5.1.10",
    "invalid_address": "5.1.3",
    "moved": "5.1.6 5.7.17 5.7.18",
    "sender_rejected": "5.1.7 5.1.8 4.1.8 5.7.27",
    "mailbox_disabled": "5.2.1",
    "mailbox_full": "5.2.2 4.2.2",
    "message_too_big": "5.2.3 5.3.4 5.7.16",
    "system_error": "4.2.4 4.3.0 4.3.2 5.3.3 5.3.5 4.4.5",
    "system_full": "4.3.1",
    "network_error": "4.4.0 4.4.1 4.4.2 4.4.3 4.4.4 5.4.6",
    "expired": "4.4.7",
    "protocol_error": "5.5.0 5.5.1 5.5.2 5.5.4 5.5.5",
    "too_many_recipients": "4.5.3 5.5.3",
    "credentials": "5.5.6 5.7.8 4.7.12 5.7.13 5.7.14",
    "content_rejected": "5.6.0 5.6.1 5.6.2 5.6.3 5.6.4 5.6.5 5.6.6 5.6.7 5.6.8 5.6.9 5.6.10",
    "policy": "5.7.0 5.7.1 5.7.3 5.7.4 5.7.5 5.7.6 5.7.7 4.7.15 5.7.19",
    "recipient_filtered": "5.7.2",
    "tls_failure": "5.7.10 5.7.11 5.7.30",
    "sender_auth": "5.7.20 5.7.21 5.7.22 5.7.23 5.7.24 5.7.25 5.7.26 5.7.29",
    "rate_limited": "5.7.28",
}


@pytest.mark.parametrize(
    ("enhanced", "category"), [(code, category) for category, codes in REGISTRY.items() for code in codes.split()]
)
def test_a_registered_code_without_a_text_has_its_meaning(enhanced: str, category: str) -> None:
    code = 450 if enhanced.startswith("4") else 550
    assert classifier().classify(status(f"{code} {enhanced}")).category == Category(category)
