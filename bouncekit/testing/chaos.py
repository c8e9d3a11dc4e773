"""Recipients whose name says what becomes of their mail: `full@any.example` is full, `451@any.example` is answered 451.

| local part, up to a `+` | at | what the server does |
|---|---|---|
| `full` | RCPT | 552 5.2.2, every time |
| `busy` | RCPT | 452 4.2.2, every time |
| `gone` | RCPT | 550 5.1.1 |
| `disabled` | RCPT | 550 5.2.1 |
| `greylist` | RCPT | 451 4.7.1 the first time for each address, then takes it |
| `shutdown` | RCPT | 421 4.3.2 and closes, the first time for each address |
| `slow` | RCPT | takes it, after ten seconds |
| `silent` | RCPT | says nothing |
| `drop` | RCPT | resets the connection |
| `spam` | the final dot | 554 5.7.1 |
| `big` | the final dot | 552 5.3.4 |
| `later` | the final dot | 451 4.3.0, every time |
| `lost` | the final dot | takes the message, and resets the connection without a word |
| `552`, `452-4.2.2` ... | RCPT | that reply |
| `data-554`, `data-554-5.7.1` ... | the final dot | that reply |
"""

import re
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

from bouncekit.testing.answers import Answer, Closing, Cut, Delay, Kept, Silence, Usual
from bouncekit.testing.script import Cues, Script

__all__ = ["Chaos"]

_AT_RCPT: Mapping[str, Answer] = MappingProxyType(
    {
        "full": "552 5.2.2 Mailbox full",
        "busy": "452 4.2.2 Over quota, try later",
        "gone": "550 5.1.1 No such user",
        "disabled": "550 5.2.1 Mailbox disabled",
        "greylist": "451 4.7.1 Greylisted, try again later",
        "shutdown": Closing("421 4.3.2 Shutting down"),
        "slow": Delay(10.0),
        "silent": Silence(),
        "drop": Cut("rst"),
    }
)
_ONCE = frozenset({"greylist", "shutdown"})  # for each address
_AT_DOT: Mapping[str, Answer] = MappingProxyType(
    {
        "spam": "554 5.7.1 Message refused as spam",
        "big": "552 5.3.4 Message size exceeds fixed limit",
        "later": "451 4.3.0 Try again later",
        "lost": Kept(Cut("rst")),
    }
)
_CODE = re.compile(r"(data-)?([45]\d\d)(?:-([45]\.\d{1,3}\.\d{1,3}))?", re.ASCII).fullmatch
_MOST = 10_000  # addresses of which it is remembered that they had their turn

OnAnswer = Callable[[str, str, Answer], object]


class Chaos(Cues):
    """Cues by the names of recipients. What a script says goes before.

    >>> cues = Chaos()
    >>> cues.next("RCPT", "full@example.com"), cues.next("RCPT", "452-4.2.2+a@example.com")
    ('552 5.2.2 Mailbox full', '452 4.2.2 As the address says')
    >>> cues.next("RCPT", "ada@example.com"), cues.next("RCPT", "data-554@example.com"), cues.next("END_OF_DATA")
    (Usual(), Usual(), '554 5.0.0 As the address says')

    Args:
        script: see `bouncekit.testing`.
        on_answer: told stage, recipient and each answer that is not the usual one.
    """

    def __init__(
        self, script: Script | None = None, *, lmtp: bool = False, on_answer: OnAnswer = lambda *said: None
    ) -> None:
        super().__init__(script or {}, lmtp=lmtp)
        self._on_answer = on_answer
        self._had_turn: set[str] = set()
        self._guard = threading.Lock()
        self._of_session = threading.local()  # a session is a thread

    def next(self, stage: str, address: str = "") -> Answer:
        """The answer of the script, else that of the recipient's name."""
        answer = super().next(stage, address)
        if isinstance(answer, Usual):
            answer, address = self._by_name(stage, address.lower())
        if not isinstance(answer, Usual):
            self._on_answer(stage, address, answer)
        return answer

    def _by_name(self, stage: str, address: str) -> tuple[Answer, str]:
        """The answer, and the recipient that it is about."""
        session = self._of_session.__dict__
        if stage == "MAIL":
            session.clear()
        elif stage == "RCPT":
            name = _name(address)
            if (at_dot := _answer(name, _AT_DOT, "data-")) is not None:
                session.setdefault("at_dot", (at_dot, address))
            return self._at_rcpt(name, address), address
        elif stage == "END_OF_DATA" and address:  # LMTP
            return _answer(_name(address), _AT_DOT, "data-") or Usual(), address
        elif stage == "END_OF_DATA":
            found: tuple[Answer, str] = session.pop("at_dot", (Usual(), ""))
            return found
        return Usual(), address

    def _at_rcpt(self, name: str, address: str) -> Answer:
        answer = _answer(name, _AT_RCPT, "")
        if answer is None or (name in _ONCE and self._has_had_turn(address)):
            return Usual()
        return answer

    def _has_had_turn(self, address: str) -> bool:
        with self._guard:
            if address in self._had_turn:
                return True
            if len(self._had_turn) >= _MOST:
                self._had_turn.clear()
            self._had_turn.add(address)
            return False


def _name(address: str) -> str:
    return address.rpartition("@")[0].partition("+")[0]


def _answer(name: str, table: Mapping[str, Answer], prefix: str) -> Answer | None:
    """What the table has for a name, or the reply that is the name."""
    if name in table:
        return table[name]
    found = _CODE(name)
    if found is None or (found[1] or "") != prefix:
        return None
    return f"{found[2]} {found[3] or f'{found[2][0]}.0.0'} As the address says"
