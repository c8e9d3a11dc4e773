"""`bouncekit serve`: the web page, for a browser on this machine, or with log-in for others."""

import getpass
import socket
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING

import click

from bouncekit.cli.application import app_option, opened
from bouncekit.cli.output import show_json, show_line
from bouncekit.cli.settings import configured, json_option, policy_option, store_option
from bouncekit.cli.stopping import stopped_by_signal
from bouncekit.words.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from bouncekit.postmaster.postmaster import Postmaster
    from bouncekit.web.settings import Settings

__all__ = ["verb"]

_AT_ONCE = 200  # connections
_KEPT_SECONDS = 15


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8525, show_default=True, help="0: any that is free.")
@click.option("--changes", is_flag=True, help="Without users: whoever is at this machine may also change something.")
@click.option(
    "--hash-password",
    is_flag=True,
    help="Ask for a password, or read it from standard input; print its hash for the configuration, and end.",
)
@app_option
@policy_option
@store_option
@json_option("one JSON document: url, users, changes")
def verb(
    host: str,
    port: int,
    changes: bool,
    hash_password: bool,
    app: str | None,
    policy: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Show in a browser what becomes of the mail: overview, events, recipients, suppressions, queue, policy, codes.

    \b
    bouncekit serve --store sqlite:///bounces.db
    bouncekit serve --changes --app shop.mail:postmaster

    It answers this machine alone, and changes nothing without --changes. With users, a table [web.users.NAME] of the
    configuration each, it asks who is there, may listen at any --host, and their roles say who may change something.
    Until Ctrl-C. Exit code 2 where it cannot listen.
    """
    if hash_password:
        return _show_hash(as_json=as_json)
    settings = _settings()
    if not settings.users and not _is_loopback(host):
        raise ConfigurationError(
            f"--host {host}: without users the page is for its own machine; set up [web.users.NAME] with a password "
            "(bouncekit serve --hash-password)"
        )
    with opened(app, policy=policy, store=store) as postmaster, _listening(host, port) as listening:
        served = _application(postmaster, settings, host, changes=changes)
        url = _url(host, listening.getsockname()[1])
        if as_json:
            show_json({"url": url, "users": sorted(settings.users), "changes": changes or bool(settings.users)})
        else:
            show_line(f"bouncekit serve: {url}  (Ctrl-C ends it)")
            _show_what_may_be_done(settings, changes=changes)
        with stopped_by_signal():
            _serve(served, listening)
    return 0


def _settings() -> "Settings":
    """What the configuration says of the page.

    Raises:
        MissingExtra: what it is made of is not installed.
    """
    from bouncekit.web.settings import Settings

    return Settings.of(configured().web)


def _application(postmaster: "Postmaster", settings: "Settings", host: str, *, changes: bool) -> "ASGIApp":
    from bouncekit.web import application

    named = [] if _is_loopback(host) or host in ("0.0.0.0", "::") else [host]  # noqa: S104 - any name is asked for then
    return application(
        postmaster,
        users=settings.users or None,
        changes=changes,
        hosts=[*settings.hosts, *named],
        secret=settings.secret,
        local_name=_user(),
    )


def _serve(served: "ASGIApp", listening: socket.socket) -> None:
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtra("web", error.name or "uvicorn", "web pages") from error
    config = uvicorn.Config(
        served,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_AT_ONCE,
        timeout_keep_alive=_KEPT_SECONDS,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen at {host} port {port}: {error.strerror}; --port 0 takes a free one"
        ) from error
    # asyncio asks for it only where a socket says that it is TCP, and this one does not: each answer would wait 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return listening


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "local"


def _show_what_may_be_done(settings: "Settings", *, changes: bool) -> None:
    if settings.users:
        show_line(f"bouncekit serve: users are {', '.join(sorted(settings.users))}")
    elif not changes:
        show_line("bouncekit serve: read only; --changes lets whoever is at this machine change something")


def _asked() -> str:
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


def _show_hash(*, as_json: bool) -> int:
    from bouncekit.web.access import hash_password

    password = _asked() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("no password: type it at a terminal, or give it as the first line of standard input")
    try:
        hashed = hash_password(password)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    show_json({"password": hashed}) if as_json else click.echo(hashed)
    return 0
