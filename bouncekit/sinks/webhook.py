"""Events to a URL of another system, one signed POST each, by Standard Webhooks (standardwebhooks.com).

The body is the event's JSON as a structured CloudEvent. `webhook-id` is the event's id, the same on every try, and
`webhook-timestamp` the time of this try. 2xx: taken. 410: the receiver wants no more. All else, redirects too, comes
again later.
"""

import base64
import binascii
import os
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

from bouncekit._version import __version__
from bouncekit.delivery.events import Told
from bouncekit.sinks.payload import body
from bouncekit.sinks.protocol import NotTaken, Sink
from bouncekit.sinks.target import Resolve, Target, resolve
from bouncekit.words.errors import ConfigurationError, MissingExtra

__all__ = ["Webhook", "new_secret"]

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # of the specification
_BUSY_SECONDS = 20.0  # then the sink gives an account of what it has done, within its lease


def new_secret() -> str:
    """A fresh secret for a webhook, which its receiver has to know too."""
    return _PREFIX + base64.b64encode(os.urandom(32)).decode("ascii")


class Webhook(Sink):
    """Posts events to a URL, signed.

    Args:
        url: `https://...`. Of all that may be secret, only scheme, host and port are ever shown.
        secret: `whsec_` and 24 to 64 bytes in base64; while one replaces another, several: all sign.
        allow_http: post in clear.
        allow_private: the receiver may be in a private network.
        ca: a file of certificates that may sign the receiver's, in place of the system's.
        seconds: for one try, from the look-up of the name to the last byte of the answer.
        resolve: another way to look up a name.

    >>> Webhook("https://crm.example.com/hook/t0ken", secret=new_secret(), types=["failed"])
    Webhook('https://crm.example.com', name='webhook', types=['failed'])

    Raises:
        ConfigurationError: the URL leads where no webhook may go, or the secret is none.
        MissingExtra: urllib3 or standardwebhooks is not installed.
    """

    kind: ClassVar[str] = "webhook"
    batch: ClassVar[int] = 100

    def __init__(
        self,
        url: str,
        *,
        secret: str | Sequence[str],
        allow_http: bool = False,
        allow_private: bool = False,
        ca: str | os.PathLike[str] | None = None,
        seconds: float = 15.0,
        resolve: Resolve = resolve,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        name: str | None = None,
        types: Iterable[str] = (),
        begin: str | None = None,
    ) -> None:
        super().__init__(name=name, types=types, begin=begin)
        try:
            from standardwebhooks import Webhook as Signer

            from bouncekit.sinks.post import Poster
        except ImportError as error:
            raise MissingExtra("webhook", error.name or "urllib3", "webhooks") from None
        if not 0 < seconds <= 30:
            raise ConfigurationError(f"sink {self.name}: seconds={seconds!r}; a try has more than 0 and at most 30")
        self._target = Target.parse(url, allow_http=allow_http, allow_private=allow_private)
        secrets = secret if isinstance(secret, list | tuple) and secret else [secret]
        self._signers = [Signer(_key(self.name, one)) for one in secrets]
        self._now = now
        context = _context(self.name, ca) if self._target.scheme == "https" else None
        self._poster = Poster(self._target, context=context, seconds=seconds, resolve=resolve)

    def __repr__(self) -> str:
        wanted = f", types={sorted(self.types)}" if self.types else ""
        return f"Webhook({str(self._target)!r}, name={self.name!r}{wanted})"

    def send(self, events: Sequence[Told]) -> int:
        """See `Sink.send`. The order of the events is kept, so one that is not taken holds up those behind it."""
        began = time.monotonic()
        for number, event in enumerate(events):
            if number and time.monotonic() - began > _BUSY_SECONDS:
                return number
            try:
                self._post(event)
            except NotTaken as error:
                error.taken = number
                raise
        return len(events)

    def close(self) -> None:
        """Hang up."""
        self._poster.close()

    def _post(self, event: Told) -> None:
        content, now = body(event), self._now()
        text = content.decode("ascii")
        answer = self._poster.post(
            content,
            {
                "Content-Type": "application/cloudevents+json",
                "Accept-Encoding": "identity",
                "User-Agent": f"bouncekit/{__version__}",
                "webhook-id": event["id"],
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": " ".join(signer.sign(event["id"], now, text) for signer in self._signers),
            },
        )
        if 200 <= answer.status < 300:
            return
        redirected = "; redirects are not followed" if 300 <= answer.status < 400 else ""
        raise NotTaken(f"{self._target}: {answer}{redirected}", is_gone=answer.status == 410, wait=answer.wait)


def _key(name: str, secret: object) -> bytes:
    """The bytes of a secret. What is wrong with one is said without showing it."""
    wrong = f"sink {name}: a webhook's secret is whsec_ and 24 to 64 bytes in base64; bouncekit sinks secret makes one"
    if not isinstance(secret, str) or not secret.startswith(_PREFIX):
        raise ConfigurationError(wrong)
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(wrong) from None
    if len(key) not in _KEY_BYTES:
        raise ConfigurationError(wrong)
    return key


def _context(name: str, ca: str | os.PathLike[str] | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"sink {name}: ca={os.fspath(ca or '')!a}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
