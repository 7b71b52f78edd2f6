"""Errors of answering.

RefdeskError
  ServingError
    UnauthenticatedError        no credential, or one that is not valid
    IdentityUnavailableError    the OpenID provider does not answer and its keys are too old (retryable)
    UnknownUserError            a service key acts for somebody the directory does not know, or a preview is of one
    ScimRequestError            a SCIM request that cannot be understood, or not be done as it says
    IdempotencyConflictError    the same Idempotency-Key came with another body
    RateLimitedError            over one of the caller's quotas (retryable)
    BusyError                   as much under way as the desk can do at a time (retryable)
    AuditUnavailableError       the audit record cannot be written, so nothing is answered (retryable)
    GeneratorError              the model did not give a usable answer; the desk falls back to extracts
      GeneratorUnavailableError     no connection, 5xx, or not configured (retryable)
      GeneratorTimeoutError         silent or over its time (retryable)
      GeneratorRefusedError         the request was refused as malformed or too long
      MalformedGenerationError      empty, cut off, or with leaked control markup (retryable)
      TokenBudgetError              the day's tokens are used up, so it was not asked
      UnsupportedAnswerError        no sentence of it is borne out by the sources
"""

from __future__ import annotations

from retrieval.errors import RefdeskError


class ServingError(RefdeskError):
    """Base of the errors raised by `serving`."""


class UnauthenticatedError(ServingError):
    """The request carries no credential, or one that is not valid. The reason is not told."""

    code = "unauthenticated"
    hint = "Sign in, or send an API key or access token as `Authorization: Bearer …`."

    def __init__(self, reason: str) -> None:
        """Refuse for a reason, a word or two for the log; it must not hold anything of the credential."""
        super().__init__("no valid credential was sent")
        self.reason = reason


class IdentityUnavailableError(ServingError):
    """The OpenID provider does not answer, and what it said last is too old to go by."""

    code = "identity_unavailable"
    retryable = True
    hint = "Try again in a moment; operators: see whether the desk reaches the provider."


class UnknownUserError(ServingError):
    """A service key acts for a user whom the directory does not know, or somebody previews as one."""

    code = "unknown_user"
    hint = "Put the user into the directory first (PUT /api/v1/directory/users/{id})."


class ScimRequestError(ServingError):
    """A SCIM request cannot be understood, or asks for what there is not."""

    code = "scim_request"
    hint = "Correct the request, or the mapping of attributes in the provisioning system."

    def __init__(self, scim_type: str, message: str) -> None:
        """Refuse for a reason of RFC 7644, table 9, for example `invalidFilter`, in words."""
        super().__init__(message)
        self.scim_type = scim_type


class IdempotencyConflictError(ServingError):
    """An Idempotency-Key was used again with another request body."""

    code = "idempotency_conflict"
    hint = "Use a new Idempotency-Key for a new request."


class RateLimitedError(ServingError):
    """The caller is over one of its quotas."""

    code = "rate_limited"
    retryable = True
    hint = "Wait for the seconds given in Retry-After."

    def __init__(self, message: str, *, retry_after_s: int, policy: str, level: str) -> None:
        """Refuse for a while.

        Args:
            message: Which quota.
            retry_after_s: Seconds to wait.
            policy: The quotas, as in `RateLimit-Policy`.
            level: What is left of them, as in `RateLimit`.
        """
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.policy = policy
        self.level = level


class BusyError(ServingError):
    """The desk works on as many answers as it can."""

    code = "busy"
    retryable = True
    hint = "Try again in a moment; operators: REFDESK_LIMIT_ANSWERS_TOTAL says how many there may be."


class AuditUnavailableError(ServingError):
    """The audit record cannot be written; without it there is no answer."""

    code = "audit_unavailable"
    retryable = True
    hint = "Try again in a moment; operators: see `refdesk doctor`."


class GeneratorError(ServingError):
    """The model did not give a usable answer."""

    code = "generator_failed"
    hint = "The desk answers with extracts until the model is well again."


class GeneratorUnavailableError(GeneratorError):
    """The model server cannot be reached or answers with a server error."""

    code = "generator_unavailable"
    retryable = True


class GeneratorTimeoutError(GeneratorError):
    """The model server was silent, or took longer than its budget."""

    code = "generator_timeout"
    retryable = True


class GeneratorRefusedError(GeneratorError):
    """The model server refused the request: unknown model, too long, malformed."""

    code = "generator_refused"


class MalformedGenerationError(GeneratorError):
    """The model's output is empty, cut off, or full of control markup."""

    code = "generator_malformed"
    retryable = True


class UnsupportedAnswerError(GeneratorError):
    """Nothing that the model wrote is borne out by the sources."""

    code = "generator_unsupported"


class TokenBudgetError(GeneratorError):
    """The tokens of this day are used up, the user's or all; the model was not asked."""

    code = "token_budget_spent"
    hint = "The desk answers with extracts until the day ends (UTC); operators: REFDESK_TOKENS_PER_DAY."
