"""What only browsers do: send cookies along with whatever another site makes them send.

A request that a cookie or a proxy's login vouches for has to come from the desk's own page. Browsers say where a
request comes from (`Sec-Fetch-Site`, else `Origin`); a session's change carries a token as well, which only the
desk's own page can read (OWASP, Cross-Site Request Forgery Prevention).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from serving.http.errors import ForeignOriginError, UnexpectedHostError
from serving.identity import is_loopback

CSRF_HEADER = "X-Refdesk-CSRF"

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Cookies:
    """The desk's cookies. Over https their names have the prefix with which no other host can set them.

    Attributes:
        is_secure: Whether browsers reach the desk by https; else it is on this machine.
    """

    is_secure: bool

    def session(self, request: Request) -> str:
        """The secret of the session, empty without one."""
        return request.cookies.get(self._name("session"), "")

    def attempt(self, request: Request) -> str:
        """What ties a sign-in that is under way to this browser, empty without one."""
        return request.cookies.get(self._name("sign-in"), "")

    def keep_session(self, response: Response, secret: str, *, longest_s: int) -> None:
        """Give the browser a session and the token for its changes, which its page reads."""
        self._set(response, "session", secret, longest_s, hidden=True)
        self._set(response, "csrf", csrf_token_of(secret), longest_s, hidden=False)

    def keep_attempt(self, response: Response, attempt: str, *, longest_s: int) -> None:
        """Tie a sign-in to the browser."""
        self._set(response, "sign-in", attempt, longest_s, hidden=True)

    def forget(self, response: Response, *kinds: str) -> None:
        """Take cookies back: `session` and `csrf`, `sign-in`."""
        for kind in kinds:
            self._set(response, kind, "", 0, hidden=True)

    def _name(self, kind: str) -> str:
        return f"{'__Host-' if self.is_secure else ''}refdesk-{kind}"

    def _set(self, response: Response, kind: str, value: str, longest_s: int, *, hidden: bool) -> None:
        response.set_cookie(
            self._name(kind),
            value,
            max_age=longest_s,
            path="/",
            secure=self.is_secure,
            httponly=hidden,
            samesite="lax",
        )


def csrf_token_of(session_secret: str) -> str:
    """The token that changes of a session carry. It tells nothing of the secret, and no other session's fits."""
    return hmac.new(session_secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def check_own_page(headers: Headers, method: str, own_origin: str) -> None:
    """Refuse what a browser sends for a page of another site, reading included.

    A request without any word of where it comes from passes: no browser sends such a change.

    Args:
        headers: The request's.
        method: The request's.
        own_origin: The desk's; empty when it is not known, and the Host header has to do.

    Raises:
        ForeignOriginError: It does not come from the desk's own page.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    typed_in = site == "none" and method in _SAFE_METHODS
    if site is not None and site != "same-origin" and not typed_in:
        raise ForeignOriginError("another site's page may not ask or change anything here")
    is_own = origin == own_origin if own_origin else urlsplit(origin or "").netloc == headers.get("host")
    if origin is not None and not is_own:
        raise ForeignOriginError("another site's page may not ask or change anything here")


def check_csrf_token(headers: Headers, method: str, session_secret: str) -> None:
    """Refuse a change of a session without its token.

    Raises:
        ForeignOriginError: The token is missing, or another session's.
    """
    if method in _SAFE_METHODS:
        return
    sent = headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(sent.encode(), csrf_token_of(session_secret).encode()):
        raise ForeignOriginError(f"a change needs the token of the sign-in in {CSRF_HEADER}")


def check_local(headers: Headers, method: str) -> None:
    """Refuse what only a browser under another site's control would send to a desk without login.

    Raises:
        UnexpectedHostError: The Host header does not name this machine.
        ForeignOriginError: A change comes from another site's page.
    """
    host = headers.get("host", "")
    if not is_loopback(_host_name(host)):
        raise UnexpectedHostError("the Host header does not name this machine")
    if method in _SAFE_METHODS:
        return
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise ForeignOriginError("another site's page may not change anything here")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise ForeignOriginError("another site's page may not change anything here")


def _host_name(host: str) -> str:
    """The name in a Host header, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
