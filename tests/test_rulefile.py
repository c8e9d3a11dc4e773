"""Files of rules that are added to the shipped ones: whose go first, what stays apart, and how large they may be.

What one file may say is tested where it is used, in test_classifier.py.
"""

import time

import pytest

from bouncekit.meaning.classification import Category, Step
from bouncekit.meaning.classifier import Classifier
from bouncekit.meaning.meaning import Meaning, RuleFile
from bouncekit.meaning.rulefile import MAX_FINDINGS, MAX_RULES, is_about_replies
from bouncekit.outside.builtin import classifier_with
from bouncekit.words.errors import RuleError
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action, RecipientStatus


def rule(rule_id: str, category: str, text: str = "closed gate", more: str = "") -> str:
    return f"""
[[rule]]
id = "{rule_id}"
source = "a test"
text = "{text}"
category = "{category}"
examples = ["550 Closed gate"]
{more}
"""


def added(own: str = "", community: str = "") -> Classifier:
    files = {"own": own, "community": community}
    return classifier_with(Meaning(**{kind: (RuleFile(f"{kind}.toml", text),) for kind, text in files.items() if text}))


def findings(own: str = "", community: str = "") -> list[str]:
    with pytest.raises(RuleError) as caught:
        added(own, community)
    return [str(finding) for finding in caught.value.findings]


def said(text: str, remote_mta: str | None = None) -> RecipientStatus:
    return RecipientStatus(
        recipient="", action=Action.FAILED, stage=Stage.RCPT, reply=Reply.parse(text), remote_mta=remote_mta
    )


# -- whose rules go first


def test_the_owners_rules_go_before_a_communitys_and_these_before_the_shipped_ones() -> None:
    reply = said("550 5.1.1 User unknown behind the closed gate")
    theirs = rule("theirs", "policy")
    verdict = added(community=theirs).classify(reply)
    assert (verdict.category, verdict.step, verdict.where) == (Category.POLICY, Step.COMMUNITY, "community.toml:2")
    verdict = added(rule("mine", "relay_denied"), theirs).classify(reply)
    assert (verdict.category, verdict.step, verdict.where) == (Category.RELAY_DENIED, Step.OWN, "own.toml:2")


def test_of_several_files_of_one_owner_the_first_decides() -> None:
    first, second = RuleFile("b.toml", rule("b", "policy")), RuleFile("a.toml", rule("a", "virus"))
    verdict = classifier_with(Meaning(own=(first, second))).classify(said("550 Closed gate"))
    assert verdict.where == "b.toml:2"


# -- what a community names stays apart


def test_a_community_may_use_the_words_of_all_and_name_its_own() -> None:
    theirs = '[words]\ntheir-gate = ["portal"]\n' + rule("theirs", "policy", "{their-gate} {refused}")
    assert added(community=theirs).classify(said("550 The portal refused it")).rule == "theirs"


@pytest.mark.parametrize("whose", ["", '[words]\ngate = ["gate"]\n'])
def test_a_community_adds_nothing_to_the_words_of_others(whose: str) -> None:
    name = "gate" if whose else "full"
    (found,) = findings(whose + rule("mine", "virus") if whose else "", f'\n[words]\n{name} = ["unknown"]\n')
    assert found.startswith(f"community.toml:2: [words] '{name}' is there already;")


@pytest.mark.parametrize("host", ["google.com", "ASPMX.l.google.com"])
def test_a_community_takes_no_host_of_a_provider_that_is_known(host: str) -> None:
    (found,) = findings(community=f'[hosts]\ntheirs = ["mx.example.net", "{host}"]\n')
    assert found.startswith(f"community.toml:1: [hosts] '{host}' belongs to 'gmail';")


def test_a_community_may_know_a_provider_that_nobody_else_does() -> None:
    theirs = '[hosts]\ntheirs = ["mx.example.net"]\n' + rule("theirs", "policy", "no", 'provider = "theirs"')
    judging = added(community=theirs)
    assert judging.classify(said("550 No", "in1.mx.example.net")).rule == "theirs"
    assert judging.classify(said("550 No", "in1.example.org")).rule != "theirs"


def test_a_rule_of_the_same_name_in_two_files_is_a_mistake() -> None:
    (found,) = findings(rule("same", "virus"), rule("same", "policy"))
    assert found == "community.toml:2: a second rule 'same'; the first is at own.toml:2"


# -- how large a file may be


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("#" * (1 << 20) + "#", "own.toml: more than 1048576 characters"),
        ("\n" * 20_001, "own.toml:20001: more than 20000 lines"),
        ("\n" + "a." * 100_000 + "a = 1", "own.toml:2: more than 64 dots in one line"),
        ("a = " + "[" * 100_000, "own.toml: nested too deep"),
        ("a = " + "{a=" * 5_000, "own.toml: nested too deep"),
        (
            rule("a", "virus").replace('"a"', '"a{}"') * (MAX_RULES + 1),
            f"more than {MAX_RULES} rules; make it two files",
        ),
    ],
)
def test_a_file_that_would_cost_too_much_is_refused_before_it_does(text: str, why: str) -> None:
    start = time.process_time()
    (found,) = findings(text)
    assert why in found
    assert time.process_time() - start < 10


def test_more_mistakes_than_anybody_reads_are_not_told() -> None:
    found = findings("".join(rule(f"a{number}", "vires") for number in range(MAX_FINDINGS * 2)))
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1] == "own.toml: and more mistakes"


def test_a_mistake_is_no_longer_than_a_line_of_the_screen_or_a_few() -> None:
    (found,) = findings(rule("a", "v" * 100_000))
    assert len(found) < 600


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[words]\na = 1\n", "own.toml:1: [words] has lists of texts"),
        ("\n[hosts]\na = [1]\n", "own.toml:2: [hosts] has lists of texts"),
        ("\n\n[wrods]\n", "own.toml:3: unknown 'wrods'; a file has [[rule]], [hosts] and [words]"),
    ],
)
def test_a_table_that_is_wrong_is_told_with_the_line_of_its_header(text: str, place: str) -> None:
    (found,) = findings(text)
    assert found.startswith(place)


# -- which kind of file it is


@pytest.mark.parametrize("text", ["[[rule]]", "  [[ rule ]] # one", "[words]", "a = \n[hosts]", '[[rule]]\nid = "'])
def test_a_file_of_rules_is_known_by_its_headers_even_where_it_is_no_toml(text: str) -> None:
    assert is_about_replies(text)


@pytest.mark.parametrize("text", ["policy = 1\n[[rules]]", "[schedules]", "# [[rule]]", "", 'x = "[words]"'])
def test_a_policy_is_no_file_of_rules(text: str) -> None:
    assert not is_about_replies(text)
