"""The wait that a reply asks for in words: "try again in 5 minutes", "greylisted for 300 seconds"."""

from datetime import timedelta

from bouncekit.words.phrase import Words

__all__ = ["wait_hint"]

_UNITS = {
    unit: seconds
    for seconds, units in {
        1: "s sec secs second seconds sekunde sekunden seconde secondes segundo segundos secondi seconden sekund"
        " sekundy секунд секунды секунду 秒 초 saniye",
        60: "m min mins minute minutes minuten minuto minutos minuti minuut minut minuty minutę минут минуты минуту"
        " 分 분 dakika",
        3600: "h hr hrs hour hours stunde stunden heure heures hora horas ora ore uur uren godzin godziny godzinę"
        " часов часа час 小 時 시 saat hodin hodiny hodinu",
        86400: "d day days tag tagen jour jours día días dia dias giorno giorni dag dagen dni dzień дней дня 天 日 gün",
    }.items()
    for unit in units.split()
}
_NUMBERS = {
    word: number
    for number, words in {
        1: "one a an einer einem une",
        2: "two zwei deux dos dois due",
        3: "three drei trois tres tre",
        5: "five fünf cinq cinco cinque",
        10: "ten zehn dix diez dez dieci",
        15: "fifteen quinze",
        30: "thirty dreißig trente treinta trinta trenta",
        60: "sixty",
    }.items()
    for word in words.split()
}
_WAIT_CUES = frozenset(
    "again retry retrying reconnect wait back later delay greylisted greylisting deferred blocked"
    " erneut versuchen warten réessayer réessayez attendre patienter intente inténtelo espere tente aguarde riprovare"
    " riprova attendere probeer opnieuw wacht spróbuj ponownie повторите попробуйте подождите через 请 後 后 후 뒤"
    " tekrar znovu opakujte".split()
)
_AFTERWARDS = frozenset({"後", "后", "후", "뒤"})  # "5 minutes after": behind the number in these languages
_WAIT_REACH = 5  # words between "try again" and its number
_LONGEST_WAIT = 86400  # seconds


def wait_hint(words: Words) -> timedelta | None:
    """The wait that a text asks for, 1 second to 24 hours; None where it asks for none.

    >>> wait_hint(Words("Greylisted, please try again in 00:05:00")), wait_hint(Words("Try again in 90 seconds"))
    (datetime.timedelta(seconds=300), datetime.timedelta(seconds=90))
    """
    said = words.said
    if _WAIT_CUES.isdisjoint(said):
        return None
    cue = -_WAIT_REACH - 1
    for place, word in enumerate(said):
        if word in _WAIT_CUES:
            cue = place
        elif (number := _number(word)) and (
            place - cue <= _WAIT_REACH or not _AFTERWARDS.isdisjoint(said[place + 1 : place + 4])
        ):
            seconds = _seconds(*number, said[place + 1 : place + 3])
            if seconds is None and said[place - 2 : place] == ["retry", "after"] and not number[1]:
                seconds = number[0]  # as HTTP's header of that name says it
            if seconds is not None:
                return timedelta(seconds=min(max(seconds, 1), _LONGEST_WAIT))
    return None


def _number(word: str) -> tuple[int, str] | None:
    """A number and what stands right behind it: `300`, `300s`, `5분`, `five`."""
    if not "0" <= word[0] <= "9":
        return (_NUMBERS[word], "") if word in _NUMBERS else None
    digits = word[: next((at for at, sign in enumerate(word) if not "0" <= sign <= "9"), len(word))]
    return (int(digits), word[len(digits) :]) if 0 < len(digits) <= 9 else None


def _seconds(number: int, unit: str, after: list[str]) -> int | None:
    """`300 seconds`, `300s`, or hours, minutes and seconds."""
    if unit in _UNITS or (not unit and after and after[0] in _UNITS):
        return number * _UNITS[unit or after[0]]
    if len(after) == 2 and not unit and all(len(part) == 2 and part.isascii() and part.isdecimal() for part in after):
        return number * 3600 + int(after[0]) * 60 + int(after[1])
    return None
