"""What answering, and finding out who asks, need from the outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from retrieval.access import UserId
from serving.answer import GenerationRequest, GeneratorInfo


@dataclass(frozen=True, slots=True)
class SignIn:
    """What ties a sign-in at a provider to the browser that began it.

    Attributes:
        state: Comes back with the provider's answer.
        nonce: Comes back inside the ID token.
        verifier: Proves at the end that the same desk asks (PKCE); 43 to 128 unreserved characters.
        redirect_uri: Where the provider sends the browser back to.
    """

    state: str
    nonce: str
    verifier: str
    redirect_uri: str


class IdentityProvider(Protocol):
    """An OpenID provider: says who somebody is. Safe to share between threads."""

    @property
    def issuer(self) -> str:
        """Its issuer identifier."""
        ...

    def verify_access_token(self, token: str) -> Mapping[str, object]:
        """The claims of an access token for this desk, every one of them checked.

        Raises:
            UnauthenticatedError: It is not valid here, for whatever reason; the reason is in the error.
            IdentityUnavailableError: The provider's keys are not to be had, so nothing can be said of it.
        """
        ...

    def sign_in_url(self, sign_in: SignIn) -> str:
        """Where to send a browser that wants to sign in.

        Raises:
            IdentityUnavailableError: The provider's addresses are not to be had.
        """
        ...

    def redeem(self, code: str, sign_in: SignIn) -> Mapping[str, object]:
        """The claims of the ID token for a code that came back, every one of them checked. A code counts once.

        Raises:
            UnauthenticatedError: The code, or the token that it gave, is not valid.
            IdentityUnavailableError: The provider does not answer.
        """
        ...


class Generator(Protocol):
    """Writes an answer to a question from numbered sources."""

    @property
    def info(self) -> GeneratorInfo:
        """Name and revision, for answers and the audit record."""
        ...

    def generate(self, request: GenerationRequest) -> Iterator[str]:
        """Yield the answer's text piece by piece; joined, the pieces are the whole answer.

        Citations are written as `[n]`, n being a source's marker. An empty text never occurs: a generation
        without text is an error. Closing the iterator early stops the generation on the server too.

        Raises:
            GeneratorError: One of its subclasses, possibly after some text was yielded; what was yielded
                is then not to be trusted as complete.
        """
        ...

    def probe(self, *, timeout_s: float) -> None:
        """Return once a real token came back; health means that, not an open port.

        Raises:
            GeneratorError: No token came back in time.
        """
        ...


class TokenUse(Protocol):
    """Counts what models use up, by user and day. Safe to share between threads and processes."""

    def reserve(self, user: UserId, tokens: int, *, per_user: int | None, total: int | None) -> str | None:
        """Count tokens before they are used: the day they count for, None where a bound does not allow it.

        Raises:
            CatalogueUnavailableError: The counts cannot be read or written.
        """
        ...

    def settle(self, user: UserId, day: str, *, reserved: int, used: int) -> None:
        """Count what was used in place of what was reserved. Raises as `reserve`."""
        ...
