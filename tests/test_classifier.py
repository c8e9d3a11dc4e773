"""The order of judgement, scope before blame, rule files and their mistakes."""

import csv
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from bouncekit.meaning.classification import Category, Classification, Scope, Step, scope_of
from bouncekit.meaning.classifier import Classifier
from bouncekit.meaning.rulefile import load_rules
from bouncekit.outside.builtin import classifier, open_rules
from bouncekit.words.errors import ConfigurationError, RuleError
from bouncekit.words.reply import Cause, EnhancedStatusCode, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

TABLE = Path(__file__).parent / "data" / "replies" / "decision_table.tsv"
CORPUS = Path(__file__).parents[1].parent / "shared" / "corpus" / "replies.jsonl"


def status(
    reply: str | Reply | NoReply | None,
    stage: Stage = Stage.RCPT,
    *,
    accepted: int = 0,
    individual: bool = True,
    remote_mta: str | None = None,
    stated: str | None = None,
) -> RecipientStatus:
    return RecipientStatus(
        recipient="jo@example.com",
        action=Action.FAILED,
        stage=stage,
        reply=Reply.parse(reply) if isinstance(reply, str) else reply,
        accepted=accepted,
        individual=individual,
        remote_mta=remote_mta,
        status=EnhancedStatusCode.parse(stated) if stated else None,
    )


def judge(reply: str, stage: Stage = Stage.RCPT, *, provider: str | None = None, **rest: object) -> Classification:
    return classifier().classify(status(reply, stage, **rest), provider=provider)  # type: ignore[arg-type]


def cases() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader((line for line in lines if not line.startswith("#")), delimiter="\t"))


# -- the faces of 221, 421, 452 and 552


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case['row']}-{case['stage']}-{case['accepted']}")
def test_a_face_of_221_421_452_or_552_has_its_meaning(case: dict[str, str]) -> None:
    verdict = judge(
        case["reply"], Stage(case["stage"]), accepted=int(case["accepted"]), individual=case["individual"] == "yes"
    )
    found = (verdict.category, str(verdict.scope or "-"), verdict.permanent, verdict.certain)
    assert found == (case["category"], case["scope"], case["permanent"] == "yes", case["certain"] == "yes"), (
        verdict.rule
    )


def test_the_table_has_every_face_that_is_a_reply() -> None:
    faces = Counter(case["row"].split("-")[0] for case in cases())
    assert {"221", "421", "452", "552"} == set(faces)
    assert len({case["row"] for case in cases()}) == 32


# -- the order of judgement


@pytest.mark.parametrize(
    ("reply", "provider", "step"),
    [
        ("550 5.5.0 Requested action not taken: mailbox unavailable", "microsoft", Step.PROVIDER),
        ("552 5.2.2 Mailbox full", None, Step.TABLE),
        ("550 5.1.1 No such user", None, Step.ENHANCED),
        ("550 5.7.1 User unknown", None, Step.TEXT),
        ("550 5.7.1 Forsooth", None, Step.SUBJECT),
        ("556 Forsooth", None, Step.CODE),
        ("550 Forsooth", None, Step.DIGIT),
    ],
)
def test_the_first_step_that_knows_something_decides(reply: str, provider: str | None, step: Step) -> None:
    assert judge(reply, provider=provider).step is step


def test_a_text_goes_before_a_code_that_says_too_little() -> None:
    assert judge("550 5.7.1 <jo@example.net>: Relay access denied").category is Category.RELAY_DENIED
    assert judge("550 5.2.1 <jo@example.com>... User unknown").category is Category.USER_UNKNOWN
    assert judge("550 5.0.0 Mailbox full").category is Category.MAILBOX_FULL


def test_a_text_that_names_another_cause_goes_before_an_address_code() -> None:
    verdict = judge("550 5.1.1 <jo@example.com> 192.0.2.1 is on our blocklist")
    assert (verdict.category, verdict.scope) == (Category.BLOCKLISTED, Scope.SENDER)


@pytest.mark.parametrize(
    ("reply", "category"),
    [
        ("550 5.1.1 Relay access denied", Category.RELAY_DENIED),
        ("550 5.1.1 Blocked", Category.POLICY),
        ("550 5.1.1 Authentication required", Category.CREDENTIALS),
        ("550 5.1.1 Message too large", Category.MESSAGE_TOO_BIG),
        ("550 5.1.1 Connection timed out to the backend", Category.NETWORK_ERROR),
        ("550 5.1.1 Recipient lookup failed: LDAP server unavailable", Category.SYSTEM_ERROR),
        ("550 5.2.2 Mail store out of disk", Category.SYSTEM_FULL),
    ],
)
def test_a_text_that_blames_somebody_else_outweighs_a_code_that_blames_the_recipient(
    reply: str, category: Category
) -> None:
    verdict = judge(reply)
    assert verdict.category is category
    assert verdict.scope is not Scope.RECIPIENT


@pytest.mark.parametrize(
    ("reply", "category"),
    [
        ("550 5.1.1 Storage of jo exhausted, quota exceeded", Category.MAILBOX_FULL),
        ("550 5.1.1 The mail account was switched off", Category.MAILBOX_DISABLED),
        ("550 5.1.1 Jo has left the company", Category.MOVED),
    ],
)
def test_a_text_that_knows_better_why_a_recipient_is_refused_outweighs_user_unknown(
    reply: str, category: Category
) -> None:
    assert judge(reply).category is category


def test_a_text_that_agrees_with_an_address_code_leaves_it_its_word() -> None:
    assert judge("550 5.1.1 Mailbox unavailable, no such user").rule == "enhanced-1-1"
    assert judge("550 5.7.2 Mailing list expansion prohibited").category is Category.RECIPIENT_FILTERED


@pytest.mark.parametrize(
    ("reply", "provider", "category"),
    [
        ("550 5.4.1 Unable to relay: Relay Access Denied", "microsoft", Category.RELAY_DENIED),
        ("553 5.7.2 [TSS09] Retrying will NOT succeed", None, Category.POLICY),
        ("550 5.4.1 Recipient address rejected: Access denied", "microsoft", Category.USER_UNKNOWN),
    ],
)
def test_a_rule_without_a_text_minds_its_unless(reply: str, provider: str | None, category: Category) -> None:
    assert judge(reply, provider=provider).category is category


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 Wir nehmen keine Mail von Ihrem Server",
        "550 5.1.1 Votre serveur n'est pas le bienvenu",
        "550 5.1.1 \u53d1\u4ef6\u4eba\u6709\u95ee\u9898",
        "550 5.1.1 Directory offline",
        "550 5.1.2 Your hostname in the greeting is odd",
        "550 5.2.1 Sending account has a problem",
        "552 5.2.2 Your allowance of outgoing messages is used up",
        "550 5.1.1 The moon is in the wrong quarter",
    ],
)
def test_a_code_alone_is_not_taken_at_its_word_where_the_text_speaks_of_somebody_else(reply: str) -> None:
    verdict = judge(reply)
    assert verdict.scope is not Scope.RECIPIENT
    assert not (verdict.scope is None and verdict.certain)


@pytest.mark.parametrize("reply", ["550 5.1.1", "550 5.1.1 Refused", "550 5.1.1 <jo@example.com>... No"])
def test_a_code_alone_blames_the_recipient_where_the_text_is_silent_but_is_not_certain(reply: str) -> None:
    verdict = judge(reply)
    assert (verdict.category, verdict.scope, verdict.certain) == (Category.USER_UNKNOWN, Scope.RECIPIENT, False)


def test_a_code_whose_text_says_the_same_is_certain() -> None:
    assert judge("550 5.1.1 No such user").certain
    assert judge("550 5.2.2 Refused").certain


def test_a_senders_callout_blames_the_sender_whatever_it_quotes() -> None:
    said = (
        "550-Verification failed for <shop@example.org>\n"
        "550-Response: 550 5.1.1 Recipient address rejected\n"
        "550 Sender verify failed"
    )
    assert judge(said).category is Category.SENDER_REJECTED


def test_a_quoted_code_decides_where_nothing_better_does_and_is_never_certain() -> None:
    verdict = judge("550 5.0.0 host mx.example.com said: 550 5.1.1 nope")
    assert (verdict.category, verdict.certain) == (Category.USER_UNKNOWN, False)


def test_a_number_of_four_parts_is_no_quoted_code() -> None:
    assert judge("550 from 5.1.1.5").category is Category.UNKNOWN


def test_a_providers_dialect_counts_only_at_that_provider() -> None:
    reply = "550 5.7.27 Refused"
    assert judge(reply).category is Category.SENDER_REJECTED
    assert judge(reply, provider="gmail").category is Category.SENDER_AUTH


@pytest.mark.parametrize(
    "host",
    ["gmail-smtp-in.l.google.com", "ASPMX.L.GOOGLE.COM.", "mx.google.com [192.0.2.1]", "alt1.aspmx.l.google.com:25"],
)
def test_without_a_name_the_remote_mta_tells_the_provider(host: str) -> None:
    assert judge("550 5.7.27 Refused", remote_mta=host).step is Step.PROVIDER


@pytest.mark.parametrize("host", ["google.com.example.org", "notgoogle.com", "", ".", "[192.0.2.1]", "com"])
def test_a_host_that_only_looks_like_a_providers_is_none(host: str) -> None:
    assert judge("550 5.7.27 Refused", remote_mta=host).step is Step.ENHANCED


def test_a_status_of_a_report_counts_where_the_reply_has_none() -> None:
    assert classifier().classify(status("550 Forsooth", stated="5.1.1")).category is Category.USER_UNKNOWN


def test_a_report_without_any_reply_is_judged_by_its_status() -> None:
    verdict = classifier().classify(status(None, stated="5.1.1"))
    assert (verdict.category, verdict.permanent) == (Category.USER_UNKNOWN, True)
    assert not classifier().classify(status(None, stated="4.4.1")).permanent


def test_a_report_without_reply_and_status_is_judged_by_its_action() -> None:
    verdict = classifier().classify(status(None))
    assert (verdict.category, verdict.scope, verdict.permanent) == (Category.UNKNOWN, None, True)


# -- scope before blame


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.EHLO, Stage.MAIL, Stage.AUTH, Stage.STARTTLS, Stage.IDLE])
@pytest.mark.parametrize(
    "reply", ["550 5.1.1 User unknown", "552 5.2.2 Mailbox full", "521 Host takes no mail", "554 No"]
)
def test_before_rcpt_nobody_is_a_bad_recipient(reply: str, stage: Stage) -> None:
    assert judge(reply, stage).scope is not Scope.RECIPIENT


def test_an_address_refused_at_mail_is_the_senders() -> None:
    assert judge("550 5.1.1 User unknown", Stage.MAIL).category is Category.SENDER_REJECTED


def test_behind_the_data_of_several_a_recipients_fault_is_nobodys() -> None:
    verdict = judge("550 5.1.1 User unknown", Stage.END_OF_DATA, accepted=2, individual=False)
    assert (verdict.category, verdict.scope, verdict.certain) == (Category.USER_UNKNOWN, None, False)


def test_behind_the_data_of_one_it_is_that_ones() -> None:
    verdict = judge("550 5.1.1 User unknown", Stage.END_OF_DATA, accepted=1)
    assert (verdict.scope, verdict.permanent, verdict.certain) == (Scope.RECIPIENT, True, True)


def test_permanent_is_the_judgement_and_not_the_digit() -> None:
    assert not judge("550 Connection frequency limited", provider="qq").permanent
    assert judge("451 Open relay not allowed", provider="mimecast").permanent
    assert not judge("450 4.2.2 Mailbox full").permanent


# -- what servers echo


def test_an_address_in_the_text_is_a_name_and_says_nothing() -> None:
    assert judge("550 <no-such-user@example.com>: Forsooth").category is Category.UNKNOWN
    assert judge("550 5.2.2 <spam@example.com>: over quota").category is Category.MAILBOX_FULL


def test_the_domain_of_an_address_and_the_path_of_a_link_are_names_too() -> None:
    assert judge("550 5.1.1 <jo@spamhaus.org> User unknown").category is Category.USER_UNKNOWN
    assert judge("550 Forsooth, see https://example.com/spam/blacklist").category is Category.UNKNOWN
    assert judge("554 Forsooth, see https://www.spamhaus.org/query/ip/192.0.2.1").category is Category.BLOCKLISTED


def test_a_long_text_is_judged_by_its_beginning() -> None:
    long = Reply(550, b"User unknown. " + b"x" * 200_000)
    assert classifier().classify(status(long)).category is Category.USER_UNKNOWN
    late = Reply(550, b"x " * 5_000 + b"User unknown")
    assert classifier().classify(status(late)).category is Category.UNKNOWN


def test_bytes_that_are_no_text_are_judged_by_the_code() -> None:
    verdict = classifier().classify(status(Reply(552, bytes(range(128, 256)))))
    assert (verdict.category, verdict.certain) == (Category.MAILBOX_FULL, False)


def test_only_the_first_quoted_codes_are_looked_at() -> None:
    judging = Classifier(classifier().rules)
    judging.classify(status(Reply(550, b" ".join(b"5.9.%d" % detail for detail in range(500)))))
    assert judging._plan.cache_info().currsize < 10


@pytest.mark.parametrize("code", [-1, 0, 42, 600, 999, 12345])
def test_a_number_that_is_no_reply_code_is_a_broken_dialogue(code: int) -> None:
    assert classifier().classify(status(Reply(code, b"what?"))).category is Category.PROTOCOL_ERROR


def test_a_flood_of_different_texts_is_forgotten_again() -> None:
    judging = Classifier(classifier().rules)
    for number in range(3_000):
        judging.classify(status(Reply(550, b"%d no" % number)))
    kept = judging._remembered.cache_info()
    assert kept.currsize == kept.maxsize < 3_000


def test_a_long_text_is_not_remembered() -> None:
    judging = Classifier(classifier().rules)
    judging.classify(status(Reply(550, b"x" * 100_000)))
    assert judging._remembered.cache_info().currsize == 0


# -- no reply


_ABOUT_THE_RECIPIENT = {Cause.LOCAL, Cause.NO_SUCH_DOMAIN, Cause.NULL_MX, Cause.NO_ADDRESS}


@pytest.mark.parametrize("cause", sorted(set(Cause) - _ABOUT_THE_RECIPIENT))
def test_silence_blames_no_recipient_and_may_be_tried_again(cause: Cause) -> None:
    verdict = classifier().classify(status(NoReply(cause), Stage.END_OF_DATA))
    assert verdict.step is Step.NO_REPLY
    assert (verdict.scope, verdict.permanent) == (Scope.ROUTE, False)


@pytest.mark.parametrize(
    ("cause", "category"),
    [
        (Cause.REFUSED, Category.NETWORK_ERROR),
        (Cause.LOST, Category.NETWORK_ERROR),
        (Cause.TIMED_OUT, Category.NETWORK_ERROR),
        (Cause.DNS, Category.NETWORK_ERROR),
        (Cause.TLS, Category.TLS_FAILURE),
        (Cause.PROTOCOL, Category.PROTOCOL_ERROR),
        (Cause.LOCAL, Category.INVALID_ADDRESS),
        (Cause.NO_SUCH_DOMAIN, Category.BAD_DOMAIN),
        (Cause.NULL_MX, Category.BAD_DOMAIN),
        (Cause.NO_ADDRESS, Category.BAD_DOMAIN),
    ],
)
def test_silence_has_the_category_of_its_cause(cause: Cause, category: Category) -> None:
    assert classifier().classify(status(NoReply(cause))).category is category


def test_what_we_refused_ourselves_is_certain_and_final() -> None:
    verdict = classifier().classify(status(NoReply(Cause.LOCAL, "no @")))
    assert (verdict.scope, verdict.permanent, verdict.certain) == (Scope.RECIPIENT, True, True)


@pytest.mark.parametrize("cause", [Cause.NO_SUCH_DOMAIN, Cause.NULL_MX, Cause.NO_ADDRESS])
def test_what_dns_denies_is_final_and_about_the_recipient(cause: Cause) -> None:
    verdict = classifier().classify(status(NoReply(cause, "example.com")))
    assert (verdict.scope, verdict.permanent) == (Scope.RECIPIENT, True)
    assert verdict.certain is (cause is not Cause.NO_ADDRESS)


def test_a_host_has_its_provider_by_the_end_of_its_name() -> None:
    assert classifier().provider_of("mx1.mail.icloud.com.") == "icloud"
    assert classifier().provider_of("noticloud.com") is None


def test_an_unasked_reply_is_judged_as_what_it_is() -> None:
    unasked = NoReply(Cause.UNSOLICITED, "unasked", Reply.parse("550 5.1.1 User unknown"))
    said = status(unasked)
    verdict = classifier().classify(said)
    assert verdict.status is said
    assert verdict.scope is not Scope.RECIPIENT


# -- waits that the text asks for


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        ("451 4.7.1 Greylisted, try again in 300 seconds", 300),
        ("450 Please retry in 5 minutes", 300),
        ("451 4.7.1 Greylisting in action, please come back in 00:05:00", 300),
        ("450 4.7.1 Greylisted for 60s", 60),
        ("421 4.7.0 Try again after 2 hours", 7200),
        ("450 Bitte erneut in 10 Minuten versuchen", 600),
        ("450 Retry in 0 seconds", 1),
        ("450 Try again in 90 days", 86400),
        ("450 Try again in 999999999 hours", 86400),
        ("550 Connection frequency limited, wait 1 hour", 3600),
        ("450 Retry-After: 120", 120),
        ("451 Greylisted, come back in five minutes", 300),
        ("450 Vuelva a intentarlo; espere 10 minutos", 600),
        ("450 Riprovare tra 5 minuti", 300),
        ("450 Tente novamente, aguarde 2 horas", 7200),
        ("450 Spróbuj ponownie za 15 minut", 900),
        ("451 Вы в сером списке, повторите через 5 минут", 300),
        ("451 请在5分钟后再试", 300),
        ("451 5분 후 다시 시도", 300),
    ],
)
def test_a_wait_in_the_text_is_a_hint_within_bounds(reply: str, seconds: int) -> None:
    assert judge(reply).wait_hint == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "reply",
    [
        "450 4.2.0 Greylisted, see http://postgrey.schweikert.ch/help/example.com.html",
        "450 4.4.2 Connection timed out after 30 seconds",
        "421 too many messages in 60 minutes",
        "450 Try again later, limit is one message of yours every 60 seconds",
        "450 Try again in ² seconds",
        "450 Try again in 99999999999999999999 seconds",
        "550 5.1.1 User unknown, try again in 5 minutes",
        "450 Try again, error 0x17 at 12",
    ],
)
def test_other_numbers_are_no_hint(reply: str) -> None:
    assert judge(reply).wait_hint is None


# -- rule files

GOOD = """
# a comment
[[rule]]
id = "one"
source = "RFC 5321"
code = ["1xx", "2xx", "3xx", "4xx", "5xx"]
category = "unknown"
examples = ["550 No"]
"""


def findings(text: str, name: str = "rules/digits.toml") -> list[str]:
    with pytest.raises(RuleError) as caught:
        load_rules([(name, text)])
    return [str(finding) for finding in caught.value.findings]


def test_rules_come_in_the_order_of_judgement_however_the_files_do() -> None:
    text = GOOD.replace('"one"', '"two"')
    rules = load_rules([("rules/digits.toml", GOOD), ("rules/text_pace.toml", text)])
    assert [(rule.id, rule.step, rule.where) for rule in rules] == [
        ("two", Step.TEXT, "rules/text_pace.toml:3"),
        ("one", Step.DIGIT, "rules/digits.toml:3"),
    ]


def test_an_example_is_as_its_rule_wants_it_where_it_does_not_say() -> None:
    text = GOOD + 'stage = ["MAIL", "AUTH"]\naccepted = {at_least = 3}\n'
    (example,) = load_rules([("codes.toml", text)])[0].examples
    assert (example.stage, example.accepted, example.individual) == (Stage.MAIL, 3, True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"unknown"', '"unknwon"', "no category 'unknwon'; one of user_unknown,"),
        ('category = "unknown"\n', "", "no category"),
        ('source = "RFC 5321"\n', "", "no source"),
        ('examples = ["550 No"]\n', "", "no examples"),
        ('examples = ["550 No"]', 'examples = ["No"]', "'No' does not start with a reply code"),
        ('examples = ["550 No"]', 'examples = [{reply = "550 No", stge = "RCPT"}]', "is no reply and no table of"),
        ('examples = ["550 No"]', 'examples = [{reply = "550 No", stage = "RCTP"}]', "no stage 'RCTP'"),
        ('"5xx"]', '"6xx"]', "code '6xx' is no pattern; one looks like 452"),
        ('id = "one"', 'id = "one"\nenhanced = "5.2"', "enhanced '5.2' is no pattern"),
        ('id = "one"', 'id = "one"\nstage = "RCTP"', "no stage 'RCTP'; one of CONNECT"),
        ('id = "one"', 'id = "one"\ntext = "!?"', "'!?' has no word to look for"),
        ('id = "one"', 'id = "one"\ntext = [5]', "text must be a text or a list of texts"),
        ('id = "one"', 'id = "one"\npermanent = "yes"', "permanent must be true or false, not 'yes'"),
        ('id = "one"', 'id = "one"\naccepted = "many"', "accepted must be a number or {at_least"),
        ('id = "one"', 'id = "one"\ncategroy = "unknown"', "unknown key categroy; one of about,"),
        ('id = "one"', 'id = "one"\nprovider = "gmial"', "provider 'gmial' has no line in [hosts]"),
        ('code = ["1xx", "2xx", "3xx", "4xx", "5xx"]\n', "", "no condition"),
    ],
)
def test_a_mistake_in_a_rule_is_told_with_its_line(old: str, new: str, message: str) -> None:
    (found,) = findings(GOOD.replace(old, new))
    assert found.startswith("rules/digits.toml:3: ")
    assert message in found


def test_every_mistake_is_told_at_once() -> None:
    bad = GOOD.replace('"unknown"', '"unknwon"')
    second = bad.replace('"one"', '"two"').replace('source = "RFC 5321"\n', "")
    assert [found.split(" ")[0] for found in findings(bad + second)] == ["rules/digits.toml:3:"] + [
        "rules/digits.toml:11:"
    ] * 2


def test_a_second_rule_of_the_same_name_is_a_mistake() -> None:
    assert findings(GOOD + GOOD) == ["rules/digits.toml:11: a second rule 'one'; the first is at rules/digits.toml:3"]


def test_a_file_of_no_step_is_a_mistake() -> None:
    (found,) = findings(GOOD, "rules/mine.toml")
    assert found.startswith("rules/mine.toml: no such step of judgement; one of providers.toml,")


def test_a_file_that_is_no_toml_is_told_with_its_place() -> None:
    (found,) = findings("[[rule]]\nid = \n")
    assert found.startswith("rules/digits.toml:2:6: no TOML:")


@pytest.mark.parametrize("text", ["rule = 5", "rule = [{id = 'x'}]", "[[ rule ]]\nid = 'x'", "rules = 5"])
def test_a_file_of_another_shape_is_a_mistake(text: str) -> None:
    assert len(findings(text)) == 1


def test_rules_that_leave_a_reply_open_are_refused() -> None:
    rules = load_rules([("digits.toml", GOOD.replace('"2xx", ', ""))])
    with pytest.raises(RuleError, match="no rule for 299"):
        Classifier(rules)


# -- rules of the owner

OWN = """
[words]
gate = ["gate"]

[[rule]]
id = "gate-closed"
source = "our gateway"
text = "{gate} {refused}"
category = "relay_denied"
examples = ["550 5.1.1 User unknown: refused at the gate"]

[[rule]]
id = "gmail-too"
source = "our gateway"
provider = "gmail"
text = "gatekeeper"
category = "policy"
examples = ["550 gatekeeper"]
"""


def with_own(tmp_path: Path, text: str) -> Classifier:
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    return open_rules(path)


def test_the_owners_rules_go_before_all_others(tmp_path: Path) -> None:
    verdict = with_own(tmp_path, OWN).classify(status("550 5.1.1 User unknown, the gate refused it"))
    assert (verdict.category, verdict.step, verdict.rule) == (Category.RELAY_DENIED, Step.OWN, "gate-closed")
    assert verdict.where == f"{tmp_path / 'mine.toml'}:5"


def test_the_owners_rules_may_use_the_shipped_words_and_hosts(tmp_path: Path) -> None:
    mine = with_own(tmp_path, OWN)
    assert mine.classify(status("550 gatekeeper", remote_mta="aspmx.l.google.com")).rule == "gmail-too"
    assert mine.classify(status("550 gatekeeper")).category is Category.UNKNOWN


def test_what_the_owner_does_not_mention_stays_as_it_was(tmp_path: Path) -> None:
    assert with_own(tmp_path, OWN).classify(status("552 5.2.2 Mailbox full")).category is Category.MAILBOX_FULL


def test_a_mistake_of_the_owner_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"mine\.toml:5: text: no set 'gaet' in \[words\]"):
        with_own(tmp_path, OWN.replace("{gate}", "{gaet}"))
    with pytest.raises(RuleError, match="a second rule 'enhanced-1-1'"):
        with_own(tmp_path, OWN.replace("gate-closed", "enhanced-1-1"))


def test_a_rules_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: No such file"):
        open_rules("nowhere.toml")


# -- replies of a public corpus


def from_corpus(row: dict[str, str]) -> RecipientStatus:
    """A row as a reply; a line that lost its code gets one of its class."""
    stage = {"": Stage.RCPT, "HELO": Stage.EHLO, "DATA": Stage.END_OF_DATA}.get(row["stage"]) or Stage(row["stage"])
    code = int(row["reply_code"] or 550) if row["reply_code"] or not row["status"] else int(row["status"][0]) * 100 + 50
    try:
        reply = Reply.parse(row["reply"])
    except ValueError:
        reply = Reply(code, row["reply"].encode())
    # Details from 900 on are the corpus maker's own.
    stated = row["status"] if row["status"] and int(row["status"].rpartition(".")[2] or 999) < 900 else None
    accepted = int(stage is Stage.END_OF_DATA)
    return status(reply, stage, accepted=accepted, remote_mta=row["remote_mta"] or None, stated=stated)


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not here")
def test_real_replies_get_a_compatible_name_and_next_to_nobody_is_wrongly_called_dead() -> None:
    compatible = scoped = rows = 0
    wrong: list[str] = []
    for line in CORPUS.read_text("utf-8").splitlines():
        row = json.loads(line)
        verdict = classifier().classify(from_corpus(row))
        names = [Category(name) for name in (row["name"], *row["also_ok"])]
        scopes = {scope_of(name) for name in names}
        rows += 1
        compatible += verdict.category in names
        scoped += verdict.scope in scopes
        if verdict.scope is Scope.RECIPIENT and verdict.permanent and Scope.RECIPIENT not in scopes:
            wrong.append(row["reply"][:100])
    assert compatible / rows >= 0.91
    assert scoped / rows >= 0.93
    assert not wrong
