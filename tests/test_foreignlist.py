"""The lists of e-mail services, as they hand them out: which kind it is, and whom it binds."""

import json
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from bouncekit.lists.foreignlist import FORMATS, PLAIN, recognise, squeezed
from bouncekit.lists.listentry import Reader, Unbound
from bouncekit.lists.listfile import Row, read_rows
from bouncekit.meaning.classification import Category
from bouncekit.outside.builtin import classify
from bouncekit.policy.suppression import Standing, Suppression

from .building import NOW

GONE = "550 5.1.1 The email account that you tried to reach does not exist."
BLOCKED = "550 5.7.1 Service unavailable; client host blocked using Spamhaus"


class Case(NamedTuple):
    kind: str
    name: str
    text: str
    binds: dict[str, Category]  # address -> category; whoever is not here is bound by nothing


CASES = (
    Case(
        "ses",
        "list.json",
        json.dumps(
            {
                "NextToken": "[x",
                "SuppressedDestinationSummaries": [
                    {"EmailAddress": "a@x.org", "Reason": "BOUNCE", "LastUpdateTime": "2020-04-10T21:03:05-07:00"},
                    {"EmailAddress": "b@x.org", "Reason": "COMPLAINT", "LastUpdateTime": 1586577785.123},
                ],
            },
            indent=2,
        ),
        {"a@x.org": Category.USER_UNKNOWN, "b@x.org": Category.COMPLAINT},
    ),
    Case(
        "ses",
        "console.csv",
        'Email address,Reason,Last update time\na@x.org,Bounce,"2020-04-10T21:03:05Z"\nb@x.org,Complaint,\n',
        {"a@x.org": Category.USER_UNKNOWN, "b@x.org": Category.COMPLAINT},
    ),
    Case(
        "ses",
        "job.csv",
        "a@x.org,BOUNCE\nb@x.org, COMPLAINT\n",
        {"a@x.org": Category.USER_UNKNOWN, "b@x.org": Category.COMPLAINT},
    ),
    Case("ses", "job.jsonl", '{"emailAddress": "a@x.org", "reason": "BOUNCE"}\n', {"a@x.org": Category.USER_UNKNOWN}),
    Case(
        "sendgrid-bounces",
        "bounces.csv",
        "status,reason,email,created\n"
        f'5.1.1,"{GONE}",a@x.org,1600000000\n5.7.1,"{BLOCKED}",b@x.org,1600000000\n'
        '5.2.2,"552 5.2.2 Mailbox full",c@x.org,1600000000\n4.2.2,"452 4.2.2 Over quota",d@x.org,1600000000\n'
        '5.0.0,"no reason",e@x.org,1600000000\n',
        {"a@x.org": Category.USER_UNKNOWN, "c@x.org": Category.MAILBOX_FULL},
    ),
    Case(
        "sendgrid-blocks",
        "blocks.json",
        json.dumps([{"created": 1600000000, "email": "a@x.org", "reason": GONE, "status": "5.1.1"}]),
        {},
    ),
    Case(
        "sendgrid-invalid",
        "invalid.json",
        json.dumps([{"created": 1600000000, "email": "a@x.org", "reason": "Mail domain mentioned is unknown"}]),
        {"a@x.org": Category.INVALID_ADDRESS},
    ),
    Case(
        "sendgrid-spam-reports",
        "spam.csv",
        "ip,email,created\n192.0.2.1,a@x.org,1600000000\n",
        {"a@x.org": Category.COMPLAINT},
    ),
    Case(
        "sendgrid-unsubscribes",
        "unsubscribes.csv",
        "email,created\na@x.org,1600000000\n",
        {"a@x.org": Category.RECIPIENT_FILTERED},
    ),
    Case(
        "mailgun-bounces",
        "bounces.json",
        json.dumps(
            {
                "items": [
                    {
                        "address": "a@x.org",
                        "code": "550",
                        "error": "5.1.1 No such user",
                        "created_at": "Fri, 21 Oct 2011 11:02:55 GMT",
                    },
                    {"address": "b@x.org", "code": 550, "error": BLOCKED, "created_at": "2011-10-21 11:02:55 UTC"},
                    {"address": "c@x.org", "code": "605", "error": "Not delivering", "created_at": ""},
                ],
                "paging": {"next": "https://api.mailgun.net/v3/x"},
            }
        ),
        {"a@x.org": Category.USER_UNKNOWN},
    ),
    Case(
        "mailgun-complaints",
        "complaints.csv",
        'address,created_at\na@x.org,"Fri, 21 Oct 2011 11:02:55 GMT"\n',
        {"a@x.org": Category.COMPLAINT},
    ),
    Case(
        "mailgun-unsubscribes",
        "unsubscribes.csv",
        "address,tags,created_at\na@x.org,*,2011-10-21 11:02:55 UTC\nb@x.org,news,2011-10-21 11:02:55 UTC\n",
        {"a@x.org": Category.RECIPIENT_FILTERED},
    ),
    Case(
        "mailgun-unsubscribes",
        "unsubscribes.json",
        json.dumps(
            {
                "items": [
                    {"address": f"{name}@x.org", "tags": tags, "created_at": "Fri, 21 Oct 2011 11:02:55 GMT"}
                    for name, tags in (("a", ["*"]), ("b", ["news"]), ("c", ["news", "*"]))
                ]
            }
        ),
        {"a@x.org": Category.RECIPIENT_FILTERED, "c@x.org": Category.RECIPIENT_FILTERED},
    ),
    Case(
        "sendgrid-unsubscribes",
        "groups.json",
        json.dumps([{"email": "a@x.org", "group_id": 1, "group_name": "Weekly News", "created_at": 1410986704}]),
        {},
    ),
    Case(
        "postmark",
        "dump.json",
        json.dumps(
            {
                "Suppressions": [
                    {
                        "EmailAddress": f"{name}@x.org",
                        "SuppressionReason": reason,
                        "Origin": "Recipient",
                        "CreatedAt": "2019-12-17T08:58:33-05:00",
                    }
                    for name, reason in (("a", "HardBounce"), ("b", "SpamComplaint"), ("c", "ManualSuppression"))
                ]
            }
        ),
        {"a@x.org": Category.USER_UNKNOWN, "b@x.org": Category.COMPLAINT, "c@x.org": Category.RECIPIENT_FILTERED},
    ),
    Case(
        "sparkpost",
        "list.json",
        json.dumps(
            {
                "results": [
                    {"recipient": "a@x.org", "type": "transactional", "source": "Bounce Rule", "description": GONE},
                    {"recipient": "b@x.org", "type": "transactional", "source": "Bounce Rule", "description": BLOCKED},
                    {"recipient": "c@x.org", "type": "non_transactional", "source": "Spam Complaint"},
                    {"recipient": "d@x.org", "type": "non_transactional", "source": "Unsubscribe Link"},
                    {"recipient": "e@x.org", "type": "transactional", "source": "Manually Added"},
                    {"recipient": "f@x.org", "type": "non_transactional", "source": "Manually Added"},
                ]
            }
        ),
        {
            "a@x.org": Category.USER_UNKNOWN,
            "c@x.org": Category.COMPLAINT,
            "e@x.org": Category.RECIPIENT_FILTERED,
        },
    ),
    Case(
        "postal",
        "suppressions.csv",
        "id,type,address,reason,timestamp,keep_until\n"
        "1,recipient,a@x.org,too many hard fails,1600000000.5,1602592000.5\n"
        "2,recipient,b@x.org,too many soft fails,1600000000.5,1602592000.5\n",
        {"a@x.org": Category.USER_UNKNOWN},
    ),
    Case(
        "plain",
        "people.txt",
        "# who asked us\na@x.org\n\nBob <b@x.org>\n",
        {"a@x.org": Category.RECIPIENT_FILTERED, "b@x.org": Category.RECIPIENT_FILTERED},
    ),
    Case("plain", "people.csv", "name;email\nAnn;a@x.org\n", {"a@x.org": Category.RECIPIENT_FILTERED}),
)


def read(case: Case, **settings: object) -> list[Suppression | Unbound]:
    import io

    rows = [row for row in read_rows(io.BytesIO(case.text.encode())) if isinstance(row, Row)]
    kind = recognise(frozenset(map(squeezed, rows[0].fields)), case.name)
    assert kind is not None
    assert kind.name == case.kind
    reader = Reader(format=kind, by="import", now=NOW, classify=classify, **settings)  # type: ignore[arg-type]
    return [reader.read(row.fields) for row in rows]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.name}")
def test_a_list_is_recognised_and_binds_only_whom_it_should(case: Case) -> None:
    found = {one.address: one.category for one in read(case) if isinstance(one, Suppression)}
    assert found == case.binds


def test_every_kind_has_a_case() -> None:
    assert {one.name for one in FORMATS} - {case.kind for case in CASES} == {"bouncekit"}


def entry(kind: str, number: int = 0, **settings: object) -> Suppression:
    found = read(next(case for case in CASES if case.kind == kind), **settings)[number]
    assert isinstance(found, Suppression)
    return found


def test_a_persons_word_is_lifted_by_no_success_and_a_services_may_be() -> None:
    assert entry("sendgrid-unsubscribes").standing is Standing.MANUAL
    assert entry("ses").standing is Standing.CONFIRMED
    assert entry("postal").standing is Standing.PROVISIONAL


def test_an_entry_is_as_old_as_the_service_says_and_keeps_what_was_said() -> None:
    assert entry("ses").since.isoformat() == "2020-04-11T04:03:05+00:00"
    assert entry("mailgun-bounces").since.isoformat() == "2011-10-21T11:02:55+00:00"
    assert entry("sendgrid-bounces").evidence.reply == GONE


def test_a_full_mailbox_ends_and_so_does_what_a_service_does_not_show() -> None:
    full = entry("sendgrid-bounces", 2)
    assert full.expires_at is not None
    assert (full.expires_at - full.since).days == 30
    assert entry("postal").expires_at is not None
    assert entry("ses").expires_at is None


@pytest.mark.parametrize(
    ("name", "row"), [("list.json", 3), ("list.json", 5), ("unsubscribes.json", 1), ("groups.json", 0)]
)
def test_what_binds_some_mail_only_needs_a_stream(name: str, row: int) -> None:
    case = next(case for case in CASES if case.name == name and case.kind != "ses")
    assert read(case)[row] == Unbound(f"{'abcdef'[row]}@x.org", "for some mail only: name its stream")
    named = read(case, stream="news")[row]
    assert isinstance(named, Suppression)
    assert named.stream == "news"


def test_each_row_of_json_lines_may_name_its_columns_in_its_own_way() -> None:
    rows = [
        {"emailAddress": "a@x.org", "reason": "BOUNCE"},
        {"EmailAddress": "b@x.org", "Reason": "COMPLAINT", "LastUpdateTime": 1586577785},
        {"": "x", "--": "no time", "Reason": "BOUNCE", "Email address": "c@x.org"},
    ]
    reader = Reader(format=next(one for one in FORMATS if one.name == "ses"), by="x", now=NOW, classify=classify)
    read = [reader.read(row) for row in rows]
    assert [(one.address, one.since) for one in read if isinstance(one, Suppression)] == [
        ("a@x.org", NOW),
        ("b@x.org", datetime.fromtimestamp(1586577785, UTC)),
        ("c@x.org", NOW),
    ]


def test_a_column_whose_name_has_no_letters_is_no_time() -> None:
    reader = Reader(format=PLAIN, by="x", now=NOW, classify=classify)
    read = reader.read({"address": "a@x.org", "--": "never"})
    assert isinstance(read, Suppression)
    assert read.since == NOW
