"""Signing in with a browser at an OpenID provider: authorization code with PKCE, then a session in the catalogue.

    GET /sign-in?next=/documents   -> the provider, with one cookie that ties its answer to this browser
    GET /sign-in/callback          -> a new session, and back to where the browser wanted to go
    DELETE /api/v1/session         -> the session is over

The cookie of a sign-in under way holds one random value; state, nonce and PKCE verifier are hashes of it, so
nothing is kept for people who never come back, and none of the three tells another. It counts for one answer.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from serving.desk import Desk
from serving.errors import IdentityUnavailableError, UnauthenticatedError
from serving.http.callers import Callers
from serving.http.errors import request_id_of
from serving.http.identity import log_refusal
from serving.http.web import SignInPages
from serving.ports import IdentityProvider, SignIn

CALLBACK = "/sign-in/callback"

_ATTEMPT_S = 600
_MAX_PATH_CHARS = 1000
_MAX_CODE_CHARS = 4096


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in under way.

    Attributes:
        secret: What the browser holds.
        path: Where it goes afterwards, a path of the desk.
    """

    secret: str
    path: str

    @classmethod
    def read(cls, cookie: str) -> Attempt:
        """The attempt in a cookie; whatever is in there, the path is one of the desk."""
        secret, _, path = cookie.partition(".")
        return cls(secret, own_path(unquote(path)))

    def written(self) -> str:
        """The cookie's value."""
        return f"{self.secret}.{quote(self.path, safe='')}"

    def sign_in(self, public_url: str) -> SignIn:
        """What the provider is told of it, and what it has to answer."""
        return SignIn(
            state=self._derived("state"),
            nonce=self._derived("nonce"),
            verifier=self._derived("verifier"),
            redirect_uri=public_url.rstrip("/") + CALLBACK,
        )

    def _derived(self, purpose: str) -> str:
        digest = hmac.new(self.secret.encode(), purpose.encode(), hashlib.sha256).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


def own_path(wanted: str) -> str:
    """A path of the desk's own pages: the one that is wanted, or the first page.

    Browsers read a backslash as a slash and leave out tabs and line ends, so such a path could be an address.
    """
    parts = urlsplit(wanted) if wanted.isprintable() and len(wanted) <= _MAX_PATH_CHARS else None
    if parts is None or not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted:
        return "/"
    return "/" if parts.netloc or parts.path.startswith("/sign-in") else wanted


def sign_in_router(pages: SignInPages) -> APIRouter:
    """Routes of signing in, at the root; for a desk that has a provider and a client id there."""
    router = APIRouter(include_in_schema=False)

    @router.get("/sign-in")
    def begin(request: Request, next: str = "/") -> Response:  # noqa: A002  # the name in the address
        callers, desk, provider = _parts(request)
        attempt = Attempt(secrets.token_urlsafe(32), own_path(next))
        try:
            url = provider.sign_in_url(attempt.sign_in(desk.settings.public_url))
        except IdentityUnavailableError:
            return pages.unavailable(request_id_of(request), attempt.path)
        response = RedirectResponse(url, status_code=303, headers={"Cache-Control": "no-store"})
        callers.cookies.keep_attempt(response, attempt.written(), longest_s=_ATTEMPT_S)
        return response

    @router.get(CALLBACK)
    def finish(request: Request) -> Response:
        callers = _parts(request)[0]
        attempt = Attempt.read(callers.cookies.attempt(request))
        response: Response
        try:
            secret = _new_session(request, attempt)
        except UnauthenticatedError as error:
            log_refusal(request, error)
            response = pages.refused(request_id_of(request), attempt.path)
        except IdentityUnavailableError:
            response = pages.unavailable(request_id_of(request), attempt.path)
        else:
            response = RedirectResponse(attempt.path, status_code=303, headers={"Cache-Control": "no-store"})
            longest_s = request.app.state.desk.settings.session_max_s
            callers.cookies.keep_session(response, secret, longest_s=longest_s)
        callers.cookies.forget(response, "sign-in")
        return response

    return router


def sign_out(request: Request, desk: Desk, response: Response, *, user_id: str, request_id: str) -> None:
    """End the session of the browser that sent the request, if it has one, and take its cookies back."""
    callers: Callers = request.app.state.callers
    secret = callers.cookies.session(request)
    if secret:
        desk.audit.append("session.end", principal=user_id, request_id=request_id, body={})
        desk.sessions.end(secret)
    callers.cookies.forget(response, "session", "csrf")


def _new_session(request: Request, attempt: Attempt) -> str:
    """The secret of a new session for whom the provider names.

    Raises:
        UnauthenticatedError: The answer is not the provider's to this browser, or the user may not come in.
        IdentityUnavailableError: The provider does not answer.
    """
    callers, desk, provider = _parts(request)
    sign_in = attempt.sign_in(desk.settings.public_url)
    code = _answered_code(request, attempt, sign_in, provider.issuer)
    identity = callers.identity_of(provider.redeem(code, sign_in))
    callers.vouched(identity)  # refuses whoever may not come in
    desk.audit.append("session.begin", principal=identity.user_id, request_id=request_id_of(request), body={})
    return desk.sessions.begin(
        identity.user_id,
        name=identity.name,
        groups=identity.groups,
        replaces=callers.cookies.session(request),
    )


def _answered_code(request: Request, attempt: Attempt, sign_in: SignIn, issuer: str) -> str:
    """The code in the provider's answer, which has to be an answer to this browser's question."""
    answer = dict(request.query_params)
    if len(answer) != len(request.query_params.multi_items()):
        raise UnauthenticatedError("answer_repeats_itself")
    state = answer.get("state", "")
    if not attempt.secret or not hmac.compare_digest(state.encode(), sign_in.state.encode()):
        raise UnauthenticatedError("state")
    if answer.get("iss", issuer) != issuer:
        raise UnauthenticatedError("answer_of_another_issuer")  # RFC 9207
    code = answer.get("code", "")
    if "error" in answer or not 0 < len(code) <= _MAX_CODE_CHARS:
        raise UnauthenticatedError("refused_at_provider")
    return code


def _parts(request: Request) -> tuple[Callers, Desk, IdentityProvider]:
    desk: Desk = request.app.state.desk
    assert desk.provider is not None
    return request.app.state.callers, desk, desk.provider
