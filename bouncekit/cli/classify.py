"""`bouncekit classify`: what replies mean, one by one or as JSON lines."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from bouncekit.cli.output import YES_OR_NO, show_json, show_table
from bouncekit.cli.settings import classifier_of, configured, json_option, policy_option, rules_option
from bouncekit.meaning.classification import Category

__all__ = ["verb"]

_AGREED, _NO_REFUSAL = ("2", "3"), "no refusal, so nothing that a category is for"
_USUAL = "RCPT"


@click.command()
@click.argument("words", metavar="[REPLY]", nargs=-1)
@click.option("--stage", help="The command that was answered: MAIL, END_OF_DATA ...; else the one named, else RCPT.")
@click.option(
    "--accepted", type=click.IntRange(min=0), help="Recipients accepted before it, where somebody has counted."
)
@click.option("--remote-mta", metavar="HOST", help="The host that replied.")
@click.option("--provider", metavar="NAME", help="Whose dialect it is, where that is known.")
@policy_option
@rules_option
@click.option("--jsonl", is_flag=True, help="Read JSON lines from standard input.")
@json_option("one JSON document (with --jsonl it is lines anyway)")
def verb(
    words: tuple[str, ...], policy: str | None, rules: tuple[str, ...], jsonl: bool, as_json: bool, **given: Any
) -> int:
    """Say what a reply means and whose fault it is.

    \b
    bouncekit classify "552 5.2.2 Mailbox full"
    bouncekit classify "552 Too much mail data" --stage END_OF_DATA
    bouncekit classify "550 Gate closed" --rules mine.toml
    bouncekit classify --jsonl < replies.jsonl

    A line of a log or of a bounce does, too: the reply that it quotes is judged, at the stage that it names. Where it
    quotes none, its words and status code are judged, and the answer is never certain. "read as" says what was read.

    Your own rules decide first: those of --rules and of the configuration, and those that the policy names.

    With --jsonl every line of standard input is an object with "reply" and, where known, "stage", "remote_mta",
    "accepted", "individual", "enhanced", "provider"; what else it holds comes back untouched. A line that cannot be
    read gives an "error" with its number "line", and exit code 1 at the end.
    """
    from bouncekit.cli.replylines import answer_lines, meaning_of

    if jsonl is bool(words):
        raise click.UsageError("give one reply, or --jsonl and lines on standard input")
    classifier = classifier_of(configured(policy=policy, rules=rules))
    if jsonl:
        return answer_lines(sys.stdin.buffer, sys.stdout, classifier)
    reply = " ".join(words)  # quotes are not needed
    try:
        meaning = meaning_of(classifier, reply, **given)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    given["stage"] = meaning.pop("read_at", given["stage"]) or _USUAL
    answer = {"reply": reply} | given | meaning
    if as_json:
        show_json(answer)
    else:
        show_table(("", ""), _told(answer))
    return 0


def _told(answer: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """The answer for people: what is known of it, and the category in words."""
    from bouncekit.notify.wording import wording_of

    for name, value in answer.items():
        if value is not None:
            yield name.replace("_", " "), _in_words(name, value)
        if name == "category":
            agreed = answer.get("read_as", answer["reply"]).startswith(_AGREED)
            yield "which means", _NO_REFUSAL if agreed else wording_of(Category(value)).because


def _in_words(name: str, value: object) -> object:
    if isinstance(value, bool):
        return YES_OR_NO[value]
    return f"{value:g} seconds" if name == "wait_hint" else value
