"""What stands between a request and a page: who asks, whether the form is ours, and how the answer is dressed."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bouncekit.web.access import Account, Attempts, Role, User, is_password
from bouncekit.web.dressing import Dress
from bouncekit.web.sessions import COOKIE, Session, Sessions
from bouncekit.web.visiting import Go, House, NotAsked, Page, View, Visit
from bouncekit.words.errors import BouncekitError, StoreError
from bouncekit.words.showing import printable, redacted

__all__ = ["Authenticate", "Desk"]

Authenticate: TypeAlias = Callable[[Request], User | Awaitable[User | None] | None]

_MOST_FIELDS, _MOST_FIELD_BYTES = 60, 400_000
_OF_THE_SHIELD = frozenset({408, 413})  # too slow, too much
_OLD_FORM = "this form is from before a restart or a log-out: go back, load the page again, and send it anew"
_log = logging.getLogger("bouncekit.web")
_NOBODY = Account(User("nobody"), "scrypt:14:8:1:" + "A" * 22 + "==:" + "A" * 43 + "=")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """What a browser sent."""

    fields: Mapping[str, str]
    file: UploadFile | None = None


class Desk:
    """Takes requests, asks pages, answers.

    Args:
        accounts: who can log in; None: nobody needs to, all are `local`.
        authenticate: instead of both, who the application around us knows the visitor to be.
    """

    def __init__(
        self,
        *,
        house: House,
        sessions: Sessions,
        dress: Dress,
        local: User,
        accounts: Mapping[str, Account] | None = None,
        authenticate: Authenticate | None = None,
    ) -> None:
        self._house = house
        self._sessions = sessions
        self._dress = dress
        self._local = local
        self._accounts = accounts
        self._authenticate = authenticate
        self._attempts = Attempts()

    def endpoint(self, view: View, *, needs: Role = Role.READER) -> Callable[[Request], Awaitable[Response]]:
        """A page for those who may do that much."""

        async def endpoint(request: Request) -> Response:
            session, user = await self._visitor(request)
            if user is None:
                return self._ask_who(request, session)
            if needs is Role.OWNER and not user.may_change:
                return self._refuse(request, session, user, 403, "you may look, and change nothing here")
            form = await self._form(request, session)
            try:
                if isinstance(form, str):
                    return self._refuse(request, session, user, 403, form)
                visit = self._visit(request, session, user, form)
                answer = await run_in_threadpool(self._seen, view, visit)
            except (NotAsked, BouncekitError) as error:
                status = 503 if isinstance(error, StoreError) else 400
                return self._refuse(request, session, user, status, str(error))
            finally:
                await request.close()
            if needs is Role.OWNER:
                _log.info("%s: %s", user.name, request.url.path)
            return self._answer(request, answer, session, user)

        return endpoint

    # -- logging in and out

    async def log_in(self, request: Request) -> Response:
        """The page that asks for name and password, and what it sends."""
        session, user = await self._visitor(request)
        if self._accounts is None:
            return self._answer(request, Go("/"), session, user) if user else self._ask_who(request, session)
        if request.method != "POST":
            return self._answer(request, Page(template="login.html"), session, None)
        form = await self._form(request, session)
        await request.close()
        if isinstance(form, str):
            return self._login_again(request, session, 403, form)
        now = self._house.office.clock.now()
        address = request.client.host if request.client else ""
        if (wait := self._attempts.begin(address, now)) is not None:
            why = "too many have failed from here: wait a quarter of an hour"
            answer = self._login_again(request, session, 429, why)
            answer.headers["Retry-After"] = str(int(wait.total_seconds()) + 1)
            return answer
        name, password = form.fields.get("name", ""), form.fields.get("password", "")
        account = self._accounts.get(name)
        is_right = await run_in_threadpool(is_password, password, (account or _NOBODY).password)
        if account is None or not is_right:
            _log.warning("a log-in failed from %s", printable(address, limit=64))
            return self._login_again(request, session, 403, "no such name and password")
        self._attempts.succeeded(address)
        if session is not None:
            self._sessions.end(session)
        _log.info("%s logged in", name)
        answer = RedirectResponse(f"{request.scope.get('root_path', '')}/", 303)
        self._remember(answer, request, self._sessions.begin(now, user=name, mark=account.mark))
        return answer

    async def log_out(self, request: Request) -> Response:
        """Ends the session."""
        session, user = await self._visitor(request)
        form = await self._form(request, session)
        if isinstance(form, str):
            return self._refuse(request, session, user, 403, form)
        if session is not None:
            self._sessions.end(session)
        return self._answer(request, Go("/log-in"), None, None)

    async def wrong(self, request: Request, error: Exception) -> Response:
        """What is asked for that is not there."""
        assert isinstance(error, HTTPException)
        session, user = await self._visitor(request)
        why = {404: "there is no such page", 405: "this page is not asked so"}.get(error.status_code, error.detail)
        return self._refuse(request, session, user, error.status_code, why)

    # -- who asks, and what

    async def _visitor(self, request: Request) -> tuple[Session | None, User | None]:
        """The session of the browser, and who is at it."""
        session = self._sessions.read(request.cookies.get(COOKIE), self._house.office.clock.now())
        if self._authenticate is not None:
            found = self._authenticate(request)
            return session, await found if inspect.isawaitable(found) else found
        if self._accounts is None:
            return session, self._local
        account = self._accounts.get(session.user) if session is not None and session.user else None
        if session is None or account is None or account.mark != session.mark:
            return session, None
        return session, account.user

    async def _form(self, request: Request, session: Session | None) -> _Form | str:
        """The form of a POST; a text says why it does not count."""
        if request.method != "POST":
            return _Form(fields={})
        if _names_another_charset(request.headers.get("content-type", "")):
            return "this form cannot be read: it is not in UTF-8"
        try:
            sent = await request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=_MOST_FIELD_BYTES)
        except HTTPException as error:
            if error.status_code in _OF_THE_SHIELD:
                raise
            return f"this form cannot be read: {error.detail}"
        fields = {name: value for name, value in sent.multi_items() if isinstance(value, str)}
        file = next((value for _, value in sent.multi_items() if isinstance(value, UploadFile)), None)
        if session is None or not session.has_token(fields.pop("token", "")):
            return _OLD_FORM
        return _Form(fields=fields, file=file)

    def _visit(self, request: Request, session: Session | None, user: User, form: _Form) -> Visit:
        file = form.file
        return Visit(
            house=self._house,
            user=user,
            now=self._house.office.clock.now(),
            path=dict(request.path_params),
            query=dict(request.query_params),
            form=form.fields,
            types=tuple(request.query_params.getlist("type"))[:50],
            file=file.file if file is not None and file.filename else None,  # type: ignore[arg-type]  # it is spooled
            file_name=(file.filename or "")[-100:] if file is not None else "",
            session=session.id if session is not None else "",
        )

    def _seen(self, view: View, visit: Visit) -> Page | Go | Response:
        """What a page answers, by the policy that holds now."""
        self._house.office.law.look()
        return view(visit)

    # -- what is answered

    def _ask_who(self, request: Request, session: Session | None) -> Response:
        """Somebody has to say who it is, here or to the application around us."""
        if self._accounts is None:
            why = "this page is not for everybody: log in to the application first"
            return self._refuse(request, session, None, 403, why)
        if "hx-request" in request.headers:  # a part of a page asks for itself anew, and no log-in fits in there
            return Response(headers={"HX-Redirect": f"{request.scope.get('root_path', '')}/log-in"})
        return self._answer(request, Go("/log-in"), session, None)

    def _answer(
        self, request: Request, answer: Page | Go | Response, session: Session | None, user: User | None
    ) -> Response:
        root: str = request.scope.get("root_path", "")
        if isinstance(answer, Response):
            return answer
        kept = session or self._sessions.begin(self._house.office.clock.now())
        if isinstance(answer, Go):
            response: Response = RedirectResponse(root + answer.path, 303)
            kept = replace(kept, said=answer.said)
        else:
            context: dict[str, Any] = {
                "root": root,
                "path": request.url.path.removeprefix(root) or "/",
                "user": user,
                "can_log_out": self._accounts is not None and user is not None,
                "token": kept.token,
                "said": kept.said,
                "now": self._house.office.clock.now(),
            }
            html = self._dress.render(answer.template, context | dict(answer.values))
            response = HTMLResponse(html, answer.status)
            kept = replace(kept, said="")
        if kept != session:
            self._remember(response, request, kept)
        return response

    def _refuse(self, request: Request, session: Session | None, user: User | None, status: int, why: str) -> Response:
        page = Page(template="refused.html", values={"why": redacted(why), "status": status}, status=status)
        return self._answer(request, page, session, user)

    def _login_again(self, request: Request, session: Session | None, status: int, why: str) -> Response:
        return self._answer(request, Page(template="login.html", values={"why": why}, status=status), session, None)

    def _remember(self, response: Response, request: Request, session: Session) -> None:
        response.set_cookie(
            COOKIE,
            self._sessions.written(session),
            path=request.scope.get("root_path") or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )


def _names_another_charset(content_type: str) -> bool:
    """Whether a form wants to be read by a codec of its choice: some of Python's fail, or make text that none writes.

    A browser names none, or the one that the page has.
    """
    _, named, charset = content_type.lower().partition("charset")
    return bool(named) and charset.strip(' ="') != "utf-8"
