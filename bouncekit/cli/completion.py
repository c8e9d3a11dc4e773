"""`bouncekit completion`: the script that lets a shell complete verbs, options and what options take."""

import click
from click.shell_completion import get_completion_class

from bouncekit.cli.output import show_json
from bouncekit.cli.settings import json_option

__all__ = ["verb"]

_SHELLS = ("bash", "zsh", "fish")
_NAME, _VARIABLE = "bouncekit", "_BOUNCEKIT_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@json_option("one JSON document: shell, script")
@click.pass_context
def verb(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the script that lets a shell complete verbs and options.

    \b
    bash  source <(bouncekit completion bash)      in ~/.bashrc
    zsh   source <(bouncekit completion zsh)       in ~/.zshrc, behind compinit
    fish  bouncekit completion fish | source       in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, _NAME, _VARIABLE).source()
    show_json({"shell": shell, "script": script}) if as_json else click.echo(script.rstrip("\n"))
