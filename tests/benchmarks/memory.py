"""Whether memory stays flat: a great many sends to ever new people, through policy and store, without SMTP.

    python -m tests.benchmarks.memory [--sends 1000000] [--store sqlite] [--recipients 1]

One send in fifty is refused for good, one in fifty for now, one in a thousand loses its reply to the dot. Resident
memory is shown as it grows.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

from bouncekit.delivery.steps import Outcome, Transact
from bouncekit.delivery.submission import submission
from bouncekit.outside.clock import SystemClock
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

_SHOWN = 20  # lines
_GONE, _BUSY = Reply.parse("550 5.1.1 No such user"), Reply.parse("451 4.3.0 Try again later")
_OK, _LOST = Reply.parse("250 2.0.0 Ok"), NoReply(Cause.LOST, "")
_ANSWERS = {0: (Action.FAILED, Stage.RCPT, _GONE), 1: (Action.DELAYED, Stage.RCPT, _BUSY)}
_MESSAGE = b"From: shop@example.org\r\nMessage-ID: <%d@example.org>\r\nSubject: Hello\r\n\r\nGood day.\r\n"

_clock = SystemClock()


def _status(recipient: str, number: int) -> RecipientStatus:
    action, stage, reply = _ANSWERS.get(number % 50, (Action.DELIVERED, Stage.END_OF_DATA, _OK))
    if number % 1000 == 999:
        action, stage, reply = Action.UNKNOWN, Stage.END_OF_DATA, _LOST
    host = f"mx{number % 97}.example.net"
    return RecipientStatus(recipient=recipient, action=action, stage=stage, reply=reply, remote_mta=host, accepted=1)


def _resident_mib() -> float:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def _send(postmaster: Postmaster, number: int, recipients: int) -> None:
    people = [f"user{number}.{place}@example{number % 5000}.com" for place in range(recipients)]

    def transact(step: Transact) -> Outcome:
        statuses = tuple(_status(one.wire, number) for one in step.envelope.recipients)
        return Outcome(attempt_id=_clock.new_id(), now=_clock.now(), statuses=statuses)

    delivery = submission("shop@example.org", people, _MESSAGE % number, new_id=_clock.new_id)
    postmaster.office.drive(delivery, transact)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sends", type=int, default=1_000_000)
    parser.add_argument("--store", choices=("memory", "sqlite"), default="sqlite")
    parser.add_argument("--recipients", type=int, default=1)
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/bounces.db" if asked.store == "sqlite" else None
        with Postmaster(store=url) as postmaster:
            start, every = time.perf_counter(), max(asked.sends // _SHOWN, 1)
            for number in range(1, asked.sends + 1):
                _send(postmaster, number, asked.recipients)
                if number % every == 0:
                    rate = number / (time.perf_counter() - start)
                    print(f"  {number:>10,} sends {_resident_mib():7.1f} MiB {rate:8,.0f}/s", flush=True)
            size = sum(path.stat().st_size for path in Path(folder).iterdir())
            print(
                f"  the store has {size / 1e6:,.0f} MB, {size / asked.sends / asked.recipients:.0f} bytes a recipient"
            )


if __name__ == "__main__":
    main()
