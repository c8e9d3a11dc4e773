"""`bouncekit completion`: the script that lets a shell complete verbs, options and what they take; the manual page."""

import click
from click.shell_completion import get_completion_class

from bouncekit.cli.manpage import man_page
from bouncekit.cli.output import show_json
from bouncekit.cli.settings import json_option

__all__ = ["verb"]

_SHELLS = ("bash", "zsh", "fish")
_MAN = "man"
_NAME, _VARIABLE = "bouncekit", "_BOUNCEKIT_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice((*_SHELLS, _MAN)))
@json_option("one JSON document: shell, script")
@click.pass_context
def verb(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the script that lets a shell complete verbs and options, or the manual page.

    \b
    bash  source <(bouncekit completion bash)      in ~/.bashrc
    zsh   source <(bouncekit completion zsh)       in ~/.zshrc, behind compinit
    fish  bouncekit completion fish | source       in ~/.config/fish/config.fish
    man   bouncekit completion man > ~/.local/share/man/man1/bouncekit.1
    """
    root = ctx.find_root().command
    script = man_page(root) if shell == _MAN else _script(root, shell)
    show_json({"shell": shell, "script": script}) if as_json else click.echo(script.rstrip("\n"))


def _script(root: click.Command, shell: str) -> str:
    kind = get_completion_class(shell)
    assert kind is not None
    return kind(root, {}, _NAME, _VARIABLE).source()
