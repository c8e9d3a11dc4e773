"""How well bounce mails are read, and how fast.

    python -m tests.benchmarks.bouncemail [CORPUS] [--half tuned|unseen] [--misses]

The corpus is a folder with `mails/` and `mails.jsonl`: for each mail the status, reply code and audited category of
its recipients; their addresses are not in it, so "recipients" says that their number is right. `dsn/` with its
manifest has the addresses, too. One half of the mails, by the checksum of the file's name, was looked at while the
reader was written; the other was not, so its figures are the honest ones.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from bouncekit.bounces.bouncemail import read_mail
from bouncekit.bounces.incoming import Incoming, Kind, statuses
from bouncekit.meaning.classification import Category
from bouncekit.outside.builtin import classifier

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
KINDS = {"feedback": Kind.COMPLAINT, "vacation": Kind.AUTO_REPLY, "delivered": Kind.SUCCESS}
DEAD = {"user_unknown", "invalid_address", "bad_domain", "mailbox_disabled", "moved"}
DEFAULTS = {
    **dict.fromkeys([*DEAD, "complaint"], "suppress"),
    **dict.fromkeys(
        "mailbox_full rate_limited greylisted too_many_recipients tls_failure network_error".split(), "retry"
    ),
    **dict.fromkeys("system_error system_full".split(), "retry"),
    **dict.fromkeys("recipient_filtered suppressed message_too_big expired auto_reply unknown".split(), "close"),
}
# On 254 reply lines of the same public set (bounce-handling engines, and a table of codes), for comparison.
BASELINES = (
    ("SMTP code table", 0.445, 0.614, "27 %"),
    ("enhanced status, else code", 0.543, 0.736, "16 %"),
    ("Sisimai's text match, tuned on them", 0.815, 0.886, "0.8 %"),
)


class Row(NamedTuple):
    file: str
    content: bytes
    expected: list[dict[str, Any]]
    names: list[dict[str, Any]]


def rows(corpus: Path) -> Iterator[Row]:
    for line in (corpus / "mails.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        yield Row(row["file"], (corpus / "mails" / row["file"]).read_bytes(), row["expected"], row["names"])


def is_tuned(row: Row) -> bool:
    return crc32(row.file.encode()) % 2 == 0


def measure(mails: list[Row], *, misses: bool) -> dict[str, float]:
    """The shares, each of those mails or recipients that it can be asked of."""
    counts: Counter[str] = Counter()
    for row in mails:
        incoming = read_mail(row.content)
        for name, right in _judged(row, incoming):
            counts[name, "all"] += 1
            counts[name, "right"] += right
            if misses and not right:
                print(f"  {name:12} {row.file:32} {_short(row, incoming)}")
    return {name: counts[name, "right"] / counts[name, "all"] for name, kind in counts if kind == "all"}


def measure_reports(folder: Path) -> dict[str, float]:
    """Of mails that servers wrote: how many are read with exactly the recipients, actions and statuses they state."""
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines()]
    right: Counter[str] = Counter()
    for row in (stated := [row for row in rows if row["recs"]]):
        found = read_mail((folder / row["file"]).read_bytes()).recipients
        for name, field, told in (
            ("recipients", "Final-Recipient", [one.final_recipient for one in found]),
            ("action", "Action", [one.action for one in found]),
            ("status", "Status", [str(one.status) for one in found]),
        ):
            right[name] += told == [_value(one[field]) for one in row["recs"]]
    return {name: count / len(stated) for name, count in right.items()}


def _value(field: str) -> str:
    """A field's value without its type and without a comment."""
    return field.rpartition(";")[2].partition("(")[0].strip()


def _judged(row: Row, incoming: Incoming) -> Iterator[tuple[str, bool]]:
    kind = KINDS.get(row.expected[0]["reason"])
    if kind is not None:
        yield "decoded", incoming.kind is kind or (kind is Kind.COMPLAINT and incoming.feedback is not None)
        return
    yield "decoded", incoming.kind in (Kind.BOUNCE, Kind.DELAY) and bool(incoming.recipients)
    yield "recipients", len(incoming.recipients) == len(row.expected)
    wanted = sorted(one["status"] for one in row.expected)
    if not any(".9" in status for status in wanted):
        yield "status", sorted(map(_status, statuses(incoming))) == wanted
    codes = sorted(one["replycode"] for one in row.expected)
    yield "reply code", sorted(str(one.code or "") for one in statuses(incoming)) == codes
    verdicts = [classifier().classify(status) for status in statuses(incoming)]
    for name in row.names:
        fitting = {name["audited"], *name["also_ok"]}
        best = next((verdict for verdict in verdicts if verdict.category in fitting), verdicts[0] if verdicts else None)
        if best is not None:
            verdicts.remove(best)
        category = best.category if best is not None else Category.UNKNOWN
        action = _default(category, permanent=best is not None and best.permanent)
        fit = {_default(one, permanent=True) for one in fitting} | {_default(one, permanent=False) for one in fitting}
        yield "category", category in fitting
        yield "action", action in fit
        yield "harmless", action != "suppress" or "suppress" in fit


def _status(status: Any) -> str:
    return str(status.enhanced or "")


def _default(category: str, *, permanent: bool) -> str:
    """What the author of the categories would do; unknown goes by its class."""
    if category == "unknown":
        return "close" if permanent else "retry"
    return DEFAULTS.get(str(category), "notify")


def _short(row: Row, incoming: Incoming) -> str:
    found = [
        f"{one.recipient} {one.action.value} {one.status} {str(one.reply or one.diagnostic)[:110]!r}"
        for one in incoming.recipients
    ]
    verdicts = [classifier().classify(status).category.value for status in statuses(incoming)]
    wanted = [(one["status"], one["replycode"], one["reason"]) for one in row.expected]
    names = [(one["audited"], *one["also_ok"]) for one in row.names]
    return f"{incoming.kind} {incoming.reader} {verdicts} wanted {names or wanted} {wanted}\n{'':45}{found}"


def speed(mails: list[Row], what: Callable[[bytes], object], seconds: float = 2.0) -> float:
    """Mails a CPU second."""
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for row in mails:
            what(row.content)
        done += len(mails)
    return done / (time.process_time() - start)


def _read_and_classify(content: bytes) -> None:
    for status in statuses(read_mail(content)):
        classifier().classify(status)


def _flufl() -> Callable[[bytes], object] | None:
    try:
        from flufl.bounce import all_failures
    except ImportError:
        return None
    return lambda content: all_failures(message_from_bytes(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", nargs="?", type=Path, default=CORPUS)
    parser.add_argument("--half", choices=("tuned", "unseen", "both"), default="both")
    parser.add_argument("--misses", action="store_true", help="show each mail that is read wrongly (tuned half only)")
    parser.add_argument("--no-speed", action="store_true")
    asked = parser.parse_args()
    mails = list(rows(asked.corpus))
    halves = {"tuned": [row for row in mails if is_tuned(row)], "unseen": [row for row in mails if not is_tuned(row)]}
    for half, own in halves.items():
        if asked.half in (half, "both"):
            shares = measure(own, misses=asked.misses and half == "tuned")
            print(f"{half} ({len(own)} mails): " + "  ".join(f"{name} {share:.3f}" for name, share in shares.items()))
    reports = measure_reports(asked.corpus / "dsn")
    print("reports of servers: " + "  ".join(f"{name} {share:.3f}" for name, share in reports.items()))
    for name, category, action, wrong in BASELINES:
        print(f"{name}: category {category}, action {action}, wrong suppressions {wrong}")
    if asked.no_speed:
        return
    print(f"read and classify: {speed(mails, _read_and_classify):.0f} mails a CPU second")
    print(f"email, compat32, parse only: {speed(mails, message_from_bytes):.0f}")
    if (flufl := _flufl()) is not None:
        print(f"flufl.bounce, addresses only: {speed(mails, flufl):.0f}")


if __name__ == "__main__":
    main()
