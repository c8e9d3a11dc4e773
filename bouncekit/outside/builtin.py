"""The rules, code cards, policies and schedules that come with bouncekit: opened once, when first asked for.

Policies lie in `policies/` of a checkout, and in `bouncekit/policies` of an installed wheel.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

from bouncekit.meaning.classification import Classification
from bouncekit.meaning.meaning import Meaning, RuleFile
from bouncekit.policy.policy import Policy
from bouncekit.policy.schedule import KnownSchedule, Schedule
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.status import RecipientStatus

if TYPE_CHECKING:
    from bouncekit.codes import Deck
    from bouncekit.meaning.classifier import Classifier
    from bouncekit.policyfiles.policyfile import Source

__all__ = [
    "POLICY_SUFFIXES",
    "Opening",
    "classifier",
    "classifier_with",
    "classify",
    "code_cards",
    "known_schedules",
    "open_policy",
    "open_rules",
    "policy_folder",
    "policy_names",
    "policy_text",
    "read_meaning",
    "read_source",
    "schedules",
]

POLICY_SUFFIXES = (".yaml", ".yml", ".toml", ".json")  # files of cases have them too

_MAX_BYTES = 1024 * 1024

Opening = Callable[[str], object]


@cache
def classifier() -> "Classifier":
    """The shipped classifier."""
    return _classifier_of(Meaning())


def open_rules(*paths: str | Path, community: Sequence[str | Path] = ()) -> "Classifier":
    """The shipped classifier with rule files of the owner, which go before all others, and of a community behind them.

    Raises:
        RuleError: a file is wrong; every mistake with its place.
        ConfigurationError: a file cannot be read.
    """
    return classifier_with(read_meaning(paths, community))


def _untold(file: str) -> None:
    """Nobody wants to know which file is opened."""


def read_meaning(
    own: Sequence[str | Path] = (), community: Sequence[str | Path] = (), *, opening: Opening = _untold
) -> Meaning:
    """The texts of rule files, for a classifier. `opening` is told of each file before it is opened.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    try:
        own_files, others = (
            tuple(RuleFile(str(path), _content(Path(path), opening), str(path)) for path in paths)
            for paths in (own, community)
        )
    except LookupError as error:
        raise ConfigurationError(error.args[0]) from error
    return Meaning(own=own_files, community=others)


def classifier_with(meaning: Meaning) -> "Classifier":
    """The shipped classifier with more rule files, such as a policy's; made once for the same texts, and shared.

    Raises:
        RuleError: a file is wrong; every mistake with its place.
    """
    return _classifier_of(meaning) if meaning else classifier()


@lru_cache(maxsize=8)
def _classifier_of(meaning: Meaning) -> "Classifier":
    from bouncekit.meaning.classifier import Classifier
    from bouncekit.meaning.rulefile import load_rules

    folder = files("bouncekit") / "rules"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return Classifier(load_rules(((f"rules/{name}", (folder / name).read_text("utf-8")) for name in names), meaning))


def classify(status: RecipientStatus) -> Classification:
    """What a status means by the shipped rules."""
    return classifier().classify(status)


@cache
def code_cards() -> "Deck":
    """The shipped code cards."""
    from bouncekit.codes import Deck
    from bouncekit.codes.cardfile import read_cards, read_pairs, read_words

    folder = files("bouncekit") / "codes"
    replies, enhanced, pairs, words = (
        (folder / f"{name}.toml").read_text("utf-8") for name in ("replies", "enhanced", "pairs", "words")
    )
    return Deck(
        replies=read_cards(replies), enhanced=read_cards(enhanced), pairs=read_pairs(pairs), words=read_words(words)
    )


@cache
def known_schedules() -> Mapping[str, KnownSchedule]:
    """The schedules of well-known mail systems, by name, with what each one is and where that stands."""
    from bouncekit.policyfiles.schedulefile import load_schedules

    return load_schedules("schedules.toml", (files("bouncekit.policy") / "schedules.toml").read_text("utf-8"))


def schedules() -> Mapping[str, Schedule]:
    """The waits of the known schedules, which every policy can name."""
    return {name: known.schedule for name, known in known_schedules().items()}


def policy_names() -> tuple[str, ...]:
    """The names of the shipped policies."""
    return tuple(
        sorted(entry.name.removesuffix(".yaml") for entry in policy_folder().iterdir() if entry.name[-5:] == ".yaml")
    )


def policy_text(name: str) -> tuple[str, str]:
    """File name and text of a shipped policy.

    Raises:
        LookupError: there is none of that name.
    """
    if name not in policy_names():
        raise LookupError(f"no shipped policy {name!r}; there are {', '.join(policy_names())}")
    return f"{name}.yaml", (policy_folder() / f"{name}.yaml").read_text("utf-8")


@cache
def _shipped(name: str) -> "Source":
    from bouncekit.policyfiles.policyfile import read_policy

    file, text = policy_text(name)
    return read_policy(file, text, resolve=policy_text, known=schedules)


def open_policy(name: str | Path | Policy) -> Policy:
    """A policy: by a shipped name, from a file, or as it is.

    Raises:
        PolicyError: the file is wrong, or one that it extends or names; every mistake with its place.
        ConfigurationError: there is neither a shipped policy nor a file of that name.
    """
    return name if isinstance(name, Policy) else read_source(name).policy


def read_source(name: str | Path, *, opening: Opening = _untold) -> "Source":
    """A policy with the texts that it was read from: by a shipped name, or from a file.

    `opening` is told of each file before it is opened, also of one that is not there.

    Raises:
        PolicyError: the file is wrong, or one that it extends or names; every mistake with its place.
        ConfigurationError: there is neither a shipped policy nor a file of that name.
    """
    if not isinstance(name, str | Path):
        raise ConfigurationError(f"policy={name!r}: write a shipped name or a file, or give a Policy")
    text = str(name)
    if not text.endswith(POLICY_SUFFIXES):
        try:
            return _shipped(text)
        except LookupError as error:
            raise ConfigurationError(f"{error.args[0]}; a file ends in {', '.join(POLICY_SUFFIXES)}") from None
    from bouncekit.policyfiles.policyfile import read_policy

    path = Path(text)
    try:
        content = _content(path, opening)
    except LookupError as error:
        raise ConfigurationError(error.args[0]) from error
    return read_policy(
        text,
        content,
        resolve=partial(_base_beside, path.parent, opening),
        known=schedules,
        find_rules=lambda name: (str(path.parent / name), _content(path.parent / name, opening)),
        check_rules=classifier_with,
    )


def _base_beside(folder: Path, opening: Opening, name: str) -> tuple[str, str]:
    """File name and text of what a policy file extends: a shipped policy, or a file in the same folder.

    Raises:
        LookupError: there is neither.
    """
    if not name.endswith(POLICY_SUFFIXES):
        return policy_text(name)
    if Path(name).name != name:
        raise LookupError(f"{name!r}: a policy extends a shipped one, or a file in its own folder")
    return str(folder / name), _content(folder / name, opening)


def _content(path: Path, opening: Opening) -> str:
    """The text of a policy or rules file, bounded.

    Raises:
        LookupError: it cannot be read; why.
    """
    opening(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise LookupError(f"{path}: larger than {_MAX_BYTES} bytes; a policy is a page or two, and so are rules")
        return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise LookupError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LookupError(f"{path}: not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise LookupError(f"{str(path)!a}: {error}") from error  # no file has a NUL in its name


def policy_folder() -> Traversable:
    """Where the shipped policies lie, with their README and their JSON Schema."""
    installed = files("bouncekit") / "policies"
    if installed.is_dir():
        return installed
    return Path(str(files("bouncekit"))).parent / "policies"
