"""The wait that a reply asks for in words: "try again in 5 minutes", "greylisted for 300 seconds"."""

from datetime import timedelta

from bouncekit.phrase import Words

__all__ = ["wait_hint"]

_UNITS = {
    unit: seconds
    for seconds, units in {
        1: "s sec secs second seconds sekunde sekunden seconde secondes segundos",
        60: "min mins minute minutes minuten minutos",
        3600: "h hr hrs hour hours stunde stunden heure heures horas",
        86400: "day days tag tagen jour jours",
    }.items()
    for unit in units.split()
}
_WAIT_CUES = frozenset(
    {"again", "retry", "wait", "back", "greylisted", "greylisting", "deferred", "erneut", "réessayer"}
)
_WAIT_REACH = 5  # words between "try again" and its number
_LONGEST_WAIT = 86400  # seconds


def wait_hint(words: Words) -> timedelta | None:
    """The wait that a text asks for, 1 second to 24 hours; None where it asks for none.

    >>> wait_hint(Words("Greylisted, please try again in 00:05:00")), wait_hint(Words("Try again in 90 seconds"))
    (datetime.timedelta(seconds=300), datetime.timedelta(seconds=90))
    """
    said = words.spaced.split()
    if _WAIT_CUES.isdisjoint(said):
        return None
    cue = -_WAIT_REACH - 1
    for place, word in enumerate(said):
        if word in _WAIT_CUES:
            cue = place
        elif word[:1].isdecimal() and word.isascii() and place - cue <= _WAIT_REACH:
            seconds = _seconds(word, said[place + 1 : place + 3])
            if seconds is not None:
                return timedelta(seconds=min(max(seconds, 1), _LONGEST_WAIT))
    return None


def _seconds(word: str, after: list[str]) -> int | None:
    """`300 seconds`, `300s`, or hours, minutes and seconds."""
    number = word.rstrip("abcdefghijklmnopqrstuvwxyz")
    if not number.isdecimal() or len(number) > 9:
        return None
    unit = word[len(number) :] or (after[0] if after else "")
    if unit in _UNITS:
        return int(number) * _UNITS[unit]
    clock = [number, *after]
    if len(clock) == 3 and all(len(part) == 2 and part.isascii() and part.isdecimal() for part in clock):
        return int(clock[0]) * 3600 + int(clock[1]) * 60 + int(clock[2])
    return None
