"""Cases beside a policy: only what they expect is compared, and a slip in one is told at its place."""

import pytest

from bouncekit.outside.builtin import classify, open_policy
from bouncekit.policyfiles.policycase import CaseResult, Difference, read_cases, run_case
from bouncekit.words.errors import PolicyError

DEFAULT = open_policy("default")


def run(one: str) -> CaseResult:
    (case,) = read_cases("cases.yaml", f"cases:\n  - {one}\n", DEFAULT)
    return run_case(case, DEFAULT, classify)


@pytest.mark.parametrize(
    "one",
    [
        "{reply: 552 5.2.2 Full mailbox, expect: {do: fail, suppress: mailbox, notify: recipient, rule: mailbox-full}}",
        "{reply: 452 4.2.2 Over quota, attempts: 3, expect: {do: retry, wait: 2h, suppress: none, notify: none}}",
        "{reply: 452 4.2.2 Over quota, expired: true, seen: 3, expect: {do: fail, suppress: mailbox}}",
        "{reply: 452 4.2.2 Over quota, expired: true, seen: 2, expect: {do: fail, suppress: none}}",
        "{reply: 421 4.3.2 Bye, stage: MAIL, expect: {session: reconnect, rule: closed-unasked}}",
        "{reply: 421 4.3.2 Bye, stage: MAIL, expect: {session: reconnect, do: retry, rule: temporary}}",
        "{reply: lost, stage: END_OF_DATA, accepted: 1, expect: {do: retry, rule: resend-unknown}}",
        "{reply: 550 5.1.1 No such user, expect: {category: user_unknown, scope: recipient, permanent: true}}",
        "{reply: 452 4.2.2 Over quota, message_class: security, expect: {wait: 1m}}",
    ],
)
def test_a_case_holds_where_all_comes_that_it_expects(one: str) -> None:
    assert run(one).differences == ()


def test_what_came_otherwise_is_told_key_by_key_and_what_nobody_expects_is_not() -> None:
    result = run("{reply: 552 5.2.2 Full mailbox, expect: {do: hold, suppress: none, notify: [owner, operations]}}")
    assert not result.ok
    assert result.differences == (
        Difference("do", "hold", "fail"),
        Difference("suppress", "none", "mailbox"),
        Difference("notify", "operations, owner", "recipient"),
    )
    assert (result.decided_by, result.decided_at.split(":")[0]) == ("mailbox-full", "default.yaml")


@pytest.mark.parametrize(
    ("one", "column", "says"),
    [
        ("{reply: 552 Full, expect: {do: fial}}", 36, "unknown fate 'fial': did you mean 'fail'?"),
        ("{reply: 552 Full, expect: {}}", 31, "nothing is expected"),
        ("{reply: 552 Full, expect: {does: fail}}", 32, "unknown key 'does'"),
        ("{reply: 552 Full}", 5, "expect is missing"),
        ("{reply: full, expect: {do: fail}}", 13, "does not start with a reply code"),
        ("{reply: 552 Full, message_class: ofers, expect: {do: fail}}", 38, "unknown class 'ofers'"),
        ("{reply: 552 Full, expect: {suppress: malbox}}", 42, "has no 'malbox' for suppress: did you mean 'mailbox'?"),
        ("{reply: 552 Full, expect: {notify: [owner, sales]}}", 40, "has no 'sales' for notify"),
        ("{reply: 552 Full, expect: {rule: malbox-full}}", 38, "has no 'malbox-full' for rule"),
    ],
)
def test_a_slip_is_told_at_its_place(one: str, column: int, says: str) -> None:
    with pytest.raises(PolicyError) as raised:
        run(one)
    (finding,) = raised.value.findings
    assert (finding.file, finding.line, finding.column) == ("cases.yaml", 2, column)
    assert says in finding.message


def test_cases_may_be_toml_or_json() -> None:
    toml = '[[cases]]\nreply = "552 5.2.2 Full"\nexpect = {do = "fail"}\n'
    json = '{"cases": [{"reply": "552 5.2.2 Full", "expect": {"do": "fail", "permanent": true}}]}'
    for name, text in (("cases.toml", toml), ("cases.json", json)):
        (case,) = read_cases(name, text, DEFAULT)
        assert run_case(case, DEFAULT, classify).ok


def test_a_file_without_cases_is_a_mistake() -> None:
    with pytest.raises(PolicyError, match="an empty list"):
        read_cases("cases.yaml", "cases: []\n", DEFAULT)
