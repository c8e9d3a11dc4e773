"""A mail server for tests: correct, except where a script tells it what to answer, to break, or to leave out."""

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
    Kept,
    Raw,
    Silence,
    SlowRead,
    Usual,
)
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
    "Kept",
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
