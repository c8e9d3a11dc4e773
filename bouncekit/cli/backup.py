"""`bouncekit backup`: a copy of the store, made while others write."""

from dataclasses import asdict
from pathlib import Path

import click

from bouncekit.cli.output import show_json, show_line
from bouncekit.cli.settings import configured, json_option, sqlite_path, store_option
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.measures import counted

__all__ = ["verb"]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@store_option
@json_option("one JSON document: path, size_bytes, suppressions, events, held")
def verb(file: Path, force: bool, store: str | None, as_json: bool) -> None:
    """Copy the store into a file, as it is at one moment. Whoever writes goes on; the copy is read through.

    \b
    bouncekit backup copy.db --store sqlite:///bounces.db

    Mail that waits in the copy is held there, for some of it is delivered by the time that somebody needs the copy:
    bouncekit queue retry lets it go out, marked as possible duplicates.

    To begin with a copy: stop all who use the store, move the store and its -wal and -shm away, put the copy there.
    """
    from bouncekit.stores.sqlite.backup import back_up

    made = back_up(_source(configured(store=store).store), file, over=force)
    if as_json:
        show_json(asdict(made))
        return
    held = f", {counted(made.held, 'recipient')} of its queue held" if made.held else ""
    show_line(f"{made.path}: sound, {counted(made.suppressions, 'suppression')}, {counted(made.events, 'event')}{held}")


def _source(url: str | None) -> Path:
    """The file of the store.

    Raises:
        ConfigurationError: it has none.
    """
    if url is None:
        raise ConfigurationError("no store, so there is nothing to copy: give --store sqlite:///bounces.db")
    path = sqlite_path(url)
    if path is None:
        raise ConfigurationError(
            f"{url.partition(':')[0]}: only a store in a file is copied; a server has its own tools"
        )
    if not path.exists():
        raise ConfigurationError(f"{path}: there is no such store; look at --store, or make it there")
    return path
