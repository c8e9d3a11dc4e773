"""Who is at the pages, from one request to the next: a signed cookie, and the token that every change must bring."""

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from itsdangerous import BadData, URLSafeSerializer

__all__ = ["COOKIE", "Session", "Sessions"]

COOKIE = "bouncekit_session"
_MOST_CHARACTERS = 3000
_MOST_SAID = 300
_MOST_ENDED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One browser. `token` goes into its forms, `said` is shown on its next page; `user` None: nobody logged in."""

    id: str
    token: str
    begun: int  # seconds since 1970
    user: str | None = None
    mark: str = ""  # of the account, when he logged in
    said: str = ""

    def has_token(self, token: str) -> bool:
        """Whether a form is one of ours, to this browser."""
        return hmac.compare_digest(self.token.encode(), token.encode("utf-8", "surrogatepass"))


class Sessions:
    """Makes sessions, and knows its own again."""

    def __init__(self, secret: bytes, *, lasts: timedelta = timedelta(hours=12)) -> None:
        self._signed = URLSafeSerializer(
            secret, salt="bouncekit.web.sessions", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._lasts = lasts
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, now: datetime, *, user: str | None = None, mark: str = "") -> Session:
        """A new one; whoever logs in gets one, so that no cookie from before is worth anything."""
        id_, token = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
        return Session(id=id_, token=token, begun=int(now.timestamp()), user=user, mark=mark)

    def end(self, session: Session) -> None:
        """Know it no more, also from a copy of the cookie; one of nobody opens nothing, and is not worth the place."""
        if session.user is None:
            return
        with self._lock:
            self._ended[session.id] = None
            if len(self._ended) > _MOST_ENDED:
                self._ended.popitem(last=False)

    def written(self, session: Session) -> str:
        """The cookie."""
        values = asdict(session)
        values["said"] = session.said[:_MOST_SAID]
        return str(self._signed.dumps(values))

    def read(self, cookie: str | None, now: datetime) -> Session | None:
        """The session of a cookie; None where it is none of ours, over or ended."""
        if not cookie or len(cookie) > _MOST_CHARACTERS:
            return None
        try:
            session = Session(**self._signed.loads(cookie))
        except (BadData, TypeError):
            return None
        is_over = now >= datetime.fromtimestamp(session.begun, UTC) + self._lasts
        return None if is_over or session.id in self._ended else session
