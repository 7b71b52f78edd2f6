"""Errors of the corpus and its search.

RefdeskError                     every error that Refdesk raises on purpose
  RetrievalError
    NotFoundError                absent, or hidden from the caller: the two look the same
    NotPermittedError            the caller's scopes do not cover the operation (never used for documents)
    PartsOnlyError               the caller may read parts of the document, so not its whole text
    InvalidQueryError            the query or a filter cannot be understood
    ConflictError                the state does not allow the operation now
      TakenError                 another user or group has this name
    GroupsTooDeepError           a group would lie in more groups than are looked through
    IdentityTakenError           another user has, or had, the id or mail address
    IndexUnavailableError        the index cannot answer; retry helps
    IndexMismatchError           the index was built by another embedder, chunker or sparse encoder
    IndexesChangedError          an index came up between writing and publishing; writing again helps
    PermissionsOutdatedError     who may read a source's documents was last known too long ago
    CatalogueUnavailableError    the catalogue cannot answer; retry helps
    EmbedderUnavailableError     the embedder cannot answer; retry helps
    RerankerUnavailableError     the reranker cannot answer; search goes on without it
    AlreadyRunningError          another desk holds this state folder
    LeaseLostError               the job was given to another worker, or cancelled, while this one held it
    WorkerLostError              workers died again and again while they read a document
"""

from __future__ import annotations

from typing import ClassVar


class RefdeskError(Exception):
    """Base of every deliberate error.

    Attributes:
        code: Stable identifier that clients may match on; listed in docs/errors.md.
        retryable: Whether the same call can succeed later without any change.
        hint: What the reader can do next, one sentence.
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    hint: ClassVar[str] = "Look at the desk's log for this request id."

    @property
    def message(self) -> str:
        """The human-readable sentence given when the error was raised."""
        return str(self)


class RetrievalError(RefdeskError):
    """Base of the errors raised by `retrieval`."""


class NotFoundError(RetrievalError):
    """The thing does not exist, or the caller may not know that it does."""

    code = "not_found"
    hint = "Check the id; if it is right, ask the owner for access."


class NotPermittedError(RetrievalError):
    """The caller's scopes do not cover this operation."""

    code = "not_permitted"
    hint = "Ask an administrator for a key or role with the scope that is named."


class PartsOnlyError(RetrievalError):
    """The caller may know of the document, but may not read all of it."""

    code = "parts_only"
    hint = (
        "GET /api/v1/documents/{id}/chunks gives what you may read of it; the rest is for its owner to share."
    )


class InvalidQueryError(RetrievalError):
    """The query or one of its filters cannot be understood."""

    code = "invalid_query"
    hint = "Correct the named field and send the request again."


class ConflictError(RetrievalError):
    """The present state does not allow the operation."""

    code = "conflict"
    hint = "Read the current state, then decide again."


class GroupsTooDeepError(RetrievalError):
    """The change would nest groups deeper than is allowed; nothing of it was done."""

    code = "groups_too_deep"
    hint = "Put the members into a group further out, or take a level out of the chain."


class IdentityTakenError(RetrievalError):
    """The id or mail address belongs to another user, or once did."""

    code = "identity_taken"
    hint = "Link it with `takeover` if everything that was granted to it is meant for the new user."


class TakenError(ConflictError):
    """Another user or group has the name that was asked for."""


class IndexUnavailableError(RetrievalError):
    """The index cannot be reached or did not answer."""

    code = "index_unavailable"
    retryable = True
    hint = "Try again in a moment; operators: see `refdesk doctor`."


class IndexMismatchError(RetrievalError):
    """The index holds vectors of another embedder, chunker or sparse encoder."""

    code = "index_mismatch"
    hint = "Run `refdesk rebuild` to build an index for the present configuration."


class IndexesChangedError(RetrievalError):
    """Another index is being built since the points were written; it has to get them too."""

    code = "indexes_changed"
    retryable = True
    hint = "Nothing to do: the document is written again."


class PermissionsOutdatedError(RetrievalError):
    """The permission data of the document's source are older than is allowed; only its owner is told so."""

    code = "permissions_outdated"
    retryable = True
    hint = (
        "It is shown again after the next refresh that ends well; see the source with `refdesk sources show`."
    )


class CatalogueUnavailableError(RetrievalError):
    """The catalogue cannot be reached; nothing is answered without it."""

    code = "catalogue_unavailable"
    retryable = True
    hint = "Try again in a moment; operators: see `refdesk doctor`."


class EmbedderUnavailableError(RetrievalError):
    """The embedding model cannot answer."""

    code = "embedder_unavailable"
    retryable = True
    hint = "Try again in a moment; operators: see `refdesk doctor`."


class RerankerUnavailableError(RetrievalError):
    """The reranking model cannot answer, or takes too long; hits keep their first order."""

    code = "reranker_unavailable"
    retryable = True
    hint = "Nothing to do: hits come in their first order meanwhile; operators: see `refdesk doctor`."


class AlreadyRunningError(RetrievalError):
    """Another process owns this state folder."""

    code = "already_running"
    hint = "Stop the other desk, or choose another folder with DATA= or REFDESK_DATA."


class LeaseLostError(RetrievalError):
    """The job belongs to another worker by now, or was cancelled: nothing more may be written for it."""

    code = "lease_lost"
    retryable = True
    hint = "Nothing to do: the worker that holds the job goes on with it."


class WorkerLostError(RetrievalError):
    """Several workers died, or were killed for their memory, while they read the same document."""

    code = "worker_lost"
    retryable = True
    hint = "Have an operator look at the memory of the workers, then re-index the document."
