"""The docs' pictures of a terminal: `python -m tests.pictures` runs each command and draws what it prints."""

import os
import pty
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
COMMANDS = {"demo": (("demo",), "\nEvents, as they came")}  # a picture: what is run, and before which line it ends
_COLUMNS, _LINES = 120, 60
# A picture in a document fetches nothing: no fonts either.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code, ", "")


def printed(*arguments: str) -> str:
    """What bouncekit prints on a terminal, with its colours."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(_COLUMNS), "LINES": str(_LINES), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "bouncekit", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = _everything(ours)
    if process.returncode:
        raise SystemExit(f"bouncekit {' '.join(arguments)} ended with {process.returncode}:\n{shown}")
    return shown


def _everything(terminal: int) -> str:
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except OSError:  # EIO: nobody has the other side open any more
        pass
    os.close(terminal)
    return b"".join(parts).decode().replace("\r\n", "\n")


def draw(name: str, *arguments: str, until: str) -> None:
    console = Console(record=True, width=_COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text.from_ansi(printed(*arguments).partition(until)[0]))
    title = f"$ bouncekit {' '.join(arguments)}"
    PICTURES.mkdir(exist_ok=True)
    console.save_svg(str(PICTURES / f"{name}.svg"), title=title, theme=MONOKAI, code_format=_FORMAT, unique_id=name)


if __name__ == "__main__":
    for name, (arguments, until) in COMMANDS.items():
        draw(name, *arguments, until=until)
