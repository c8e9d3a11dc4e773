"""A JSON endpoint for a banner in an application: how mail to the one who is logged in fares, and what he can do.

    token = banner.token_for(user.email, key=KEY)             # in a page that only this user gets
    GET /mail-status    Authorization: Bearer TOKEN           # what the page's script asks

A token is good for one address and an hour. Without a good one the answer is always the same and no store is asked, so
a stranger learns nothing about anybody.
"""

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from bouncekit.codes import Language
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.words.errors import AddressError, ConfigurationError, StoreError

__all__ = ["Answer", "Banner", "language_of", "token_for"]

Key = str | bytes

_SHORTEST_KEY = 16  # bytes
_LONGEST_TOKEN = 2048  # characters
_PURPOSE = b"bouncekit.banner.1\0"
_HEADERS = (
    ("Content-Type", "application/json"),
    ("Cache-Control", "private, no-store"),
    ("X-Content-Type-Options", "nosniff"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of HTTP: status, headers, body."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = _HEADERS


_FORBIDDEN = Answer(403, b'{"error": "a token of the application is needed"}')
_UNAVAILABLE = Answer(503, b'{"error": "not known now"}')


def token_for(
    address: str,
    *,
    key: Key,
    tenant: str = "",
    stream: str = "",
    lasts: timedelta = timedelta(hours=1),
    now: float | None = None,
) -> str:
    """A token with which the status of this one address can be asked. Give it to whom you know to own the address.

    Args:
        key: a secret of 16 bytes or more.
        now: seconds since 1970; for tests.

    Raises:
        ConfigurationError: the key is too short.
    """
    ends = int((time.time() if now is None else now) + lasts.total_seconds())
    said = json.dumps([address, tenant, stream, ends], separators=(",", ":")).encode()
    return f"{_text(said)}.{_text(_mac(_secret(key), said))}"


class Banner:
    """The endpoint, for any framework: `answer` takes a token and gives a response; `wsgi` and `asgi` are applications.

    Args:
        postmaster: whose store is asked.
        keys: those that tokens may be signed with, so that one can be changed without a break.

    Raises:
        ConfigurationError: there is no key, or one is too short.
    """

    def __init__(self, postmaster: Postmaster, *, keys: Sequence[Key]) -> None:
        if isinstance(keys, str | bytes) or not keys:
            raise ConfigurationError("keys: a list of secrets is needed, of 16 bytes or more each")
        self._postmaster = postmaster
        self._keys = tuple(map(_secret, keys))

    def answer(self, token: str, *, language: str = "en", now: float | None = None) -> Answer:
        """The response to whoever shows this token. `language` is a tag, or a whole Accept-Language header."""
        meant = self._read(token, time.time() if now is None else now)
        if meant is None:
            return _FORBIDDEN
        address, tenant, stream = meant
        try:
            news = self._postmaster.status(address, tenant=tenant, stream=stream, lang=language_of(language))
        except AddressError:
            return _FORBIDDEN
        except StoreError:
            return _UNAVAILABLE
        return Answer(200, json.dumps(news.to_dict(), ensure_ascii=False).encode())

    def wsgi(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """An application of WSGI (PEP 3333)."""
        answer = self._to(
            environ.get("REQUEST_METHOD", ""),
            environ.get("HTTP_AUTHORIZATION", ""),
            environ.get("HTTP_ACCEPT_LANGUAGE", ""),
        )
        start_response(f"{answer.status} {_REASONS[answer.status]}", list(answer.headers))
        return [answer.body]

    async def asgi(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        """An application of ASGI 3; the store is asked on a thread."""
        if scope["type"] != "http":
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        answer = await asyncio.to_thread(
            self._to, scope["method"], headers.get(b"authorization", ""), headers.get(b"accept-language", "")
        )
        shown = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": shown})
        await send({"type": "http.response.body", "body": answer.body})

    def _to(self, method: str, authorization: str, language: str) -> Answer:
        if method != "GET":
            return Answer(405, b'{"error": "GET it"}', (*_HEADERS, ("Allow", "GET")))
        scheme, _, token = authorization.partition(" ")
        return self.answer(token.strip() if scheme.lower() == "bearer" else "", language=language)

    def _read(self, token: str, now: float) -> tuple[str, str, str] | None:
        """What a token is about; None for one that is none, that nobody signed, or that is too old."""
        if len(token) > _LONGEST_TOKEN or not token.isascii():
            return None
        said_text, _, mac_text = token.partition(".")
        try:
            said, mac = _bytes(said_text), _bytes(mac_text)
        except (NoBase64, ValueError):
            return None
        if not any([hmac.compare_digest(mac, _mac(key, said)) for key in self._keys]):  # noqa: C419 - all, whichever fits
            return None
        address, tenant, stream, ends = json.loads(said)
        return (address, tenant, stream) if now < ends else None


_REASONS = {200: "OK", 403: "Forbidden", 405: "Method Not Allowed", 503: "Service Unavailable"}


def language_of(tags: str) -> Language:
    """The first language of an Accept-Language header that the cards are written in, else English."""
    known = {one.value: one for one in Language}
    for tag in tags[:200].split(","):
        short = tag.split(";")[0].strip().lower().partition("-")[0]
        if short in known:
            return known[short]
    return Language.ENGLISH


def _secret(key: Key) -> bytes:
    found = key.encode() if isinstance(key, str) else key
    if not isinstance(found, bytes) or len(found) < _SHORTEST_KEY:
        raise ConfigurationError(f"key: a secret of {_SHORTEST_KEY} bytes or more is needed")
    return found


def _mac(key: bytes, said: bytes) -> bytes:
    return hmac.new(key, _PURPOSE + said, sha256).digest()


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
