"""The schedules that come with bouncekit: what each system really does, and how a policy names them."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from bouncekit.delivery.events import EventType
from bouncekit.outside.builtin import classify, known_schedules, policy_text, schedules
from bouncekit.policy.policy import Policy
from bouncekit.policy.schedule import Schedule, parse_duration, show_duration
from bouncekit.policyfiles.policyfile import read_policy
from bouncekit.policyfiles.policyprint import show_policy
from bouncekit.words.errors import PolicyError
from bouncekit.words.status import Action

from .building import ANN, NOW, Driver, delivery_to

MINUTE = timedelta(minutes=1)
REFERENCE = Path(__file__).parents[1] / "docs" / "reference" / "policy.md"
HEAD = "policy: 1\nclasses: {normal: {deadline: 5d, default: true}}\nrules:\n"


def load(text: str) -> Policy:
    return read_policy("own.yaml", text, resolve=policy_text, known=schedules).policy


def waits(name: str, number: int) -> list[str]:
    schedule = known_schedules()[name].schedule
    return [show_duration(schedule.wait(attempt + 1)) for attempt in range(number)]


# -- what the systems do


@pytest.mark.parametrize(
    ("name", "first_waits"),
    [
        ("rfc5321", "30m 30m 2h 3h 3h"),
        ("postfix", "5m 5m 10m 20m 40m 4000s 4000s"),
        ("exim", "15m 15m 15m 15m 15m 15m 15m 15m 1h 90m 135m 12150s 18225s 27337.5s 6h 6h"),
        ("kumo", "20m 40m 80m 160m 320m 640m 1280m 2560m 5120m"),
        ("postal", "5m 390s 507s 659.1s 856.83s"),
        ("mox", "450s 15m 30m 1h 2h 4h 8h"),
        ("haraka", "64s 128s 256s 512s 1024s 2048s 4096s 8192s 16384s 32768s 65536s 131072s"),
        ("zone", "5m 7m 8m 25m 75m 2h 4h 4h 4h"),
        ("stalwart", "2m 5m 10m 15m 30m 1h 2h 2h"),
        ("hyvor", "15m 1h 2h 4h 8h 16h"),
        ("sparkpost", "20m 40m 80m 160m 320m"),
        ("mailgun", "10m 15m 30m 1h 2h 4h"),
        ("sendgrid", "1m 10m 1h 4h 4h"),
        ("powermta", "10m 10m 10m"),
    ],
)
def test_a_known_schedule_waits_as_that_system_does(name: str, first_waits: str) -> None:
    assert waits(name, len(first_waits.split())) == first_waits.split()


def test_postfix_waits_as_long_as_the_message_is_old() -> None:
    schedule, age = known_schedules()["postfix"].schedule, timedelta(0)
    for attempt in range(1, 12):
        assert schedule.wait(attempt) == min(max(age, timedelta(seconds=300)), timedelta(seconds=4000))
        age += schedule.wait(attempt)


def test_exim_changes_its_step_after_two_and_after_sixteen_hours() -> None:
    schedule, age = known_schedules()["exim"].schedule, timedelta(0)
    for attempt in range(1, 30):
        wait = schedule.wait(attempt)
        assert (wait == 15 * MINUTE) is (age < timedelta(hours=2))
        assert (wait == 360 * MINUTE) is (age >= timedelta(hours=16))
        age += wait


@pytest.mark.parametrize("name", known_schedules())
def test_each_says_what_it_is_where_that_stands_and_gives_up_later_than_it_first_waits(name: str) -> None:
    known = known_schedules()[name]
    assert known.schedule.name == name
    assert known.doc.endswith(".")
    assert known.source
    assert known.gives_up is not None
    assert known.gives_up > known.schedule.wait(1)


@pytest.mark.parametrize(("name", "tries"), [("mox", 8), ("haraka", 13), ("hyvor", 7), ("mailgun", 7)])
def test_a_class_with_that_system_s_deadline_makes_as_many_tries(name: str, tries: int) -> None:
    known = known_schedules()[name]
    assert known.gives_up is not None
    policy = load(
        f"policy: 1\nclasses: {{normal: {{deadline: {show_duration(known.gives_up)}, default: true}}}}\n"
        f"rules: [{{id: a, do: retry, wait: {name}}}]\n"
    )
    driver = Driver([{ANN: "451 4.3.0 later"}] * 99, waits=[True] * 99)
    # The number of a delivery is its jitter; this one has next to none.
    driver.drive(delivery_to(ANN, id="d1854"), policy, classify=classify)
    assert len(driver.transacted) == tries


@pytest.mark.skipif(not REFERENCE.exists(), reason="the docs are not here")
def test_the_reference_lists_all_of_them() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (\w+) \|$", REFERENCE.read_text("utf-8"), re.MULTILINE)
    assert [(name, doc, parse_duration(gives_up)) for name, doc, gives_up in rows] == [
        (name, known.doc, known.gives_up) for name, known in known_schedules().items()
    ]


# -- in a policy


def test_a_rule_names_one_without_a_definition() -> None:
    policy = load(HEAD + "- {id: a, do: retry, wait: postfix}\n")
    assert policy.rules[0].wait == known_schedules()["postfix"].schedule
    assert list(policy.schedules) == ["postfix"]


def test_the_owner_s_schedule_of_that_name_wins() -> None:
    policy = load(HEAD.replace("rules:", "schedules: {postfix: 7m}\nrules:") + "- {id: a, do: retry, wait: postfix}\n")
    assert policy.rules[0].wait == Schedule("postfix", (7 * MINUTE,))


def test_what_no_rule_names_is_not_in_the_policy_and_the_first_schedule_stays_the_files() -> None:
    policy = load("policy: 1\nextends: default\nrules: [{id: a, do: retry, wait: exim}, {id: b, do: retry}]\n")
    assert list(policy.schedules) == ["hours", "minutes", "greylist", "slow", "quick", "exim"]
    assert policy.rules[1].wait == policy.schedules["hours"]


def test_a_retry_without_a_wait_still_needs_a_schedule_of_the_file() -> None:
    with pytest.raises(PolicyError, match="retry needs a wait"):
        load(HEAD + "- {id: a, do: retry, wait: exim}\n- {id: b, do: retry}\n")


def test_an_unknown_schedule_is_named_with_what_there_is_in_both() -> None:
    text = HEAD.replace("rules:", "schedules: {often: 7m}\nrules:")
    with pytest.raises(PolicyError) as caught:
        load(text + "- {id: a, do: retry, wait: postfx}\n- {id: b, do: retry, wait: oftn}\n")
    first, second = caught.value.findings
    assert str(first).startswith(
        "own.yaml:5:28: unknown schedule 'postfx': did you mean 'postfix'? There are often, rfc5321, postfix, exim"
    )
    assert str(second).startswith("own.yaml:6:28: unknown schedule 'oftn': did you mean 'often'?")


def test_the_policy_s_hash_names_the_known_schedules_too() -> None:
    text = HEAD + "- {id: a, do: retry, wait: mine}\n"
    one, other = (
        read_policy(
            "own.yaml", text, resolve=policy_text, known=lambda wait=wait: {"mine": Schedule("mine", (wait,))}
        ).policy
        for wait in (MINUTE, 2 * MINUTE)
    )
    assert one.hash != other.hash


def test_known_schedules_are_read_only_where_a_rule_names_one() -> None:
    def fail() -> dict[str, Schedule]:
        raise AssertionError

    read_policy("own.yaml", "policy: 1\nextends: default\n", resolve=policy_text, known=fail)


def test_what_is_shown_defines_them_and_loads_without_them() -> None:
    policy = load(HEAD + "- {id: a, do: retry, wait: exim}\n- {id: b, do: retry, wait: kumo}\n")
    again = read_policy("own.yaml", show_policy(policy), resolve=policy_text).policy
    assert again.schedules == policy.schedules
    assert [rule.wait for rule in again.rules] == [rule.wait for rule in policy.rules]


# -- the end


def test_the_event_of_a_message_that_was_given_up_has_the_last_real_cause() -> None:
    policy = load(
        "policy: 1\nclasses: {normal: {deadline: 40m, default: true}}\nrules: [{id: a, do: retry, wait: stalwart}]\n"
    )
    answers = ["451 4.3.0 first", "452 4.3.1 second", "450 4.2.0 third", "452 4.2.2 Over quota", "451 4.3.0 last"]
    driver = Driver([{ANN: answer} for answer in answers], waits=[True] * 9)
    report = driver.drive(delivery_to(ANN, id="d1854"), policy, classify=classify)
    (settled,) = report.failed
    assert (settled.action, settled.expired, settled.attempts, settled.retry_at) == (Action.FAILED, True, 5, None)
    assert str(settled.reply) == answers[-1]
    (failed,) = (event for event in driver.events if event.type is EventType.FAILED)
    data = failed.to_dict()["data"]
    assert (data["expired"], data["reply"], data["category"]) == (True, answers[-1], str(settled.category))
    assert data["category"] != "expired"  # that is what a relay says of itself
    assert [event.type for event in driver.events] == [EventType.DELAYED] * 4 + [EventType.FAILED]


def test_recipients_that_wait_together_come_back_in_one_transaction() -> None:
    policy = load(HEAD + "- {id: a, do: retry, wait: exim}\n")
    to = [f"r{number}@example.com" for number in range(9)]
    driver = Driver([dict.fromkeys(to, "451 4.3.0 later")], waits=[True])
    driver.drive(delivery_to(*to), policy, classify=classify)
    assert driver.transacted == [tuple(to), tuple(to)]
    assert driver.now > NOW + 15 * MINUTE
