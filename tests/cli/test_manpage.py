"""The manual page: every verb and option, and nothing that roff takes for a request of its own."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from bouncekit.cli import main
from bouncekit.cli.manpage import man_page, verbs_of

from .conftest import Run

REQUESTS = {"TH", "SH", "SS", "PP", "TP", "B", "I", "nf", "fi"}


@pytest.fixture(scope="module")
def page() -> str:
    return man_page(main)


def shown(page: str) -> str:
    """The page as a reader sees it, as far as words go."""
    return page.replace("\\-", "-").replace("\\e", "\\").replace("\\&", "")


def test_every_verb_and_option_is_on_the_page(page: str) -> None:
    text = shown(page)
    for path, context in verbs_of(main):
        section = text.partition(f".SS {' '.join(path[1:])} ")[2].partition("\n.SS ")[0] if path[1:] else text
        assert section, path
        for option in (one for one in context.command.params if isinstance(one, click.Option) and not one.hidden):
            assert [name for name in option.opts if name not in section] == [], path


def test_lines_are_text_or_requests_that_man_knows(page: str) -> None:
    begun = re.findall(r"^[.'](\w*)", page, re.MULTILINE)
    assert set(begun) <= REQUESTS
    assert begun.count("nf") == begun.count("fi")


def test_it_begins_as_the_index_of_manuals_wants_it(page: str) -> None:
    lines = page.splitlines()
    assert lines[0].startswith('.TH BOUNCEKIT 1 "" "bouncekit ')
    assert lines[1:3] == [".SH NAME", "bouncekit \\- Bounce handling for applications that send mail"]


def test_a_text_that_looks_like_a_request_stays_text() -> None:
    @click.command(help=".so /etc/passwd\n\n'quoted\n\n\b\n.de x\n\\n[a] - b")
    @click.option("--odd", help=".sy rm")
    def verb(odd: str) -> None: ...

    page = man_page(verb)
    assert {*re.findall(r"^[.'](\w*)", page, re.MULTILINE)} <= REQUESTS
    assert "\\&.sy rm" in page
    assert "\\en[a] \\- b" in page


def test_the_command_prints_it(run: Run, page: str) -> None:
    assert run("completion", "man").output.rstrip("\n") == page
    assert json.loads(run("completion", "man", "--json").output) == {"shell": "man", "script": page}


if shutil.which("groff"):  # part of Debian's man-db; without it the tests above hold alone

    def test_groff_sets_it_without_a_warning(page: str, tmp_path: Path) -> None:
        file = tmp_path / "bouncekit.1"
        file.write_text(page, "utf-8")
        done = subprocess.run(
            ["groff", "-man", "-Kutf8", "-Tutf8", "-P-cbou", "-ww", str(file)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "EXIT STATUS" in done.stdout
