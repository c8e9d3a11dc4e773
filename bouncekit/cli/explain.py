"""`bouncekit explain`: the card of a code, and what a policy does about a whole reply."""

from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.cards import card_data, lang_option, show_page, verdict_data
from bouncekit.cli.output import show_json
from bouncekit.cli.settings import configured, json_option, policy_option, rules_option
from bouncekit.words.errors import ConfigurationError

if TYPE_CHECKING:
    from bouncekit.postmaster.explaining import Explanation

__all__ = ["verb"]


@click.command()
@click.argument("words", metavar="CODE|REPLY", nargs=-1, required=True)
@click.option("--stage", help="The command that was answered; else RCPT, or what the code is for.")
@click.option(
    "--accepted", type=click.IntRange(min=0), help="Recipients accepted before it, where somebody has counted."
)
@policy_option
@rules_option
@lang_option
@json_option("one JSON document: cards, and for a whole reply its verdict and what the policy does")
def verb(
    words: tuple[str, ...],
    stage: str | None,
    accepted: int | None,
    policy: str | None,
    rules: tuple[str, ...],
    lang: str,
    as_json: bool,
) -> int:
    """Explain a code, or a whole reply: what it means, whose fault it is, what the policy does and by which rule.

    \b
    bouncekit explain 552
    bouncekit explain 5.2.2 --lang hi
    bouncekit explain "452 4.5.3 Too many recipients" --accepted 3
    bouncekit explain "550 Gate closed" --policy bounces.yaml --rules mine.toml

    What the policy does is told for the first attempt, to a recipient of whom nothing is known.
    """
    from bouncekit.postmaster.explaining import explain, is_bare_code

    asked = " ".join(words)
    is_a_card = is_bare_code(asked) and stage is None and accepted is None
    settings = {} if is_a_card else _judges(policy, rules)  # a card is the same whatever is configured
    try:
        explained = explain(asked, stage=stage, accepted=accepted, lang=lang, **settings)
    except ConfigurationError:  # a wrong policy, and not a wrong question
        raise
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        show_json(_data(explained))
    else:
        show_page(explained)
    return 0


def _judges(policy: str | None, rules: tuple[str, ...]) -> dict[str, Any]:
    """Which policy and which rules are asked about a reply."""
    config = configured(policy=policy, rules=rules)
    return {"policy": config.policy, "rules": config.rules, "community_rules": config.community_rules}


def _data(explained: "Explanation") -> dict[str, Any]:
    verdict, disposition, session = explained.classification, explained.disposition, explained.session
    wait, policy = explained.retry_in, explained.policy
    return {
        "asked": explained.asked,
        "lang": explained.language.value,
        "cards": [card_data(card) for card in explained.cards],
        "reply": str(explained.reply) if explained.reply else None,
        "stage": explained.stage.value if explained.stage else None,
        "accepted": explained.accepted,
        "verdict": verdict and verdict_data(verdict),
        "policy": policy and {"name": policy.name, "hash": policy.hash},
        "recipient": disposition
        and {
            "action": disposition.action.value,
            "do": disposition.fate.value if disposition.fate else None,
            "retry_in": wait.total_seconds() if wait else None,
            "suppress": disposition.ladder.name if disposition.ladder else None,
            "notify": [notice.channel for notice in disposition.notices],
            "rule": disposition.rule,
            "where": disposition.where,
        },
        "session": session and {"do": session.fate.value, "rule": session.rule, "where": session.where},
    }
