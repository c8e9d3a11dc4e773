"""Faults planted into policies, each found at its place; and nothing found where nothing is wrong."""

import re
from pathlib import Path

import pytest

from bouncekit.outside.builtin import policy_names, policy_text, read_source, schedules
from bouncekit.outside.provider import providers
from bouncekit.policyfiles.policyfault import FAULTS, Level
from bouncekit.policyfiles.policyfile import read_policy
from bouncekit.policyfiles.policylint import lint
from bouncekit.words.errors import Finding, PolicyError

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "findings.md"

# A policy that has no base, and no fault.
WHOLE = """policy: 1
channels: [recipient, operations]
schedules: {hours: [30m, 2h]}
classes: {mail: {deadline: 4d, default: true}}
ladders: {address: {provisional: 7d, confirmed: [30d, forever]}}
sessions: [{id: broken, do: close}]
rules:
  - {id: gone, when: {category: user_unknown, permanent: true}, do: fail, suppress: address, notify: recipient}
  - {id: temporary, when: {permanent: false}, do: retry}
  - {id: permanent, do: fail, notify: operations}
"""
BASED = "policy: 1\nextends: default\n"


def found(text: str) -> list[Finding]:
    return list(lint(read_policy("mine.yaml", text, resolve=policy_text, known=schedules), providers=providers()))


def ruled(*rules: str, head: str = "") -> str:
    return BASED + head + "rules:\n" + "".join(f"  - {rule}\n" for rule in rules)


# Code, the text at whose place it is found, and the policy.
PLANTED = [
    (
        "unreachable-rule",
        "narrow",
        ruled(
            "{id: broad, when: {category: [moved, mailbox_full]}, do: fail}",
            "{id: narrow, when: {category: moved, permanent: true}, do: hold}",
        ),
    ),
    (
        "unreachable-rule",
        "rest",
        ruled(
            "{id: final, when: {domain: a.example, permanent: true}, do: fail}",
            "{id: passing, when: {domain: '*.example', permanent: false}, do: retry}",
            "{id: rest, when: {domain: a.example}, do: hold}",
        ),
    ),
    (
        "contradictory-rules",
        "never",
        ruled(
            "{id: always, when: {text: 'gate closed'}, do: hold}",
            "{id: never, when: {text: 'gate closed'}, do: fail}",
        ),
    ),
    (
        "overlapping-rules",
        "[moved, policy]",
        ruled(
            "{id: first, when: {category: [moved, virus]}, do: hold}",
            "{id: second, when: {category: [moved, policy]}, do: fail}",
        ),
    ),
    ("hides-base", "everything", ruled("{id: everything, do: fail}")),
    (
        "hides-base",
        "others",
        ruled("{id: final, when: {permanent: true}, do: fail}", "{id: others, when: {permanent: false}, do: retry}"),
    ),
    ("never-matches", "250", ruled("{id: taken, when: {code: 250}, do: fail}")),
    ("never-matches", "lost", ruled("{id: both, when: {code: 421, cause: lost}, do: hold}")),
    ("never-matches", "5.1.1", ruled("{id: both, when: {code: 4xx, enhanced: 5.1.1}, do: hold}")),
    ("never-matches", "0}", ruled("{id: none, when: {attempts: 0}, do: hold}")),
    ("never-matches", "{times", ruled("{id: often, when: {seen: {times: 9, within: 7d}}, do: hold}")),
    (
        "never-matches",
        "{times",
        ruled("{id: often, when: {seen: {times: 22, within: 30d, half_after: 12d}}, do: hold}"),
    ),
    ("never-matches", "jo@", ruled("{id: jo, when: {domain: jo@example.com}, do: hold}")),
    ("never-matches", "shop.example", ruled("{id: shop, when: {sender: shop.example}, do: hold}")),
    ("retry-too-late", "1h, late", BASED + "classes: {code: {deadline: 10m, wait: 1h, late: fail}}\n"),
    ("never-matches", "CONNECT", ruled("{id: early, when: {category: moved, stage: CONNECT}, do: hold}")),
    ("never-matches", "QUIT", ruled("{id: late, when: {stage: QUIT}, do: hold}")),
    ("never-matches", "END_OF_DATA", ruled("{id: silent, when: {cause: lost, stage: END_OF_DATA}, do: hold}")),
    ("never-matches", "250", BASED + "sessions:\n  - {id: odd, when: {code: 250}, do: close}\n"),
    (
        "uncovered",
        "- {id: gone",
        WHOLE.replace("  - {id: temporary, when: {permanent: false}, do: retry}\n", "").replace(
            "{id: permanent, do", "{id: permanent, when: {permanent: true}, do"
        ),
    ),
    (
        "uncovered",
        "- {id: gone",
        WHOLE.replace(
            "  - {id: permanent, do: fail, notify: operations}\n",
            "  - {id: permanent, when: {permanent: true, category: policy}, do: fail, notify: operations}\n",
        ),
    ),
    ("uncovered-session", "[{id: broken", WHOLE.replace("{id: broken, do", "{id: broken, when: {code: 421}, do")),
    ("uncovered-session", "policy: 1", WHOLE.replace("sessions: [{id: broken, do: close}]\n", "")),
    ("unknown-provider", "gmial", ruled("{id: slow, when: {provider: gmial}, do: hold}")),
    ("code-in-phrase", "'550 gate", ruled("{id: gate, when: {text: '550 gate closed'}, do: hold}")),
    ("regex-in-phrase", "'gate|door", ruled("{id: gate, when: {text: [shut, 'gate|door']}, do: hold}")),
    ("regex-in-phrase", "'wait \\d+", ruled("{id: gate, when: {text: 'wait \\d+ minutes'}, do: hold}")),
    ("retry-without-end", "10s", ruled("{id: hammer, when: {permanent: false, code: 451}, do: retry, wait: 10s}")),
    (
        "retry-without-end",
        "365d",
        BASED + "classes:\n  mail: {deadline: 365d, default: true}\n",
    ),
    ("retry-too-late", "5d", ruled("{id: slow, when: {permanent: false, code: 451}, do: retry, wait: 5d}")),
    ("retry-when-expired", "retry", ruled("{id: more, when: {expired: true, code: 451}, do: retry}")),
    ("retries-the-final", "retry", ruled("{id: again, when: {category: user_unknown, permanent: true}, do: retry}")),
    ("hasty-suppression", "address", ruled("{id: full, when: {category: mailbox_full}, do: fail, suppress: address}")),
    ("wide-suppression", "address", ruled("{id: all, when: {code: 5xx}, do: fail, suppress: address}")),
    ("tells-recipient", "recipient", ruled("{id: ours, when: {category: blocklisted}, do: fail, notify: recipient}")),
    ("seen-beyond-memory", "{times", ruled("{id: old, when: {seen: {times: 2, within: 500d}}, do: fail}")),
    ("idle-hints", "8h", BASED + "hints: {obey: always, at_least: 8h}\n"),
    ("unused-name", "[1h]", BASED + "schedules:\n  minuets: [1h]\n"),
    ("unused-name", "{confirmed", BASED + "ladders:\n  adress: {confirmed: forever}\n"),
    ("unused-name", "sales", BASED + "channels: [sales]\n"),
    (
        "ignores-nothing",
        "auto_reply",
        BASED + "classes:\n  mail: {deadline: 1d, ignores: auto_reply, default: true}\n",
    ),
    ("ladder-goes-down", "{provisional", BASED + "ladders:\n  address: {provisional: 60d, confirmed: [30d, 90d]}\n"),
    ("late-budget", "12%", BASED + "budget: {warn: {bounces: 12%, complaints: 0.1%}}\n"),
    ("late-budget", "0.6%", BASED + "budget: {slow: {complaints: 0.6%}, stop: {bounces: 8%}, holds: bulk}\n"),
    ("misspelt-id", "mailbox-ful,", ruled("{id: mailbox-ful, when: {category: mailbox_full}, do: hold}")),
    ("never-matches", ".example.com", ruled("{id: all, when: {domain: [example.org, .example.com]}, do: hold}")),
    ("never-matches", "gmail", ruled("{id: big, when: {domain: gmail}, do: hold}")),
    ("never-matches", "'@shop", ruled("{id: shop, when: {sender: '@shop.example'}, do: hold}")),
    ("never-matches", "sender", ruled("{id: ours, when: {category: user_unknown, scope: sender}, do: hold}")),
    ("never-matches", "{at_least", ruled("{id: two, when: {stage: MAIL, accepted: {at_least: 2}}, do: hold}")),
    ("unknown-provider", "{rate", BASED + "throttles:\n  providers:\n    gmial: {rate: 1/s}\n"),
    # Schedules and classes of the owner's, by which the base's rules wait.
    ("retry-without-end", "[1s]", BASED + "schedules:\n  hours: [1s]\n"),
    ("retry-without-end", "1m", BASED + "classes: {bulk: {deadline: 4d, wait: 1m}}\n"),
    ("retry-too-late", "[5d, 6d]", BASED + "schedules:\n  hours: [5d, 6d]\n"),
    ("retry-too-late", "20m", BASED + "classes: {code: {deadline: 20m}}\n"),
    ("retries-the-final", "retry", ruled("{id: again, when: {category: user_unknown}, do: retry}")),
    ("retries-the-final", "retry", ruled("{id: again, when: {code: 550}, do: retry}")),
    ("waits-go-down", "[4h, 2h, 1h]", BASED + "schedules:\n  hours: [4h, 2h, 1h]\n"),
    ("waits-go-down", "[2h, 1h]", ruled("{id: late, when: {category: greylisted}, do: retry, wait: [2h, 1h]}")),
    ("idle-confirm", "72h", BASED + "ladders: {address: {confirm_after: 72h, confirmed: 30d}}\n"),
    ("early-probes", "7m", BASED + "ladders: {address: {provisional: 7m, confirmed: 30d}}\n"),
    ("takes-all-mail", "From", BASED + "classes: {offers: {deadline: 2d, headers: [List-Id, From]}}\n"),
    ("holds-urgent", "[security", BASED + "budget: {stop: {bounces: 5%}, holds: [security, bulk]}\n"),
]


@pytest.mark.parametrize(("code", "at", "text"), PLANTED, ids=[f"{code}-{at}" for code, at, _ in PLANTED])
def test_a_planted_fault_is_found_at_its_place(code: str, at: str, text: str) -> None:
    (finding,) = [one for one in found(text) if one.code == code]
    assert finding.file == "mine.yaml"
    assert finding.line is not None
    assert finding.column is not None
    assert text.splitlines()[finding.line - 1][finding.column - 1 :].startswith(at)
    assert finding.message
    assert finding.fix


@pytest.mark.parametrize(("code", "at", "text"), PLANTED, ids=[f"{code}-{at}" for code, at, _ in PLANTED])
def test_a_planted_fault_is_not_taken_for_another_one(code: str, at: str, text: str) -> None:
    """But for what follows from it: who takes everything leaves nothing to the next."""
    assert {one.code for one in found(text)} - {code} <= {"wide-suppression", "hasty-suppression"} & (
        {"hasty-suppression"} if code == "wide-suppression" else set()
    )


def test_every_kind_of_fault_is_planted() -> None:
    by_grammar = {"grammar", "suppress-not-recipient"}
    assert {code for code, _, _ in PLANTED} == FAULTS.keys() - by_grammar


def test_a_suppression_for_what_is_not_about_the_recipient_is_an_error_of_the_file() -> None:
    text = ruled("{id: ours, when: {scope: sender}, do: fail, suppress: address}")
    with pytest.raises(PolicyError) as raised:
        found(text)
    (finding,) = raised.value.findings
    assert (finding.code, finding.line, FAULTS[finding.code].level) == ("suppress-not-recipient", 4, Level.ERROR)
    assert text.splitlines()[3][(finding.column or 0) - 1 :].startswith("sender")


@pytest.mark.parametrize("name", policy_names())
def test_nothing_is_found_in_the_shipped_policies(name: str) -> None:
    assert lint(read_source(name), providers=providers()) == ()


def test_nothing_is_found_in_a_whole_policy_without_a_base() -> None:
    assert found(WHOLE) == []


GOOD = [
    ruled("{id: mailbox-full, when: {category: mailbox_full, permanent: true}, do: hold}"),  # in the base's place
    ruled("{id: partner, when: {domain: '*.partner.example', permanent: false}, do: retry, wait: [2m, 10m]}"),
    ruled(
        "{id: narrow, when: {category: moved, domain: a.example}, do: hold}",
        "{id: broad, when: {category: moved}, do: fail}",
    ),
    ruled(
        "{id: first, when: {text: 'gate closed'}, do: hold}",
        "{id: second, when: {text: 'gate'}, do: fail}",
    ),
    ruled(
        "{id: alone-first, when: {category: moved}, do: alone}", "{id: then, when: {category: moved}, do: fail}"
    ),  # a lone repeat is possible once, and then the next rule is asked
    ruled("{id: three, when: {category: mailbox_full, attempts: {at_least: 3}}, do: fail, suppress: mailbox}"),
    ruled("{id: numbers, when: {text: ['try again in # seconds', 'over * quota', '[TSS04]']}, do: hold}"),
    ruled("{id: dropped, when: {cause: unsolicited, text: 'shutting down'}, do: hold}"),
    ruled("{id: gate, when: {code: [2xx, 421]}, do: hold}"),
    ruled("{id: some-tries, when: {category: network_error, attempts: {at_most: 3}}, do: retry, wait: [10s, 1m]}"),
    ruled("{id: once-more, when: {permanent: true, attempts: 1}, do: retry, wait: 5m}"),
    ruled("{id: lying, when: {category: user_unknown, text: 'try again'}, do: retry}"),
    ruled("{id: log-in, when: {code: [530, 535]}, do: retry}"),
    ruled(
        "{id: full, when: {category: mailbox_full, permanent: true}, do: fail}",
        "{id: full-now, when: {category: mailbox_full}, do: retry}",
    ),
    ruled("{id: apart, when: {category: unknown, domain: ['*.a.example', localhost]}, do: hold}"),
    ruled("{id: bounces, when: {sender: ['news@*', jo@example.com], category: policy}, do: hold}"),
    BASED + "ladders: {mailbox: {provisional: 1d, confirm_after: 72h, confirmed: [1d, 1d, 2d]}}\n",
    BASED + "ladders: {mailbox: {provisional: 7d, confirm_after: 10d, confirmed: 30d}}\n",
    BASED + "schedules: {hours: [15m, {first: 1h, times: 1.5, until: 16h}, 6h]}\n",
    BASED + "throttles: {providers: {any: {at_once: 5}, gmail: {rate: 1/s}, partner.example: {rate: 1/m}}}\n",
    BASED + "classes: {code: {deadline: 90s, wait: [20s, 30s], late: fail, headers: ['Subject: Your code']}}\n",
    BASED + "budget: {slow: {bounces: 5%}, holds: [security, bulk]}\n",
    BASED + "channels: {operations: {limit: 50/h}}\n",
    BASED + "channels: [watch]\nbudget: {warn: {bounces: 9%, complaints: 0.4%}, notify: watch}\n",
]


@pytest.mark.parametrize("text", GOOD)
def test_what_is_good_is_left_alone(text: str) -> None:
    assert found(text) == []


def test_who_stands_in_a_base_rules_place_is_told_why_it_is_tried_behind_what_stands_below_it() -> None:
    (finding,) = found(
        ruled(
            "{id: mailbox-full, when: {category: mailbox_full, permanent: true}, do: fail, suppress: mailbox}",
            "{id: full, when: {category: mailbox_full}, do: hold}",
        )
    )
    assert (finding.code, finding.line) == ("unreachable-rule", 4)
    assert finding.fix.startswith("an id of its own")


def test_a_base_is_its_authors_and_only_the_owners_file_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(WHOLE.replace("  - {id: permanent, do: fail, notify: operations}\n", ""))
    (tmp_path / "mine.yaml").write_text("policy: 1\nextends: base.yaml\nrules:\n  - {id: z, do: fail}\n")
    findings = lint(read_source(tmp_path / "mine.yaml"), providers=providers())
    assert {finding.file for finding in findings} == {str(tmp_path / "mine.yaml")}
    assert [finding.code for finding in findings] == ["hides-base"]


def test_what_of_rules_together_is_too_much_to_work_out_is_not_guessed() -> None:
    asks = "code: {code}, domain: d{number}.example, text: word{number}, attempts: {number}"
    many = (
        f"{{id: r{number}, when: {{{asks.format(number=number, code=400 + number)}}}, do: hold}}"
        for number in range(1, 99)
    )
    assert [one.code for one in found(ruled(*many)) if one.code in ("unreachable-rule", "contradictory-rules")] == []


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("mine.toml", 'policy = 1\nextends = "default"\n[[rules]]\ndo = "fail"\nid = "all"\n', (5, 6)),
        ("mine.json", '{"policy": 1, "extends": "default",\n "rules": [{"do": "fail", "id": "all"}]}', (2, 33)),
    ],
)
def test_a_finding_has_its_place_in_toml_and_in_json(name: str, text: str, place: tuple[int, int]) -> None:
    (finding,) = lint(read_policy(name, text, resolve=policy_text, known=schedules))
    assert (finding.code, finding.line, finding.column) == ("hides-base", *place)


def test_scopes_of_categories_are_not_doubted_where_rules_about_replies_may_say_otherwise(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        '[[rule]]\nid = "theirs"\nsource = "they"\ntext = "odd"\ncategory = "user_unknown"\nscope = "sender"\n'
        'examples = ["550 odd"]\n'
    )
    (tmp_path / "mine.yaml").write_text(
        ruled("{id: ours, when: {category: user_unknown, scope: sender}, do: hold}", head="meaning: own.toml\n")
    )
    assert lint(read_source(tmp_path / "mine.yaml"), providers=providers()) == ()


@pytest.mark.skipif(not PAGE.exists(), reason="the docs are not here")
def test_the_page_of_findings_has_each_with_its_level_and_reason() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.+?) \| (.+?) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows == [(code, fault.level.value, fault.what, fault.why) for code, fault in FAULTS.items()]
