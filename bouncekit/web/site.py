"""All pages with their addresses, as one ASGI application: to be served by itself, or mounted in another one."""

import secrets
from collections.abc import Collection, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.reports.counts import Counts
from bouncekit.web.access import Role, User, open_users
from bouncekit.web.desk import Authenticate, Desk
from bouncekit.web.dressing import Dress
from bouncekit.web.keeping import Trials, Uploads
from bouncekit.web.pages import changes, codes, events, health, listfiles, overview, policy, queue, recipients
from bouncekit.web.pages import suppressions as listed
from bouncekit.web.sealing import Seal
from bouncekit.web.sessions import Sessions
from bouncekit.web.shield import LOCAL_HOSTS, Shield, checked_hosts
from bouncekit.web.visiting import House, View
from bouncekit.words.errors import ConfigurationError

__all__ = ["application"]

_STATIC = Path(__file__).parent / "static"
_LEAST_SECRET = 16

# What can be looked at, and what is asked there without a change.
_PAGES: tuple[tuple[str, View], ...] = (
    ("/", overview.overview),
    ("/events", events.events),
    ("/events/rows", events.rows),
    ("/recipients", recipients.search),
    ("/recipients/{who}", recipients.history),
    ("/suppressions", listed.entries),
    ("/suppressions/import", listfiles.file),
    ("/suppressions/export", listfiles.export),
    ("/suppressions/undo", changes.meant),
    ("/queue", queue.waiting),
    ("/policy", policy.rules),
    ("/policy/try", policy.ask),
    ("/policy/try/{trial}", policy.trial),
    ("/health", health.health),
    ("/codes", codes.every),
    ("/codes/{code}", codes.one),
)
# Forms. What a reader sends changes nothing: it holds an address, which no web address should.
_FORMS: tuple[tuple[str, View, Role], ...] = (
    ("/recipients", recipients.find, Role.READER),
    ("/suppressions/find", listed.find, Role.READER),
    ("/suppressions/add", listed.add, Role.OWNER),
    ("/suppressions/lift", listed.lift, Role.OWNER),
    ("/suppressions/import", listfiles.try_file, Role.OWNER),
    ("/suppressions/import/do", listfiles.take_file, Role.OWNER),
    ("/suppressions/undo", changes.preview, Role.READER),
    ("/suppressions/undo/do", changes.take_back, Role.OWNER),
    ("/queue/find", queue.find, Role.READER),
    ("/queue/retry", queue.retry, Role.OWNER),
    ("/queue/drop", queue.drop, Role.OWNER),
    ("/policy/explain", policy.explained, Role.READER),
    ("/policy/try", policy.begin, Role.READER),
    ("/health/sinks", health.enable, Role.OWNER),
)
_MOST_BYTES: Mapping[str, int] = {
    "/suppressions/import": 32 * 1024 * 1024,
    "/policy/try": 400_000,
    "": 64 * 1024,
}


def application(
    postmaster: Postmaster,
    *,
    users: Mapping[str, object] | None = None,
    authenticate: Authenticate | None = None,
    changes: bool = False,
    hosts: Collection[str] = (),
    secret: str | bytes | None = None,
    local_name: str = "local",
    count_seconds: float = 0.02,
) -> ASGIApp:
    """The pages of a postmaster, as an ASGI application.

    Without `users` and `authenticate` it answers its own machine alone.

    Args:
        users: who may log in: name -> a table with the hash of the password and the role; see
            `bouncekit.web.hash_password`.
        authenticate: instead, a function that gets the request (starlette.requests.Request) and says which
            `bouncekit.web.User` it is from, None nobody who may see the page: for an application that knows its users.
        changes: without users, whether whoever is at this machine may also change something.
        hosts: the names under which it is reached, besides localhost; needs users or `authenticate`.
        secret: of 16 bytes or more, for cookies and links, so that they outlive a restart and are good in several
            processes; None: one of this process.
        local_name: without users, who it was, for the record of changes.
        count_seconds: how long a request may count outcomes before the page is shown with what there is.

    Raises:
        ConfigurationError: something of it cannot be; the message says what would be right.
    """
    is_open = not users and authenticate is None
    _check(users=bool(users), authenticates=authenticate is not None, hosts=hosts)
    key = _key(secret)
    seal = Seal(key)
    desk = Desk(
        house=House(
            postmaster=postmaster,
            seal=seal,
            counts=Counts(postmaster.office.store, budget_seconds=count_seconds),
            trials=Trials(),
            uploads=Uploads(),
        ),
        sessions=Sessions(key),
        dress=Dress(seal),
        local=User(local_name, Role.OWNER if changes else Role.READER),
        accounts=open_users(users) if users else None,
        authenticate=authenticate,
    )
    inner = Starlette(routes=_routes(desk), exception_handlers={HTTPException: desk.wrong})
    return Shield(inner, hosts=checked_hosts((*LOCAL_HOSTS, *hosts)), is_local=is_open, most_bytes=_MOST_BYTES)


def _check(*, users: bool, authenticates: bool, hosts: Collection[str]) -> None:
    if users and authenticates:
        raise ConfigurationError("users and authenticate: one of them says who it is")
    if hosts and not (users or authenticates):
        raise ConfigurationError(
            f"hosts={sorted(hosts)!r}: without users the page is for its own machine; give users, or authenticate"
        )


def _routes(desk: Desk) -> list[BaseRoute]:
    return [
        *(Route(path, desk.endpoint(view), methods=["GET"]) for path, view in _PAGES),
        *(Route(path, desk.endpoint(view, needs=role), methods=["POST"]) for path, view, role in _FORMS),
        Route("/log-in", desk.log_in, methods=["GET", "POST"]),
        Route("/log-out", desk.log_out, methods=["POST"]),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]


def _key(secret: str | bytes | None) -> bytes:
    if secret is None:
        return secrets.token_bytes(32)
    key = secret.encode() if isinstance(secret, str) else secret
    if len(key) < _LEAST_SECRET:
        raise ConfigurationError(f"secret: {_LEAST_SECRET} bytes or more are needed")
    return key
