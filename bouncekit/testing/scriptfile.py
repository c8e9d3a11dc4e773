"""A script for the test server as a file, in YAML: stages, and answers in words.

    RCPT:
      full@example.com: 552 5.2.2 Mailbox full        # every time
      later@example.com: [451 4.7.1 Greylisted]       # once, then it is taken
    END_OF_DATA: [usual, kept reset]                  # takes the second message, and never says so
    QUIT: delay 2

An answer is a reply, or words before one: `delay 2 552 5.2.2 Full`, `closing 421 4.3.2 Bye`, `kept silence`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from bouncekit.testing.answers import Answer, Closing, Cut, Delay, Dropped, Forgetting, Kept, Silence, Usual, check
from bouncekit.testing.script import Cues, Script
from bouncekit.words.errors import ConfigurationError

__all__ = ["answer_in_words", "read_script", "words_of"]

_MAX_BYTES = 1024 * 1024
_WHOLE: Mapping[str, Answer] = MappingProxyType(
    {"usual": Usual(), "silence": Silence(), "cut": Cut("fin"), "reset": Cut("rst"), "half": Cut("half")}
)
_BEFORE: Mapping[str, Callable[[Answer], Answer]] = MappingProxyType(
    {"closing": Closing, "kept": Kept, "dropped": Dropped, "forgetting": Forgetting}
)


def answer_in_words(text: str) -> Answer:
    """An answer, of its words.

    >>> answer_in_words("kept delay 0.5 reset")
    Kept(answer=Delay(seconds=0.5, then=Cut(how='rst', after=b'')))
    >>> answer_in_words("552 5.2.2 Mailbox full")
    '552 5.2.2 Mailbox full'

    Raises:
        ValueError: it is none; the message says what would be right.
    """
    word, _, rest = text.strip().partition(" ")
    if not rest and word in _WHOLE:
        return _WHOLE[word]
    if word in _BEFORE:
        return _BEFORE[word](answer_in_words(rest or "usual"))
    if word == "delay":
        seconds, _, then = rest.strip().partition(" ")
        try:
            return Delay(float(seconds), answer_in_words(then or "usual"))
        except ValueError as error:
            raise ValueError(f"{text!r}: write 'delay 2', or 'delay 2 552 5.2.2 Full' ({error})") from None
    try:
        return check(text)
    except ValueError:
        words = ", ".join((*_WHOLE, *_BEFORE, "delay SECONDS"))
        raise ValueError(f"{text!r} is no answer: write a reply, such as '552 5.2.2 Full', or {words}") from None


def words_of(answer: Answer) -> str:
    """The words of an answer; as Python shows it where there are none.

    >>> words_of(Kept(Delay(0.5, Cut("rst"))))
    'kept delay 0.5 reset'
    """
    if isinstance(answer, str):
        return answer
    if isinstance(answer, Delay):
        return _with(f"delay {answer.seconds:g}", answer.then)
    if isinstance(answer, Closing | Kept | Dropped | Forgetting):
        return _with(next(word for word, kind in _BEFORE.items() if kind is type(answer)), answer.answer)
    return next((word for word, one in _WHOLE.items() if one == answer), repr(answer))


def _with(word: str, answer: Answer) -> str:
    return word if answer == Usual() else f"{word} {words_of(answer)}"


def read_script(name: str, text: str, *, lmtp: bool = False) -> Script:
    """The script in a text, checked.

    Raises:
        ConfigurationError: it is none; the message names the file and what would be right.
    """
    import yaml

    if len(text) > _MAX_BYTES:
        raise ConfigurationError(f"{name}: longer than {_MAX_BYTES} characters; a script is a page")
    try:
        found = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - of texts alone, and builds no objects
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"{name}: no YAML: {error}") from error
    if found in (None, ""):
        return {}
    if not isinstance(found, dict):
        raise ConfigurationError(f"{name}: a script maps stages to answers: RCPT: {{full@example.com: 552 5.2.2 Full}}")
    try:
        script = {str(stage): _turns(turns) for stage, turns in found.items()}
        Cues(script, lmtp=lmtp)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name}: {error}") from error
    return script


def _turns(found: object) -> Any:
    if isinstance(found, dict):
        return {str(address): _turns(turns) for address, turns in found.items()}
    if isinstance(found, list):
        return [_turns(one) for one in found]
    return answer_in_words(str(found))
