"""What every request goes through first: whose name it asks for, from where it comes, how much it brings.

A name that is none of ours is a stranger's page that leads here (DNS rebinding). Without log-in only this machine is
answered, and no proxy on it, which would let others in. All that goes out says that a browser runs no script and loads
nothing but ours, and shows the page in nobody's frame.
"""

from asyncio import get_running_loop, timeout_at
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LOCAL_HOSTS", "Shield", "checked_hosts", "is_loopback"]

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_METHODS = frozenset({"GET", "HEAD", "POST"})
_SAFE = frozenset({"GET", "HEAD"})
_TOO_MUCH, _TOO_SLOW = "that is more than this page takes", "that takes too long: send it again"
_LEAST_BYTES_A_SECOND, _PATIENCE_SECONDS = 20_000, 30.0  # of a body
_OF_A_PROXY = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",  # without any, a browser would not say from where a form comes
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "X-Robots-Tag": "noindex, nofollow",
    }
)


class Shield:
    """An application behind it sees only requests that are in order.

    Args:
        hosts: the names that the pages have, without a port.
        is_local: answer this machine alone.
        most_bytes: of a body; those of some pages by the ends of their paths, "" all others.
        patience_seconds: how long a body may be under way, and what it needs at 20 kB a second besides.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str],
        is_local: bool,
        most_bytes: Mapping[str, int],
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._is_local = is_local
        self._most_bytes = most_bytes
        self._patience_seconds = patience_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_cached = _is_static(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    out[name] = value
                out["Cache-Control"] = "no-cache" if is_cached else "no-store"
            await send(message)

        if (wrong := self._refusal(scope, headers)) is not None:
            status, why = wrong
            await PlainTextResponse(why + "\n", status)(scope, receive, with_headers)
            return
        await self._app(scope, self._bounded(scope, receive), with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and reason, where a request is not in order."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or _name_of(hosts[0]) not in self._hosts:
            return 421, "this page has no such name; whoever runs it adds it to `hosts`"
        if self._is_local and not (is_loopback(_client(scope)) and _is_direct(headers)):
            return 403, "without log-in this page is for its own machine; whoever runs it sets up users"
        if scope["method"] not in _METHODS:
            return 405, "this page knows GET and POST"
        if scope["method"] not in _SAFE and not _is_from_here(scope, headers, hosts[0]):
            return 403, "this form was sent from another site"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._most(scope):
            return 413, _TOO_MUCH
        return None

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """What is received, as long as it is neither more than the page takes nor longer under way.

        Not everybody says how long it is, and who sends a letter a minute keeps a place that others need.
        """
        left, until, is_whole = self._most(scope), get_running_loop().time() + self._patience_seconds, False

        async def bounded() -> Message:
            nonlocal left, until, is_whole
            if is_whole:  # what comes is that somebody has gone
                return await receive()
            try:
                async with timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, _TOO_SLOW) from None
            length = len(message.get("body", b""))
            left, until = left - length, until + length / _LEAST_BYTES_A_SECOND
            is_whole = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, _TOO_MUCH)
            return message

        return bounded

    def _most(self, scope: Scope) -> int:
        path = scope["path"]
        return next((most for end, most in self._most_bytes.items() if path.endswith(end)), 0)


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _client(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else ""


def _is_direct(headers: Headers) -> bool:
    return not any(name in headers for name in _OF_A_PROXY)


def _name_of(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower().rstrip(".")


def _is_from_here(scope: Scope, headers: Headers, host: str) -> bool:
    """Whether a browser says that the form stood on a page of ours; who says nothing has the form's token to show."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # a bracket that nothing closes
        return False


def _is_static(scope: Scope) -> bool:
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return path.startswith("/static/")


def checked_hosts(hosts: Collection[str]) -> frozenset[str]:
    """Names without ports, in lower case."""
    return frozenset(map(_name_of, hosts))
