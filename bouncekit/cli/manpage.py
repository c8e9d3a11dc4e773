"""The manual page bouncekit.1: every verb with its options, from the texts that `--help` shows, as roff (man(7))."""

import re
from collections.abc import Iterator
from inspect import cleandoc

import click

from bouncekit._version import __version__

__all__ = ["man_page", "verbs_of"]

_NAME = "bouncekit"
_AS_IT_IS = "\b"  # click: a paragraph that begins so keeps its lines
_ENDS = """.SH EXIT STATUS
.TP
.B 0
Done.
.TP
.B 1
The answer is no.
.TP
.B 2
Wrong usage or configuration, in one line on standard error.
.TP
.B 130
Interrupted.
.SH FILES
.TP
.I bouncekit.toml
Settings of the folder in which a verb runs; variables of the environment, BOUNCEKIT_*, stand above them."""


def man_page(root: click.Command) -> str:
    """The page of a command and of all verbs below it.

    >>> @click.command()
    ... @click.option("--dry-run", is_flag=True, help="Change nothing.")
    ... def tidy(): "Tidy up."
    >>> print(man_page(tidy))  # doctest: +ELLIPSIS
    .TH BOUNCEKIT 1 "" "bouncekit ..." "User commands"
    .SH NAME
    bouncekit \\- Tidy up
    ...
    """
    (_, context), *verbs = verbs_of(root)
    summary, *about = _paragraphs(root.help)
    lines = [
        f'.TH {_NAME.upper()} 1 "" "{_NAME} {_escaped(__version__)}" "User commands"',
        ".SH NAME",
        f"{_NAME} \\- {_escaped(summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_NAME}",
        _escaped(" ".join(root.collect_usage_pieces(context))),
        ".SH DESCRIPTION",
        *_text([summary, *about]),
        *_options(root, context),
        *([".SH VERBS"] if verbs else []),
    ]
    for path, below in verbs:
        lines += _verb(path, below)
    return "\n".join((*lines, _ENDS))


def verbs_of(
    command: click.Command, path: tuple[str, ...] = (_NAME,), parent: click.Context | None = None
) -> Iterator[tuple[tuple[str, ...], click.Context]]:
    """A command and all below it that are not hidden, each with its path and the context in which its help is made."""
    context = click.Context(command, info_name=path[-1], parent=parent, **command.context_settings)
    yield path, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from verbs_of(below, (*path, name), context)


def _verb(path: tuple[str, ...], context: click.Context) -> Iterator[str]:
    verb = context.command
    usage = " ".join((*path[1:], *verb.collect_usage_pieces(context)))
    yield f".SS {_escaped(usage)}"
    yield from _text(_paragraphs(verb.help))
    yield from _options(verb, context)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.params:
        names, what = parameter.get_help_record(context) or ("", "")
        if what:  # else it is hidden, or an argument, which the usage names
            yield from (".TP", f".B {_escaped(names)}", _line(what))


def _paragraphs(text: str | None) -> list[str]:
    return [one for one in re.split(r"\n\s*\n", cleandoc(text or "").partition("\f")[0]) if one.strip()]


def _text(paragraphs: list[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        yield ".PP"
        if paragraph.startswith(_AS_IT_IS):
            yield from (".nf", *map(_line, paragraph.removeprefix(_AS_IT_IS).strip("\n").split("\n")), ".fi")
        else:
            yield _line(" ".join(paragraph.split()))


def _line(text: str) -> str:
    """A line of text: what would be a request of roff is none."""
    return ("\\&" if text.startswith((".", "'")) else "") + _escaped(text)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")
