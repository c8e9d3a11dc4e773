"""A mail server for tests: correct, except where a script tells it what to answer, to break, or to leave out.

>>> script: Script = {
...     "CONNECT": ["421 4.3.2 Try later"],  # a list: the first connection; the second is served
...     "RCPT": {
...         "full@example.com": "552 5.2.2 Mailbox full",  # every time
...         "*": ["450 4.2.0 Greylisted"],  # each of the others, once
...     },
...     "BODY": [Usual(), After(100_000, Cut("rst"))],  # a reset in the midst of the second message
...     "END_OF_DATA": [Kept(Silence())],  # takes the first message and never says so
... }
>>> with ScriptedServer(script) as server:
...     server.unplayed
('CONNECT', 'RCPT full@example.com', 'RCPT *', 'BODY', 'END_OF_DATA')

A str is a reply without its CRLF; `bouncekit.testing.answers` has the other answers, `ScriptedServer` the settings.
"""

from bouncekit.testing.answers import (
    After,
    Answer,
    Closing,
    Cut,
    Delay,
    Drip,
    Dropped,
    Extra,
    Flood,
    Forgetting,
    Kept,
    Raw,
    Silence,
    SlowRead,
    Usual,
)
from bouncekit.testing.clock import ManualClock
from bouncekit.testing.ports import deaf_port, refusing_port
from bouncekit.testing.records import Exchange, Received, Session
from bouncekit.testing.script import Script
from bouncekit.testing.server import ScriptedServer

__all__ = [
    "After",
    "Answer",
    "Closing",
    "Cut",
    "Delay",
    "Drip",
    "Dropped",
    "Exchange",
    "Extra",
    "Flood",
    "Forgetting",
    "Kept",
    "ManualClock",
    "Raw",
    "Received",
    "Script",
    "ScriptedServer",
    "Session",
    "Silence",
    "SlowRead",
    "Usual",
    "deaf_port",
    "refusing_port",
]
