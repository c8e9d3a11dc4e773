"""What a judgement costs and how often it is right: `python -m tests.benchmarks.classifier`.

"Known" replies were judged before and are remembered, with another address in them, too; "new" ones are each judged by
all rules. The corpus of public
bounces is read where it lies beside the checkout.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import process_time

from bouncekit.meaning.classification import Category, Scope, scope_of
from bouncekit.outside.builtin import classifier
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action, RecipientStatus
from tests.test_classifier import CORPUS, from_corpus
from tests.test_field_replies import FIELD, PROVIDERS, ROUNDS, WILD, Line, own_place, said, share, unseen

_HOSTILE = (b"a@" * 100_000, b"mailbox full " * 20_000, b"5.1.1 " * 40_000, b"again 1 " * 30_000, b"x" * 250_000)
# Right names on 254 of the corpus' lines, and what a reply costs, as others do it.
_OTHERS = """
others, on 254 lines of the corpus       compatible   right action   wrong suppressions
  SMTP code table                             0.445          0.614                   68
  enhanced status, else code                  0.543          0.736                   40
  KumoMTA iana.toml                           0.311          0.571                    3
  ZoneMTA bounces.txt, 317 rules              0.394          0.539                    8
  postalsys/bounce-classifier                 0.583          0.791                   26
  Sisimai, tuned on these very lines          0.815          0.886                    2
others, us a reply: re one rule after another 6.2 with 26 rules and 550 with 317; re bucketed by code 2.4;
  google-re2 Set 2.3 and 3.8; hyperscan 1.2 and 3.6
"""


def main() -> None:
    statuses = [said(line, *own_place(line), host=True) for line in FIELD + WILD + ROUNDS]
    for status in statuses:  # whatever is made once has been made
        classifier().classify(status)
    known = statuses[:1000]
    elsewhere = [_anew(status, b" <jo@example>") for status in known]
    to_another = [_anew(status, b" <jo@%d.example>" % at) for at, status in enumerate(known)]
    unheard_of = [_anew(status, b" q7f2a") for status in statuses]
    print(f"{len(classifier().rules)} rules, {len(statuses)} replies")
    judge = classifier().classify
    print(f"known reply           {_each(judge, known, rounds=20):6.1f} us")
    _each(judge, elsewhere, rounds=1)
    print(f"to another recipient  {_each(judge, to_another, rounds=1):6.1f} us")
    print(f"new reply             {_each(judge, unheard_of, rounds=1):6.1f} us")
    for text in _HOSTILE:
        print(
            f"{len(text):,} bytes of {text[:12]!r}: {_each(classifier().classify, [_hostile(text)], rounds=20):.0f} us"
        )
    print("\nlist                      compatible  scope  permanent")
    for name, lines in (
        ("field", PROVIDERS),
        ("field, unseen third", unseen(PROVIDERS)),
        ("wild", WILD),
        ("wild, unseen third", unseen(WILD)),
        ("rounds", ROUNDS),
    ):
        _tell(name, lines)
    if CORPUS.exists():
        print(_of_corpus())
    print(_OTHERS)


def _each(classify: Callable[[RecipientStatus], object], statuses: list[RecipientStatus], *, rounds: int) -> float:
    """Microseconds for one status; the first round is not counted where there are several."""
    for status in statuses if rounds > 1 else ():
        classify(status)
    begun = process_time()
    for _ in range(rounds):
        for status in statuses:
            classify(status)
    return (process_time() - begun) / rounds / len(statuses) * 1e6


def _anew(status: RecipientStatus, more: bytes) -> RecipientStatus:
    """The same reply with something more in it."""
    assert isinstance(status.reply, Reply)
    return replace(status, reply=Reply(status.reply.code, status.reply.raw + more))


def _hostile(text: bytes) -> RecipientStatus:
    return RecipientStatus(recipient="", action=Action.DELAYED, stage=Stage.RCPT, reply=Reply(450, text))


def _tell(name: str, lines: list[Line]) -> None:
    shares = [share(lines, key) for key in ("category", "scope", "permanent")]
    print(f"{name:24}  {shares[0]:10.3f}  {shares[1]:.3f}  {shares[2]:9.3f}")


def _of_corpus() -> str:
    rows = [json.loads(line) for line in Path(CORPUS).read_text("utf-8").splitlines()]
    compatible = wrong = 0
    for row in rows:
        verdict = classifier().classify(from_corpus(row))
        names = [Category(name) for name in (row["name"], *row["also_ok"])]
        compatible += verdict.category in names
        blamed = verdict.scope is Scope.RECIPIENT and verdict.permanent
        wrong += blamed and Scope.RECIPIENT not in {scope_of(name) for name in names}
    return f"{'corpus':24}  {compatible / len(rows):10.3f}   wrongly called dead: {wrong} of {len(rows)}"


if __name__ == "__main__":
    sys.exit(main())
